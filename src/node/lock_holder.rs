//! Who holds a lock file, and for how long.
//!
//! The time of the file alone does not tell: any program can touch it, and a clock that is set
//! makes it wrong. A run takes its lock when it starts, so the age of the process that the file
//! names is better, if that process is one of this program.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
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
/// Bytes of `/proc/locks` that are read: some 20,000 locks.
const LOCKS: u64 = 1 << 20;
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

/// Whether somebody holds a lock on this file, as far as `/proc/locks` (proc(5)) tells: it names
/// none whose holder is in another PID namespace. To try the lock would tell it surely, and in that
/// moment keep a run from starting.
pub(super) fn is_held(file: &File) -> io::Result<bool> {
    let metadata = file.metadata()?;
    let device = metadata.dev();
    let device = (u64::from(rustix::fs::major(device)), u64::from(rustix::fs::minor(device)));
    let mut locks = Vec::new();
    File::open("/proc/locks")?.take(LOCKS).read_to_end(&mut locks)?;
    let locks = String::from_utf8_lossy(&locks);
    let held = locks.lines().filter_map(Lock::parse).filter(|lock| lock.inode == metadata.ino());
    let pid = read_pid(file);
    // Some file systems (btrfs) give their files the number of another device.
    Ok(held.into_iter().any(|lock| lock.device == device || (pid.is_some() && lock.pid == pid)))
}

/// A process that the file names and that seems to be a run of this program.
pub(super) fn named_run(file: &File) -> Option<Holder> {
    let pid = read_pid(file)?;
    age_of_run(pid).map(|age| Holder { pid: Some(pid), held_for: Some(age) })
}

/// A line of `/proc/locks`.
#[derive(Debug, PartialEq, Eq)]
struct Lock {
    pid: Option<u32>,
    /// Major and minor number.
    device: (u64, u64),
    inode: u64,
}

impl Lock {
    /// `None` for a line of another form, and for somebody who waits for a lock.
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK" | "POSIX" | "OFDLCK", _, _, pid, place, ..] = words[..] else {
            return None;
        };
        let mut place = place.split(':');
        let hex = |word: Option<&str>| u64::from_str_radix(word?, 16).ok();
        let device = (hex(place.next())?, hex(place.next())?);
        Some(Self { pid: pid.parse().ok(), device, inode: place.next()?.parse().ok()? })
    }
}

pub(super) fn read_pid(file: &File) -> Option<u32> {
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

    use rustix::fs::{FlockOperation, flock};

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
    fn a_line_of_locks_is_read_and_one_that_waits_is_passed_over() {
        let lock = Lock { pid: Some(12347), device: (0xfe, 1), inode: 10_240_009 };
        for (line, expected) in [
            ("1: FLOCK  ADVISORY  WRITE 12347 fe:01:10240009 0 EOF", Some(lock)),
            ("1: -> FLOCK  ADVISORY  WRITE 12347 fe:01:10240009 0 EOF", None),
            ("1: LEASE  ACTIVE  READ 12347 fe:01:10240009 0 EOF", None),
            (
                "2: OFDLCK ADVISORY  READ -1 00:2a:7 0 EOF",
                Some(Lock { pid: None, device: (0, 0x2a), inode: 7 }),
            ),
            ("1: FLOCK  ADVISORY  WRITE 12347 fe:01", None),
            ("1: FLOCK  ADVISORY  WRITE 12347 x:y:z 0 EOF", None),
            ("", None),
        ] {
            assert_eq!(Lock::parse(line), expected, "{line}");
        }
    }

    #[test]
    fn a_lock_is_seen_as_long_as_it_is_held_and_not_taken_by_the_look() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let file = File::create(&path).unwrap();
        assert!(!is_held(&file).unwrap());
        flock(&file, FlockOperation::LockExclusive).unwrap();
        assert!(is_held(&File::open(&path).unwrap()).unwrap());
        flock(&file, FlockOperation::Unlock).unwrap();
        assert!(!is_held(&File::open(&path).unwrap()).unwrap());
        flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
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
