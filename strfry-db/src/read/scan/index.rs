//! Walks one of strfry's indexes from new to old, for one value of what it indexes.
//!
//! The only place that knows how the keys of all six indexes end: with created_at.

use std::ops::ControlFlow;

use crate::error::{ReadError, damaged};
use crate::format::keys::LevId;
use crate::format::tables::{Table, present};
use crate::lmdb::page::Wrong;
use crate::read::get::Found;
use crate::txn::snapshot::Snapshot;

/// Bytes of created_at.
const TIME: usize = 8;

/// An index whose keys end with created_at; the rest of a key is its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Index {
    /// Prefix: an id.
    Id,
    /// Prefix: a tag's name and value.
    Tag,
    /// Prefix: a pubkey and a kind.
    PubkeyKind,
    /// Prefix: a pubkey.
    Pubkey,
    /// Prefix: a kind.
    Kind,
    /// No prefix.
    CreatedAt,
}

impl Index {
    /// How long its keys are; `None` where a tag's value is in them.
    fn key_bytes(self) -> Option<usize> {
        match self {
            Self::Tag => None,
            Self::PubkeyKind => Some(32 + 8 + TIME),
            Self::Id | Self::Pubkey => Some(32 + TIME),
            Self::Kind => Some(8 + TIME),
            Self::CreatedAt => Some(TIME),
        }
    }

    /// Shows `visit` every entry with this prefix that is older than the second `before` (`None`:
    /// every entry), newest first, of one second the highest levId first.
    pub(super) fn walk_back(
        self,
        snapshot: &Snapshot<'_>,
        prefix: &[u8],
        before: Option<u64>,
        visit: impl FnMut(Found) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let end = self.end(prefix, before);
        let end = end.as_deref();
        let tables = &snapshot.db().tables;
        let keys = Keys { prefix, end, bytes: self.key_bytes() };
        match self {
            Self::Id => walk("Event__id", tables.id, snapshot, keys, visit),
            Self::Tag => walk("Event__tag", tables.tag, snapshot, keys, visit),
            Self::PubkeyKind => {
                walk("Event__pubkeyKind", tables.pubkey_kind, snapshot, keys, visit)
            }
            Self::Pubkey => walk("Event__pubkey", tables.pubkey, snapshot, keys, visit),
            Self::Kind => walk("Event__kind", tables.kind, snapshot, keys, visit),
            Self::CreatedAt => walk("Event__created_at", tables.created_at, snapshot, keys, visit),
        }
    }

    /// The first key behind those that are wanted; `None` if there cannot be one.
    fn end(self, prefix: &[u8], before: Option<u64>) -> Option<Vec<u8>> {
        if let Some(second) = before {
            return Some([prefix, &second.to_ne_bytes()].concat());
        }
        let (front, kind) = match self {
            Self::CreatedAt => return None,
            // Nothing lies between a byte string and the same with a zero byte behind it.
            Self::Id | Self::Tag | Self::Pubkey => {
                return Some([prefix, &[0], &[0; 8]].concat());
            }
            Self::Kind | Self::PubkeyKind => prefix.split_last_chunk::<8>()?,
        };
        match u64::from_ne_bytes(*kind).checked_add(1) {
            Some(next_kind) => Some([front, &next_kind.to_ne_bytes(), &[0; 8]].concat()),
            None if self == Self::Kind => None,
            None => Some([front, &[0], &[0; 16]].concat()),
        }
    }
}

/// Which keys of an index are wanted.
#[derive(Clone, Copy)]
struct Keys<'a> {
    prefix: &'a [u8],
    end: Option<&'a [u8]>,
    /// Of each key in the index.
    bytes: Option<usize>,
}

impl Keys<'_> {
    /// The time of a key with this prefix; `None` of the first without it.
    fn time(&self, key: &[u8]) -> Result<Option<u64>, Wrong> {
        let Some((front, time)) = key.split_last_chunk::<TIME>() else {
            return Err("its key is too short");
        };
        if self.bytes.is_some_and(|bytes| key.len() != bytes) {
            return Err("its key has not the size of one");
        }
        match front.strip_prefix(self.prefix) {
            Some([]) => Ok(Some(u64::from_ne_bytes(*time))),
            // Of a longer value, which belongs behind those that are wanted.
            Some(_) => Err("its keys are out of order"),
            None => Ok(None),
        }
    }
}

fn walk(
    name: &'static str,
    table: Option<Table>,
    snapshot: &Snapshot<'_>,
    keys: Keys<'_>,
    mut visit: impl FnMut(Found) -> ControlFlow<()>,
) -> Result<(), ReadError> {
    let table = present(name, table)?;
    for entry in snapshot.backward(table, keys.end)? {
        let (key, value) = entry?;
        let created_at = keys.time(key).map_err(|what| damaged(name, hex::encode(key), what))?;
        let Some(created_at) = created_at else { return Ok(()) };
        let lev_id = value
            .try_into()
            .map_err(|_| damaged(name, hex::encode(key), "its levId is not 8 bytes"))?;
        let found = Found { lev_id: LevId::from_ne_bytes(lev_id), created_at };
        if visit(found).is_break() {
            return Ok(());
        }
    }
    Ok(())
}
