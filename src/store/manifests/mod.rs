//! YAML and JSON files on disk as a datastore.
