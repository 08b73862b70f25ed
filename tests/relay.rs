//! Conversations with relays that mean well, whatever their limits and troubles.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use strfry_companion::nostr::Filter;
use strfry_companion::peer::{
    EventSink, FetchOutcome, Gap, GapReason, Pace, Standing, Stopped, Unwanted, Withheld,
};
use strfry_companion::stop::Stop;
use support::collector::{
    Collector, IMPATIENT, PATIENT, fetch, fetch_over, peer, peer_over, query,
};
use support::events::{Author, START, events, sorted_ids};
use support::relays::Relay;
use support::scripted::{Act, Archive, Arrival, ScriptedRelay, answer};
use support::scripted_line::ScriptedLine;

fn json(filter: &Filter) -> Value {
    serde_json::to_value(filter).unwrap()
}

/// Nine notes of one author, in nine seconds.
fn few_notes(author: &Author) -> Vec<String> {
    events(9, |number| author.note(START + number, "hello"))
}

/// Asks relays of this limit for 3,000 notes, reactions and messages of 12 authors, in batches.
async fn every_event_comes_once_from_a_relay_capped_at(limit: usize) {
    let authors = Author::all(0..12);
    let all = events(3_000, |number| {
        let kind = [1, 4, 7][number as usize % 3];
        // Quiet times and seconds of 30 events.
        let second = if number % 10 < 4 { number / 75 * 75 } else { number * 977 % 100_000 };
        let author = &authors[(number * 31 % 12) as usize];
        author.event(kind, START + second, json!([]), &number.to_string())
    });
    let relay = Relay::start(&all, limit);
    let queries = authors
        .chunks(4)
        .flat_map(|authors| [query(authors, &[1, 7]), query(authors, &[4])])
        .collect();
    let (outcome, collector) = fetch(&relay.url(), queries, PATIENT).await;
    assert_eq!((outcome.events, outcome.pages), (3_000, relay.queries() as u64 - 1));
    assert_eq!(outcome.gaps, []);
    assert_eq!(collector.ids(), sorted_ids(&all));
}

#[tokio::test]
async fn every_event_comes_once_from_a_relay_capped_at_500() {
    every_event_comes_once_from_a_relay_capped_at(500).await;
}

#[tokio::test]
async fn every_event_comes_once_from_a_relay_capped_at_20() {
    every_event_comes_once_from_a_relay_capped_at(20).await;
}

#[tokio::test]
async fn a_second_of_5000_events_is_split_by_author_and_kind() {
    let authors = Author::all(0..10);
    let all = events(5_000, |number| {
        let kind = 1 + number % 2 * 6;
        authors[(number / 2 % 10) as usize].event(kind, START, json!([]), &number.to_string())
    });
    let relay = Relay::start(&all, 500);
    let (outcome, collector) = fetch(&relay.url(), vec![query(&authors, &[1, 7])], PATIENT).await;
    assert_eq!((outcome.events, outcome.pages), (5_000, relay.queries() as u64 - 1));
    assert_eq!(outcome.gaps, []);
    assert_eq!(collector.ids(), sorted_ids(&all));
}

#[tokio::test]
async fn a_second_that_cannot_be_split_is_named_and_everything_else_comes() {
    let authors = Author::all(0..3);
    let dense = events(700, |number| authors[1].note(START, &number.to_string()));
    let rest = events(400, |number| {
        authors[number as usize % 3].note(START - 200 + number, &number.to_string())
    });
    let rest: Vec<String> = rest.into_iter().filter(|event| !dense.contains(event)).collect();
    let relay = Relay::start(&[dense, rest.clone()].concat(), 500);
    let (outcome, collector) = fetch(&relay.url(), vec![query(&authors, &[1])], PATIENT).await;
    let part = Filter { since: Some(START), until: Some(START), ..query(&authors[1..2], &[1]) };
    assert_eq!(outcome.gaps, [Gap { filter: part, reason: GapReason::DenseSecond(START) }]);
    assert_eq!(
        (outcome.events, outcome.pages),
        (collector.count() as u64, relay.queries() as u64 - 1)
    );
    let ids = collector.ids();
    assert!(sorted_ids(&rest).iter().all(|id| ids.binary_search(id).is_ok()));
    assert!(ids.windows(2).all(|pair| pair[0] != pair[1]));
}

#[tokio::test]
async fn an_empty_answer_is_a_success_once_nothing_comes_after_it() {
    let relay = ScriptedRelay::start(|_| answer([Act::Eose]));
    let filter = Filter { since: Some(START), ..query(&[Author::new(1)], &[0]) };
    let (outcome, _) = fetch(&relay.url(), vec![filter.clone()], PATIENT).await;
    assert_eq!(
        outcome,
        FetchOutcome { events: 0, pages: 5, complete: 1, ..FetchOutcome::default() }
    );
    let record = relay.record();
    // Four more, together, tell whether nothing was true: for whatever there is, also of late and by
    // a few authors, and for the same.
    let limits = record.requests.iter().map(|filter| filter["limit"].as_u64());
    assert_eq!(limits.collect::<Vec<_>>(), [Some(500), Some(5), Some(5), Some(5), Some(1)]);
    assert_eq!(record.for_nothing, 1);
}

#[tokio::test]
async fn the_end_is_reached_when_nothing_older_exists() {
    let author = Author::new(1);
    let all = few_notes(&author);
    let archive = Archive::new(&all, 500);
    let relay = ScriptedRelay::start(move |request| archive.answer(request));
    let filter = query(&[author], &[1]);
    let (outcome, collector) = fetch(&relay.url(), vec![filter.clone()], PATIENT).await;
    assert_eq!(
        outcome,
        FetchOutcome { events: 9, pages: 4, complete: 1, ..FetchOutcome::default() }
    );
    assert_eq!(collector.ids(), sorted_ids(&all));
    // The newest came again when it was asked for alone, which shows the relay's order.
    assert_eq!(collector.dropped(), [Unwanted::Repeated, Unwanted::Repeated]);
    let page = |until| json(&Filter { until, limit: Some(500), ..filter.clone() });
    let newest = json(&Filter { limit: Some(1), ..filter.clone() });
    let pages = [page(None), newest, page(Some(START)), page(Some(START - 1))];
    assert_eq!(relay.record().requests, pages);
}

#[tokio::test]
async fn a_relay_that_answers_in_no_order_is_read_to_the_end() {
    let author = Author::new(1);
    let all = events(700, |number| author.note(START + number / 3, &number.to_string()));
    let archive = Archive::new(&all, 100);
    let relay = ScriptedRelay::start(move |request| {
        let mut page = archive.page(&request.filter);
        fastrand::Rng::with_seed(request.number as u64).shuffle(&mut page);
        answer(page.into_iter().map(Act::Event).chain([Act::Eose]))
    });
    let (outcome, collector) = fetch(&relay.url(), vec![query(&[author], &[1])], PATIENT).await;
    let pages = relay.record().requests.len() as u64;
    assert_eq!(
        outcome,
        FetchOutcome { events: 700, pages, complete: 1, ..FetchOutcome::default() }
    );
    assert_eq!(collector.ids(), sorted_ids(&all));
}

#[tokio::test]
async fn all_fetches_of_a_peer_share_one_connection_and_close_their_subscriptions() {
    let relay = ScriptedRelay::start(|_| answer([Act::Eose]));
    let mut session = peer(&relay.url());
    let authors = Author::all(0..6);
    let queries: Vec<Filter> = authors.chunks(1).map(|author| query(author, &[1])).collect();
    // The first time four more tell whether nothing was true.
    for pages in [10, 6] {
        let outcome = session.fetch(queries.clone(), PATIENT, &Collector::default()).await;
        assert_eq!(
            outcome,
            FetchOutcome { events: 0, pages, complete: 6, gaps: vec![], withheld: vec![] }
        );
    }
    let nothing = session.fetch(Vec::<Filter>::new(), PATIENT, &Collector::default()).await;
    assert_eq!(nothing, FetchOutcome::default());
    session.close().await;
    let mut watch = relay.watch();
    let record = watch.wait_for(|record| record.closed.len() == 18).await.unwrap().clone();
    assert_eq!(record.connections, 1);
}

#[tokio::test]
async fn nothing_to_ask_is_no_reason_to_connect() {
    let relay = ScriptedRelay::start(|_| answer([]));
    let (outcome, _) = fetch(&relay.url(), vec![], PATIENT).await;
    assert_eq!(outcome, FetchOutcome::default());
    assert_eq!(relay.record().connections, 0);
}

#[tokio::test]
async fn a_rate_limited_query_is_asked_again_until_it_is_answered() {
    let author = Author::new(1);
    let archive = Archive::new(&few_notes(&author), 500);
    let relay = ScriptedRelay::start(move |request| match request.number {
        1..=6 => answer([Act::Closed("rate-limited: slow down".into())]),
        _ => archive.answer(request),
    });
    let (outcome, _) = fetch(&relay.url(), vec![query(&[author], &[1])], PATIENT).await;
    assert_eq!(
        outcome,
        FetchOutcome { events: 9, pages: 4, complete: 1, ..FetchOutcome::default() }
    );
    assert_eq!(relay.record().requests.len(), 10);
}

#[tokio::test]
async fn queries_that_are_rate_limited_together_do_not_use_up_each_others_tries() {
    let relay = ScriptedRelay::start(move |request| match request.number {
        1..=9 => answer([Act::Closed("rate-limited: slow down".into())]),
        _ => answer([Act::Eose]),
    });
    let authors = Author::all(0..8);
    let queries = authors.chunks(1).map(|author| query(author, &[1])).collect();
    let (outcome, _) = fetch(&relay.url(), queries, PATIENT).await;
    assert_eq!(
        outcome,
        FetchOutcome { events: 0, pages: 12, complete: 8, gaps: vec![], withheld: vec![] }
    );
}

#[tokio::test]
async fn a_query_that_is_rate_limited_for_ever_is_named() {
    let message = "ERROR: rate-limited: slow down";
    let relay = ScriptedRelay::start(move |_| answer([Act::Closed(message.into())]));
    let filter = query(&[Author::new(1)], &[1]);
    let (outcome, _) = fetch(&relay.url(), vec![filter.clone()], PATIENT).await;
    let gaps = vec![Gap { filter, reason: GapReason::Closed(message.into()) }];
    assert_eq!(outcome, FetchOutcome { gaps, ..FetchOutcome::default() });
    assert_eq!(relay.record().requests.len(), 7);
}

#[tokio::test]
async fn private_messages_that_the_relay_keeps_are_withheld_and_everything_else_completes() {
    let author = Author::new(1);
    let archive = Archive::new(&few_notes(&author), 500);
    let message = "auth-required: kind 4 is private";
    let relay = ScriptedRelay::start(move |request| match &request.filter["kinds"] {
        kinds if *kinds == json!([4]) => answer([
            Act::Text(json!(["AUTH", "challenge"]).to_string()),
            Act::Closed(message.into()),
        ]),
        _ => archive.answer(request),
    });
    let authors = [author];
    let queries = vec![query(&authors, &[4]), query(&authors, &[1])];
    let (outcome, _) = fetch(&relay.url(), queries, PATIENT).await;
    let reason = format!("refused by the relay: {message}");
    let withheld = vec![Withheld { filter: query(&authors, &[4]), reason }];
    assert_eq!(outcome, FetchOutcome { events: 9, pages: 4, complete: 1, gaps: vec![], withheld });
}

#[tokio::test]
async fn a_connection_that_is_lost_in_the_middle_of_a_page_costs_no_event() {
    let author = Author::new(1);
    let all = events(900, |number| author.note(START + number / 4, &number.to_string()));
    let archive = Archive::new(&all, 100);
    let relay = ScriptedRelay::start(move |request| match request.number % 3 {
        0 => {
            let page = archive.page(&request.filter);
            answer(page.into_iter().map(Act::Event).take(60).chain([Act::Cut]))
        }
        _ => archive.answer(request),
    });
    let (outcome, collector) = fetch(&relay.url(), vec![query(&[author], &[1])], PATIENT).await;
    let record = relay.record();
    let lost = record.connections - 1;
    let pages = (record.requests.len() - lost) as u64;
    assert_eq!(
        outcome,
        FetchOutcome { events: 900, pages, complete: 1, ..FetchOutcome::default() }
    );
    assert_eq!(collector.ids(), sorted_ids(&all));
    assert!(lost > 2);
}

#[tokio::test]
async fn a_peer_that_comes_back_after_a_while_is_read_to_the_end() {
    let author = Author::new(1);
    let all = few_notes(&author);
    let archive = Archive::new(&all, 500);
    let arrival = |connection| match connection {
        2 | 3 => Arrival::HangUp,
        _ => Arrival::Welcome,
    };
    let relay = ScriptedRelay::start_with(arrival, move |request| match request.number {
        2 => answer([Act::Close]),
        _ => archive.answer(request),
    });
    let (outcome, collector) = fetch(&relay.url(), vec![query(&[author], &[1])], PATIENT).await;
    assert_eq!(
        outcome,
        FetchOutcome { events: 9, pages: 4, complete: 1, ..FetchOutcome::default() }
    );
    let mut ids = collector.ids();
    ids.dedup();
    assert_eq!(ids, sorted_ids(&all));
    assert_eq!(relay.record().connections, 4);
}

#[tokio::test]
async fn a_connection_that_died_between_two_fetches_is_replaced() {
    let has_died = Arc::<AtomicBool>::default();
    let first_has_died = Arc::clone(&has_died);
    let relay = ScriptedRelay::start(move |request| {
        match request.connection == 1 && first_has_died.load(Ordering::Relaxed) {
            true => answer([Act::Cut]),
            false => answer([Act::Eose]),
        }
    });
    let mut session = peer(&relay.url());
    // The first time four more tell whether nothing was true.
    for pages in [5, 1] {
        let queries = vec![query(&[Author::new(1)], &[1])];
        let outcome = session.fetch(queries, PATIENT, &Collector::default()).await;
        assert_eq!(
            outcome,
            FetchOutcome { events: 0, pages, complete: 1, ..FetchOutcome::default() }
        );
        has_died.store(true, Ordering::Relaxed);
    }
    assert_eq!(relay.record().connections, 2);
}

#[tokio::test(start_paused = true)]
async fn one_query_without_an_answer_spoils_neither_the_others_nor_the_next_fetch() {
    let relay = ScriptedLine::new(|request| match &request.filter["kinds"] {
        kinds if *kinds == json!([4]) => answer([]),
        _ => answer([Act::Eose]),
    });
    let mut session = peer_over(&relay);
    let ask = |kind| query(&[Author::new(1)], &[kind]);
    let queries = vec![ask(4), ask(0), ask(1), ask(2), ask(3), ask(5), ask(6)];
    let outcome = session.fetch(queries, PATIENT, &Collector::default()).await;
    let gap = Gap { filter: ask(4), reason: GapReason::Unanswered(6) };
    assert_eq!(
        outcome,
        FetchOutcome { events: 0, pages: 10, complete: 6, gaps: vec![gap], withheld: vec![] }
    );
    let outcome = session.fetch(vec![ask(0)], PATIENT, &Collector::default()).await;
    assert_eq!(
        outcome,
        FetchOutcome { events: 0, pages: 1, complete: 1, ..FetchOutcome::default() }
    );
}

#[tokio::test(start_paused = true)]
async fn a_page_that_waits_for_its_turn_is_not_overdue() {
    let authors = Author::all(0..2);
    let all = few_notes(&authors[0]);
    let archive = Archive::new(&all, 500);
    let relay = ScriptedLine::new(move |request| {
        let pause = [Act::Wait(PATIENT.time_out / 8)];
        answer(archive.answer(request).flat_map(move |act| pause.clone().into_iter().chain([act])))
    });
    let queries = authors.chunks(1).map(|author| query(author, &[1])).collect();
    let (outcome, _) = fetch_over(&relay, queries, PATIENT).await;
    assert_eq!(
        outcome,
        FetchOutcome { events: 9, pages: 5, complete: 2, gaps: vec![], withheld: vec![] }
    );
}

#[tokio::test(start_paused = true)]
async fn a_peer_is_not_blamed_for_the_time_in_which_this_program_was_not_run() {
    let author = Author::new(0);
    let all = few_notes(&author);
    let archive = Archive::new(&all, 500);
    let relay = ScriptedLine::new(move |request| archive.answer(request));
    let relay = relay.seen_late(2 * PATIENT.time_out);
    let (outcome, collector) = fetch_over(&relay, vec![query(&[author], &[1])], PATIENT).await;
    assert_eq!(
        outcome,
        FetchOutcome { events: 9, pages: 4, complete: 1, gaps: vec![], withheld: vec![] }
    );
    assert_eq!(collector.ids(), sorted_ids(&all));
}

#[tokio::test]
async fn all_events_come_also_from_a_relay_that_says_the_end_first_and_it_is_not_believed() {
    let author = Author::new(1);
    let all = few_notes(&author);
    let archive = Archive::new(&all, 500);
    let relay = ScriptedRelay::start(move |request| {
        let mut acts: Vec<Act> = archive.answer(request).collect();
        acts.rotate_right(1);
        answer(acts)
    });
    let asked = query(&[author], &[1]);
    let (outcome, collector) = fetch(&relay.url(), vec![asked.clone()], PATIENT).await;
    let page = asked;
    let gaps = vec![Gap { filter: page, reason: GapReason::AfterItsEnd }];
    // It is asked again whether "nothing" was true.
    assert_eq!(outcome, FetchOutcome { events: 18, pages: 6, complete: 1, gaps, withheld: vec![] });
    let mut ids = collector.ids();
    ids.dedup();
    assert_eq!(ids, sorted_ids(&all));
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_does_not_answer_a_request_for_nothing_has_answered_all_the_same() {
    let relay = ScriptedLine::new(|request| match request.number {
        1..=5 => answer([Act::Eose]),
        _ => answer([]),
    });
    let (outcome, _) = fetch_over(&relay, vec![query(&[Author::new(1)], &[1])], PATIENT).await;
    assert_eq!(
        outcome,
        FetchOutcome { events: 0, pages: 5, complete: 1, ..FetchOutcome::default() }
    );
    assert_eq!(relay.asked(), 6);
}

#[tokio::test]
async fn what_is_published_while_a_relay_is_asked_is_taken_and_no_gap() {
    let author = Author::new(1);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let late = author.note(now, "just now");
    let relay = ScriptedRelay::start({
        let late = late.clone();
        move |request| match request.number {
            1 => answer([Act::Eose, Act::Event(late.clone())]),
            _ => answer([Act::Eose]),
        }
    });
    let (outcome, collector) = fetch(&relay.url(), vec![query(&[author], &[1])], PATIENT).await;
    assert_eq!(
        outcome,
        FetchOutcome { events: 1, pages: 5, complete: 1, ..FetchOutcome::default() }
    );
    assert_eq!(collector.ids(), sorted_ids(&[late]));
}

#[tokio::test]
async fn events_that_come_after_the_end_of_their_page_are_taken_and_named() {
    let author = Author::new(1);
    let all = few_notes(&author);
    let late = [author.note(START + 100, "late"), author.note(START + 101, "later")];
    let archive = Archive::new(&all, 500);
    let relay = ScriptedRelay::start({
        let (late, again) = (late.clone(), all[8].clone());
        move |request| match request.number {
            1 => answer(archive.answer(request).chain([
                Act::Event(late[0].clone()),
                Act::Event(late[1].clone()),
                Act::Event(late[0].clone()),
                Act::Event(again.clone()),
            ])),
            _ => archive.answer(request),
        }
    });
    let asked = query(&[author], &[1]);
    let (outcome, collector) = fetch(&relay.url(), vec![asked.clone()], PATIENT).await;
    let page = asked;
    let gaps = vec![Gap { filter: page, reason: GapReason::AfterItsEnd }];
    assert_eq!(outcome, FetchOutcome { events: 11, pages: 4, complete: 1, gaps, withheld: vec![] });
    assert_eq!(collector.ids(), sorted_ids(&[all, late.to_vec()].concat()));
    assert_eq!(collector.dropped(), [const { Unwanted::Repeated }; 4]);
}

#[tokio::test]
async fn what_a_relay_says_of_itself_is_asked_once_however_often_it_is_dialled() {
    let author = Author::new(1);
    let archive = Archive::new(&few_notes(&author), 500);
    let relay = ScriptedRelay::start_informing(
        Some(json!({"supported_nips": [1], "limitation": {"max_limit": 123}})),
        |number| if number < 3 { Arrival::Refuse(503) } else { Arrival::Welcome },
        move |request| archive.answer(request),
        |_| answer([]),
    );
    let (outcome, _) = fetch(&relay.url(), vec![query(&[author], &[1])], PATIENT).await;
    assert_eq!((outcome.complete, outcome.gaps), (1, vec![]));
    let record = relay.record();
    assert_eq!((record.connections, record.informed), (3, 1));
    assert_eq!(record.requests[0]["limit"], 123);
}

#[tokio::test]
async fn a_sink_that_stops_ends_the_conversation() {
    let author = Author::new(1);
    let archive = Archive::new(&few_notes(&author), 500);
    let relay = ScriptedRelay::start(move |request| archive.answer(request));
    let mut session = peer(&relay.url());
    let filter = query(&[author], &[1]);
    let collector = Collector::that_stops_after(4);
    let outcome = session.fetch(vec![filter.clone()], PATIENT, &collector).await;
    let gaps = vec![Gap { filter, reason: GapReason::Stopped }];
    assert_eq!(outcome, FetchOutcome { events: 5, gaps: gaps.clone(), ..FetchOutcome::default() });
    assert_eq!(collector.count(), 4);
    let queries = gaps.iter().map(|gap| gap.filter.clone()).collect();
    let outcome = session.fetch(queries, PATIENT, &Collector::default()).await;
    assert_eq!(outcome, FetchOutcome { gaps, ..FetchOutcome::default() });
    assert_eq!(relay.record().connections, 1);
}

#[tokio::test]
async fn a_conversation_that_is_told_to_stop_keeps_what_was_answered_to_the_end_and_waits_for_nothing()
 {
    let author = Author::new(1);
    let few = few_notes(&author);
    let cut = events(30, |number| author.event(7, START + number * 9, json!([]), "+"));
    let archive = Archive::new(&[&few[..], &cut].concat(), 20);
    // Notes are given, reactions down to the tenth, and of other kinds it says nothing.
    let relay = ScriptedRelay::start(move |request| {
        let is_old = request.filter["until"].as_u64().is_some_and(|until| until < START + 100);
        match request.filter["kinds"][0].as_u64() {
            Some(1) => {
                let end = json!(["EOSE", request.subscription, "finish"]).to_string();
                let notes = archive.page(&request.filter).into_iter().map(Act::Event);
                answer(notes.chain([Act::Text(end)]).collect::<Vec<_>>())
            }
            Some(7) if !is_old => archive.answer(request),
            _ => answer([]),
        }
    });
    let kinds = [1, 7, 8, 9];
    let queries = kinds.map(|kind| query(std::slice::from_ref(&author), &[kind])).to_vec();
    let stop = Stop::default();
    let mut session = peer(&relay.url()).until(&stop);
    let collector = Collector::default();
    let all_is_quiet = async {
        let is_asked = |asked: &Value| asked["until"].as_u64() == Some(START + 90);
        let mut watch = relay.watch();
        watch.wait_for(|record| record.requests.iter().any(is_asked)).await.unwrap();
        stop.tell();
    };
    let fetched = session.fetch(queries.clone(), PATIENT, &collector);
    let (mut outcome, ()) = tokio::join!(fetched, all_is_quiet);
    outcome.gaps.sort_by_key(|gap| gap.filter.kinds.clone());
    let stopped = |filter: &Filter| Gap { filter: filter.clone(), reason: GapReason::Stopped };
    let rest = Filter { until: Some(START + 90), ..queries[1].clone() };
    let others = Filter { kinds: Some(vec![8, 9]), ..queries[2].clone() };
    assert_eq!((outcome.complete, outcome.gaps), (1, vec![stopped(&rest), stopped(&others)]));
    assert_eq!(collector.ids(), sorted_ids(&[&few[..], &cut[10..]].concat()));
    // A later fetch asks for nothing.
    let (asked, gaps) = (relay.record(), vec![stopped(&queries[0])]);
    let outcome = session.fetch(queries[..1].to_vec(), PATIENT, &collector).await;
    assert_eq!(outcome, FetchOutcome { gaps, ..FetchOutcome::default() });
    assert_eq!(relay.record(), asked);
}

/// Takes its time over the first event, until the peer cannot send any more.
struct Slow<'a> {
    relay: &'a ScriptedRelay,
    collector: Collector,
}

impl EventSink for Slow<'_> {
    async fn event(&self, event: &strfry_companion::nostr::Event<'_>) -> Result<(), Stopped> {
        if self.collector.count() == 0 {
            self.relay.watch().wait_for(|record| record.stalls > 0).await.unwrap();
            // Longer than the peer may take, and long enough to read all that it has.
            tokio::time::sleep(IMPATIENT.time_out * 5).await;
            assert!(self.relay.record().sent < 3_000, "events are read that have no room");
        }
        self.collector.event(event).await
    }

    fn unwanted(&self, what: Unwanted) {
        self.collector.unwanted(what);
    }

    fn standing(&self) -> Standing {
        Standing { genuine: self.collector.count() as u64, ..Standing::default() }
    }
}

#[tokio::test]
async fn while_the_sink_has_no_room_nothing_is_read_and_the_peer_is_not_blamed() {
    let author = Author::new(1);
    let all = events(3_000, |number| author.note(START + number, &"x".repeat(8_000)));
    let archive = Archive::new(&all, 3_000);
    let relay = ScriptedRelay::start(move |request| {
        let mut filter = request.filter.clone();
        // A control asks for one.
        if filter["limit"] != 1 {
            filter["limit"] = 3_000.into();
        }
        answer(archive.page(&filter).into_iter().map(Act::Event).chain([Act::Eose]))
    });
    let pace = Pace { time_out: 4 * IMPATIENT.time_out, ..IMPATIENT };
    let sink = Slow { relay: &relay, collector: Collector::default() };
    let outcome = peer(&relay.url()).fetch(vec![query(&[author], &[1])], pace, &sink).await;
    assert_eq!(
        outcome,
        FetchOutcome { events: 3_000, pages: 4, complete: 1, ..FetchOutcome::default() }
    );
    assert_eq!(sink.collector.ids(), sorted_ids(&all));
    assert_eq!(relay.record().connections, 1);
}
