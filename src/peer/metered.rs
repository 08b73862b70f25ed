//! A stream of WebSocket frames that gives no more of a large message than there is [`Room`] for,
//! and a mark in place of one that is too large for us.
//!
//! It knows where frames and messages begin and end (RFC 6455, section 5.2). The head of a large frame
//! is given by itself: then the library, which keeps its buffer for as long as anything is behind the
//! message in it, has to get itself another one for the next message.
//!
//! A message beyond [`MESSAGE`] is read past; only its beginning and its end are kept. Where it would
//! end, the library is given a binary message that ends in the mark of this connection, which no
//! relay can guess: a message of its own, or the last part of the one that had begun. A message in
//! parts is binary for the library from its beginning, so that no part has to end between characters.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::limits::{MESSAGE, READ_AT_ONCE, SMALL_MESSAGE};
use super::room::{Held, Room, WaitForRoom};

/// What is known of the message that is being read.
#[derive(Debug)]
pub(super) struct Meter {
    state: Mutex<State>,
    mark: Mark,
}

#[derive(Debug, Default)]
struct State {
    is_large: bool,
    held: Option<Held>,
    waits_since: Option<Instant>,
    waited: Duration,
    /// Those whose mark has been given and not been found by now.
    too_large: VecDeque<Skipped>,
}

/// A message that was too large.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Skipped {
    /// All of it.
    pub(super) bytes: u64,
    /// Its first bytes, unless they were given as parts of it.
    pub(super) beginning: Vec<u8>,
    /// Its last bytes.
    pub(super) end: Vec<u8>,
}

/// Ends a message that is none.
type Mark = [u8; 16];

impl Meter {
    /// If this message ends in the mark, what it stands for, and the parts that were given before.
    pub(super) fn too_large<'a>(&self, message: &'a [u8]) -> Option<(Skipped, &'a [u8])> {
        let parts = message.strip_suffix(&self.mark)?;
        let skipped = self.state().too_large.pop_front()?;
        Some((skipped, parts))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The memory of the message before has been given back. Its room goes too, if the next is not
    /// large already.
    pub(super) fn give_room_back(&self) {
        let mut state = self.state();
        if !state.is_large {
            state.held = None;
        }
    }

    /// Whether room for a large message is held.
    pub(super) fn holds_room(&self) -> bool {
        self.state().held.is_some()
    }

    /// For how long the connection has waited for room since this was called last.
    pub(super) fn take_waited(&self) -> Duration {
        let State { waits_since, waited, .. } = &mut *self.state();
        if let Some(since) = waits_since {
            let now = Instant::now();
            *waited += now - *since;
            *since = now;
        }
        std::mem::take(waited)
    }
}

/// A stream as a client reads it, from the answer to its handshake on.
pub(super) struct Metered<S> {
    stream: S,
    meter: Arc<Meter>,
    room: Room,
    waiting: Option<WaitForRoom>,
    /// Bytes that have been read and not been given.
    buffer: Box<[u8]>,
    unread: std::ops::Range<usize>,
    part: Part,
    /// To be given before anything else that was read.
    queued: Queued,
    /// Payload of the current message so far, from all its frames.
    message: u64,
    /// The library has been given the beginning of a message, and waits for the rest.
    is_begun: bool,
    /// The current message is too large.
    skipped: Option<Skipped>,
}

/// A few bytes that wait to be given.
#[derive(Debug, Default)]
struct Queued {
    bytes: VecDeque<u8>,
    /// Nothing else is given in the same moment.
    is_alone: bool,
}

/// Which part of the stream comes next.
#[derive(Debug)]
enum Part {
    /// The answer to the handshake; so many bytes of the empty line at its end have come.
    Handshake { line: usize },
    /// The head of a frame.
    Head { bytes: [u8; HEAD], length: usize },
    /// The payload of a frame.
    Payload { left: u64, kind: Frame },
    /// The payload of a frame that is not given.
    Skipped { left: u64, is_last: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frame {
    /// A ping and the like, which may come between the frames of a message.
    Control,
    Part,
    Last,
}

/// Bytes of the longest head: two, a length of eight, a mask of four.
const HEAD: usize = 14;
/// Bytes that are kept of each end of a message that is too large. In one of them is the event's
/// id: relays write the content first or last, or near to the id.
pub(super) const KEPT: usize = 4_096;
const END_OF_HANDSHAKE: &[u8] = b"\r\n\r\n";

/// Why no more is given now.
enum Pause {
    /// All that was read has been given, or as much as was asked for.
    Given,
    /// A large message goes on.
    NeedsRoom,
}

impl<S> std::fmt::Debug for Metered<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metered").field("part", &self.part).finish_non_exhaustive()
    }
}

impl<S> Metered<S> {
    pub(super) fn new(stream: S, room: Room) -> (Self, Arc<Meter>) {
        let mark = fastrand::u128(..).to_ne_bytes();
        let meter = Arc::new(Meter { state: Mutex::default(), mark });
        let metered = Self {
            stream,
            meter: Arc::clone(&meter),
            room,
            waiting: None,
            buffer: vec![0; READ_AT_ONCE].into(),
            unread: 0..0,
            part: Part::Handshake { line: 0 },
            queued: Queued::default(),
            message: 0,
            is_begun: false,
            skipped: None,
        };
        (metered, meter)
    }

    /// Gives as much as may be given of what has been read.
    fn give(&mut self, out: &mut ReadBuf<'_>) -> Pause {
        while out.remaining() > 0 {
            if !self.queued.bytes.is_empty() {
                if self.queued.give(out) {
                    break;
                }
                continue;
            }
            let unread = self.buffer.get(self.unread.clone()).unwrap_or_default();
            let Some(&first) = unread.first() else { break };
            match &mut self.part {
                Part::Handshake { line } => {
                    out.put_slice(&[first]);
                    self.unread.start += 1;
                    *line = match END_OF_HANDSHAKE.get(*line) {
                        Some(&next) if next == first => *line + 1,
                        _ => usize::from(first == b'\r'),
                    };
                    if *line == END_OF_HANDSHAKE.len() {
                        self.part = Part::Head { bytes: [0; HEAD], length: 0 };
                    }
                }
                Part::Head { bytes, length } => {
                    self.unread.start += 1;
                    if let Some(byte) = bytes.get_mut(*length) {
                        *byte = first;
                    }
                    *length += 1;
                    let (bytes, length) = (*bytes, *length);
                    let head = bytes.get(..length).unwrap_or_default();
                    if let Some((payload, kind)) = parse_head(head) {
                        self.begin_frame(head, payload, kind);
                    }
                }
                Part::Payload { left, kind } => {
                    let (is_control, is_last) = (*kind == Frame::Control, *kind == Frame::Last);
                    if !is_control && self.meter.state().is_large_without_room() {
                        return Pause::NeedsRoom;
                    }
                    let most = usize::try_from(*left).unwrap_or(usize::MAX);
                    let some = unread.len().min(out.remaining()).min(most);
                    out.put_slice(unread.get(..some).unwrap_or_default());
                    self.unread.start += some;
                    *left -= some as u64;
                    if *left == 0 {
                        self.end_frame(is_last);
                    }
                }
                Part::Skipped { left, is_last } => {
                    let is_last = *is_last;
                    let most = usize::try_from(*left).unwrap_or(usize::MAX);
                    let some = unread.get(..unread.len().min(most)).unwrap_or_default();
                    if let Some(skipped) = &mut self.skipped {
                        skipped.keep(some, !self.is_begun);
                    }
                    self.unread.start += some.len();
                    *left -= some.len() as u64;
                    if *left == 0 {
                        self.end_frame(is_last);
                    }
                }
            }
        }
        Pause::Given
    }

    /// Gives the head of a frame, or begins to read past the frame.
    fn begin_frame(&mut self, head: &[u8], payload: u64, kind: Frame) {
        let is_last = kind == Frame::Last;
        if kind == Frame::Control {
            self.queued.bytes.extend(head);
            self.part = Part::Payload { left: payload, kind };
        } else {
            let before = self.message;
            self.message = before.saturating_add(payload);
            if self.message > MESSAGE as u64 || self.skipped.is_some() {
                let skipped = self.skipped.get_or_insert_default();
                skipped.bytes = self.message;
                self.part = Part::Skipped { left: payload, is_last };
            } else {
                self.queued.bytes.extend(head);
                if let Some(first) = self.queued.bytes.front_mut()
                    && !is_last
                {
                    *first = in_parts(*first);
                }
                self.is_begun = !is_last;
                if self.message > SMALL_MESSAGE as u64 {
                    self.meter.state().is_large = true;
                    // The library makes room for the payload when it has seen this.
                    self.queued.is_alone = true;
                }
                self.part = Part::Payload { left: payload, kind };
            }
        }
        if payload == 0 {
            self.end_frame(is_last);
        }
    }

    /// The stream has ended: what was kept of a head is given as it is; false if there is nothing.
    fn give_up_head(&mut self) -> bool {
        let Part::Head { bytes, length } = &mut self.part else { return false };
        let head = bytes.get(..std::mem::take(length)).unwrap_or_default();
        self.queued.bytes.extend(head);
        !head.is_empty()
    }

    fn end_frame(&mut self, is_last: bool) {
        self.part = Part::Head { bytes: [0; HEAD], length: 0 };
        if !is_last {
            return;
        }
        self.message = 0;
        let mut state = self.meter.state();
        state.is_large = false;
        if let Some(skipped) = self.skipped.take() {
            state.too_large.push_back(skipped);
            let first = if self.is_begun { LAST_PART } else { BINARY };
            self.queued.bytes.extend([first, size_of::<Mark>() as u8]);
            self.queued.bytes.extend(self.meter.mark);
        }
        self.is_begun = false;
    }

    /// Ready when there is room for a large message.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let room = &self.room;
        let waiting = self.waiting.get_or_insert_with(|| room.for_a_message());
        let acquired = match waiting.as_mut().poll(context) {
            Poll::Ready(acquired) => acquired.map_err(io::Error::other),
            Poll::Pending => {
                self.meter.state().waits_since.get_or_insert_with(Instant::now);
                return Poll::Pending;
            }
        };
        self.waiting = None;
        let mut state = self.meter.state();
        if let Some(since) = state.waits_since.take() {
            state.waited += since.elapsed();
        }
        state.held = Some(acquired?);
        Poll::Ready(Ok(()))
    }
}

impl Queued {
    /// Gives as much as there is place for; whether nothing else may follow now.
    fn give(&mut self, out: &mut ReadBuf<'_>) -> bool {
        let some = self.bytes.len().min(out.remaining());
        self.bytes.drain(..some).for_each(|byte| out.put_slice(&[byte]));
        self.bytes.is_empty() && std::mem::take(&mut self.is_alone)
    }
}

impl Skipped {
    fn keep(&mut self, some: &[u8], is_from_beginning: bool) {
        let room = KEPT.saturating_sub(self.beginning.len());
        if is_from_beginning && room > 0 {
            self.beginning.extend_from_slice(some.get(..room).unwrap_or(some));
        }
        let last = some.get(some.len().saturating_sub(KEPT)..).unwrap_or_default();
        let surplus = (self.end.len() + last.len()).saturating_sub(KEPT);
        self.end.drain(..surplus.min(self.end.len()));
        self.end.extend_from_slice(last);
    }
}

/// The first byte of the only frame of a binary message, and of the last part of any message.
const BINARY: u8 = 0x82;
const LAST_PART: u8 = 0x80;

/// The first byte of a frame that is not the last of its message: a text becomes binary.
fn in_parts(first: u8) -> u8 {
    if first & 0x0f == 0x01 { first ^ 0x03 } else { first }
}

impl State {
    fn is_large_without_room(&self) -> bool {
        self.is_large && self.held.is_none()
    }
}

/// The length of a frame's payload and its kind; `None`: the head is not complete.
fn parse_head(head: &[u8]) -> Option<(u64, Frame)> {
    let (&first, rest) = head.split_first()?;
    let (&second, rest) = rest.split_first()?;
    let (payload, rest) = match second & 0x7f {
        126 => {
            let (length, rest) = rest.split_first_chunk()?;
            (u16::from_be_bytes(*length).into(), rest)
        }
        127 => {
            let (length, rest) = rest.split_first_chunk()?;
            (u64::from_be_bytes(*length), rest)
        }
        length => (length.into(), rest),
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let kind = match (first & 0x08, first & 0x80) {
        (0, 0) => Frame::Part,
        (0, _) => Frame::Last,
        _ => Frame::Control,
    };
    (rest.len() >= mask).then_some((payload, kind))
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = out.filled().len();
        loop {
            let pause = this.give(out);
            if out.filled().len() > before || out.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if let Pause::NeedsRoom = pause {
                ready!(this.poll_room(context))?;
                continue;
            }
            let mut buffer = ReadBuf::new(&mut this.buffer);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut buffer))?;
            this.unread = 0..buffer.filled().len();
            if this.unread.is_empty() && !this.give_up_head() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const HANDSHAKE: &[u8] = b"HTTP/1.1 101 \r\n\r\n";

    fn frame(first: u8, payload: usize) -> Vec<u8> {
        let length = payload as u64;
        let head = match length {
            0..=125 => vec![first, length as u8],
            126..=0xffff => [&[first, 126], &(length as u16).to_be_bytes()[..]].concat(),
            _ => [&[first, 127], &length.to_be_bytes()[..]].concat(),
        };
        [head, vec![7; payload]].concat()
    }

    /// All that comes of these bytes, in the pieces in which it comes.
    async fn read(bytes: &[u8], room: &Room) -> io::Result<Vec<Vec<u8>>> {
        let (mut theirs, ours) = duplex(bytes.len().max(1));
        theirs.write_all(bytes).await.unwrap();
        drop(theirs);
        let (mut metered, _) = Metered::new(ours, room.clone());
        let (mut pieces, mut piece) = (Vec::new(), vec![0; READ_AT_ONCE]);
        loop {
            match metered.read(&mut piece).await? {
                0 => return Ok(pieces),
                length => pieces.push(piece[..length].to_vec()),
            }
        }
    }

    #[tokio::test]
    async fn the_head_of_a_large_frame_comes_by_itself_and_small_ones_together() {
        let small = [HANDSHAKE, &frame(0x81, 5), &frame(0x89, 0), &frame(0x81, 300)].concat();
        let large = frame(0x81, SMALL_MESSAGE + 1);
        let pieces = read(&[&small[..], &large].concat(), &Room::default()).await.unwrap();
        assert_eq!(pieces[0], [&small[..], &large[..10]].concat());
        assert_eq!(pieces[1..].concat(), large[10..]);
    }

    #[tokio::test]
    async fn a_large_message_waits_for_room_also_in_parts_with_pings_between() {
        let room = Room::default();
        let mut held = Vec::new();
        while let Ok(Ok(room)) = tokio::time::timeout(Duration::ZERO, room.for_a_message()).await {
            held.push(room);
        }
        let part = SMALL_MESSAGE / 2;
        let parts = [HANDSHAKE, &frame(0x01, part), &frame(0x89, 3), &frame(0x00, part)].concat();
        let more = frame(0x80, 1);
        let (mut theirs, ours) = duplex(MESSAGE);
        theirs.write_all(&[&parts[..], &more].concat()).await.unwrap();
        let (mut metered, meter) = Metered::new(ours, room.clone());
        // The last head is given, its payload is not.
        metered.read_exact(&mut vec![0; parts.len() + 2]).await.unwrap();
        let mut one = [0];
        tokio::select! {
            biased;
            _ = metered.read_exact(&mut one) => panic!("read without room"),
            () = tokio::task::yield_now() => {}
        }
        assert!(meter.take_waited() > Duration::ZERO);
        held.clear();
        metered.read_exact(&mut one).await.unwrap();
        assert!(!room.is_free());
        meter.give_room_back();
        assert!(room.is_free());
    }

    /// What the library is given in place of `bytes`, the mark left out, and what stands for it.
    async fn read_past(bytes: &[u8]) -> (Vec<u8>, Vec<Skipped>) {
        let bytes = [HANDSHAKE, bytes].concat();
        let (mut theirs, ours) = duplex(bytes.len());
        theirs.write_all(&bytes).await.unwrap();
        drop(theirs);
        let (mut metered, meter) = Metered::new(ours, Room::default());
        let mut given = Vec::new();
        metered.read_to_end(&mut given).await.unwrap();
        let mut given = given[HANDSHAKE.len()..].to_vec();
        let mark = meter.mark;
        while let Some(at) = given.windows(mark.len()).position(|some| some == mark) {
            given.drain(at..at + mark.len());
        }
        let skipped = std::iter::from_fn(|| meter.too_large(&mark).map(|(skipped, _)| skipped));
        (given, skipped.collect())
    }

    #[tokio::test]
    async fn a_message_that_is_too_large_leaves_a_mark_and_what_is_around_it_is_given() {
        let (small, ping) = (frame(0x81, 5), frame(0x89, 1));
        let large = frame(0x81, MESSAGE + 1);
        let skipped = |bytes: usize, beginning: usize| Skipped {
            bytes: bytes as u64,
            beginning: vec![7; beginning],
            end: vec![7; KEPT],
        };
        let (given, marks) =
            read_past(&[&small[..], &large, &small, &large, &small].concat()).await;
        assert_eq!(given, [&small[..], &[0x82, 16], &small, &[0x82, 16], &small].concat());
        assert!(marks == [skipped(MESSAGE + 1, KEPT), skipped(MESSAGE + 1, KEPT)]);

        // In parts: of what was given before, the mark is the last part.
        let (parts, rest) = (frame(0x01, 300), frame(0x00, MESSAGE));
        let last = frame(0x80, KEPT);
        let bytes = [&parts[..], &ping, &rest, &ping, &last, &small].concat();
        let (given, marks) = read_past(&bytes).await;
        let binary = frame(0x02, 300);
        assert!(given == [&binary[..], &ping, &ping, &[0x80, 16], &small].concat());
        assert!(marks == [skipped(MESSAGE + 300 + KEPT, 0)]);

        // In parts, of which the first is too large already.
        let bytes = [&frame(0x01, MESSAGE + 1)[..], &frame(0x80, 0), &small].concat();
        let (given, marks) = read_past(&bytes).await;
        assert!(given == [&[0x82, 16][..], &small].concat());
        assert!(marks == [skipped(MESSAGE + 1, KEPT)]);
    }

    #[tokio::test]
    async fn a_message_that_never_ends_gives_nothing_and_its_pings_are_given() {
        let endless = [&[0x81, 127][..], &(1u64 << 63).to_be_bytes(), &vec![7; 3 * MESSAGE]];
        let (given, marks) = read_past(&endless.concat()).await;
        assert!(given.is_empty() && marks.is_empty());
        let endless = [frame(0x01, MESSAGE), frame(0x00, MESSAGE), frame(0x89, 3)].concat();
        let (given, marks) = read_past(&[endless.repeat(2)].concat()).await;
        let first = [frame(0x02, MESSAGE), frame(0x89, 3).repeat(2)].concat();
        assert!(given == first && marks.is_empty());
    }

    #[tokio::test]
    async fn nobody_else_makes_a_mark() {
        let (_, meter) = Metered::new(tokio::io::empty(), Room::default());
        assert_eq!(meter.too_large(&meter.mark), None);
        meter.state().too_large.push_back(Skipped::default());
        assert_eq!(meter.too_large(&[0; 16]), None);
        let marked = [b"text", &meter.mark[..]].concat();
        assert_eq!(meter.too_large(&marked), Some((Skipped::default(), &b"text"[..])));
    }

    proptest! {
        #[test]
        fn every_byte_is_given_once_and_in_order(
            frames in proptest::collection::vec((any::<u8>(), 0usize..70_000, any::<bool>()), 0..6),
            rest in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let mut bytes = HANDSHAKE.to_vec();
            for (first, payload, _) in frames {
                // Each message ends, so that none is too long.
                bytes.extend(frame(first | 0x80, payload));
            }
            // No text in parts, which would become binary.
            bytes.extend(rest.iter().map(|byte| byte & 0x7e));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            if let Ok(pieces) = runtime.block_on(read(&bytes, &Room::default())) {
                prop_assert!(pieces.concat() == bytes);
            }
        }
    }
}
