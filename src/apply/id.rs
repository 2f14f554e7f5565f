//! Identities of runs: short to type, and in the order of time.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The digits, without letters that look like others (Crockford's).
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// 2020-01-01T00:00:00Z in seconds: from here the seconds of 34 years fit into six digits.
const EPOCH: i64 = 1_577_836_800;

/// A run: the second in which it began.
///
/// ```
/// use calicoctl_protect::apply::RunId;
/// let id: RunId = "6g0793".parse()?;
/// assert!(id < "6g0794".parse()?);
/// assert_eq!(id.to_string(), "6g0793");
/// # Ok::<(), calicoctl_protect::apply::id::RunIdError>(())
/// ```
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(into = "String", try_from = "String")]
#[schemars(with = "String")]
pub struct RunId(u64);

/// A text that names no run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no id of a run")]
pub struct RunIdError(String);

impl RunId {
    /// The id of a run that begins at a moment.
    #[must_use]
    pub fn at(moment: Timestamp) -> Self {
        Self(
            moment
                .as_second()
                .saturating_sub(EPOCH)
                .try_into()
                .unwrap_or(0),
        )
    }

    /// The id after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits: Vec<u8> = Vec::new();
        let mut rest = self.0;
        while rest > 0 || digits.len() < 6 {
            let digit = usize::try_from(rest % 32).ok();
            digits.extend(digit.and_then(|digit| DIGITS.get(digit)));
            rest /= 32;
        }
        digits
            .iter()
            .rev()
            .try_for_each(|digit| write!(f, "{}", char::from(*digit)))
    }
}

impl FromStr for RunId {
    type Err = RunIdError;

    fn from_str(text: &str) -> Result<Self, RunIdError> {
        let wrong = || RunIdError(text.to_owned());
        // Thirteen digits of five bits are more than 64.
        if text.len() < 6 || text.len() > 12 {
            return Err(wrong());
        }
        let digit = |byte: u8| {
            // What is easily taken for another is that other.
            let byte = match byte.to_ascii_lowercase() {
                b'o' => b'0',
                b'i' | b'l' => b'1',
                byte => byte,
            };
            DIGITS.iter().position(|known| *known == byte)
        };
        let number = text.bytes().try_fold(0_u64, |number, byte| {
            Some(number * 32 + u64::try_from(digit(byte)?).ok()?)
        });
        number.map(Self).ok_or_else(wrong)
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for RunId {
    type Error = RunIdError;

    fn try_from(text: String) -> Result<Self, RunIdError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_have_six_digits_for_decades() {
        for (moment, text) in [
            ("2020-01-01T00:00:00Z", "000000"),
            ("2026-11-29T09:00:00Z", "6g024g"),
            ("2054-01-09T13:37:03Z", "zzzzzz"),
        ] {
            let id = RunId::at(moment.parse().unwrap());
            assert_eq!(id.to_string(), text);
        }
        assert!("".parse::<RunId>().is_err() && "../../x".parse::<RunId>().is_err());
    }

    proptest! {
        #[test]
        fn ids_are_in_the_order_of_time(a in 0_i64..4_000_000_000, b in 0_i64..4_000_000_000) {
            let at = |second| RunId::at(Timestamp::from_second(EPOCH + second).unwrap());
            let (x, y) = (at(a), at(b));
            prop_assert_eq!(a.cmp(&b), x.cmp(&y));
            let (s, t) = (x.to_string(), y.to_string());
            prop_assert_eq!(a.cmp(&b), (s.len(), &s).cmp(&(t.len(), &t)));
            prop_assert_eq!(s.parse::<RunId>().unwrap(), x);
        }
    }
}
