//! The product's evaluator against a second, naive one.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test may stop at what it does not expect, and tells what it counted"
)]

mod compare;
mod generate;
mod naive;

use generate::Count;
use naive::Naive;

#[test]
fn shown() {
    let mut count = Count::default();
    let start = std::time::Instant::now();
    for seed in 0..10_000 {
        let case = generate::case(seed);
        let naive = Naive::new(&case);
        count.clusters += 1;
        for query in &case.queries {
            count.add(&naive.decide(query));
        }
    }
    println!("{count}{:?}", start.elapsed());
}
