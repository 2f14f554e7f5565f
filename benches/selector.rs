//! How many selectors are read, and how many verdicts given, in a second.
#![expect(clippy::unwrap_used, reason = "the selectors below are valid")]

use std::collections::BTreeMap;
use std::hint::black_box;

use calicoctl_protect::selector::Selector;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Selectors as policies of real clusters have them.
const SELECTORS: [&str; 12] = [
    "all()",
    "has(protected-etcd-server)",
    "!has(allowed-etcd-client)",
    "protected-typha-server == 'true'",
    "role == 'db' && env != 'test'",
    "projectcalico.org/namespace == 'kube-system' && k8s-app in {'kube-dns', 'coredns'}",
    "has(node-role.kubernetes.io/control-plane) || has(node-role.kubernetes.io/master)",
    "zone not in {'eu-1a', 'eu-1b', 'eu-1c'} && tier contains 'front'",
    "!(app == 'web' || app == 'api') && name starts with 'prod-'",
    "(a == '1' || b == '2') && (c == '3' || !has(d)) && e ends with '.example'",
    "projectcalico.org/orchestrator == 'k8s' && !has(projectcalico.org/namespace)",
    "kubernetes.io/os == \"linux\" && kubernetes.io/arch in {\"amd64\",\"arm64\"}",
];

fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("selector");
    group.throughput(Throughput::Elements(SELECTORS.len() as u64));
    group.bench_function("parse", |b| {
        b.iter(|| {
            for text in black_box(SELECTORS) {
                black_box(Selector::parse(text).unwrap());
            }
        });
    });
    group.bench_function("canonical", |b| {
        let selectors = SELECTORS.map(|text| Selector::parse(text).unwrap());
        b.iter(|| {
            for selector in black_box(&selectors) {
                black_box(selector.canonical());
            }
        });
    });
    group.finish();
}

fn evaluate(c: &mut Criterion) {
    let selectors = SELECTORS.map(|text| Selector::parse(text).unwrap());
    let pairs = [
        ("kubernetes.io/arch", "amd64"),
        ("kubernetes.io/hostname", "node-17"),
        ("kubernetes.io/os", "linux"),
        ("node-role.kubernetes.io/control-plane", ""),
        ("protected-etcd-server", "true"),
        ("protected-typha-server", "true"),
        ("role", "db"),
        ("zone", "eu-2b"),
    ];
    let labels: BTreeMap<String, String> = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let mut group = c.benchmark_group("selector");
    group.throughput(Throughput::Elements(SELECTORS.len() as u64));
    group.bench_function("evaluate", |b| {
        b.iter(|| {
            for selector in black_box(&selectors) {
                black_box(selector.matches(&labels));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, parse, evaluate);
criterion_main!(benches);
