//! Properties of all selectors, checked against a model that follows the language's description
//! word for word and knows nothing of the parser's tree.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Selector, normalise};

/// A selector as its writer means it.
#[derive(Debug, Clone)]
enum Model {
    Constant(&'static str),
    Has(String),
    Compare(String, Comparison, String),
    Member(String, bool, Vec<String>),
    Not(usize, Box<Model>),
    All(Vec<Model>),
    Any(Vec<Model>),
}

#[derive(Debug, Clone, Copy)]
enum Comparison {
    Equal,
    Unequal,
    Part,
    Beginning,
    Ending,
}

impl Model {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Constant(_) => true,
            Self::Has(label) => labels.contains_key(label),
            Self::Compare(label, comparison, operand) => match labels.get(label) {
                None => matches!(comparison, Comparison::Unequal),
                Some(value) => match comparison {
                    Comparison::Equal => value.as_bytes() == operand.as_bytes(),
                    Comparison::Unequal => value.as_bytes() != operand.as_bytes(),
                    Comparison::Part => (0..=value.len())
                        .any(|i| value.as_bytes()[i..].starts_with(operand.as_bytes())),
                    Comparison::Beginning => value.as_bytes().starts_with(operand.as_bytes()),
                    Comparison::Ending => value.as_bytes().ends_with(operand.as_bytes()),
                },
            },
            Self::Member(label, wanted, members) => {
                labels
                    .get(label)
                    .is_some_and(|value| members.iter().any(|m| m == value))
                    == *wanted
            }
            Self::Not(times, inner) => (times % 2 == 1) != inner.holds(labels),
            Self::All(members) => members.iter().filter(|m| !m.holds(labels)).count() == 0,
            Self::Any(members) => members.iter().filter(|m| m.holds(labels)).count() > 0,
        }
    }

    /// The text, with one of many spellings picked by `style`.
    fn write(&self, style: &mut Style, inside: Inside, text: &mut String) {
        let brackets = match self {
            Self::All(_) => inside > Inside::And,
            Self::Any(_) => inside > Inside::Or,
            _ => false,
        };
        let extra = usize::from(style.pick(8) == 0);
        let depth = extra + usize::from(brackets);
        let inside = if depth > 0 { Inside::Nothing } else { inside };
        for _ in 0..depth {
            text.push('(');
            style.blank(text);
        }
        match self {
            Self::Constant(name) => {
                text.push_str(name);
                text.push('(');
                style.blank(text);
                text.push(')');
            }
            Self::Has(label) => {
                text.push_str("has(");
                style.blank(text);
                text.push_str(label);
                style.blank(text);
                text.push(')');
            }
            Self::Compare(label, comparison, operand) => {
                text.push_str(label);
                match comparison {
                    Comparison::Equal => style.symbol("==", text),
                    Comparison::Unequal => style.symbol("!=", text),
                    Comparison::Part => style.word(&["contains"], text),
                    Comparison::Beginning => style.word(&["starts", "with"], text),
                    Comparison::Ending => style.word(&["ends", "with"], text),
                }
                style.quoted(operand, text);
            }
            Self::Member(label, wanted, members) => {
                text.push_str(label);
                style.word(if *wanted { &["in"] } else { &["not", "in"] }, text);
                style.symbol("{", text);
                for (i, member) in members.iter().enumerate() {
                    style.quoted(member, text);
                    if i + 1 < members.len() || style.pick(2) == 0 {
                        style.symbol(",", text);
                    }
                }
                style.symbol("}", text);
            }
            Self::Not(times, inner) => {
                for _ in 0..*times {
                    style.symbol("!", text);
                }
                inner.write(style, Inside::Not, text);
            }
            Self::All(members) => write_group(members, "&&", Inside::And, inside, style, text),
            Self::Any(members) => write_group(members, "||", Inside::Or, inside, style, text),
        }
        for _ in 0..depth {
            style.symbol(")", text);
        }
    }
}

fn write_group(
    members: &[Model],
    operator: &str,
    own: Inside,
    around: Inside,
    style: &mut Style,
    text: &mut String,
) {
    assert!(around <= own);
    for (i, member) in members.iter().enumerate() {
        if i > 0 {
            style.symbol(operator, text);
        }
        member.write(style, own, text);
    }
}

/// What a term stands directly in, from the loosest on.
#[derive(PartialEq, PartialOrd, Clone, Copy)]
enum Inside {
    Nothing,
    Or,
    And,
    Not,
}

/// Choices that make no difference to the meaning.
struct Style(Vec<u8>, usize);

impl Style {
    fn pick(&mut self, of: u8) -> u8 {
        self.1 += 1;
        self.0[self.1 % self.0.len()] % of
    }

    fn blank(&mut self, text: &mut String) {
        text.push_str(["", "", " ", "\t", " \t "][usize::from(self.pick(5))]);
    }

    fn symbol(&mut self, symbol: &str, text: &mut String) {
        self.blank(text);
        text.push_str(symbol);
        self.blank(text);
    }

    fn word(&mut self, words: &[&str], text: &mut String) {
        text.push([' ', '\t'][usize::from(self.pick(2))]);
        for word in words {
            text.push_str(word);
            self.blank(text);
        }
    }

    fn quoted(&mut self, value: &str, text: &mut String) {
        let quote = match (value.contains('"'), value.contains('\'')) {
            (true, _) => '\'',
            (_, true) => '"',
            _ => ['"', '\''][usize::from(self.pick(2))],
        };
        text.push(quote);
        text.push_str(value);
        text.push(quote);
    }
}

fn any_label() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[abc]",
        1 => prop::sample::select(vec!["in", "not", "has", "all", "global", "contains", "starts"])
            .prop_map(str::to_owned),
        1 => "[-A-Za-z0-9_./]{1,12}",
    ]
}

fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[xy]{0,3}",
        1 => "[^\"]{0,6}",
        1 => "[^']{0,6}",
        1 => Just("all()".to_owned()),
    ]
}

fn any_model() -> impl Strategy<Value = Model> {
    let comparison = prop_oneof![
        Just(Comparison::Equal),
        Just(Comparison::Unequal),
        Just(Comparison::Part),
        Just(Comparison::Beginning),
        Just(Comparison::Ending),
    ];
    let term = prop_oneof![
        1 => prop::sample::select(vec!["all", "global"]).prop_map(Model::Constant),
        2 => any_label().prop_map(Model::Has),
        4 => (any_label(), comparison, any_value()).prop_map(|(l, c, v)| Model::Compare(l, c, v)),
        2 => (any_label(), any::<bool>(), prop::collection::vec(any_value(), 0..4))
            .prop_map(|(l, wanted, vs)| Model::Member(l, wanted, vs)),
    ];
    term.prop_recursive(5, 40, 4, |inner| {
        prop_oneof![
            (0..4usize, inner.clone()).prop_map(|(n, m)| Model::Not(n, Box::new(m))),
            prop::collection::vec(inner.clone(), 2..5).prop_map(Model::All),
            prop::collection::vec(inner, 2..5).prop_map(Model::Any),
        ]
    })
}

fn any_labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map(any_label(), any_value(), 0..5)
}

/// A model and one of its texts.
fn any_text() -> impl Strategy<Value = (Model, String)> {
    (any_model(), prop::collection::vec(any::<u8>(), 1..40)).prop_map(|(model, style)| {
        let mut text = String::new();
        model.write(&mut Style(style, 0), Inside::Nothing, &mut text);
        (model, text)
    })
}

proptest! {
    #[test]
    fn a_text_means_what_its_writer_means(
        (model, text) in any_text(),
        objects in prop::collection::vec(any_labels(), 1..6),
    ) {
        let selector = Selector::parse(&text)
            .map_err(|error| TestCaseError::fail(format!("{error}\n{}", error.pointed(&text))))?;
        for labels in &objects {
            prop_assert_eq!(selector.matches(labels), model.holds(labels), "{} {:?}", text, labels);
        }
    }

    #[test]
    fn the_canonical_text_means_the_same_and_settles(
        (_, text) in any_text(),
        objects in prop::collection::vec(any_labels(), 1..6),
    ) {
        let selector = Selector::parse(&text).unwrap();
        let canonical = selector.canonical();
        let again = Selector::parse(&canonical).unwrap();
        for labels in &objects {
            prop_assert_eq!(selector.matches(labels), again.matches(labels), "{}", canonical);
        }
        // Values may hold anything, so look for the doubled bang in the tree.
        if selector.map_labels(str::to_owned).unwrap() == selector {
            prop_assert_eq!(&again, &selector);
        }
        prop_assert_eq!(Selector::parse(&again.canonical()).unwrap(), again.clone());
        prop_assert_eq!(normalise(&canonical), again.canonical());
        prop_assert_eq!(again.canonical() == canonical, again == selector);
    }

    #[test]
    fn only_labels_that_are_mentioned_count((_, text) in any_text(), labels in any_labels()) {
        let selector = Selector::parse(&text).unwrap();
        let mentioned = selector.labels();
        let mut fewer = labels.clone();
        fewer.retain(|name, _| mentioned.contains(name.as_str()));
        prop_assert_eq!(selector.matches(&labels), selector.matches(&fewer));
    }

    #[test]
    fn renamed_selectors_see_renamed_labels((_, text) in any_text(), labels in any_labels()) {
        let selector = Selector::parse(&text).unwrap();
        let renamed = selector.map_labels(|name| format!("pcns.{name}")).unwrap();
        let prefixed: BTreeMap<String, String> =
            labels.iter().map(|(k, v)| (format!("pcns.{k}"), v.clone())).collect();
        prop_assert_eq!(selector.matches(&labels), renamed.matches(&prefixed));
    }

    #[test]
    fn builders_are_the_boolean_operations(
        (a, b) in (any_text(), any_text()),
        labels in any_labels(),
    ) {
        let (a, b) = (Selector::parse(&a.1).unwrap(), Selector::parse(&b.1).unwrap());
        let (in_a, in_b) = (a.matches(&labels), b.matches(&labels));
        prop_assert_eq!(a.clone().and(b.clone()).matches(&labels), in_a && in_b);
        prop_assert_eq!(a.clone().or(b.clone()).matches(&labels), in_a || in_b);
        prop_assert_eq!(a.clone().not().matches(&labels), !in_a);
        let both = a.and(b);
        prop_assert!(Selector::parse(&both.canonical()).is_ok());
    }

    #[test]
    fn any_text_is_read_or_refused_with_a_place(text in any::<String>()) {
        check_any(&text)?;
    }

    #[test]
    fn any_mixture_of_tokens_is_read_or_refused_with_a_place(
        parts in prop::collection::vec(prop::sample::select(vec![
            "(", ")", "{", "}", ",", "=", "==", "!", "!=", "&", "&&", "|", "||", "'", "\"", "'x'",
            "\"y\"", " ", "\t", "\n", "has(", "all(", "global(", "all()", "has(a)", "a", "in",
            "not", "not in", "contains", "starts with", "ends", "IN", "é", "\u{1f980}", "\0", "-",
        ]), 0..12)
    ) {
        check_any(&parts.concat())?;
    }

    #[test]
    fn any_bytes_are_read_or_refused_with_a_place(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        check_any(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn a_damaged_text_is_read_or_refused_with_a_place(
        (_, text) in any_text(),
        at in any::<prop::sample::Index>(),
        with in prop::option::of(any::<char>()),
    ) {
        let mut characters: Vec<char> = text.chars().collect();
        let at = at.index(characters.len());
        characters.splice(at..=at, with);
        check_any(&characters.into_iter().collect::<String>())?;
    }
}

fn check_any(text: &str) -> Result<(), TestCaseError> {
    match Selector::parse(text) {
        Ok(selector) => {
            let settled = Selector::parse(&selector.canonical()).unwrap();
            prop_assert_eq!(settled.canonical(), normalise(&settled.canonical()));
        }
        Err(error) => {
            prop_assert!(
                text.get(error.span.clone()).is_some(),
                "{:?} {:?}",
                text,
                error.span
            );
            prop_assert!(
                !error.message.contains(char::is_control),
                "{:?}",
                error.message
            );
            let pointed = error.pointed(text);
            prop_assert_eq!(pointed.lines().count(), 2, "{:?}", pointed);
            prop_assert!(pointed.ends_with('^'), "{:?}", pointed);
            let trimmed = text.trim();
            if trimmed == text {
                prop_assert_eq!(normalise(text), text);
            }
        }
    }
    Ok(())
}
