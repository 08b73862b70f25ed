//! Where the events of a conversation go, and what it says of everything else that comes.

use crate::nostr::{Event, EventId, Malformed};

/// Where the events of one peer go.
pub trait Sink: Sync {
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
