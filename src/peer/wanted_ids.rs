//! The ids that are needed, each kept once, however many peers name it: a peer's queue holds only
//! where they are kept.

use std::collections::HashMap;

use crate::nostr::EventId;

/// Half of each id is enough: to make another genuine event share that half of a given id takes
/// 2^128 attempts, and nothing else settles it.
pub(super) type HalfId = [u8; 16];

/// Where an id is kept; or was, if it is not needed any more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    slot: u32,
    /// Which of the ids that were kept there one after the other.
    turn: u32,
}

/// A needed id.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) id: EventId,
    /// How often peers have named it and have not failed to give it. One that names it twice is
    /// asked twice.
    pub(super) holders: u32,
    pub(super) claim: Option<Claim>,
}

/// Who is going to ask for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim {
    pub(super) by: u32,
    /// Milliseconds after the want list began, without those in which that peer waited for us.
    pub(super) since: u32,
}

/// All of them; there can be tens of thousands.
#[derive(Debug, Default)]
pub(super) struct WantedIds {
    /// Never becomes shorter, so the numbers in the other two stay those of slots.
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_id: HashMap<HalfId, u32>,
}

#[derive(Debug)]
struct Slot {
    turn: u32,
    wanted: Option<Wanted>,
}

impl WantedIds {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn find(&self, id: &EventId) -> Option<Place> {
        self.by_id.get(&half_of(id)).map(|&slot| self.place(slot))
    }

    /// Where the id is kept, from now on if it was not.
    pub(super) fn find_or_add(&mut self, id: EventId) -> Place {
        if let Some(place) = self.find(&id) {
            return place;
        }
        let wanted = Some(Wanted { id, holders: 0, claim: None });
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize].wanted = wanted;
                slot
            }
            None => {
                self.slots.push(Slot { turn: 0, wanted });
                u32::try_from(self.slots.len() - 1).expect("ids of 128 GiB do not fit in memory")
            }
        };
        self.by_id.insert(half_of(&id), slot);
        self.place(slot)
    }

    /// `None`: it is not needed any more.
    pub(super) fn get(&self, place: Place) -> Option<&Wanted> {
        let slot = self.slots.get(place.slot as usize)?;
        slot.wanted.as_ref().filter(|_| slot.turn == place.turn)
    }

    /// The same.
    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut Wanted> {
        let slot = self.slots.get_mut(place.slot as usize)?;
        slot.wanted.as_mut().filter(|_| slot.turn == place.turn)
    }

    pub(super) fn contains(&self, place: Place) -> bool {
        self.get(place).is_some()
    }

    /// It is not needed any more.
    pub(super) fn remove(&mut self, id: &EventId) {
        if let Some(number) = self.by_id.remove(&half_of(id)) {
            let slot = &mut self.slots[number as usize];
            slot.wanted = None;
            slot.turn = slot.turn.wrapping_add(1);
            self.free.push(number);
        }
    }

    /// Those that this peer has claimed.
    pub(super) fn claimed_by(&self, peer: u32) -> Vec<Place> {
        let claimed = |slot: &u32| {
            let wanted = self.slots[*slot as usize].wanted.as_ref();
            wanted.and_then(|wanted| wanted.claim).is_some_and(|claim| claim.by == peer)
        };
        let slots = self.by_id.values().copied().filter(claimed);
        slots.map(|slot| self.place(slot)).collect()
    }

    fn place(&self, slot: u32) -> Place {
        Place { slot, turn: self.slots[slot as usize].turn }
    }
}

pub(super) fn half_of(id: &EventId) -> HalfId {
    let mut half = [0; 16];
    half.copy_from_slice(&id.as_bytes()[..16]);
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_shows_when_its_id_is_not_needed_any_more_also_when_another_is_kept_there() {
        let [first, second] = [1, 2].map(|byte| EventId::from_bytes([byte; 32]));
        let mut wanted = WantedIds::default();
        let place = wanted.find_or_add(first);
        assert_eq!(wanted.get(place).map(|wanted| wanted.id), Some(first));
        wanted.remove(&first);
        assert!(!wanted.contains(place) && wanted.find(&first).is_none());
        let next = wanted.find_or_add(second);
        assert_eq!((wanted.len(), wanted.slots.len()), (1, 1));
        assert!(!wanted.contains(place));
        assert_eq!(wanted.get(next).map(|wanted| wanted.id), Some(second));
    }
}
