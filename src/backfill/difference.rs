//! How one peer and the database differ, as a conversation with the peer shows it: what it has
//! that is not here, and the reverse.
//!
//! A peer that compares (NIP-77) tells both by ids, and only what is not here is fetched, for its
//! kinds and authors. Of any other peer all pages are read; what it lacks is what is here of the
//! filters that it has answered to the end, less what it gave. Authors on the blacklist are on
//! neither side.
//!
//! Memory of one peer: 32 bytes for each event that only one side has, and, of a peer that is
//! asked page by page, for each that it gives; it is given back when the conversation has ended.
//! Only [`COMPARED_PEERS`](super::limits::COMPARED_PEERS) are under way at a time. What strangers
//! can make without end is bounded by [`UnknownAuthorQuota`].

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::Serialize;
use tokio::task::spawn_blocking;

use super::error::BackfillError;
use super::limits::{COMPARED_HEADERS, LISTED_IDS, SETTLED_AFTER};
use super::local_index::LocalIndex;
use super::unknown_author_quota::UnknownAuthorQuota;
use crate::node::Blacklist;
use crate::nostr::{Event, EventId, ExpectedId, Filter, Pubkey, Signature, signature};
use crate::peer::{
    Dialler, EventSink, LocalEvents, LocalItems, LocalOpening, MissingIds, PeerSession, Share,
    Standing, Stopped, Unwanted, WantList,
};
use crate::strfry_db::{self, ReadError, StrfryDb};

/// Both sides of a difference.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Sides {
    /// Events that the peer has and that are not here.
    pub only_there: Side,
    /// Events that are here and that the peer does not have.
    pub only_here: Side,
}

/// Events that only one side has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Side {
    /// How many.
    pub events: u64,
    /// How many of each kind.
    pub kinds: BTreeMap<u64, u64>,
    /// How many of each author.
    pub authors: BTreeMap<Pubkey, u64>,
    /// Their ids, sorted; at most [`LISTED_IDS`], whatever `events` is.
    pub ids: Vec<EventId>,
}

impl Side {
    fn add(&mut self, id: EventId, kind: u64, author: Pubkey) {
        self.events += 1;
        *self.kinds.entry(kind).or_default() += 1;
        *self.authors.entry(author).or_default() += 1;
        if self.ids.len() < LISTED_IDS {
            self.ids.push(id);
        }
    }
}

/// What the differences of all peers have in common.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) db: Arc<StrfryDb>,
    pub(super) here: Arc<LocalIndex>,
    pub(super) blacklist: Blacklist,
    /// Whom the node knows; sorted.
    pub(super) known: Arc<[Pubkey]>,
    /// Most events by others that one peer may bring.
    pub(super) strangers: u64,
    /// One difference ends at a time: its ids are copied and looked up.
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
}

/// The difference with one peer, as far as it is known.
pub(super) struct Difference {
    common: Arc<Common>,
    pub(super) strangers: UnknownAuthorQuota,
    account: Mutex<Account>,
    /// When what had come was looked up last; locked while that is done.
    settled: Mutex<Instant>,
}

#[derive(Default)]
struct Account {
    /// Nothing more is counted.
    has_ended: bool,
    /// What is known in the end.
    sides: Option<Sides>,
    /// Events that came, with the ids that they must have.
    given: HashSet<EventId>,
    /// Those of them that have not been looked up yet.
    pending: Vec<Header>,
    lacks: HashSet<EventId>,
    /// Filters of which it has given all that it has.
    all_was_given: Vec<Filter>,
    only_there: Side,
    /// Events that are here, or were found to be genuine.
    genuine: u64,
    forged: u64,
    /// What was not asked for, or is no event.
    unwanted: u64,
    error: Option<BackfillError>,
}

#[derive(Clone, Copy)]
struct Header {
    id: EventId,
    kind: u64,
    author: Pubkey,
    sig: Signature,
}

impl Difference {
    /// With a peer of which nothing is known.
    pub(super) fn with(common: &Arc<Common>) -> Arc<Self> {
        Arc::new(Self {
            common: Arc::clone(common),
            strangers: UnknownAuthorQuota::bounded(&common.known, common.strangers),
            account: Mutex::default(),
            settled: Mutex::new(Instant::now()),
        })
    }

    /// The conversation that this is to learn from; its events are to be given to this, too.
    pub(super) fn session(self: &Arc<Self>, dialler: Dialler, negentropy: bool) -> PeerSession {
        // A ledger of its own: what another peer has given is asked of this one too.
        let ledger = Arc::<WantList>::default();
        let local: Arc<dyn LocalEvents> = Arc::<Self>::clone(self);
        let session = PeerSession::sharing(dialler, Share::new(&ledger, local));
        if negentropy { session } else { session.without_comparing() }
    }

    /// What is known by now. What comes later changes nothing.
    pub(super) async fn end(self: &Arc<Self>) -> Result<Sides, BackfillError> {
        self.conclude().await;
        let mut account = self.account();
        match account.error.take() {
            Some(error) => Err(error),
            None => Ok(account.sides.take().unwrap_or_default()),
        }
    }

    /// Finds out what [`Self::end`] returns and gives the rest of the memory back. What went wrong
    /// is told there.
    pub(super) async fn conclude(self: &Arc<Self>) {
        let turn = Arc::clone(&self.common.turn).lock_owned().await;
        // Goes on also when nobody waits for it any more.
        let difference = Arc::clone(self);
        let concluded = blocking(move || {
            let _turn = turn;
            difference.conclude_now()
        });
        self.note_error(concluded.await);
    }

    /// Blocks.
    fn conclude_now(&self) -> Result<(), ReadError> {
        self.account().has_ended = true;
        self.settle_now()?;
        if self.account().sides.is_some() {
            return Ok(());
        }
        let only_here = self.only_here()?;
        let mut account = self.account();
        let mut only_there = std::mem::take(&mut account.only_there);
        only_there.ids.sort_unstable();
        account.sides = Some(Sides { only_there, only_here });
        Ok(())
    }

    /// Whether there was none.
    fn note_error(&self, done: Result<Result<(), ReadError>, BackfillError>) -> bool {
        let error = done.and_then(|done| Ok(done?)).err();
        let is_well = error.is_none();
        let mut account = self.account();
        account.error = account.error.take().or(error);
        is_well
    }

    /// How much came that is no genuine event or was not asked for.
    pub(super) fn refused(&self) -> u64 {
        let account = self.account();
        account.forged + account.unwanted
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks up what has come: is it here, and if not, is it genuine? Blocks.
    fn settle_now(&self) -> Result<(), ReadError> {
        // One after the other, so that nothing is under way when this returns.
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        let pending = self.account().pending.clone();
        let ids: Vec<EventId> = pending.iter().map(|header| header.id).collect();
        let is_here = self.common.db.contains_each(&ids)?;
        let missing = pending.iter().zip(is_here).filter(|&(_, is_here)| !is_here);
        let mut missing: Vec<(&Header, bool)> =
            missing.map(|(it, _)| (it, signature::is_valid(&it.id, &it.author, &it.sig))).collect();
        missing.sort_unstable_by_key(|(header, _)| header.id);
        let mut account = self.account();
        // What has come since then is behind these.
        account.pending.drain(..pending.len());
        account.genuine += pending.len() as u64;
        for (Header { id, kind, author, .. }, is_genuine) in missing {
            if !is_genuine {
                account.genuine -= 1;
                account.forged += 1;
                continue;
            }
            account.only_there.add(*id, *kind, *author);
            self.strangers.note(author);
        }
        *settled = Instant::now();
        Ok(())
    }

    /// Whether it is time to look up what has come: there is much, or a while has passed.
    fn is_due(&self) -> bool {
        // While that is done already, it is not.
        let settled = self.settled.try_lock().map(|settled| *settled);
        let waits_long = settled.is_ok_and(|settled| settled.elapsed() >= SETTLED_AFTER);
        match self.account().pending.len() {
            0 => false,
            some => waits_long || some >= COMPARED_HEADERS,
        }
    }

    /// Blocks.
    fn only_here(&self) -> Result<Side, ReadError> {
        let (mut lacks, given, filters) = {
            let mut account = self.account();
            let lacks = std::mem::take(&mut account.lacks);
            (lacks, std::mem::take(&mut account.given), std::mem::take(&mut account.all_was_given))
        };
        let Common { db, blacklist, .. } = &*self.common;
        for filter in &filters {
            let scan = db.scan(strfry_db::Filter::from(filter));
            let ids = scan.map_batches(|batch| {
                batch.packed()?.map(|event| Ok(event?.id())).collect::<Result<Vec<_>, _>>()
            });
            for ids in ids {
                lacks.extend(ids?.into_iter().filter(|id| !given.contains(id)));
            }
        }
        let mut ids: Vec<EventId> = lacks.difference(&given).copied().collect();
        ids.sort_unstable();
        let mut side = Side::default();
        for ids in ids.chunks(COMPARED_HEADERS) {
            let headers = db.get_each(ids, |snapshot, id| {
                let Some(lev_id) = snapshot.find(id)? else { return Ok(None) };
                Ok(snapshot.packed(lev_id)?.map(|event| (event.kind(), event.pubkey())))
            })?;
            for (id, header) in ids.iter().zip(headers) {
                // Otherwise it has been deleted in the meantime.
                let Some((kind, author)) = header else { continue };
                if !blacklist.contains(&author) {
                    side.add(*id, kind, author);
                }
            }
        }
        Ok(side)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, BackfillError> {
    let done = spawn_blocking(work).await;
    done.map_err(|error| BackfillError::Thread(std::io::Error::other(error)))
}

impl LocalEvents for Difference {
    fn items<'a>(&'a self, filter: &'a Filter) -> LocalItems<'a> {
        self.common.here.items(filter)
    }

    fn opening<'a>(&'a self, filter: &'a Filter) -> LocalOpening<'a> {
        self.common.here.opening(filter)
    }

    fn missing(&self, ids: Vec<EventId>) -> MissingIds<'_> {
        self.common.here.missing(ids)
    }

    fn not_there(&self, ids: Vec<EventId>) {
        let mut account = self.account();
        if !account.has_ended {
            account.lacks.extend(ids);
        }
    }

    fn all_was_given(&self, filter: Filter) {
        let mut account = self.account();
        if !account.has_ended {
            account.all_was_given.push(filter);
        }
    }
}

impl std::fmt::Debug for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Difference").finish_non_exhaustive()
    }
}

impl EventSink for Arc<Difference> {
    async fn event(&self, event: &Event<'_>) -> Result<(), Stopped> {
        let expected = ExpectedId::of(event);
        {
            let mut account = self.account();
            if event.id != expected.strfry && event.id != expected.nip01 {
                account.forged += 1;
                return Ok(());
            }
            if self.common.blacklist.contains(&event.pubkey) {
                return Ok(());
            }
            if account.given.insert(event.id) {
                let Event { id, kind, pubkey: author, sig, .. } = *event;
                account.pending.push(Header { id, kind, author, sig });
            }
        }
        if !self.is_due() {
            return Ok(());
        }
        // Goes on also when the conversation is ended meanwhile: nothing that came is lost.
        let difference = Arc::clone(self);
        let settled = blocking(move || difference.settle_now()).await;
        if self.note_error(settled) { Ok(()) } else { Err(Stopped) }
    }

    fn unwanted(&self, what: Unwanted) {
        if !matches!(what, Unwanted::Repeated | Unwanted::NotAMessage) {
            self.account().unwanted += 1;
        }
    }

    fn standing(&self) -> Standing {
        let account = self.account();
        Standing {
            genuine: account.genuine,
            forged: self.strangers.or_forged(account.forged),
            is_waiting: false,
        }
    }
}

/// A sink whose events also show how the peer and the database differ, if that is wanted.
pub(super) struct Watched<S> {
    pub(super) sink: S,
    pub(super) difference: Option<Arc<Difference>>,
}

impl<S: EventSink> EventSink for Watched<S> {
    async fn event(&self, event: &Event<'_>) -> Result<(), Stopped> {
        self.sink.event(event).await?;
        match &self.difference {
            Some(difference) => difference.event(event).await,
            None => Ok(()),
        }
    }

    fn unwanted(&self, what: Unwanted) {
        self.sink.unwanted(what);
    }

    fn standing(&self) -> Standing {
        let standing = self.sink.standing();
        let forged = self.difference.as_ref().map_or(0, |it| it.standing().forged);
        Standing { forged: standing.forged.max(forged), ..standing }
    }
}
