//! Time of one lookup, of 500 in one batch, on databases of several sizes.

mod support;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use strfry_companion::nostr::{EventId, kind};
use strfry_companion::strfry_db::StrfryDb;

const BATCH: usize = 500;

fn lookups(criterion: &mut Criterion) {
    let pubkeys = support::pubkeys(BATCH);
    let absent: Vec<EventId> =
        (0..BATCH as u64).map(|number| EventId::from_bytes(scrambled(number))).collect();
    let mut group = criterion.benchmark_group("lookups");
    group.throughput(Throughput::Elements(BATCH as u64));
    for events in [10_000, 100_000, 1_000_000] {
        let db = StrfryDb::open(support::database(events)).unwrap();
        let found = db.newest_of_each(&pubkeys, kind::PROFILE).unwrap();
        assert_eq!(found.iter().flatten().count(), BATCH * 4 / 5);
        group.bench_function(BenchmarkId::new("newest profile", events), |bencher| {
            bencher.iter(|| db.newest_of_each(black_box(&pubkeys), kind::PROFILE).unwrap());
        });
        group.bench_function(BenchmarkId::new("has a profile", events), |bencher| {
            bencher.iter(|| db.has_kind_each(black_box(&pubkeys), kind::PROFILE).unwrap());
        });
        group.bench_function(BenchmarkId::new("absent id", events), |bencher| {
            bencher.iter(|| db.contains_each(black_box(&absent)).unwrap());
        });
        group.bench_function(BenchmarkId::new("profile with JSON", events), |bencher| {
            bencher.iter(|| db.newest_json_of_each(black_box(&pubkeys), kind::PROFILE).unwrap());
        });
    }
}

/// Bytes spread over the whole index.
fn scrambled(number: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (position, chunk) in bytes.chunks_mut(8).enumerate() {
        let word = (number + position as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        chunk.copy_from_slice(&word.to_be_bytes());
    }
    bytes
}

criterion_group!(benches, lookups);
criterion_main!(benches);
