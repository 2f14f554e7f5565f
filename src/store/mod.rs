//! Where resources are kept: one trait, and the stores behind it.
//!
//! A store knows objects and field edits. It knows nothing of recipes, plans or terminals.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::calico::{FieldEdit, Kind, Object, ObjectId, Snapshot};
use crate::selector::Selector;

pub mod any;
pub mod config;
pub mod etcd;
pub mod kubernetes;
pub mod manifests;

/// What a command needs to read. A store may read more, never less.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Kinds to read whole. Pods and workload endpoints are asked for by `pods` instead.
    pub kinds: Vec<Kind>,
    /// Which pods, and workload endpoints of etcd.
    pub pods: Pods,
    /// What else, told from what has been read.
    pub further: Option<Arc<dyn Further>>,
}

/// Which pods are needed.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Pods {
    /// None.
    #[default]
    None,
    /// Those that any of these selectors matches, in one namespace or in all.
    Matching(Vec<(Option<String>, Selector)>),
    /// All.
    All,
}

/// Objects of one kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// The kind.
    pub kind: Kind,
    /// Those of one namespace; `None` for all.
    pub namespace: Option<String>,
    /// Those that a selector matches; `None` for all.
    pub selector: Option<Selector>,
}

/// Tells what else is needed.
pub trait Further: fmt::Debug + Send + Sync {
    /// What is needed, given what has been read. It is asked again with all that it named, until it
    /// names nothing new.
    fn parts(&self, read: &Snapshot) -> BTreeSet<Part>;
}

impl Part {
    /// Every object of a kind.
    #[must_use]
    pub const fn whole(kind: Kind) -> Self {
        Self {
            kind,
            namespace: None,
            selector: None,
        }
    }

    /// The pods that a selector matches, in all namespaces.
    #[must_use]
    pub const fn pods(selector: Selector) -> Self {
        Self {
            kind: Kind::Pod,
            namespace: None,
            selector: Some(selector),
        }
    }
}

impl Wanted {
    /// Everything that the tool can handle.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            kinds: Kind::ALL.to_vec(),
            pods: Pods::All,
            further: None,
        }
    }
}

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// A new object; it is an error when there is one already.
    Create(Object),
    /// Field edits of an object that is there.
    Update {
        /// Which object.
        id: ObjectId,
        /// The edits, in order, in the object's v3 form.
        edits: Vec<FieldEdit>,
        /// The revision that was read; a store refuses the write when it has changed. `None` for
        /// an object that an earlier write of the same run made.
        revision: Option<String>,
    },
    /// The object goes away.
    Delete {
        /// Which object.
        id: ObjectId,
        /// The revision that was read; a store refuses the write when it has changed. `None` for
        /// an object that an earlier write of the same run made.
        revision: Option<String>,
    },
}

impl Write {
    /// The object that is written.
    #[must_use]
    pub fn id(&self) -> &ObjectId {
        match self {
            Self::Create(object) => object.id(),
            Self::Update { id, .. } | Self::Delete { id, .. } => id,
        }
    }
}

/// What a store wants kept of what it is about to write over, so that it can be put back to the
/// letter and not only by its meaning. What it says is the store's own business; it holds no secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Keepsake(pub Value);

/// What kind of failure a store met; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// Input, output, permission, a server's error: exit code 1.
    Failed,
    /// The object was changed since it was read: exit code 4.
    Conflict,
    /// What the user named cannot be used: exit code 64.
    Usage,
}

/// A failure of a store, with what the user can do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    /// What kind of failure.
    pub kind: StoreErrorKind,
    /// One line, lower case, names in backticks.
    pub message: String,
    /// Lines shown below the message as they are: the place in a file, a caret.
    pub detail: Vec<String>,
    /// The next thing to do.
    pub hint: Option<String>,
}

impl StoreError {
    /// A failure of a kind.
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            detail: Vec::new(),
            hint: None,
        }
    }

    /// The same failure with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same failure with lines shown below its message.
    #[must_use]
    pub fn detail(mut self, line: impl Into<String>) -> Self {
        self.detail.push(line.into());
        self
    }
}

/// A datastore.
#[expect(
    async_fn_in_trait,
    reason = "stores are used by this crate's own single-threaded commands"
)]
pub trait Store {
    /// Reads at least what is wanted, as of one moment.
    ///
    /// # Errors
    ///
    /// When the store cannot be read whole: a half-read picture proves nothing.
    async fn read(&mut self, wanted: &Wanted) -> Result<Snapshot, StoreError>;

    /// Finds out whether all these writes can be made, in the order in which they are to be made,
    /// without making any: called once before the first batch.
    ///
    /// # Errors
    ///
    /// When one of them is known to fail, so that nothing is written at all.
    async fn preflight(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        let _ = writes;
        Ok(())
    }

    /// What has to be kept to put a batch back to the letter: asked before the batch is written.
    ///
    /// # Errors
    ///
    /// When a write of the batch is known to fail. Nothing has been written then.
    async fn keepsakes(&mut self, batch: &[Write]) -> Result<Vec<Keepsake>, StoreError> {
        let _ = batch;
        Ok(Vec::new())
    }

    /// Takes what was kept when an earlier run wrote, in the order of its writing; asked behind a
    /// read. Writes that lead back to what was there before then do so to the letter.
    fn recall(&mut self, keepsakes: &[Keepsake]) {
        let _ = keepsakes;
    }

    /// Takes away what a run that was killed has left half-made beside what it wrote; asked behind
    /// a read, where no other run is under way.
    fn tidy(&mut self) {}

    /// Writes a batch of changes and calls `done` with the index of each that has taken effect.
    /// Once `stop` is raised no more are begun: those under way come to their end, and the others
    /// are left out, which is no error.
    ///
    /// The changes of a batch may take effect in any order: whoever makes batches has seen to it
    /// that every subset is safe. Order between batches is kept by the caller.
    ///
    /// # Errors
    ///
    /// When a write is refused or fails; those reported to `done` have taken effect all the same.
    /// A write refused with [`StoreErrorKind::Conflict`] has not.
    async fn write(
        &mut self,
        batch: &[Write],
        stop: &AtomicBool,
        done: &mut dyn FnMut(usize),
    ) -> Result<(), StoreError>;
}
