//! The product's evaluator against a second, naive one.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test may stop at what it does not expect, and tells what it counted"
)]

mod naive;
