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
    /// What could not be had. Empty: the peer gave all that it has, but for what it withholds.
    pub gaps: Vec<Gap>,
    /// What the peer keeps for the parties to it: never to be had by us, and so not missing.
    pub withheld: Vec<Withheld>,
}

impl FetchOutcome {
    /// The peer never answered anything.
    pub fn failed(&self) -> bool {
        self.complete == 0 && self.events == 0 && !self.gaps.is_empty()
    }

    /// Puts together gaps that were one question before it was divided.
    pub(super) fn join_gaps(&mut self) {
        let gaps = std::mem::take(&mut self.gaps);
        let gaps = joined(gaps, |one, other| {
            // The older one ends where the newer one begins, or a little later.
            let is_next = one.since.is_some_and(|since| {
                other.until.is_some_and(|until| until.saturating_add(1) >= since)
                    && other.until <= one.until
                    && other.since <= Some(since)
            });
            let is_alike =
                (&one.authors, &one.kinds, &one.ids) == (&other.authors, &other.kinds, &other.ids);
            (is_next && is_alike).then(|| Filter { until: one.until, ..other.clone() })
        });
        let gaps = joined(gaps, |one, other| {
            let is_alike = (&one.kinds, one.since, one.until, &one.ids)
                == (&other.kinds, other.since, other.until, &other.ids);
            let authors = union(one.authors.as_ref()?, other.authors.as_ref()?);
            is_alike.then(|| Filter { authors: Some(authors), ..one.clone() })
        });
        self.gaps = joined(gaps, |one, other| {
            let is_alike = (&one.authors, one.since, one.until, &one.ids)
                == (&other.authors, other.since, other.until, &other.ids);
            let kinds = union(one.kinds.as_ref()?, other.kinds.as_ref()?);
            let is_private =
                |kinds: &Option<Vec<u64>>| kinds == &Some(vec![4]) || kinds == &Some(vec![1059]);
            let are_apart = is_private(&one.kinds) != is_private(&other.kinds);
            (is_alike && !are_apart).then(|| Filter { kinds: Some(kinds), ..one.clone() })
        });
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

/// Joins what `join` says is one, as far as it has the same reason.
fn joined(gaps: Vec<Gap>, join: impl Fn(&Filter, &Filter) -> Option<Filter>) -> Vec<Gap> {
    let mut result: Vec<Gap> = Vec::new();
    for gap in gaps {
        let found = result.iter_mut().filter(|it| it.reason == gap.reason).find_map(|known| {
            let filter =
                join(&known.filter, &gap.filter).or_else(|| join(&gap.filter, &known.filter));
            filter.map(|filter| (known, filter))
        });
        match found {
            Some((known, filter)) => known.filter = filter,
            None => result.push(gap),
        }
    }
    result
}

/// All of both, each once, sorted.
fn union<T: Ord + Clone>(one: &[T], other: &[T]) -> Vec<T> {
    let mut all = [one, other].concat();
    all.sort_unstable();
    all.dedup();
    all
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
    /// The peer answered with nothing, as it did where it had something.
    SaysNothing,
    /// The peer said that these were all events, and sent more.
    AfterItsEnd,
    /// The peer refused the smallest question: the text of its CLOSED, NEG-ERR or NOTICE.
    Closed(String),
    /// The peer did not answer a question within so many seconds.
    Unanswered(u64),
    /// The peer gives its events in no order that can be followed.
    NoOrder,
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
            Self::NotConnected(error) => f.write_str(error),
            Self::DenseSecond(second) => {
                write!(f, "second {second} holds more events of one author and kind than a page")
            }
            Self::IgnoresFilter => f.write_str("the relay answers with what was not asked for"),
            Self::SaysNothing => {
                f.write_str("the relay says that it has nothing where it has something")
            }
            Self::AfterItsEnd => f.write_str("the relay sends events after the end of its answer"),
            Self::Closed(message) => write!(f, "refused by the relay: {message}"),
            Self::Unanswered(seconds) => write!(f, "a question was not answered for {seconds} s"),
            Self::NoOrder => {
                f.write_str("the relay gives its events neither newest first nor oldest first")
            }
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
