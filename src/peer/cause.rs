//! A reason in parts, for programs and for other languages: its name, its number, and the words that
//! are not ours to translate.

use serde::Serialize;

use super::outcome::GapReason;

/// The parts of a reason. What its number counts is said by the name; see
/// `schema/backfill-summary.schema.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// Which one, such as `timed_out`. A later version may know more of them.
    pub name: &'static str,
    /// Seconds, events, or the second of a dense one.
    pub number: Option<u64>,
    /// What the peer said, or the error of a connection; as it came.
    pub words: Option<String>,
}

impl Cause {
    /// One that is all said by its name.
    pub fn named(name: &'static str) -> Self {
        Self { name, number: None, words: None }
    }

    /// One with a number.
    pub fn counted(name: &'static str, number: u64) -> Self {
        Self { name, number: Some(number), words: None }
    }
}

impl From<&GapReason> for Cause {
    fn from(reason: &GapReason) -> Self {
        let said = |name, words: &String| Self { words: Some(words.clone()), ..Self::named(name) };
        let after = |name, number, words: &Option<String>| Self {
            words: words.clone(),
            ..Self::counted(name, number)
        };
        match reason {
            GapReason::NotConnected(error) => said("not_connected", error),
            GapReason::DenseSecond(second) => Self::counted("dense_second", *second),
            GapReason::IgnoresFilter => Self::named("ignores_filter"),
            GapReason::SaysNothing => Self::named("says_nothing"),
            GapReason::AfterItsEnd => Self::named("after_its_end"),
            GapReason::Closed(message) => said("refused", message),
            GapReason::Unanswered(seconds) => Self::counted("unanswered", *seconds),
            GapReason::NoOrder => Self::named("no_order"),
            GapReason::TimedOut(seconds, notice) => after("timed_out", *seconds, notice),
            GapReason::TooSlow(seconds) => Self::counted("too_slow", *seconds),
            GapReason::Cut(error) => said("connection_lost", error),
            GapReason::NotGiven(count, notice) => after("not_given", *count, notice),
            GapReason::Useless => Self::named("useless"),
            GapReason::Forged(count) => Self::counted("forged", *count),
            GapReason::Strangers(most) => Self::counted("unknown_authors", *most),
            GapReason::Stopped => Self::named("stopped"),
        }
    }
}
