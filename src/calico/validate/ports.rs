//! Ports and protocols of rules.

use serde_json::Value;

use super::Effect;
use crate::calico::names::is_port_name;

/// A port of a rule, as far as the rules about it go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    /// A number or a range of numbers.
    Numeric,
    /// The name of a port of an endpoint.
    Named,
}

/// Reads a port: a number, `"80"`, `"80:90"` or a name. Otherwise says what is wrong and what
/// Felix makes of it.
pub(super) fn read_port(value: &Value) -> Result<Port, (String, Effect)> {
    let unreadable = |message: String| (message, Effect::Unreadable);
    if let Some(text) = value.as_str() {
        return match text.split_once(':') {
            _ if is_digits(text) => read_number(text).map(|_| Port::Numeric),
            Some((min, max)) if is_digits(min) && is_digits(max) => {
                let (min, max) = (number(min)?, number(max)?);
                if min > max {
                    let message = format!("`{text}` begins above its end; write `{max}:{min}`");
                    return Err(unreadable(message));
                }
                above_zero(text, min)
            }
            _ => read_name(text),
        };
    }
    match value.as_i64() {
        Some(n) => read_number(&n.to_string()).map(|_| Port::Numeric),
        None => Err(unreadable(format!(
            "must be a number, a range such as `\"80:90\"` or a name, not `{value}`"
        ))),
    }
}

fn read_number(text: &str) -> Result<Port, (String, Effect)> {
    number(text).and_then(|n| above_zero(text, n))
}

fn number(text: &str) -> Result<u16, (String, Effect)> {
    text.parse().map_err(|_| {
        let message = format!("`{text}` is no port between 1 and 65535");
        (message, Effect::Unreadable)
    })
}

fn above_zero(text: &str, first: u16) -> Result<Port, (String, Effect)> {
    match first {
        0 => {
            let message = format!("`{text}` is no port between 1 and 65535");
            Err((message, Effect::Missing))
        }
        _ => Ok(Port::Numeric),
    }
}

fn read_name(text: &str) -> Result<Port, (String, Effect)> {
    if is_port_name(text) {
        return Ok(Port::Named);
    }
    // Decoding takes more than the check behind it.
    let decodes = (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    let message = format!(
        "`{text}` is no port: neither a number, nor a range such as `80:90`, nor a name of at \
         most 15 of a-z, 0-9 and `-` with a letter among them"
    );
    let effect = if decodes {
        Effect::Missing
    } else {
        Effect::Unreadable
    };
    Err((message, effect))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// A protocol that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol<'v> {
    /// By number, 1 to 255.
    Number(u8),
    /// By one of the known names, in whatever case it is written.
    Name(&'v str),
}

/// The names of protocols as they must be written.
pub(super) const PROTOCOLS: [&str; 6] = ["TCP", "UDP", "ICMP", "ICMPv6", "SCTP", "UDPLite"];

/// Reads a protocol; names in another case are taken, since Felix takes them.
pub(super) fn read_protocol(value: &Value) -> Result<Protocol<'_>, (String, Effect)> {
    let number = match value.as_str() {
        None => match value.as_i64().map(u8::try_from) {
            Some(Ok(n)) => Some(n),
            _ => {
                let message = format!("`{value}` is no protocol: neither a name nor 1 to 255");
                return Err((message, Effect::Unreadable));
            }
        },
        Some(text) => text.parse().ok().filter(|_| is_digits(text)),
    };
    let text = value.as_str().unwrap_or_default();
    match number {
        Some(0) => Err(("must not be protocol 0".to_owned(), Effect::Missing)),
        Some(n) => Ok(Protocol::Number(n)),
        None if PROTOCOLS.iter().any(|p| p.eq_ignore_ascii_case(text)) => Ok(Protocol::Name(text)),
        None => {
            let names = PROTOCOLS.join("`, `");
            let message = format!("must be one of `{names}` or 1 to 255, not `{text}`");
            Err((message, Effect::Missing))
        }
    }
}

impl Protocol<'_> {
    /// Whether a name is written as libcalico wants it; otherwise, how.
    pub(super) fn proper_name(self) -> Option<&'static str> {
        let Self::Name(text) = self else { return None };
        let proper = PROTOCOLS.iter().find(|p| p.eq_ignore_ascii_case(text));
        proper.copied().filter(|p| *p != text)
    }

    pub(super) fn has_ports(self) -> bool {
        match self {
            Self::Number(n) => [6, 17, 132].contains(&n),
            Self::Name(_) => ["TCP", "UDP", "SCTP"].iter().any(|p| self.is(p)),
        }
    }

    /// Whether the protocol is given by this name.
    pub(super) fn is(self, name: &str) -> bool {
        matches!(self, Self::Name(text) if text.eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports_are_numbers_ranges_and_names() {
        for value in [
            json!(1),
            json!(65535),
            json!("80"),
            json!("1:65535"),
            json!("80:80"),
        ] {
            assert_eq!(read_port(&value), Ok(Port::Numeric), "{value}");
        }
        assert_eq!(read_port(&json!("http")), Ok(Port::Named));
        for (value, effect) in [
            (json!(0), Effect::Missing),
            (json!("0"), Effect::Missing),
            (json!("0:9"), Effect::Missing),
            (json!("Http"), Effect::Missing),
            (json!("a_b"), Effect::Missing),
            (json!(65536), Effect::Unreadable),
            (json!(-1), Effect::Unreadable),
            (json!(80.5), Effect::Unreadable),
            (json!(true), Effect::Unreadable),
            (json!("65536"), Effect::Unreadable),
            (json!("90:80"), Effect::Unreadable),
            (json!("80-90"), Effect::Missing),
            (json!("80:"), Effect::Unreadable),
            (json!(" 80"), Effect::Unreadable),
            (json!(""), Effect::Unreadable),
        ] {
            let error = read_port(&value).unwrap_err();
            assert_eq!(error.1, effect, "{value}");
        }
    }

    #[test]
    fn protocols_are_names_and_numbers() {
        let read = |value: Value| read_protocol(&value).map(|p| (p.has_ports(), p.proper_name()));
        assert_eq!(read(json!("TCP")), Ok((true, None)));
        assert_eq!(read(json!("tcp")), Ok((true, Some("TCP"))));
        assert_eq!(read(json!("icmpV6")), Ok((false, Some("ICMPv6"))));
        assert_eq!(read(json!(17)), Ok((true, None)));
        assert_eq!(read(json!("132")), Ok((true, None)));
        assert_eq!(read(json!(255)), Ok((false, None)));
        for (value, effect) in [
            (json!(0), Effect::Missing),
            (json!("HTTP"), Effect::Missing),
            (json!("256"), Effect::Missing),
            (json!(256), Effect::Unreadable),
            (json!(-1), Effect::Unreadable),
            (json!([]), Effect::Unreadable),
        ] {
            assert_eq!(read(value.clone()).unwrap_err().1, effect, "{value}");
        }
    }
}
