//! Lookups of many keys at once.
//!
//! The keys are sorted first and looked up in that order, so that neighbours share pages, in
//! snapshots of bounded length; `benches/lookups.rs` tells what a lookup costs.

use std::borrow::Cow;

use crate::error::ReadError;
use crate::format::keys::LevId;
use crate::limits::GETS_PER_SNAPSHOT;
use crate::nostr::kind::is_replaceable;
use crate::nostr::{EventId, Pubkey};
use crate::open::StrfryDb;
use crate::read::get::{ById, ByPubkeyKind, Found, NewestLevIds};
use crate::txn::optimistic::halved;
use crate::txn::snapshot::Snapshot;

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
        self.get_batches(pubkeys, by_pubkey, |snapshot, pubkeys| {
            // The index of these is a fraction of the other, but does not say when.
            if is_replaceable(kind) {
                let newest = newest_lev_ids(snapshot, pubkeys, kind)?;
                let mut packed = snapshot.packed_of(newest.iter().flatten().copied().collect())?;
                let mut found = |lev_id| -> Result<Option<Found>, ReadError> {
                    let Some(packed) = packed.next().transpose()? else { return Ok(None) };
                    Ok(Some(Found { lev_id, created_at: packed.created_at() }))
                };
                return newest.into_iter().map(|it| it.map_or(Ok(None), &mut found)).collect();
            }
            let mut index = ByPubkeyKind::new(snapshot)?;
            pubkeys.iter().map(|pubkey| index.newest(pubkey, kind)).collect()
        })
    }

    /// The newest event of this kind of each author with its JSON, in input order.
    ///
    /// # Errors
    /// [`ReadError`]
    #[doc(hidden)]
    pub fn newest_json_of_each(
        &self,
        pubkeys: &[Pubkey],
        kind: u64,
    ) -> Result<Vec<Option<StoredJson<'static>>>, ReadError> {
        self.get_newest_of_each(pubkeys, kind, |_, stored| stored.map(StoredJson::into_owned))
    }

    /// What `read` makes of the newest event of this kind of each author, in input order. It gets
    /// the JSON where it lies in the map; keep it short, because a snapshot is open meanwhile. As
    /// with [`StrfryDb::read`], what it returns counts, and not how often it is called.
    ///
    /// # Errors
    /// [`ReadError`]
    #[doc(hidden)]
    pub fn get_newest_of_each<R>(
        &self,
        pubkeys: &[Pubkey],
        kind: u64,
        mut read: impl FnMut(&Pubkey, Option<StoredJson<'_>>) -> R,
    ) -> Result<Vec<R>, ReadError> {
        self.get_batches(pubkeys, by_pubkey, |snapshot, pubkeys| {
            let newest = newest_lev_ids(snapshot, pubkeys, kind)?;
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
        self.get_batches(pubkeys, by_pubkey, |snapshot, pubkeys| {
            let newest = newest_lev_ids(snapshot, pubkeys, kind)?;
            Ok(newest.iter().map(Option::is_some).collect())
        })
    }

    /// Whether each of these ids is in the database, in input order.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn contains_each(&self, ids: &[EventId]) -> Result<Vec<bool>, ReadError> {
        self.get_batches(ids, by_id, |snapshot, ids| {
            let mut index = ById::new(snapshot)?;
            ids.iter().map(|id| Ok(index.find(id)?.is_some())).collect()
        })
    }

    /// Looks keys up in key order, a bounded number in each snapshot; answers in input order.
    ///
    /// Without a lock file a batch may have to be read again (see [`StrfryDb::read`]), so what
    /// `get` returns counts, and not how often it is called.
    ///
    /// # Errors
    /// The first that `get` or opening a snapshot returns.
    #[doc(hidden)]
    pub fn get_each<K: Ord, R>(
        &self,
        keys: &[K],
        mut get: impl FnMut(&Snapshot<'_>, &K) -> Result<R, ReadError>,
    ) -> Result<Vec<R>, ReadError> {
        self.get_batches(
            keys,
            |_| 0,
            |snapshot, keys| keys.iter().map(|key| get(snapshot, key)).collect(),
        )
    }

    /// Gives `get` the keys in key order, a bounded number in each snapshot, and takes an
    /// answer for each; returns the answers in input order. `order` says of two keys which is first
    /// where that can be said by one number, or the same of both.
    fn get_batches<K: Ord, R>(
        &self,
        keys: &[K],
        order: impl Fn(&K) -> u64,
        mut get: impl FnMut(&Snapshot<'_>, &[&K]) -> Result<Vec<R>, ReadError>,
    ) -> Result<Vec<R>, ReadError> {
        let mut in_key_order: Vec<(u64, &K, usize)> =
            keys.iter().zip(0..).map(|(key, at)| (order(key), key, at)).collect();
        in_key_order.sort_unstable();
        let (sorted, positions): (Vec<&K>, Vec<usize>) =
            in_key_order.into_iter().map(|(_, key, at)| (key, at)).unzip();
        let mut answers = Vec::with_capacity(keys.len());
        let mut left = sorted.as_slice();
        while !left.is_empty() {
            left = self
                .read_keeping(&mut None, false, |snapshot, attempt| {
                    let bound = halved(self.bound(GETS_PER_SNAPSHOT), attempt).min(left.len());
                    let (batch, rest) = left.split_at(bound);
                    let found = get(snapshot, batch)?;
                    Ok((found, rest))
                })
                .map(|(found, rest)| {
                    answers.extend(found);
                    rest
                })?;
        }
        let mut in_input_order: Vec<Option<R>> = answers.iter().map(|_| None).collect();
        for (position, answer) in positions.into_iter().zip(answers) {
            if let Some(place) = in_input_order.get_mut(position) {
                *place = Some(answer);
            }
        }
        Ok(in_input_order.into_iter().flatten().collect())
    }
}

/// Where the newest event of this kind of each author is.
fn newest_lev_ids(
    snapshot: &Snapshot<'_>,
    pubkeys: &[&Pubkey],
    kind: u64,
) -> Result<Vec<Option<LevId>>, ReadError> {
    let mut index = NewestLevIds::new(snapshot, kind)?;
    pubkeys.iter().map(|pubkey| index.get(pubkey)).collect()
}

/// Says which of two pubkeys is first, unless they begin alike: comparing numbers is much of sorting.
fn by_pubkey(pubkey: &Pubkey) -> u64 {
    first_bytes(pubkey.as_bytes())
}

/// As [`by_pubkey`].
fn by_id(id: &EventId) -> u64 {
    first_bytes(id.as_bytes())
}

fn first_bytes(bytes: &[u8; 32]) -> u64 {
    bytes.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}
