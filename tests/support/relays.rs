//! Relays in this process: a real implementation, for tests and the demo.

#![allow(dead_code, reason = "each program that includes this uses its own part")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use nostr::{Event, JsonUtil};
use nostr_relay_builder::LocalRelay;
use nostr_relay_builder::builder::{PolicyResult, QueryPolicy, RateLimit, RelayBuilder};
use nostr_relay_builder::prelude::{
    BoxedFuture, Filter, MemoryDatabase, MemoryDatabaseOptions, NostrDatabase,
};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// A relay on a free port of 127.0.0.1 that ends when it is dropped.
///
/// It keeps what relays keep: the newest of replaceable events, nothing deleted or expired.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    queries: Arc<AtomicUsize>,
    runtime: Option<Runtime>,
}

impl Relay {
    /// A relay that holds these events, one line of JSON each, and answers a query with the
    /// newest `limit` of them at most.
    pub fn start(events: &[String], limit: usize) -> Self {
        let [relay] = Self::start_each(events, limit);
        relay
    }

    /// Several such relays, which keep their events in one place.
    pub fn start_each<const COUNT: usize>(events: &[String], limit: usize) -> [Self; COUNT] {
        let database =
            MemoryDatabase::with_opts(MemoryDatabaseOptions { events: true, max_events: None });
        // A thread of its own, so that a test that is async can start a relay too.
        thread::scope(|scope| {
            let load = || runtime("load").block_on(load(&database, events));
            scope.spawn(load).join().unwrap();
        });
        [(); COUNT].map(|()| Self::of(database.clone(), limit))
    }

    fn of(database: MemoryDatabase, limit: usize) -> Self {
        let runtime = runtime("relay");
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let queries = Arc::<AtomicUsize>::default();
        let relay = LocalRelay::new(
            RelayBuilder::default()
                .database(database)
                .max_filter_limit(limit)
                .default_filter_limit(limit)
                .rate_limit(RateLimit { max_reqs: usize::MAX, notes_per_minute: u32::MAX })
                .query_policy(Counter(Arc::clone(&queries))),
        );
        runtime.spawn(serve(listener, relay));
        Self { address, queries, runtime: Some(runtime) }
    }

    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// How many queries it has answered so far.
    pub fn queries(&self) -> usize {
        self.queries.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A runtime with one thread, independent of that of a test.
pub(super) fn runtime(name: &str) -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name(name)
        .enable_all()
        .build()
        .unwrap()
}

async fn load(database: &MemoryDatabase, events: &[String]) {
    for line in events {
        let event = Event::from_json(line).expect("an event of NIP-01");
        database.save_event(&event).await.unwrap();
    }
}

/// The relay's own listener picks a port before it binds it, which another test may have taken by
/// then; so it is given connections that have shaken hands already.
async fn serve(listener: std::net::TcpListener, relay: LocalRelay) {
    let listener = TcpListener::from_std(listener).unwrap();
    while let Ok((stream, address)) = listener.accept().await {
        let relay = relay.clone();
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            if let Ok(connection) = tokio_tungstenite::accept_async(stream).await {
                let _ = relay.take_connection(connection.into_inner(), address).await;
            }
        });
    }
}

#[derive(Debug)]
struct Counter(Arc<AtomicUsize>);

impl QueryPolicy for Counter {
    fn admit_query<'a>(
        &'a self,
        _query: &'a Filter,
        _address: &'a SocketAddr,
    ) -> BoxedFuture<'a, PolicyResult> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(async { PolicyResult::Accept })
    }
}
