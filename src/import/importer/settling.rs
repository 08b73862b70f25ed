//! What became of events, as the database shows: each is settled once, and its text is forgotten.

use std::collections::VecDeque;

use super::super::child::ImportError;
use super::super::child_log::Claims;
use super::super::confirm;
use super::super::event_head::EventHead;
use super::super::fate::Fate;
use super::super::limits::{EVENTS_CONFIRMED_AT_ONCE, EVENTS_TRIED};
use super::super::rejection::reason;
use super::{Given, Importer, Settled, Split};
use crate::nostr::EventId;
use crate::report::clean;
use crate::strfry_db::ReadError;

impl<T> Importer<'_, T> {
    /// Those events that are in the database, and the others.
    fn split_off_what_is_there(&mut self, events: Vec<Given<T>>) -> Result<Split<T>, ReadError> {
        let ids: Vec<EventId> = events.iter().map(|given| given.head.id()).collect();
        match self.db.contains_each(&ids) {
            Ok(is_there) => {
                let mut is_there = is_there.into_iter();
                Ok(events.into_iter().partition(|_| is_there.next().unwrap_or(false)))
            }
            Err(error) => Err(self.cannot_confirm(events, error)),
        }
    }

    /// Settles what the database explains, and returns the rest.
    fn confirm(&mut self, events: Vec<Given<T>>) -> Result<Vec<Given<T>>, ReadError> {
        let mut unexplained = Vec::new();
        let mut events = events.into_iter();
        loop {
            let some: Vec<_> = events.by_ref().take(EVENTS_CONFIRMED_AT_ONCE).collect();
            if some.is_empty() {
                return Ok(unexplained);
            }
            let confirmed = match self.split_off_what_is_there(some) {
                Ok((there, rest)) => {
                    self.imported = self.imported.saturating_add(there.len() as u64);
                    self.settle_as(there, |_| Fate::Imported);
                    self.explain(rest, &mut unexplained)
                }
                Err(error) => Err(error),
            };
            if let Err(error) = confirmed {
                unexplained.extend(events);
                return Err(self.cannot_confirm(unexplained, error));
            }
        }
    }

    /// Settles events that are not there, as far as the database says why.
    fn explain(
        &mut self,
        events: Vec<Given<T>>,
        unexplained: &mut Vec<Given<T>>,
    ) -> Result<(), ReadError> {
        if events.is_empty() {
            return Ok(());
        }
        match self.look_up(&events) {
            Ok(fates) => {
                for (given, fate) in events.into_iter().zip(fates) {
                    match fate {
                        Some(fate) => self.settle_given(given, fate),
                        None => unexplained.push(given),
                    }
                }
                Ok(())
            }
            Err(error) => Err(self.cannot_confirm(events, error)),
        }
    }

    /// What the database says of each; nothing of those whose text cannot be read again.
    fn look_up(&mut self, events: &[Given<T>]) -> Result<Vec<Option<Fate>>, ReadError> {
        let texts: Vec<_> = events.iter().map(|given| self.spool.get(&given.text).ok()).collect();
        let keys: Vec<_> =
            events.iter().enumerate().map(|(at, given)| (given.head.id(), at)).collect();
        let fates = self.db.get_each(&keys, |snapshot, &(_, at)| {
            let text = texts.get(at).and_then(Option::as_ref);
            text.map_or(Ok(None), |event| confirm::look_up(snapshot, event))
        })?;
        let imported = fates.iter().filter(|fate| **fate == Some(Fate::Imported)).count();
        self.imported = self.imported.saturating_add(imported as u64);
        Ok(fates)
    }

    /// Not lost: settled as what they are, not confirmed.
    fn cannot_confirm(&mut self, events: Vec<Given<T>>, error: ReadError) -> ReadError {
        self.settle_as(events, |_| Fate::NotConfirmed);
        error
    }

    pub(super) fn settle_the_rest(&mut self) {
        let rest: Vec<_> = self
            .lanes
            .iter_mut()
            .flat_map(|lane| lane.unconfirmed.drain(..).chain(lane.unexplained.drain(..)))
            .collect();
        let rejections = std::mem::take(&mut self.rejections);
        for given in rest {
            let fate = match self.rejected(&given, &rejections) {
                Some(reason) => Fate::Rejected(reason),
                None => confirm::unexplained(&given.head),
            };
            self.missing += u64::from(fate == Fate::NotConfirmed);
            self.settle_given(given, fate);
        }
    }

    /// Why strfry has refused it, if it says so.
    fn rejected(&self, given: &Given<T>, rejections: &[String]) -> Option<String> {
        if rejections.is_empty() {
            return None;
        }
        let event = self.spool.get(&given.text).ok()?;
        let reason = rejections.iter().find_map(|line| reason(line, &event))?;
        Some(clean(reason).into_owned())
    }

    pub(super) fn settle_as(
        &mut self,
        events: impl IntoIterator<Item = Given<T>>,
        fate: impl Fn(&EventHead) -> Fate,
    ) {
        for given in events {
            let fate = fate(&given.head);
            self.settle_given(given, fate);
        }
    }

    pub(super) fn settle_given(&mut self, given: Given<T>, fate: Fate) {
        let Given { head, text, tag } = given;
        let json = match fate {
            Fate::Imported => None,
            _ => self.spool.get(&text).ok().map(|event| event.json().to_owned()),
        };
        self.spool.forget(&text);
        (self.settled)(Settled { fate, head, json, tag });
    }

    /// Settles those of a lane's events that are in the database, whatever strfry says of them.
    /// Returns how many.
    pub(super) fn settle_what_is_there(&mut self, number: usize) -> Result<u64, ImportError> {
        let all = &self.lanes[number].unconfirmed;
        // If none of these is there, none of the others is: it commits them in their order.
        let step = (all.len() / EVENTS_TRIED).max(1);
        let tried: Vec<EventId> = all.iter().step_by(step).map(|given| given.head.id()).collect();
        if !self.db.contains_each(&tried)?.contains(&true) {
            return Ok(0);
        }
        let mut count = 0;
        let mut left = self.lanes[number].unconfirmed.len();
        while left > 0 {
            let lane = &mut self.lanes[number];
            let some = lane.unconfirmed.drain(..left.min(EVENTS_CONFIRMED_AT_ONCE)).collect();
            left = left.saturating_sub(EVENTS_CONFIRMED_AT_ONCE);
            let (there, rest) = self.split_off_what_is_there(some)?;
            count += there.len() as u64;
            self.settle_as(there, |_| Fate::Imported);
            // Once through, all are in their order again.
            self.lanes[number].unconfirmed.extend(rest);
        }
        let lane = &mut self.lanes[number];
        // strfry counts them, too, when it says how many it is through with.
        lane.looked_up = lane.looked_up.saturating_add(count);
        self.imported = self.imported.saturating_add(count);
        Ok(count)
    }

    /// Looks up what strfry says that it is through with.
    pub(super) fn confirm_taken(&mut self) -> Result<(), ImportError> {
        for number in 0..self.lanes.len() {
            self.learn_from_commits(number);
            let lane = &mut self.lanes[number];
            let through = lane.child.as_ref().map_or(0, |child| child.log.through());
            let count = usize::try_from(through.saturating_sub(lane.looked_up));
            let count = count.unwrap_or(usize::MAX).min(lane.unconfirmed.len());
            if count == lane.unconfirmed.len() {
                lane.looked_up = through.max(lane.looked_up);
            }
            // Not all of a large commit at once, so that what is settled is handed on meanwhile.
            let count = count.min(EVENTS_CONFIRMED_AT_ONCE);
            lane.looked_up =
                through.min(lane.looked_up.saturating_add(count as u64)).max(lane.looked_up);
            let events: Vec<_> = lane.unconfirmed.drain(..count).collect();
            let unexplained = self.confirm(events)?;
            self.lanes[number].unexplained.extend(unexplained);
        }
        self.refuse_elsewhere()
    }

    /// Looks up everything; what the database does not explain can be written again.
    pub(super) fn confirm_all(&mut self) -> Result<(), ImportError> {
        for number in 0..self.lanes.len() {
            let lane = &mut self.lanes[number];
            let unconfirmed = std::mem::take(&mut lane.unconfirmed);
            // A child that is still there goes on with what it was given, in its order.
            let (mut events, kept) = match lane.child {
                None => (Vec::from(unconfirmed), VecDeque::new()),
                Some(_) => (Vec::new(), unconfirmed),
            };
            lane.unconfirmed = kept;
            events.append(&mut lane.unexplained);
            let unexplained = self.confirm(events)?;
            let lane = &mut self.lanes[number];
            match lane.child {
                None => lane.unconfirmed = unexplained.into(),
                Some(_) => lane.unexplained = unexplained,
            }
        }
        Ok(())
    }

    /// If strfry claims to have taken events and none is there, it is given no more.
    fn refuse_elsewhere(&self) -> Result<(), ImportError> {
        let is_missing = |given: &Given<T>| confirm::unexplained(&given.head) == Fate::NotConfirmed;
        if self.imported > 0 || !self.lanes.iter().any(|it| it.unexplained.iter().any(is_missing)) {
            return Ok(());
        }
        let children = self.lanes.iter().filter_map(|lane| lane.child.as_ref());
        let claims = children.map(|child| child.log.claims()).fold(self.claims, Claims::and);
        if claims.some() { Err(self.elsewhere(claims)) } else { Ok(()) }
    }

    pub(super) fn elsewhere(&self, claims: Claims) -> ImportError {
        ImportError::Elsewhere {
            added: claims.added,
            dups: claims.dups,
            db: self.db.directory().to_owned(),
            what_to_check: self.command.what_to_check(),
        }
    }
}
