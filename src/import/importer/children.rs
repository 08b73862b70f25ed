//! The strfrys of an import: started, waited for, ended, and replaced.

use std::time::Duration;

use super::super::child::{ImportChild, ImportError};
use super::super::limits::{LAST_WORDS, PATIENCE_AFTER_END_OF_INPUT, PATIENCE_AFTER_EXIT};
use super::super::watch::{Goal, Watch};
use super::Importer;

impl<T> Importer<'_, T> {
    /// Waits until the child of this lane, if there is one, is so far. After an error of strfry's
    /// it has ended.
    pub(super) fn wait(&mut self, number: usize, goal: Goal) -> Result<(), ImportError> {
        self.wait_with(number, goal, self.command.patience)
    }

    fn wait_with(
        &mut self,
        number: usize,
        goal: Goal,
        patience: Duration,
    ) -> Result<(), ImportError> {
        let mut watch = Watch::new(patience);
        loop {
            let Some(child) = &mut self.lanes[number].child else { return Ok(()) };
            if goal.is_reached(child) {
                return Ok(());
            }
            watch.note_read(child.bytes_read());
            let has_exited = child.has_exited();
            if has_exited && goal != Goal::Exit && (child.is_deaf() || child.log.has_ended()) {
                return Err(self.ended_early(number));
            }
            if self.stop.is_overdue() {
                self.end_by_force(number);
                return Err(ImportError::Stopped { log: self.last_words.clone() });
            }
            if watch.is_time_to_look() && self.settle_what_is_there(number)? > 0 {
                watch.note_progress();
                if matches!(goal, Goal::Through(_)) {
                    return Ok(());
                }
            }
            let left = if has_exited { patience.min(PATIENCE_AFTER_EXIT) } else { patience };
            if watch.quiet() >= left {
                return match (goal, has_exited) {
                    (Goal::Exit, true) => Ok(()),
                    (_, true) => Err(self.ended_early(number)),
                    (_, false) => Err(self.give_up(number, goal, patience)),
                };
            }
            if let Some(child) = &self.lanes[number].child {
                watch.rest(goal, child);
            }
        }
    }

    /// Ends both, and settles everything. Returns whether they write into another database.
    pub(super) fn end_children(&mut self) -> Result<Option<ImportError>, ImportError> {
        for number in 0..self.lanes.len() {
            while let Err(error) =
                self.give_all_waiting(number).and_then(|()| self.end_child(number))
            {
                self.replace_child(number, error)?;
            }
        }
        self.confirm_all()?;
        // What a second child claims of the same events says less.
        let claims = self.claims;
        for number in 0..self.lanes.len() {
            if !self.lanes[number].unconfirmed.is_empty() {
                self.write_unconfirmed_again(number)?;
                self.end_child(number)?;
            }
        }
        self.confirm_all()?;
        self.settle_the_rest();
        let is_elsewhere = claims.some() && self.imported == 0 && self.missing > 0;
        Ok(is_elsewhere.then(|| self.elsewhere(claims)))
    }

    /// Ends a strfry that should gather events for longer, or less long. The next one is started for the
    /// next event.
    pub(super) fn change_gathering(&mut self, number: usize) -> Result<(), ImportError> {
        if !self.lanes[number].should_be_replaced() {
            return Ok(());
        }
        match self.end_child(number).and_then(|()| self.begin_again(number)) {
            Err(error) => self.replace_child(number, error),
            Ok(()) => Ok(()),
        }
    }

    /// After a child has ended: gives the next one what it has not taken.
    fn begin_again(&mut self, number: usize) -> Result<(), ImportError> {
        self.confirm_all()?;
        match self.lanes[number].unconfirmed.is_empty() {
            true => Ok(()),
            false => self.write_unconfirmed_again(number),
        }
    }

    pub(super) fn end_child(&mut self, number: usize) -> Result<(), ImportError> {
        // All of it must have been read: an end of input alone would hide that it was not.
        self.wait(number, Goal::Written)?;
        self.wait(number, Goal::Read)?;
        if let Some(child) = &mut self.lanes[number].child {
            child.end_input();
        }
        self.wait(number, Goal::Exit)?;
        let Some(child) = self.lanes[number].child.take() else { return Ok(()) };
        self.remember(&child);
        match child.reap()? {
            status if status.success() => Ok(()),
            status => Err(ImportError::Died { status, log: self.last_words.clone() }),
        }
    }

    /// The child has exited, and nothing takes the rest of its input.
    fn ended_early(&mut self, number: usize) -> ImportError {
        let Some(child) = self.lanes[number].child.take() else { return ImportError::Panicked };
        child.log.wait_for_end(LAST_WORDS);
        self.remember(&child);
        let (unread, has_read) = (child.unread(), child.bytes_read() > 0);
        let log = self.last_words.clone();
        match child.reap() {
            Ok(status) if status.success() => {
                ImportError::EndedEarly { status, unread, has_read, log }
            }
            Ok(status) => ImportError::Died { status, log },
            Err(error) => error,
        }
    }

    /// It hangs. The end of its input and more patience come before force: it may still wait for
    /// the database's lock, and commit.
    fn give_up(&mut self, number: usize, goal: Goal, patience: Duration) -> ImportError {
        let Some(child) = &mut self.lanes[number].child else { return ImportError::Panicked };
        let has_read = child.bytes_read() > 0;
        if goal != Goal::Exit {
            child.end_input();
            let more = patience.min(PATIENCE_AFTER_END_OF_INPUT);
            if let Err(stopped @ ImportError::Stopped { .. }) =
                self.wait_with(number, Goal::Exit, more)
            {
                return stopped;
            }
        }
        self.end_by_force(number);
        let log = self.last_words.clone();
        ImportError::Hung { seconds: patience.as_secs(), has_read, log }
    }

    /// Ends what still runs of this lane's child.
    pub(super) fn end_by_force(&mut self, number: usize) {
        if let Some(mut child) = self.lanes[number].child.take() {
            child.kill();
            self.remember(&child);
        }
    }

    /// What a child that ends has said.
    fn remember(&mut self, child: &ImportChild) {
        self.rejections.extend(child.log.rejections());
        self.claims = self.claims.and(child.log.claims());
        self.last_words = child.log.quote().with_disk_of(self.db.directory());
        if let Some(bytes) = child.bytes_written() {
            self.bytes_written = Some(self.bytes_written.unwrap_or(0).saturating_add(bytes));
        }
    }

    /// The first one that ends too early may have done so by chance, and another gets all that is
    /// left. From the second death on the events that kill strfry are looked for.
    pub(super) fn replace_child(
        &mut self,
        number: usize,
        error: ImportError,
    ) -> Result<(), ImportError> {
        let has_died = matches!(error, ImportError::Died { .. });
        self.deaths += u32::from(has_died);
        let may_be_chance =
            has_died || matches!(error, ImportError::EndedEarly { .. } | ImportError::Hung { .. });
        if self.has_replaced {
            return if has_died { self.single_out(number, error) } else { Err(error) };
        }
        if !may_be_chance {
            return Err(error);
        }
        self.has_replaced = true;
        self.confirm_all()?;
        if self.lanes[number].unconfirmed.is_empty() {
            // All that it was given is there, however it ended.
            self.troubles.push(error.to_string());
            return Ok(());
        }
        self.troubles.push(format!("strfry had to be started again: {error}"));
        match self.write_unconfirmed_again(number) {
            Err(again) => self.replace_child(number, again),
            Ok(()) => Ok(()),
        }
    }

    pub(super) fn write_unconfirmed_again(&mut self, number: usize) -> Result<(), ImportError> {
        let lane = &mut self.lanes[number];
        lane.start(&self.command)?;
        let given = std::mem::take(&mut lane.unconfirmed);
        self.give_again(number, given)
    }
}
