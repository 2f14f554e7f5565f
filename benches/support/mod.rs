//! What benches share.

pub mod folders;
