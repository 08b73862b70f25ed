//! Lookups by key: the newest event of an author and kind, an id, a levId.
//!
//! Many keys are sorted first and looked up in that order, so that neighbours share pages, in
//! snapshots of bounded length. heed has no cursor that can be placed anew, so each lookup opens
//! one of its own; `benches/lookups.rs` tells what a lookup costs with that.

use std::borrow::Cow;

use heed::{RoTxn, WithoutTls};

use super::error::ReadError;
use super::keys::{id_key, pubkey_kind_key};
use super::limits::LOOKUPS_PER_SNAPSHOT;
use super::open::StrfryDb;
use super::packed::PackedEvent;
use super::payload;
use super::tables::Table;
use crate::nostr::{EventId, Pubkey};

/// strfry's local number of an event: the auto-increment key of table `Event`.
pub type LevId = u64;

/// A hit in an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Where the event is.
    pub lev_id: LevId,
    /// Seconds since 1970, from the index key.
    pub created_at: u64,
}

/// A read transaction: one moment of the database. What it returns borrows from the map.
pub struct Snapshot<'db> {
    db: &'db StrfryDb,
    txn: RoTxn<'db, WithoutTls>,
}

impl<'db> Snapshot<'db> {
    pub(super) fn new(db: &'db StrfryDb, txn: RoTxn<'db, WithoutTls>) -> Self {
        Self { db, txn }
    }

    pub(super) fn txn(&self) -> &RoTxn<'db, WithoutTls> {
        &self.txn
    }

    /// The newest event of this author and kind; of several in one second the one stored last.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn newest(&self, pubkey: &Pubkey, kind: u64) -> Result<Option<Found>, ReadError> {
        const TABLE: &str = "Event__pubkeyKind";
        let table = present(TABLE, self.db.tables.pubkey_kind)?;
        // Stepping back from the first key that is too large ends on the last levId of the last
        // second, which is what `strfry scan` puts first.
        let behind = match kind.checked_add(1) {
            Some(next_kind) => pubkey_kind_key(pubkey, next_kind, 0).to_vec(),
            // Bytes that the pubkey is a prefix of come behind it and before any other pubkey.
            None => [pubkey.as_bytes().as_slice(), &[0; 17]].concat(),
        };
        let entry = table.get_lower_than(&self.txn, &behind).map_err(lmdb(TABLE))?;
        let Some((key, value)) = entry else { return Ok(None) };
        let start = pubkey_kind_key(pubkey, kind, 0);
        match (key.strip_prefix(&start[..40]), value.try_into()) {
            (None, _) => Ok(None),
            (Some(created_at), Ok(lev_id)) if created_at.len() == 8 => Ok(Some(Found {
                lev_id: LevId::from_ne_bytes(lev_id),
                created_at: created_at.try_into().map_or(0, u64::from_ne_bytes),
            })),
            (Some(_), _) => Err(damaged(TABLE, pubkey, "its levId or time is not 8 bytes")),
        }
    }

    /// Where the event with this id is.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn find(&self, id: &EventId) -> Result<Option<LevId>, ReadError> {
        const TABLE: &str = "Event__id";
        let table = present(TABLE, self.db.tables.id)?;
        let start = id_key(id, 0);
        let entry = table.get_greater_than_or_equal_to(&self.txn, &start).map_err(lmdb(TABLE))?;
        match entry {
            Some((key, value)) if key.starts_with(id.as_bytes()) => match value.try_into() {
                Ok(lev_id) => Ok(Some(LevId::from_ne_bytes(lev_id))),
                Err(_) => Err(damaged(TABLE, id, "its levId is not 8 bytes")),
            },
            _ => Ok(None),
        }
    }

    /// What strfry indexes of the event.
    ///
    /// # Errors
    /// [`ReadError`]; a record too short for a PackedEvent is damaged.
    pub fn packed(&self, lev_id: LevId) -> Result<Option<PackedEvent<'_>>, ReadError> {
        const TABLE: &str = "Event";
        let table = present(TABLE, self.db.tables.event)?;
        let record = table.get(&self.txn, &lev_id.to_ne_bytes()).map_err(lmdb(TABLE))?;
        record
            .map(|bytes| {
                PackedEvent::from_bytes(bytes)
                    .ok_or_else(|| damaged(TABLE, lev_id, "it is shorter than a PackedEvent"))
            })
            .transpose()
    }

    /// The event as stored JSON; borrowed unless it is compressed.
    ///
    /// # Errors
    /// [`ReadError`]; a payload that cannot be decoded is damaged.
    pub fn json(&self, lev_id: LevId) -> Result<Option<Cow<'_, str>>, ReadError> {
        const TABLE: &str = "EventPayload";
        let table = present(TABLE, self.db.tables.event_payload)?;
        let record = table.get(&self.txn, &lev_id.to_ne_bytes()).map_err(lmdb(TABLE))?;
        record.map(|bytes| payload::decode(self, lev_id, bytes)).transpose()
    }

    /// The greatest levId of any event, which is that of the event that came last unless it has
    /// been deleted; `None` of an empty database.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn last_lev_id(&self) -> Result<Option<LevId>, ReadError> {
        const TABLE: &str = "Event";
        let table = present(TABLE, self.db.tables.event)?;
        let last = table.last(&self.txn).map_err(lmdb(TABLE))?;
        last.map(|(key, _)| lev_id_of(TABLE, "the last key", key)).transpose()
    }

    /// A deletion request of this author for this event id (NIP-09), if there is one.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn deletion(&self, id: &EventId, author: &Pubkey) -> Result<Option<LevId>, ReadError> {
        const TABLE: &str = "Event__deletion";
        let table = present(TABLE, self.db.tables.deletion)?;
        let key = [id.as_bytes().as_slice(), author.as_bytes()].concat();
        table
            .get(&self.txn, &key)
            .map_err(lmdb(TABLE))?
            .map(|value| lev_id_of(TABLE, id, value))
            .transpose()
    }

    /// The event that strfry holds for this author, `d` tag and kind.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn replaceable(
        &self,
        pubkey: &Pubkey,
        d_tag: &[u8],
        kind: u64,
    ) -> Result<Option<LevId>, ReadError> {
        const TABLE: &str = "Event__replace";
        let table = present(TABLE, self.db.tables.replace)?;
        let key = [pubkey.as_bytes().as_slice(), d_tag, &kind.to_ne_bytes()].concat();
        table
            .get(&self.txn, &key)
            .map_err(lmdb(TABLE))?
            .map(|value| lev_id_of(TABLE, pubkey, value))
            .transpose()
    }

    /// Time of the newest deletion by `a` tag (NIP-09) whose text has this SHA-256, and where it
    /// is. `None` also where strfry has no such index.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn address_deletion(&self, a_tag_hash: &[u8; 32]) -> Result<Option<Found>, ReadError> {
        const TABLE: &str = "Event__replaceDeletion";
        let Some(table) = self.db.tables.replace_deletion else { return Ok(None) };
        // Default order over little-endian integers is no order of time: look at all of them.
        let mut newest: Option<Found> = None;
        let range = a_tag_hash.as_slice();
        for entry in table.prefix_iter(&self.txn, range).map_err(lmdb(TABLE))? {
            let (key, value) = entry.map_err(lmdb(TABLE))?;
            let created_at = key.get(32..).and_then(|time| time.try_into().ok());
            let Some(created_at) = created_at.map(u64::from_ne_bytes) else { continue };
            if newest.is_none_or(|newest| newest.created_at < created_at) {
                let lev_id = lev_id_of(TABLE, created_at, value)?;
                newest = Some(Found { lev_id, created_at });
            }
        }
        Ok(newest)
    }

    pub(super) fn db(&self) -> &'db StrfryDb {
        self.db
    }
}

/// One event, out of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredJson {
    /// The event's id.
    pub id: EventId,
    /// Seconds since 1970.
    pub created_at: u64,
    /// The event's JSON as strfry stores it.
    pub json: String,
}

impl StrfryDb {
    /// The newest event of this kind of each author, in input order.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn newest_of_each(
        &self,
        pubkeys: &[Pubkey],
        kind: u64,
    ) -> Result<Vec<Option<Found>>, ReadError> {
        self.look_up_each(pubkeys, |snapshot, pubkey| snapshot.newest(pubkey, kind))
    }

    /// The newest event of this kind of each author with its JSON, in input order.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn newest_json_of_each(
        &self,
        pubkeys: &[Pubkey],
        kind: u64,
    ) -> Result<Vec<Option<StoredJson>>, ReadError> {
        self.look_up_each(pubkeys, |snapshot, pubkey| {
            let Some(found) = snapshot.newest(pubkey, kind)? else { return Ok(None) };
            let gone = || damaged("Event", found.lev_id, "an index names it but it is not there");
            let packed = snapshot.packed(found.lev_id)?.ok_or_else(gone)?;
            let json = snapshot.json(found.lev_id)?.ok_or_else(gone)?.into_owned();
            Ok(Some(StoredJson { id: packed.id(), created_at: found.created_at, json }))
        })
    }

    /// Whether each of these ids is in the database, in input order.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn contains_each(&self, ids: &[EventId]) -> Result<Vec<bool>, ReadError> {
        self.look_up_each(ids, |snapshot, id| Ok(snapshot.find(id)?.is_some()))
    }

    /// Looks keys up in key order, a bounded number in each snapshot; answers in input order.
    ///
    /// # Errors
    /// The first that `look_up` or opening a snapshot returns.
    pub fn look_up_each<K: Ord, R>(
        &self,
        keys: &[K],
        mut look_up: impl FnMut(&Snapshot<'_>, &K) -> Result<R, ReadError>,
    ) -> Result<Vec<R>, ReadError> {
        let mut in_key_order: Vec<(usize, &K)> = keys.iter().enumerate().collect();
        in_key_order.sort_unstable_by_key(|&(_, key)| key);
        let mut answers = Vec::with_capacity(keys.len());
        for batch in in_key_order.chunks(LOOKUPS_PER_SNAPSHOT) {
            let snapshot = self.snapshot()?;
            for &(position, key) in batch {
                answers.push((position, look_up(&snapshot, key)?));
            }
        }
        answers.sort_unstable_by_key(|&(position, _)| position);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }
}

pub(super) fn present<C>(
    name: &'static str,
    table: Option<Table<C>>,
) -> Result<Table<C>, ReadError> {
    table.ok_or(ReadError::NoTable { table: name })
}

pub(super) fn lmdb(table: &'static str) -> impl FnOnce(heed::Error) -> ReadError {
    move |source| ReadError::Lmdb { table, source }
}

pub(super) fn damaged(table: &'static str, key: impl ToString, what: &'static str) -> ReadError {
    ReadError::Damaged { table, key: key.to_string(), what }
}

fn lev_id_of(table: &'static str, key: impl ToString, value: &[u8]) -> Result<LevId, ReadError> {
    let bytes = value.try_into().map_err(|_| damaged(table, key, "its levId is not 8 bytes"))?;
    Ok(LevId::from_ne_bytes(bytes))
}
