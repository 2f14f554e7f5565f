//! The room as others use it.

use super::*;

fn sel(text: &str) -> Selector {
    Selector::parse(text).unwrap()
}

#[test]
fn builders_give_what_the_text_gives() {
    let a = || Selector::has("a").unwrap();
    let b = || Selector::equals("b", "it's").unwrap();
    assert_eq!(Selector::all(), sel(""));
    assert_eq!(a(), sel("has(a)"));
    assert_eq!(b(), sel("b == \"it's\""));
    assert_eq!(a().and(b()), sel("has(a) && b == \"it's\""));
    assert_eq!(a().or(b()).not(), sel("!(has(a) || b == \"it's\")"));
    assert_eq!(a().not().not(), a());
}

#[test]
fn builders_refuse_what_has_no_text() {
    assert!(Selector::has("x) || has(y").is_err());
    assert!(Selector::equals("", "x").is_err());
    assert!(Selector::equals("a", "'\"").is_err());
}

#[test]
fn chains_are_one_group_on_either_side() {
    let has = |name| Selector::has(name).unwrap();
    let (ab, cd) = (has("a").and(has("b")), has("c").and(has("d")));
    assert_eq!(
        ab.clone().and(cd.clone()).to_string(),
        "(has(a) && has(b) && has(c) && has(d))"
    );
    assert_eq!(
        ab.or(cd).to_string(),
        "((has(a) && has(b)) || (has(c) && has(d)))"
    );
    let (ab, cd) = (has("a").or(has("b")), has("c").or(has("d")));
    assert_eq!(
        ab.or(cd).to_string(),
        "(has(a) || has(b) || has(c) || has(d))"
    );
}

#[test]
fn clones_share_the_tree() {
    let selector = sel("a == 'x'");
    assert!(Arc::ptr_eq(&selector.0, &selector.clone().0));
}

#[test]
fn labels_are_named_once_each() {
    let selector = sel("has(b) && !(a == 'x' || b in {'y'}) && all() && c contains 'z'");
    assert_eq!(selector.labels(), BTreeSet::from(["a", "b", "c"]));
}

#[test]
fn labels_are_renamed_everywhere() {
    let selector = sel(
        "!has(a) && (b == 'a' || b != 'a' || b in {'a'} || b not in {'a'}) \
         && c contains 'a' && c starts with 'a' && c ends with 'a' && all()",
    );
    assert_eq!(
        selector
            .map_labels(|name| format!("pcns.{name}"))
            .unwrap()
            .to_string(),
        "(!has(pcns.a) && (pcns.b == \"a\" || pcns.b != \"a\" || pcns.b in {\"a\"} \
         || pcns.b not in {\"a\"}) && pcns.c contains \"a\" && pcns.c starts with \"a\" \
         && pcns.c ends with \"a\" && all())"
    );
}

#[test]
fn renaming_to_no_label_name_is_an_error() {
    let selector = sel(&format!("has({})", "a".repeat(510)));
    assert!(selector.map_labels(|name| format!("x{name}")).is_ok());
    assert!(selector.map_labels(|name| format!("pcns.{name}")).is_err());
}

#[test]
fn constants_are_replaced_by_terms() {
    let with = sel("!has(ns)");
    assert_eq!(
        sel("!global() || global() && all()")
            .replace_global(&with)
            .to_string(),
        "(has(ns) || (!has(ns) && all()))"
    );
    assert_eq!(sel("").replace_all(&with), with);
    assert_eq!(sel("has(a)").replace_all(&with), sel("has(a)"));
}

#[test]
fn normalising_trims_every_white_space_but_parsing_does_not() {
    for outer in [
        "\n", "\r\n", "\u{a0}", "\u{2003}", "\u{85}", "\u{b}", "\u{c}",
    ] {
        let text = format!("{outer} a=='x'{outer}");
        assert!(Selector::parse(&text).is_err(), "{outer:?}");
        assert_eq!(normalise(&text), "a == \"x\"", "{outer:?}");
    }
    assert_eq!(normalise(" \n "), "all()");
    assert_eq!(normalise("\thas  (a)\n"), "has  (a)");
    assert_eq!(normalise("has(a)\n&& has(b)"), "has(a)\n&& has(b)");
    // Not white space to either language.
    assert_eq!(normalise("\u{200b}all( )"), "\u{200b}all( )");
}

#[test]
fn a_negation_in_brackets_keeps_its_bangs_as_in_calico() {
    let selector = sel("!(!has(a))");
    assert_eq!(selector.to_string(), "!!has(a)");
    assert_eq!(sel(&selector.to_string()), sel("has(a)"));
}

#[test]
fn runs_and_chains_of_any_length_are_taken() {
    let bangs = "!".repeat(1_000_001);
    assert_eq!(sel(&format!("{bangs}has(a)")).to_string(), "!has(a)");
    assert!(Selector::parse(&bangs).is_err());
    for operator in ["&&", "||"] {
        let chain = vec!["has(a)"; 100_000].join(operator);
        let selector = sel(&chain);
        assert!(selector.matches(&[("a", "")]));
        assert_eq!(sel(&selector.canonical()), selector);
    }
    let set = format!("a in {{{}}}", "'x',".repeat(100_000));
    assert_eq!(sel(&set).to_string(), "a in {\"x\"}");
}

#[test]
fn no_depth_of_brackets_exhausts_the_stack() {
    for text in ["(", "!(", "(a=='x'&&", "((has(a)||"] {
        let error = Selector::parse(&text.repeat(1_000_000 / text.len())).unwrap_err();
        assert_eq!(error.message, "brackets are nested more than 512 deep");
    }
    assert!(Selector::parse(&")".repeat(1_000_000)).is_err());
    assert!(Selector::parse(&"{".repeat(1_000_000)).is_err());
}

/// The deepest tree that a text can have: three levels for every bracket.
#[test]
fn the_deepest_tree_can_be_walked_in_every_way() {
    let text = format!(
        "{}has(b){}",
        "has(a) || has(b) && !(".repeat(MAX_NESTING),
        ")".repeat(MAX_NESTING)
    );
    let selector = sel(&text);
    assert!(!selector.matches(&[("c", "")]) || selector.matches(&[("b", "")]));
    assert_eq!(sel(&text), selector);
    assert!(format!("{selector:?}{:?}", selector.as_expr()).len() > text.len());
    assert_eq!(selector.labels().len(), 2);
    let renamed = selector.map_labels(|name| name.to_uppercase()).unwrap();
    assert_eq!(renamed.labels(), BTreeSet::from(["A", "B"]));
    assert!(renamed < selector);
    let joined = selector.clone().and(renamed).replace_all(&selector);
    assert_eq!(std::collections::HashSet::from([joined]).len(), 1);
}
