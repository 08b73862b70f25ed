//! Every table of a database, raw: names, flags, keys and values in cursor order.

use std::collections::BTreeMap;
use std::path::Path;

use heed::types::{Bytes, Str};
use heed::{CommitOrAbort, EnvFlags, EnvOpenOptions, OnCommit};
use strfry_companion::strfry_db::tables::PREFIX;
use strfry_companion::strfry_db::{Meta, NegentropyFilter};

/// strfry's negentropy trees, which nobody but strfry reads.
const NEGENTROPY: &str = "negentropy";

/// One table.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    /// As LMDB stores them: `MDB_DUPSORT` and so on.
    pub flags: u16,
    /// In cursor order, so by the order of whoever wrote them. The flatbuffers of `Meta` and
    /// `NegentropyFilter` are written anew, because their fields may lie in any order.
    pub entries: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Reads all tables, by name; of `negentropy` only the flags.
pub fn all_tables(directory: &Path) -> BTreeMap<String, Table> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.max_dbs(64);
    // SAFETY: nothing has this database open while a test looks at all of it.
    #[allow(unsafe_code)]
    let env =
        unsafe { options.flags(EnvFlags::READ_ONLY | EnvFlags::NO_LOCK).open(directory) }.unwrap();
    let txn = env.read_txn().unwrap();
    let dumped = env.open_databases_and_commit(txn, |opener, txn| {
        let names = opener.database_options().types::<Str, Bytes>().open(txn)?.unwrap();
        let mut tables = BTreeMap::new();
        for entry in names.iter(txn)? {
            let (name, record) = entry?;
            let mut options = opener.database_options().types::<Bytes, Bytes>();
            let table = options.name(name).open(txn)?.unwrap();
            let mut entries = Vec::new();
            if name != NEGENTROPY {
                // Walking forward never compares keys, so the orders need not be known.
                for entry in table.iter(txn)? {
                    let (key, value) = entry?;
                    entries.push((key.to_vec(), normalised(name, value)));
                }
            }
            // `MDB_db` of LMDB 0.9: four bytes of page size, then the flags.
            let flags = u16::from_ne_bytes([record[4], record[5]]);
            tables.insert(name.to_owned(), Table { flags, entries });
        }
        heed::Result::Ok(CommitOrAbort::<_, ()>::Commit(Dumped(tables)))
    });
    dumped.unwrap().unwrap_commit()
}

/// Panics at the first difference, and names it.
pub fn assert_same_tables(actual: &Path, expected: &Path) {
    let (actual, expected) = (all_tables(actual), all_tables(expected));
    let flags = |tables: &BTreeMap<String, Table>| -> Vec<_> {
        tables.iter().map(|(name, table)| (name.clone(), table.flags)).collect()
    };
    assert_eq!(flags(&actual), flags(&expected), "names and flags");
    for (name, table) in &actual {
        let mut pairs = table.entries.iter().zip(&expected[name].entries);
        if let Some((actual, expected)) = pairs.find(|(actual, expected)| actual != expected) {
            panic!("{name} holds {actual:?} where {expected:?} is expected");
        }
        assert_eq!(table.entries.len(), expected[name].entries.len(), "entries of {name}");
    }
}

/// Panics unless both hold the same events, indexed alike. Which levId an event has depends on how
/// strfry came to divide its input into transactions, so each is replaced by the event's id.
pub fn assert_same_events(actual: &Path, expected: &Path) {
    assert_holds(actual, &by_event_id(expected));
}

/// As [`assert_same_events`], of tables that [`by_event_id`] has read.
pub fn assert_holds(actual: &Path, expected: &BTreeMap<String, Table>) {
    let actual = by_event_id(actual);
    let names = |tables: &BTreeMap<String, Table>| tables.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&actual), names(expected));
    for (name, table) in &actual {
        let differ = table.entries.iter().zip(&expected[name].entries).find(|(a, b)| a != b);
        assert!(differ.is_none(), "{name}: {differ:?}");
        assert_eq!(table, &expected[name], "{name}");
    }
}

/// All tables, with each levId replaced by the id of its event.
pub fn by_event_id(directory: &Path) -> BTreeMap<String, Table> {
    let mut tables = all_tables(directory);
    let events = &tables[&format!("{PREFIX}Event")].entries;
    let ids: BTreeMap<Vec<u8>, Vec<u8>> =
        events.iter().map(|(lev_id, packed)| (lev_id.clone(), packed[..32].to_vec())).collect();
    for (name, table) in &mut tables {
        let Some(name) = name.strip_prefix(PREFIX) else { continue };
        for (key, value) in &mut table.entries {
            let lev_id = match name {
                "Event" | "EventPayload" => key,
                _ if name.starts_with("Event__") => value,
                _ => continue,
            };
            *lev_id = ids[lev_id].clone();
        }
        table.entries.sort();
    }
    tables
}

fn normalised(table: &str, value: &[u8]) -> Vec<u8> {
    match table.strip_prefix(PREFIX) {
        Some("Meta") => Meta::from_bytes(value).unwrap().to_bytes(),
        Some("NegentropyFilter") => NegentropyFilter::from_bytes(value).unwrap().to_bytes(),
        _ => value.to_vec(),
    }
}

struct Dumped(BTreeMap<String, Table>);

impl OnCommit for Dumped {
    type Committed = BTreeMap<String, Table>;

    fn on_commit(self, _: &heed::CommitToken) -> Self::Committed {
        self.0
    }
}
