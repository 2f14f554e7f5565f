//! Hints whose commands can be typed as they are shown.

use super::args::Global;
use crate::plugin::called::Called;

/// Commands that hints show whole. Other words in backticks may be names of a cluster's.
const COMMANDS: [&str; 8] = [
    "apply", "check", "confirm", "diff", "explain", "history", "status", "undo",
];

/// How commands are typed: the name of the tool, and what led it to the cluster and its journals.
#[derive(Debug, Clone, Copy)]
pub struct Typed {
    called: Called,
    options: &'static str,
}

impl Typed {
    /// By a name of the tool alone.
    #[must_use]
    pub const fn by(called: Called) -> Self {
        Self {
            called,
            options: "",
        }
    }

    /// With options as they were given, kept until the process ends.
    #[must_use]
    pub fn with(called: Called, global: &Global) -> Self {
        let path = |path: &Option<std::path::PathBuf>| {
            let path = path.as_ref()?;
            Some(path.display().to_string())
        };
        let given = [
            ("--manifests", path(&global.manifests)),
            ("--config", path(&global.config)),
            ("--context", global.context.clone()),
            ("--kubeconfig", path(&global.kubeconfig)),
            ("--journal", path(&global.journal)),
            (
                "--calico-version",
                global.calico_version.map(|version| version.to_string()),
            ),
        ];
        let given = given.into_iter();
        let given = given.filter_map(|(name, value)| Some((name, value?)));
        let options: String = given
            .map(|(name, value)| format!(" {name} {}", quoted(&value)))
            .collect();
        Self {
            called,
            options: options.leak(),
        }
    }

    /// The name of the tool.
    #[must_use]
    pub const fn called(self) -> Called {
        self.called
    }

    /// A hint whose commands in backticks are whole: `` `undo 6g0793` `` becomes
    /// `` `calicoctl-protect undo 6g0793 --manifests DIR` ``. What has a gap to be filled (`ID`, `…`)
    /// stays as it is.
    #[must_use]
    pub fn whole(self, hint: &str) -> String {
        let mut shown = String::with_capacity(hint.len());
        for (number, part) in hint.split('`').enumerate() {
            if number > 0 {
                shown.push('`');
            }
            if number % 2 == 1 && is_command(part) {
                shown.push_str(self.called.words());
                shown.push(' ');
                shown.push_str(part);
                shown.push_str(self.options);
            } else {
                shown.push_str(part);
            }
        }
        self.called.name_commands(&shown)
    }
}

/// Whether words are one of the tool's commands, without a gap.
fn is_command(words: &str) -> bool {
    let has_gap =
        |word: &str| word.contains('…') || word.starts_with(|c: char| c.is_ascii_uppercase());
    let mut words = words.split(' ');
    words.next().is_some_and(|first| COMMANDS.contains(&first)) && !words.any(has_gap)
}

/// A word as a shell takes it.
#[must_use]
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_hints_are_whole_and_gaps_and_other_words_stay() {
        let typed = Typed {
            called: Called::Kubectl,
            options: " --manifests 'my cluster'",
        };
        for (hint, whole) in [
            (
                "`undo 6g0793` tries again",
                "`kubectl calico protect undo 6g0793 --manifests 'my cluster'` tries again",
            ),
            (
                "`history` lists the runs",
                "`kubectl calico protect history --manifests 'my cluster'` lists the runs",
            ),
            ("name one: `undo ID`", "name one: `undo ID`"),
            ("`revoke etcd …` does", "`revoke etcd …` does"),
            ("check `server` of it", "check `server` of it"),
            ("undo it", "undo it"),
            (
                "`calicoctl-protect prune etcd`",
                "`kubectl calico protect prune etcd`",
            ),
        ] {
            assert_eq!(typed.whole(hint), whole);
        }
    }
}
