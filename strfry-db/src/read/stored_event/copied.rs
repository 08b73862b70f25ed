//! An event out of the database: a copy of what strfry stores of it, decoded when it is asked.

use std::borrow::Cow;

use crate::error::ReadError;
use crate::format::keys::LevId;
use crate::format::packed_event::{HEADER, PackedEvent};
use crate::format::payload;
use crate::nostr::{EventId, Pubkey};
use crate::open::StrfryDb;
use crate::read::dictionaries::know_dictionary;
use crate::txn::snapshot::Snapshot;

/// An event that a scan has found, copied: no snapshot is open on its behalf. Its JSON is
/// decompressed, and looked at, when it is asked for.
#[derive(Clone)]
pub struct StoredEvent<'db> {
    db: &'db StrfryDb,
    lev_id: LevId,
    header: [u8; HEADER],
    /// The packed tags, then the payload.
    bytes: Box<[u8]>,
    tags: usize,
}

impl StoredEvent<'_> {
    /// strfry's number of the event. strfry counts up; only the highest number is given anew, once
    /// its event has been deleted.
    pub fn lev_id(&self) -> LevId {
        self.lev_id
    }

    /// The event's id.
    pub fn id(&self) -> EventId {
        self.packed().id()
    }

    /// The author.
    pub fn pubkey(&self) -> Pubkey {
        self.packed().pubkey()
    }

    /// Seconds since 1970.
    pub fn created_at(&self) -> u64 {
        self.packed().created_at()
    }

    /// The kind.
    pub fn kind(&self) -> u64 {
        self.packed().kind()
    }

    /// All that strfry indexes of the event, its short tags too.
    pub fn packed(&self) -> PackedEvent<'_> {
        let tags = self.bytes.get(..self.tags).unwrap_or_default();
        PackedEvent::from_parts(&self.header, tags)
    }

    /// The event as strfry stores it, the same bytes that `strfry scan` prints; borrowed unless it
    /// is compressed. [`Event::parse`](crate::nostr::Event::parse) takes it apart.
    ///
    /// # Errors
    /// [`ReadError::Damaged`]: it cannot be decoded.
    pub fn json(&self) -> Result<Cow<'_, str>, ReadError> {
        let payload = self.bytes.get(self.tags..).unwrap_or_default();
        payload::decode(&self.db.dictionaries, self.lev_id, payload)
    }
}

impl std::fmt::Debug for StoredEvent<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut fields = f.debug_struct("StoredEvent");
        fields.field("lev_id", &self.lev_id).field("id", &self.id()).finish_non_exhaustive()
    }
}

/// Copies of some events, in their order; damage of one is in its place.
pub(crate) type Copied<'db> = Vec<Result<StoredEvent<'db>, ReadError>>;

/// Copies these events.
pub(crate) fn copied_of<'db>(
    snapshot: &Snapshot<'db>,
    lev_ids: Vec<LevId>,
) -> Result<Copied<'db>, ReadError> {
    let packed = snapshot.packed_of(lev_ids.clone())?;
    let payloads = snapshot.payloads_of(lev_ids.clone())?;
    lev_ids
        .into_iter()
        .zip(packed.zip(payloads))
        .map(|(lev_id, both)| match copy(snapshot, lev_id, both) {
            Err(error) if !matches!(error, ReadError::Damaged { .. }) => Err(error),
            event => Ok(event),
        })
        .collect()
}

fn copy<'db>(
    snapshot: &Snapshot<'db>,
    lev_id: LevId,
    (packed, payload): (Result<PackedEvent<'_>, ReadError>, Result<&[u8], ReadError>),
) -> Result<StoredEvent<'db>, ReadError> {
    let (packed, payload) = (packed?, payload?);
    // What it is compressed with is read in the same moment, and known from then on.
    know_dictionary(snapshot, payload)?;
    let tags = packed.tag_bytes();
    Ok(StoredEvent {
        db: snapshot.db(),
        lev_id,
        header: *packed.header(),
        bytes: [tags, payload].concat().into(),
        tags: tags.len(),
    })
}
