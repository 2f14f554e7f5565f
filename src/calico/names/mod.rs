//! Names: which are legal, which the tool makes, and under which a policy is stored.

mod host_endpoint;
mod policy;
mod server;
mod syntax;

pub use host_endpoint::host_endpoint_name;
pub use policy::{Record, Store, candidates, is_ready_made, stored_name, v3_name};
pub use server::{ServerName, ServerNameError};
pub use syntax::{
    LABEL_MAX, SUBDOMAIN_MAX, SyntaxError, check_dns_label, check_dns_subdomain, check_label_key,
    check_label_value, is_interface_name, is_port_name,
};
