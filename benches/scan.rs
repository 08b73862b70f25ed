//! Time of scans: everything, counts, the first match, and many authors merged.

mod support;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use strfry_companion::strfry_db::{Filter, StrfryDb};

fn scans(criterion: &mut Criterion) {
    let authors: Vec<String> = support::pubkeys(500).iter().map(ToString::to_string).collect();
    let merged = serde_json::json!({"authors": authors, "kinds": [1, 7], "limit": 500}).to_string();
    let mut group = criterion.benchmark_group("scan");
    group.sample_size(20);
    for events in [10_000, 100_000, 1_000_000] {
        let db = StrfryDb::open(support::database(events)).unwrap();
        group.throughput(Throughput::Elements(events));
        group.bench_function(BenchmarkId::new("everything with JSON", events), |bencher| {
            bencher.iter(|| bytes(&db, "{}"));
        });
        group.bench_function(BenchmarkId::new("count by kind", events), |bencher| {
            bencher.iter(|| count(&db, r#"{"kinds":[0,1,7,1111]}"#));
        });
        group.bench_function(BenchmarkId::new("count by kind and tag", events), |bencher| {
            bencher.iter(|| count(&db, r##"{"kinds":[1,7],"#t":["day"]}"##));
        });
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("limit 1", events), |bencher| {
            bencher.iter(|| bytes(&db, r#"{"limit":1}"#));
        });
        group.bench_function(BenchmarkId::new("500 of 1,000 pairs", events), |bencher| {
            bencher.iter(|| bytes(&db, &merged));
        });
    }
}

/// Reads every match, and adds up how long they are.
fn bytes(db: &StrfryDb, filter: &str) -> usize {
    let filters = Filter::parse(filter).unwrap();
    let lengths = db
        .scan(filters)
        .map_batches(|batch| batch.json()?.map(|json| Ok(json?.len())).sum::<Result<usize, _>>());
    lengths.map(Result::unwrap).sum()
}

fn count(db: &StrfryDb, filter: &str) -> u64 {
    db.count(Filter::parse(filter).unwrap()).unwrap()
}

criterion_group!(benches, scans);
criterion_main!(benches);
