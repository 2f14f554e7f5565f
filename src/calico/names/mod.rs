//! Names: which are legal, which the tool makes, and under which a policy is stored.

mod policy;

pub use policy::{Record, Store, candidates, stored_name, v3_name};
