//! Single lookups by key, within one snapshot: the newest event of an author and kind, an id, a
//! deletion, the last event. They say where an event is; `stored_event` reads it.

use crate::error::{ReadError, damaged};
use crate::format::keys::{LevId, id_key, pubkey_kind_key, replace_key, replace_key_without_d_tag};
use crate::format::tables::present;
use crate::nostr::kind::is_replaceable;
use crate::nostr::{EventId, Pubkey};
use crate::txn::cursor::Entries;
use crate::txn::snapshot::Snapshot;

const WRONG_SIZE: &str = "its key has not the size of one";

/// A hit in an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Where the event is.
    pub lev_id: LevId,
    /// Seconds since 1970, from the index key.
    pub created_at: u64,
}

impl Found {
    /// By time, and by levId in one second, as indexes have them.
    pub(crate) fn order(&self) -> (u64, LevId) {
        (self.created_at, self.lev_id)
    }
}

impl Snapshot<'_> {
    /// The newest event of this author and kind; of several in one second the one stored last.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn newest(&self, pubkey: &Pubkey, kind: u64) -> Result<Option<Found>, ReadError> {
        ByPubkeyKind::new(self)?.newest(pubkey, kind)
    }

    /// Where the event is that [`Snapshot::newest`] finds.
    ///
    /// Faster for a replaceable kind: strfry keeps one event of it for each author, and the index
    /// by which it finds the one to replace is a fraction of the one of all events.
    ///
    /// # Errors
    /// [`ReadError`]
    #[doc(hidden)]
    pub fn newest_lev_id(&self, pubkey: &Pubkey, kind: u64) -> Result<Option<LevId>, ReadError> {
        NewestLevIds::new(self, kind)?.get(pubkey)
    }

    /// Where the event with this id is.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn find(&self, id: &EventId) -> Result<Option<LevId>, ReadError> {
        ById::new(self)?.find(id)
    }

    /// The greatest levId of any event, which is that of the event that came last unless it has
    /// been deleted; `None` of an empty database.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn last_lev_id(&self) -> Result<Option<LevId>, ReadError> {
        let table = present("Event", self.db().tables.event)?;
        let last = self.backward(table, None)?.next().transpose()?;
        last.map(|(key, _)| lev_id_of("Event", "the last key", key)).transpose()
    }

    /// A deletion request of this author for this event id (NIP-09), if there is one.
    ///
    /// # Errors
    /// [`ReadError`]
    #[doc(hidden)]
    pub fn deletion(&self, id: &EventId, author: &Pubkey) -> Result<Option<LevId>, ReadError> {
        const TABLE: &str = "Event__deletion";
        let table = present(TABLE, self.db().tables.deletion)?;
        let key = [id.as_bytes().as_slice(), author.as_bytes()].concat();
        self.get(table, &key)?.map(|value| lev_id_of(TABLE, id, value)).transpose()
    }

    /// The event that strfry holds for this author, `d` tag and kind.
    ///
    /// # Errors
    /// [`ReadError`]
    #[doc(hidden)]
    pub fn replaceable(
        &self,
        pubkey: &Pubkey,
        d_tag: &[u8],
        kind: u64,
    ) -> Result<Option<LevId>, ReadError> {
        const TABLE: &str = "Event__replace";
        let table = present(TABLE, self.db().tables.replace)?;
        let key = replace_key(pubkey, d_tag, kind);
        self.get(table, &key)?.map(|value| lev_id_of(TABLE, pubkey, value)).transpose()
    }

    /// Time of the newest deletion by `a` tag (NIP-09) whose text has this SHA-256, and where it
    /// is. `None` also where strfry has no such index.
    ///
    /// # Errors
    /// [`ReadError`]
    #[doc(hidden)]
    pub fn address_deletion(&self, a_tag_hash: &[u8; 32]) -> Result<Option<Found>, ReadError> {
        const TABLE: &str = "Event__replaceDeletion";
        let Some(table) = self.db().tables.replace_deletion else { return Ok(None) };
        // Default order over little-endian integers is no order of time: look at all of them.
        let mut newest: Option<Found> = None;
        for entry in self.forward(table, Some(a_tag_hash))? {
            let (key, value) = entry?;
            if !key.starts_with(a_tag_hash) {
                break;
            }
            let created_at = key.get(32..).and_then(|time| time.try_into().ok());
            let wrong_size = || damaged(TABLE, hex::encode(key), WRONG_SIZE);
            let created_at = created_at.map(u64::from_ne_bytes).ok_or_else(wrong_size)?;
            if newest.is_none_or(|newest| newest.created_at < created_at) {
                let lev_id = lev_id_of(TABLE, created_at, value)?;
                newest = Some(Found { lev_id, created_at });
            }
        }
        Ok(newest)
    }
}

/// Looks up authors and kinds; in their order, each goes on from where the one before was.
pub(crate) struct ByPubkeyKind<'s>(Entries<'s>);

impl<'s> ByPubkeyKind<'s> {
    const TABLE: &'static str = "Event__pubkeyKind";

    pub(crate) fn new(snapshot: &'s Snapshot<'_>) -> Result<Self, ReadError> {
        let table = present(Self::TABLE, snapshot.db().tables.pubkey_kind)?;
        snapshot.seeker(table, false).map(Self)
    }

    /// See [`Snapshot::newest`].
    pub(crate) fn newest(
        &mut self,
        pubkey: &Pubkey,
        kind: u64,
    ) -> Result<Option<Found>, ReadError> {
        // Stepping back from the first key that is too large ends on the last levId of the last
        // second, which is what `strfry scan` puts first.
        match kind.checked_add(1) {
            Some(next_kind) => self.0.seek(&pubkey_kind_key(pubkey, next_kind, 0))?,
            // Bytes that the pubkey is a prefix of come behind it and before any other pubkey.
            None => self.0.seek(&[pubkey.as_bytes().as_slice(), &[0; 17]].concat())?,
        }
        let Some((key, value)) = self.0.next().transpose()? else { return Ok(None) };
        let start = pubkey_kind_key(pubkey, kind, 0);
        if key.len() != start.len() {
            return Err(damaged(Self::TABLE, hex::encode(key), WRONG_SIZE));
        }
        match (key.strip_prefix(&start[..40]), value.try_into()) {
            (None, _) => Ok(None),
            (Some(created_at), Ok(lev_id)) if created_at.len() == 8 => Ok(Some(Found {
                lev_id: LevId::from_ne_bytes(lev_id),
                created_at: created_at.try_into().map_or(0, u64::from_ne_bytes),
            })),
            (Some(_), _) => Err(damaged(Self::TABLE, pubkey, "its levId or time is not 8 bytes")),
        }
    }
}

/// Looks up where the newest event of one kind is, author by author. See
/// [`Snapshot::newest_lev_id`].
pub(crate) struct NewestLevIds<'s, 'db> {
    snapshot: &'s Snapshot<'db>,
    kind: u64,
    /// Only of a replaceable kind.
    replaceable: Option<Entries<'s>>,
    /// Only where it is needed.
    all: Option<ByPubkeyKind<'s>>,
}

impl<'s, 'db> NewestLevIds<'s, 'db> {
    const TABLE: &'static str = "Event__replace";

    pub(crate) fn new(snapshot: &'s Snapshot<'db>, kind: u64) -> Result<Self, ReadError> {
        let replaceable = is_replaceable(kind).then(|| {
            let table = present(Self::TABLE, snapshot.db().tables.replace)?;
            snapshot.seeker(table, true)
        });
        Ok(Self { snapshot, kind, replaceable: replaceable.transpose()?, all: None })
    }

    pub(crate) fn get(&mut self, pubkey: &Pubkey) -> Result<Option<LevId>, ReadError> {
        if let Some(entries) = &mut self.replaceable {
            let key = replace_key_without_d_tag(pubkey, self.kind);
            entries.seek(&key)?;
            let mut lev_id = None;
            loop {
                match entries.next().transpose()?.filter(|(found, _)| *found == key) {
                    None => return Ok(lev_id),
                    Some((_, value)) if lev_id.is_none() => {
                        lev_id = Some(lev_id_of(Self::TABLE, pubkey, value)?);
                    }
                    // More than one: the other index knows which is newest.
                    Some(_) => break,
                }
            }
        }
        let all = match &mut self.all {
            Some(all) => all,
            none => none.insert(ByPubkeyKind::new(self.snapshot)?),
        };
        Ok(all.newest(pubkey, self.kind)?.map(|found| found.lev_id))
    }
}

/// Looks up ids; in their order, each goes on from where the one before was.
pub(crate) struct ById<'s>(Entries<'s>);

impl<'s> ById<'s> {
    const TABLE: &'static str = "Event__id";

    pub(crate) fn new(snapshot: &'s Snapshot<'_>) -> Result<Self, ReadError> {
        let table = present(Self::TABLE, snapshot.db().tables.id)?;
        snapshot.seeker(table, true).map(Self)
    }

    /// See [`Snapshot::find`].
    pub(crate) fn find(&mut self, id: &EventId) -> Result<Option<LevId>, ReadError> {
        let start = id_key(id, 0);
        self.0.seek(&start)?;
        match self.0.next().transpose()? {
            Some((key, _)) if key.len() != start.len() => {
                Err(damaged(Self::TABLE, hex::encode(key), WRONG_SIZE))
            }
            Some((key, value)) if key.starts_with(id.as_bytes()) => match value.try_into() {
                Ok(lev_id) => Ok(Some(LevId::from_ne_bytes(lev_id))),
                Err(_) => Err(damaged(Self::TABLE, id, "its levId is not 8 bytes")),
            },
            _ => Ok(None),
        }
    }
}

fn lev_id_of(table: &'static str, key: impl ToString, value: &[u8]) -> Result<LevId, ReadError> {
    let bytes = value.try_into().map_err(|_| damaged(table, key, "its levId is not 8 bytes"))?;
    Ok(LevId::from_ne_bytes(bytes))
}
