//! How many requests are under way: fewer while the server is busy, more again afterwards.

use std::time::Duration;

use tokio::time::Instant;

/// A window that halves when the server says that it is busy, and grows by one for every full
/// window of successes, as TCP does.
#[derive(Debug)]
pub(super) struct Window {
    size: f64,
    most: f64,
    /// Nothing is sent before.
    resume: Option<Instant>,
    /// The user's own limit on requests a second.
    rate: Option<Rate>,
}

#[derive(Debug)]
struct Rate {
    per_second: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl Window {
    /// A window of at most `most` requests; `qps` and `burst` as for client-go.
    pub fn new(most: usize, qps: Option<f64>, burst: Option<f64>) -> Self {
        let most = most.max(1) as f64;
        Self {
            size: most,
            most,
            resume: None,
            rate: qps.map(|per_second| {
                let burst = burst.unwrap_or(per_second * 2.0).max(1.0);
                Rate {
                    per_second,
                    burst,
                    tokens: burst,
                    at: Instant::now(),
                }
            }),
        }
    }

    /// Whether one more request may be under way beside `flying` others.
    pub fn has_room(&self, flying: usize) -> bool {
        (flying as f64) + 1.0 <= self.size.max(1.0)
    }

    /// Counts a request that is about to be sent; or how long it has to wait.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        if let Some(resume) = self.resume {
            if resume > now {
                return Err(resume - now);
            }
            self.resume = None;
        }
        let Some(rate) = &mut self.rate else {
            return Ok(());
        };
        let passed = now.saturating_duration_since(rate.at).as_secs_f64();
        rate.tokens = (rate.tokens + passed * rate.per_second).min(rate.burst);
        rate.at = now;
        if rate.tokens < 1.0 {
            let wait = (1.0 - rate.tokens) / rate.per_second;
            return Err(Duration::from_secs_f64(wait.min(60.0)));
        }
        rate.tokens -= 1.0;
        Ok(())
    }

    /// A request succeeded.
    pub fn grow(&mut self) {
        self.size = (self.size + 1.0 / self.size).min(self.most);
    }

    /// The server is busy. Of the many answers that say so at one time only the first counts.
    pub fn shrink(&mut self, now: Instant, pause: Duration) {
        if self.resume.is_none_or(|resume| resume <= now) {
            self.size = (self.size / 2.0).max(1.0);
            tracing::info!(window = self.size, "the server is busy");
        }
        let resume = now + pause;
        self.resume = Some(self.resume.map_or(resume, |before| before.max(resume)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_halves_once_for_a_volley_and_grows_by_one_for_each_full_window() {
        let mut window = Window::new(64, None, None);
        let now = Instant::now();
        assert!(window.has_room(63) && !window.has_room(64));
        for _ in 0..64 {
            window.shrink(now, Duration::from_secs(1));
        }
        assert!(window.has_room(31) && !window.has_room(32));
        assert_eq!(window.take(now), Err(Duration::from_secs(1)));
        let later = now + Duration::from_secs(1);
        assert_eq!(window.take(later), Ok(()));
        (0..33).for_each(|_| window.grow());
        assert!(window.has_room(32) && !window.has_room(34));
        for n in 2..20 {
            window.shrink(now + Duration::from_secs(n), Duration::ZERO);
        }
        assert!(window.has_room(0) && !window.has_room(1));
    }

    #[test]
    fn the_users_own_rate_is_kept() {
        let mut window = Window::new(8, Some(10.0), Some(2.0));
        let now = Instant::now();
        assert_eq!([window.take(now), window.take(now)], [Ok(()), Ok(())]);
        let wait = window.take(now).unwrap_err();
        assert!(wait.as_millis().abs_diff(100) <= 1, "{wait:?}");
        assert_eq!(window.take(now + wait + Duration::from_millis(1)), Ok(()));
    }
}
