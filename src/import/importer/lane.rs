//! The lines of one form, and the strfry that takes them.

use std::collections::VecDeque;

use super::super::allowance::Allowance;
use super::super::child::{Form, ImportChild, ImportError};
use super::super::command::StrfryCommand;
use super::Given;
use super::waiting::Waiting;

pub(super) struct Lane<T> {
    pub(super) form: Form,
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
    pub(super) fn new(form: Form, allowance: Allowance) -> Self {
        Self {
            form,
            child: None,
            waiting: Waiting::default(),
            unconfirmed: VecDeque::new(),
            allowance,
            looked_up: 0,
            unexplained: Vec::new(),
        }
    }

    /// Starts a child, which has been given nothing.
    pub(super) fn start(&mut self, command: &StrfryCommand) -> Result<(), ImportError> {
        self.looked_up = 0;
        self.allowance.start_again();
        self.child = Some(ImportChild::start(command, self.form)?);
        Ok(())
    }

    /// Whether it may hold no more, and none are to wait: while nobody waits for its commits, these
    /// are as large as memory allows, so there is no room for others that wait.
    pub(super) fn is_full(&self) -> bool {
        !self.allowance.is_awaited() && self.unconfirmed.len() >= self.allowance.given()
    }

    /// How many events it may be given now. Not before half of what it may hold is free, so that
    /// those that belong together come together.
    pub(super) fn room(&self) -> usize {
        let most = self.allowance.given();
        let room = most.saturating_sub(self.unconfirmed.len());
        if room >= most / 2 { room } else { 0 }
    }

    /// Events of which it is not known what became of them.
    pub(super) fn unsettled(&self) -> usize {
        self.waiting.len() + self.unconfirmed.len() + self.unexplained.len()
    }

    /// Remembers an event that strfry has been given.
    pub(super) fn note_given(&mut self, given: Given<T>) {
        self.allowance.note_given();
        // As much as is needed; doubling would take more.
        let most = self.allowance.given();
        self.unconfirmed.reserve_exact(most.saturating_sub(self.unconfirmed.len()));
        self.unconfirmed.push_back(given);
    }
}
