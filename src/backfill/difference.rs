//! How one peer and the database differ, as a conversation with the peer shows it: what it has
//! that is not here, and the reverse.
//!
//! A peer that compares (NIP-77) tells both by ids, and only what is not here is fetched, for its
//! kinds and authors. Of any other peer all pages are read; what it lacks is what is here of the
//! filters that it has answered to the end, less what it gave. Authors on the blacklist are on
//! neither side.
//!
//! Memory of one peer: 32 bytes for each event that only one side has, and, of a peer that is
//! asked page by page, for each that it gives. What strangers can make without end is bounded by
//! [`Strangers`].

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::task::spawn_blocking;

use super::error::BackfillError;
use super::here::Here;
use super::limits::{COMPARED_HEADERS, LISTED_IDS};
use super::strangers::Strangers;
use crate::node::Blacklist;
use crate::nostr::{Event, EventId, ExpectedId, Filter, Pubkey, Signature, signature};
use crate::relay::{
    Dialler, Ledger, Local, LocalItems, MissingIds, PeerSession, Share, Sink, Standing, Stopped,
    Unwanted,
};
use crate::strfry_db::scan::{ScanFilter, ScanOptions};
use crate::strfry_db::{ReadError, StrfryDb};

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
    pub(super) here: Arc<Here>,
    pub(super) blacklist: Blacklist,
    /// Whom the node knows; sorted.
    pub(super) known: Arc<[Pubkey]>,
    /// Most events by others that one peer may bring.
    pub(super) strangers: u64,
}

/// The difference with one peer, as far as it is known.
pub(super) struct Difference {
    common: Arc<Common>,
    pub(super) strangers: Strangers,
    account: Mutex<Account>,
}

#[derive(Default)]
struct Account {
    /// Nothing more is counted.
    has_ended: bool,
    /// Genuine events that came.
    given: HashSet<EventId>,
    /// Those of them that have not been looked up yet.
    pending: Vec<Header>,
    lacks: HashSet<EventId>,
    /// Filters of which it has given all that it has.
    all_was_given: Vec<Filter>,
    only_there: Side,
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
            strangers: Strangers::bounded(&common.known, common.strangers),
            account: Mutex::default(),
        })
    }

    /// The conversation that this is to learn from; its events are to be given to this, too.
    pub(super) fn session(self: &Arc<Self>, dialler: Dialler, negentropy: bool) -> PeerSession {
        // A ledger of its own: what another peer has given is asked of this one too.
        let ledger = Arc::<Ledger>::default();
        let local: Arc<dyn Local> = Arc::<Self>::clone(self);
        let session = PeerSession::sharing(dialler, Share::new(&ledger, local));
        if negentropy { session } else { session.without_comparing() }
    }

    /// What is known by now. What comes later changes nothing.
    pub(super) async fn end(self: &Arc<Self>) -> Result<Sides, BackfillError> {
        self.account().has_ended = true;
        self.settle().await?;
        let only_here = {
            let difference = Arc::clone(self);
            move || difference.only_here()
        };
        let only_here = blocking(only_here).await??;
        let mut only_there = std::mem::take(&mut self.account().only_there);
        only_there.ids.sort_unstable();
        Ok(Sides { only_there, only_here })
    }

    /// How much came that is no genuine event or was not asked for.
    pub(super) fn refused(&self) -> u64 {
        let account = self.account();
        account.forged + account.unwanted
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks up what has come: is it here, and if not, is it genuine?
    async fn settle(&self) -> Result<(), BackfillError> {
        let pending = std::mem::take(&mut self.account().pending);
        let common = Arc::clone(&self.common);
        let checked = blocking(move || -> Result<_, ReadError> {
            let ids: Vec<EventId> = pending.iter().map(|header| header.id).collect();
            let is_here = common.db.contains_each(&ids)?;
            let missing = pending.into_iter().zip(is_here).filter(|&(_, is_here)| !is_here);
            let missing =
                missing.map(|(it, _)| (it, signature::is_valid(&it.id, &it.author, &it.sig)));
            Ok(missing.collect::<Vec<_>>())
        });
        let mut checked = checked.await??;
        checked.sort_unstable_by_key(|(header, _)| header.id);
        let mut account = self.account();
        for (Header { id, kind, author, .. }, is_genuine) in checked {
            if !is_genuine {
                account.forged += 1;
                continue;
            }
            account.only_there.add(id, kind, author);
            self.strangers.note(&author);
        }
        account.error.take().map_or(Ok(()), Err)
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
            let scan = db.scan(vec![ScanFilter::from(filter)], ScanOptions::default());
            for batch in scan.without_json() {
                for event in batch?.iter() {
                    let id = event.packed()?.id();
                    if !given.contains(&id) {
                        lacks.insert(id);
                    }
                }
            }
        }
        let mut ids: Vec<EventId> = lacks.difference(&given).copied().collect();
        ids.sort_unstable();
        let mut side = Side::default();
        for ids in ids.chunks(COMPARED_HEADERS) {
            let headers = db.look_up_each(ids, |snapshot, id| {
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

impl Local for Difference {
    fn items<'a>(&'a self, filter: &'a Filter) -> LocalItems<'a> {
        self.common.here.items(filter)
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

impl Sink for Difference {
    async fn event(&self, event: &Event<'_>) -> Result<(), Stopped> {
        let expected = ExpectedId::of(event);
        let is_full = {
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
            account.pending.len() >= COMPARED_HEADERS
        };
        if is_full && let Err(error) = self.settle().await {
            self.account().error = Some(error);
            return Err(Stopped);
        }
        Ok(())
    }

    fn unwanted(&self, what: Unwanted) {
        if matches!(what, Unwanted::Unasked | Unwanted::TooNew | Unwanted::Malformed(_)) {
            self.account().unwanted += 1;
        }
    }

    fn standing(&self) -> Standing {
        let account = self.account();
        Standing {
            // Their hashes are right. What is not signed is found out before it is much.
            genuine: account.given.len() as u64,
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

impl<S: Sink> Sink for Watched<S> {
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
