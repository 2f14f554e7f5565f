//! The vocabulary: Calico's resources, their names by version, ports, protocols and settings.
//!
//! This room is pure and knows nothing of where resources come from.

pub mod cluster_policy;
pub mod edit;
pub mod endpoint;
pub mod felix;
pub mod kind;
pub mod kubernetes;
pub mod names;
pub mod net;
pub mod node;
pub mod object;
pub mod owner;
pub mod policy;
pub mod port;
pub mod snapshot;
pub(crate) mod splice;
pub mod v1;
pub mod validate;
pub mod version;
pub mod workload;
pub mod yaml;

pub use edit::{FieldEdit, FieldPath};
pub use endpoint::HostEndpointSpec;
pub use kind::{Family, Kind};
pub use node::{AddressRole, Host};
pub use object::{Object, ObjectError, ObjectId};
pub use policy::{Action, PolicySpec, PolicyType, Rule};
pub use port::{PortMatch, Protocol, ServerPort, Transport};
pub use snapshot::{Datastore, DatastoreKind, Snapshot, Stored};
pub use version::Version;
