//! YAML and JSON files on disk as a datastore.
#[allow(dead_code)]
mod documents;
#[allow(dead_code)]
mod edit;
#[allow(dead_code)]
mod value;
