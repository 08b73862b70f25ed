//! How much memory this process has taken.

use std::fs::File;
use std::io::Read;

/// Bytes of `/proc/self/status`: about 1,500.
const STATUS: usize = 4_096;

/// The most memory that this process has had at once (resident), in bytes. `None` without `/proc`.
pub fn peak_memory() -> Option<u64> {
    let mut status = [0; STATUS];
    let read = File::open("/proc/self/status").and_then(|mut file| file.read(&mut status)).ok()?;
    peak_of(&String::from_utf8_lossy(status.get(..read)?))
}

fn peak_of(status: &str) -> Option<u64> {
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = peak.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_in_bytes() {
        assert_eq!(peak_of("Name:\tx\nVmHWM:\t   7520 kB\n"), Some(7_520 * 1_024));
        assert_eq!(peak_of("VmHWM:\t-1 kB\n"), None);
        assert!(peak_memory() > Some(1_024 * 1_024));
    }
}
