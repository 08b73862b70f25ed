//! The conversation with one peer for a whole run: one connection, several queries at a time,
//! each paged to its end, and a clear outcome whatever the peer does.
//!
//! Never holds more than one message in memory: events go straight to the [`Sink`], and while the
//! sink takes its time nothing is read, so that the peer's socket fills up and it waits too.

use std::fmt::Display;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::auth::AuthKey;
use super::backoff::{Pace, pause};
use super::budget::Budget;
use super::connect::Dialler;
use super::connect_error::ConnectError;
use super::connection::{Connection, Received};
use super::forged::ForgedIds;
use super::info;
use super::ledger::{Ledger, Member};
use super::limits::{ATTEMPTS_WITHOUT_PROGRESS, CONNECT_ATTEMPTS, INFO_TIME_OUT};
use super::local::Local;
use super::manners::{Comparing, Manners};
use super::message::{self, RelayMessage};
use super::outcome::{FetchOutcome, GapReason};
use super::requests::{Identity, Next, Requests, shortened};
use super::room::Room;
use super::sink::{Sink, Stopped, Unwanted};
use super::too_large::TooLarge;
use crate::nostr::Filter;

/// One peer, for a whole run.
#[derive(Debug)]
pub struct PeerSession {
    dialler: Dialler,
    share: Option<Share>,
    auth: Option<AuthKey>,
    manners: Manners,
    budget: Budget,
    forged: Arc<ForgedIds>,
    room: Room,
    connection: Option<Box<Connection>>,
    was_connected: bool,
    subscriptions: u64,
    /// What is dated later is not taken.
    latest: u64,
    /// Why nothing more is asked of this peer.
    given_up: Option<GapReason>,
}

/// What a peer needs for its share of the work: with it, what is here already is not asked for
/// where the peer compares (NIP-77), and what other peers have given is not asked for again.
#[derive(Debug)]
pub struct Share {
    local: Arc<dyn Local>,
    /// Away while a fetch is under way.
    member: Option<Member>,
}

impl Share {
    /// A share of what is missing here.
    pub fn new(ledger: &Arc<Ledger>, local: Arc<dyn Local>) -> Self {
        Self { local, member: Some(ledger.join()) }
    }
}

/// What ended an attempt before all was answered.
enum Interruption {
    NotConnected(ConnectError),
    Cut(String),
    Overdue(GapReason),
    Useless,
    Stopped,
}

impl PeerSession {
    /// A peer that is not dialled yet, and of which everything is asked page by page.
    pub fn new(dialler: Dialler) -> Self {
        Self {
            dialler,
            share: None,
            auth: None,
            manners: Manners::default(),
            budget: Budget::default(),
            forged: Arc::default(),
            room: Room::default(),
            connection: None,
            was_connected: false,
            subscriptions: 0,
            latest: u64::MAX,
            given_up: None,
        }
    }

    /// The peer is asked page by page, also if it compares.
    #[must_use]
    pub fn without_comparing(mut self) -> Self {
        self.manners.comparing = Comparing::Refused;
        self
    }

    /// A peer that is not dialled yet, and that shares the work with others.
    pub fn sharing(dialler: Dialler, share: Share) -> Self {
        Self { share: Some(share), ..Self::new(dialler) }
    }

    /// If the peer wants to know who we are (NIP-42), it is told with this key.
    #[must_use]
    pub fn known_by(self, key: Option<AuthKey>) -> Self {
        Self { auth: key, ..self }
    }

    /// What is large is read when there is room for it.
    #[must_use]
    pub fn within(self, room: &Room) -> Self {
        Self { room: room.clone(), ..self }
    }

    /// The events that it is found to forge are noted here.
    #[must_use]
    pub fn distrusting(self, forged: &Arc<ForgedIds>) -> Self {
        Self { forged: Arc::clone(forged), ..self }
    }

    /// What is dated later is [`Unwanted::TooNew`]; queries are to say so, too.
    #[must_use]
    pub fn not_after(self, latest: u64) -> Self {
        Self { latest, ..self }
    }

    /// The peer is reached at this port of this machine, if it is not dialled yet.
    pub fn reach_through(&mut self, port: u16) {
        self.dialler.reach_through(port);
    }

    /// From now on the peer shares the work of this ledger, if it shares any.
    pub fn join(&mut self, ledger: &Arc<Ledger>) {
        if let Some(share) = &mut self.share {
            share.member = Some(ledger.join());
        }
    }

    /// Nothing is asked of the peer.
    pub fn give_up(&mut self, reason: GapReason) {
        self.given_up = Some(reason);
    }

    /// Asks every query to its end. Each ends either complete or as a gap of the outcome.
    pub async fn fetch(
        &mut self,
        queries: Vec<Filter>,
        pace: Pace,
        sink: &impl Sink,
    ) -> FetchOutcome {
        let member = self.share.as_mut().and_then(|share| share.member.take());
        let identity = self
            .auth
            .clone()
            .map(|key| Identity { key, relay: self.dialler.own_address().to_owned() });
        let manners = self.manners.clone();
        let budget = std::mem::take(&mut self.budget);
        let mut requests = Requests::new(queries, pace, (manners, budget), member, identity);
        requests.latest = self.latest;
        requests.forged = Arc::clone(&self.forged);
        if let Some(reason) = &self.given_up {
            requests.give_up(reason);
        }
        let mut attempts = 0;
        while !requests.is_done() {
            let progress_before = requests.budget.progress();
            let Err(interruption) = self.attempt(&mut requests, pace, sink).await else { break };
            self.connection = None;
            requests.ask_again();
            let is_progress = requests.budget.progress() > progress_before;
            attempts = if is_progress { 1 } else { attempts + 1 };
            let retry_after = match &interruption {
                Interruption::NotConnected(error) => error.retry_after(),
                _ => None,
            };
            if let Some(reason) = self.reason_to_give_up(interruption, attempts) {
                requests.give_up(&reason);
                // A peer that answered other queries may well answer those of the next fetch.
                let is_of_one_query = matches!(reason, GapReason::TimedOut(..) | GapReason::Cut(_));
                self.given_up = (!is_of_one_query || requests.outcome.pages == 0).then_some(reason);
                break;
            }
            let pause = pause(pace.first_pause, attempts);
            tokio::time::sleep(retry_after.map_or(pause, |asked| asked.max(pause))).await;
        }
        self.tell_what_it_lacks(&mut requests);
        let (outcome, (manners, budget), member) = requests.into_parts();
        (self.manners, self.budget) = (manners, budget);
        if let Some(share) = &mut self.share {
            share.member = member;
        }
        outcome
    }

    /// Says goodbye. Not needed for correctness, and never waits long.
    pub async fn close(mut self) {
        if let Some(connection) = &mut self.connection {
            connection.close().await;
        }
    }

    /// `None`: another attempt is worth it.
    fn reason_to_give_up(&self, interruption: Interruption, attempts: u32) -> Option<GapReason> {
        let exhausted = attempts >= ATTEMPTS_WITHOUT_PROGRESS;
        let (give_up, reason) = match interruption {
            // A dead peer costs one connect time-out; one that was there a moment ago may be back.
            Interruption::NotConnected(error) => {
                let most = match self.was_connected {
                    true => ATTEMPTS_WITHOUT_PROGRESS,
                    false if error.may_be_tried_again() => CONNECT_ATTEMPTS,
                    false => 1,
                };
                (attempts >= most, GapReason::NotConnected(error.to_string()))
            }
            Interruption::Cut(error) => (exhausted, GapReason::Cut(error)),
            Interruption::Overdue(reason) => (true, reason),
            Interruption::Useless => (true, GapReason::Useless),
            Interruption::Stopped => (true, GapReason::Stopped),
        };
        give_up.then_some(reason)
    }

    async fn attempt(
        &mut self,
        requests: &mut Requests,
        pace: Pace,
        sink: &impl Sink,
    ) -> Result<(), Interruption> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Box::new(self.connect(requests).await?),
        };
        self.was_connected = true;
        let ledger = requests.ledger();
        loop {
            // Made before the ledger is looked at, so that no change is missed.
            let change = ledger.as_ref().map(|ledger| ledger.changed());
            let changed = async {
                match change {
                    Some(change) => change.await,
                    None => std::future::pending().await,
                }
            };
            self.ask(requests, &mut connection, pace).await?;
            if requests.is_done() {
                break;
            }
            let (patience, since) = (requests.patience(), Instant::now());
            let received = tokio::select! {
                biased;
                received = timeout(patience, connection.next()) => Some(received),
                () = changed => None,
            };
            self.look_at_progress(requests, &connection, sink, since);
            let Some(received) = received else { continue };
            match received {
                Ok(Some(Ok(Received::Text(text)))) => {
                    let handled = self.handle(requests, &text, sink).await?;
                    self.tell_what_it_lacks(requests);
                    if let Some(ended) = handled {
                        send(&mut connection, message::close(&ended), pace.time_out).await?;
                    }
                }
                Ok(Some(Ok(Received::NotText))) => no_message(requests, sink),
                Ok(Some(Ok(Received::TooLarge(it)))) => too_large(&it, requests, sink),
                Ok(Some(Ok(Received::Close(frame)))) => return Err(closed(frame)),
                Ok(None) => return Err(closed(None)),
                Ok(Some(Ok(Received::Idle))) => requests.budget.note_idle(),
                Err(_) => {}
                Ok(Some(Err(error))) => return Err(cut(error)),
            }
            if requests.budget.is_useless(sink.standing().forged) || requests.is_flooded(&self.room)
            {
                return Err(Interruption::Useless);
            }
            if let Some(reason) = requests.overdue() {
                return Err(Interruption::Overdue(reason));
            }
        }
        self.connection = Some(connection);
        Ok(())
    }

    /// What the peer has brought by now, and whether it has waited for us `since` then.
    fn look_at_progress(
        &self,
        requests: &mut Requests,
        connection: &Connection,
        sink: &impl Sink,
        since: Instant,
    ) {
        let (now, standing) = (Instant::now(), sink.standing());
        requests.budget.note_genuine(standing.genuine, now);
        let waited = connection.take_waited();
        requests.excuse(if standing.is_waiting { waited.max(now - since) } else { waited });
    }

    /// Opens a connection, the first time together with what the relay says of itself.
    async fn connect(&mut self, requests: &mut Requests) -> Result<Connection, Interruption> {
        let not_connected = Interruption::NotConnected;
        if self.was_connected {
            return self.dialler.dial(&self.room).await.map_err(not_connected);
        }
        let asked = timeout(INFO_TIME_OUT.min(self.dialler.time_out), info::ask(&self.dialler));
        let mut asked = pin!(asked);
        let mut dialled = pin!(self.dialler.dial(&self.room));
        // A peer that cannot be reached is not waited for twice.
        let (connection, info) = tokio::select! {
            connection = &mut dialled => (connection.map_err(not_connected)?, asked.await),
            info = &mut asked => (dialled.await.map_err(not_connected)?, info),
        };
        if let Ok(Some(info)) = info {
            requests.learn(&info);
        }
        // A connection has a time-out of its own.
        requests.budget.pause_until(Instant::now());
        Ok(connection)
    }

    /// Sends all that may be sent now.
    async fn ask(
        &mut self,
        requests: &mut Requests,
        connection: &mut Connection,
        pace: Pace,
    ) -> Result<(), Interruption> {
        loop {
            let subscription = format!("companion-{}", self.subscriptions + 1);
            let text = match requests.next(&subscription) {
                Next::Send(text) => Some(text),
                Next::LookUp(filter) => {
                    let Some(share) = &self.share else { return Ok(()) };
                    let since = Instant::now();
                    let here = share.local.items(&filter).await;
                    requests.excuse(since.elapsed());
                    requests.compare(&subscription, here)
                }
                Next::Wait => return Ok(()),
            };
            if let Some(text) = text {
                self.subscriptions += 1;
                requests.budget.asked();
                send(connection, text, pace.time_out).await?;
            }
        }
    }

    /// Handles one message; returns a subscription that has ended and must be closed.
    async fn handle(
        &mut self,
        requests: &mut Requests,
        text: &str,
        sink: &impl Sink,
    ) -> Result<Option<String>, Interruption> {
        let message = RelayMessage::parse(text);
        if !matches!(message, Some(RelayMessage::Event { .. } | RelayMessage::NegMsg { .. })) {
            requests.budget.note_size(text.len());
        }
        match message {
            Some(RelayMessage::Event { subscription, event }) => {
                match requests.receive(&subscription, event.get()) {
                    Ok(event) => {
                        let since = Instant::now();
                        sink.event(&event).await.map_err(|Stopped| Interruption::Stopped)?;
                        requests.excuse(since.elapsed());
                    }
                    Err(what) => sink.unwanted(what),
                }
            }
            Some(RelayMessage::EndOfStoredEvents { subscription, is_finish }) => {
                let ended = requests.end_of_stored_events(&subscription, is_finish);
                return Ok(ended.then(|| subscription.into_owned()));
            }
            Some(RelayMessage::Closed { subscription, message }) => {
                requests.closed(&subscription, &message);
            }
            Some(RelayMessage::Notice(text)) => requests.notice(&text),
            Some(RelayMessage::NegMsg { subscription, payload }) => {
                let needed = requests.neg_msg(&subscription, &payload);
                if let Some(share) = &self.share
                    && !needed.is_empty()
                {
                    let since = Instant::now();
                    requests.offer(&subscription, share.local.missing(needed).await);
                    requests.excuse(since.elapsed());
                }
            }
            Some(RelayMessage::NegErr { subscription, reason, has_maximum }) => {
                requests.neg_err(&subscription, &reason, has_maximum);
            }
            Some(RelayMessage::Auth(challenge)) => requests.challenge(&challenge),
            Some(RelayMessage::Ok { id, accepted, message }) => {
                requests.ok(&id, accepted, &message);
            }
            Some(RelayMessage::Other) => requests.budget.note_idle(),
            None => no_message(requests, sink),
        }
        Ok(None)
    }

    fn tell_what_it_lacks(&self, requests: &mut Requests) {
        let lacks = std::mem::take(&mut requests.lacks);
        let Some(share) = &self.share else { return };
        if !lacks.ids.is_empty() {
            share.local.not_there(lacks.ids);
        }
        for filter in lacks.all_but_given {
            share.local.all_was_given(filter);
        }
    }
}

fn no_message(requests: &mut Requests, sink: &impl Sink) {
    requests.budget.note_useless();
    sink.unwanted(Unwanted::NotAMessage);
}

/// A message that was too large for us: an event is set aside and named. It costs the peer as much
/// trust as something useless, so that there is an end to them.
fn too_large(message: &TooLarge, requests: &mut Requests, sink: &impl Sink) {
    let subscription = message.subscription.as_deref().unwrap_or_default();
    match message.name.as_deref() {
        Some("EVENT") => {
            requests.budget.note_useless();
            let is_asked = requests.receive_too_large(subscription, message.id);
            let (id, bytes) = (message.id, message.bytes);
            let what = if is_asked { Unwanted::TooLarge { id, bytes } } else { Unwanted::Unasked };
            sink.unwanted(what);
        }
        // Half of the question may have an answer that is not too large.
        Some("NEG-MSG") => requests.neg_err(subscription, "too large: its message", false),
        _ => {
            requests.budget.note_size(usize::try_from(message.bytes).unwrap_or(usize::MAX));
            no_message(requests, sink);
        }
    }
}

async fn send(
    connection: &mut Connection,
    text: String,
    time_out: Duration,
) -> Result<(), Interruption> {
    match timeout(time_out, connection.send(text)).await {
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
