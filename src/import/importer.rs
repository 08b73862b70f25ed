//! A run's import: one `strfry import` for each form of line that is needed, and everything that
//! was handed over remembered until the database shows what became of it.
//!
//! Remembers a bounded number of unconfirmed events, their texts in a spool; beyond it, waits for
//! strfry to commit. How many strfry may hold at once follows what its commits take; the others
//! wait (`waiting`). A child that dies is replaced, with everything that it had not committed;
//! `single_out` finds the events that kill each one that is given them.

mod lane;
mod settling;
mod single_out;
mod waiting;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use super::allowance::Allowance;
use super::child::{Form, ImportChild, ImportError};
use super::child_log::{Claims, Quote};
use super::command::StrfryCommand;
use super::confirm;
use super::encode::StoredEvent;
use super::event_head::EventHead;
use super::fate::Fate;
use super::limits::{
    EVENTS_CONFIRMED_AT_ONCE, EVENTS_PER_CONFIRMATION, EVENTS_TRIED, FIRST_BYTES, LAST_WORDS,
    MOST_UNSETTLED, PATIENCE_AFTER_END_OF_INPUT, PATIENCE_AFTER_EXIT,
};
use super::memory;
use super::neighbours::{CommitTime, Neighbours};
use super::spool::{Spool, Text};
use super::watch::{Goal, Watch};
use lane::Lane;
use single_out::Suspect;

use crate::node::EventLimits;
use crate::nostr::EventId;
use crate::stop::Stop;
use crate::strfry_db::StrfryDb;

/// An event whose fate is known, with what the caller attached to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled<T> {
    /// What became of it.
    pub fate: Fate,
    /// The event, without its text.
    pub head: EventHead,
    /// Its JSON; `None` if it was imported, or cannot be read any more.
    pub json: Option<String>,
    /// As given to [`Importer::write`].
    pub tag: T,
}

/// How much of strfry's input is given at once, and where it is remembered.
#[derive(Debug, Clone)]
pub struct Window {
    /// Where the file is made in which texts of events wait. It has no name.
    pub spool: PathBuf,
    /// How long a commit may take.
    pub commits: CommitTime,
}

/// An event that strfry was given.
struct Given<T> {
    head: EventHead,
    text: Text,
    tag: T,
}

/// Events that are in the database, and those that are not.
type Split<T> = (Vec<Given<T>>, Vec<Given<T>>);

/// Hands events to strfry and finds out what became of each.
pub struct Importer<'db, T> {
    /// Told of every event whose fate becomes known.
    settled: Box<dyn FnMut(Settled<T>) + 'db>,
    db: &'db StrfryDb,
    command: StrfryCommand,
    limits: EventLimits,
    /// The form of every line that can have it.
    form: Form,
    lanes: [Lane<T>; 2],
    spool: Spool,
    /// Bytes of texts that strfry's memory has room for.
    most_bytes: usize,
    neighbours: Neighbours,
    /// Bytes that children which have ended made the disk write.
    bytes_written: Option<u64>,
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
    notices: Vec<String>,
    stop: Stop,
}

impl<'db, T> Importer<'db, T> {
    /// Nothing is started before the first event. `settled` is told of each event once. Once `stop`
    /// is overdue, strfry is not waited for any more.
    pub fn new(
        db: &'db StrfryDb,
        command: StrfryCommand,
        form: Form,
        limits: EventLimits,
        window: Window,
        stop: Stop,
        settled: impl FnMut(Settled<T>) + 'db,
    ) -> Self {
        let free = memory::free();
        let mut neighbours = Neighbours::new(window.commits, &command, free);
        neighbours.look(db);
        let limit = neighbours.limit(1);
        Self {
            settled: Box::new(settled),
            db,
            command,
            limits,
            form,
            lanes: [Form::Fried, Form::Plain].map(|form| Lane::new(form, Allowance::new(limit))),
            spool: Spool::new(window.spool),
            most_bytes: memory::texts_that_fit(free),
            neighbours,
            bytes_written: None,
            rejections: Vec::new(),
            claims: Claims::default(),
            last_words: Quote::default(),
            imported: 0,
            missing: 0,
            has_replaced: false,
            deaths: 0,
            suspects: Vec::new(),
            troubles: Vec::new(),
            notices: Vec::new(),
            stop,
        }
    }

    /// Hands over a checked event. May wait for strfry.
    ///
    /// # Errors
    /// strfry cannot be started, dies whatever it is given, writes into another database, or was
    /// ended because the run is to stop. The event is remembered all the same: see
    /// [`Importer::abandon`].
    pub fn write(&mut self, event: StoredEvent, tag: T) -> Result<(), ImportError> {
        let fried = self.form == Form::Fried && event.can_be_fried(&self.limits);
        let number = usize::from(!fried);
        let lane = &mut self.lanes[number];
        if lane.waiting.is_empty() && lane.unconfirmed.len() < lane.allowance.given() {
            self.give(number, event, tag)?;
        } else {
            let given = self.remember_event(event, tag);
            self.lanes[number].waiting.push(given);
        }
        if self.news(number) >= EVENTS_PER_CONFIRMATION {
            self.confirm_taken()?;
        }
        self.give_waiting(number)?;
        if self.is_full() { self.make_room() } else { Ok(()) }
    }

    /// Gives strfry an event. The event is remembered whatever happens.
    fn give(&mut self, number: usize, event: StoredEvent, tag: T) -> Result<(), ImportError> {
        let started = match self.lanes[number].child {
            Some(_) => Ok(()),
            None => self.start_child(number),
        };
        let lane = &mut self.lanes[number];
        let is_full = lane.child.as_mut().is_some_and(|child| child.push(&event));
        let given = self.remember_event(event, tag);
        self.lanes[number].note_given(given);
        started?;
        match is_full {
            true => self.wait_until_written(number),
            false => Ok(()),
        }
    }

    fn wait_until_written(&mut self, number: usize) -> Result<(), ImportError> {
        match self.wait(number, Goal::Written) {
            Err(error) => self.replace_child(number, error),
            Ok(()) => Ok(()),
        }
    }

    fn remember_event(&mut self, event: StoredEvent, tag: T) -> Given<T> {
        let head = EventHead::from(&event);
        let text = self.spool.put(event);
        self.notices.extend(self.spool.take_trouble());
        Given { head, text, tag }
    }

    /// Gives strfry those that wait, as many as there is room for.
    fn give_waiting(&mut self, number: usize) -> Result<(), ImportError> {
        let lane = &mut self.lanes[number];
        let room = lane.room();
        if room == 0 || lane.waiting.is_empty() {
            return Ok(());
        }
        if lane.child.is_none() {
            self.start_child(number)?;
        }
        let given = self.lanes[number].waiting.take(room).into();
        match self.give_again(number, given) {
            Err(error) => self.replace_child(number, error),
            Ok(()) => Ok(()),
        }
    }

    /// Gives strfry all that wait. Waits for its commits.
    fn give_all_waiting(&mut self, number: usize) -> Result<(), ImportError> {
        loop {
            self.give_waiting(number)?;
            let lane = &self.lanes[number];
            match lane.child {
                _ if lane.waiting.is_empty() => return Ok(()),
                Some(_) => self.wait_for_commit(number)?,
                None => self.write_unconfirmed_again(number)?,
            }
        }
    }

    /// Events of which a lane's child says that it is through with them, not looked up yet.
    fn news(&self, number: usize) -> u64 {
        let lane = &self.lanes[number];
        lane.child.as_ref().map_or(0, |child| child.log.through().saturating_sub(lane.looked_up))
    }

    /// Whether strfry has to commit before it is given more.
    fn is_full(&self) -> bool {
        let unsettled: usize = self.lanes.iter().map(Lane::unsettled).sum();
        unsettled >= MOST_UNSETTLED
            || self.lanes.iter().any(Lane::is_full)
            || self.spool.is_full()
            || self.spool.bytes() >= self.most_bytes
            // Until it is known that strfry writes into this database.
            || (self.imported == 0 && self.spool.bytes() >= FIRST_BYTES)
    }

    /// Bytes that strfry made the disk write, as far as that can be seen here.
    pub fn bytes_written(&self) -> Option<u64> {
        self.bytes_written
    }

    /// Whether there are events that strfry is to be given when it has committed others. Then this
    /// is to be told again ([`Importer::flush`]) while nothing more comes.
    pub fn is_waiting(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.waiting.is_empty())
    }

    /// Passes on what is buffered, so that strfry can commit while nothing more comes; and looks up
    /// what it has committed.
    ///
    /// # Errors
    /// As [`Importer::write`].
    pub fn flush(&mut self) -> Result<(), ImportError> {
        for number in 0..self.lanes.len() {
            self.wait_until_written(number)?;
        }
        while (0..self.lanes.len()).any(|number| self.news(number) > 0) {
            self.confirm_taken()?;
        }
        (0..self.lanes.len()).try_for_each(|number| self.give_waiting(number))
    }

    /// What went wrong with strfry and did not end the import.
    pub fn take_troubles(&mut self) -> Vec<String> {
        std::mem::take(&mut self.troubles)
    }

    /// What is worth knowing, and makes nothing incomplete.
    pub fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
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
        let waiting: Vec<_> =
            self.lanes.iter_mut().flat_map(|lane| lane.waiting.take_all()).collect();
        self.settle_as(waiting, |_| Fate::Dropped);
        self.give_up_suspects();
    }

    /// Ends both, and settles everything. Returns whether they write into another database.
    fn end_children(&mut self) -> Result<Option<ImportError>, ImportError> {
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
        if let Some(bytes) = child.bytes_written() {
            self.bytes_written = Some(self.bytes_written.unwrap_or(0).saturating_add(bytes));
        }
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
        self.start_child(number)?;
        let given = std::mem::take(&mut self.lanes[number].unconfirmed);
        self.give_again(number, given)
    }

    /// Gives strfry events that are remembered, one by one: those that it commits meanwhile are
    /// settled. After an error they all count as given.
    fn give_again(
        &mut self,
        number: usize,
        mut rest: VecDeque<Given<T>>,
    ) -> Result<(), ImportError> {
        while !rest.is_empty() {
            let given =
                self.wait_for_allowance(number).and_then(|()| self.give_first(number, &mut rest));
            if let Err(error) = given {
                self.lanes[number].unconfirmed.append(&mut rest);
                return Err(error);
            }
        }
        self.wait(number, Goal::Written)
    }

    fn give_first(
        &mut self,
        number: usize,
        rest: &mut VecDeque<Given<T>>,
    ) -> Result<(), ImportError> {
        let Some(given) = rest.pop_front() else { return Ok(()) };
        let text = self.spool.get(&given.text);
        let lane = &mut self.lanes[number];
        let is_full = text.map(|event| lane.child.as_mut().is_some_and(|child| child.push(&event)));
        lane.note_given(given);
        match is_full {
            Ok(false) => Ok(()),
            Ok(true) => self.wait(number, Goal::Written),
            Err(error) => Err(ImportError::Spool(error)),
        }
    }

    /// Waits until strfry holds fewer of a lane than it may.
    fn wait_for_allowance(&mut self, number: usize) -> Result<(), ImportError> {
        while self.lanes[number].unconfirmed.len() >= self.lanes[number].allowance.given() {
            self.wait_for_commit(number)?;
        }
        Ok(())
    }

    /// Waits until strfry is through with something, and looks that up.
    fn wait_for_commit(&mut self, number: usize) -> Result<(), ImportError> {
        self.wait(number, Goal::Written)?;
        let through = self.lanes[number].looked_up;
        self.wait(number, Goal::Through(through))?;
        self.confirm_taken()
    }

    /// Waits for strfry to commit until there is room.
    fn make_room(&mut self) -> Result<(), ImportError> {
        loop {
            self.flush()?;
            if !self.is_full() {
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
    fn confirm_taken(&mut self) -> Result<(), ImportError> {
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

    /// How long its commits take, and whether somebody waits for them.
    fn learn_from_commits(&mut self, number: usize) {
        let lane = &mut self.lanes[number];
        let Some(child) = &lane.child else { return };
        let commits = child.log.take_commits();
        if commits.is_empty() {
            return;
        }
        commits.into_iter().for_each(|commit| lane.allowance.note_commit(commit));
        self.notices.extend(self.neighbours.look(self.db));
        self.limit_commits();
    }

    fn limit_commits(&mut self) {
        let children = self.lanes.iter().filter(|lane| lane.child.is_some()).count();
        let limit = self.neighbours.limit(children);
        self.lanes.iter_mut().for_each(|lane| lane.allowance.limit(limit));
    }

    fn start_child(&mut self, number: usize) -> Result<(), ImportError> {
        self.lanes[number].start(&self.command)?;
        self.limit_commits();
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
}
