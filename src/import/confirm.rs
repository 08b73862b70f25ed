//! What became of an event that strfry was given, read from the database.

use sha2::{Digest, Sha256};

use super::encode::StoredEvent;
use super::event_head::EventHead;
use super::fate::Fate;
use crate::nostr::{EventId, Pubkey, kind};
use crate::strfry_db::{ReadError, Snapshot};

/// Looks an event up. `None`: it is not there, and nothing in the database explains that.
pub(super) fn look_up(
    snapshot: &Snapshot<'_>,
    event: &StoredEvent,
) -> Result<Option<Fate>, ReadError> {
    if snapshot.find(&event.id())?.is_some() {
        return Ok(Some(Fate::Imported));
    }
    match ruled_out(snapshot, event)? {
        None => Ok(deletion_by_recipient(snapshot, event)?.map(Fate::Deleted)),
        fate => Ok(fate),
    }
}

/// Whether the database holds a deletion of an event that is not there, or a newer one in its
/// place. Such an event is never given to strfry: 1.1.1 aborts (`unprocessed deletion`) if an event
/// would replace another and is deleted itself.
pub(super) fn ruled_out(
    snapshot: &Snapshot<'_>,
    event: &StoredEvent,
) -> Result<Option<Fate>, ReadError> {
    if let Some(deletion) = deletion(snapshot, event)? {
        return Ok(Some(Fate::Deleted(deletion)));
    }
    Ok(superseding(snapshot, event)?.map(Fate::Superseded))
}

/// The fate of an event that is not there, given twice, and of which strfry says nothing. A relay
/// removes ephemeral events, and those past their expiration, as soon as it sees them.
pub(super) fn unexplained(event: &EventHead) -> Fate {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    match event.expiration() {
        // 1 stands for an ephemeral kind.
        1.. if event.expiration() <= now => Fate::Expired,
        _ => Fate::NotConfirmed,
    }
}

/// strfry 1.1.1, `writeEvents`: `Event__deletion`, and for addressable events
/// `Event__replaceDeletion`.
fn deletion(snapshot: &Snapshot<'_>, event: &StoredEvent) -> Result<Option<EventId>, ReadError> {
    let packed = event.packed();
    let mut lev_id = snapshot.deletion(&packed.id(), &packed.pubkey())?;
    if lev_id.is_none() && kind::is_addressable(packed.kind()) {
        let d_tag = packed.d_tag().unwrap_or_default();
        let mut address = Sha256::new();
        address.update(format!("{}:{}:", packed.kind(), packed.pubkey()));
        address.update(d_tag);
        let newest = snapshot.address_deletion(&address.finalize().into())?;
        lev_id = newest
            .filter(|newest| newest.created_at >= packed.created_at())
            .map(|newest| newest.lev_id);
    }
    let Some(lev_id) = lev_id else { return Ok(None) };
    Ok(snapshot.packed(lev_id)?.map(|deletion| deletion.id()))
}

/// strfry after 1.1.1, `writeEvents`: whoever a gift wrap is addressed to may delete it, because its
/// author is a key that signs nothing else. Only for events that strfry was given and has not
/// taken: 1.1.1 takes them all the same.
fn deletion_by_recipient(
    snapshot: &Snapshot<'_>,
    event: &StoredEvent,
) -> Result<Option<EventId>, ReadError> {
    let packed = event.packed();
    if !matches!(packed.kind(), kind::GIFT_WRAP | kind::EPHEMERAL_GIFT_WRAP) {
        return Ok(None);
    }
    for (_, value) in packed.tags().filter(|&(name, _)| name == b'p') {
        let Ok(recipient) = value.try_into().map(Pubkey::from_bytes) else { continue };
        if let Some(lev_id) = snapshot.deletion(&packed.id(), &recipient)? {
            return Ok(snapshot.packed(lev_id)?.map(|deletion| deletion.id()));
        }
    }
    Ok(None)
}

/// strfry 1.1.1, `isEventABeforeEventB`: of two events of one second the greater id is replaced.
fn superseding(snapshot: &Snapshot<'_>, event: &StoredEvent) -> Result<Option<EventId>, ReadError> {
    let packed = event.packed();
    if !kind::is_replaceable(packed.kind()) && !kind::is_addressable(packed.kind()) {
        return Ok(None);
    }
    let d_tag = packed.d_tag().unwrap_or_default();
    let Some(lev_id) = snapshot.replaceable(&packed.pubkey(), d_tag, packed.kind())? else {
        return Ok(None);
    };
    let Some(held) = snapshot.packed(lev_id)? else { return Ok(None) };
    let order = held.created_at().cmp(&packed.created_at());
    let supersedes = order.then_with(|| packed.id().cmp(&held.id())).is_gt();
    Ok(supersedes.then(|| held.id()))
}
