//! How long and how much.

use std::time::Duration;

/// The most that is waited for, tried and asked at once. The defaults suit people and clusters;
/// tests make them shorter.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// For a connection to be made.
    pub connect: Duration,
    /// For one answer, from sending to its last byte.
    pub answer: Duration,
    /// How often a request is sent at most.
    pub tries: u32,
    /// The first pause between two tries; each further one is twice as long.
    pub first_pause: Duration,
    /// The longest pause between two tries, also when the server asks for a longer one.
    pub longest_pause: Duration,
    /// How many requests are under way at most. An API server takes about 200 writes at once for
    /// all its clients together.
    pub in_flight: usize,
    /// Objects in a page of a list.
    pub page: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(60),
            tries: 6,
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(20),
            in_flight: 64,
            page: 500,
        }
    }
}

impl Limits {
    /// The pause before try `n` (counted from 1), which the server may have asked to be longer.
    pub(super) fn pause(&self, n: u32, asked: Option<Duration>) -> Duration {
        let own = self.first_pause * 2_u32.saturating_pow(n.saturating_sub(1).min(16));
        asked.unwrap_or_default().max(own).min(self.longest_pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let limits = Limits::default();
        let pause =
            |n, asked: Option<u64>| limits.pause(n, asked.map(Duration::from_secs)).as_millis();
        assert_eq!(
            [
                pause(1, None),
                pause(2, None),
                pause(3, None),
                pause(30, None)
            ],
            [200, 400, 800, 20_000]
        );
        assert_eq!([pause(1, Some(1)), pause(1, Some(3600))], [1000, 20_000]);
    }
}
