//! The conversation with one peer for a whole run: one connection, several queries at a time,
//! each paged to its end, and a clear outcome whatever the peer does.
//!
//! Never holds more than one message in memory: events go straight to the [`EventSink`], and while the
//! sink takes its time nothing is read, so that the peer's socket fills up and it waits too.

mod incoming;

use std::fmt::Display;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::auth::AuthKey;
use super::backoff::{Pace, pause};
use super::budget::Budget;
use super::connect::Dialler;
use super::connect_error::ConnectError;
use super::connection::Connection;
use super::conversation::{Conversation, Identity, Next, shortened};
use super::forged::ForgedIds;
use super::host::{EventSink, LocalEvents, Opening};
use super::info::{self, RelayInfo};
use super::limits::{
    ATTEMPTS_WITHOUT_PROGRESS, CONNECT_ATTEMPTS, INFO_TIME_OUT, LAST_WORDS, LAST_WORDS_TIME,
};
use super::line::Line;
use super::message;
use super::negentropy::{LookUp, LookedUp};
use super::outcome::{FetchOutcome, GapReason};
use super::peer_limits::{Comparing, PeerLimits};
use super::room::Room;
use super::want_list::{Member, WantList};
use crate::nostr::Filter;
use crate::stop::Stop;

/// One peer, for a whole run.
#[derive(Debug)]
pub struct PeerSession {
    dialler: Dialler,
    /// In place of the web.
    line: Option<Arc<dyn Line>>,
    share: Option<Share>,
    auth: Option<AuthKey>,
    limits: PeerLimits,
    budget: Budget,
    forged: Arc<ForgedIds>,
    room: Room,
    connection: Option<Box<Connection>>,
    was_connected: bool,
    /// Asks what it says of itself, from the first attempt to connect on.
    info: Option<JoinSet<Option<RelayInfo>>>,
    subscriptions: u64,
    /// What is dated later is not taken.
    latest: u64,
    /// Why nothing more is asked of this peer.
    given_up: Option<GapReason>,
    /// When this is told, nothing more is asked.
    stop: Stop,
}

/// What a peer needs for its share of the work: with it, what is here already is not asked for
/// where the peer compares (NIP-77), and what other peers have given is not asked for again.
#[derive(Debug)]
pub struct Share {
    local: Arc<dyn LocalEvents>,
    /// Away while a fetch is under way.
    member: Option<Member>,
}

impl Share {
    /// A share of what is missing here.
    pub fn new(list: &Arc<WantList>, local: Arc<dyn LocalEvents>) -> Self {
        Self { local, member: Some(list.join()) }
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

impl Interruption {
    /// When the relay wants to be dialled again.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NotConnected(error) => error.retry_after(),
            _ => None,
        }
    }

    /// Why what was not answered is missing.
    fn reason(&self) -> GapReason {
        match self {
            Self::NotConnected(error) => GapReason::NotConnected(error.to_string()),
            Self::Cut(error) => GapReason::Cut(error.clone()),
            Self::Overdue(reason) => reason.clone(),
            Self::Useless => GapReason::Useless,
            Self::Stopped => GapReason::Stopped,
        }
    }
}

impl PeerSession {
    /// A peer that is not dialled yet, and of which everything is asked page by page.
    pub fn new(dialler: Dialler) -> Self {
        Self {
            dialler,
            line: None,
            share: None,
            auth: None,
            limits: PeerLimits::default(),
            budget: Budget::default(),
            forged: Arc::default(),
            room: Room::default(),
            connection: None,
            was_connected: false,
            info: None,
            subscriptions: 0,
            latest: u64::MAX,
            given_up: None,
            stop: Stop::default(),
        }
    }

    /// The peer is asked page by page, also if it compares.
    #[must_use]
    pub fn without_comparing(mut self) -> Self {
        self.limits.comparing = Comparing::Refused;
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

    /// What is dated later is `Unwanted::TooNew`; queries are to say so, too.
    #[must_use]
    pub fn not_after(self, latest: u64) -> Self {
        Self { latest, ..self }
    }

    /// Once this is told, nothing more is asked: a fetch under way ends at once, and what has not
    /// been answered to its end is [`GapReason::Stopped`].
    #[must_use]
    pub fn until(self, stop: &Stop) -> Self {
        Self { stop: stop.clone(), ..self }
    }

    /// The peer is reached over this line, whatever its address is.
    #[must_use]
    pub fn over(self, line: Arc<dyn Line>) -> Self {
        Self { line: Some(line), ..self }
    }

    /// The peer is reached at this port of this machine, if it is not dialled yet.
    pub fn reach_through(&mut self, port: u16) {
        self.dialler.reach_through(port);
    }

    /// From now on the peer shares the work of this want list, if it shares any.
    pub fn join(&mut self, list: &Arc<WantList>) {
        if let Some(share) = &mut self.share {
            share.member = Some(list.join());
        }
    }

    /// Nothing is asked of the peer.
    pub fn give_up(&mut self, reason: GapReason) {
        self.given_up = Some(reason);
    }

    /// Asks every query to its end. Each ends either complete or as a gap of the outcome.
    pub async fn fetch(
        &mut self,
        queries: Vec<impl Into<Arc<Filter>>>,
        pace: Pace,
        sink: &impl EventSink,
    ) -> FetchOutcome {
        let member = self.share.as_mut().and_then(|share| share.member.take());
        let identity = self
            .auth
            .clone()
            .map(|key| Identity { key, relay: self.dialler.own_address().to_owned() });
        let limits = self.limits.clone();
        let budget = std::mem::take(&mut self.budget);
        let queries = queries.into_iter().map(Into::into).collect();
        let mut conversation = Conversation::new(queries, pace, (limits, budget), member, identity);
        conversation.take_only(self.latest, &self.forged);
        if let Some(reason) = &self.given_up {
            conversation.give_up(reason);
        }
        let mut attempts = 0;
        while !conversation.is_done() {
            let before = (conversation.budget.progress(), conversation.pages());
            let Err(interruption) = self.attempt(&mut conversation, pace, sink).await else {
                break;
            };
            self.connection = None;
            let is_progress = (conversation.budget.progress(), conversation.pages()) != before;
            let is_worth_it = is_progress || conversation.learns_from_the_end();
            attempts = if is_worth_it { 1 } else { attempts + 1 };
            let reason = interruption.reason();
            if self.is_to_be_given_up(&interruption, attempts) {
                conversation.give_up(&reason);
                // A peer that answered other queries may well answer those of the next fetch.
                let is_of_one_query = matches!(reason, GapReason::TimedOut(..) | GapReason::Cut(_));
                self.given_up = (!is_of_one_query || conversation.pages() == 0).then_some(reason);
                break;
            }
            conversation.connection_ended(&reason);
            let pause = pause(pace.first_pause, attempts);
            let retry_after = interruption.retry_after();
            let pause = retry_after.map_or(pause, |asked| asked.max(pause));
            let told = pin!(self.stop.told());
            // The next attempt tells that it was cut short.
            let _ = unless(told, tokio::time::sleep(pause)).await;
            conversation.excuse(pause);
        }
        self.tell_what_it_lacks(&mut conversation);
        let (outcome, (limits, budget), member) = conversation.into_parts();
        (self.limits, self.budget) = (limits, budget);
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

    /// Whether another attempt is not worth it.
    fn is_to_be_given_up(&self, interruption: &Interruption, attempts: u32) -> bool {
        let exhausted = attempts >= ATTEMPTS_WITHOUT_PROGRESS;
        match interruption {
            // A dead peer costs one connect time-out; one that was there a moment ago may be back.
            Interruption::NotConnected(_) if self.was_connected => exhausted,
            Interruption::NotConnected(error) => {
                !error.may_be_tried_again() || attempts >= CONNECT_ATTEMPTS
            }
            Interruption::Cut(_) => exhausted,
            Interruption::Overdue(_) | Interruption::Useless | Interruption::Stopped => true,
        }
    }

    async fn attempt(
        &mut self,
        conversation: &mut Conversation,
        pace: Pace,
        sink: &impl EventSink,
    ) -> Result<(), Interruption> {
        let stop = self.stop.clone();
        let mut told = pin!(stop.told());
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Box::new(unless(told.as_mut(), self.connect(conversation)).await??),
        };
        self.was_connected = true;
        let want_list = conversation.want_list();
        loop {
            // Made before the want list is looked at, so that no change is missed.
            let change = want_list.as_ref().map(|list| list.changed());
            let changed = async {
                match change {
                    Some(change) => change.await,
                    None => std::future::pending().await,
                }
            };
            // A peer that always has something to say is not listened to any longer either.
            if stop.is_told() {
                return Err(Interruption::Stopped);
            }
            let asked =
                unless(told.as_mut(), self.ask(conversation, &mut connection, pace)).await?;
            if let Err(cut) = asked {
                return Err(self.hear_the_rest(conversation, &mut connection, sink, cut).await);
            }
            if conversation.is_done() {
                break;
            }
            let (patience, since) = (conversation.patience(), Instant::now());
            let received = tokio::select! {
                biased;
                received = timeout(patience, connection.next()) => Some(received),
                () = told.as_mut() => return Err(Interruption::Stopped),
                () = changed => None,
            };
            self.look_at_progress(conversation, &connection, sink, (since, patience));
            let Some(received) = received else { continue };
            match received {
                Ok(Some(Ok(received))) => {
                    let ended = self.take_in(conversation, received, sink).await?;
                    self.tell_what_it_lacks(conversation);
                    if let Some(ended) = ended {
                        let close = message::close(&ended);
                        if let Err(cut) = send(&mut connection, close, pace.time_out).await {
                            let connection = &mut connection;
                            let rest = self.hear_the_rest(conversation, connection, sink, cut);
                            return Err(rest.await);
                        }
                    }
                }
                Ok(None) => return Err(closed(None)),
                Err(_) => {}
                Ok(Some(Err(error))) => return Err(cut(error)),
            }
            if conversation.budget.is_useless(sink.standing().forged)
                || conversation.is_flooded(&self.room)
            {
                return Err(Interruption::Useless);
            }
            if let Some(reason) = conversation.overdue() {
                return Err(Interruption::Overdue(reason));
            }
        }
        // What is not read from any more gives its room back to others.
        self.connection = Some(connection).filter(|connection| !connection.holds_room());
        Ok(())
    }

    /// A connection that has ended while something was sent may still hold what the peer has said
    /// before: its refusal, its challenge. Returns why the connection has ended.
    async fn hear_the_rest(
        &mut self,
        conversation: &mut Conversation,
        connection: &mut Connection,
        sink: &impl EventSink,
        cut: Interruption,
    ) -> Interruption {
        let until = Instant::now() + LAST_WORDS_TIME;
        for _ in 0..LAST_WORDS {
            match timeout_at(until, connection.next()).await {
                Ok(Some(Ok(received))) => {
                    if let Err(ended) = self.take_in(conversation, received, sink).await {
                        return ended;
                    }
                }
                Ok(None | Some(Err(_))) | Err(_) => break,
            }
        }
        cut
    }

    /// What the peer has brought by now, and whether it has waited for us `since` then. That we were
    /// not run when our `patience` was over is not the peer's fault: what it sent may lie here.
    fn look_at_progress(
        &self,
        conversation: &mut Conversation,
        connection: &Connection,
        sink: &impl EventSink,
        (since, patience): (Instant, Duration),
    ) {
        let (now, standing) = (Instant::now(), sink.standing());
        conversation.budget.note_genuine(standing.genuine, now);
        let elapsed = now - since;
        let own = if standing.is_waiting { elapsed } else { elapsed.saturating_sub(patience) };
        conversation.excuse(connection.take_waited().max(own));
    }

    /// Opens a connection, and the first time learns what the relay says of itself. That is asked
    /// once, however many attempts it takes to connect.
    async fn connect(
        &mut self,
        conversation: &mut Conversation,
    ) -> Result<Connection, Interruption> {
        let not_connected = Interruption::NotConnected;
        if let Some(line) = &self.line {
            let ends = line.open().map_err(not_connected)?;
            if let Some(info) = line.info().filter(|_| !self.was_connected) {
                conversation.learn(&info);
            }
            conversation.budget.pause_until(Instant::now());
            return Ok(Connection::over(ends));
        }
        if self.was_connected {
            return self.dialler.dial(&self.room).await.map_err(not_connected);
        }
        let asked = self.info.get_or_insert_with(|| {
            let dialler = self.dialler.clone();
            let patience = INFO_TIME_OUT.min(dialler.time_out);
            let asked = async move { timeout(patience, info::ask(&dialler)).await.ok().flatten() };
            let mut asking = JoinSet::new();
            asking.spawn(asked);
            asking
        });
        // A peer that cannot be reached is not waited for twice.
        let connection = self.dialler.dial(&self.room).await.map_err(not_connected)?;
        if let Some(Ok(Some(info))) = asked.join_next().await {
            conversation.learn(&info);
        }
        // A connection has a time-out of its own.
        conversation.budget.pause_until(Instant::now());
        Ok(connection)
    }

    /// Sends all that may be sent now.
    async fn ask(
        &mut self,
        conversation: &mut Conversation,
        connection: &mut Connection,
        pace: Pace,
    ) -> Result<(), Interruption> {
        loop {
            let number = self.subscriptions + 1;
            match conversation.next(number) {
                Next::Send(text) => {
                    self.subscriptions = number;
                    conversation.budget.asked();
                    send(connection, text, pace.time_out).await?;
                }
                Next::LookUp(LookUp { filter, what }) => {
                    let Some(share) = &self.share else { return Ok(()) };
                    let since = Instant::now();
                    let here = match what {
                        LookedUp::Items => share.local.items(&filter).await.map(Opening::Items),
                        LookedUp::Opening => share.local.opening(&filter).await,
                        LookedUp::Overview => {
                            Ok(Opening::Fingerprints(share.local.overview(&filter).await))
                        }
                    };
                    conversation.excuse(since.elapsed());
                    self.subscriptions = number;
                    conversation.compare(number, here);
                }
                Next::Wait => return Ok(()),
            }
        }
    }

    fn tell_what_it_lacks(&self, conversation: &mut Conversation) {
        let lacks = conversation.take_lacks();
        let Some(share) = &self.share else { return };
        if !lacks.ids.is_empty() {
            share.local.not_there(lacks.ids);
        }
        for filter in lacks.all_but_given {
            share.local.all_was_given(filter);
        }
    }
}

/// What this returns, unless the word to stop comes first.
async fn unless<T>(
    told: Pin<&mut impl Future<Output = ()>>,
    it: impl Future<Output = T>,
) -> Result<T, Interruption> {
    tokio::select! {
        biased;
        it = it => Ok(it),
        () = told => Err(Interruption::Stopped),
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
