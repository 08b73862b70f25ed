//! Coverage: for each peer, which authors, kinds and seconds a run has promised to fetch from it,
//! and which of these are known to be here. A run asks each peer for what is promised and not
//! covered, and says "complete" when nothing of that is left.
//!
//! Pure: it reads no clock, no file and no database. What does not fit is forgotten as covered,
//! never as promised: then a run asks for more than it needs.

mod by_kind;
mod file;
mod intervals;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use by_kind::{ByKind, Cell};
use intervals::{Intervals, KEPT};

pub(super) use file::StateFile;
pub use file::{StateError, check_state};

use super::limits::OWED_PARTS;
use crate::nostr::{Filter, Pubkey};

/// Room that one peer takes, in ranges and groups of kinds: 1 MB or so. A peer that needs more is
/// forgotten as covered.
const PEER_WEIGHT: usize = 10_000;

/// Gaps of one answer that are noted one by one. With more, nothing of the answer counts as here.
const GAPS_TOLD_APART: usize = 5_000;

/// Ranges of one kind while an answer is taken in: those that are kept, and one for each part that
/// was asked for. What does not fit afterwards is asked for again, and is here all the same.
const COVERED_AT_ONCE: usize = KEPT + OWED_PARTS;

/// Peers that are kept. Those that were asked longest ago go first.
const MOST_PEERS: usize = 1_000;

/// What is known of all peers.
#[derive(Debug, Clone, Default)]
pub(super) struct Coverage {
    subjects: Subjects,
    peers: BTreeMap<String, PeerCoverage>,
}

/// Whose events: of an author, or (`None`) of everybody, as stations' kinds are asked for.
type Subject = Option<Pubkey>;

/// A small number for each subject.
#[derive(Debug, Clone, Default)]
struct Subjects {
    names: Vec<Subject>,
    numbers: HashMap<Subject, usize>,
}

impl Subjects {
    fn number(&mut self, subject: Subject) -> usize {
        let names = &mut self.names;
        *self.numbers.entry(subject).or_insert_with(|| {
            names.push(subject);
            names.len() - 1
        })
    }

    fn of_filter(&mut self, authors: Option<&[Pubkey]>) -> Vec<usize> {
        match authors {
            None => vec![self.number(None)],
            Some(authors) => authors.iter().map(|author| self.number(Some(*author))).collect(),
        }
    }
}

#[derive(Debug, Clone, Default)]
struct PeerCoverage {
    known: Areas,
    /// What the peer keeps for the parties to it: not here, and not asked for again.
    withheld: Areas,
    /// As whom the peer was asked when it withheld that.
    asked_as: Option<Pubkey>,
    /// When a run last asked it, seconds since 1970.
    asked_at: u64,
}

/// What is known of each subject, as a number of a form that many share.
#[derive(Debug, Clone)]
struct Areas {
    /// By the number of the subject; those beyond the end know nothing.
    form_of: Vec<usize>,
    /// The first one knows nothing.
    forms: Vec<ByKind>,
    numbers: HashMap<ByKind, usize>,
}

impl Default for Areas {
    fn default() -> Self {
        let nothing = ByKind::default();
        let numbers = HashMap::from([(nothing.clone(), 0)]);
        Self { form_of: Vec::new(), forms: vec![nothing], numbers }
    }
}

impl Areas {
    fn number_of(&self, subject: usize) -> usize {
        self.form_of.get(subject).copied().unwrap_or(0)
    }

    fn form(&self, number: usize) -> Option<&ByKind> {
        self.forms.get(number)
    }

    fn number(&mut self, form: ByKind) -> usize {
        let forms = &mut self.forms;
        *self.numbers.entry(form).or_insert_with_key(|form| {
            forms.push(form.clone());
            forms.len() - 1
        })
    }

    fn set(&mut self, subject: usize, number: usize) {
        if subject >= self.form_of.len() {
            self.form_of.resize(subject + 1, 0);
        }
        if let Some(place) = self.form_of.get_mut(subject) {
            *place = number;
        }
    }

    /// Changes these kinds (sorted; `None` is all) of these subjects (`None` is all). Whether
    /// anything is another now.
    fn change(
        &mut self,
        subjects: Option<&[usize]>,
        kinds: Option<&[u64]>,
        change: &dyn Fn(&mut Cell),
    ) -> bool {
        let all: Vec<usize>;
        let subjects = match subjects {
            Some(subjects) => subjects,
            None => {
                all = (0..self.form_of.len()).collect();
                &all
            }
        };
        let mut done = HashMap::new();
        let mut is_other = false;
        for &subject in subjects {
            let before = self.number_of(subject);
            let after = match done.get(&before) {
                Some(&after) => after,
                None => {
                    let changed = self.form(before).map(|it| it.changed(kinds, change));
                    let after = self.number(changed.unwrap_or_default());
                    done.insert(before, after);
                    after
                }
            };
            is_other |= before != after;
            self.set(subject, after);
        }
        self.tidy();
        is_other
    }

    /// Drops forms that nobody has any more, once they are most of all.
    fn tidy(&mut self) {
        if self.forms.len() < 64 {
            return;
        }
        let mut used = vec![false; self.forms.len()];
        for &number in self.form_of.iter().chain(&[0]) {
            used.get_mut(number).into_iter().for_each(|it| *it = true);
        }
        let count = used.iter().filter(|&&it| it).count();
        if count * 2 > self.forms.len() {
            return;
        }
        let old = std::mem::take(self);
        for (subject, number) in old.form_of.into_iter().enumerate() {
            let number = self.number(old.forms.get(number).cloned().unwrap_or_default());
            self.set(subject, number);
        }
    }

    fn weight(&self) -> usize {
        self.forms.iter().map(ByKind::weight).sum()
    }

    fn forget_covered(&mut self) {
        let old = std::mem::take(self);
        for (subject, number) in old.form_of.into_iter().enumerate() {
            let promised = old.forms.get(number).map(ByKind::without_coverage);
            let number = self.number(promised.unwrap_or_default());
            self.set(subject, number);
        }
    }
}

/// An event that came and is not in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Hole {
    pub(super) author: Pubkey,
    pub(super) kind: u64,
    pub(super) second: u64,
}

/// What came of asking one peer.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    /// What was asked of it.
    pub(super) asked: Vec<&'a Filter>,
    /// What of that did not come. A filter with ids stands for all that was asked.
    pub(super) gaps: Vec<&'a Filter>,
    /// What of that the peer keeps for the parties to it.
    pub(super) withheld: Vec<&'a Filter>,
    /// Events, from any peer, that are not in the database: asked for again of every peer, though
    /// only those who gave them are incomplete. `None`: it is not known which.
    pub(super) holes: Option<&'a [Hole]>,
    /// Up to this second, what has come is known to be here; when the run began.
    pub(super) until: u64,
    /// Up to this second that also holds for later: what is dated so comes late no more.
    pub(super) lasting: u64,
}

/// Authors, kinds and stations' kinds of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) authors: &'a [Pubkey],
    pub(super) kinds: &'a [u64],
    pub(super) station_kinds: &'a [u64],
}

impl Question<'_> {
    fn parts(&self) -> [(Option<&[Pubkey]>, &[u64]); 2] {
        [(Some(self.authors), self.kinds), (None, self.station_kinds)]
    }
}

impl Coverage {
    /// From now on these kinds of these authors (`None`: of everybody) are owed by the peer from
    /// this second on, until they are covered. Whether that is new.
    pub(super) fn promise(
        &mut self,
        peer: &str,
        authors: Option<&[Pubkey]>,
        kinds: &[u64],
        from: u64,
    ) -> bool {
        let subjects = self.subjects.of_filter(authors);
        let known = &mut self.peer(peer).known;
        known.change(Some(&subjects), Some(&sorted(kinds)), &|cell| cell.promise(from))
    }

    /// Promises the full history of these authors. What has been given completely is owed anew:
    /// a peer may have more of it by now. Whether that changes anything.
    pub(super) fn promise_anew(&mut self, peer: &str, authors: &[Pubkey], kinds: &[u64]) -> bool {
        let subjects = self.subjects.of_filter(Some(authors));
        self.peer(peer).known.change(Some(&subjects), Some(&sorted(kinds)), &|cell| {
            cell.promise(0);
            if matches!(cell.covered.ranges(), [(0, _)]) {
                cell.covered.clear();
            }
        })
    }

    /// What of a question the peer owes up to a second, as filters of as many authors as have the
    /// same need.
    pub(super) fn owed(&self, peer: &str, question: Question<'_>, until: u64) -> Vec<Filter> {
        let Some(peer) = self.peers.get(peer) else { return Vec::new() };
        owed_by(&self.subjects, peer, question, until)
    }

    /// Notes what came of asking a peer. Whether all of the question that it has promised is here
    /// now, or withheld.
    pub(super) fn settle(
        &mut self,
        peer: &str,
        answer: &Answer<'_>,
        question: Question<'_>,
    ) -> bool {
        let subjects = &mut self.subjects;
        let Some(peer) = self.peers.get_mut(peer) else { return false };
        let is_known = answer.gaps.len() <= GAPS_TOLD_APART
            && !answer.gaps.iter().any(|gap| gap.ids.is_some());
        let Some(holes) = answer.holes.filter(|_| is_known) else { return false };
        for asked in &answer.asked {
            peer.known.cover(subjects, asked, answer.until);
        }
        let holes: Vec<Filter> = holes.iter().map(Hole::filter).collect();
        let mut told = peer.clone();
        for withheld in &answer.withheld {
            peer.known.uncover(subjects, withheld);
            peer.withheld.cover(subjects, withheld, answer.lasting);
            told.known.cover(subjects, withheld, answer.until);
        }
        let gaps: Vec<Filter> = answer.gaps.iter().copied().map(widened).collect();
        for lost in gaps.iter().chain(&holes) {
            peer.known.uncover(subjects, lost);
            peer.withheld.uncover(subjects, lost);
        }
        for gap in &answer.gaps {
            told.known.uncover(subjects, gap);
            told.withheld.uncover(subjects, gap);
        }
        if let Some(late) = answer.lasting.checked_add(1) {
            peer.known.uncover(subjects, &Filter { since: Some(late), ..Filter::default() });
        }
        owed_by(subjects, &told, question, answer.until).is_empty()
    }

    /// The peer is asked by a run that began then, with this key. What it withheld from another is
    /// asked for again.
    pub(super) fn ask_as(&mut self, peer: &str, key: Option<Pubkey>, began: u64) {
        let peer = self.peer(peer);
        peer.asked_at = began;
        if peer.asked_as != key {
            peer.asked_as = key;
            peer.withheld = Areas::default();
        }
    }

    /// Forgets what is covered of a question from this second on.
    pub(super) fn uncover_from(&mut self, peer: &str, question: Question<'_>, second: u64) {
        let Some(peer) = self.peers.get_mut(peer) else { return };
        for (authors, kinds) in question.parts() {
            let subjects = self.subjects.of_filter(authors);
            peer.known.change(Some(&subjects), Some(&sorted(kinds)), &|cell| {
                cell.covered.remove(second, u64::MAX);
            });
        }
    }

    /// Forgets coverage that ends later than this second: the clock of an earlier run was wrong, and
    /// when it asked is not known.
    pub(super) fn distrust_after(&mut self, latest: u64) {
        for peer in self.peers.values_mut() {
            for areas in [&mut peer.known, &mut peer.withheld] {
                areas.change(None, None, &|cell| cell.covered.keep_until(latest));
            }
        }
    }

    /// Forgets what takes more room than there is.
    pub(super) fn bound(&mut self) {
        for peer in self.peers.values_mut() {
            if peer.known.weight() > PEER_WEIGHT {
                peer.known.forget_covered();
            }
            if peer.withheld.weight() > PEER_WEIGHT {
                peer.withheld = Areas::default();
            }
        }
        while self.peers.len() > MOST_PEERS && self.forget_oldest_peer() {}
    }

    /// Forgets more, for a file that is too large: what is covered at all peers, then the peer that
    /// was asked longest ago. Whether there was anything left to forget.
    fn shrink(&mut self) -> bool {
        let weight = |peer: &PeerCoverage| peer.known.forms.len() + peer.withheld.forms.len();
        let before: usize = self.peers.values().map(weight).sum();
        for peer in self.peers.values_mut() {
            peer.known.forget_covered();
            peer.withheld = Areas::default();
        }
        self.peers.values().map(weight).sum::<usize>() < before || self.forget_oldest_peer()
    }

    fn forget_oldest_peer(&mut self) -> bool {
        let oldest = self.peers.iter().min_by_key(|(_, peer)| peer.asked_at);
        let Some(oldest) = oldest.map(|(name, _)| name.clone()) else { return false };
        self.peers.remove(&oldest).is_some()
    }

    fn peer(&mut self, peer: &str) -> &mut PeerCoverage {
        self.peers.entry(peer.to_owned()).or_default()
    }
}

impl Subjects {
    /// Whom a gap concerns; `None` is all. A gap that names authors concerns what was asked of
    /// everybody too.
    fn touched_by(&mut self, filter: &Filter) -> Option<Vec<usize>> {
        let authors = filter.authors.as_deref()?;
        let mut subjects = self.of_filter(Some(authors));
        subjects.push(self.number(None));
        Some(subjects)
    }
}

impl Hole {
    fn filter(&self) -> Filter {
        widened(&Filter {
            authors: Some(vec![self.author]),
            kinds: Some(vec![self.kind]),
            since: Some(self.second),
            until: Some(self.second),
            ..Filter::default()
        })
    }
}

/// A second more on either side: some relays leave out the bounds of what is asked.
fn widened(filter: &Filter) -> Filter {
    Filter {
        since: filter.since.map(|since| since.saturating_sub(1)),
        until: filter.until.map(|until| until.saturating_add(1)),
        ..filter.clone()
    }
}

impl Areas {
    /// What the filter asks for is here, but for what is dated after `until`.
    fn cover(&mut self, subjects: &mut Subjects, filter: &Filter, until: u64) {
        let subjects = subjects.of_filter(filter.authors.as_deref());
        let kinds = filter.kinds.as_deref().map(sorted);
        let (first, last) = seconds(filter);
        self.change(Some(&subjects), kinds.as_deref(), &|cell| {
            cell.covered.add(first, last.min(until));
            cell.covered.bound(COVERED_AT_ONCE);
        });
    }

    /// What the filter asks for is not known to be here.
    fn uncover(&mut self, subjects: &mut Subjects, filter: &Filter) {
        let subjects = subjects.touched_by(filter);
        let kinds = filter.kinds.as_deref().map(sorted);
        let (first, last) = seconds(filter);
        self.change(subjects.as_deref(), kinds.as_deref(), &|cell| {
            cell.covered.remove(first, last);
            cell.covered.bound(KEPT);
        });
    }
}

fn owed_by(
    subjects: &Subjects,
    peer: &PeerCoverage,
    question: Question<'_>,
    until: u64,
) -> Vec<Filter> {
    let parts = question.parts().into_iter();
    parts.flat_map(|(authors, kinds)| owed_of(subjects, peer, authors, kinds, until)).collect()
}

fn owed_of(
    subjects: &Subjects,
    peer: &PeerCoverage,
    authors: Option<&[Pubkey]>,
    kinds: &[u64],
    until: u64,
) -> Vec<Filter> {
    let (mut needs, mut need_of) = (Grouped::default(), HashMap::new());
    let all: Vec<Subject> = match authors {
        None => vec![None],
        Some(authors) => authors.iter().copied().map(Some).collect(),
    };
    for subject in all {
        let Some(&number) = subjects.numbers.get(&subject) else { continue };
        let forms = (peer.known.number_of(number), peer.withheld.number_of(number));
        let need = need_of.entry(forms).or_insert_with(|| {
            need(peer.known.form(forms.0), peer.withheld.form(forms.1), kinds, until)
        });
        if !need.is_empty() {
            needs.add(need, subject);
        }
    }
    let mut filters = Vec::new();
    for (need, subjects) in needs.0 {
        let authors: Option<Vec<Pubkey>> = subjects.into_iter().collect();
        for (seconds, kinds) in need {
            filters.extend(seconds.ranges().iter().map(|&(first, last)| Filter {
                authors: authors.clone(),
                kinds: Some(kinds.clone()),
                since: (first > 0).then_some(first),
                until: Some(last),
                ..Filter::default()
            }));
        }
    }
    filters
}

/// Seconds, and the kinds of which they are needed.
type Need = Vec<(Intervals, Vec<u64>)>;

/// What of these kinds is promised up to a second, not covered and not withheld.
fn need(known: Option<&ByKind>, withheld: Option<&ByKind>, kinds: &[u64], until: u64) -> Need {
    let mut needs = Grouped::default();
    for &kind in kinds {
        let Some(cell) = known.and_then(|known| known.cell(kind)) else { continue };
        let mut owed = cell.owed(until);
        let withheld = withheld.and_then(|withheld| withheld.cell(kind));
        for &(first, last) in withheld.map_or(&[][..], |cell| cell.covered.ranges()) {
            owed.remove(first, last);
        }
        if !owed.is_empty() {
            needs.add(&owed, kind);
        }
    }
    needs.0
}

/// Things by what they have in common, in the order in which they came.
struct Grouped<K, T>(Vec<(K, Vec<T>)>);

impl<K, T> Default for Grouped<K, T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Eq + Hash + Clone, T> Grouped<K, T> {
    fn add(&mut self, key: &K, thing: T) {
        match self.0.iter_mut().find(|(other, _)| other == key) {
            Some((_, things)) => things.push(thing),
            None => self.0.push((key.clone(), vec![thing])),
        }
    }
}

fn seconds(filter: &Filter) -> (u64, u64) {
    (filter.since.unwrap_or(0), filter.until.unwrap_or(u64::MAX))
}

fn sorted(kinds: &[u64]) -> Vec<u64> {
    let mut kinds = kinds.to_vec();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}
