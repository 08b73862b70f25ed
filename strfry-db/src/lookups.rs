//! Lookups of many keys at once.
//!
//! The keys are sorted first and looked up in that order, so that neighbours share pages, in
//! snapshots of bounded length; `benches/lookups.rs` tells what a lookup costs.

use std::borrow::Cow;

use super::error::ReadError;
use super::keys::LevId;
use super::limits::LOOKUPS_PER_SNAPSHOT;
use super::lookup::Found;
use super::open::StrfryDb;
use super::optimistic::halved;
use super::snapshot::Snapshot;
use crate::nostr::{EventId, Pubkey};

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
    #[doc(hidden)]
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
    #[doc(hidden)]
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
