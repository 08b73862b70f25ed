//! The one place that knows how peers are asked.

use std::sync::Arc;
use std::time::Duration;

use strfry_companion::nostr::Filter;
use strfry_companion::peer::{AuthKey, Dialler, FetchOutcome, Pace, PeerSession, Share, WantList};
use strfry_companion::stop::Stop;

use crate::line::SimulatedLine;
use crate::node::{Database, PeerSink};

/// How peers are waited for, in virtual time.
const PACE: Pace = Pace { time_out: Duration::from_secs(30), first_pause: Duration::from_secs(1) };

/// What all peers of a run share.
pub type Shared = Arc<WantList>;

/// Asks one peer.
pub async fn ask(
    line: SimulatedLine,
    shared: &Shared,
    database: &Database,
    queries: Vec<Filter>,
    sink: &PeerSink,
    stop: &Stop,
) -> FetchOutcome {
    let url = "ws://relay.example".parse().unwrap();
    let dialler = Dialler::new(url, true, Duration::from_secs(10));
    let share = Share::new(shared, Arc::new(database.clone()));
    let mut session = PeerSession::sharing(dialler, share)
        .known_by(AuthKey::new(&"07".repeat(32).parse().unwrap()))
        .until(stop)
        .over(Arc::new(line));
    let outcome = session.fetch(queries, PACE, sink).await;
    session.close().await;
    outcome
}
