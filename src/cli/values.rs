//! How times are written in arguments: durations, and moments.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::civil::Date;
use jiff::tz::TimeZone;

/// Longest time for one step of a conversation.
const LONGEST_STEP: Duration = Duration::from_secs(3_600);
/// Longest time for strfry to do nothing.
const LONGEST_PATIENCE: Duration = Duration::from_secs(86_400);

/// Seconds, or a whole number with its unit.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h', 'd']) {
        Some(number) => (number, text.get(number.len()..).unwrap_or_default()),
        None => (text, "s"),
    };
    let seconds = match unit {
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => 1,
    };
    let number = number.parse::<u32>().ok().filter(|_| !number.starts_with('+'));
    let time = number.map(|number| Duration::from_secs(u64::from(number) * seconds));
    time.ok_or_else(|| "expected seconds, or a whole number with s, m, h or d".to_owned())
}

/// A duration of one second to an hour.
pub(super) fn step(text: &str) -> Result<Duration, String> {
    up_to(LONGEST_STEP, "1h", text)
}

/// A duration of one second to a day.
pub(super) fn patience(text: &str) -> Result<Duration, String> {
    up_to(LONGEST_PATIENCE, "1d", text)
}

/// A duration as an argument has it.
pub(super) fn in_seconds(time: Duration) -> String {
    format!("{}s", time.as_secs())
}

fn up_to(longest: Duration, named: &str, text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    let fits = (Duration::from_secs(1)..=longest).contains(&time);
    if fits { Ok(time) } else { Err(format!("expected 1s to {named}")) }
}

/// A second since 1970: its number, a date (its first second, UTC), or so long ago.
pub(super) fn moment(text: &str) -> Result<u64, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    moment_at(now, text)
}

fn moment_at(now: u64, text: &str) -> Result<u64, String> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    if let (true, Ok(second)) = (is_number, text.parse()) {
        return Ok(second);
    }
    if let Ok(ago) = duration(text) {
        return Ok(now.saturating_sub(ago.as_secs()));
    }
    let first_second =
        |date: Date| date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second().try_into().ok();
    let date = (text.len() == "2026-11-01".len()).then(|| text.parse::<Date>().ok()).flatten();
    date.and_then(first_second).ok_or_else(|| {
        "expected a second since 1970, a date such as 2026-11-01, or how long ago, such as 3d"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_seconds_or_a_whole_number_with_its_unit() {
        let seconds = |text| duration(text).map(|time| time.as_secs()).ok();
        for (text, expected) in [("0", 0), ("90", 90), ("90s", 90), ("50m", 3_000), ("2h", 7_200)] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        assert_eq!(seconds("4294967295d"), Some(4_294_967_295 * 86_400));
        for text in ["", "m", "-1", "+1", "1.5h", "1 h", "1w", "99999999999", "é"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_out_has_a_shortest_and_a_longest() {
        assert_eq!(step("1h"), Ok(Duration::from_secs(3_600)));
        assert_eq!(patience("1d"), Ok(Duration::from_secs(86_400)));
        assert_eq!(step("0"), Err("expected 1s to 1h".to_owned()));
        assert_eq!(step("61m"), Err("expected 1s to 1h".to_owned()));
        assert_eq!(patience("2d"), Err("expected 1s to 1d".to_owned()));
    }

    #[test]
    fn a_moment_is_a_second_a_date_or_so_long_ago() {
        let now = 1_800_000_000;
        for (text, expected) in [
            ("0", 0),
            ("1700000000", 1_700_000_000),
            ("18446744073709551615", u64::MAX),
            ("1970-01-01", 0),
            ("2026-11-01", 1_793_491_200),
            ("3d", now - 3 * 86_400),
            ("90s", now - 90),
            ("4294967295d", 0),
        ] {
            assert_eq!(moment_at(now, text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "-1",
            "1969-12-31",
            "2026-11-1",
            "2026-13-01",
            "2026-11-01T00:00",
            "yesterday",
            "99999999999999999999",
        ] {
            assert!(moment_at(now, text).is_err(), "{text}");
        }
    }
}
