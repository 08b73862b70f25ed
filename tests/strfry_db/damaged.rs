//! Records that no strfry writes: each read says which one is damaged, and nothing panics.

use std::fs;

use strfry_companion::nostr::{EventId, Pubkey, kind};
use strfry_companion::strfry_db::ScanOptions;
use strfry_companion::strfry_db::{
    ExportRange, Filter, LevId, Meta, ReadError, Snapshot, StrfryDb, id_key, pubkey_kind_key,
};
use tempfile::TempDir;

use crate::scan::batches;
use crate::support::raw::RawDatabase;
use crate::support::{fixture_text, golden_database};

/// Of an event that every golden database holds.
const LEV_ID: LevId = 1;
const ID: EventId = EventId::from_bytes([1; 32]);
const AUTHOR: Pubkey = Pubkey::from_bytes([2; 32]);

/// What reading says of a golden database with one record changed.
fn damaged<T: std::fmt::Debug>(
    table: &str,
    record: &[u8],
    read: impl Fn(&Snapshot<'_>) -> Result<T, ReadError>,
) -> String {
    let directory = golden_database("strfry-1.1.1-dict");
    RawDatabase::open(directory.path()).put(table, &LEV_ID.to_ne_bytes(), record);
    message(&directory, read)
}

fn message<T: std::fmt::Debug>(
    directory: &TempDir,
    read: impl Fn(&Snapshot<'_>) -> Result<T, ReadError>,
) -> String {
    let db = StrfryDb::open(directory.path()).unwrap();
    let error = read(&db.snapshot().unwrap()).unwrap_err();
    let hint = "; 'strfry export' shows whether strfry can still read it";
    error.to_string().strip_suffix(hint).unwrap().to_owned()
}

fn payload(record: &[u8]) -> String {
    damaged("EventPayload", record, |snapshot| snapshot.json(LEV_ID).map(drop))
}

/// A payload that says it is compressed with dictionary 1, which the database has.
fn compressed(frame: &[u8]) -> Vec<u8> {
    [&[1, 1, 0, 0, 0], frame].concat()
}

#[test]
fn a_packed_event_that_is_too_short_is_damaged() {
    for length in [0, 1, 87] {
        assert_eq!(
            damaged("Event", &vec![0; length], |snapshot| snapshot.packed(LEV_ID).map(drop)),
            "table Event holds a damaged record for 1: it is shorter than a PackedEvent"
        );
    }
}

#[test]
fn a_payload_that_is_no_json_text_is_damaged() {
    let damaged = "table EventPayload holds a damaged record for 1:";
    assert_eq!(payload(b""), format!("{damaged} it is empty"));
    assert_eq!(payload(b"\x02{}"), format!("{damaged} its first byte is neither 0 nor 1"));
    assert_eq!(payload(b"\x00\xff{}"), format!("{damaged} its JSON is not UTF-8"));
    assert_eq!(payload(b"\x01\x01\x00\x00"), format!("{damaged} it is too short"));
    assert_eq!(payload(&compressed(b"{}")), format!("{damaged} it is no zstd frame"));
}

#[test]
fn a_compressed_payload_that_cannot_be_decompressed_is_damaged() {
    let damaged = "table EventPayload holds a damaged record for 1:";
    let bomb = zstd::bulk::compress(&vec![0; (4 << 20) + 1], 1).unwrap();
    assert_eq!(
        payload(&compressed(&bomb)),
        format!("{damaged} its decompressed size is over 4 MiB")
    );
    // Streams do not say their size.
    let bomb = zstd::stream::encode_all(&vec![0; (4 << 20) + 1][..], 1).unwrap();
    assert_eq!(zstd::zstd_safe::get_frame_content_size(&bomb).unwrap(), None);
    let wrong = format!("{damaged} it cannot be decompressed with its dictionary");
    assert_eq!(payload(&compressed(&bomb)), wrong);
    let whole = zstd::bulk::compress(&[b'x'; 5_000], 1).unwrap();
    for cut in 8..whole.len() {
        assert_eq!(payload(&compressed(&whole[..cut])), wrong, "cut at {cut}");
    }
}

#[test]
fn a_dictionary_that_is_missing_or_no_dictionary_is_damaged() {
    let frame = zstd::bulk::compress(b"{}", 1).unwrap();
    let payload = [&[1, 9, 0, 0, 0], &frame[..]].concat();
    let nine = 9u64.to_ne_bytes();
    let with_dictionary = |record: Option<&[u8]>| {
        let directory = golden_database("strfry-1.1.1-dict");
        let raw = RawDatabase::open(directory.path());
        raw.put("EventPayload", &LEV_ID.to_ne_bytes(), &payload);
        if let Some(record) = record {
            raw.put("CompressionDictionary", &nine, record);
        }
        drop(raw);
        message(&directory, |snapshot| snapshot.json(LEV_ID).map(drop))
    };
    let damaged = "table CompressionDictionary holds a damaged record for 9:";
    assert_eq!(with_dictionary(None), format!("{damaged} a payload needs it but it is not there"));
    assert_eq!(
        with_dictionary(Some(b"\xff\xff\xff\xff")),
        format!("{damaged} it is not the flatbuffer that strfry writes")
    );
    // A flatbuffer whose bytes begin like a dictionary and go on as nothing.
    let mut builder = flatbuffers::FlatBufferBuilder::new();
    let dict = builder.create_vector(&[&[0x37_u8, 0xA4, 0x30, 0xEC][..], &[0xff; 40]].concat());
    let table = builder.start_table();
    builder.push_slot_always(4, dict);
    let table = builder.end_table(table);
    builder.finish_minimal(table);
    assert_eq!(
        with_dictionary(Some(builder.finished_data())),
        format!("{damaged} zstd does not accept it as a dictionary")
    );
}

#[test]
fn an_index_that_leads_nowhere_is_damaged() {
    let directory = golden_database("strfry-1.1.1");
    let author = fixture_text("authors.txt").lines().next().unwrap().parse().unwrap();
    let newest = |db: StrfryDb| db.snapshot().unwrap().newest(&author, kind::PROFILE).unwrap();
    let profile = newest(StrfryDb::open(directory.path()).unwrap()).unwrap();
    RawDatabase::open(directory.path()).delete("Event", &profile.lev_id.to_ne_bytes());
    let db = StrfryDb::open(directory.path()).unwrap();
    assert_eq!(
        db.newest_json_of_each(&[author], kind::PROFILE).unwrap_err().to_string(),
        format!(
            "table Event holds a damaged record for {}: an index names it but it is not there; \
             'strfry export' shows whether strfry can still read it",
            profile.lev_id
        )
    );
}

/// A database that has only what it needs to be opened, and one table of another shape.
fn with_index(table: &str, key: &[u8], value: &[u8]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let meta = Meta { db_version: 3, endianness: 1, negentropy_modification_counter: 1 };
    RawDatabase::open(directory.path())
        .put("Meta", &1u64.to_ne_bytes(), &meta.to_bytes())
        .put(table, key, value);
    directory
}

#[test]
fn index_values_that_are_no_lev_ids_are_damaged() {
    let (id, three) = (id_key(&ID, 5), b"abc");
    let damaged = |table: &str, key: &[u8], read: &dyn Fn(&Snapshot<'_>) -> ReadError| {
        let directory = with_index(table, key, three);
        for db in [StrfryDb::open, StrfryDb::open_without_lock] {
            let db = db(directory.path()).unwrap();
            let error = db.read(|snapshot| Ok(read(snapshot))).unwrap().to_string();
            let expected = format!("table {table} holds a damaged record for page ");
            let what = error.strip_prefix(&expected).unwrap_or(&error).split_once(": ");
            assert_eq!(
                what.unwrap_or_default().1,
                "a value is not of the kind that its table has; 'strfry export' shows whether \
                 strfry can still read it",
                "{error}"
            );
        }
    };
    damaged("Event__id", &id, &|snapshot| snapshot.find(&ID).unwrap_err());
    let newest = pubkey_kind_key(&AUTHOR, 1, 5);
    damaged("Event__pubkeyKind", &newest, &|snapshot| snapshot.newest(&AUTHOR, 1).unwrap_err());
    let deletion = [ID.as_bytes().as_slice(), AUTHOR.as_bytes()].concat();
    damaged("Event__deletion", &deletion, &|snapshot| snapshot.deletion(&ID, &AUTHOR).unwrap_err());
    let replaceable = [AUTHOR.as_bytes().as_slice(), b"d", &1u64.to_ne_bytes()].concat();
    damaged("Event__replace", &replaceable, &|snapshot| {
        snapshot.replaceable(&AUTHOR, b"d", 1).unwrap_err()
    });
    let address = [&[3; 32][..], &7u64.to_ne_bytes()].concat();
    damaged("Event__replaceDeletion", &address, &|snapshot| {
        snapshot.address_deletion(&[3; 32]).unwrap_err()
    });
}

#[test]
fn a_key_of_an_index_that_has_another_size_is_damaged() {
    let kinds = with_index("Event__kind", b"abc", &LEV_ID.to_ne_bytes());
    RawDatabase::open(kinds.path()).put("Event", &LEV_ID.to_ne_bytes(), b"").put(
        "Event__created_at",
        &5u64.to_ne_bytes(),
        &LEV_ID.to_ne_bytes(),
    );
    let db = StrfryDb::open(kinds.path()).unwrap();
    assert_eq!(
        db.stats().unwrap_err().to_string(),
        "table Event__kind holds a damaged record for [97, 98, 99]: its size is wrong; 'strfry \
         export' shows whether strfry can still read it"
    );
}

#[test]
fn keys_of_any_length_are_compared_without_panic() {
    for key in [&b"x"[..], &[0; 7], &[2; 32], &[2; 47], &[2; 49], &[0xff; 100]] {
        let directory = with_index("Event__pubkeyKind", key, &LEV_ID.to_ne_bytes());
        let db = StrfryDb::open(directory.path()).unwrap();
        // Whether it lies where the newest would be.
        let is_none = match db.newest_of_each(&[AUTHOR], 1) {
            Ok(newest) => newest == [None],
            Err(error) => matches!(error, ReadError::Damaged { .. }),
        };
        assert!(is_none, "{key:?}");
    }
}

#[test]
fn a_key_of_another_size_is_damage_and_not_the_end_of_what_is_looked_for() {
    let filters = [
        ("Event__created_at", "{}".to_owned(), &[7_u8; 16][..]),
        ("Event__created_at", r#"{"since":0}"#.to_owned(), &[7; 16]),
        ("Event__kind", r#"{"kinds":[1]}"#.to_owned(), &[1; 9]),
        ("Event__pubkey", format!(r#"{{"authors":["{AUTHOR}"]}}"#), &[2; 39]),
        ("Event__pubkeyKind", format!(r#"{{"authors":["{AUTHOR}"],"kinds":[1]}}"#), &[2; 47]),
        ("Event__id", format!(r#"{{"ids":["{ID}"]}}"#), &[1; 39]),
    ];
    for (table, filter, key) in filters {
        let directory = with_index("Event", &LEV_ID.to_ne_bytes(), b"");
        let raw = RawDatabase::open(directory.path());
        raw.put(table, key, &LEV_ID.to_ne_bytes());
        drop(raw);
        for open in [StrfryDb::open, StrfryDb::open_without_lock] {
            let Ok(db) = open(directory.path()) else { panic!("{table}") };
            let filters = Filter::parse(&filter).unwrap();
            let first = batches(&db, filters, ScanOptions::default()).next();
            assert!(matches!(first, Some(Err(ReadError::Damaged { .. }))), "{table}: {first:?}");
        }
    }
}

/// A page of another index in the place of a leaf: its keys are longer.
#[test]
fn a_leaf_of_another_index_is_damage_and_not_the_end_of_a_scan() {
    let golden = golden_database("strfry-1.1.1-dict");
    let path = golden.path().join("data.mdb");
    let mut data = fs::read(&path).unwrap();
    data.copy_within(222 * 4_096..223 * 4_096, 66 * 4_096);
    data[66 * 4_096..][..8].copy_from_slice(&66_u64.to_ne_bytes());
    fs::write(path, data).unwrap();
    for open in [StrfryDb::open, StrfryDb::open_without_lock] {
        let db = open(golden.path()).unwrap();
        for filter in ["{}", r#"{"since":0}"#, r#"{"limit":5}"#] {
            let filters = Filter::parse(filter).unwrap();
            let error = db.scan(filters).find_map(Result::err);
            assert!(matches!(error, Some(ReadError::Damaged { .. })), "{filter}: {error:?}");
        }
    }
}

#[test]
fn a_table_that_is_missing_is_named_when_it_is_needed() {
    let directory = with_index("Event", &LEV_ID.to_ne_bytes(), b"");
    let db = StrfryDb::open(directory.path()).unwrap();
    assert_eq!(
        db.contains_each(&[ID]).unwrap_err().to_string(),
        "the database has no table Event__id: start the current strfry once, it creates what is \
         missing"
    );
    assert_eq!(db.snapshot().unwrap().address_deletion(&[0; 32]).unwrap(), None);
}

/// A golden database in which one byte is another.
fn with_byte(at: usize, byte: u8) -> TempDir {
    let directory = golden_database("strfry-1.1.1");
    let path = directory.path().join("data.mdb");
    let mut data = fs::read(&path).unwrap();
    assert_ne!(data[at], byte);
    data[at] = byte;
    fs::write(path, data).unwrap();
    directory
}

/// Every way to read all events: how many lines, or the first error.
fn read_all(db: &StrfryDb) -> [Result<usize, String>; 4] {
    let export = |range| {
        let mut out = Vec::new();
        let mut export = db.export(range, false).map_err(|error| error.to_string())?;
        while export.next_batch(&mut out).map_err(|error| error.to_string())? {}
        Ok(out.iter().filter(|&&byte| byte == b'\n').count())
    };
    let scan = || -> Result<usize, String> {
        let batches = batches(db, Filter::new(), ScanOptions::default());
        batches.map(|batch| batch.map_err(|error| error.to_string())).sum()
    };
    let reverse = ExportRange { reverse: true, ..ExportRange::default() };
    let stats = db.stats().map(|stats| stats.events as usize).map_err(|error| error.to_string());
    [export(ExportRange::default()), export(reverse), scan(), stats]
}

#[test]
fn an_index_that_leads_back_to_where_it_was_is_damaged_and_not_endless() {
    // The time of an entry of Event__created_at, four years later than it was.
    let directory = with_byte(34_518, 3);
    let out_of_order = "its keys are out of order";
    for db in [StrfryDb::open, StrfryDb::open_without_lock] {
        let [forward, backward, scanned, _] = read_all(&db(directory.path()).unwrap());
        for read in [forward, backward, scanned] {
            assert!(read.as_ref().is_err_and(|error| error.contains(out_of_order)), "{read:?}");
        }
    }
}

#[test]
fn an_index_of_which_a_part_cannot_be_found_is_damaged_and_not_short() {
    // The length of a key in the root of Event__created_at.
    let directory = with_byte(274_382, 4);
    for open in [StrfryDb::open, StrfryDb::open_without_lock] {
        for read in read_all(&open(directory.path()).unwrap()) {
            assert!(
                read.as_ref().is_err_and(|error| error.contains("a key is no integer")),
                "{read:?}"
            );
        }
    }
}

/// `md_entries` of Event__created_at, in the newest root of all tables.
#[test]
fn an_index_that_has_fewer_entries_than_it_says_is_damaged() {
    let golden = golden_database("strfry-1.1.1");
    let data = fs::read(golden.path().join("data.mdb")).unwrap();
    let name = b"rasgueadb_defaultDb__Event__created_at";
    let root = 241 * 4_096;
    let place = data[root..root + 4_096].windows(name.len()).position(|key| key == name).unwrap();
    let entries = root + place + name.len() + 32;
    assert_eq!(data[entries..entries + 8], 604_u64.to_ne_bytes());
    let directory = with_byte(entries, 0x5d);
    for db in [StrfryDb::open, StrfryDb::open_without_lock] {
        for read in read_all(&db(directory.path()).unwrap()) {
            assert!(read.as_ref().is_err_and(|error| error.contains("not as many")), "{read:?}");
        }
    }
}

/// A page of a tree that names itself so often, in as many nodes or in one.
fn page_that_names_itself(number: u64, nodes: u16, is_one_node: bool) -> [u8; 4_096] {
    let places = |node| 4_096 - 8 * if is_one_node { 1 } else { node + 1 };
    let mut page = [0; 4_096];
    let mut put = |at: u16, bytes: &[u8]| {
        page[usize::from(at)..][..bytes.len()].copy_from_slice(bytes);
    };
    put(0, &number.to_ne_bytes());
    put(10, &1_u16.to_ne_bytes());
    put(12, &(16 + 2 * nodes).to_ne_bytes());
    put(14, &places(nodes - 1).to_ne_bytes());
    for node in 0..nodes {
        put(16 + 2 * node, &places(node).to_ne_bytes());
        put(places(node), &number.to_ne_bytes());
    }
    page
}

/// In a file of 1 GiB, almost all of it a hole; each node read leads to as many again.
#[test]
fn a_page_that_names_itself_two_thousand_times_takes_neither_memory_nor_time() {
    const NEWEST_META: usize = 4_096 + 16;
    const LAST_PAGE: usize = NEWEST_META + 120;
    const PAGE: u64 = 241;
    let golden = golden_database("strfry-1.1.1");
    let whole = fs::read(golden.path().join("data.mdb")).unwrap();
    // The free list, and the table of all tables.
    for (record, depth) in [(24, 2_u16), (24, 31), (72, 2), (72, 31)] {
        for (nodes, is_one_node) in [(408, false), (2_000, true)] {
            // Whether there are fewer pages than are counted: then all trees are followed.
            for last_page in [1_u64 << 20, 1 << 10] {
                let mut data = whole.clone();
                let mut put = |at: usize, bytes: &[u8]| {
                    data[at..at + bytes.len()].copy_from_slice(bytes);
                };
                put(241 * 4_096, &page_that_names_itself(PAGE, nodes, is_one_node));
                put(NEWEST_META + record + 6, &depth.to_ne_bytes());
                put(NEWEST_META + record + 32, &1_u64.to_ne_bytes());
                put(NEWEST_META + record + 40, &PAGE.to_ne_bytes());
                put(LAST_PAGE, &last_page.to_ne_bytes());
                let directory = tempfile::tempdir().unwrap();
                let path = directory.path().join("data.mdb");
                fs::write(&path, data).unwrap();
                fs::File::options().write(true).open(&path).unwrap().set_len(1 << 30).unwrap();
                for open in [StrfryDb::open, StrfryDb::open_without_lock] {
                    let free = open(directory.path()).map(|db| db.free_bytes());
                    assert!(!matches!(free, Ok(Ok(_))), "{record} {depth} {nodes} {free:?}");
                }
            }
        }
    }
}
