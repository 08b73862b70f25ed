//! Relays as they are found in the wild, as pure functions: a message in, acts out, always the same
//! for the same seed. They know nothing of sockets and clocks; who includes them brings these.

#![allow(dead_code, reason = "each program that includes this uses its own part")]

mod archive;
mod relay;

use std::time::Duration;

pub use archive::{Archive, Stored};
pub use relay::{Conversation, Relay};
use serde_json::{Value, json};

/// What is peculiar about a relay. The default has no peculiarities, and does not compare.
#[derive(Debug, Clone)]
pub struct Quirks {
    /// Most events that answer one filter.
    pub cap: usize,
    /// The cap is for all filters of a REQ together.
    pub caps_all_filters_together: bool,
    pub order: Order,
    /// `until` excludes its second.
    pub until_is_exclusive: bool,
    /// `since` excludes its second.
    pub since_is_exclusive: bool,
    /// Fields of a filter that the relay does not know.
    pub ignores: &'static [&'static str],
    /// Only the first filter of a REQ is heeded.
    pub heeds_the_first_filter_only: bool,
    /// Filters with ids match nothing.
    pub finds_no_ids: bool,
    /// What it refuses, and how.
    pub refuses: Vec<Rule>,
    /// What it keeps for others.
    pub withholds: Option<Withholds>,
    pub login: Option<Login>,
    pub comparing: Comparing,
    pub speech: Speech,
    pub door: Door,
    /// What the relay says of itself (NIP-11).
    pub info: Option<Value>,
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            cap: 500,
            caps_all_filters_together: false,
            order: Order::Newest,
            until_is_exclusive: false,
            since_is_exclusive: false,
            ignores: &[],
            heeds_the_first_filter_only: false,
            finds_no_ids: false,
            refuses: Vec::new(),
            withholds: None,
            login: None,
            comparing: Comparing::Refuses(Refusal::Notice("ERROR: bad msg: unknown cmd")),
            speech: Speech::default(),
            door: Door::Open,
            info: None,
        }
    }
}

/// Which events a page holds when there are more, and in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The newest, newest first, as NIP-01 wants.
    Newest,
    /// The oldest, oldest first.
    Oldest,
    /// The newest, in no order.
    Shuffled,
    /// Those of the first author, then those of the second, each newest first.
    ByAuthor,
    /// Those of the smallest kind, then those of the next, each newest first.
    ByKind,
    /// Those of the first author and the first kind, then those of the next, each newest first.
    ByAuthorAndKind,
    /// Any of them, in no order.
    Random,
}

/// Something that a relay refuses, and how.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    pub what: TooMuch,
    pub how: Refusal,
}

/// What is too much for a relay.
#[derive(Debug, Clone, Copy)]
pub enum TooMuch {
    /// More kinds than this in a filter.
    Kinds(usize),
    /// More authors than this in a filter.
    Authors(usize),
    /// More ids than this in a filter.
    Ids(usize),
    /// More filters than this in a REQ.
    Filters(usize),
    /// A limit above this, or none.
    Limit(u64),
    /// From `since` to `until` more seconds than this.
    Span(u64),
    /// More events than this match.
    Matches(usize),
    /// This kind.
    Kind(u64),
    /// A kind from this one on.
    KindFrom(u64),
    /// More open subscriptions than this.
    Open(usize),
    /// The first so many questions.
    First(usize),
    /// Every question with a number that this divides.
    Every(usize),
    /// A text of more bytes than this.
    Bytes(usize),
}

/// How a relay refuses.
#[derive(Debug, Clone, Copy)]
pub enum Refusal {
    /// CLOSED, or NEG-ERR where something is compared.
    Closed(&'static str),
    /// A NOTICE and nothing else.
    Notice(&'static str),
    /// A NOTICE and the end of an empty answer; the other filters of the REQ are answered.
    NoticeAndEnd(&'static str),
    /// A NOTICE and then a CLOSED.
    NoticeAndClosed(&'static str),
    /// The end of an empty answer.
    End,
    Silence,
    /// The end of the connection, said properly.
    HangUp,
    /// The end of the connection without a word.
    Cut,
}

/// Kinds that a relay keeps for the parties to them.
#[derive(Debug, Clone, Copy)]
pub struct Withholds {
    pub kinds: &'static [u64],
    /// How a question for one of these kinds is refused; `None`: it is answered without them.
    pub how: Option<Refusal>,
    /// Their ids are named in comparisons.
    pub names_them: bool,
}

/// How a relay asks who somebody is (NIP-42).
#[derive(Debug, Clone, Copy)]
pub struct Login {
    pub challenge: Challenge,
    /// Kinds that only those get who are known; `None`: everything.
    pub guards: Option<&'static [u64]>,
    /// How somebody unknown is refused.
    pub refusal: Refusal,
    pub verdict: Verdict,
}

/// When the challenge comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    AtConnect,
    BeforeRefusal,
    AfterRefusal,
    /// A moment after the refusal.
    LongAfterRefusal,
    /// The refusal itself is left out.
    InsteadOfRefusal,
    /// At connect, and with each refusal another, which alone is valid.
    Again,
    Never,
}

/// What a relay makes of the answer to its challenge.
#[derive(Debug, Clone, Copy)]
pub enum Verdict {
    Accepts,
    /// Accepts, and says nothing.
    AcceptsInSilence,
    /// OK false with this text.
    Rejects(&'static str),
    /// OK false to the first answer, and a newer challenge, the answer to which is accepted.
    RejectsTheFirst,
}

/// What a relay makes of a comparison (NIP-77).
#[derive(Debug, Clone, Copy)]
pub enum Comparing {
    /// Compares, and heeds its rules.
    Works,
    Refuses(Refusal),
    /// Says that it has nothing.
    EmptySet,
    /// Names as many ids more that it never gives.
    NamesMore(usize),
}

/// How a relay speaks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Speech {
    /// Says the end before the events.
    pub ends_first: bool,
    /// Says the end twice.
    pub ends_twice: bool,
    /// Says the ends of subscriptions that nobody has.
    pub ends_others: bool,
    /// Ends each subscription with CLOSED after its end.
    pub closes_after_the_end: bool,
    /// Ends each subscription with CLOSED in place of its end.
    pub closes_in_place_of_the_end: bool,
    /// Says what is no message before each answer.
    pub keeps_alive: bool,
    /// Ends each connection after so many events.
    pub cuts_after: Option<usize>,
    /// Sends text in binary messages.
    pub in_binary: bool,
    /// Says subscriptions in upper case.
    pub shouts: bool,
    /// Adds fields to events, and white space to messages.
    pub embellishes: bool,
    /// Waits before each event.
    pub pause: Option<Duration>,
}

/// What happens to a handshake.
#[derive(Debug, Clone, Copy)]
pub enum Door {
    Open,
    /// The first so many handshakes are answered with this status, and `Retry-After`.
    Busy {
        times: usize,
        status: u16,
        retry_after: Option<u64>,
    },
    /// The first so many handshakes are cut.
    Cut {
        times: usize,
    },
}

/// One step of what a relay does.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    Say(String),
    /// The same, in a binary message.
    SayInBinary(String),
    Wait(Duration),
    /// Ends the connection properly.
    HangUp,
    /// Ends the connection without a word.
    Cut,
}

fn say(message: Value) -> Act {
    Act::Say(message.to_string())
}

fn notice(text: &str) -> Act {
    say(json!(["NOTICE", text]))
}

impl Refusal {
    /// The acts that refuse a REQ, or a comparison.
    fn acts(self, subscription: &str, compares: bool) -> Vec<Act> {
        let closed = |text: &str| {
            say(json!([if compares { "NEG-ERR" } else { "CLOSED" }, subscription, text]))
        };
        match self {
            Self::Closed(text) => vec![closed(text)],
            Self::Notice(text) => vec![notice(text)],
            Self::NoticeAndClosed(text) => vec![notice(text), closed(text)],
            Self::NoticeAndEnd(text) if compares => vec![notice(text), closed(text)],
            Self::NoticeAndEnd(text) => vec![notice(text), say(json!(["EOSE", subscription]))],
            Self::End if compares => Vec::new(),
            Self::End => vec![say(json!(["EOSE", subscription]))],
            Self::Silence => Vec::new(),
            Self::HangUp => vec![Act::HangUp],
            Self::Cut => vec![Act::Cut],
        }
    }
}
