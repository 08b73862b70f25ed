//! A run's import: one `strfry import` for each form of line that is needed, and everything that
//! was handed over remembered until the database shows what became of it.
//!
//! Holds a bounded amount of unconfirmed events; beyond it, waits for strfry to commit. A child
//! that dies is replaced, with everything that it had not committed; `single_out` finds the events
//! that kill each one that is given them.

mod single_out;

use std::collections::VecDeque;
use std::time::Duration;

use super::child::{Form, ImportChild, ImportError};
use super::child_log::{Claims, Quote};
use super::command::StrfryCommand;
use super::confirm;
use super::encode::StoredEvent;
use super::fate::Fate;
use super::limits::{
    EVENTS_PER_CONFIRMATION, LAST_WORDS, PATIENCE_AFTER_END_OF_INPUT, PATIENCE_AFTER_EXIT,
    UNCONFIRMED_BYTES,
};
use super::rejection::reason;
use super::watch::{Goal, Watch};
use single_out::Suspect;

use crate::node::EventLimits;
use crate::nostr::EventId;
use crate::report::clean;
use crate::stop::Stop;
use crate::strfry_db::{ReadError, StrfryDb};

/// An event whose fate is known, with what the caller attached to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled<T> {
    /// What became of it.
    pub fate: Fate,
    /// The event.
    pub event: StoredEvent,
    /// As given to [`Importer::write`].
    pub tag: T,
}

/// Hands events to strfry and finds out what became of each.
pub struct Importer<'db, T> {
    db: &'db StrfryDb,
    command: StrfryCommand,
    limits: EventLimits,
    /// The form of every line that can have it.
    form: Form,
    lanes: [Lane<T>; 2],
    unconfirmed_bytes: usize,
    rejections: Vec<String>,
    /// What the children that have ended claim.
    claims: Claims,
    /// Last words of the child that ended last.
    last_words: Quote,
    /// Events that strfry was given and that were found afterwards.
    imported: u64,
    /// Events that strfry was given and that are nowhere, without a word why.
    missing: u64,
    /// A child that ended too early, or hung, has been replaced.
    has_replaced: bool,
    /// Children that have died.
    deaths: u32,
    /// Events that were given to a child of their own, which died; never given again.
    suspects: Vec<Suspect<T>>,
    troubles: Vec<String>,
    stop: Stop,
    settled: Vec<Settled<T>>,
}

/// The lines of one form, and the strfry that takes them.
struct Lane<T> {
    form: Form,
    child: Option<ImportChild>,
    /// In the order in which this child was given them.
    unconfirmed: VecDeque<(StoredEvent, T)>,
    /// How many events of this child have been looked up.
    looked_up: u64,
    /// This child is through with them, and nothing in the database explains what it did.
    unexplained: Vec<(StoredEvent, T)>,
}

impl<'db, T> Importer<'db, T> {
    /// Nothing is started before the first event. Once `stop` is overdue, strfry is not waited for
    /// any more.
    pub fn new(
        db: &'db StrfryDb,
        command: StrfryCommand,
        form: Form,
        limits: EventLimits,
        stop: Stop,
    ) -> Self {
        Self {
            db,
            command,
            limits,
            form,
            lanes: [Form::Fried, Form::Plain].map(Lane::new),
            unconfirmed_bytes: 0,
            rejections: Vec::new(),
            claims: Claims::default(),
            last_words: Quote::default(),
            imported: 0,
            missing: 0,
            has_replaced: false,
            deaths: 0,
            suspects: Vec::new(),
            troubles: Vec::new(),
            stop,
            settled: Vec::new(),
        }
    }

    /// Hands over a checked event. May wait for strfry.
    ///
    /// # Errors
    /// strfry cannot be started, dies whatever it is given, writes into another database, or was
    /// ended because the run is to stop. The event is remembered all the same: see
    /// [`Importer::abandon`].
    pub fn write(&mut self, event: StoredEvent, tag: T) -> Result<(), ImportError> {
        self.unconfirmed_bytes += memory::<T>(&event);
        let fried = self.form == Form::Fried && event.can_be_fried(&self.limits);
        let number = usize::from(!fried);
        let lane = &mut self.lanes[number];
        lane.unconfirmed.push_back((event, tag));
        let child = match lane.child.take() {
            Some(child) => child,
            None => {
                lane.looked_up = 0;
                ImportChild::start(&self.command, lane.form)?
            }
        };
        let child = lane.child.insert(child);
        let is_full = lane.unconfirmed.back().is_some_and(|(event, _)| child.push(event));
        let news = child.log.through().saturating_sub(lane.looked_up);
        if is_full && let Err(error) = self.wait(number, Goal::Written) {
            self.replace_child(number, error)?;
        } else if news >= EVENTS_PER_CONFIRMATION {
            self.confirm_taken()?;
        }
        if self.unconfirmed_bytes >= UNCONFIRMED_BYTES { self.make_room() } else { Ok(()) }
    }

    /// Passes on what is buffered, so that strfry can commit while nothing more comes.
    ///
    /// # Errors
    /// As [`Importer::write`].
    pub fn flush(&mut self) -> Result<(), ImportError> {
        for number in 0..self.lanes.len() {
            if let Err(error) = self.wait(number, Goal::Written) {
                self.replace_child(number, error)?;
            }
        }
        Ok(())
    }

    /// The events whose fate became known since the last call.
    pub fn take_settled(&mut self) -> Vec<Settled<T>> {
        std::mem::take(&mut self.settled)
    }

    /// What went wrong with strfry and did not end the import.
    pub fn take_troubles(&mut self) -> Vec<String> {
        std::mem::take(&mut self.troubles)
    }

    /// Ends the input, waits for strfry, and settles every event. What is not there is given to a
    /// fresh child once more.
    ///
    /// # Errors
    /// strfry dies whatever it is given, hangs, was ended because the run is to stop, or the
    /// database cannot be read; see [`Importer::abandon`].
    pub fn finish(&mut self) -> Result<(), ImportError> {
        let elsewhere = self.end_children()?;
        self.settle_suspects()?;
        if let Some(elsewhere) = elsewhere {
            self.troubles.push(elsewhere.to_string());
        } else if self.missing > 0 {
            self.troubles.push(format!(
                "{} events that strfry was given are not in the database at {}, and it does not \
                 say why{}",
                self.missing,
                self.db.directory().display(),
                self.last_words
            ));
        }
        Ok(())
    }

    /// After an error: settles what the database shows, and the rest as not confirmed.
    pub fn abandon(&mut self) {
        for child in self.lanes.iter_mut().filter_map(|lane| lane.child.as_mut()) {
            // Both at once, for what time there is.
            child.end_input();
            if self.stop.is_overdue() {
                child.terminate();
            }
        }
        for number in 0..self.lanes.len() {
            // It commits what it has read.
            let _ = self.wait(number, Goal::Exit);
            self.end_by_force(number);
        }
        let _ = self.confirm_all();
        self.settle_the_rest();
        self.give_up_suspects();
    }

    /// Ends both, and settles everything. Returns whether they write into another database.
    fn end_children(&mut self) -> Result<Option<ImportError>, ImportError> {
        for number in 0..self.lanes.len() {
            while let Err(error) = self.end_child(number) {
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

    fn end_child(&mut self, number: usize) -> Result<(), ImportError> {
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

    /// Waits until the child of this lane, if there is one, is so far. After an error of strfry's
    /// it has ended.
    fn wait(&mut self, number: usize, goal: Goal) -> Result<(), ImportError> {
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
    fn end_by_force(&mut self, number: usize) {
        if let Some(mut child) = self.lanes[number].child.take() {
            child.kill();
            self.remember(&child);
        }
    }

    /// What a child that ends has said.
    fn remember(&mut self, child: &ImportChild) {
        self.rejections.extend(child.log.rejections());
        self.claims = self.claims.and(child.log.claims());
        self.last_words = child.log.quote();
    }

    /// The first one that ends too early may have done so by chance, and another gets all that is
    /// left. From the second death on the events that kill strfry are looked for.
    fn replace_child(&mut self, number: usize, error: ImportError) -> Result<(), ImportError> {
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

    fn write_unconfirmed_again(&mut self, number: usize) -> Result<(), ImportError> {
        let lane = &mut self.lanes[number];
        lane.looked_up = 0;
        lane.child = Some(ImportChild::start(&self.command, lane.form)?);
        // Again one by one: those that it commits meanwhile are settled.
        let mut rest = std::mem::take(&mut lane.unconfirmed);
        while let Some((event, tag)) = rest.pop_front() {
            let lane = &mut self.lanes[number];
            let is_full = lane.child.as_mut().is_some_and(|child| child.push(&event));
            lane.unconfirmed.push_back((event, tag));
            if is_full && let Err(error) = self.wait(number, Goal::Written) {
                self.lanes[number].unconfirmed.append(&mut rest);
                return Err(error);
            }
        }
        self.wait(number, Goal::Written)
    }

    /// Waits for strfry to commit until there is room.
    fn make_room(&mut self) -> Result<(), ImportError> {
        self.flush()?;
        loop {
            self.confirm_taken()?;
            if self.unconfirmed_bytes < UNCONFIRMED_BYTES {
                return Ok(());
            }
            let busiest = self.lanes.iter().enumerate().max_by_key(|(_, it)| it.unconfirmed.len());
            let goal = busiest.and_then(|(number, lane)| {
                let may_wait = lane.child.is_some() && !lane.unconfirmed.is_empty();
                may_wait.then_some((number, Goal::Through(lane.looked_up)))
            });
            let Some((number, goal)) = goal else {
                return self.end_children()?.map_or(Ok(()), Err);
            };
            if let Err(error) = self.wait(number, goal) {
                self.replace_child(number, error)?;
            }
        }
    }

    /// Settles those of a lane's events that are in the database, whatever strfry says of them.
    /// Returns how many.
    fn settle_what_is_there(&mut self, number: usize) -> Result<u64, ImportError> {
        let lane = &self.lanes[number];
        let ids: Vec<EventId> = lane.unconfirmed.iter().map(|(event, _)| event.id()).collect();
        let mut is_there = self.db.contains_each(&ids)?.into_iter();
        let lane = &mut self.lanes[number];
        let all = std::mem::take(&mut lane.unconfirmed);
        let (there, rest): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|_| is_there.next().unwrap_or(false));
        lane.unconfirmed = rest.into();
        let count = there.len() as u64;
        // strfry counts them, too, when it says how many it is through with.
        lane.looked_up = lane.looked_up.saturating_add(count);
        self.imported = self.imported.saturating_add(count);
        self.settle_as(there, |_| Fate::Imported);
        Ok(count)
    }

    /// Looks up what strfry says that it is through with.
    fn confirm_taken(&mut self) -> Result<(), ImportError> {
        for number in 0..self.lanes.len() {
            let lane = &mut self.lanes[number];
            let through = lane.child.as_ref().map_or(0, |child| child.log.through());
            let count = usize::try_from(through.saturating_sub(lane.looked_up));
            let count = count.unwrap_or(usize::MAX).min(lane.unconfirmed.len());
            lane.looked_up = through.max(lane.looked_up);
            let events: Vec<_> = lane.unconfirmed.drain(..count).collect();
            let unexplained = self.confirm(events)?;
            self.lanes[number].unexplained.extend(unexplained);
        }
        self.refuse_elsewhere()
    }

    /// If strfry claims to have taken events and none is there, it is given no more.
    fn refuse_elsewhere(&self) -> Result<(), ImportError> {
        let is_missing =
            |(event, _): &(StoredEvent, T)| confirm::unexplained(event) == Fate::NotConfirmed;
        if self.imported > 0 || !self.lanes.iter().any(|it| it.unexplained.iter().any(is_missing)) {
            return Ok(());
        }
        let children = self.lanes.iter().filter_map(|lane| lane.child.as_ref());
        let claims = children.map(|child| child.log.claims()).fold(self.claims, Claims::and);
        if claims.some() { Err(self.elsewhere(claims)) } else { Ok(()) }
    }

    fn elsewhere(&self, claims: Claims) -> ImportError {
        ImportError::Elsewhere {
            added: claims.added,
            dups: claims.dups,
            db: self.db.directory().to_owned(),
            what_to_check: self.command.what_to_check(),
        }
    }

    /// Looks up everything; what the database does not explain can be written again.
    fn confirm_all(&mut self) -> Result<(), ImportError> {
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

    /// Settles what the database explains, and returns the rest.
    fn confirm(
        &mut self,
        events: Vec<(StoredEvent, T)>,
    ) -> Result<Vec<(StoredEvent, T)>, ReadError> {
        let keys: Vec<_> =
            events.iter().enumerate().map(|(at, (event, _))| (event.id(), at)).collect();
        let fates = self.db.get_each(&keys, |snapshot, &(_, at)| {
            events.get(at).map_or(Ok(None), |(event, _)| confirm::look_up(snapshot, event))
        });
        let fates = match fates {
            Ok(fates) => fates,
            Err(error) => {
                // Not lost: settled as what they are, not confirmed.
                self.settle_as(events, |_| Fate::NotConfirmed);
                return Err(error);
            }
        };
        let mut unexplained = Vec::new();
        for ((event, tag), fate) in events.into_iter().zip(fates) {
            match fate {
                Some(fate) => {
                    self.imported = self.imported.saturating_add(u64::from(fate == Fate::Imported));
                    self.unconfirmed_bytes -= memory::<T>(&event);
                    self.settled.push(Settled { fate, event, tag });
                }
                None => unexplained.push((event, tag)),
            }
        }
        Ok(unexplained)
    }

    fn settle_the_rest(&mut self) {
        let rest: Vec<_> = self
            .lanes
            .iter_mut()
            .flat_map(|lane| lane.unconfirmed.drain(..).chain(lane.unexplained.drain(..)))
            .collect();
        let rejections = std::mem::take(&mut self.rejections);
        let before = self.settled.len();
        self.settle_as(rest, |event| {
            match rejections.iter().find_map(|line| reason(line, event)) {
                Some(reason) => Fate::Rejected(clean(reason).into_owned()),
                None => confirm::unexplained(event),
            }
        });
        let settled = self.settled.iter().skip(before);
        let missing = settled.filter(|settled| settled.fate == Fate::NotConfirmed).count();
        self.missing = self.missing.saturating_add(missing as u64);
    }

    fn settle_as(
        &mut self,
        events: impl IntoIterator<Item = (StoredEvent, T)>,
        fate: impl Fn(&StoredEvent) -> Fate,
    ) {
        for (event, tag) in events {
            self.unconfirmed_bytes -= memory::<T>(&event);
            self.settled.push(Settled { fate: fate(&event), event, tag });
        }
    }
}

impl<T> Lane<T> {
    fn new(form: Form) -> Self {
        Self {
            form,
            child: None,
            unconfirmed: VecDeque::new(),
            looked_up: 0,
            unexplained: Vec::new(),
        }
    }
}

fn memory<T>(event: &StoredEvent) -> usize {
    event.memory() + size_of::<T>()
}
