//! The lines of one form, and the strfry that takes them.

use std::collections::VecDeque;

use super::super::allowance::Allowance;
use super::super::child::{Form, ImportChild, ImportError};
use super::super::command::StrfryCommand;
use super::super::limits::MOST_UNSETTLED;
use super::Given;

pub(super) struct Lane<T> {
    pub(super) form: Form,
    pub(super) child: Option<ImportChild>,
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
        // Pages of it that are never used take no memory; doubling would.
        self.unconfirmed.reserve_exact(MOST_UNSETTLED.saturating_sub(self.unconfirmed.len()));
        self.child = Some(ImportChild::start(command, self.form)?);
        Ok(())
    }
}
