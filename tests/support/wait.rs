//! Waiting for something that another process does.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Long enough for a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// Returns as soon as it is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "still waiting until {what}");
        sleep(Duration::from_millis(10));
    }
}
