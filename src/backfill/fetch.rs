//! The phases in which peers are asked, all of them at once in each, and what is logged of it.

use std::collections::{HashMap, HashSet};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::accounts::{Class, Tally};
use super::check::{ForgedIds, SeenProfiles};
use super::difference::{Common, Difference, Sides, Watched};
use super::error::BackfillError;
use super::here::Here;
use super::job::Job;
use super::limits::ROUNDS_AFTER_FORGERIES;
use super::plan::{author_queries, station_query};
use super::screen::Entrance;
use super::tunnels::Tunnels;
use super::write_relays::{RelayLists, by_relay, is_strangers, write_relays};
use crate::node::{Peer, PeerSource};
use crate::nostr::{EventId, Filter, Pubkey, kind};
use crate::relay::{Dialler, FetchOutcome, Gap, GapReason, Ledger, Pace, PeerSession, Share};
use crate::report::{Progress, ProgressState, RunLog, clean_for_log};
use crate::strfry_db::{ReadError, StrfryDb};

/// A peer and what is known of it so far.
pub(super) struct Asked {
    pub(super) peer: Peer,
    pub(super) tally: Arc<Tally>,
    pub(super) outcome: FetchOutcome,
    /// Earliest second that it is asked for in the recent phase; `None` is all time.
    pub(super) since: Option<u64>,
    /// Nothing of that phase is missing.
    pub(super) recent_is_complete: bool,
    /// In a dry run, until the end of the recent phase.
    difference: Option<Arc<Difference>>,
    /// What came of that.
    pub(super) sides: Option<Sides>,
    /// Away while a task talks to the peer; gone for good once the run was stopped.
    session: Option<PeerSession>,
}

/// What all phases share.
pub(super) struct Fetch<'a> {
    pub(super) job: &'a Job,
    pub(super) db: Arc<StrfryDb>,
    pub(super) log: &'a RunLog,
    pub(super) progress: &'a Progress,
    pub(super) entrance: Entrance,
    pub(super) seen_profiles: SeenProfiles,
    pub(super) forged: ForgedIds,
    pub(super) relay_lists: RelayLists,
    /// Which events are needed, of which peer.
    ledger: Arc<Ledger>,
    here: Arc<Here>,
    /// A dry run also tells how each peer and the database differ.
    compared: Option<Arc<Common>>,
    /// Open until the end of the run.
    pub(super) tunnels: Tunnels,
    /// The run was told to stop.
    pub(super) stopped: bool,
}

/// A profile or two are asked for faster than compared.
fn is_for_profiles(peer: &Peer) -> bool {
    matches!(peer.source, PeerSource::Fallback | PeerSource::Author)
}

/// Says goodbye to peers.
pub(super) async fn close(peers: &mut [Asked]) {
    let sessions = peers.iter_mut().filter_map(|asked| asked.session.take());
    futures_util::future::join_all(sessions.map(PeerSession::close)).await;
}

pub(super) fn state_of<'a>(
    phase: &'a str,
    peers: &[Asked],
    fallback: &[Asked],
) -> ProgressState<'a> {
    let all = || peers.iter().chain(fallback);
    let sum = |count: fn(&Tally) -> u64| all().map(|asked| count(&asked.tally)).sum();
    ProgressState {
        phase,
        peers_done: all().filter(|asked| asked.session.is_some()).count(),
        peers_total: all().count(),
        received: sum(Tally::received),
        imported: sum(|tally| tally.of(Class::Imported)),
    }
}

impl<'a> Fetch<'a> {
    pub(super) fn new(
        job: &'a Job,
        db: &Arc<StrfryDb>,
        log: &'a RunLog,
        progress: &'a Progress,
        entrance: Entrance,
    ) -> Self {
        let here = Arc::new(Here::new(Arc::clone(db)));
        let compared = job.dry_run.then(|| {
            Arc::new(Common {
                db: Arc::clone(db),
                here: Arc::clone(&here),
                blacklist: job.blacklist.clone(),
                pubkeys: job.pubkeys.clone(),
            })
        });
        Self {
            job,
            db: Arc::clone(db),
            log,
            progress,
            entrance,
            seen_profiles: SeenProfiles::default(),
            forged: ForgedIds::default(),
            relay_lists: RelayLists::default(),
            ledger: Arc::default(),
            here,
            compared,
            tunnels: Tunnels::default(),
            stopped: false,
        }
    }

    /// Peers that nothing has been asked of yet.
    pub(super) fn ask_list(&self, peers: &[Peer]) -> Vec<Asked> {
        let asked = |peer: &Peer| {
            let common = self.compared.as_ref().filter(|_| !is_for_profiles(peer));
            let difference = common.map(Difference::with);
            Asked {
                session: Some(self.session(peer, difference.as_ref())),
                peer: peer.clone(),
                tally: Arc::default(),
                outcome: FetchOutcome::default(),
                since: None,
                recent_is_complete: false,
                difference,
                sides: None,
            }
        };
        peers.iter().map(asked).collect()
    }

    fn session(&self, peer: &Peer, difference: Option<&Arc<Difference>>) -> PeerSession {
        let dialler = Dialler {
            url: peer.url.clone(),
            allow_local: self.job.allow_local || !is_strangers(&peer.source),
            time_out: self.job.timings.connect,
        };
        let session = if let Some(difference) = difference {
            difference.session(dialler, self.job.negentropy)
        } else if !self.job.negentropy || is_for_profiles(peer) {
            PeerSession::new(dialler)
        } else {
            let here: Arc<Here> = Arc::clone(&self.here);
            PeerSession::sharing(dialler, Share::new(&self.ledger, here))
        };
        session.known_by(self.job.auth.clone())
    }

    /// Goes through the phases. Peers of the last one, if it comes to that, end up in `fallback`.
    pub(super) async fn all(
        &mut self,
        peers: &mut [Asked],
        fallback: &mut Vec<Asked>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), BackfillError> {
        let mut stop = std::pin::pin!(stop);
        let job = self.job;
        self.open_tunnels(peers).await;
        let queries = |asked: &Asked| {
            let mut queries = author_queries(&job.pubkeys, &job.kinds, asked.since);
            queries.extend(station_query(job.station_kinds.clone(), asked.since));
            queries
        };
        let recent = self.pace(job.timings.recent);
        self.ask("Recent events", peers, queries, recent, stop.as_mut()).await;
        for asked in peers.iter_mut() {
            asked.recent_is_complete = asked.outcome.gaps.is_empty() && !self.stopped;
        }
        let ends = peers.iter_mut().filter_map(|asked| {
            let Asked { difference, sides, .. } = asked;
            let difference = difference.take()?;
            Some(async move {
                *sides = Some(difference.end().await?);
                Ok::<_, BackfillError>(())
            })
        });
        futures_util::future::try_join_all(ends).await?;
        let is_bounded = job.days > 0;
        if self.is_over() || !job.profiles || !job.kinds.contains(&kind::PROFILE) {
            return Ok(());
        }

        let mut missing = self.missing_profiles(&job.pubkeys).await?;
        self.log_missing(&missing, is_bounded);
        // With no limit of time the peers have been asked for everything already.
        if !missing.is_empty() && is_bounded {
            self.log_recovery(&missing, peers);
            let queries = |asked: &Asked| {
                let mut queries = author_queries(&missing, &job.kinds, None);
                // What a peer has given completely is not asked for again.
                if asked.outcome.gaps.is_empty() {
                    let before = asked.since.and_then(|since| since.checked_sub(1));
                    queries.iter_mut().for_each(|query| query.until = before);
                }
                queries
            };
            let full = self.pace(job.timings.full);
            self.ask("Full sync", peers, queries, full, stop.as_mut()).await;
            let before = std::mem::take(&mut missing);
            missing = self.missing_profiles(&before).await?;
            self.log_recovered(&before, &missing);
        }
        if !missing.is_empty() && !self.is_over() {
            missing = self.ask_write_relays(missing, peers, fallback, stop.as_mut()).await?;
        }
        if !missing.is_empty() && !self.is_over() && !job.fallback.is_empty() {
            self.log.info(format_args!(
                "Asking {} public relays for {} profiles",
                job.fallback.len(),
                missing.len()
            ));
            let mut public = self.ask_list(&job.fallback);
            let queries = author_queries(&missing, &[kind::PROFILE], None);
            let pace = self.pace(job.timings.recent);
            self.ask("Public relays", &mut public, |_| queries.clone(), pace, stop.as_mut()).await;
            fallback.extend(public);
        }
        Ok(())
    }

    /// Asks the relays that authors without a profile publish to; returns who still has none.
    async fn ask_write_relays(
        &mut self,
        missing: Vec<Pubkey>,
        peers: &[Asked],
        asked_too: &mut Vec<Asked>,
        stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Vec<Pubkey>, BackfillError> {
        let known: HashSet<&str> = peers.iter().map(|asked| asked.peer.address()).collect();
        let mut relays = by_relay(self.relay_lists_of(&missing).await?, self.job.allow_local);
        relays.retain(|(peer, _)| !known.contains(peer.address()));
        if relays.is_empty() {
            return Ok(missing);
        }
        self.log.info(format_args!("Asking {} relays that authors publish to", relays.len()));
        let (relays, authors): (Vec<Peer>, Vec<Vec<Pubkey>>) = relays.into_iter().unzip();
        let mut asked = self.ask_list(&relays);
        let authors: HashMap<String, Vec<Pubkey>> =
            relays.iter().map(|peer| peer.address().to_owned()).zip(authors).collect();
        let queries = |asked: &Asked| {
            let authors = authors.get(asked.peer.address()).map_or(&[][..], Vec::as_slice);
            author_queries(authors, &[kind::PROFILE], None)
        };
        let pace = self.pace(self.job.timings.recent);
        self.ask("Authors' relays", &mut asked, queries, pace, stop).await;
        asked_too.extend(asked);
        self.missing_profiles(&missing).await
    }

    /// The write relays of each of these authors that has some: of the newest list, whether it is
    /// in the database or on its way there.
    async fn relay_lists_of(
        &self,
        pubkeys: &[Pubkey],
    ) -> Result<Vec<(Pubkey, Vec<Peer>)>, BackfillError> {
        let (db, wanted) = (Arc::clone(&self.db), pubkeys.to_vec());
        let stored =
            tokio::task::spawn_blocking(move || db.newest_json_of_each(&wanted, kind::RELAY_LIST));
        let stored =
            stored.await.map_err(|error| BackfillError::Thread(io::Error::other(error)))?;
        let arrived = self.relay_lists.lock().unwrap_or_else(PoisonError::into_inner);
        let lists = pubkeys.iter().zip(stored?).filter_map(|(pubkey, stored)| {
            let arrived = arrived.get(pubkey);
            let relays = match (arrived, stored) {
                (Some((at, relays)), stored)
                    if stored.as_ref().is_none_or(|it| it.created_at < *at) =>
                {
                    relays.clone()
                }
                (_, Some(stored)) => write_relays(&stored.json),
                (_, None) => return None,
            };
            Some((*pubkey, relays))
        });
        Ok(lists.collect())
    }

    /// Opens the tunnels to those peers that need one. A peer whose tunnel does not open is not
    /// asked.
    async fn open_tunnels(&mut self, peers: &mut [Asked]) {
        let (ipfs, patience) = (&self.job.ipfs, self.job.timings.connect);
        let stations = peers.iter().map(|asked| &asked.peer);
        Tunnels::close_left_behind(ipfs, stations.clone()).await;
        self.tunnels = Tunnels::open(ipfs, stations, patience).await;
        for (position, asked) in peers.iter_mut().enumerate() {
            let Some(session) = &mut asked.session else { continue };
            if let Err(reason) = self.tunnels.lead(position, session) {
                self.log.warn(clean_for_log(&format!("{}: {reason}", asked.peer.name)));
            }
        }
    }

    /// Told to stop, or strfry takes nothing more.
    fn is_over(&self) -> bool {
        self.stopped || self.entrance.is_closed()
    }

    fn pace(&self, time_out: Duration) -> Pace {
        Pace { time_out, first_pause: self.job.timings.first_pause }
    }

    /// Asks all peers at once, each in a task of its own, and waits until all have answered and
    /// what they sent has been checked.
    async fn ask(
        &mut self,
        phase: &str,
        peers: &mut [Asked],
        queries: impl Fn(&Asked) -> Vec<Filter>,
        pace: Pace,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) {
        let started = Instant::now();
        self.ask_once(phase, peers, &queries, pace, stop.as_mut()).await;
        for _ in 0..ROUNDS_AFTER_FORGERIES {
            let forged = std::mem::take(&mut *self.forged());
            // In a dry run all peers are asked for everything anyhow.
            if forged.is_empty() || self.is_over() || self.job.dry_run {
                break;
            }
            self.ledger.reopen(&forged);
            let others = |asked: &Asked| match asked.tally.forged() {
                0 => queries(asked),
                _ => Vec::new(),
            };
            self.ask_once(phase, peers, others, pace, stop.as_mut()).await;
        }
        self.log.perf(format_args!("{phase}: {:.1} s", started.elapsed().as_secs_f64()));
    }

    fn forged(&self) -> MutexGuard<'_, Vec<EventId>> {
        self.forged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask_once(
        &mut self,
        phase: &str,
        peers: &mut [Asked],
        queries: impl Fn(&Asked) -> Vec<Filter>,
        pace: Pace,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) {
        self.here.forget();
        let mut tasks = JoinSet::new();
        for (position, asked) in peers.iter_mut().enumerate() {
            let queries = queries(asked);
            let Some(mut session) = asked.session.take() else { continue };
            if self.stopped {
                continue;
            }
            let sink = self.entrance.for_peer(Arc::clone(&asked.tally));
            let sink = Watched { sink, difference: asked.difference.clone() };
            tasks.spawn(async move {
                let outcome = session.fetch(queries, pace, &sink).await;
                (position, session, outcome)
            });
        }
        let mut ticks = tokio::time::interval(Duration::from_millis(200));
        loop {
            tokio::select! {
                finished = tasks.join_next() => match finished {
                    Some(Ok((position, session, outcome))) => {
                        if let Some(asked) = peers.get_mut(position) {
                            asked.session = Some(session);
                            asked.outcome.merge(outcome);
                        }
                    }
                    // Stopped, or panicked: its session is gone, which shows below.
                    Some(Err(_)) => {}
                    None => break,
                },
                _ = ticks.tick() => self.progress.update(&state_of(phase, peers, &[])),
                () = &mut stop, if !self.stopped => {
                    self.stopped = true;
                    tasks.abort_all();
                }
            }
        }
        let reason = match self.stopped {
            true => GapReason::Stopped,
            false => GapReason::Cut("the task of this conversation panicked".to_owned()),
        };
        for asked in peers.iter_mut().filter(|asked| asked.session.is_none()) {
            let gaps = queries(asked).into_iter();
            asked.outcome.gaps.extend(gaps.map(|filter| Gap { filter, reason: reason.clone() }));
        }
        self.entrance.wait_until_checked().await;
    }

    /// Those of these pubkeys that have no profile, neither in the database nor on its way there.
    async fn missing_profiles(&self, pubkeys: &[Pubkey]) -> Result<Vec<Pubkey>, BackfillError> {
        let (db, pubkeys) = (Arc::clone(&self.db), pubkeys.to_vec());
        let looked_up = tokio::task::spawn_blocking(move || {
            let has_profile = db.has_kind_each(&pubkeys, kind::PROFILE)?;
            let missing =
                pubkeys.into_iter().zip(has_profile).filter(|&(_, has_profile)| !has_profile);
            Ok(missing.map(|(pubkey, _)| pubkey).collect::<Vec<_>>())
        });
        let missing: Result<_, ReadError> =
            looked_up.await.map_err(|error| BackfillError::Thread(io::Error::other(error)))?;
        let seen = self.seen_profiles.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(missing?.into_iter().filter(|pubkey| !seen.contains(pubkey)).collect())
    }

    fn log_missing(&self, missing: &[Pubkey], is_bounded: bool) {
        let next = if is_bounded { " - scheduling full sync" } else { "" };
        for pubkey in missing {
            self.log.warn(format_args!("  ❌ {}... NO PROFILE FOUND{next}", pubkey.short()));
        }
        let found = self.job.pubkeys.len().saturating_sub(missing.len());
        self.log.info(format_args!("📊 Found {found} HEX pubkeys with profiles"));
        self.log.info(format_args!("📊 Found {} HEX pubkeys WITHOUT profiles", missing.len()));
    }

    fn log_recovery(&self, missing: &[Pubkey], peers: &[Asked]) {
        self.log.info(format_args!(
            "🔄 Triggering FULL SYNC (no time limit) for {} HEX pubkeys without profiles...",
            missing.len()
        ));
        for pubkey in missing {
            self.log.info(format_args!(
                "  🔄 FULL SYNC for {}... (all messages, no time limit)",
                pubkey.short()
            ));
        }
        for asked in peers {
            self.log.info(format_args!(
                "    📡 Syncing from: {}",
                crate::report::clean_for_log(asked.peer.address())
            ));
        }
    }

    fn log_recovered(&self, before: &[Pubkey], missing: &[Pubkey]) {
        let missing: HashSet<&Pubkey> = missing.iter().collect();
        for pubkey in before.iter().filter(|pubkey| !missing.contains(pubkey)) {
            self.log.info(format_args!("    ✅ Full sync successful for {}", pubkey.short()));
        }
    }
}
