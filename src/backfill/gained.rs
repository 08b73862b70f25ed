//! What a run brought into the database: how many events of each kind and of each day, and how many
//! bytes. Its memory has a bound.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

/// Days that are counted one by one: the latest ones of those on which events are dated.
const DAYS: usize = 400;
const SECONDS_OF_A_DAY: u64 = 24 * 60 * 60;

/// Counts of the imported events.
#[derive(Debug, Default)]
pub(super) struct Gains {
    bytes: u64,
    kinds: BTreeMap<u64, u64>,
    /// By the number of the day since 1970.
    days: BTreeMap<u64, u64>,
    earlier: u64,
}

impl Gains {
    /// An event came into the database. Kinds are those that a run asks for, so there are not many.
    pub(super) fn add(&mut self, kind: u64, created_at: u64, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        add(self.kinds.entry(kind).or_default(), 1);
        let day = created_at / SECONDS_OF_A_DAY;
        add(self.days.entry(day).or_default(), 1);
        if self.days.len() > DAYS
            && let Some((_, count)) = self.days.pop_first()
        {
            add(&mut self.earlier, count);
        }
    }

    /// As the summary tells it.
    pub(super) fn summary(self) -> Gained {
        let date = |day: u64| {
            let second = day.checked_mul(SECONDS_OF_A_DAY).and_then(|it| i64::try_from(it).ok())?;
            let day = Timestamp::from_second(second).ok()?.to_zoned(TimeZone::UTC).date();
            Some(day.to_string())
        };
        let mut gained = Gained {
            bytes: self.bytes,
            kinds: self.kinds,
            days: BTreeMap::new(),
            earlier: self.earlier,
        };
        for (day, count) in self.days {
            // A day that no calendar knows cannot be queried in strfry either.
            if let Some(date) = date(day) {
                gained.days.insert(date, count);
            }
        }
        gained
    }
}

fn add(count: &mut u64, more: u64) {
    *count = count.saturating_add(more);
}

/// What a run brought into the database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Gained {
    /// Bytes of the events' JSON.
    pub bytes: u64,
    /// Events by kind.
    pub kinds: BTreeMap<u64, u64>,
    /// Events by the day on which they are dated (UTC, `2026-11-26`): the latest 400 such days.
    pub days: BTreeMap<String, u64>,
    /// Events that are dated on earlier days.
    pub earlier: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_by_kind_and_by_day() {
        let mut gains = Gains::default();
        gains.add(1, 1_700_000_000, 300);
        gains.add(1, 1_700_000_001, 200);
        gains.add(0, 1_700_100_000, 100);
        let gained = Gained {
            bytes: 600,
            kinds: BTreeMap::from([(0, 1), (1, 2)]),
            days: BTreeMap::from([("2023-11-14".to_owned(), 2), ("2023-11-16".to_owned(), 1)]),
            earlier: 0,
        };
        assert_eq!(gains.summary(), gained);
    }

    #[test]
    fn the_days_of_a_long_history_are_bounded_and_no_event_is_lost() {
        let mut gains = Gains::default();
        for day in 0..1_000 {
            gains.add(1, day * SECONDS_OF_A_DAY, 1);
        }
        gains.add(1, 0, 1);
        let gained = gains.summary();
        assert_eq!((gained.days.len(), gained.earlier), (DAYS, 601));
        assert_eq!(gained.days.first_key_value(), Some((&"1971-08-24".to_owned(), &1)));
    }
}
