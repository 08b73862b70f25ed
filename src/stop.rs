//! Being told to stop: once means in order, twice means at once.
//!
//! Everything that may wait for long looks here. Where the word comes from, such as a signal, is
//! no business of this file.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// How long, after it was told to stop, a run waits for strfry to commit what it has been given,
/// and for a reader of its output. What a signal may take as a whole is twice that.
pub const GRACE: Duration = Duration::from_secs(5);

/// Whether a run is to stop, and until when it may still wait. All clones are the same one.
#[derive(Debug, Clone)]
pub struct Stop(Arc<watch::Sender<Option<Instant>>>);

impl Stop {
    /// Tells the run to stop: to begin nothing new, and to end what it has begun within [`GRACE`].
    /// Told again, it waits for nothing more.
    pub fn tell(&self) {
        self.0.send_modify(|deadline| {
            let now = Instant::now();
            *deadline = Some(if deadline.is_some() { now } else { now + GRACE });
        });
    }

    /// Whether the run has been told to stop.
    pub fn is_told(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Whether it has been told, and must not wait any longer.
    pub fn is_overdue(&self) -> bool {
        self.0.borrow().is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Returns when the run is told to stop.
    pub async fn told(&self) {
        // The sender is `self`, so it is not gone.
        let _ = self.0.subscribe().wait_for(Option::is_some).await;
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_leaves_time_and_the_second_none() {
        let (stop, other) = (Stop::default(), Stop::default());
        let clone = stop.clone();
        assert!(!clone.is_told() && !clone.is_overdue());
        stop.tell();
        assert!(clone.is_told() && !clone.is_overdue());
        stop.tell();
        assert!(clone.is_told() && clone.is_overdue());
        assert!(!other.is_told());
    }

    #[tokio::test]
    async fn whoever_waits_for_the_word_is_woken_also_if_it_came_before() {
        let stop = Stop::default();
        let waiting = tokio::spawn({
            let stop = stop.clone();
            async move { stop.told().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        stop.tell();
        waiting.await.unwrap();
        stop.told().await;
    }
}
