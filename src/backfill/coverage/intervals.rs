//! Sets of seconds as a few ranges. Owns no meaning: what is promised or here is said elsewhere.

/// Ranges that are kept of what is covered.
pub(super) const KEPT: usize = 64;

/// Seconds, as ranges with both ends inclusive, in order; none touches the next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Intervals(Vec<(u64, u64)>);

impl Intervals {
    /// Ranges in any order, such as a file holds; a range whose end comes first is left out.
    pub(super) fn from_ranges(ranges: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut intervals = Self::default();
        for (first, last) in ranges {
            intervals.add(first, last);
        }
        intervals
    }

    pub(super) fn ranges(&self) -> &[(u64, u64)] {
        &self.0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn add(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        let touches = |&(start, end): &(u64, u64)| {
            start <= last.saturating_add(1) && end.saturating_add(1) >= first
        };
        let (touched, mut rest): (Vec<_>, Vec<_>) = self.0.drain(..).partition(touches);
        let start = touched.first().map_or(first, |&(start, _)| start.min(first));
        let end = touched.last().map_or(last, |&(_, end)| end.max(last));
        let at = rest.partition_point(|&(other, _)| other < start);
        rest.insert(at, (start, end));
        self.0 = rest;
    }

    pub(super) fn remove(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        let before = |start: u64, end: u64| {
            let end = end.min(first.checked_sub(1)?);
            (start <= end).then_some((start, end))
        };
        let after = |start: u64, end: u64| {
            let start = start.max(last.checked_add(1)?);
            (start <= end).then_some((start, end))
        };
        let left = self.0.iter().flat_map(|&(start, end)| [before(start, end), after(start, end)]);
        self.0 = left.flatten().collect();
        self.0.dedup();
    }

    /// Keeps the ranges that end no later than this second.
    pub(super) fn keep_until(&mut self, latest: u64) {
        self.0.retain(|&(_, end)| end <= latest);
    }

    /// What of these seconds is not in the set.
    pub(super) fn missing_of(&self, first: u64, last: u64) -> Self {
        let mut missing = Self::default();
        missing.add(first, last);
        for &(start, end) in &self.0 {
            missing.remove(start, end);
        }
        missing
    }

    /// Forgets the shortest of too many ranges. For what is covered: then it is asked for again.
    pub(super) fn bound(&mut self, most: usize) {
        while self.0.len() > most {
            let lengths = self.0.iter().map(|&(start, end)| end - start).enumerate();
            let Some((shortest, _)) = lengths.min_by_key(|&(_, length)| length) else { break };
            self.0.remove(shortest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_set_of_ranges_is_the_set_of_its_seconds(
            steps in prop::collection::vec((any::<bool>(), 0u64..40, 0u64..12), 0..30),
            asked in (0u64..40, 0u64..20),
        ) {
            let (mut ranges, mut seconds) = (Intervals::default(), BTreeSet::new());
            for (adds, first, length) in steps {
                let last = first + length;
                match adds {
                    true => {
                        ranges.add(first, last);
                        seconds.extend(first..=last);
                    }
                    false => {
                        ranges.remove(first, last);
                        seconds.retain(|second| !(first..=last).contains(second));
                    }
                }
            }
            let of = |ranges: &Intervals| -> BTreeSet<u64> {
                ranges.ranges().iter().flat_map(|&(first, last)| first..=last).collect()
            };
            prop_assert_eq!(of(&ranges), seconds.clone());
            let touch = |pair: &[(u64, u64)]| pair[0].1 + 1 >= pair[1].0;
            prop_assert!(!ranges.ranges().windows(2).any(touch));
            let (first, last) = (asked.0, asked.0 + asked.1);
            let missing: BTreeSet<u64> =
                (first..=last).filter(|second| !seconds.contains(second)).collect();
            prop_assert_eq!(of(&ranges.missing_of(first, last)), missing);
        }
    }

    #[test]
    fn the_first_and_the_last_second_are_seconds_like_others() {
        let mut ranges = Intervals::default();
        ranges.add(0, u64::MAX);
        ranges.remove(5, 5);
        assert_eq!(ranges.ranges(), [(0, 4), (6, u64::MAX)]);
        ranges.remove(0, 0);
        ranges.remove(u64::MAX, u64::MAX);
        assert_eq!(ranges.ranges(), [(1, 4), (6, u64::MAX - 1)]);
        ranges.add(5, u64::MAX);
        ranges.add(9, 8);
        assert_eq!(ranges.ranges(), [(1, u64::MAX)]);
    }

    #[test]
    fn of_too_many_ranges_the_shortest_are_forgotten() {
        let ranges = |count: u64| (0..count).map(|number| (number * 100, number * 100 + number));
        let mut kept = Intervals::from_ranges(ranges(80));
        kept.bound(64);
        let expected: Vec<_> = ranges(80).skip(16).collect();
        assert_eq!(kept.ranges(), expected);
    }
}
