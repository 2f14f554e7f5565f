//! The vocabulary: Calico's resources, their names by version, ports, protocols and settings.
//!
//! This room is pure and knows nothing of where resources come from.

pub mod edit;
pub mod kind;
pub mod names;
pub mod net;
pub mod object;
pub mod snapshot;
pub mod v1;
pub mod version;

pub use edit::{FieldEdit, FieldPath};
pub use kind::{Family, Kind};
pub use object::{Object, ObjectError, ObjectId};
pub use snapshot::{Datastore, DatastoreKind, Snapshot, Stored};
pub use version::Version;
