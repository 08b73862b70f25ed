//! The state file: a [`Coverage`] as JSON, and of which database it speaks. Written whole, then
//! renamed into place. A file that cannot be used is an error, never an empty state.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::by_kind::{ByKind, Cell, KindGroup};
use super::intervals::{Intervals, KEPT};
use super::{Areas, Coverage, PeerCoverage, Subject};
use crate::files::{self, ReplaceError};
use crate::nostr::{Pubkey, kind};
use crate::strfry_db::{LevId, ReadError, Snapshot, StrfryDb};

/// Version of the form of the file that is written.
const VERSION: u32 = 2;

/// No more is read or written: some hundred bytes for each author and peer.
const MAX_BYTES: u64 = 64 << 20;

/// The file is this user's to read and write.
const MODE: u32 = 0o600;

/// Events of the database that are kept as a sample.
const SAMPLES: u32 = 8;

/// Each sample is so many times as far from the newest event as the one before.
const SAMPLE_STEP: u64 = 8;

/// Events that are looked at for one that strfry does not delete by itself.
const LOOKS: u64 = 1_000;

/// A state as it is on the disk.
#[derive(Debug, Clone, Default)]
pub(in crate::backfill) struct StateFile {
    pub(in crate::backfill) coverage: Coverage,
    /// What a file of version 1 says and no run has taken over yet.
    pub(in crate::backfill) legacy: Option<Legacy>,
}

/// What version 1 of the file knew: for each peer, up to when nothing of one question was missing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::backfill) struct Legacy {
    #[serde(default)]
    question: Option<LegacyQuestion>,
    peers: BTreeMap<String, LegacyRecord>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct LegacyQuestion {
    kinds: BTreeSet<u64>,
    /// The first digits of each pubkey; `None`: the node's own lists, whatever they held.
    pubkeys: Option<BTreeSet<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct LegacyRecord {
    complete_until: u64,
}

/// Why a state file cannot be used, or not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The system says no, or it is not a file.
    #[error("cannot read the state of earlier runs {path:?}: {source}; {}", ADVICE)]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is from a later version of this program.
    #[error(
        "the state of earlier runs {path:?} has version {version}, and this program reads \
         versions 1 and {VERSION}; use the newer program, or {}",
        ADVICE
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u64,
    },
    /// It is not a state, or parts of it are missing.
    #[error("the state of earlier runs {path:?} is damaged ({detail}); {}", ADVICE)]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// It speaks of events that this database does not hold.
    #[error(
        "the state of earlier runs {path:?} is of another database, or of this one before a backup \
         was restored ({detail}): what it says is here may be missing; {}",
        ADVICE
    )]
    AnotherDatabase {
        /// The file.
        path: PathBuf,
        /// What tells that.
        detail: String,
    },
    /// It cannot be written.
    #[error(
        "cannot note in {path:?} what peers are still to be asked for: {source}; nothing was \
         imported, because a run that is cut off could not be carried on"
    )]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ReplaceError,
    },
    /// The database cannot be compared with it.
    #[error("cannot read the database: {0}")]
    Database(#[from] ReadError),
}

const ADVICE: &str = "delete it to begin anew: peers are then asked again for events of the last \
                      --days only, and older ones that a peer still owed are not asked for unless \
                      --days reaches them; or pass it over this once with --ignore-state; a database of its own \
                      needs a directory of its own (--state-dir)";

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    database: Mark,
    authors: Vec<String>,
    peers: BTreeMap<String, PeerRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version_1: Option<Legacy>,
}

/// What tells a database from another one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    /// The greatest levId; of events that strfry deletes by itself none counts.
    highest: LevId,
    /// Some events and their levIds.
    samples: Vec<(LevId, String)>,
    /// Where it is, if no event tells it from another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    directory: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct PeerRecord {
    asked_at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked_as: Option<String>,
    known: Vec<Group>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    withheld: Vec<Group>,
}

/// Authors of whom the same is known.
#[derive(Serialize, Deserialize)]
struct Group {
    /// Ranges of places in the list of authors.
    authors: Vec<(usize, usize)>,
    /// Also what is asked of everybody.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    everybody: bool,
    kinds: Vec<KindsRecord>,
}

#[derive(Serialize, Deserialize)]
struct KindsRecord {
    /// Ranges.
    kinds: Vec<(u64, u64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    promised_from: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    covered: Vec<(u64, u64)>,
}

/// The version alone, whatever the rest looks like.
#[derive(Deserialize)]
struct Version {
    version: u64,
}

/// Looks whether a run can rely on what earlier runs noted in this file about this database. A missing
/// file is no fault.
///
/// # Errors
/// [`StateError`]: it cannot.
pub fn check_state(path: &Path, db: &StrfryDb) -> Result<(), StateError> {
    StateFile::read(path, db).map(drop)
}

impl StateFile {
    /// Reads the file; a missing one says nothing.
    ///
    /// # Errors
    /// [`StateError`]: what it says cannot be relied on.
    pub(in crate::backfill) fn read(path: &Path, db: &StrfryDb) -> Result<Self, StateError> {
        let damaged = |detail: String| StateError::Damaged { path: path.to_owned(), detail };
        let text = match read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(StateError::Unreadable { path: path.to_owned(), source }),
        };
        let Version { version } =
            serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        match version {
            1 => {
                let legacy =
                    serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
                Ok(Self { coverage: Coverage::default(), legacy: Some(legacy) })
            }
            2 => {
                let document: Document =
                    serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
                if let Some(detail) = document.database.difference(db)? {
                    return Err(StateError::AnotherDatabase { path: path.to_owned(), detail });
                }
                let legacy = document.version_1.clone();
                Ok(Self { coverage: document.coverage().map_err(damaged)?, legacy })
            }
            3.. => Err(StateError::Newer { path: path.to_owned(), version }),
            0 => Err(damaged("version 0".to_owned())),
        }
    }

    /// Writes the file, whole and to the disk, or not at all.
    ///
    /// # Errors
    /// [`StateError`]
    pub(in crate::backfill) fn write(
        &mut self,
        path: &Path,
        db: &StrfryDb,
    ) -> Result<(), StateError> {
        self.coverage.bound();
        let mark = Mark::of(db)?;
        let mut text = Document::of(self, mark.clone()).text();
        while text.len() as u64 > MAX_BYTES && self.coverage.shrink() {
            text = Document::of(self, mark.clone()).text();
        }
        let written = files::replace(path, MODE, |out| out.write_all(&text));
        written.map_err(|source| StateError::Unwritable { path: path.to_owned(), source })
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = files::open_to_read(path)?;
    if file.metadata()?.len() > MAX_BYTES {
        return Err(io::Error::other(format!("larger than {MAX_BYTES} bytes")));
    }
    let mut text = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut text)?;
    Ok(text)
}

impl Legacy {
    /// Up to when nothing of this peer was missing.
    pub(in crate::backfill) fn complete_until(&self, peer: &str) -> Option<u64> {
        self.peers.get(peer).map(|record| record.complete_until)
    }

    /// Takes out the peers of which a run has taken over everything; whether any is left. `named`:
    /// the pubkeys, if the operator has named them in place of the node's own.
    pub(in crate::backfill) fn take_over<'a>(
        &mut self,
        peers: impl Iterator<Item = &'a str>,
        kinds: &[u64],
        named: Option<&[Pubkey]>,
    ) -> bool {
        let is_all = self.question.as_ref().is_none_or(|question| {
            let has_pubkeys = match (named, &question.pubkeys) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(named), Some(before)) => {
                    let named: BTreeSet<String> = named.iter().map(Pubkey::short).collect();
                    named.is_superset(before)
                }
            };
            has_pubkeys && question.kinds.iter().all(|kind| kinds.contains(kind))
        });
        if is_all {
            for peer in peers {
                self.peers.remove(peer);
            }
        }
        !self.peers.is_empty()
    }
}

impl Mark {
    /// Of a database without an event that lasts.
    fn of_nothing(db: &StrfryDb) -> Self {
        let directory = std::fs::canonicalize(db.directory()).ok();
        let directory = directory.map(|directory| directory.display().to_string());
        Self { directory, ..Self::default() }
    }

    fn of(db: &StrfryDb) -> Result<Self, ReadError> {
        let lasting = |from: LevId| {
            db.read(|snapshot| {
                for lev_id in (from.saturating_sub(LOOKS)..=from).rev() {
                    let Some(event) = snapshot.packed(lev_id)? else { continue };
                    // strfry deletes these when their time is over, and gives their levIds to others.
                    if !kind::is_ephemeral(event.kind()) && event.expiration() == 0 {
                        return Ok(Some((lev_id, event.id())));
                    }
                }
                Ok(None)
            })
        };
        let last = db.read(Snapshot::last_lev_id)?;
        let Some((highest, id)) = last.map_or(Ok(None), lasting)? else {
            return Ok(Self::of_nothing(db));
        };
        let mut samples = vec![(highest, id.to_string())];
        for step in 0..SAMPLES - 1 {
            let Some(from) = highest.checked_sub(SAMPLE_STEP.pow(step)) else { break };
            let Some((lev_id, id)) = lasting(from)? else { break };
            if samples.last().is_some_and(|&(before, _)| before > lev_id) {
                samples.push((lev_id, id.to_string()));
            }
        }
        Ok(Self { highest, samples, directory: None })
    }

    /// What tells that the database is another one.
    fn difference(&self, db: &StrfryDb) -> Result<Option<String>, ReadError> {
        let now = Self::of_nothing(db).directory;
        if let (Some(then), Some(now)) = (&self.directory, now)
            && *then != now
        {
            return Ok(Some(format!("that one, at {then}, was empty, and this one is at {now}")));
        }
        let last = db.read(Snapshot::last_lev_id)?.unwrap_or(0);
        if last < self.highest {
            return Ok(Some(format!(
                "it has been there when the database held event number {}, and the last one is \
                 number {last} now",
                self.highest
            )));
        }
        for (lev_id, id) in self.samples.iter().take(SAMPLES as usize) {
            let now = db.read(|snapshot| Ok(snapshot.packed(*lev_id)?.map(|event| event.id())))?;
            if let Some(now) = now.filter(|now| now.to_string() != *id) {
                return Ok(Some(format!(
                    "event number {lev_id} is {now} now, and was another one"
                )));
            }
        }
        Ok(None)
    }
}

impl Document {
    fn text(&self) -> Vec<u8> {
        // Nothing in it can fail to be written.
        let mut text = serde_json::to_vec(self).unwrap_or_default();
        text.push(b'\n');
        text
    }

    fn of(state: &StateFile, database: Mark) -> Self {
        let coverage = &state.coverage;
        let is_known = |number: usize| {
            let knows = |peer: &PeerCoverage| {
                peer.known.number_of(number) > 0 || peer.withheld.number_of(number) > 0
            };
            coverage.peers.values().any(knows)
        };
        let names = coverage.subjects.names.iter().enumerate();
        let known = names.filter_map(|(number, name)| name.filter(|_| is_known(number)));
        let mut authors: Vec<Pubkey> = known.collect();
        authors.sort_unstable();
        let places: BTreeMap<Subject, usize> = authors.iter().copied().map(Some).zip(0..).collect();
        let groups = |areas: &Areas| {
            let mut members: BTreeMap<usize, (Vec<usize>, bool)> = BTreeMap::new();
            for (subject, &number) in coverage.subjects.names.iter().zip(&areas.form_of) {
                let group = members.entry(number).or_default();
                match places.get(subject) {
                    Some(&place) => group.0.push(place),
                    None => group.1 |= subject.is_none(),
                }
            }
            let group = |(number, (mut places, everybody)): (usize, (Vec<usize>, bool))| {
                let form = areas.form(number)?;
                places.sort_unstable();
                let kinds: Vec<_> = form.groups().iter().map(KindsRecord::of).collect();
                let authors = places.into_iter().map(|place| place as u64);
                let authors = ranges(authors).into_iter().map(|(first, last)| {
                    (usize::try_from(first).unwrap_or(0), usize::try_from(last).unwrap_or(0))
                });
                (!kinds.is_empty()).then(|| Group { authors: authors.collect(), everybody, kinds })
            };
            members.into_iter().filter_map(group).collect::<Vec<_>>()
        };
        let peers = coverage.peers.iter().map(|(name, peer)| {
            let record = PeerRecord {
                asked_at: peer.asked_at,
                asked_as: peer.asked_as.map(|key| key.to_string()),
                known: groups(&peer.known),
                withheld: groups(&peer.withheld),
            };
            (name.clone(), record)
        });
        Self {
            version: VERSION,
            database,
            peers: peers.collect(),
            authors: authors.iter().map(Pubkey::to_string).collect(),
            version_1: state.legacy.clone(),
        }
    }

    fn coverage(self) -> Result<Coverage, String> {
        let not_a_pubkey = |text: &str| format!("{text:?} is not a pubkey");
        let mut coverage = Coverage::default();
        let mut numbers = Vec::with_capacity(self.authors.len());
        for author in &self.authors {
            let pubkey = Pubkey::from_hex(author).ok_or_else(|| not_a_pubkey(author))?;
            numbers.push(coverage.subjects.number(Some(pubkey)));
        }
        let everybody = coverage.subjects.number(None);
        let areas = |groups: Vec<Group>| {
            let mut areas = Areas::default();
            for group in groups {
                let groups = group.kinds.into_iter().map(KindsRecord::group);
                let form = ByKind::from_groups(groups.collect::<Result<Vec<_>, _>>()?);
                let number = areas.number(form);
                for (first, last) in group.authors {
                    let members = numbers.get(first..=last).filter(|_| last < numbers.len());
                    let members = members.ok_or("a group names an author that is not listed")?;
                    members.iter().for_each(|&subject| areas.set(subject, number));
                }
                if group.everybody {
                    areas.set(everybody, number);
                }
            }
            Ok::<_, String>(areas)
        };
        for (name, peer) in self.peers {
            let asked_as =
                peer.asked_as.map(|key| Pubkey::from_hex(&key).ok_or_else(|| not_a_pubkey(&key)));
            let peer = PeerCoverage {
                known: areas(peer.known)?,
                withheld: areas(peer.withheld)?,
                asked_as: asked_as.transpose()?,
                asked_at: peer.asked_at,
            };
            coverage.peers.insert(name, peer);
        }
        Ok(coverage)
    }
}

impl KindsRecord {
    fn of(group: &KindGroup) -> Self {
        Self {
            kinds: ranges(group.kinds.iter().copied()),
            promised_from: group.cell.promised_from,
            covered: group.cell.covered.ranges().to_vec(),
        }
    }

    fn group(self) -> Result<KindGroup, String> {
        let mut kinds = Vec::new();
        for (first, last) in self.kinds {
            if last > u64::from(u16::MAX) {
                return Err(format!("{last} is not a kind"));
            }
            kinds.extend(first..=last);
        }
        let mut covered = Intervals::from_ranges(self.covered);
        covered.bound(KEPT);
        Ok(KindGroup { kinds, cell: Cell { promised_from: self.promised_from, covered } })
    }
}

/// Sorted numbers as ranges, both ends inclusive.
fn ranges(numbers: impl Iterator<Item = u64>) -> Vec<(u64, u64)> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    ranges
}
