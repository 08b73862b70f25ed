//! Relays that want to be asked in a certain way: by limits that they announce, truly or not, by
//! names, or less often.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use strfry_companion::nostr::{Event, SecretKey, signature};
use strfry_companion::peer::{AuthKey, Dialler, FetchOutcome, GapReason, Room};
use support::collector::{Collector, Here, PATIENT, compare, fetch, peer, query, sharing_peer};
use support::events::{Author, START, events, notes_of, sorted_ids};
use support::no_relays::ClosedPort;
use support::scripted::{Act, Archive, Arrival, Request, ScriptedRelay, answer};

fn limit_of(filter: &Value) -> u64 {
    filter["limit"].as_u64().unwrap()
}

#[tokio::test]
async fn pages_and_batches_fit_what_a_relay_says_of_itself() {
    let author = Author::new(1);
    let all = notes_of(&author, 300);
    let info = json!({"limitation": {"max_limit": 50}});
    let relay = Archive::new(&all, 50).informing(Some(info));
    let queries = || vec![query(std::slice::from_ref(&author), &[1])];
    let (outcome, collector) = fetch(&relay.url(), queries(), PATIENT).await;
    assert_eq!((collector.ids(), outcome.gaps), (sorted_ids(&all), vec![]));
    let requests = relay.record().requests;
    // A control asks for one.
    assert!(requests.iter().all(|filter| [1, 50].contains(&limit_of(filter))));
    let (outcome, collector) = compare(&relay.url(), queries(), PATIENT, Here::of(&[])).await;
    assert_eq!((collector.ids(), outcome.gaps), (sorted_ids(&all), vec![]));
    let by_id = relay.record().requests.len() - requests.len();
    assert_eq!(by_id, 300 / 50);
}

#[tokio::test]
async fn authors_are_asked_for_in_messages_that_a_relay_takes() {
    let authors = Author::all(0..90);
    let all = events(90, |number| authors[number as usize].note(START + number, "hello"));
    let info = json!({"limitation": {"max_message_length": 4_500}, "supported_nips": [1]});
    let relay = Archive::new(&all, 500).informing(Some(info));
    let (outcome, collector) =
        compare(&relay.url(), vec![query(&authors, &[1])], PATIENT, Here::of(&[])).await;
    assert_eq!((collector.ids(), outcome.gaps), (sorted_ids(&all), vec![]));
    let record = relay.record();
    assert_eq!(record.rounds, 0);
    assert!(record.requests.iter().all(|filter| filter.to_string().len() < 4_400));
}

#[tokio::test]
async fn a_relay_that_lies_about_itself_in_either_direction_is_read_to_the_end() {
    let author = Author::new(1);
    let all = notes_of(&author, 700);
    for (info, limit) in [
        (json!({"limitation": {"max_limit": 1_000_000, "max_subscriptions": 1_000_000}}), 20),
        (json!({"limitation": {"max_limit": 1, "max_subscriptions": 0, "max_filters": 0}}), 500),
        (json!({"supported_nips": [1], "limitation": {"max_message_length": 3}}), 100),
        (json!({"supported_nips": [77], "negentropy": 1, "limitation": []}), 100),
        (json!("no information"), 100),
    ] {
        let relay = Archive::new(&all, limit).informing(Some(info.clone()));
        let queries = vec![query(std::slice::from_ref(&author), &[1])];
        let (outcome, collector) = compare(&relay.url(), queries, PATIENT, Here::of(&[])).await;
        assert!(collector.ids() == sorted_ids(&all), "{info}: {}", collector.count());
        assert_eq!(outcome.gaps, [], "{info}");
    }
}

#[tokio::test]
async fn a_relay_that_says_that_it_compares_and_does_not_is_asked_page_by_page() {
    let author = Author::new(1);
    let all = notes_of(&author, 700);
    let archive = Archive::new(&all, 500);
    let relay = ScriptedRelay::start_informing(
        Some(json!({"supported_nips": [1, 77], "negentropy": 1})),
        |_| Arrival::Welcome,
        move |request| archive.answer(request),
        |_| answer([Act::Notice("unknown command".into())]),
    );
    let queries = vec![query(&[author], &[1])];
    let (outcome, collector) = compare(&relay.url(), queries, PATIENT, Here::of(&[])).await;
    assert_eq!((collector.ids(), outcome.gaps), (sorted_ids(&all), vec![]));
}

#[tokio::test]
async fn a_relay_that_says_that_there_is_no_more_is_asked_once() {
    let author = Author::new(1);
    let archive = Archive::new(&notes_of(&author, 9), 500);
    let relay = ScriptedRelay::start(move |request| {
        let eose = json!(["EOSE", request.subscription, ["finish"]]).to_string();
        let page = archive.page(&request.filter).into_iter().map(Act::Event);
        answer(page.chain([Act::Text(eose)]))
    });
    let (outcome, _) = fetch(&relay.url(), vec![query(&[author], &[1])], PATIENT).await;
    assert_eq!(
        outcome,
        FetchOutcome { events: 9, pages: 1, complete: 1, ..FetchOutcome::default() }
    );
}

/// 100 notes of each of 12 authors, and what an honest relay of small pages says.
const SECRET: &str = "0707070707070707070707070707070707070707070707070707070707070707";

fn auth_key() -> Option<AuthKey> {
    AuthKey::new(&SECRET.parse::<SecretKey>().unwrap())
}

/// Refuses what `is_private` says until the client has said who it is.
fn asking_who(archive: &Archive, is_private: fn(&Request) -> bool) -> ScriptedRelay {
    let archive = archive.clone();
    let comparer = archive.comparer();
    let known = AtomicUsize::new(0);
    ScriptedRelay::start_comparing(
        |_| Arrival::Greet(vec![Act::Text(json!(["AUTH", "who are you"]).to_string())]),
        move |request| {
            // The first refusal makes the client say it; it waits for the answer.
            let count = known.load(Ordering::SeqCst);
            if is_private(request) && count == 0 {
                known.store(1, Ordering::SeqCst);
                return answer([Act::Closed("auth-required: tell me".into())]);
            }
            archive.answer(request)
        },
        comparer,
    )
}

#[tokio::test]
async fn a_relay_that_wants_to_know_who_we_are_is_told_and_asked_again() {
    let author = Author::new(1);
    let all = notes_of(&author, 40);
    for is_compared in [true, false] {
        let relay = asking_who(&Archive::new(&all, 500), |_| true);
        let queries = vec![query(std::slice::from_ref(&author), &[1])];
        let session = match is_compared {
            true => sharing_peer(&relay.url(), &Arc::default(), Here::of(&[])),
            false => peer(&relay.url()),
        };
        let collector = Collector::default();
        let outcome = session.known_by(auth_key()).fetch(queries, PATIENT, &collector).await;
        assert_eq!((collector.ids(), outcome.gaps), (sorted_ids(&all), vec![]));
        let [auth] = &relay.record().auths[..] else { panic!("not told once") };
        let text = auth.to_string();
        let event = Event::parse(&text).unwrap();
        assert!(signature::is_valid(&event.id, &event.pubkey, &event.sig));
        assert_eq!(event.kind, 22_242);
        assert_eq!(auth["tags"], json!([["relay", relay.url()], ["challenge", "who are you"]]));
    }
}

#[tokio::test]
async fn without_a_key_a_relay_that_wants_to_know_who_we_are_is_named() {
    let author = Author::new(1);
    let relay = ScriptedRelay::start_with(
        |_| Arrival::Greet(vec![Act::Text(json!(["AUTH", "who are you"]).to_string())]),
        |_| answer([Act::Closed("ERROR: auth-required: tell me".into())]),
    );
    let (outcome, _) = fetch(&relay.url(), vec![query(&[author], &[1])], PATIENT).await;
    let reasons: Vec<_> = outcome.gaps.into_iter().map(|gap| gap.reason).collect();
    assert_eq!(reasons, [GapReason::Closed("ERROR: auth-required: tell me".into())]);
    assert_eq!(relay.record().auths, Vec::<Value>::new());
}

#[tokio::test]
async fn private_messages_that_need_a_name_are_given_for_one() {
    let author = Author::new(1);
    let all = events(40, |number| {
        author.event(4 - number % 2 * 3, START + number, json!([]), &number.to_string())
    });
    let relay =
        asking_who(&Archive::new(&all, 500), |request| request.filter["kinds"] == json!([4]));
    let authors = [author];
    let queries = vec![query(&authors, &[1]), query(&authors, &[4])];
    let collector = Collector::default();
    let outcome = peer(&relay.url()).known_by(auth_key()).fetch(queries, PATIENT, &collector).await;
    assert_eq!((collector.ids(), outcome.gaps), (sorted_ids(&all), vec![]));
}

#[tokio::test]
async fn a_relay_with_too_many_requests_open_is_asked_fewer_at_once() {
    let authors = Author::all(0..8);
    let all = events(80, |number| authors[number as usize % 8].note(START + number, "hello"));
    let archive = Archive::new(&all, 500);
    let relay = ScriptedRelay::start(move |request| match request.number {
        2 => answer([Act::Notice("ERROR: too many concurrent REQs".into())]),
        _ => archive.answer(request),
    });
    let queries = authors.chunks(1).map(|author| query(author, &[1])).collect();
    let (outcome, collector) = fetch(&relay.url(), queries, PATIENT).await;
    assert_eq!((outcome.complete, outcome.gaps), (8, vec![]));
    let mut ids = collector.ids();
    ids.dedup();
    assert_eq!(ids, sorted_ids(&all));
}

#[tokio::test]
async fn a_short_look_shows_what_a_relay_can_do() {
    let dialler = |url: String| Dialler::new(url.parse().unwrap(), true, Duration::from_secs(20));
    let archive = Archive::new(&notes_of(&Author::new(1), 9), 500);
    let info = json!({"software": "test", "supported_nips": [], "limitation": {"max_limit": 5}});
    let relay = archive.informing(Some(info));
    let probe = dialler(relay.url()).probe(&Room::default()).await.unwrap();
    assert!(probe.compares && probe.answer_ms.is_some() && !probe.sends_challenge, "{probe:?}");
    let info = probe.info.unwrap();
    assert_eq!((info.software.as_deref(), info.max_limit), (Some("test"), Some(5)));

    let relay = asking_who(&archive, |_| true);
    let probe = dialler(relay.url()).probe(&Room::default()).await.unwrap();
    assert!(probe.sends_challenge && probe.info.is_none() && probe.answer_ms.is_none());

    let plain = ScriptedRelay::start(|_| answer([Act::Eose]));
    assert!(!dialler(plain.url()).probe(&Room::default()).await.unwrap().compares);
    let port = ClosedPort::reserve();
    assert!(dialler(port.url()).probe(&Room::default()).await.is_err());
}
