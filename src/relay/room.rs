//! Memory that peers may use beyond what each has for itself: one amount for all of a run, so that
//! however many peers send large messages at once, the node keeps its memory.
//!
//! A connection that reads more than a small message waits until there is room for the largest, and
//! gives it back when the message has been handled. It takes all of it at once or nothing, so that
//! no two wait for each other.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use super::limits::{MESSAGE, ROOM_KIB, SMALL_MESSAGE};

/// Memory that all peers of a run share. A clone is of the same.
#[derive(Debug, Clone)]
pub struct Room(Arc<Semaphore>);

/// Some of it, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Held(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ROOM_KIB)))
    }
}

impl Room {
    /// Room for so many bytes, if there is any now.
    pub(super) fn take(&self, bytes: usize) -> Option<Held> {
        let kib = u32::try_from(bytes.div_ceil(1024)).ok()?;
        Arc::clone(&self.0).try_acquire_many_owned(kib).ok().map(Held)
    }

    fn for_a_message(&self) -> Waiting {
        let kib = u32::try_from(MESSAGE.div_ceil(1024)).unwrap_or(u32::MAX);
        Box::pin(Arc::clone(&self.0).acquire_many_owned(kib))
    }
}

type Waiting = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>;

/// What a connection has read of a message that has not come to its end.
#[derive(Debug, Default)]
pub(super) struct Meter {
    bytes: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: Option<Held>,
    waits_since: Option<Instant>,
    waited: Duration,
}

impl Meter {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is read from now on belongs to the next message.
    pub(super) fn begin_message(&self) {
        self.bytes.store(0, Ordering::Relaxed);
    }

    /// The memory of the message before has been given back. Its room goes too, if the next is not
    /// large already.
    pub(super) fn end_message(&self) {
        if !self.is_large() {
            self.state().held = None;
        }
    }

    /// Whether more has been read than a small message.
    pub(super) fn is_large(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > SMALL_MESSAGE
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

/// A stream that reads no more of a message than there is room for.
pub(super) struct Metered<S> {
    stream: S,
    meter: Arc<Meter>,
    room: Room,
    waiting: Option<Waiting>,
}

impl<S> std::fmt::Debug for Metered<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metered").field("meter", &self.meter).finish_non_exhaustive()
    }
}

impl<S> Metered<S> {
    pub(super) fn new(stream: S, room: Room) -> (Self, Arc<Meter>) {
        let meter = Arc::<Meter>::default();
        (Self { stream, meter: Arc::clone(&meter), room, waiting: None }, meter)
    }

    /// Ready when the next bytes may be read.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let bytes = self.meter.bytes.load(Ordering::Relaxed);
        if bytes <= SMALL_MESSAGE {
            return Poll::Ready(Ok(()));
        }
        // With what belongs to the next message, or to the headers of a message in many parts.
        if bytes > MESSAGE + SMALL_MESSAGE {
            let error = format!("a message is longer than {MESSAGE} bytes");
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        if self.meter.state().held.is_some() {
            return Poll::Ready(Ok(()));
        }
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
        state.held = Some(Held(acquired?));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_room(context))?;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.meter.bytes.fetch_add(buffer.filled().len() - before, Ordering::Relaxed);
        Poll::Ready(Ok(()))
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// So many large messages fit.
    const LARGE: usize = ROOM_KIB / (MESSAGE / 1024);

    #[tokio::test]
    async fn a_large_message_waits_for_room_and_a_small_one_does_not() {
        let room = Room::default();
        let held = (0..LARGE).map(|_| room.take(MESSAGE).unwrap()).collect::<Vec<_>>();
        assert!(room.take(MESSAGE).is_none());
        let (mut theirs, ours) = duplex(MESSAGE);
        let (mut metered, meter) = Metered::new(ours, room);
        theirs.write_all(&vec![0; MESSAGE]).await.unwrap();
        let mut bytes = vec![0; SMALL_MESSAGE + 1];
        metered.read_exact(&mut bytes).await.unwrap();
        assert!(meter.is_large());
        let mut one = [0];
        tokio::select! {
            biased;
            _ = metered.read_exact(&mut one) => panic!("read without room"),
            () = tokio::task::yield_now() => {}
        }
        assert!(meter.take_waited() > Duration::ZERO);
        drop(held);
        metered.read_exact(&mut one).await.unwrap();
        meter.begin_message();
        meter.end_message();
        assert_eq!(metered.room.0.available_permits(), ROOM_KIB);
        assert_eq!((meter.take_waited(), meter.take_waited()).1, Duration::ZERO);
    }

    #[tokio::test]
    async fn a_message_in_many_parts_is_no_longer_than_one_in_one() {
        let (mut theirs, ours) = duplex(4 * MESSAGE);
        let (mut metered, _) = Metered::new(ours, Room::default());
        theirs.write_all(&vec![0; 2 * MESSAGE]).await.unwrap();
        drop(theirs);
        let error = metered.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.to_string(), "a message is longer than 2097152 bytes");
    }
}
