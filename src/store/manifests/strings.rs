//! Unquoted label values that are no strings in YAML 1.1.
//!
//! calicoctl knows that a label is a string and turns the boolean or number back into one (data
//! model, 9.6); `kubectl` refuses the file. So they are read as calicoctl reads them, and told.

/// What calicoctl makes of an unquoted scalar in the place of a string, if YAML 1.1 takes it for a
/// boolean or a number; `None` where it is a string as it stands.
#[must_use]
pub fn as_string(plain: &str) -> Option<String> {
    boolean(plain)
        .map(|b| b.to_string())
        .or_else(|| number(plain))
}

fn boolean(plain: &str) -> Option<bool> {
    let is = |word: &str| {
        let mut title = word.to_owned();
        if let Some(first) = title.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        plain == word || plain == title || plain == word.to_ascii_uppercase()
    };
    if ["y", "yes", "true", "on"].into_iter().any(is) {
        Some(true)
    } else if ["n", "no", "false", "off"].into_iter().any(is) {
        Some(false)
    } else {
        None
    }
}

fn number(plain: &str) -> Option<String> {
    if !plain.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) {
        return None;
    }
    match plain {
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Some("+Inf".into()),
        "-.inf" | "-.Inf" | "-.INF" => return Some("-Inf".into()),
        ".nan" | ".NaN" | ".NAN" => return Some("NaN".into()),
        _ => {}
    }
    let digits = plain.replace('_', "");
    integer(&digits).or_else(|| float(&digits))
}

/// Integers to base 2, 8, 10 and 16; a leading zero means base 8.
fn integer(text: &str) -> Option<String> {
    let (sign, body) = match text.strip_prefix('-') {
        Some(body) => ("-", body),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = body.to_ascii_lowercase();
    let (digits, base) = if let Some(hex) = lower.strip_prefix("0x") {
        (hex, 16)
    } else if let Some(binary) = lower.strip_prefix("0b") {
        (binary, 2)
    } else if let Some(octal) = lower.strip_prefix("0o") {
        (octal, 8)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (lower.get(1..)?, 8)
    } else {
        (lower.as_str(), 10)
    };
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let value = u64::from_str_radix(digits, base).ok()?;
    let fits = sign.is_empty() || value <= i64::MIN.unsigned_abs();
    fits.then(|| {
        if value == 0 {
            "0".into()
        } else {
            format!("{sign}{value}")
        }
    })
}

fn float(text: &str) -> Option<String> {
    let body = text.trim_start_matches(['+', '-']);
    let (mantissa, exponent) = match body.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (body, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let exponent_fits = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['+', '-']).unwrap_or(e);
        !e.is_empty() && is_digits(e)
    });
    let one_sign = text.len() - body.len() <= 1;
    let some_digit = !whole.is_empty() || !fraction.is_empty();
    if !(is_digits(whole) && is_digits(fraction) && exponent_fits && one_sign && some_digit) {
        return None;
    }
    text.parse::<f32>().ok().map(go_float)
}

/// A number as Go's `%g` has it: an exponent below -4 and from 6 on (it is written with two
/// digits), the fewest digits that tell the number apart.
fn go_float(value: f32) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(e) if !(-4..6).contains(&e) => {
            let sign = if e < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", e.abs())
        }
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_and_numbers_become_what_calicoctl_makes_of_them() {
        for (plain, string) in [
            ("true", "true"),
            ("True", "true"),
            ("yes", "true"),
            ("ON", "true"),
            ("y", "true"),
            ("No", "false"),
            ("off", "false"),
            ("10", "10"),
            ("1.10", "1.1"),
            ("017", "15"),
            ("08", "8"),
            ("0x1F", "31"),
            ("0b11", "3"),
            ("1_000", "1000"),
            ("+1", "1"),
            ("-7", "-7"),
            ("1e3", "1000"),
            (".5", "0.5"),
            ("18446744073709551615", "18446744073709551615"),
            ("1e-7", "1e-07"),
            ("1.5e6", "1.5e+06"),
            ("0.0001", "0.0001"),
        ] {
            assert_eq!(as_string(plain).as_deref(), Some(string), "{plain}");
        }
    }

    #[test]
    fn strings_stay() {
        for plain in [
            "",
            "worker",
            "tRue",
            "yEs",
            "v1.2",
            "1.2.3",
            "192.0.2.1",
            "2026-01-01",
            "1:30",
            "-",
            ".",
            "+-1",
            "e3",
            "0x",
            "1e",
            "a_1",
        ] {
            assert_eq!(as_string(plain), None, "{plain}");
        }
    }
}
