//! How strings are written so that every reader of YAML takes them for strings.
//!
//! `kubectl` and calicoctl read YAML 1.1, in which `on`, `017` or `1:30` are no strings; this
//! crate's reader follows YAML 1.2. What is written plain here is a string to both.

use std::net::IpAddr;

use super::tree::Style;

/// Words that YAML 1.1 or 1.2 take for a boolean or null, in any case.
const WORDS: [&str; 10] = [
    "y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan",
];

/// Whether a string may stand without quotes in block and in flow style: it begins with a letter,
/// has no punctuation of YAML in it and is none of the words; or it is an address or a network.
pub fn plain_safe(text: &str) -> bool {
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._/-".contains(c))
        && !is_word(text);
    word || is_plain_address(text)
}

/// Whether a string may stand without quotes where its neighbours do: as [`plain_safe`], but with
/// blanks and signs inside as selectors have them.
fn plain_possible(text: &str, flow: bool) -> bool {
    if plain_safe(text) {
        return true;
    }
    let letter = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let readable = text.chars().all(|c| c == ' ' || c.is_ascii_graphic());
    let comment_or_key = text.contains(": ") || text.contains(" #") || text.ends_with([':', ' ']);
    let flow_sign = flow && text.contains([',', '[', ']', '{', '}', ':', '?']);
    letter && readable && !comment_or_key && !flow_sign && !is_word(text)
}

fn is_word(text: &str) -> bool {
    WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

fn is_plain_address(text: &str) -> bool {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    if length.is_some_and(|l| l.is_empty() || l.len() > 3 || !l.bytes().all(|b| b.is_ascii_digit()))
    {
        return false;
    }
    match address.parse() {
        Ok(IpAddr::V4(_)) => true,
        // Of digits alone it is a number to base 60 in YAML 1.1; with a colon at an end it is no
        // plain scalar.
        Ok(IpAddr::V6(_)) => {
            address.contains(|c: char| c.is_ascii_alphabetic())
                && !text.starts_with(':')
                && !text.ends_with(':')
        }
        Err(_) => false,
    }
}

/// A string as YAML, in the style of its neighbour if that can hold it.
pub fn string(text: &str, like: Option<Style>, flow: bool) -> String {
    match like {
        Some(Style::Double) => double(text),
        Some(Style::Single) if single_possible(text) => single(text),
        Some(Style::Plain) if plain_possible(text, flow) => text.to_owned(),
        None | Some(Style::Block) if plain_safe(text) => text.to_owned(),
        _ if text.contains('"') && !text.contains('\'') && single_possible(text) => single(text),
        _ => double(text),
    }
}

fn single_possible(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c == ' ' || c.is_ascii_graphic())
}

fn single(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A string in double quotes, as YAML and JSON both read it.
pub fn double(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            // Line ends and signs that YAML does not allow raw.
            '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A map key as YAML.
pub fn key(text: &str) -> String {
    if plain_safe(text) && !is_plain_address(text) {
        text.to_owned()
    } else {
        double(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers_of_both_yaml_versions_are_quoted() {
        for text in [
            "y",
            "N",
            "yes",
            "No",
            "on",
            "OFF",
            "true",
            "False",
            "null",
            "NaN",
            "~",
            "",
            "1",
            "017",
            "0o17",
            "0x1F",
            "1_000",
            "1e3",
            ".5",
            "+1",
            "-",
            "1:30",
            "2026-01-01",
            "1:2:3:4:5:6:7:8",
            "::1",
            "2001:db8::",
            "a: b",
            "a #b",
            "*",
            "&x",
            "%",
            "@a",
            "`a",
            "x\ny",
            "é",
        ] {
            assert!(!plain_safe(text), "{text}");
            let written = format!("k: {}\n", string(text, None, false));
            let read: serde_json::Value = serde_yaml::from_str(&written).unwrap();
            assert_eq!(read["k"], text, "{written}");
        }
        for text in [
            "worker",
            "192.0.2.1",
            "198.51.100.0/28",
            "2001:db8::1",
            "2001:db8:77::/64",
            "v3.32.1",
            "example.test/a-b",
        ] {
            assert!(plain_safe(text), "{text}");
        }
    }

    #[test]
    fn selectors_are_readable() {
        assert_eq!(string(r#"a == "b""#, None, false), r#"'a == "b"'"#);
        assert_eq!(string("has(a)", None, false), r#""has(a)""#);
        assert_eq!(
            string(r#"a == "b""#, Some(Style::Plain), false),
            r#"a == "b""#
        );
        assert_eq!(
            string(r#"a in {"b", 'c'}"#, Some(Style::Plain), true),
            r#""a in {\"b\", 'c'}""#
        );
    }
}
