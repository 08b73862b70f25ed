//! Where an event that came into the pipeline ends.

use super::accounts::Class;
use crate::nostr::EventId;

/// What became of an event that is one by strfry's rules of structure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Given to strfry, and it is in the database.
    Imported,
    /// Genuine and missing here, and nothing is to be imported.
    WouldImport,
    /// It was in the database before this run.
    AlreadyPresent,
    /// Another copy of it came into the database, or was on its way there, during this run.
    Duplicate,
    /// The database holds this event in its place: newer, or of the same second with a lower id.
    Superseded(EventId),
    /// Its author has deleted it; the id is that of the deletion.
    Deleted(EventId),
    /// Its time is over, and strfry has removed it or not taken it.
    Expired,
    /// Why strfry did not take it, in its words; or that it ends each time it is given it.
    Rejected(String),
    /// It is not there, and strfry does not say why.
    NotConfirmed,
    /// Its id is not the hash of its text.
    BadId,
    /// Its signature is not its author's.
    BadSignature,
    /// The run ended before it could be given to strfry.
    Dropped,
}

impl Fate {
    /// The class in which it is counted.
    pub fn class(&self) -> Class {
        match self {
            Self::Imported => Class::Imported,
            Self::WouldImport => Class::WouldImport,
            Self::AlreadyPresent => Class::AlreadyPresent,
            Self::Duplicate => Class::Duplicate,
            Self::Superseded(_) => Class::Superseded,
            Self::Deleted(_) => Class::Deleted,
            Self::Expired => Class::Expired,
            Self::Rejected(_) => Class::Rejected,
            Self::NotConfirmed => Class::NotConfirmed,
            Self::BadId => Class::BadId,
            Self::BadSignature => Class::BadSignature,
            Self::Dropped => Class::Dropped,
        }
    }

    /// Why it is not in the database, in strfry's words where strfry has some. `None`: it is there,
    /// or would be.
    pub fn reason(&self) -> Option<String> {
        Some(match self {
            Self::Imported | Self::WouldImport | Self::AlreadyPresent | Self::Duplicate => {
                return None;
            }
            Self::Superseded(id) => format!("the database holds {id} in its place"),
            Self::Deleted(id) => format!("deleted by {id}"),
            Self::Expired => "event expired".to_owned(),
            Self::Rejected(reason) => reason.clone(),
            Self::NotConfirmed => "given to strfry and not in the database".to_owned(),
            Self::BadId => "bad event id".to_owned(),
            Self::BadSignature => "bad signature".to_owned(),
            Self::Dropped => "the import ended before it".to_owned(),
        })
    }
}
