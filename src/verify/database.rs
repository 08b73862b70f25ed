//! The events of a database: read batch by batch, checked between the snapshots.

use super::judge::{Defect, judge};
use super::{Checked, Offender};
use crate::import::pack;
use crate::nostr::{Event, signature};
use crate::strfry_db::{
    Damage, ExportRange, Filter, PackedEvent, ReadError, StoredForms, StrfryDb,
};

/// Checks the events of a range and hands on what came of each batch, until that fails.
///
/// # Errors
/// [`ReadError`] of the database as a whole, or what `tell` returns.
pub fn verify_database<E: From<ReadError>>(
    db: &StrfryDb,
    range: ExportRange,
    mut tell: impl FnMut(Checked) -> Result<(), E>,
) -> Result<(), E> {
    let mut events = db.export_forms(range)?;
    let mut batch = Vec::new();
    loop {
        batch.clear();
        let more = events.next_batch(&mut batch)?;
        tell(judge_stored(&batch))?;
        if !more {
            return Ok(());
        }
    }
}

/// Checks the events that match any of the filters, newest first, and hands on what came of each
/// batch, until that fails.
///
/// # Errors
/// [`ReadError`] of the database as a whole, or what `tell` returns.
pub fn verify_matches<E: From<ReadError>>(
    db: &StrfryDb,
    filters: Vec<Filter>,
    mut tell: impl FnMut(Checked) -> Result<(), E>,
) -> Result<(), E> {
    // No snapshot is open while signatures are checked.
    for events in db.scan(filters).map_batches(|batch| batch.stored_forms()) {
        tell(judge_stored(&events?))?;
    }
    Ok(())
}

/// Checks events of a database on all cores.
pub fn judge_stored(events: &[StoredForms]) -> Checked {
    let verdicts = signature::check_all(events, offender);
    Checked { events: events.len() as u64, offenders: verdicts.into_iter().flatten().collect() }
}

fn offender(stored: &StoredForms) -> Option<Offender> {
    let packed = stored.packed.as_deref().ok().and_then(PackedEvent::from_bytes);
    let reason = verdict(stored, packed.as_ref()).err()?;
    let id = packed.map(|packed| packed.id());
    Some(Offender { id, lev_id: Some(stored.lev_id), line: None, reason })
}

fn verdict(stored: &StoredForms, packed: Option<&PackedEvent<'_>>) -> Result<(), Defect> {
    let damaged = |damage: &Damage| Defect::Damaged(damage.to_string());
    let event = Event::parse(stored.json.as_deref().map_err(damaged)?)?;
    stored.packed.as_ref().map_err(damaged)?;
    judge(&event)?;
    let Some(packed) = packed else { return Ok(()) };
    let expected = pack(&event, None).map_err(Defect::NotIndexable)?;
    let Some(expected) = PackedEvent::from_bytes(&expected) else { return Ok(()) };
    let same = [
        ("id", packed.id() == event.id),
        ("pubkey", packed.pubkey() == event.pubkey),
        ("created_at", packed.created_at() == event.created_at),
        ("kind", packed.kind() == event.kind),
        ("expiration", packed.expiration() == expected.expiration()),
        ("tags", packed.tag_bytes() == expected.tag_bytes()),
    ];
    match same.into_iter().find(|&(_, same)| !same) {
        Some((field, _)) => Err(Defect::Index(field)),
        None => Ok(()),
    }
}
