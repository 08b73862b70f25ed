//! The peers that other tests rely on do what they say.

mod support;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use strfry_companion::import::{EventLimits, StoredEvent};
use strfry_companion::nostr::{Event, signature};
use support::events::{Author, events};
use support::relays::Relay;
use support::scripted::{Act, Archive, Record, ScriptedRelay, answer};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

/// Sends a REQ with this filter and collects the messages up to EOSE or CLOSED.
async fn ask(url: &str, filter: Value) -> Vec<Value> {
    let (mut socket, _) = connect_async(url).await.unwrap();
    let request = json!(["REQ", "a", filter]).to_string();
    socket.send(Message::text(request)).await.unwrap();
    let mut messages = Vec::new();
    while let Some(Ok(Message::Text(text))) = socket.next().await {
        let message: Value = serde_json::from_str(&text).unwrap();
        let is_last = message[0] != "EVENT";
        messages.push(message);
        if is_last {
            break;
        }
    }
    messages
}

fn expected(events: &[String]) -> Vec<Value> {
    let event = |line: &String| json!(["EVENT", "a", serde_json::from_str::<Value>(line).unwrap()]);
    events.iter().map(event).chain([json!(["EOSE", "a"])]).collect()
}

#[test]
fn made_events_are_genuine_and_the_same_in_every_run() {
    let author = Author::new(7);
    let text = author.event(30_023, 1_700_000_000, json!([["d", "ü\n"], ["x"]]), "\"\\\u{1}\u{8}");
    let event = Event::parse(&text).unwrap();
    let stored = StoredEvent::encode(&event, &EventLimits::default()).unwrap();
    assert_eq!(stored.hash(), event.id);
    assert!(signature::is_valid(&event.id, &author.pubkey(), &event.sig));
    assert_eq!(Author::new(7).profile(1, "x"), author.profile(1, "x"));
    assert!(Author::with_2024().pubkey().to_string().contains("2024"));
    assert!(Author::like_a_date().pubkey().to_string()[..8].parse::<u32>().is_ok());
}

#[tokio::test]
async fn a_relay_gives_the_newest_events_first_and_no_more_than_its_limit() {
    let authors = Author::all(0..30);
    let all =
        events(7_000, |number| authors[number as usize % 30].note(1_700_000_000 + number, "hello"));
    let relay = Relay::start(&all, 500);
    let newest: Vec<String> = all.iter().rev().take(500).cloned().collect();
    let pubkeys: Vec<String> = authors.iter().map(|author| author.pubkey().to_string()).collect();
    let filter = json!({ "authors": pubkeys, "kinds": [0, 1, 3], "limit": 5_000 });
    assert_eq!(ask(&relay.url(), filter.clone()).await, expected(&newest));
    assert_eq!(ask(&relay.url(), json!({ "kinds": [7] })).await, expected(&[]));

    let scripted = {
        let archive = Archive::new(&all, 500);
        ScriptedRelay::start(move |request| archive.answer(request))
    };
    assert_eq!(ask(&scripted.url(), filter).await, expected(&newest));
}

#[tokio::test]
async fn a_relay_answers_hundreds_of_requests_on_one_connection() {
    let all = events(100, |number| Author::new(1).note(number, "hello"));
    let relay = Relay::start(&all, 500);
    let (mut socket, _) = connect_async(relay.url()).await.unwrap();
    for number in 0..2_000 {
        let request = json!(["REQ", number.to_string(), { "until": 3 }]).to_string();
        socket.send(Message::text(request)).await.unwrap();
        for _ in 0..4 {
            socket.next().await.unwrap().unwrap();
        }
        let end = socket.next().await.unwrap().unwrap();
        assert_eq!(end, Message::text(json!(["EOSE", number.to_string()]).to_string()));
    }
    assert_eq!(relay.queries(), 2_000);
}

#[tokio::test]
async fn a_scripted_relay_records_what_it_heard() {
    let relay = ScriptedRelay::start(|_| answer([Act::Closed("error: no".into())]));
    assert_eq!(
        ask(&relay.url(), json!({ "kinds": [1] })).await,
        [json!(["CLOSED", "a", "error: no"])]
    );
    assert_eq!(
        relay.record(),
        Record {
            connections: 1,
            requests: vec![json!({ "kinds": [1] })],
            sent: 1,
            ..Record::default()
        }
    );
}
