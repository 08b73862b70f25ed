//! A stream of WebSocket frames that gives no more of a large message than there is [`Room`] for.
//!
//! It knows where frames and messages begin and end (RFC 6455, section 5.2). The head of a large frame
//! is given by itself: then the library, which keeps its buffer for as long as anything is behind the
//! message in it, has to get itself another one for the next message.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::limits::{MESSAGE, READ_AT_ONCE, SMALL_MESSAGE};
use super::room::{Held, Room, WaitForRoom};

/// What is known of the message that is being read.
#[derive(Debug, Default)]
pub(super) struct Meter(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    is_large: bool,
    held: Option<Held>,
    waits_since: Option<Instant>,
    waited: Duration,
}

impl Meter {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The memory of the message before has been given back. Its room goes too, if the next is not
    /// large already.
    pub(super) fn give_room_back(&self) {
        let mut state = self.state();
        if !state.is_large {
            state.held = None;
        }
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
    /// Payload of the current message so far, from all its frames.
    message: u64,
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
        let meter = Arc::<Meter>::default();
        let metered = Self {
            stream,
            meter: Arc::clone(&meter),
            room,
            waiting: None,
            buffer: vec![0; READ_AT_ONCE].into(),
            unread: 0..0,
            part: Part::Handshake { line: 0 },
            message: 0,
        };
        (metered, meter)
    }

    /// Gives as much as may be given of what has been read.
    fn give(&mut self, out: &mut ReadBuf<'_>) -> io::Result<Pause> {
        while out.remaining() > 0 {
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
                    out.put_slice(&[first]);
                    self.unread.start += 1;
                    if let Some(byte) = bytes.get_mut(*length) {
                        *byte = first;
                    }
                    *length += 1;
                    let head = bytes.get(..*length).unwrap_or_default();
                    if let Some((payload, kind)) = parse_head(head)
                        && self.begin_frame(payload, kind)?
                    {
                        // The library makes room for the payload when it has seen this.
                        break;
                    }
                }
                Part::Payload { left, kind } => {
                    let (is_control, is_last) = (*kind == Frame::Control, *kind == Frame::Last);
                    if !is_control && self.meter.state().is_large_without_room() {
                        return Ok(Pause::NeedsRoom);
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
            }
        }
        Ok(Pause::Given)
    }

    /// Whether the frame belongs to a large message.
    fn begin_frame(&mut self, payload: u64, kind: Frame) -> io::Result<bool> {
        if kind != Frame::Control {
            self.message = self.message.saturating_add(payload);
            if self.message > MESSAGE as u64 {
                let error = format!("a message is longer than {MESSAGE} bytes");
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
        let is_large = kind != Frame::Control && self.message > SMALL_MESSAGE as u64;
        if is_large {
            self.meter.state().is_large = true;
        }
        self.part = Part::Payload { left: payload, kind };
        if payload == 0 {
            self.end_frame(kind == Frame::Last);
        }
        Ok(is_large)
    }

    fn end_frame(&mut self, is_last: bool) {
        self.part = Part::Head { bytes: [0; HEAD], length: 0 };
        if is_last {
            self.message = 0;
            self.meter.state().is_large = false;
        }
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
            let pause = this.give(out)?;
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
            if this.unread.is_empty() {
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

    #[tokio::test]
    async fn a_message_is_no_longer_in_many_parts_than_in_one() {
        for bytes in [
            frame(0x81, MESSAGE + 1),
            [frame(0x01, MESSAGE), frame(0x89, 1), frame(0x80, 1)].concat(),
            [&[0x81, 127][..], &[0xff; 8]].concat(),
        ] {
            let error = read(&[HANDSHAKE, &bytes].concat(), &Room::default()).await.unwrap_err();
            assert_eq!(error.to_string(), "a message is longer than 2097152 bytes");
        }
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
            bytes.extend(rest.iter().map(|byte| byte & 0x7f));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            if let Ok(pieces) = runtime.block_on(read(&bytes, &Room::default())) {
                prop_assert!(pieces.concat() == bytes);
            }
        }
    }
}
