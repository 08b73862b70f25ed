//! Lookups by key: the newest event of an author and kind, an id, a levId.
//!
//! Many keys are sorted first and looked up in that order, so that neighbours share pages, in
//! snapshots of bounded length. heed has no cursor that can be placed anew, so each lookup opens
//! one of its own; `benches/lookups.rs` tells what a lookup costs with that.

use std::borrow::Cow;

use heed::{RoTxn, WithoutTls};

use super::error::ReadError;
use super::keys::{id_key, pubkey_kind_key, replace_key};
use super::limits::LOOKUPS_PER_SNAPSHOT;
use super::open::StrfryDb;
use super::open_snapshots::Open;
use super::packed::PackedEvent;
use super::pages::PageSnapshot;
use super::payload;
use super::records::read_each;
use super::tables::Table;
use super::unlocked::halved;
use crate::nostr::kind::is_replaceable;
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

/// One moment of the database: a read transaction, or pages that are checked as they are read.
/// What it returns borrows from the map, or from those pages.
pub struct Snapshot<'db> {
    db: &'db StrfryDb,
    pub(super) source: Source<'db>,
    _open: Open,
}

/// Where a snapshot reads.
pub(super) enum Source<'db> {
    Lmdb(RoTxn<'db, WithoutTls>),
    /// Without the lock file.
    Pages(PageSnapshot<'db>),
}

impl<'db> Snapshot<'db> {
    pub(super) fn new(db: &'db StrfryDb, source: Source<'db>, open: Open) -> Self {
        Self { db, source, _open: open }
    }

    /// Whether everything that was read is of this moment: with a slot in the lock file always.
    pub(super) fn is_whole(&self) -> bool {
        match &self.source {
            Source::Lmdb(_) => true,
            Source::Pages(pages) => pages.is_whole(),
        }
    }

    /// The events in both stored forms, copied; damage of one of them is in its place.
    pub(super) fn whole_of(&self, lev_ids: Vec<LevId>) -> Result<Vec<WholeEvent>, ReadError> {
        let mut events = self.whole_without_json_of(lev_ids.clone())?;
        for (event, json) in events.iter_mut().zip(self.json_of(lev_ids)?) {
            event.json = Damage::only(json.map(Cow::into_owned))?;
        }
        Ok(events)
    }

    /// As [`Snapshot::whole_of`], with no JSON.
    pub(super) fn whole_without_json_of(
        &self,
        lev_ids: Vec<LevId>,
    ) -> Result<Vec<WholeEvent>, ReadError> {
        let packed = self.packed_of(lev_ids.clone())?;
        lev_ids
            .into_iter()
            .zip(packed)
            .map(|(lev_id, packed)| {
                let packed = Damage::only(packed.map(|packed| packed.to_vec()))?;
                Ok(WholeEvent { lev_id, packed, json: Ok(String::new()) })
            })
            .collect()
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
        let entry = self.last_before(table, &behind)?;
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

    /// Where the event is that [`Snapshot::newest`] finds.
    ///
    /// Faster for a replaceable kind: strfry keeps one event of it for each author, and the index
    /// by which it finds the one to replace is a fraction of the one of all events.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn newest_lev_id(&self, pubkey: &Pubkey, kind: u64) -> Result<Option<LevId>, ReadError> {
        if is_replaceable(kind) {
            const TABLE: &str = "Event__replace";
            let key = replace_key(pubkey, b"", kind);
            let mut entries = self.forward(present(TABLE, self.db.tables.replace)?, Some(&key))?;
            let mut lev_id = None;
            loop {
                match entries.next().transpose()?.filter(|(found, _)| *found == key) {
                    None => return Ok(lev_id),
                    Some((_, value)) if lev_id.is_none() => {
                        lev_id = Some(lev_id_of(TABLE, pubkey, value)?);
                    }
                    // More than one: the other index knows which is newest.
                    Some(_) => break,
                }
            }
        }
        Ok(self.newest(pubkey, kind)?.map(|found| found.lev_id))
    }

    /// Where the event with this id is.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn find(&self, id: &EventId) -> Result<Option<LevId>, ReadError> {
        const TABLE: &str = "Event__id";
        let table = present(TABLE, self.db.tables.id)?;
        let start = id_key(id, 0);
        let entry = self.first_from(table, &start)?;
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
        let table = present(EVENTS, self.db.tables.event)?;
        let record = self.get(table, &lev_id.to_ne_bytes())?;
        record
            .map(|bytes| PackedEvent::from_bytes(bytes).ok_or_else(|| too_short(lev_id)))
            .transpose()
    }

    /// The event as stored JSON; borrowed unless it is compressed.
    ///
    /// # Errors
    /// [`ReadError`]; a payload that cannot be decoded is damaged.
    pub fn json(&self, lev_id: LevId) -> Result<Option<Cow<'_, str>>, ReadError> {
        let table = present(PAYLOADS, self.db.tables.event_payload)?;
        let record = self.get(table, &lev_id.to_ne_bytes())?;
        record.map(|bytes| payload::decode(self, lev_id, bytes)).transpose()
    }

    /// The greatest levId of any event, which is that of the event that came last unless it has
    /// been deleted; `None` of an empty database.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn last_lev_id(&self) -> Result<Option<LevId>, ReadError> {
        let table = present(EVENTS, self.db.tables.event)?;
        let last = self.backward(table, None)?.next().transpose()?;
        last.map(|(key, _)| lev_id_of(EVENTS, "the last key", key)).transpose()
    }

    /// A deletion request of this author for this event id (NIP-09), if there is one.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn deletion(&self, id: &EventId, author: &Pubkey) -> Result<Option<LevId>, ReadError> {
        const TABLE: &str = "Event__deletion";
        let table = present(TABLE, self.db.tables.deletion)?;
        let key = [id.as_bytes().as_slice(), author.as_bytes()].concat();
        self.get(table, &key)?.map(|value| lev_id_of(TABLE, id, value)).transpose()
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
        let key = replace_key(pubkey, d_tag, kind);
        self.get(table, &key)?.map(|value| lev_id_of(TABLE, pubkey, value)).transpose()
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
        for entry in self.forward(table, Some(a_tag_hash))? {
            let (key, value) = entry?;
            if !key.starts_with(a_tag_hash) {
                break;
            }
            let created_at = key.get(32..).and_then(|time| time.try_into().ok());
            let Some(created_at) = created_at.map(u64::from_ne_bytes) else { continue };
            if newest.is_none_or(|newest| newest.created_at < created_at) {
                let lev_id = lev_id_of(TABLE, created_at, value)?;
                newest = Some(Found { lev_id, created_at });
            }
        }
        Ok(newest)
    }

    /// What strfry indexes of these events, in their order. Faster than asking for each.
    pub(super) fn packed_of(
        &self,
        lev_ids: Vec<LevId>,
    ) -> Result<impl ExactSizeIterator<Item = Result<PackedEvent<'_>, ReadError>>, ReadError> {
        let table = present(EVENTS, self.db.tables.event)?;
        let records = read_each(self, table, &lev_ids)?;
        Ok(lev_ids.into_iter().zip(records).map(move |(lev_id, record)| {
            let record = record.ok_or_else(|| gone(EVENTS, lev_id))?;
            PackedEvent::from_bytes(record).ok_or_else(|| too_short(lev_id))
        }))
    }

    /// The JSON of these events, in their order. Faster than asking for each.
    pub(super) fn json_of(
        &self,
        lev_ids: Vec<LevId>,
    ) -> Result<impl ExactSizeIterator<Item = Result<Cow<'_, str>, ReadError>>, ReadError> {
        let table = present(PAYLOADS, self.db.tables.event_payload)?;
        let records = read_each(self, table, &lev_ids)?;
        Ok(lev_ids.into_iter().zip(records).map(move |(lev_id, record)| {
            let record = record.ok_or_else(|| gone(PAYLOADS, lev_id))?;
            payload::decode(self, lev_id, record)
        }))
    }

    pub(super) fn db(&self) -> &'db StrfryDb {
        self.db
    }
}

const EVENTS: &str = "Event";
const PAYLOADS: &str = "EventPayload";

fn too_short(lev_id: LevId) -> ReadError {
    damaged(EVENTS, lev_id, "it is shorter than a PackedEvent")
}

/// An event in both forms in which strfry stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WholeEvent {
    /// Where it is.
    pub lev_id: LevId,
    /// The PackedEvent, or why it cannot be read.
    pub packed: Result<Vec<u8>, Damage>,
    /// The JSON, or why it cannot be read.
    pub json: Result<String, Damage>,
}

impl WholeEvent {
    /// The PackedEvent.
    ///
    /// # Errors
    /// Its damage.
    pub fn packed(&self) -> Result<PackedEvent<'_>, ReadError> {
        PackedEvent::from_bytes(self.packed.as_ref()?).ok_or_else(|| too_short(self.lev_id))
    }

    /// The JSON.
    ///
    /// # Errors
    /// Its damage.
    pub fn json(&self) -> Result<Cow<'_, str>, ReadError> {
        Ok(Cow::Borrowed(self.json.as_ref()?))
    }
}

/// Why one record cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("damaged record of table {table} for {key}: {what}")]
pub struct Damage {
    table: &'static str,
    key: String,
    what: &'static str,
}

impl Damage {
    /// Sorts out damage of one record from trouble with the database as a whole.
    fn only<T>(read: Result<T, ReadError>) -> Result<Result<T, Self>, ReadError> {
        match read {
            Ok(value) => Ok(Ok(value)),
            Err(ReadError::Damaged { table, key, what }) => Ok(Err(Self { table, key, what })),
            Err(error) => Err(error),
        }
    }
}

impl From<&Damage> for ReadError {
    fn from(Damage { table, key, what }: &Damage) -> Self {
        Self::Damaged { table, key: key.clone(), what }
    }
}

/// One event, in the database or out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredJson<'a> {
    /// The event's id.
    pub id: EventId,
    /// Seconds since 1970.
    pub created_at: u64,
    /// The event's JSON as strfry stores it; borrowed from the map unless it is compressed.
    pub json: Cow<'a, str>,
}

impl StoredJson<'_> {
    /// Out of the database.
    pub fn into_owned(self) -> StoredJson<'static> {
        StoredJson { json: Cow::Owned(self.json.into_owned()), ..self }
    }
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
    ) -> Result<Vec<Option<StoredJson<'static>>>, ReadError> {
        self.read_newest_of_each(pubkeys, kind, |_, stored| stored.map(StoredJson::into_owned))
    }

    /// What `read` makes of the newest event of this kind of each author, in input order. It gets
    /// the JSON where it lies in the map; keep it short, because a snapshot is open meanwhile. As
    /// with [`StrfryDb::read`], what it returns counts, and not how often it is called.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn read_newest_of_each<R>(
        &self,
        pubkeys: &[Pubkey],
        kind: u64,
        mut read: impl FnMut(&Pubkey, Option<StoredJson<'_>>) -> R,
    ) -> Result<Vec<R>, ReadError> {
        self.look_up_batches(pubkeys, |snapshot, pubkeys| {
            let newest: Vec<Option<LevId>> = pubkeys
                .iter()
                .map(|pubkey| snapshot.newest_lev_id(pubkey, kind))
                .collect::<Result<_, _>>()?;
            let found: Vec<LevId> = newest.iter().flatten().copied().collect();
            let mut stored = snapshot.packed_of(found.clone())?.zip(snapshot.json_of(found)?);
            let mut next = || -> Result<_, ReadError> {
                let Some((packed, json)) = stored.next() else { return Ok(None) };
                let (packed, json) = (packed?, json?);
                Ok(Some(StoredJson { id: packed.id(), created_at: packed.created_at(), json }))
            };
            pubkeys
                .iter()
                .zip(newest)
                .map(|(pubkey, found)| {
                    let stored = if found.is_some() { next()? } else { None };
                    Ok(read(pubkey, stored))
                })
                .collect()
        })
    }

    /// Whether each of these authors has an event of this kind, in input order.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn has_kind_each(&self, pubkeys: &[Pubkey], kind: u64) -> Result<Vec<bool>, ReadError> {
        self.look_up_each(pubkeys, |snapshot, pubkey| {
            Ok(snapshot.newest_lev_id(pubkey, kind)?.is_some())
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
    /// Without a lock file a batch may have to be read again (see [`StrfryDb::read`]), so what
    /// `look_up` returns counts, and not how often it is called.
    ///
    /// # Errors
    /// The first that `look_up` or opening a snapshot returns.
    pub fn look_up_each<K: Ord, R>(
        &self,
        keys: &[K],
        mut look_up: impl FnMut(&Snapshot<'_>, &K) -> Result<R, ReadError>,
    ) -> Result<Vec<R>, ReadError> {
        self.look_up_batches(keys, |snapshot, keys| {
            keys.iter().map(|key| look_up(snapshot, key)).collect()
        })
    }

    /// Gives `look_up` the keys in key order, a bounded number in each snapshot, and takes an
    /// answer for each; returns the answers in input order.
    fn look_up_batches<K: Ord, R>(
        &self,
        keys: &[K],
        mut look_up: impl FnMut(&Snapshot<'_>, &[&K]) -> Result<Vec<R>, ReadError>,
    ) -> Result<Vec<R>, ReadError> {
        let mut in_key_order: Vec<(&K, usize)> = keys.iter().zip(0..).collect();
        in_key_order.sort_unstable();
        let (sorted, positions): (Vec<&K>, Vec<usize>) = in_key_order.into_iter().unzip();
        let mut answers = Vec::with_capacity(keys.len());
        let mut left = sorted.as_slice();
        while !left.is_empty() {
            left = self
                .read_keeping(&mut None, false, |snapshot, attempt| {
                    let bound = halved(self.bound(LOOKUPS_PER_SNAPSHOT), attempt).min(left.len());
                    let (batch, rest) = left.split_at(bound);
                    let found = look_up(snapshot, batch)?;
                    Ok((found, rest))
                })
                .map(|(found, rest)| {
                    answers.extend(found);
                    rest
                })?;
        }
        let mut answers: Vec<(usize, R)> = positions.into_iter().zip(answers).collect();
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

pub(super) fn gone(table: &'static str, lev_id: LevId) -> ReadError {
    damaged(table, lev_id, "an index names it but it is not there")
}

pub(super) fn damaged(table: &'static str, key: impl ToString, what: &'static str) -> ReadError {
    ReadError::Damaged { table, key: key.to_string(), what }
}

fn lev_id_of(table: &'static str, key: impl ToString, value: &[u8]) -> Result<LevId, ReadError> {
    let bytes = value.try_into().map_err(|_| damaged(table, key, "its levId is not 8 bytes"))?;
    Ok(LevId::from_ne_bytes(bytes))
}
