//! What is promised and here of one author at one peer, kind by kind. Kinds of which the same is
//! known share one entry.

use super::intervals::Intervals;

/// What is known of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Cell {
    /// The earliest second that was ever promised; it only goes down.
    pub(super) promised_from: Option<u64>,
    /// What is known to be here.
    pub(super) covered: Intervals,
}

impl Cell {
    pub(super) fn promise(&mut self, from: u64) {
        self.promised_from = Some(self.promised_from.map_or(from, |before| before.min(from)));
    }

    /// What is promised up to this second and not covered.
    pub(super) fn owed(&self, until: u64) -> Intervals {
        match self.promised_from {
            Some(from) => self.covered.missing_of(from, until),
            None => Intervals::default(),
        }
    }
}

/// Kinds of which the same is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct KindGroup {
    /// Sorted.
    pub(super) kinds: Vec<u64>,
    pub(super) cell: Cell,
}

/// All kinds of which something is known, by group. The same knowledge has one form only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct ByKind(Vec<KindGroup>);

impl ByKind {
    /// Groups in any order, such as a file holds. Of a kind in two groups the first counts.
    pub(super) fn from_groups(groups: impl IntoIterator<Item = KindGroup>) -> Self {
        let mut form = Self::default();
        for group in groups {
            let mut new = group.kinds;
            new.retain(|&kind| form.cell(kind).is_none());
            form.add(new, group.cell);
        }
        form.tidied()
    }

    pub(super) fn groups(&self) -> &[KindGroup] {
        &self.0
    }

    pub(super) fn cell(&self, kind: u64) -> Option<&Cell> {
        let group = self.0.iter().find(|group| group.kinds.binary_search(&kind).is_ok());
        group.map(|group| &group.cell)
    }

    /// The same after a change of these kinds (sorted); `None` is every kind of which something is
    /// known.
    pub(super) fn changed(&self, kinds: Option<&[u64]>, change: &dyn Fn(&mut Cell)) -> Self {
        let mut changed = Self::default();
        let concerns = |kind: &u64| kinds.is_none_or(|kinds| kinds.binary_search(kind).is_ok());
        for group in &self.0 {
            let (concerned, others): (Vec<u64>, Vec<u64>) =
                group.kinds.iter().partition(|kind| concerns(kind));
            changed.add(others, group.cell.clone());
            let mut cell = group.cell.clone();
            change(&mut cell);
            changed.add(concerned, cell);
        }
        let new = kinds.unwrap_or_default().iter().copied();
        let new = new.filter(|&kind| self.cell(kind).is_none()).collect();
        let mut cell = Cell::default();
        change(&mut cell);
        changed.add(new, cell);
        changed.tidied()
    }

    /// Nothing is covered any more, and every kind is promised as far back as any. Takes the least
    /// room, and promises no less.
    pub(super) fn without_coverage(&self) -> Self {
        let mut cell = Cell::default();
        for from in self.0.iter().filter_map(|group| group.cell.promised_from) {
            cell.promise(from);
        }
        let mut forgotten = Self::default();
        forgotten.add(self.0.iter().flat_map(|group| group.kinds.iter().copied()).collect(), cell);
        forgotten.tidied()
    }

    /// How much room it takes, in ranges and groups.
    pub(super) fn weight(&self) -> usize {
        self.0.iter().map(|group| 1 + group.cell.covered.ranges().len()).sum()
    }

    fn add(&mut self, kinds: Vec<u64>, cell: Cell) {
        if kinds.is_empty() || cell == Cell::default() {
            return;
        }
        match self.0.iter_mut().find(|group| group.cell == cell) {
            Some(group) => {
                group.kinds.extend(kinds);
                group.kinds.sort_unstable();
            }
            None => self.0.push(KindGroup { kinds, cell }),
        }
    }

    fn tidied(mut self) -> Self {
        for group in &mut self.0 {
            group.kinds.sort_unstable();
            group.kinds.dedup();
        }
        self.0.sort_unstable_by(|one, other| one.kinds.cmp(&other.kinds));
        self
    }
}
