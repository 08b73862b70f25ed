//! A short look at a relay: can it be reached, how fast does it answer, what can it do.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::{SinkExt, StreamExt};
use serde::Serialize;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::connect::{ConnectError, Connection, Dialler};
use super::info::{self, RelayInfo};
use super::limits::INFO_TIME_OUT;
use super::local::ItemSet;
use super::message::{self, RelayMessage};
use super::reconcile::Reconciliation;
use crate::nostr::{EventId, Filter};

/// What a short look at a relay shows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Probe {
    /// From the beginning to the end of the handshake, milliseconds.
    pub connect_ms: u64,
    /// From a small request to the end of its answer, milliseconds; `None`: it was refused or not
    /// answered.
    pub answer_ms: Option<u64>,
    /// Whether it compares (NIP-77): tried, not only said.
    pub compares: bool,
    /// It wants to know who asks (NIP-42).
    pub sends_challenge: bool,
    /// Seconds by which its clock is ahead of ours, where its HTTP answer gives a date.
    pub clock_ahead: Option<i64>,
    /// What it says of itself (NIP-11).
    pub info: Option<RelayInfo>,
}

impl Dialler {
    /// Looks at the relay. Every step has a time-out of its own, [`Dialler::time_out`] at most.
    ///
    /// # Errors
    /// [`ConnectError`] if it cannot be reached.
    pub async fn probe(&self) -> Result<Probe, ConnectError> {
        let began = Instant::now();
        let mut connection = self.dial().await?;
        let connect_ms = milliseconds(began.elapsed());
        let patience = self.time_out.min(INFO_TIME_OUT);
        let document = timeout(patience, info::ask(self)).await.ok().flatten();
        let here = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
        let (info, date) = document.map_or((None, None), |it| (Some(it.info), it.date));
        let mut sends_challenge = false;

        let nothing = Filter {
            ids: Some(vec![EventId::from_bytes([0; 32])]),
            limit: Some(1),
            ..Filter::default()
        };
        let began = Instant::now();
        let request = message::req("probe", std::slice::from_ref(&nothing));
        let is_end = |message: &RelayMessage<'_>| match message {
            RelayMessage::EndOfStoredEvents { subscription, .. } => {
                (subscription == "probe").then_some(true)
            }
            RelayMessage::Closed { subscription, .. } => (subscription == "probe").then_some(false),
            _ => None,
        };
        let answered = ask(&mut connection, request, is_end, patience, &mut sends_challenge).await;
        let answer_ms = answered.then(|| milliseconds(began.elapsed()));

        let nothing = Filter { limit: None, ..nothing };
        let first = Reconciliation::begin(nothing.clone(), ItemSet::new([]), 0);
        let compares = match first {
            Ok((_, first)) => {
                let request = message::neg_open("compare", &nothing, &first);
                let is_end = |message: &RelayMessage<'_>| match message {
                    RelayMessage::NegMsg { .. } => Some(true),
                    RelayMessage::NegErr { .. } | RelayMessage::Notice(_) => Some(false),
                    RelayMessage::Closed { subscription, .. } => {
                        (subscription == "compare").then_some(false)
                    }
                    _ => None,
                };
                ask(&mut connection, request, is_end, patience, &mut sends_challenge).await
            }
            Err(_) => false,
        };
        let _ = timeout(Duration::from_secs(1), connection.close(None)).await;
        let clock_ahead = date.map(|date| date.saturating_sub(i64::try_from(here).unwrap_or(0)));
        Ok(Probe { connect_ms, answer_ms, compares, sends_challenge, clock_ahead, info })
    }
}

/// Sends a request and waits for the message that `is_end` knows; false if none comes in time.
async fn ask(
    connection: &mut Connection,
    request: String,
    is_end: impl Fn(&RelayMessage<'_>) -> Option<bool>,
    patience: Duration,
    sends_challenge: &mut bool,
) -> bool {
    let conversation = async {
        connection.send(Message::text(request)).await.ok()?;
        while let Some(Ok(received)) = connection.next().await {
            let Message::Text(text) = received else { continue };
            let Some(message) = RelayMessage::parse(&text) else { continue };
            *sends_challenge |= matches!(message, RelayMessage::Auth(_));
            if let Some(end) = is_end(&message) {
                return Some(end);
            }
        }
        None
    };
    timeout(patience, conversation).await.ok().flatten().unwrap_or(false)
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
