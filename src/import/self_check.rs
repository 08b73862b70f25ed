//! Do we still encode events as strfry does? Asked of the database before the first fried line:
//! strfry trusts such a line, so a newer strfry that stores events in another way must get plain
//! ones.

use super::child::Form;
use super::encode::StoredEvent;
use super::limits::SELF_CHECK_EVENTS;
use crate::node::EventLimits;
use crate::nostr::{Event, EventId};
use crate::strfry_db::{LevId, ReadError, Snapshot, StrfryDb};

/// What came of the comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SelfCheck {
    /// So many events of the database are, encoded by us, the same bytes. 0 of an empty database.
    Same(usize),
    /// This event is not; or none of the database's events could be read by us.
    Different(Option<EventId>),
}

/// What an event that strfry has taken must not be refused for, whatever the limits are now.
const NO_LIMITS: EventLimits = EventLimits {
    max_event_size: usize::MAX,
    seconds_ahead: u64::MAX,
    max_num_tags: usize::MAX,
    max_tag_val_size: usize::MAX,
};

/// The form in which strfry is to be given events: fried, unless `plain` is wanted, this machine
/// stores integers the other way round than fried lines do (strfry 1.1.1, `cmd_import.cpp`), or the
/// self-check finds a difference, of which it warns.
///
/// # Errors
/// [`ReadError`]
pub fn choose_form(
    db: &StrfryDb,
    plain: bool,
    warn: impl FnOnce(String),
) -> Result<Form, ReadError> {
    if plain || cfg!(target_endian = "big") {
        return Ok(Form::Plain);
    }
    let found = match check_encoding(db)? {
        SelfCheck::Same(_) => return Ok(Form::Fried),
        SelfCheck::Different(Some(id)) => format!("event {id} otherwise than this program would"),
        SelfCheck::Different(None) => "no event in a way that this program knows".to_owned(),
    };
    warn(format!("strfry has stored {found}: it is given plain lines, which takes longer"));
    Ok(Form::Plain)
}

/// Encodes some of the database's events anew, the newest ones and others from all over it, and
/// compares them with what strfry has stored.
///
/// # Errors
/// [`ReadError`]
pub fn check_encoding(db: &StrfryDb) -> Result<SelfCheck, ReadError> {
    let Some(last) = db.read(Snapshot::last_lev_id)? else { return Ok(SelfCheck::Same(0)) };
    let half = SELF_CHECK_EVENTS / 2;
    let newest = (0..half).map(|back| last.saturating_sub(back));
    let all_over = (1..=half).map(|part| (last / half).saturating_mul(part));
    let (mut same, mut unreadable) = (0, 0);
    let lev_ids: Vec<LevId> = newest.chain(all_over).filter(|&lev_id| lev_id > 0).collect();
    for encoding in db.get_each(&lev_ids, |snapshot, &lev_id| Encoding::of(snapshot, lev_id))? {
        match encoding {
            Encoding::Gone => {}
            Encoding::Same => same += 1,
            Encoding::Unreadable => unreadable += 1,
            Encoding::Different(id) => return Ok(SelfCheck::Different(Some(id))),
        }
    }
    Ok(if same == 0 && unreadable > 0 { SelfCheck::Different(None) } else { SelfCheck::Same(same) })
}

/// How one event is stored.
enum Encoding {
    /// Replaced or deleted since.
    Gone,
    /// As we would.
    Same,
    /// We refuse some events that strfry takes: uppercase ids, DEL.
    Unreadable,
    Different(EventId),
}

impl Encoding {
    fn of(snapshot: &Snapshot<'_>, lev_id: LevId) -> Result<Self, ReadError> {
        let (Some(packed), Some(json)) = (snapshot.packed(lev_id)?, snapshot.json(lev_id)?) else {
            return Ok(Self::Gone);
        };
        Ok(match encoded(&json) {
            None => Self::Unreadable,
            Some(ours) if ours.json() == json && ours.packed() == packed => Self::Same,
            Some(_) => Self::Different(packed.id()),
        })
    }
}

fn encoded(json: &str) -> Option<StoredEvent> {
    StoredEvent::encode(&Event::parse(json).ok()?, &NO_LIMITS).ok()
}
