//! The conversation with one peer for a whole run: one connection, several queries at a time,
//! each paged to its end, and a clear outcome whatever the peer does.
//!
//! Never holds more than one message in memory: events go straight to the [`Sink`], and while the
//! sink takes its time nothing is read, so that the peer's socket fills up and it waits too.

use std::fmt::Display;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::connect::{Connection, Dialler};
use super::limits::{ATTEMPTS_WITHOUT_PROGRESS, USELESS_MESSAGES};
use super::message::{self, RelayMessage};
use super::outcome::{FetchOutcome, GapReason};
use super::queries::{Pace, Queries, pause, shortened};
use super::sink::{Sink, Stopped, Unwanted};
use crate::nostr::Filter;

/// One peer, for a whole run.
#[derive(Debug)]
pub struct PeerSession {
    dialler: Dialler,
    connection: Option<Box<Connection>>,
    was_connected: bool,
    subscriptions: u64,
    useless: u64,
    /// Why nothing more is asked of this peer.
    given_up: Option<GapReason>,
}

/// What ended an attempt before all was answered.
enum Interruption {
    NotConnected(String),
    Cut(String),
    Overdue(GapReason),
    Useless,
    Stopped,
}

impl PeerSession {
    /// A peer that is not dialled yet.
    pub fn new(dialler: Dialler) -> Self {
        Self {
            dialler,
            connection: None,
            was_connected: false,
            subscriptions: 0,
            useless: 0,
            given_up: None,
        }
    }

    /// Asks every query to its end. Each ends either complete or as a gap of the outcome.
    pub async fn fetch(
        &mut self,
        queries: Vec<Filter>,
        pace: Pace,
        sink: &impl Sink,
    ) -> FetchOutcome {
        let mut queries = Queries::new(queries, pace);
        if let Some(reason) = &self.given_up {
            queries.give_up(reason);
        }
        let mut attempts = 0;
        while !queries.is_done() {
            let pages_before = queries.outcome.pages;
            let Err(interruption) = self.attempt(&mut queries, pace, sink).await else { break };
            self.connection = None;
            queries.ask_open_pages_again();
            attempts = if queries.outcome.pages > pages_before { 1 } else { attempts + 1 };
            if let Some(reason) = self.reason_to_give_up(interruption, queries.answered, attempts) {
                queries.give_up(&reason);
                // A peer that answered other queries may well answer those of the next fetch.
                let is_of_one_query = matches!(reason, GapReason::TimedOut(..) | GapReason::Cut(_));
                self.given_up = (!is_of_one_query || queries.outcome.pages == 0).then_some(reason);
                break;
            }
            tokio::time::sleep(pause(pace.first_pause, attempts)).await;
        }
        queries.outcome
    }

    /// Says goodbye. Not needed for correctness, and never waits long.
    pub async fn close(mut self) {
        if let Some(connection) = &mut self.connection {
            let _ = timeout(Duration::from_secs(1), connection.close(None)).await;
        }
    }

    /// `None`: another attempt is worth it.
    fn reason_to_give_up(
        &self,
        interruption: Interruption,
        answered: bool,
        attempts: u32,
    ) -> Option<GapReason> {
        let exhausted = attempts >= ATTEMPTS_WITHOUT_PROGRESS;
        let (give_up, reason) = match interruption {
            // A dead peer costs one connect time-out; one that was there a moment ago may be back.
            Interruption::NotConnected(error) => {
                (exhausted || !self.was_connected, GapReason::NotConnected(error))
            }
            Interruption::Cut(error) => (exhausted, GapReason::Cut(error)),
            Interruption::Overdue(reason @ GapReason::TooSlow(_)) => (true, reason),
            // A peer that answered nothing within the time-out will not do so the next time.
            Interruption::Overdue(reason) => (exhausted || !answered, reason),
            Interruption::Useless => (true, GapReason::Useless),
            Interruption::Stopped => (true, GapReason::Stopped),
        };
        give_up.then_some(reason)
    }

    async fn attempt(
        &mut self,
        queries: &mut Queries,
        pace: Pace,
        sink: &impl Sink,
    ) -> Result<(), Interruption> {
        // A connection from an earlier fetch may have died in the meantime without a word.
        queries.answered = self.connection.is_some();
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let dialled = self.dialler.dial().await;
                Box::new(dialled.map_err(|error| Interruption::NotConnected(error.to_string()))?)
            }
        };
        self.was_connected = true;
        loop {
            self.open_pages(queries, &mut connection, pace).await?;
            let Some(patience) = queries.patience() else { break };
            match timeout(patience, connection.next()).await {
                Ok(Some(Ok(Message::Text(text)))) => {
                    if let Some(ended) = self.handle(queries, &text, sink).await? {
                        send(&mut connection, message::close(&ended), pace.time_out).await?;
                    }
                }
                Ok(Some(Ok(Message::Binary(_)))) => self.no_message(sink),
                Ok(Some(Ok(Message::Close(frame)))) => return Err(closed(frame)),
                Ok(None) => return Err(closed(None)),
                // Pings are answered by the library.
                Ok(Some(Ok(_))) | Err(_) => {}
                Ok(Some(Err(error))) => return Err(cut(error)),
            }
            if self.useless + sink.forged() > USELESS_MESSAGES || queries.is_flooded() {
                return Err(Interruption::Useless);
            }
            if let Some(reason) = queries.overdue() {
                return Err(Interruption::Overdue(reason));
            }
        }
        self.connection = Some(connection);
        Ok(())
    }

    /// Sends requests until as many are open as may be.
    async fn open_pages(
        &mut self,
        queries: &mut Queries,
        connection: &mut Connection,
        pace: Pace,
    ) -> Result<(), Interruption> {
        loop {
            let subscription = format!("companion-{}", self.subscriptions + 1);
            let Some(filter) = queries.open_next(&subscription) else { return Ok(()) };
            self.subscriptions += 1;
            send(connection, message::req(&subscription, &filter), pace.time_out).await?;
        }
    }

    /// Handles one message; returns a subscription that has ended and must be closed.
    async fn handle(
        &mut self,
        queries: &mut Queries,
        text: &str,
        sink: &impl Sink,
    ) -> Result<Option<String>, Interruption> {
        match RelayMessage::parse(text) {
            Some(RelayMessage::Event { subscription, event }) => {
                match queries.receive(&subscription, event.get()) {
                    Ok(event) => {
                        let since = Instant::now();
                        sink.event(&event).await.map_err(|Stopped| Interruption::Stopped)?;
                        queries.excuse(since.elapsed());
                    }
                    Err(what) => {
                        if what != Unwanted::Repeated {
                            self.useless += 1;
                        }
                        sink.unwanted(what);
                    }
                }
            }
            Some(RelayMessage::EndOfStoredEvents { subscription }) => {
                return Ok(queries.end_page(&subscription).then(|| subscription.into_owned()));
            }
            Some(RelayMessage::Closed { subscription, message }) => {
                queries.closed(&subscription, &message);
            }
            Some(RelayMessage::Notice(text)) => queries.notice = Some(shortened(&text)),
            Some(RelayMessage::Other) => {}
            None => self.no_message(sink),
        }
        Ok(None)
    }

    fn no_message(&mut self, sink: &impl Sink) {
        self.useless += 1;
        sink.unwanted(Unwanted::NotAMessage);
    }
}

async fn send(
    connection: &mut Connection,
    text: String,
    time_out: Duration,
) -> Result<(), Interruption> {
    match timeout(time_out, connection.send(Message::text(text))).await {
        Ok(sent) => sent.map_err(cut),
        Err(_) => Err(Interruption::Cut("the relay does not read what is sent to it".to_owned())),
    }
}

fn closed(frame: Option<CloseFrame>) -> Interruption {
    let reason = match frame {
        Some(frame) if !frame.reason.is_empty() => {
            format!("closed by the relay: {}", shortened(&frame.reason))
        }
        _ => "closed by the relay".to_owned(),
    };
    Interruption::Cut(reason)
}

fn cut(error: impl Display) -> Interruption {
    Interruption::Cut(error.to_string())
}
