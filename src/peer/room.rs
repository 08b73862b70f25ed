//! Memory that peers may use beyond what each has for itself: one amount for all of a run, so that
//! however many peers send large messages at once, the node keeps its memory.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use super::limits::{MESSAGE, PAGE_IDS_KIB, ROOM_KIB};

/// Memory that all peers of a run share. A clone is of the same.
#[derive(Debug, Clone)]
pub struct Room {
    messages: Arc<Semaphore>,
    page_ids: Arc<Semaphore>,
}

/// Some of it, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Held(#[expect(dead_code, reason = "it is held")] OwnedSemaphorePermit);

impl Default for Room {
    fn default() -> Self {
        let [messages, page_ids] =
            [ROOM_KIB, PAGE_IDS_KIB].map(|kib| Arc::new(Semaphore::new(kib)));
        Self { messages, page_ids }
    }
}

impl Room {
    /// Room for so many bytes of ids of pages, if there is any now.
    pub(super) fn for_page_ids(&self, bytes: usize) -> Option<Held> {
        let kib = u32::try_from(bytes.div_ceil(1024)).ok()?;
        Arc::clone(&self.page_ids).try_acquire_many_owned(kib).ok().map(Held)
    }

    /// Room for the largest message, when there is some. All of it at once or nothing, so that no two
    /// connections wait for each other.
    pub(super) fn for_a_message(&self) -> WaitForRoom {
        let kib = u32::try_from(MESSAGE.div_ceil(1024)).unwrap_or(u32::MAX);
        let acquired = Arc::clone(&self.messages).acquire_many_owned(kib);
        Box::pin(async { acquired.await.map(Held) })
    }

    /// Whether nothing of it is taken.
    #[cfg(test)]
    pub(super) fn is_free(&self) -> bool {
        self.messages.available_permits() == ROOM_KIB
    }
}

/// An error means that the room is gone for good, which never happens.
pub(super) type WaitForRoom = Pin<Box<dyn Future<Output = Result<Held, AcquireError>> + Send>>;
