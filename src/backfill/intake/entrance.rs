//! The first look at a peer's events, where they come in: what needs neither the database nor a
//! signature check.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::super::accounts::{Class, Tally};
use super::super::coverage::Hole;
use super::super::holes::{Holes, UNSETTLED};
use super::super::limits::{WAITING_EVENTS, WAITING_KIB};
use super::super::progress::PeerProgress;
use super::super::unknown_author_quota::UnknownAuthorQuota;
use crate::import::{EventLimits, Refusal, StoredEvent};
use crate::node::Blacklist;
use crate::nostr::{Event, kind};
use crate::peer::limits::MESSAGE;
use crate::peer::{EventSink, ForgedIds, Standing, Stopped, Unwanted};
use crate::report::StatKey;

/// How the greeting begins that a node's robot sends to strangers; kind 1, and left out.
const GREETING: &str = "Hello NOSTR visitor.";

/// What is refused whoever sends it.
#[derive(Debug)]
pub(in crate::backfill) struct Rules {
    pub(in crate::backfill) limits: EventLimits,
    pub(in crate::backfill) blacklist: Blacklist,
    /// When the run began, seconds since 1970: until then, and a little longer, peers are asked.
    pub(in crate::backfill) began: u64,
}

impl Rules {
    /// The last second of which events are asked for and taken.
    fn latest(&self) -> u64 {
        self.limits.latest(self.began)
    }
}

/// What one peer has brought.
pub(in crate::backfill) struct Account {
    pub(in crate::backfill) tally: Tally,
    /// Of all peers.
    pub(in crate::backfill) holes: Arc<Holes>,
    pub(in crate::backfill) strangers: UnknownAuthorQuota,
    pub(in crate::backfill) progress: PeerProgress,
    pub(in crate::backfill) forged: Arc<ForgedIds>,
}

impl Account {
    /// An event was dropped.
    pub(in crate::backfill) fn drop_event(&self, event: Hole) {
        self.tally.count(Class::Dropped);
        self.holes.note(Class::Dropped, event);
    }

    /// Its events that are to be asked for again.
    pub(in crate::backfill) fn unsettled(&self) -> u64 {
        UNSETTLED.iter().map(|&class| self.tally.of(class)).sum()
    }
}

/// An event on its way to the checks.
pub(in crate::backfill) struct Candidate {
    pub(in crate::backfill) event: StoredEvent,
    pub(in crate::backfill) stat: Option<StatKey>,
    pub(in crate::backfill) account: Arc<Account>,
    /// Room in memory, to be given back when the event has been checked.
    pub(in crate::backfill) room: OwnedSemaphorePermit,
}

/// What the checks are given to do.
pub(in crate::backfill) enum Work {
    Check(Candidate),
    /// Answered when everything before it has been checked.
    Barrier(oneshot::Sender<()>),
}

/// The way to the checks, for all peers.
#[derive(Clone)]
pub(in crate::backfill) struct Entrance {
    work: mpsc::Sender<Work>,
    room: Arc<Semaphore>,
    rules: Arc<Rules>,
}

impl Entrance {
    pub(in crate::backfill) fn new(rules: Rules) -> (Self, mpsc::Receiver<Work>) {
        let (work, receiver) = mpsc::channel(WAITING_EVENTS);
        let room = Arc::new(Semaphore::new(WAITING_KIB));
        (Self { work, room, rules: Arc::new(rules) }, receiver)
    }

    /// The last second of which events are asked for and taken.
    pub(in crate::backfill) fn latest(&self) -> u64 {
        self.rules.latest()
    }

    /// The entrance for the events of one peer.
    pub(in crate::backfill) fn for_peer(&self, account: Arc<Account>) -> PeerSink {
        PeerSink { entrance: self.clone(), account }
    }

    /// Whether the checks have ended, so that nothing more can be done with an event.
    pub(in crate::backfill) fn is_closed(&self) -> bool {
        self.work.is_closed()
    }

    /// Waits until everything that came in so far has been checked.
    pub(in crate::backfill) async fn wait_until_checked(&self) {
        let (done, checked) = oneshot::channel();
        if self.work.send(Work::Barrier(done)).await.is_ok() {
            // An error means that the checks have ended, which is as good.
            let _ = checked.await;
        }
    }
}

/// Where one peer's events come in.
pub(in crate::backfill) struct PeerSink {
    entrance: Entrance,
    account: Arc<Account>,
}

impl PeerSink {
    /// Turns an event into its stored form, or says in which class it ends.
    fn screen(&self, event: &Event<'_>) -> Result<StoredEvent, (Class, Option<Refusal>)> {
        let rules = &self.entrance.rules;
        if kind::is_ephemeral(event.kind) {
            return Err((Class::Ephemeral, None));
        }
        if rules.blacklist.contains(&event.pubkey) {
            return Err((Class::Blacklisted, None));
        }
        if event.kind == kind::TEXT_NOTE && event.content.starts_with(GREETING) {
            return Err((Class::Greeting, None));
        }
        if event.created_at > rules.latest() {
            return Err((Class::TooNew, None));
        }
        let stored = StoredEvent::encode(event, &rules.limits)
            .map_err(|refusal| (refusal.class(), Some(refusal)))?;
        // 1 stands for an ephemeral kind.
        match stored.packed().expiration() {
            expiration @ 2.. if expiration <= now() => Err((Class::Expired, None)),
            _ => Ok(stored),
        }
    }
}

/// Seconds since 1970: a run lasts long enough for events to expire meanwhile.
fn now() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}

impl EventSink for PeerSink {
    async fn event(&self, event: &Event<'_>) -> Result<(), Stopped> {
        self.account.tally.receive();
        let stored = match self.screen(event) {
            Ok(stored) => stored,
            Err((class, Some(refusal))) => {
                self.account.tally.count_because(class, refusal);
                return Ok(());
            }
            Err((class, None)) => {
                self.account.tally.count(class);
                return Ok(());
            }
        };
        // Counted as dropped unless it gets through, also when the run is stopped while it waits.
        let hole = Hole { author: event.pubkey, kind: event.kind, second: event.created_at };
        let mut unless_sent = CountDropped(Some((&self.account, hole)));
        let stat = StatKey::of(event);
        let kib = u32::try_from(stored.memory().div_ceil(1024).min(WAITING_KIB)).unwrap_or(1);
        let room = Arc::clone(&self.entrance.room).acquire_many_owned(kib).await;
        let room = room.map_err(|_| Stopped)?;
        let account = Arc::clone(&self.account);
        let place = self.entrance.work.reserve().await.map_err(|_| Stopped)?;
        self.account.progress.enter();
        place.send(Work::Check(Candidate { event: stored, stat, account, room }));
        unless_sent.0 = None;
        Ok(())
    }

    fn unwanted(&self, what: Unwanted) {
        let class = match what {
            // No event came, so there is none to account for.
            Unwanted::NotAMessage => return,
            Unwanted::Repeated => Class::Duplicate,
            Unwanted::Unasked => Class::Unasked,
            Unwanted::TooNew => Class::TooNew,
            Unwanted::TooLarge { id, bytes } => {
                let reason = match id {
                    Some(id) => format!(
                        "event {id} came in a message of {bytes} bytes, larger than {MESSAGE}"
                    ),
                    None => format!(
                        "an event came in a message of {bytes} bytes, larger than {MESSAGE}"
                    ),
                };
                self.account.tally.receive();
                self.account.tally.count_because(Class::Oversize, reason);
                return;
            }
            Unwanted::Malformed(malformed) => {
                self.account.tally.receive();
                self.account.tally.count_because(Class::Malformed, malformed);
                return;
            }
        };
        self.account.tally.receive();
        self.account.tally.count(class);
    }

    fn standing(&self) -> Standing {
        let Account { tally, strangers, progress, .. } = &*self.account;
        Standing {
            genuine: progress.genuine(),
            forged: strangers.or_forged(tally.forged()),
            is_waiting: progress.is_waiting(),
        }
    }
}

struct CountDropped<'a>(Option<(&'a Account, Hole)>);

impl Drop for CountDropped<'_> {
    fn drop(&mut self) {
        if let Some((account, event)) = self.0 {
            account.drop_event(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::{EventId, Pubkey, Signature, TagField};

    #[tokio::test]
    async fn an_event_that_expired_after_the_run_began_has_expired() {
        let expiring = |seconds: u64| {
            let tag =
                ["expiration", &seconds.to_string()].map(|it| TagField::Text(it.to_owned().into()));
            Event {
                id: EventId::from_bytes([0; 32]),
                pubkey: Pubkey::from_bytes([1; 32]),
                created_at: now() - 1_000,
                kind: 1,
                tags: vec![tag.into()],
                content: "".into(),
                sig: Signature::from_bytes([2; 64]),
            }
        };
        let rules = Rules {
            limits: EventLimits::default(),
            blacklist: Blacklist::default(),
            began: now() - 100,
        };
        let (entrance, _work) = Entrance::new(rules);
        let account = Arc::new(Account {
            tally: Tally::default(),
            holes: Arc::default(),
            strangers: UnknownAuthorQuota::bounded(&[].into(), 0),
            progress: PeerProgress::new(&Arc::default()),
            forged: Arc::default(),
        });
        let sink = entrance.for_peer(Arc::clone(&account));
        for seconds in [now() - 50, now() + 1_000] {
            sink.event(&expiring(seconds)).await.unwrap();
        }
        assert_eq!(account.tally.of(Class::Expired), 1);
    }
}
