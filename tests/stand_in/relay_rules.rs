//! What a running relay takes of 20,000 odd but correctly signed events, beside what a backfill
//! takes, and what `strfry import` takes beside our own `import`. Where they differ, the reason is one
//! of `docs/refused-events.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::{SinkExt, StreamExt};
use rayon::prelude::*;
use serde_json::Value;
use strfry_companion::import::{EventLimits, Refusal, StoredEvent};
use strfry_companion::nostr::{Event, Malformed, kind, signature};
use tokio_tungstenite::tungstenite::Message;

use crate::odd_events::{OddEvent, OddEvents};
use crate::support::running_relay::RunningRelay;
use crate::support::stand_in::judge::{judge, judge_as_relay};
use crate::support::stand_in::tao::parse;
use crate::support::{NO_STRFRY, real_strfry, run_strfry, strfry_bin, strfry_node};

const EVENTS: usize = 20_000;
/// Events that a relay has not answered yet.
const UNANSWERED: usize = 200;

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn odd_events(now: u64) -> Vec<OddEvent> {
    const PART: usize = 1_000;
    let parts = (0..EVENTS / PART).into_par_iter().map(|seed| {
        let mut random = OddEvents::new(seed as u64, now);
        (0..PART).map(|_| random.event()).collect::<Vec<_>>()
    });
    parts.collect::<Vec<_>>().concat()
}

/// Why a backfill, or an import, would not hand the event to strfry.
#[derive(Debug, Clone, PartialEq)]
enum Ours {
    Refused(Refusal),
    BadId,
    BadSignature,
    /// Only in a backfill.
    TooNew,
    Expired,
    Ephemeral,
}

fn import_takes(line: &str) -> Result<StoredEvent, Ours> {
    let event = Event::parse(line).map_err(|malformed| Ours::Refused(malformed.into()))?;
    let stored = StoredEvent::encode(&event, &EventLimits::default()).map_err(Ours::Refused)?;
    if stored.hash() != stored.id() {
        return Err(Ours::BadId);
    }
    match signature::is_valid(&stored.id(), &stored.packed().pubkey(), &stored.sig) {
        true => Ok(stored),
        false => Err(Ours::BadSignature),
    }
}

fn backfill_takes(line: &str, now: u64) -> Result<StoredEvent, Ours> {
    let stored = import_takes(line)?;
    let packed = stored.packed();
    if kind::is_ephemeral(packed.kind()) {
        return Err(Ours::Ephemeral);
    }
    if packed.created_at() > EventLimits::default().latest(now) {
        return Err(Ours::TooNew);
    }
    match packed.expiration() {
        expiration @ 2.. if expiration <= now => Err(Ours::Expired),
        _ => Ok(stored),
    }
}

/// What strfry takes and this program does not, whatever brings it.
fn is_stricter(ours: &Ours) -> bool {
    matches!(
        ours,
        Ours::Refused(
            Refusal::Malformed(Malformed::BadHex(_) | Malformed::TooDeep)
                | Refusal::TagNotHex(_)
                | Refusal::Number(_)
                | Refusal::Misprinted(_)
                | Refusal::KeyOrder
                | Refusal::Del
                | Refusal::TooLarge(65_536)
                | Refusal::BeyondTime(_)
        )
    )
}

#[test]
fn a_backfill_takes_what_the_relay_takes_but_for_what_is_documented() {
    let now = now();
    let events = odd_events(now);
    let judged: Vec<Result<(), String>> = events
        .par_iter()
        .map(|event| {
            let json = parse(event.line.as_bytes()).ok_or("unparsed")?;
            judge_as_relay(&json, &EventLimits::default(), now)
        })
        .collect();
    compare_with_relay(&events, &judged, now);
    let Some(strfry) = real_strfry() else { return println!("{NO_STRFRY}") };
    let node = strfry_node();
    let answers = ask_relay(&strfry, node.path(), &events);
    let stored = stored_ids(&strfry, node.path());
    let mut reasons = BTreeMap::<String, u64>::new();
    let real: Vec<Result<(), String>> = events
        .iter()
        .map(|event| match stored.contains(&event.id) {
            true => Ok(()),
            false => Err(answers.get(&event.id).cloned().unwrap_or("no id".into())),
        })
        .collect();
    for (event, (real, judged)) in events.iter().zip(real.iter().zip(&judged)) {
        assert_eq!(real.is_ok(), judged.is_ok(), "{real:?} {judged:?} {}", shown(event));
        let reason = real.as_ref().err().map_or("taken", String::as_str);
        *reasons.entry(reason.trim_end_matches(char::is_numeric).to_owned()).or_default() += 1;
    }
    println!("what the relay says: {reasons:#?}");
    compare_with_relay(&events, &real, now);
}

fn shown(event: &OddEvent) -> String {
    event.line.chars().take(2_000).collect()
}

fn compare_with_relay(events: &[OddEvent], relay: &[Result<(), String>], now: u64) {
    let mut differences = BTreeMap::<String, u64>::new();
    let mut agreed = [0; 2];
    for (event, theirs) in events.iter().zip(relay) {
        let ours = backfill_takes(&event.line, now);
        let difference = match (theirs, &ours) {
            (Ok(()), Ok(_)) => {
                agreed[0] += 1;
                continue;
            }
            (Err(_), Err(_)) => {
                agreed[1] += 1;
                continue;
            }
            // Old events are what a backfill is for, and others' events are what a sync brings.
            (Err(reason), Ok(_)) => {
                let known = ["created_at too early", "protected", "blocked: reposts can't embed"];
                let known = known.iter().find(|known| reason.contains(**known));
                format!("refused {}", known.unwrap_or_else(|| panic!("{reason} {}", shown(event))))
            }
            (Ok(()), Err(ours)) => {
                assert!(is_stricter(ours) || *ours == Ours::Ephemeral, "{ours:?} {}", shown(event));
                format!("taken {ours:?}").chars().take_while(|it| *it != '"').collect()
            }
        };
        *differences.entry(difference).or_default() += 1;
    }
    println!("both take and both refuse {agreed:?}; the relay has {differences:#?}");
    assert!(agreed[0] > EVENTS / 4 && agreed[1] > EVENTS / 8, "{agreed:?}");
}

/// Sends every event; returns what the relay said to each id, in words.
fn ask_relay(strfry: &Path, node: &Path, events: &[OddEvent]) -> BTreeMap<String, String> {
    let relay = RunningRelay::start(strfry, node);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (socket, _) = tokio_tungstenite::connect_async(relay.url()).await.unwrap();
        let (mut sender, mut receiver) = socket.split();
        let mut said = BTreeMap::new();
        let (mut sent, mut answered) = (0, 0);
        while answered < events.len() {
            while sent < events.len() && sent < answered + UNANSWERED {
                let message = format!("[\"EVENT\",{}]", events[sent].line);
                sender.send(Message::text(message)).await.unwrap();
                sent += 1;
            }
            let Some(Ok(message)) = receiver.next().await else {
                panic!("the relay is gone after {answered} answers: {}", shown(&events[answered]))
            };
            let Message::Text(text) = message else { continue };
            let answer: Value = serde_json::from_str(&text).unwrap();
            // Each event is answered with one of these.
            match answer[0].as_str() {
                Some("OK") => {
                    let id = answer[1]
                        .as_str()
                        .unwrap_or_default()
                        .trim_start_matches("0x")
                        .to_lowercase();
                    said.insert(id, answer[3].as_str().unwrap_or_default().to_owned());
                }
                Some("NOTICE") => {}
                _ => continue,
            }
            answered += 1;
        }
        said
    })
}

fn stored_ids(strfry: &Path, node: &Path) -> BTreeSet<String> {
    let exported = run_strfry(strfry, node, &["export"], b"");
    assert!(exported.status.success());
    String::from_utf8(exported.stdout)
        .unwrap()
        .lines()
        .map(|line| {
            let event = parse(line.as_bytes()).unwrap();
            event
                .get("id")
                .and_then(|id| id.as_str())
                .unwrap()
                .trim_start_matches("0x")
                .to_lowercase()
        })
        .collect()
}

#[test]
fn an_import_takes_what_strfrys_takes_but_for_what_is_documented() {
    let events = odd_events(now());
    // A longer line ends an import of strfry's. A part of them is enough: the relay judges the rest.
    let events = events.into_iter().filter(|it| it.line.len() < 65_536);
    let events: Vec<OddEvent> = events.take(EVENTS / 4).collect();
    let input: String = events.iter().map(|event| event.line.clone() + "\n").collect();
    let with_stand_in = compare_with_import(&strfry_bin(), &events, &input);
    let Some(strfry) = real_strfry() else { return println!("{NO_STRFRY}") };
    assert!(compare_with_import(&strfry, &events, &input) == with_stand_in);
}

/// What strfry has stored, as it has stored it.
fn compare_with_import(strfry: &Path, events: &[OddEvent], input: &str) -> BTreeSet<String> {
    let node = strfry_node();
    let imported = run_strfry(strfry, node.path(), &["import"], input.as_bytes());
    assert!(imported.status.success());
    let stored = run_strfry(strfry, node.path(), &["export"], b"").stdout;
    let stored: BTreeSet<String> =
        String::from_utf8(stored).unwrap().lines().map(str::to_owned).collect();
    let ids = stored_ids(strfry, node.path());
    let mut both = 0;
    for event in events {
        match (ids.contains(&event.id), import_takes(&event.line)) {
            (true, Ok(ours)) => {
                both += 1;
                assert!(stored.contains(ours.json()), "{}", shown(event));
            }
            (false, Err(_)) => {}
            (true, Err(ours)) => assert!(is_stricter(&ours), "{ours:?} {}", shown(event)),
            (false, Ok(_)) => panic!("{}", shown(event)),
        }
        let judged = parse(event.line.as_bytes())
            .is_some_and(|json| judge(&json, &EventLimits::default(), true).is_ok());
        assert_eq!(judged, ids.contains(&event.id), "{}", shown(event));
    }
    assert!(both > events.len() / 4, "{both}");
    stored
}
