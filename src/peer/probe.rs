//! A short look at a relay: can it be reached, how fast does it answer, what can it do.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::time::timeout;

use super::connect::Dialler;
use super::connect_error::ConnectError;
use super::connection::{Connection, Received};
use super::conversation::shortened;
use super::info::{self, RelayInfo};
use super::item_set::ItemSet;
use super::limits::INFO_TIME_OUT;
use super::message::{self, RelayMessage};
use super::reconcile::Reconciliation;
use super::room::Room;
use crate::nostr::Filter;

/// What a short look at a relay shows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Probe {
    /// From the beginning to the end of the handshake, milliseconds.
    pub connect_ms: u64,
    /// From a small request to the end of its answer, milliseconds; `None`: it was refused or not
    /// answered.
    pub answer_ms: Option<u64>,
    /// What it said when it refused that request; a stranger's text.
    pub refusal: Option<String>,
    /// Whether it compares (NIP-77): tried, not only said.
    pub compares: bool,
    /// It wants to know who asks (NIP-42).
    pub sends_challenge: bool,
    /// Seconds by which its clock is ahead of ours, where its HTTP answer gives a date.
    pub clock_ahead: Option<i64>,
    /// What it says of itself (NIP-11).
    pub info: Option<RelayInfo>,
}

impl Probe {
    /// What it shows, for people. Words of the relay are as it sent them: not fit for a terminal.
    pub fn in_words(&self) -> String {
        let mut words = vec![self.answers_in_words()];
        if let Some(info) = &self.info {
            let limits = [
                ("limit", info.max_limit),
                ("subscriptions", info.max_subscriptions),
                ("message", info.max_message_length),
                ("filters", info.max_filters),
            ];
            for (name, limit) in limits {
                words.extend(limit.map(|limit| format!("{name} {limit}")));
            }
            words.extend(info.software.clone());
            words.extend(info.version.clone());
        }
        words.join(", ")
    }

    /// The same without its limits and its software.
    pub fn answers_in_words(&self) -> String {
        let mut words = vec![format!("connected in {} ms", self.connect_ms)];
        words.push(match self.answer_ms {
            Some(time) => format!("answers in {time} ms"),
            None => match &self.refusal {
                Some(refusal) => format!("refuses a request ({refusal})"),
                None => "does not answer a request".to_owned(),
            },
        });
        words.push(if self.compares { "compares (NIP-77)" } else { "does not compare" }.to_owned());
        if self.sends_challenge {
            words.push("asks who we are (NIP-42)".to_owned());
        }
        if let Some(ahead) = self.clock_ahead {
            words.push(format!("clock {ahead:+} s"));
        }
        if self.info.is_none() {
            words.push("says nothing of itself (NIP-11)".to_owned());
        }
        words.join(", ")
    }
}

impl Dialler {
    /// Looks at the relay. Every step has a time-out of its own, [`Dialler::time_out`] at most; its
    /// large messages need some of this room.
    ///
    /// # Errors
    /// [`ConnectError`] if it cannot be reached.
    pub async fn probe(&self, room: &Room) -> Result<Probe, ConnectError> {
        let began = Instant::now();
        let mut connection = self.dial(room).await?;
        let connect_ms = milliseconds(began.elapsed());
        let patience = self.time_out.min(INFO_TIME_OUT);
        let document = timeout(patience, info::look(self)).await.ok().flatten();
        let here = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
        let here = i64::try_from(here).unwrap_or(0);
        let (info, date) = document.map_or((None, None), |it| (it.info, it.date));
        let mut sends_challenge = false;

        let nothing = message::for_nothing();
        let began = Instant::now();
        let request = message::req("probe", &nothing);
        let end_of = |message: &RelayMessage<'_>| match message {
            RelayMessage::EndOfStoredEvents { subscription, .. } if subscription == "probe" => {
                Some(Ok(()))
            }
            RelayMessage::Closed { subscription, message } if subscription == "probe" => {
                Some(Err(shortened(message)))
            }
            _ => None,
        };
        let answer = ask(&mut connection, request, end_of, patience, &mut sends_challenge).await;
        let (answer_ms, refusal) = match answer {
            Some(Ok(())) => (Some(milliseconds(began.elapsed())), None),
            Some(Err(refusal)) => (None, Some(refusal)),
            None => (None, None),
        };

        let nothing = Filter { limit: None, ..nothing };
        let compares = match Reconciliation::begin(nothing.clone(), ItemSet::new([]), 0) {
            Ok((mut comparison, first)) => {
                let request = message::neg_open("compare", &nothing, &first);
                let end_of = |message: &RelayMessage<'_>| match message {
                    RelayMessage::NegMsg { subscription, payload } => {
                        (subscription == "compare").then(|| understands(&mut comparison, payload))
                    }
                    RelayMessage::NegErr { .. } | RelayMessage::Notice(_) => Some(false),
                    RelayMessage::Closed { subscription, .. } => {
                        (subscription == "compare").then_some(false)
                    }
                    _ => None,
                };
                let end = ask(&mut connection, request, end_of, patience, &mut sends_challenge);
                end.await.unwrap_or(false)
            }
            Err(_) => false,
        };
        connection.close().await;
        let clock_ahead = date.map(|date| date.saturating_sub(here));
        Ok(Probe { connect_ms, answer_ms, refusal, compares, sends_challenge, clock_ahead, info })
    }
}

/// Whether the relay's side of a comparison makes sense.
fn understands(comparison: &mut Reconciliation, payload: &str) -> bool {
    hex::decode(payload).is_ok_and(|payload| comparison.answer(&payload).is_ok())
}

/// Sends a request and waits for the message that `end_of` knows; `None` if none comes in time.
async fn ask<T>(
    connection: &mut Connection,
    request: String,
    mut end_of: impl FnMut(&RelayMessage<'_>) -> Option<T>,
    patience: Duration,
    sends_challenge: &mut bool,
) -> Option<T> {
    let conversation = async {
        connection.send(request).await.ok()?;
        while let Some(Ok(received)) = connection.next().await {
            let Received::Text(text) = received else { continue };
            let Some(message) = RelayMessage::parse(&text) else { continue };
            *sends_challenge |= matches!(message, RelayMessage::Auth(_));
            if let Some(end) = end_of(&message) {
                return Some(end);
            }
        }
        None
    };
    timeout(patience, conversation).await.ok().flatten()
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
