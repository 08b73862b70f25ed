//! Lookups at the borders of the tables.

use strfry_companion::nostr::{EventId, Pubkey, kind};
use strfry_companion::strfry_db::packed_event::header;
use strfry_companion::strfry_db::{Found, StrfryDb, replace_key};
use tempfile::TempDir;

use crate::support::raw::RawDatabase;
use crate::support::stand_in::writer::{Durability, NewEvent, Verdict, Writer};

const FIRST: Pubkey = Pubkey::from_bytes([0; 32]);
const MIDDLE: Pubkey = Pubkey::from_bytes([7; 32]);
const LAST: Pubkey = Pubkey::from_bytes([0xff; 32]);
const ABSENT: Pubkey = Pubkey::from_bytes([8; 32]);

/// A database with one event for each of these, numbered from 1 in this order.
fn database(events: &[(Pubkey, u64, u64)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let writer = Writer::open(directory.path(), Durability::NotSynced).unwrap();
    for (lev_id, (pubkey, kind, created_at)) in (1..).zip(events) {
        let mut packed = header(&id(lev_id), pubkey, *created_at, *kind, 0).to_vec();
        if kind::is_replaceable(*kind) {
            packed.extend(b"d\0");
        }
        let event = NewEvent::new(packed, "{}".into());
        let batch = writer.write_events(&[event.unwrap()]).unwrap();
        assert_eq!(batch.verdicts, [Verdict::Written(lev_id)]);
    }
    directory
}

fn id(number: u64) -> EventId {
    let mut bytes = [0; 32];
    bytes[24..].copy_from_slice(&number.to_be_bytes());
    EventId::from_bytes(bytes)
}

fn newest(directory: &TempDir, pubkey: &Pubkey, kind: u64) -> Option<(u64, u64)> {
    let db = StrfryDb::open(directory.path()).unwrap();
    let found = db.snapshot().unwrap().newest(pubkey, kind).unwrap();
    found.map(|Found { lev_id, created_at }| (lev_id, created_at))
}

#[test]
fn an_empty_table_holds_nothing() {
    let directory = database(&[]);
    let db = StrfryDb::open(directory.path()).unwrap();
    assert_eq!(db.newest_of_each(&[FIRST, LAST], 1).unwrap(), [None, None]);
    assert_eq!(db.contains_each(&[id(0), id(1)]).unwrap(), [false, false]);
    assert_eq!(db.newest_of_each(&[], 1).unwrap(), []);
}

#[test]
fn the_first_and_the_last_key_of_the_table_are_found() {
    let directory = database(&[(FIRST, 0, 0), (MIDDLE, 1, 5), (LAST, u64::MAX, u64::MAX)]);
    assert_eq!(newest(&directory, &FIRST, 0), Some((1, 0)));
    assert_eq!(newest(&directory, &MIDDLE, 1), Some((2, 5)));
    assert_eq!(newest(&directory, &LAST, u64::MAX), Some((3, u64::MAX)));
}

#[test]
fn neighbours_in_the_table_are_not_taken_for_it() {
    let directory = database(&[(MIDDLE, 1, 5), (MIDDLE, 3, 5), (LAST, 1, 5)]);
    for (pubkey, kind) in [
        (FIRST, 1),
        (MIDDLE, 0),
        (MIDDLE, 2),
        (MIDDLE, 4),
        (MIDDLE, u64::MAX),
        (ABSENT, 1),
        (LAST, 0),
    ] {
        assert_eq!(newest(&directory, &pubkey, kind), None, "{pubkey} {kind}");
    }
}

#[test]
fn of_several_in_one_second_the_one_stored_last_is_newest() {
    let second = [(MIDDLE, 1, 5), (MIDDLE, 1, 9), (MIDDLE, 1, 9), (MIDDLE, 1, 9), (MIDDLE, 1, 8)];
    assert_eq!(newest(&database(&second), &MIDDLE, 1), Some((4, 9)));
    let behind = [second.as_slice(), &[(MIDDLE, 2, 0), (LAST, 1, 0)]].concat();
    assert_eq!(newest(&database(&behind), &MIDDLE, 1), Some((4, 9)));
    let highest = [(LAST, u64::MAX, u64::MAX), (LAST, u64::MAX, u64::MAX), (LAST, u64::MAX, 1)];
    assert_eq!(newest(&database(&highest), &LAST, u64::MAX), Some((2, u64::MAX)));
}

#[test]
fn times_are_compared_as_numbers() {
    let directory = database(&[(MIDDLE, 256, 255), (MIDDLE, 256, 256), (MIDDLE, 255, 257)]);
    assert_eq!(newest(&directory, &MIDDLE, 256), Some((2, 256)));
    assert_eq!(newest(&directory, &MIDDLE, 255), Some((3, 257)));
}

#[test]
fn answers_come_in_the_order_of_the_questions() {
    let found = |lev_id, created_at| Some(Found { lev_id, created_at });
    // One that strfry replaces, by the index that is for those, and one that it does not.
    for kind in [kind::PROFILE, 1] {
        let directory = database(&[(FIRST, kind, 3), (MIDDLE, kind, 2), (LAST, kind, 1)]);
        let db = StrfryDb::open(directory.path()).unwrap();
        assert_eq!(
            db.newest_of_each(&[LAST, ABSENT, FIRST, MIDDLE, LAST], kind).unwrap(),
            [found(3, 1), None, found(1, 3), found(2, 2), found(3, 1)]
        );
        assert_eq!(db.contains_each(&[id(3), id(9), id(1)]).unwrap(), [true, false, true]);
    }
}

#[test]
fn an_absent_lev_id_has_neither_packed_event_nor_json() {
    let directory = database(&[(MIDDLE, 1, 1)]);
    let db = StrfryDb::open(directory.path()).unwrap();
    let snapshot = db.snapshot().unwrap();
    assert_eq!(snapshot.json(1).unwrap().as_deref(), Some("{}"));
    assert_eq!((snapshot.packed(2).unwrap(), snapshot.json(2).unwrap()), (None, None));
}

#[test]
fn of_two_events_where_strfry_keeps_one_the_newest_is_found() {
    let directory = database(&[(MIDDLE, 0, 5), (MIDDLE, 1, 9)]);
    let key = replace_key(&MIDDLE, b"", 0);
    // levId 0 comes first in the index, and there is no such event.
    RawDatabase::open(directory.path()).put("Event__replace", &key, &0u64.to_ne_bytes());
    let db = StrfryDb::open(directory.path()).unwrap();
    assert_eq!(db.snapshot().unwrap().newest_lev_id(&MIDDLE, 0).unwrap(), Some(1));
    assert_eq!(db.snapshot().unwrap().newest_lev_id(&MIDDLE, 1).unwrap(), Some(2));
    assert_eq!(db.has_kind_each(&[FIRST, MIDDLE, LAST], 0).unwrap(), [false, true, false]);
}
