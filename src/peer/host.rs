//! What the program that asks peers gives to a conversation: a place where events go, and what is here
//! already. The conversation knows neither the database nor the import.

use std::future::Future;
use std::pin::Pin;

use super::fingerprints::Fingerprints;
use super::item_set::ItemSet;
use crate::nostr::{Event, EventId, Filter, Malformed};

/// Where the events of one peer go.
pub trait EventSink: Sync {
    /// An event that was asked for; its id and signature are not checked yet. Returns when there
    /// is room for more.
    fn event(&self, event: &Event<'_>) -> impl Future<Output = Result<(), Stopped>> + Send;

    /// Something that came and is of no use.
    fn unwanted(&self, what: Unwanted);

    /// What has been found out about this peer's events so far.
    fn standing(&self) -> Standing;
}

/// What has been found out about a peer's events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Genuine ones that the peer had not given before in this run.
    pub genuine: u64,
    /// Events that are not what they claim to be; or more of anything than a peer may send.
    pub forged: u64,
    /// Some of them have waited for our own checks for a while.
    pub is_waiting: bool,
}

/// The sink takes no more events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped;

/// What a peer sent that is of no use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unwanted {
    /// An event that this conversation has brought already.
    Repeated,
    /// An event that no open query asked for.
    Unasked,
    /// An event that is dated later than anything that is asked for.
    TooNew,
    /// Something in the place of an event.
    Malformed(Malformed),
    /// An event that was asked for, in a message larger than [`super::limits::MESSAGE`]: its id, if
    /// that could be read, as claimed, and the bytes of the message.
    TooLarge {
        /// As the relay claims.
        id: Option<EventId>,
        /// Of the whole message.
        bytes: u64,
    },
    /// No message of the protocol at all.
    NotAMessage,
}

/// Knows what is here already.
pub trait LocalEvents: Send + Sync + std::fmt::Debug {
    /// The events that are here and match the filter; `limit` does not matter.
    fn items<'a>(&'a self, filter: &'a Filter) -> LocalItems<'a>;

    /// What a comparison of these events opens with.
    fn opening<'a>(&'a self, filter: &'a Filter) -> LocalOpening<'a> {
        Box::pin(async { self.items(filter).await.map(Opening::Items) })
    }

    /// The fingerprints of all events at the time of this filter, whoever has made them, if many of
    /// the queries about that time are known beforehand; else nothing.
    fn overview<'a>(&'a self, _time: &'a Filter) -> LocalOverview<'a> {
        Box::pin(async { Fingerprints::default() })
    }

    /// Those of these events that are not here by now. [`LocalEvents::items`] may tell what was here a
    /// while ago, before other peers gave what they have.
    fn missing(&self, ids: Vec<EventId>) -> MissingIds<'_>;

    /// The peer has been found to lack these events; the same may be told again.
    fn not_there(&self, _ids: Vec<EventId>) {}

    /// Of this filter the peer has given, page by page, everything that it has.
    fn all_was_given(&self, _filter: Filter) {}
}

/// What [`LocalEvents::items`] returns.
pub type LocalItems<'a> = Pin<Box<dyn Future<Output = Result<ItemSet, LocalError>> + Send + 'a>>;

/// What [`LocalEvents::opening`] returns.
pub type LocalOpening<'a> = Pin<Box<dyn Future<Output = Result<Opening, LocalError>> + Send + 'a>>;

/// What [`LocalEvents::overview`] returns.
pub type LocalOverview<'a> = Pin<Box<dyn Future<Output = Fingerprints> + Send + 'a>>;

/// What a comparison opens with.
#[derive(Debug, Clone)]
pub enum Opening {
    /// All events.
    Items(ItemSet),
    /// The fingerprints of many events, for which the first message needs no more. If the peer's
    /// answer says that anything differs, [`LocalEvents::items`] is called for the events.
    Fingerprints(Fingerprints),
}

impl Opening {
    /// How many events.
    pub fn len(&self) -> usize {
        match self {
            Self::Items(items) => items.len(),
            Self::Fingerprints(fingerprints) => fingerprints.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<ItemSet> for Opening {
    fn from(items: ItemSet) -> Self {
        Self::Items(items)
    }
}

/// What [`LocalEvents::missing`] returns: in the order in which they were given.
pub type MissingIds<'a> = Pin<Box<dyn Future<Output = Vec<EventId>> + Send + 'a>>;

/// Why what is here cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum LocalError {
    /// The events on both sides of this second are about equally many.
    #[error("too many events are here to compare them at once")]
    TooMany { middle: u64 },
    #[error("there is no room for more comparisons")]
    NoRoom,
    #[error("cannot read what is here: {0}")]
    Unreadable(String),
}
