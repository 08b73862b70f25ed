//! How a conversation with a peer went: complete, or what is missing and why.

use std::fmt;

use crate::nostr::Filter;

/// What came of one set of queries to one peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchOutcome {
    /// Events that answered what was asked, repeats within one conversation not counted.
    pub events: u64,
    /// Pages and rounds of comparisons that were answered.
    pub pages: u64,
    /// Queries that were answered to their end, or parts of one that was divided.
    pub complete: usize,
    /// What could not be had. Empty: the peer gave all that it has.
    pub gaps: Vec<Gap>,
    /// What the peer keeps for the parties to it: never to be had by us, and so not missing.
    pub withheld: Vec<Withheld>,
}

impl FetchOutcome {
    /// The peer never answered anything.
    pub fn failed(&self) -> bool {
        self.complete == 0 && self.events == 0 && !self.gaps.is_empty()
    }

    /// Adds what another conversation with the same peer gave.
    pub fn merge(&mut self, other: Self) {
        self.events += other.events;
        self.pages += other.pages;
        self.complete += other.complete;
        self.gaps.extend(other.gaps);
        self.withheld.extend(other.withheld);
    }
}

/// A part of what was asked that a peer gives only to the parties to it (kinds 4 and 1059).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withheld {
    /// What was asked.
    pub filter: Filter,
    /// In the relay's words, or in ours if it says nothing.
    pub reason: String,
}

/// A part of what was asked that a peer did not give, or of which that is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// What was asked.
    pub filter: Filter,
    /// Why it is missing.
    pub reason: GapReason,
}

/// Why something is missing. Texts from the peer are as it sent them, cut to 200 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GapReason {
    /// No connection could be made.
    NotConnected(String),
    /// More events in one second than the peer gives for one author and kind.
    DenseSecond(u64),
    /// The peer answered with nothing but what was not asked for.
    IgnoresFilter,
    /// The peer said that these were all events, and sent more.
    AfterItsEnd,
    /// The peer ended the subscription.
    Closed(String),
    /// No progress for this many seconds; the peer's last NOTICE, if it sent one.
    TimedOut(u64, Option<String>),
    /// Fewer new events than seconds, over so many seconds.
    TooSlow(u64),
    /// The connection ended, again and again.
    Cut(String),
    /// So many events that the peer says it has did not come; its last refusal, if there was one.
    NotGiven(u64, Option<String>),
    /// Too much of what the peer sends is forged, was not asked for or is no message at all, or
    /// there is no end to it.
    Useless,
    /// So many events, from whichever peer, were forged again and again: genuine ones may be missing.
    Forged(u64),
    /// More than so many genuine new events by authors whom the node does not know.
    Strangers(u64),
    /// The run was told to stop, or had reached its longest time.
    Stopped,
}

impl fmt::Display for GapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected(error) => write!(f, "no connection: {error}"),
            Self::DenseSecond(second) => {
                write!(f, "second {second} holds more events of one author and kind than a page")
            }
            Self::IgnoresFilter => f.write_str("the relay answers with what was not asked for"),
            Self::AfterItsEnd => f.write_str("the relay sends events after the end of its answer"),
            Self::Closed(message) => write!(f, "refused by the relay: {message}"),
            Self::TimedOut(seconds, None) => write!(f, "nothing new for {seconds} s"),
            Self::TimedOut(seconds, Some(notice)) => {
                write!(f, "nothing new for {seconds} s, after the notice: {notice}")
            }
            Self::TooSlow(seconds) => {
                write!(f, "too slow: fewer than {seconds} new events in {seconds} s")
            }
            Self::Cut(error) => write!(f, "connection lost: {error}"),
            Self::NotGiven(count, None) => {
                write!(f, "{count} events that the relay says it has did not come")
            }
            Self::NotGiven(count, Some(notice)) => {
                write!(f, "{count} events that the relay says it has did not come: {notice}")
            }
            Self::Useless => f.write_str("given up: it keeps sending what is of no use"),
            Self::Forged(count) => {
                write!(f, "{count} events were forged again and again; genuine ones may be missing")
            }
            Self::Strangers(most) => write!(
                f,
                "given up: more than {most} new events by authors who are on none of this node's lists"
            ),
            Self::Stopped => f.write_str("stopped before the end"),
        }
    }
}
