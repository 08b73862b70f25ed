//! The verdict on one event: its form, its id, its signature.

use serde::{Serialize, Serializer};

use crate::import::{self, Refusal};
use crate::node::END_OF_TIME;
use crate::nostr::{Event, Malformed, NotGenuine};

/// What is wrong with an event, worst first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// The database holds something that cannot be read as an event.
    #[error("{0}")]
    Damaged(String),
    /// A line that is no text.
    #[error("not UTF-8")]
    NotUtf8,
    /// A line that is longer than any event.
    #[error("longer than {0} bytes")]
    TooLong(usize),
    /// Not an event as NIP-01 and strfry define it.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The id is not the hash of the event's text.
    #[error("the id is not the hash of the event")]
    BadId,
    /// The signature is not the author's, of this id.
    #[error("the signature is not its author's")]
    BadSignature,
    /// Genuine to strfry and to nobody else.
    #[error(
        "the id is the hash of strfry's text, which escapes DEL (0x7f); by NIP-01 it is not the hash of the event"
    )]
    DelByStrfry,
    /// Genuine to everybody but strfry.
    #[error(
        "the event holds DEL (0x7f), which strfry escapes before hashing: genuine by NIP-01, and strfry would refuse it"
    )]
    DelByNip01,
    /// Genuine, and dated so far ahead that it can end the relay.
    #[error(
        "dated {0}, which strfry's queries have no room for: stored, it can end the relay at every query that meets it"
    )]
    BeyondTime(u64),
    /// Genuine by NIP-01, and strfry may take it for forged, or store other bytes of it.
    #[error("genuine by NIP-01, but strfry may refuse it or store it in other bytes: {0}")]
    Misprinted(Refusal),
    /// Genuine by NIP-01, and strfry would store other bytes of it.
    #[error("genuine by NIP-01, but strfry would refuse it or store it in other bytes: {0}")]
    Rewritten(Refusal),
    /// What strfry indexes of the event cannot be made of it.
    #[error("strfry could not have indexed it: {0}")]
    NotIndexable(Refusal),
    /// The event is genuine, but what strfry indexes of it is another.
    #[error("strfry's record of the event has another {0} than the event itself")]
    Index(&'static str),
}

impl Serialize for Defect {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Judges an event by its own words.
///
/// # Errors
/// What is wrong with it.
pub fn judge(event: &Event<'_>) -> Result<(), Defect> {
    let expected = event.verify().map_err(|why| match why {
        NotGenuine::Signature => Defect::BadSignature,
        _ => Defect::BadId,
    })?;
    if event.id != expected.nip01 {
        return Err(Defect::DelByStrfry);
    }
    if event.id != expected.strfry {
        return Err(Defect::DelByNip01);
    }
    if event.created_at >= END_OF_TIME {
        return Err(Defect::BeyondTime(event.created_at));
    }
    match import::rewritten(event) {
        None | Some(Refusal::Del) => Ok(()),
        Some(refusal @ Refusal::Misprinted(_)) => Err(Defect::Misprinted(refusal)),
        Some(refusal) => Err(Defect::Rewritten(refusal)),
    }
}
