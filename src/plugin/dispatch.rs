//! The dispatcher: what happens when the tool is called as `calicoctl`.
//!
//! It acts as git does for its commands. A first word that is no command of calicoctl, and for
//! which there is a program `calicoctl-<word>` on `PATH`, runs that program; everything else goes to
//! the next `calicoctl` on `PATH`. Both replace this process, so that arguments, streams, signals
//! and exit code are theirs. This is decided before anything else is set up.
//!
//! **It cannot find itself.** Programs are told apart by device and inode, whichever links lead to
//! them. Against another dispatcher, or a script that leads back here, each hop leaves a trace in
//! the environment ([`TRACE`]): which files were run so far, by which process, with which arguments.
//! A process keeps its number when it runs another program, so who comes back, in the same process or
//! with the same arguments, is recognised, and files that were run already come last. A program that
//! calls calicoctl with other arguments, as a child, makes a call of its own. Whoever goes round in
//! spite of this is stopped after [`MAX_HOPS`].
//!
//! Scripts that clear the environment take the trace away. Where they start a process for each hop,
//! those that wait are counted in its place, as far as `/proc` tells. Where they take the
//! dispatcher's place (`exec env -i … calicoctl`), nothing is left that could tell: they go round in
//! this one process until it is ended, as a script does that runs itself.

use std::ffi::{OsStr, OsString};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::called::{CALICOCTL, Called, PROGRAM};
use super::search::{FileId, Program, SearchPath};

/// The environment variable that tells a dispatcher what ran before it: the number of the process
/// that wrote it, how many dispatchers ran, a hash of the arguments, the files.
pub const TRACE: &str = "CALICOCTL_PROTECT_DISPATCHED";

/// How often dispatchers may run each other's programs before it is taken for a loop.
pub const MAX_HOPS: usize = 16;

/// The commands of calicoctl v3, which no plugin can take: those of `calicoctl/calicoctl.go` up to
/// v3.32 with `convert`, which left, and what the library of newer ones (cobra) adds.
const COMMANDS: [&str; 16] = [
    "create",
    "replace",
    "apply",
    "patch",
    "delete",
    "get",
    "label",
    "convert",
    "validate",
    "ipam",
    "node",
    "version",
    "datastore",
    "cluster",
    "help",
    "completion",
];

/// By these commands, shells ask programs that are made with cobra for completions.
const COMPLETE: [&str; 2] = ["__complete", "__completeNoDesc"];

/// Options of calicoctl that take a value and may stand before the command. `--config` may not, there;
/// who writes it there means it for a plugin.
const WITH_VALUE: [&str; 5] = ["-l", "--log-level", "--context", "-c", "--config"];

/// Options of calicoctl that take no value and may stand before the command.
const WITHOUT_VALUE: [&str; 1] = ["--allow-version-mismatch"];

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// Go on here.
    Here(Call),
    /// Become this program.
    Run(Successor),
    /// There is no program to become.
    Nowhere(Nowhere),
}

/// A call of this tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The name that the user typed.
    pub called: Called,
    /// Whether kubectl asks for completion.
    pub completing: bool,
    /// The arguments without the program's name.
    pub arguments: Vec<OsString>,
}

/// A program to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Successor {
    /// Where it is.
    pub program: PathBuf,
    /// Its arguments, without its name.
    pub arguments: Vec<OsString>,
    /// What the next dispatcher has to know: the value of [`TRACE`].
    pub trace: String,
}

/// Why there is nothing to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Nowhere {
    /// No other calicoctl is on `PATH`.
    #[error("no other `calicoctl` is on PATH, and this one is only the way to its plugins")]
    NotFound,
    /// Programs named `calicoctl` run each other in a circle.
    #[error("the programs named `calicoctl` on PATH only lead to each other")]
    Loop,
}

impl Nowhere {
    /// The next thing to do.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::NotFound => {
                "install calicoctl, or put its folder on PATH; `calicoctl protect` works without it"
            }
            Self::Loop => {
                "`type -a calicoctl` lists them; the real one has to be among them, or be called by its path"
            }
        }
    }
}

/// What the decision depends on beside the arguments.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Where programs are looked for.
    pub path: SearchPath,
    /// This program.
    pub this: Option<Program>,
    /// The number of this process.
    pub process: u32,
    /// The number of the process that started it.
    pub parent: u32,
    /// The value of [`TRACE`].
    pub trace: Option<OsString>,
}

impl Surroundings {
    /// Of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self {
            path: SearchPath::of_process(),
            this: Program::of_process(),
            process: std::process::id(),
            parent: std::os::unix::process::parent_id(),
            trace: std::env::var_os(TRACE),
        }
    }

    fn this_id(&self) -> Option<FileId> {
        self.this.as_ref().map(|this| this.id)
    }
}

/// Decides. `arguments` are all of the process, its name first.
#[must_use]
pub fn route(mut arguments: Vec<OsString>, surroundings: impl FnOnce() -> Surroundings) -> Route {
    let program = if arguments.is_empty() {
        OsString::new()
    } else {
        arguments.remove(0)
    };
    if Path::new(&program).file_name() != Some(OsStr::new(CALICOCTL)) {
        let (called, completing) = Called::from_program(&program);
        return Route::Here(Call {
            called,
            completing,
            arguments,
        });
    }
    let around = surroundings();
    let trace = Trace::read(&around, &arguments);
    if trace.hops >= MAX_HOPS {
        return Route::Nowhere(Nowhere::Loop);
    }
    let plugin = to_plugin(&arguments, &around, &trace);
    match plugin.unwrap_or_else(|| to_calicoctl(arguments, &around, &trace)) {
        Route::Run(next)
            if trace.hops == 0 && waiting(&next.program, around.parent) >= MAX_HOPS =>
        {
            Route::Nowhere(Nowhere::Loop)
        }
        route => route,
    }
}

/// The way to the next calicoctl.
fn to_calicoctl(arguments: Vec<OsString>, around: &Surroundings, trace: &Trace) -> Route {
    let all = around.path.all(OsStr::new(CALICOCTL));
    let others: Vec<Program> = all.filter(|p| Some(p.id) != around.this_id()).collect();
    let new = others.iter().find(|p| !trace.files.contains(&p.id));
    new.or(others.first())
        .map_or(Route::Nowhere(Nowhere::NotFound), |next| {
            Route::Run(Successor {
                program: next.path.clone(),
                trace: trace.after(around, &arguments, Some(next.id)),
                arguments,
            })
        })
}

/// How many processes, from this one upwards, run a program or script, as far as `/proc` tells. No more
/// are counted than matter.
fn waiting(program: &Path, mut process: u32) -> usize {
    let of = |process: u32, file: &str| std::fs::read(format!("/proc/{process}/{file}")).ok();
    let mut found = 0;
    while process > 1
        && found < MAX_HOPS
        && let (Some(line), Some(stat)) = (of(process, "cmdline"), of(process, "stat"))
    {
        // A script stands behind its interpreter, and an option of that.
        let mut words = line.split(|byte| *byte == 0).take(3);
        found += usize::from(words.any(|word| word == program.as_os_str().as_bytes()));
        // The parent's number stands behind the name, which ends at the last bracket, and the state.
        let stat = String::from_utf8_lossy(&stat);
        let parent = stat.rsplit(')').next().unwrap_or_default();
        let parent = parent.split_whitespace().nth(1);
        process = parent.and_then(|word| word.parse().ok()).unwrap_or(0);
    }
    found
}

/// The way to a plugin, when the first word names one.
fn to_plugin(arguments: &[OsString], around: &Surroundings, trace: &Trace) -> Option<Route> {
    let (completing, words) = match arguments.split_first() {
        Some((first, rest)) if COMPLETE.iter().any(|name| first == name) => (Some(first), rest),
        _ => (None, arguments),
    };
    let at = first_word(words)?;
    let (options, rest) = words.split_at(at);
    let (word, rest) = rest.split_first()?;
    // The word that is being completed is calicoctl's to complete.
    if completing.is_some() && rest.is_empty() {
        return None;
    }
    let name = word.to_str().filter(|word| !COMMANDS.contains(word))?;
    if name.is_empty() || name.contains('/') {
        return None;
    }
    // Options that stood before the word are for the plugin now.
    let inner: Vec<OsString> = completing
        .into_iter()
        .chain(options)
        .chain(rest)
        .cloned()
        .collect();
    let file = OsString::from(format!("{CALICOCTL}-{name}"));
    let found = around.path.find(&file);
    let is_this = found
        .as_ref()
        .is_none_or(|f| Some(f.id) == around.this_id());
    if file == PROGRAM && is_this {
        return Some(Route::Here(Call {
            called: Called::Calicoctl,
            completing: false,
            arguments: inner,
        }));
    }
    found.map(|plugin| {
        Route::Run(Successor {
            program: plugin.path,
            arguments: inner,
            trace: trace.after(around, arguments, None),
        })
    })
}

/// The place of the first word that is no option, or no option's value; `None` when calicoctl has to
/// say what the options before it mean.
fn first_word(arguments: &[OsString]) -> Option<usize> {
    let mut at = 0;
    loop {
        let word = arguments.get(at)?.to_str()?;
        if !word.starts_with('-') {
            return Some(at);
        }
        let attached = WITH_VALUE.iter().any(|option| {
            let value = word.strip_prefix(option).unwrap_or_default();
            !value.is_empty() && (value.starts_with('=') || !option.starts_with("--"))
        });
        at += if WITH_VALUE.contains(&word) {
            2
        } else if attached || WITHOUT_VALUE.contains(&word) {
            1
        } else {
            return None;
        };
    }
}

/// What ran before, as far as it matters here.
#[derive(Debug, Default)]
struct Trace {
    /// How many dispatchers.
    hops: usize,
    /// What they ran, and what they are; empty when this is a call of its own.
    files: Vec<FileId>,
}

impl Trace {
    /// Reads [`TRACE`].
    fn read(around: &Surroundings, arguments: &[OsString]) -> Self {
        let text = around.trace.as_deref().and_then(OsStr::to_str);
        let mut words = text.unwrap_or_default().split(' ');
        let process: Option<u32> = words.next().and_then(|word| word.parse().ok());
        let hops: Option<usize> = words.next().and_then(|word| word.parse().ok());
        let (Some(process), Some(hops)) = (process, hops) else {
            return Self::default();
        };
        let same = words.next() == Some(&hash(arguments));
        let files = if process == around.process || same {
            words.filter_map(FileId::parse).collect()
        } else {
            Vec::new()
        };
        Self { hops, files }
    }

    /// What the next one has to know.
    fn after(&self, around: &Surroundings, arguments: &[OsString], next: Option<FileId>) -> String {
        let (process, hops) = (around.process, self.hops + 1);
        let mut text = format!("{process} {hops} {}", hash(arguments));
        let files = self.files.iter().copied();
        for file in files.chain(around.this_id()).chain(next) {
            text.push(' ');
            text.push_str(&file.to_text());
        }
        text
    }
}

/// Arguments in short. Another build may see another number, and takes the call for one of its own.
fn hash(arguments: &[OsString]) -> String {
    let mut hasher = DefaultHasher::new();
    arguments.hash(&mut hasher);
    format!("{:x}", hasher.finish())
}

/// Becomes a program. Comes back only when it cannot, with the reason and the exit code that a shell
/// gives: 127 for a program that is not there, 126 for one that cannot be run.
#[must_use]
pub fn become_program(successor: Successor) -> (String, u8) {
    let Successor {
        program,
        arguments,
        trace,
    } = successor;
    let mut command = Command::new(&program);
    let error = command.args(arguments).env(TRACE, trace).exec();
    let code = match error.kind() {
        std::io::ErrorKind::NotFound => 127,
        _ => 126,
    };
    (format!("cannot run `{}`: {error}", program.display()), code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(words: &[&str]) -> Option<usize> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        first_word(&words)
    }

    #[test]
    fn the_first_word_stands_behind_calicoctls_options_and_their_values() {
        assert_eq!(first(&["protect"]), Some(0));
        assert_eq!(first(&["--allow-version-mismatch", "protect"]), Some(1));
        assert_eq!(
            first(&["-l", "debug", "--context", "x", "protect"]),
            Some(4)
        );
        assert_eq!(first(&["-ldebug", "--context=x", "protect"]), Some(2));
        assert_eq!(
            first(&["-c", "a.cfg", "--config=b.cfg", "protect"]),
            Some(3)
        );
    }

    #[test]
    fn there_is_no_first_word_behind_what_only_calicoctl_can_read() {
        for words in [
            &[][..],
            &["--help"],
            &["-h", "protect"],
            &["--version", "protect"],
            &["--unknown", "protect"],
            &["--contextual", "protect"],
            &["--allow-version-mismatch=no", "protect"],
            &["--", "protect"],
            &["-"],
            &["--context", "protect"],
            &["--context"],
        ] {
            assert_eq!(first(words), None, "{words:?}");
        }
    }

    #[test]
    fn a_trace_is_believed_in_the_same_process_or_with_the_same_arguments() {
        let file = FileId::parse("1:2").unwrap();
        let read = |process, arguments: &[&str], trace: &str| {
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            let around = Surroundings {
                path: SearchPath::default(),
                this: None,
                process,
                parent: 1,
                trace: Some(trace.into()),
            };
            Trace::read(&around, &arguments)
        };
        let trace = format!("7 3 {} 1:2", hash(&["get".into()]));
        assert_eq!(read(7, &["other"], &trace).files, [file]);
        assert_eq!(read(8, &["get"], &trace).files, [file]);
        let own = read(8, &["other"], &trace);
        assert!(own.files.is_empty());
        assert_eq!(own.hops, 3);
        for damaged in ["", "x", "7", "7 x 0 1:2", "-1 3", "7 3 0 zz 1"] {
            assert!(read(7, &[], damaged).files.is_empty(), "{damaged}");
        }
    }

    #[test]
    fn a_process_that_runs_a_program_is_known_by_its_command_line() {
        assert_eq!(
            waiting(Path::new("/no/such/program"), std::process::id()),
            0
        );
        let this = std::env::args_os().next().unwrap();
        let found = waiting(Path::new(&this), std::process::id()) > 0;
        assert_eq!(found, Path::new("/proc/self").exists());
    }
}
