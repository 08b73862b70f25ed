//! Conversations with peers that are dead, broken or hostile: each ends soon, says why, and costs
//! neither memory nor time nor the events of anybody else.

mod support;

use std::net::SocketAddr;
use std::time::Duration;
use std::{io, iter};

use rustix::io::Errno;
use serde_json::json;
use strfry_companion::nostr::{Filter, Malformed, Pubkey};
use strfry_companion::peer::{
    Dialler, FetchOutcome, Gap, GapReason, PeerSession, Unwanted, limits,
};
use support::collector::{
    Collector, IMPATIENT, PATIENT, fetch, fetch_over, peer, peer_over, query,
};
use support::events::{Author, events, forged, unsigned};
use support::no_relays::{ClosedPort, MuteListener};
use support::scripted::{Act, Archive, Arrival, ScriptedRelay, answer};
use support::scripted_line::ScriptedLine;
use tokio::time::Instant;

/// What is said of a peer that takes a connection and ends it.
const UNANSWERED: &str = "the other side ended the connection before it answered the WebSocket \
    handshake, as a tunnel does whose far end is not reached";

const START: u64 = 1_700_000_000;

fn notes() -> Filter {
    query(&[Author::new(1)], &[1])
}

/// Nothing came but the reason why.
fn nothing(reason: GapReason) -> FetchOutcome {
    gap_after(0, 0, reason)
}

fn gap_after(events: u64, pages: u64, reason: GapReason) -> FetchOutcome {
    FetchOutcome {
        events,
        pages,
        gaps: vec![Gap { filter: notes(), reason }],
        ..FetchOutcome::default()
    }
}

fn not_connected(error: &str) -> GapReason {
    GapReason::NotConnected(error.to_owned())
}

fn refused(address: SocketAddr) -> String {
    format!("cannot connect to {address}: {}", io::Error::from(Errno::CONNREFUSED))
}

#[tokio::test]
async fn a_peer_that_cuts_every_handshake_is_tried_three_times_and_not_asked_again() {
    let relay = ScriptedRelay::start_with(|_| Arrival::HangUp, |_| answer([]));
    let mut session = peer(&relay.url());
    let dead = nothing(not_connected(UNANSWERED));
    assert_eq!(session.fetch(vec![notes()], PATIENT, &Collector::default()).await, dead);
    // Three for the conversation, and perhaps some for what the relay says of itself.
    let connections = relay.record().connections;
    assert!((3..=6).contains(&connections), "{connections}");
    assert_eq!(session.fetch(vec![notes()], PATIENT, &Collector::default()).await, dead);
    assert_eq!(relay.record().connections, connections);
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_named() {
    let port = ClosedPort::reserve();
    let (outcome, _) = fetch(&port.url(), vec![notes()], PATIENT).await;
    let error = refused(port.address());
    assert_eq!(outcome, nothing(not_connected(&error)));
}

#[tokio::test]
async fn a_peer_that_does_not_answer_the_handshake_costs_the_time_of_one_connection() {
    let listener = MuteListener::start();
    let (url, time_out) = (listener.url().parse().unwrap(), Duration::from_millis(100));
    let mut session = PeerSession::new(Dialler::new(url, true, time_out));
    let mute = nothing(not_connected("no connection within 0 s"));
    assert_eq!(session.fetch(vec![notes()], PATIENT, &Collector::default()).await, mute);
    assert_eq!(session.fetch(vec![notes()], PATIENT, &Collector::default()).await, mute);
}

#[tokio::test]
async fn a_peer_that_refuses_the_handshake_is_quoted() {
    let relay = ScriptedRelay::start_with(|_| Arrival::Refuse(403), |_| answer([]));
    let (outcome, _) = fetch(&relay.url(), vec![notes()], PATIENT).await;
    let error = "WebSocket handshake: HTTP error: 403 Forbidden";
    assert_eq!(outcome, nothing(not_connected(error)));
}

#[tokio::test]
async fn tls_with_a_peer_that_does_not_speak_it_is_an_error() {
    let relay = ScriptedRelay::start_with(|_| Arrival::HangUp, |_| answer([]));
    let url = relay.url().replace("ws://", "wss://");
    let (outcome, _) = fetch(&url, vec![notes()], PATIENT).await;
    let error = "WebSocket handshake: IO error: tls handshake eof";
    assert_eq!(outcome, nothing(not_connected(error)));
}

#[tokio::test]
async fn a_local_address_is_not_dialled_for_a_stranger_whatever_its_name() {
    let relay = ScriptedRelay::start(|_| answer([Act::Eose]));
    let port = relay.address().port();
    for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433"] {
        let url = format!("ws://{host}:{port}").parse::<url::Url>().unwrap();
        let shown = url.host_str().unwrap().to_owned();
        let time_out = Duration::from_secs(20);
        let mut session = PeerSession::new(Dialler::new(url, false, time_out));
        let outcome = session.fetch(vec![notes()], PATIENT, &Collector::default()).await;
        let error = format!(
            "{shown} has only loopback or private addresses, which are not dialled for a peer \
             that a swarm file names (--allow-local-peers permits it)"
        );
        assert_eq!(outcome, nothing(not_connected(&error)));
    }
    assert_eq!(relay.record().connections, 0);
}

#[tokio::test]
async fn a_peer_that_closes_every_connection_is_given_up_after_five() {
    let relay = ScriptedRelay::start_with(|_| Arrival::Greet(vec![Act::Close]), |_| answer([]));
    let mut session = peer(&relay.url());
    let closed = nothing(GapReason::Cut("closed by the relay".into()));
    assert_eq!(session.fetch(vec![notes()], PATIENT, &Collector::default()).await, closed);
    assert_eq!(session.fetch(vec![notes()], PATIENT, &Collector::default()).await, closed);
    assert_eq!(relay.record().connections, 5);
}

#[tokio::test]
async fn a_peer_that_goes_away_for_good_is_tried_again_and_then_given_up() {
    let archive = Archive::new(&[Author::new(1).note(START, "hello")], 500);
    let arrival = |connection| match connection {
        1 => Arrival::Welcome,
        _ => Arrival::HangUp,
    };
    let relay = ScriptedRelay::start_with(arrival, move |request| match request.number {
        1 => archive.answer(request),
        _ => answer([Act::Cut]),
    });
    let (outcome, _) = fetch(&relay.url(), vec![notes()], PATIENT).await;
    // What is older than the event that came is not known.
    let filter = Filter { until: Some(START), ..notes() };
    let gaps = vec![Gap { filter, reason: not_connected(UNANSWERED) }];
    assert_eq!(outcome, FetchOutcome { events: 1, pages: 1, gaps, ..FetchOutcome::default() });
    assert_eq!(relay.record().connections, 4);
}

#[tokio::test]
async fn a_peer_whose_port_closes_is_tried_again_and_then_given_up() {
    let relay =
        ScriptedRelay::start_with(|_| Arrival::WelcomeTheLast, |_| answer([Act::Eose, Act::Cut]));
    let mut session = peer(&relay.url());
    let ask = vec![notes(), query(&[Author::new(2)], &[1])];
    let outcome = session.fetch(ask, PATIENT, &Collector::default()).await;
    let error = refused(relay.address());
    // Whether it has really nothing of the first author could not be found out any more.
    let mut missing: Vec<Pubkey> =
        outcome.gaps.iter().flat_map(|gap| gap.filter.authors.clone().unwrap()).collect();
    missing.sort();
    let mut authors = [1, 2].map(|number| Author::new(number).pubkey());
    authors.sort();
    assert_eq!(missing, authors);
    assert!(outcome.gaps.iter().any(|gap| gap.reason == not_connected(&error)));
    assert_eq!((outcome.events, outcome.pages, outcome.complete), (0, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_costs_one_time_out() {
    let mut session = peer_over(&ScriptedLine::new(|_| answer([])));
    let began = Instant::now();
    for _ in 0..2 {
        let outcome = session.fetch(vec![notes()], PATIENT, &Collector::default()).await;
        assert!(outcome.gaps.iter().all(|gap| gap.reason == GapReason::Unanswered(6)));
        assert!(outcome.failed(), "{outcome:?}");
    }
    assert!(began.elapsed() <= PATIENT.time_out, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_refuses_by_notice_is_quoted() {
    let notice = "ERROR: bad req: too many filters";
    let relay = ScriptedLine::new(move |_| answer([Act::Notice(notice.into())]));
    let (outcome, _) = fetch_over(&relay, vec![notes()], PATIENT).await;
    let reason = GapReason::Closed(notice.into());
    assert!(outcome.failed() && outcome.gaps.iter().all(|gap| gap.reason == reason), "{outcome:?}");
}

#[tokio::test]
async fn an_endless_notice_is_no_answer() {
    let notice = "x".repeat(1_000);
    let relay = ScriptedRelay::start(move |_| answer(iter::repeat(Act::Notice(notice.clone()))));
    let (outcome, _) = fetch(&relay.url(), vec![notes()], PATIENT).await;
    assert_eq!(outcome, nothing(GapReason::Useless));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_drips_one_event_at_a_time_is_given_up() {
    let relay = ScriptedLine::new(|_| {
        let drips = (0..).map(|number| unsigned(&Author::new(1), number, START));
        answer(drips.flat_map(|event| [Act::Event(event), Act::Wait(Duration::from_millis(1_050))]))
    });
    let (outcome, collector) = fetch_over(&relay, vec![notes()], PATIENT).await;
    let events = collector.count() as u64;
    assert_eq!(outcome, gap_after(events, 0, GapReason::TooSlow(200)));
    assert_eq!(relay.asked(), 1);
}

#[tokio::test]
async fn new_events_without_end_are_given_up() {
    let relay = ScriptedRelay::start(|_| {
        answer((0..).map(|number| Act::Event(unsigned(&Author::new(1), number, START + number))))
    });
    let (outcome, collector) = fetch(&relay.url(), vec![notes()], PATIENT).await;
    let events = limits::EVENTS_IN_ONE_PAGE as u64 + 1;
    assert_eq!(outcome, gap_after(events, 0, GapReason::Useless));
    assert_eq!(collector.count() as u64, events);
}

#[tokio::test]
async fn one_event_repeated_without_end_is_given_up() {
    let relay = ScriptedRelay::start(|_| {
        answer(iter::repeat_with(|| Act::Event(unsigned(&Author::new(1), 7, START))))
    });
    let (outcome, collector) = fetch(&relay.url(), vec![notes()], PATIENT).await;
    assert_eq!(outcome, gap_after(1, 0, GapReason::Useless));
    assert_eq!(collector.count(), 1);
}

#[tokio::test]
async fn a_flood_of_forged_events_is_given_up() {
    let genuine = Author::new(1).note(START, "hello");
    let relay = ScriptedRelay::start(move |_| {
        let genuine = genuine.clone();
        answer((0..).map(move |number| {
            let mut event: serde_json::Value = serde_json::from_str(&forged(&genuine)).unwrap();
            event["id"] = format!("{number:064x}").into();
            Act::Event(event.to_string())
        }))
    });
    let mut session = peer(&relay.url());
    let collector = Collector::default();
    let outcome = session.fetch(vec![notes()], PATIENT, &collector).await;
    let events = limits::USELESS_MESSAGES + 1;
    assert_eq!(outcome, gap_after(events, 0, GapReason::Useless));
    assert_eq!(collector.count() as u64, events);
    let outcome = session.fetch(vec![notes()], PATIENT, &Collector::default()).await;
    assert_eq!(outcome, nothing(GapReason::Useless));
    assert_eq!(relay.record().connections, 1);
}

/// A peer that only ever says `act` is given up after as many as are allowed.
async fn a_flood_is_given_up(act: Act, what: Unwanted) {
    let relay = ScriptedRelay::start(move |_| answer(iter::repeat(act.clone())));
    let (outcome, collector) = fetch(&relay.url(), vec![notes()], PATIENT).await;
    assert_eq!(outcome, nothing(GapReason::Useless));
    assert_eq!(collector.dropped(), vec![what; limits::USELESS_MESSAGES as usize + 1]);
    assert_eq!(collector.count(), 0);
}

#[tokio::test]
async fn a_flood_of_events_that_nobody_asked_for_is_given_up() {
    let author = Author::new(1);
    let other = Author::new(2);
    a_flood_is_given_up(Act::Event(other.note(START, "hello")), Unwanted::Unasked).await;
    a_flood_is_given_up(Act::Event(author.profile(START, "kind 0")), Unwanted::Unasked).await;
    let of_another_subscription = json!(["EVENT", "unknown", {
        "id": "00".repeat(32), "pubkey": author.pubkey(), "created_at": START, "kind": 1,
        "tags": [], "content": "", "sig": "00".repeat(64),
    }]);
    a_flood_is_given_up(Act::Text(of_another_subscription.to_string()), Unwanted::Unasked).await;
}

#[tokio::test]
async fn a_flood_of_what_is_no_event_or_no_message_is_given_up() {
    a_flood_is_given_up(Act::Event("{}".into()), Unwanted::Malformed(Malformed::MissingKey("id")))
        .await;
    a_flood_is_given_up(Act::Text("<html>".into()), Unwanted::NotAMessage).await;
    a_flood_is_given_up(Act::Text("[".repeat(100_000)), Unwanted::NotAMessage).await;
    a_flood_is_given_up(Act::Binary(1_000), Unwanted::NotAMessage).await;
}

#[tokio::test]
async fn a_few_useless_messages_are_dropped_and_everything_else_comes() {
    let authors = Author::all(1..3);
    let all = events(600, |number| authors[0].note(START + number, "hello"));
    let archive = Archive::new(&all, 500);
    let unasked = authors[1].note(START, "not asked for");
    let relay = ScriptedRelay::start(move |request| match request.number {
        1 => {
            let useless = [
                Act::Text("no JSON".into()),
                Act::Event(unasked.clone()),
                Act::Event("[]".into()),
                Act::Text("[\"EOSE\",\"unknown\"]".into()),
                Act::Text("[\"CLOSED\",\"unknown\",\"error: x\"]".into()),
            ];
            answer(useless.into_iter().chain(archive.answer(request)))
        }
        _ => archive.answer(request),
    });
    let (outcome, collector) = fetch(&relay.url(), vec![notes()], PATIENT).await;
    let pages = relay.record().requests.len() as u64;
    assert_eq!(
        outcome,
        FetchOutcome { events: 600, pages, complete: 1, ..FetchOutcome::default() }
    );
    assert_eq!(
        collector.dropped()[..3],
        [Unwanted::NotAMessage, Unwanted::Unasked, Unwanted::Malformed(Malformed::NotAnObject)]
    );
}

#[tokio::test]
async fn the_end_of_a_relay_that_ignores_until_is_not_believed() {
    let author = Author::new(1);
    let archive = Archive::new(&events(900, |number| author.note(START + number, "x")), 500);
    let relay = ScriptedRelay::start(move |request| {
        let mut request = request.clone();
        request.filters[0].as_object_mut().unwrap().remove("until");
        archive.answer(&request)
    });
    let (outcome, _) = fetch(&relay.url(), vec![notes()], PATIENT).await;
    assert_eq!(outcome, gap_after(500, 3, GapReason::IgnoresFilter));
}

#[tokio::test]
async fn a_message_that_never_ends_costs_one_time_out() {
    for bytes in [
        [&[0x81, 127][..], &(1u64 << 63).to_be_bytes(), b"[\"EVENT\","].concat(),
        [&[0x01, 127][..], &(3u64 << 20).to_be_bytes(), &[b' '; 4 << 20]].concat(),
    ] {
        let relay = ScriptedRelay::start(move |_| answer([Act::Raw(bytes.clone())]));
        let (outcome, _) = fetch(&relay.url(), vec![notes()], IMPATIENT).await;
        assert!(outcome.failed(), "{outcome:?}");
        assert_eq!(relay.record().connections, 1);
    }
}

#[tokio::test]
async fn a_flood_of_messages_that_are_too_large_is_given_up() {
    let large = Author::new(1).note(START, &"x".repeat(limits::MESSAGE));
    let relay = ScriptedRelay::start(move |_| answer(iter::repeat(Act::Event(large.clone()))));
    let (outcome, collector) = fetch(&relay.url(), vec![notes()], IMPATIENT).await;
    let reasons: Vec<GapReason> = outcome.gaps.into_iter().map(|gap| gap.reason).collect();
    assert_eq!(reasons, [GapReason::TimedOut(0, None)]);
    assert_eq!(collector.count(), 0);
}

#[tokio::test]
async fn a_query_that_ends_every_connection_does_not_keep_the_others_from_their_answers() {
    let relay = ScriptedRelay::start(|request| match &request.filter["kinds"] {
        kinds if *kinds == json!([1]) => answer([Act::Close]),
        _ => answer([Act::Eose]),
    });
    let authors = [Author::new(1)];
    for others in [3, 6] {
        let others = (2..2 + others).map(|kind| query(&authors, &[kind]));
        let queries: Vec<Filter> = iter::once(notes()).chain(others).collect();
        let complete = queries.len() - 1;
        let (outcome, _) = fetch(&relay.url(), queries, PATIENT).await;
        let reason = GapReason::Cut("closed by the relay".into());
        let of_it = |gap: &Gap| gap.filter.kinds == Some(vec![1]) && gap.reason == reason;
        assert!(!outcome.gaps.is_empty() && outcome.gaps.iter().all(of_it), "{:?}", outcome.gaps);
        assert_eq!((outcome.events, outcome.complete), (0, complete));
    }
}
