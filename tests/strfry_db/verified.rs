//! Verifying whole databases: who is named, with which reason.

use secp256k1::{Keypair, schnorr};
use serde_json::json;
use sha2::{Digest, Sha256};
use strfry_companion::import::{EventLimits, StoredEvent};
use strfry_companion::nostr::{Event, ExpectedId};
use strfry_companion::strfry_db::packed_event;
use strfry_companion::strfry_db::{ExportRange, LevId, ReadError, StrfryDb};
use strfry_companion::verify::{Checked, Defect, Offender, verify_database};
use tempfile::TempDir;

use crate::support::events::{Author, forged};
use crate::support::fixture_text;
use crate::support::golden_database;
use crate::support::raw::RawDatabase;
use crate::support::stand_in::writer::{Durability, NewEvent, Writer};

fn verified(directory: &TempDir) -> Checked {
    let db = StrfryDb::open(directory.path()).unwrap();
    let mut all = Checked::default();
    verify_database(&db, ExportRange::default(), |checked| {
        all.events += checked.events;
        all.offenders.extend(checked.offenders);
        Ok::<(), ReadError>(())
    })
    .unwrap();
    all
}

/// A database with these events, whether they are genuine or not; the first has levId 1.
fn database(events: &[String]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let writer = Writer::open(directory.path(), Durability::NotSynced).unwrap();
    for text in events {
        let event = Event::parse(text).unwrap();
        let header =
            packed_event::header(&event.id, &event.pubkey, event.created_at, event.kind, 0);
        let event = NewEvent::new(header.to_vec(), text.clone()).unwrap();
        writer.write_events(&[event]).unwrap();
    }
    directory
}

fn offender(event: &str, lev_id: LevId, reason: Defect) -> Offender {
    let id = Some(Event::parse(event).unwrap().id);
    Offender { id, lev_id: Some(lev_id), line: None, reason }
}

/// An event that strfry takes for genuine, and nobody else does.
fn hashed_by_strfry(content: &str) -> String {
    let keypair = Keypair::from_secret_bytes([7; 32]).unwrap();
    let pubkey = hex::encode(keypair.x_only_public_key().0.to_byte_array());
    let escaped = content.replace('\u{7f}', r"\u007f");
    let id = Sha256::digest(format!("[0,\"{pubkey}\",9,1,[],\"{escaped}\"]"));
    let sig = schnorr::sign_no_aux_rand(&id, &keypair);
    json!({
        "content": content, "created_at": 9, "id": hex::encode(id), "kind": 1, "pubkey": pubkey,
        "sig": hex::encode(sig.to_byte_array()), "tags": [],
    })
    .to_string()
}

#[test]
fn every_event_that_strfry_verified_is_genuine() {
    for (name, events) in [("strfry-1.1.1", 604), ("strfry-1.0.4", 605), ("strfry-1.1.1-dict", 604)]
    {
        assert_eq!(
            verified(&golden_database(name)),
            Checked { events, offenders: vec![] },
            "{name}"
        );
    }
}

#[test]
fn each_event_that_is_not_genuine_is_named_with_its_reason() {
    let author = Author::new(1);
    let genuine = author.note(1_000, "genuine");
    let forged = forged(&author.note(1_001, "another"));
    let other = author.note(1_002, "signed");
    let mut unsigned: serde_json::Value = serde_json::from_str(&other).unwrap();
    unsigned["sig"] = "11".repeat(64).into();
    let unsigned = unsigned.to_string();
    let by_nip01 = author.note(1_003, "\u{7f}");
    let by_strfry = hashed_by_strfry("a\u{7f}");
    let neither = crate::support::events::forged(&by_strfry).replace("forged", "f\u{7f}");
    let events = [genuine, forged, unsigned, by_nip01, by_strfry];
    let offender = |at: usize, reason| offender(&events[at], at as LevId + 1, reason);
    assert_eq!(
        verified(&database(&events)),
        Checked {
            events: 5,
            // By time.
            offenders: vec![
                offender(4, Defect::DelByStrfry),
                offender(1, Defect::BadId),
                offender(2, Defect::BadSignature),
                offender(3, Defect::DelByNip01),
            ],
        }
    );
    let reasons: Vec<_> =
        verified(&database(&[neither])).offenders.into_iter().map(|o| o.reason).collect();
    assert_eq!(reasons, [Defect::BadId]);
}

#[test]
fn damage_is_reported_in_its_place_and_the_rest_is_checked() {
    let author = Author::new(1);
    let events: Vec<String> = (0..6).map(|time| author.note(1_000 + time, "note")).collect();
    let directory = database(&events);
    let key = |lev_id: LevId| lev_id.to_ne_bytes();
    let other = Event::parse(&events[0]).unwrap();
    let header =
        packed_event::header(&Event::parse(&events[4]).unwrap().id, &other.pubkey, 1_004, 2, 0);
    RawDatabase::open(directory.path())
        .put("EventPayload", &key(1), b"\x05{}")
        .put("EventPayload", &key(2), b"\x00{\"id\":")
        .delete("EventPayload", &key(3))
        .put("Event", &key(4), b"short")
        .put("Event", &key(5), &header);
    let payload = |lev_id: u64, what: &str| {
        Defect::Damaged(format!("damaged record of table EventPayload for {lev_id}: {what}"))
    };
    let no_event = |lev_id, reason| Offender { id: None, lev_id: Some(lev_id), line: None, reason };
    assert_eq!(
        verified(&directory),
        Checked {
            events: 6,
            offenders: vec![
                offender(&events[0], 1, payload(1, "its first byte is neither 0 nor 1")),
                offender(&events[1], 2, strfry_companion::nostr::Malformed::NotJson.into()),
                offender(&events[2], 3, payload(3, "an index names it but it is not there")),
                no_event(
                    4,
                    Defect::Damaged(
                        "damaged record of table Event for 4: it is shorter than a PackedEvent"
                            .to_owned()
                    )
                ),
                offender(&events[4], 5, Defect::Index("kind")),
            ],
        }
    );
}

#[test]
fn a_payload_cut_at_any_byte_is_reported_and_none_of_them_panics() {
    let directory = golden_database("strfry-1.1.1-dict");
    let event = fixture_text("strfry-1.1.1-dict/export.jsonl");
    let event = event.lines().next().unwrap();
    let lev_id = {
        let db = StrfryDb::open(directory.path()).unwrap();
        let id = Event::parse(event).unwrap().id;
        db.snapshot().unwrap().find(&id).unwrap().unwrap()
    };
    let payload = [b"\0", event.as_bytes()].concat();
    for cut in (0..payload.len()).step_by(97) {
        RawDatabase::open(directory.path()).put(
            "EventPayload",
            &lev_id.to_ne_bytes(),
            &payload[..cut],
        );
        let checked = verified(&directory);
        let named: Vec<_> = checked.offenders.iter().map(|offender| offender.lev_id).collect();
        assert_eq!((checked.events, named), (604, vec![Some(lev_id)]), "cut at {cut}");
    }
}

#[test]
fn the_expected_id_is_the_hash_of_the_stored_form() {
    for line in fixture_text("events.jsonl").lines() {
        let event = Event::parse(line).unwrap();
        let stored = StoredEvent::encode(&event, &EventLimits::default()).unwrap();
        let id = stored.hash();
        assert_eq!(ExpectedId::of(&event), ExpectedId { nip01: id, strfry: id });
    }
}
