//! Who holds a lock file, and for how long.
//!
//! The time of the file alone does not tell: any program can touch it, and a clock that is set
//! makes it wrong. A run takes its lock when it starts, so the age of the process that the file
//! names is better, if that process is one of this program.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::Duration;

/// A run that goes on for longer is more likely to hang than to work: callers start one each hour.
const TOO_LONG: Duration = Duration::from_secs(2 * 3_600);
/// A holder that seems to be an old one is looked at so often before that is believed, with this
/// pause: one that has just taken the lock has not written its PID yet.
const LOOKS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(50);

/// More than any PID takes.
const MAX_PID_BYTES: usize = 32;
/// `USER_HZ`, the unit of times in `/proc` on the platforms of strfry (Linux,
/// include/asm-generic/param.h).
const TICKS_PER_SECOND: u64 = 100;
/// A command name in `/proc` has this many bytes at most (proc(5), `TASK_COMM_LEN`).
const MAX_NAME_BYTES: usize = 15;
/// The names by which this program is called.
const OWN_NAMES: [&str; 2] = ["strfry-companion", "backfill_constellation.sh"];

/// Another process that holds the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Who it is, as far as the file tells.
    pub pid: Option<u32>,
    /// For how long it has held the lock: its age if it is a run of this program, else the time
    /// since the file was last written. `None` if the clock says that this is still to come.
    pub held_for: Option<Duration>,
}

impl Holder {
    /// Looks who holds the lock on `file`. If that has gone on for long, looks for half a second.
    pub(super) fn of(file: &File) -> Self {
        let mut holder = Self::look(file);
        for _ in 1..LOOKS {
            if !holder.is_overdue() {
                break;
            }
            thread::sleep(PAUSE);
            holder = Self::look(file);
        }
        holder
    }

    /// Whether it has held the lock for more than two hours.
    pub fn is_overdue(&self) -> bool {
        self.held_for.is_some_and(|time| time > TOO_LONG)
    }

    fn look(file: &File) -> Self {
        let pid = read_pid(file);
        let written = || file.metadata().ok()?.modified().ok()?.elapsed().ok();
        Self { pid, held_for: pid.and_then(age_of_run).or_else(written) }
    }
}

fn read_pid(file: &File) -> Option<u32> {
    let mut text = [0; MAX_PID_BYTES];
    let length = file.read_at(&mut text, 0).ok()?;
    let text = std::str::from_utf8(text.get(..length)?).ok()?;
    text.trim().parse().ok().filter(|pid| *pid != 0)
}

/// The age of a process, if it is a run of this program.
fn age_of_run(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (name, started) = name_and_start(&stat)?;
    let is_ours = OWN_NAMES.iter().any(|own| own.get(..MAX_NAME_BYTES) == Some(name));
    let uptime = fs::read_to_string("/proc/uptime").ok().filter(|_| is_ours)?;
    let uptime: f64 = uptime.split(' ').next()?.parse().ok()?;
    Duration::try_from_secs_f64(uptime).ok()?.checked_sub(started)
}

/// The command name of a process, and when it started, since the machine did (proc_pid_stat(5)).
fn name_and_start(stat: &str) -> Option<(&str, Duration)> {
    // A name may hold brackets and spaces, so the last bracket counts.
    let (before, after) = stat.rsplit_once(") ")?;
    let (_, name) = before.split_once(" (")?;
    // It is field 22, and the first after the name is field 3.
    let ticks: u64 = after.split(' ').nth(22 - 3)?.parse().ok()?;
    let milliseconds = ticks.checked_mul(1_000)? / TICKS_PER_SECOND;
    Some((name, Duration::from_millis(milliseconds)))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn name_and_start_of_a_process_are_read_whatever_its_name_is() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 123456 20";
        assert_eq!(
            name_and_start(&format!("42 (a) b (c) {rest}")),
            Some(("a) b (c", Duration::from_millis(1_234_560)))
        );
        for junk in ["", "42", "42 (x) S 1 2", &format!("42 (x) {rest}").replace("123456", "-1")] {
            assert_eq!(name_and_start(junk), None, "{junk}");
        }
    }

    #[test]
    fn a_file_whose_holder_is_no_run_of_this_program_tells_by_its_own_time() {
        let file = tempfile::tempfile().unwrap();
        for text in ["", "no PID", "4294967295", &std::process::id().to_string()] {
            file.set_len(0).unwrap();
            file.write_at(text.as_bytes(), 0).unwrap();
            file.set_modified(SystemTime::now() - 3 * HOUR).unwrap();
            let holder = Holder::of(&file);
            let held = holder.held_for.unwrap();
            assert!(held >= 3 * HOUR && held < 4 * HOUR && holder.is_overdue(), "{held:?}");
        }
        file.set_modified(SystemTime::now() - HOUR).unwrap();
        assert!(!Holder::of(&file).is_overdue());
    }

    #[test]
    fn a_file_from_the_future_does_not_tell() {
        let file = tempfile::tempfile().unwrap();
        file.set_modified(SystemTime::now() + HOUR).unwrap();
        assert_eq!(Holder::of(&file), Holder { pid: None, held_for: None });
    }

    #[test]
    fn a_run_that_is_about_to_write_its_pid_is_no_old_one() {
        let file = tempfile::tempfile().unwrap();
        file.write_at(b"4194304", 0).unwrap();
        file.set_modified(SystemTime::now() - 3 * HOUR).unwrap();
        assert!(Holder::look(&file).is_overdue());
        thread::scope(|scope| {
            let looking = scope.spawn(|| Holder::of(&file));
            file.write_at(b"4194303", 0).unwrap();
            let holder = looking.join().unwrap();
            assert_eq!((holder.pid, holder.is_overdue()), (Some(4_194_303), false));
        });
    }
}
