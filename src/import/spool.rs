//! Where the texts of events wait until the database shows what became of them: the first in
//! memory, the others in a file without a name, of which nothing is left however the run ends.
//!
//! The file is cut into pieces. A piece is used again when none of its events is waited for any
//! more, so the file has a bound.

use std::borrow::Cow;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};

use super::encode::StoredEvent;
use super::limits::{SPOOL_BUFFER, SPOOL_PIECE, SPOOL_PIECES, TEXTS_IN_MEMORY};
use crate::disk_room::{NEARLY_FULL, Room, SCARCE};

/// Where the text of an event is. Given back with [`Spool::forget`].
#[derive(Debug)]
pub(super) enum Text {
    /// In memory.
    Held(Box<StoredEvent>),
    /// In the file.
    Spooled {
        piece: u32,
        /// From the beginning of the piece.
        at: u32,
        bytes: u32,
    },
}

/// The texts of the events that strfry has been given.
#[derive(Debug)]
pub(super) struct Spool {
    /// Where the file is made, when it is needed.
    directory: PathBuf,
    file: Option<File>,
    /// Why there is none; asked for once.
    trouble: Option<io::Error>,
    /// So many pieces may be used: none, if the file cannot be written; fewer, if the disk is short.
    usable: usize,
    sizes: Sizes,
    /// Of the texts in memory.
    held_bytes: usize,
    /// Of all texts.
    bytes: usize,
    /// Offset up to which the disk had room when it was looked at.
    checked_to: u64,
    pieces: [Piece; SPOOL_PIECES],
    /// The piece that is being filled.
    current: usize,
    /// The end of it, which is not written yet.
    buffer: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Sizes {
    in_memory: usize,
    piece: usize,
    buffer: usize,
    /// Bytes of the disk that stay free beside the file.
    left_free: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Piece {
    /// Events that are waited for.
    waiting: u32,
    /// Bytes in use, those in the buffer included.
    bytes: usize,
}

impl Spool {
    /// Nothing is made before it is needed.
    pub(super) fn new(directory: PathBuf, db: &Path) -> Self {
        let (in_memory, piece, buffer) = (TEXTS_IN_MEMORY, SPOOL_PIECE, SPOOL_BUFFER);
        let file_system = |path| Room::of(path).ok().map(|room| room.file_system);
        // What is free beside the database is strfry's first.
        let is_beside = file_system(&directory) == file_system(db);
        let left_free = if is_beside { SCARCE } else { NEARLY_FULL };
        Self::with_sizes(directory, Sizes { in_memory, piece, buffer, left_free })
    }

    fn with_sizes(directory: PathBuf, sizes: Sizes) -> Self {
        Self {
            directory,
            sizes,
            bytes: 0,
            checked_to: 0,
            file: None,
            trouble: None,
            usable: SPOOL_PIECES,
            held_bytes: 0,
            pieces: [Piece::default(); SPOOL_PIECES],
            current: 0,
            buffer: Vec::new(),
        }
    }

    /// Keeps an event. If the file cannot be written the event stays in memory.
    pub(super) fn put(&mut self, event: StoredEvent) -> Text {
        let memory = event.memory();
        if self.held_bytes.saturating_add(memory) > self.sizes.in_memory
            && let Some(text) = self.put_into_file(&event)
        {
            return text;
        }
        self.held_bytes += memory;
        self.bytes += memory;
        Text::Held(Box::new(event))
    }

    /// The event again.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else than was written.
    pub(super) fn get<'a>(&self, text: &'a Text) -> io::Result<Cow<'a, StoredEvent>> {
        let (piece, at, bytes) = match text {
            Text::Held(event) => return Ok(Cow::Borrowed(event)),
            &Text::Spooled { piece, at, bytes } => (piece as usize, at as usize, bytes as usize),
        };
        let written = self.written();
        let event = if piece == self.current && at >= written {
            let begin = at - written;
            self.buffer.get(begin..begin.saturating_add(bytes)).and_then(StoredEvent::from_spooled)
        } else {
            let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
            let mut buffer = vec![0; bytes];
            file.read_exact_at(&mut buffer, self.offset(piece, at))?;
            StoredEvent::from_spooled(&buffer)
        };
        Ok(Cow::Owned(event.ok_or(io::ErrorKind::InvalidData)?))
    }

    /// The event is not waited for any more.
    pub(super) fn forget(&mut self, text: &Text) {
        match text {
            Text::Held(event) => {
                self.held_bytes = self.held_bytes.saturating_sub(event.memory());
                self.bytes = self.bytes.saturating_sub(event.memory());
            }
            Text::Spooled { piece, bytes, .. } => {
                self.bytes = self.bytes.saturating_sub(*bytes as usize);
                if let Some(piece) = self.pieces.get_mut(*piece as usize) {
                    piece.waiting = piece.waiting.saturating_sub(1);
                }
            }
        }
    }

    /// Bytes of all texts that are kept.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the next event would take more room than there is.
    pub(super) fn is_full(&self) -> bool {
        let has_room =
            self.pieces.get(self.current).is_some_and(|it| it.bytes < self.sizes.piece / 2);
        let has_file = self.usable > 0 && (has_room || self.free_piece().is_some());
        self.held_bytes >= self.sizes.in_memory && !has_file
    }

    /// Why the file cannot be used; told once.
    pub(super) fn take_trouble(&mut self) -> Option<String> {
        let error = self.trouble.take()?;
        Some(format!(
            "cannot keep events in a file in {} ({error}); strfry is given fewer at once, which is \
             slower",
            self.directory.display()
        ))
    }

    /// `None`: there is no room in the file, or no file.
    fn put_into_file(&mut self, event: &StoredEvent) -> Option<Text> {
        let bytes = event.spooled_bytes();
        let is_over = self.pieces.get(self.current)?.bytes.saturating_add(bytes) > self.sizes.piece;
        let next = match is_over {
            true => self.free_piece().filter(|_| bytes <= self.sizes.piece)?,
            false => self.current,
        };
        if next >= self.usable {
            return None;
        }
        if let Err(error) = self.need_room(next) {
            self.usable = next;
            self.trouble = Some(error);
            return None;
        }
        if is_over {
            if let Err(error) = self.write_buffer() {
                self.give_up(error);
                return None;
            }
            *self.pieces.get_mut(next)? = Piece::default();
            self.current = next;
        }
        let piece = self.pieces.get_mut(self.current)?;
        let text = Text::Spooled {
            piece: u32::try_from(self.current).ok()?,
            at: u32::try_from(piece.bytes).ok()?,
            bytes: u32::try_from(bytes).ok()?,
        };
        event.push_spooled(&mut self.buffer);
        piece.bytes += bytes;
        piece.waiting += 1;
        self.bytes += bytes;
        if self.buffer.len() >= self.sizes.buffer
            && let Err(error) = self.write_buffer()
        {
            // The events before stay in the buffer, which does not grow any more.
            self.give_up(error);
        }
        Some(text)
    }

    /// Looks, before a piece is used for the first time, whether the disk has room for it.
    fn need_room(&mut self, piece: usize) -> io::Result<()> {
        let end = self.offset(piece + 1, 0);
        let more = end.saturating_sub(self.checked_to);
        if more > 0 {
            let free = Room::of(&self.directory)?.bytes;
            if free < self.sizes.left_free.saturating_add(more) {
                let found = format!("its disk has {} MiB free", free >> 20);
                return Err(io::Error::new(io::ErrorKind::StorageFull, found));
            }
            self.checked_to = end;
        }
        Ok(())
    }

    fn free_piece(&self) -> Option<usize> {
        (0..self.usable).find(|&piece| {
            piece != self.current && self.pieces.get(piece).is_some_and(|it| it.waiting == 0)
        })
    }

    fn write_buffer(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let start = self.offset(self.current, self.written());
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
                tempfile::tempfile_in(&self.directory)?
            }
        };
        let file = self.file.insert(file);
        file.write_all_at(&self.buffer, start)?;
        self.buffer.clear();
        Ok(())
    }

    /// Bytes of the current piece that are in the file.
    fn written(&self) -> usize {
        let end = self.pieces.get(self.current).map_or(0, |piece| piece.bytes);
        end.saturating_sub(self.buffer.len())
    }

    fn offset(&self, piece: usize, at: usize) -> u64 {
        (piece as u64).saturating_mul(self.sizes.piece as u64).saturating_add(at as u64)
    }

    fn give_up(&mut self, error: io::Error) {
        self.usable = 0;
        self.trouble = Some(error);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::node::EventLimits;
    use crate::nostr::Event;

    fn event(number: usize, bytes: usize) -> StoredEvent {
        let content = "x".repeat(bytes);
        let text = serde_json::json!({
            "id": format!("{number:064x}"), "pubkey": "22".repeat(32), "created_at": 5, "kind": 1,
            "tags": [["t", "day"]], "content": content, "sig": "33".repeat(64),
        });
        let limits = EventLimits { max_event_size: usize::MAX, ..EventLimits::default() };
        StoredEvent::encode(&Event::parse(&text.to_string()).unwrap(), &limits).unwrap()
    }

    const SMALL: Sizes = Sizes { in_memory: 5_000, piece: 12_000, buffer: 3_000, left_free: 0 };

    #[derive(Debug, Clone)]
    enum Step {
        Put(usize),
        Forget(prop::sample::Index),
    }

    proptest! {
        /// Whichever are forgotten first, and however often pieces are used again.
        #[test]
        fn what_is_kept_comes_back_until_it_is_forgotten(
            steps in prop::collection::vec(
                prop_oneof![
                    3 => (100usize..4_000).prop_map(Step::Put),
                    2 => any::<prop::sample::Index>().prop_map(Step::Forget),
                ],
                1..200,
            ),
        ) {
            let directory = tempfile::tempdir().unwrap();
            let mut spool = Spool::with_sizes(directory.path().to_owned(), SMALL);
            let mut kept: Vec<(usize, usize, Text)> = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Put(_) if spool.is_full() => {}
                    Step::Put(bytes) => {
                        let text = spool.put(event(number, bytes));
                        kept.push((number, bytes, text));
                    }
                    Step::Forget(which) if !kept.is_empty() => {
                        let (_, _, text) = kept.swap_remove(which.index(kept.len()));
                        spool.forget(&text);
                    }
                    Step::Forget(_) => {}
                }
                for (number, bytes, text) in kept.iter().rev().take(2) {
                    prop_assert_eq!(&*spool.get(text).unwrap(), &event(*number, *bytes));
                }
            }
            for (number, bytes, text) in &kept {
                prop_assert_eq!(&*spool.get(text).unwrap(), &event(*number, *bytes));
            }
            prop_assert!(spool.held_bytes <= SMALL.in_memory + SMALL.piece, "{spool:?}");
            kept.iter().for_each(|(_, _, text)| spool.forget(text));
            prop_assert_eq!((spool.held_bytes, spool.bytes), (0, 0));
            let names: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
            prop_assert!(names.is_empty(), "{names:?}");
        }
    }

    /// Fills it; returns why there is no file.
    fn fill(spool: &mut Spool) -> Option<String> {
        let mut kept = Vec::new();
        while !spool.is_full() {
            let number = kept.len();
            kept.push(spool.put(event(number, 1_000)));
        }
        for (number, text) in kept.iter().enumerate() {
            assert_eq!(*spool.get(text).unwrap(), event(number, 1_000));
        }
        let trouble = spool.take_trouble();
        assert_eq!((spool.take_trouble(), kept.len() < 15), (None, trouble.is_some()));
        trouble
    }

    #[test]
    fn without_a_place_for_the_file_events_stay_in_memory_and_it_is_full_sooner() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(fill(&mut Spool::with_sizes(directory.path().to_owned(), SMALL)), None);
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        let trouble = fill(&mut Spool::with_sizes(file.join("state"), SMALL)).unwrap();
        assert!(trouble.contains("state (Not a directory"), "{trouble}");
    }

    #[test]
    fn a_disk_that_is_nearly_full_is_left_to_strfry() {
        let directory = tempfile::tempdir().unwrap();
        let spool = |left_free| {
            Spool::with_sizes(directory.path().to_owned(), Sizes { left_free, ..SMALL })
        };
        let free = Room::of(directory.path()).unwrap().bytes;
        let trouble = fill(&mut spool(free + (1 << 30))).unwrap();
        assert!(
            trouble.contains(" (its disk has ") && trouble.contains("MiB free); "),
            "{trouble}"
        );
        assert_eq!(fill(&mut spool(free / 2)), None);
    }

    #[test]
    fn on_the_disk_of_the_database_more_is_left_free_than_on_another() {
        let directory = tempfile::tempdir().unwrap();
        let left_free = |db: &Path| Spool::new(directory.path().join("state"), db).sizes.left_free;
        assert_eq!(left_free(directory.path()), SCARCE);
        assert_eq!(left_free(Path::new("/proc")), NEARLY_FULL);
    }

    #[test]
    fn if_the_disk_gets_short_the_pieces_that_there_are_are_used_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::with_sizes(directory.path().to_owned(), SMALL);
        let mut kept = Vec::new();
        while spool.current < 2 {
            kept.push(spool.put(event(kept.len(), 1_000)));
        }
        spool.sizes.left_free = u64::MAX / 2;
        while !spool.is_full() {
            kept.push(spool.put(event(kept.len(), 1_000)));
        }
        assert_eq!((spool.usable, spool.current), (3, 2));
        for (number, text) in kept.iter().enumerate() {
            assert_eq!(*spool.get(text).unwrap(), event(number, 1_000));
        }
        assert!(spool.take_trouble().unwrap().contains("its disk has "));
        let is_in_first = |text: &Text| matches!(text, Text::Spooled { piece: 0, .. });
        kept.iter().filter(|text| is_in_first(text)).for_each(|text| spool.forget(text));
        assert!(!spool.is_full());
        let text = spool.put(event(1_000, 1_000));
        assert!(is_in_first(&text), "{text:?}");
        assert_eq!(*spool.get(&text).unwrap(), event(1_000, 1_000));
    }
}
