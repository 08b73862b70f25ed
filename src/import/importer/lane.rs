//! The lines of one form, and the strfry that takes them.

use std::collections::VecDeque;

use super::super::allowance::Allowance;
use super::super::child::{Form, ImportChild, ImportError};
use super::super::command::StrfryCommand;
use super::super::limits::{FEW_HELD, MOST_BESIDE, MOST_UNSETTLED};
use super::super::neighbours::CommitLimit;
use super::Given;
use super::waiting::Waiting;

pub(super) struct Lane<T> {
    pub(super) form: Form,
    /// It gets only what cannot have the other form: a few large events.
    is_beside: bool,
    pub(super) child: Option<ImportChild>,
    /// Not given to it yet.
    pub(super) waiting: Waiting<T>,
    /// In the order in which this child was given them.
    pub(super) unconfirmed: VecDeque<Given<T>>,
    /// How many of them it may hold.
    pub(super) allowance: Allowance,
    /// How many events of this child have been looked up.
    pub(super) looked_up: u64,
    /// This child is through with them, and nothing in the database explains what it did.
    pub(super) unexplained: Vec<Given<T>>,
}

impl<T> Lane<T> {
    /// `main` is the form of every line that can have it.
    pub(super) fn new(form: Form, main: Form, limit: CommitLimit) -> Self {
        let is_beside = form != main;
        Self {
            form,
            is_beside,
            child: None,
            waiting: Waiting::default(),
            unconfirmed: VecDeque::new(),
            allowance: Allowance::new(beside(is_beside, limit)),
            looked_up: 0,
            unexplained: Vec::new(),
        }
    }

    /// From now on its commits may be like this.
    pub(super) fn limit(&mut self, limit: CommitLimit) {
        self.allowance.limit(beside(self.is_beside, limit));
    }

    /// Starts a child, which has been given nothing.
    pub(super) fn start(&mut self, command: &StrfryCommand) -> Result<(), ImportError> {
        self.looked_up = 0;
        let gathering = self.allowance.start_again();
        self.child = Some(ImportChild::start(command, self.form, gathering)?);
        Ok(())
    }

    /// Whether its child should be replaced by one that gathers events for longer, or less long.
    pub(super) fn should_be_replaced(&self) -> bool {
        let holds_few = self.unconfirmed.len() <= FEW_HELD;
        self.child.is_some() && holds_few && self.allowance.wants_another()
    }

    /// How many events it may be given now. Not before half of what it may hold is free, so that
    /// those that belong together come together.
    pub(super) fn room(&self) -> usize {
        let most = self.allowance.given();
        let room = most.saturating_sub(self.unconfirmed.len());
        if room >= most / 2 { room } else { 0 }
    }

    /// How many it may be given if no more events come, or there is no room for more: the next commit's
    /// are given, too.
    pub(super) fn early_room(&self) -> usize {
        self.allowance.given_early().saturating_sub(self.unconfirmed.len())
    }

    /// Events of which it is not known what became of them.
    pub(super) fn unsettled(&self) -> usize {
        self.waiting.len() + self.unconfirmed.len() + self.unexplained.len()
    }

    /// Remembers an event that strfry has been given.
    pub(super) fn note_given(&mut self, given: Given<T>) {
        self.allowance.note_given();
        // As much as is needed; doubling would take more.
        let most = self.allowance.given_early();
        self.unconfirmed.reserve_exact(most.saturating_sub(self.unconfirmed.len()));
        self.unconfirmed.push_back(given);
    }
}

/// Where memory is short, the strfry beside the one that gets most events takes what that leaves free.
fn beside(is_beside: bool, limit: CommitLimit) -> CommitLimit {
    match is_beside && limit.most < MOST_UNSETTLED {
        true => CommitLimit { most: limit.most.min(MOST_BESIDE), ..limit },
        false => limit,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn where_memory_is_short_the_strfry_that_gets_the_few_large_events_holds_few() {
        let limit = |most| CommitLimit {
            longest: Duration::from_secs(15),
            first: MOST_UNSETTLED,
            most,
            is_awaited: false,
        };
        let given = |form, first, later| {
            let mut lane = Lane::<()>::new(form, Form::Fried, limit(first));
            lane.limit(limit(later));
            lane.allowance.given()
        };
        assert_eq!(given(Form::Fried, 1_500, 9_000), 9_000);
        assert_eq!(given(Form::Plain, 1_500, 9_000), MOST_BESIDE);
        assert_eq!(given(Form::Plain, 9_000, 1_500), 1_500);
        assert_eq!(given(Form::Plain, 1_500, MOST_UNSETTLED), MOST_UNSETTLED);
        let first = |main| Lane::<()>::new(Form::Plain, main, limit(9_000)).allowance.given();
        assert_eq!([first(Form::Plain), first(Form::Fried)], [9_000, MOST_BESIDE]);
    }
}
