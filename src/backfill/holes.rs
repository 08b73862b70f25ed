//! Events that came and are not in the database: rejected, not confirmed, or dropped because the
//! run ended. Each leaves a hole in the coverage, so that the next run asks for it again.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use super::accounts::Class;
use super::coverage::Hole;
use super::limits::HOLES;

/// Classes of events that are to be asked for again.
pub(super) const UNSETTLED: [Class; 3] = [Class::NotConfirmed, Class::Rejected, Class::Dropped];

/// The holes of a run, whichever peer gave the event: another one may have it too.
#[derive(Debug, Default)]
pub(super) struct Holes(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    holes: HashSet<Hole>,
    are_too_many: bool,
}

impl Holes {
    /// An event ended in this class.
    pub(super) fn note(&self, class: Class, hole: Hole) {
        if !UNSETTLED.contains(&class) {
            return;
        }
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.holes.len() < HOLES {
            noted.holes.insert(hole);
        } else if !noted.holes.contains(&hole) {
            noted.are_too_many = true;
        }
    }

    /// All of them; `None` if there are too many to tell.
    pub(super) fn all(&self) -> Option<Vec<Hole>> {
        let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (!noted.are_too_many).then(|| noted.holes.iter().copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::Pubkey;

    #[test]
    fn events_that_are_to_come_again_are_noted_until_there_are_too_many() {
        let hole = |second| Hole { author: Pubkey::from_bytes([1; 32]), kind: 1, second };
        let holes = Holes::default();
        for class in Class::ALL {
            holes.note(*class, hole(*class as u64));
        }
        let mut seconds: Vec<u64> = holes.all().unwrap().iter().map(|it| it.second).collect();
        seconds.sort_unstable();
        let mut expected = UNSETTLED.map(|class| class as u64);
        expected.sort_unstable();
        assert_eq!(seconds, expected);
        for second in 0..2_000 {
            holes.note(Class::Rejected, hole(second % HOLES as u64));
        }
        assert_eq!(holes.all().map(|all| all.len()), Some(HOLES));
        holes.note(Class::Dropped, hole(5_000));
        assert_eq!(holes.all(), None);
    }
}
