//! What the callers of the old script pass, by its name and after `backfill`.

use std::process::Command;

use serde_json::Value;

use crate::said::Said;
use crate::small_node::{LOCK, LOG, PROFILES, SmallNode, now};

/// Both ways to call it.
const WAYS: [fn(&SmallNode, &[&str]) -> Command; 2] = [
    |small, arguments| small.node.script(arguments),
    |small, arguments| small.node.companion(&[&["backfill"], arguments].concat()),
];

/// A run of each way on a fresh node, with the old flags and what a peer on this machine needs.
fn each_way(flags: &[&str], check: impl Fn(&SmallNode, Said)) {
    for way in WAYS {
        let small = SmallNode::new();
        let said = small.said(&mut way(&small, &[flags, &["--allow-local-peers"]].concat()));
        check(&small, said);
    }
}

fn filters(small: &SmallNode) -> Vec<Value> {
    small.relay.record().requests
}

/// Whether what stations publish is asked for so many days back, give or take the length of a test,
/// and everything of authors whose profile is missing.
fn asks_for_days(small: &SmallNode, days: u64) -> bool {
    let is_right = |since: u64| (0..600).contains(&(now() - days * 86_400 - since));
    let requests = filters(small);
    let (of_authors, of_stations): (Vec<&Value>, Vec<&Value>) =
        requests.iter().partition(|filter| filter.get("authors").is_some());
    !of_stations.is_empty()
        && of_stations.iter().all(|filter| is_right(filter["since"].as_u64().unwrap()))
        && of_authors.iter().all(|filter| filter.get("since").is_none())
}

#[test]
fn the_hourly_call_imports_what_is_recent_and_prints_a_short_summary() {
    each_way(&["--days", "1"], |small, said| {
        assert_eq!((said.code, said.err.as_str()), (0, ""));
        let (head, rest) = said.out.split_once(" in ").unwrap();
        assert_eq!(head, "Complete: 4 events imported, 6 received from 1 peer (1 complete)");
        // The last second of a page is asked for again, to see whether it holds more.
        assert!(rest.ends_with(
            " s\nProfiles: 2 found, 0 missing\n  imported                 4\n  \
             duplicate                2\n"
        ));
        assert!(small.holds(&small.events) && asks_for_days(small, 1));
    });
}

#[test]
fn the_daily_and_the_first_call_show_the_log() {
    for flags in [&["--days", "1", "--verbose"][..], &["--days", "30", "-v"]] {
        each_way(flags, |small, said| {
            assert_eq!(said.code, 0);
            let shown = said.err.lines().filter(|line| !line.starts_with("[PERF]"));
            assert_eq!(shown.collect::<Vec<_>>(), small.log().lines().collect::<Vec<_>>());
            assert!(asks_for_days(small, flags[1].parse().unwrap()));
        });
    }
}

#[test]
fn no_days_is_one_day_and_0_days_is_all_time() {
    each_way(&[], |small, said| assert!(said.code == 0 && asks_for_days(small, 1)));
    each_way(&["--days", "0"], |small, said| {
        assert_eq!(said.code, 0);
        assert!(filters(small).iter().all(|filter| filter.get("since").is_none()));
    });
}

#[test]
fn a_dry_run_imports_nothing_and_does_not_start_strfry() {
    for flag in ["--DRYRUN", "--dry-run"] {
        each_way(&[flag, "--strfry-bin", "/bin/false"], |small, said| {
            assert_eq!((said.code, said.err.as_str()), (0, ""));
            assert!(said.out.starts_with("Complete: 4 events would be imported, 6 received"));
            assert!(small.holds(&[]) && !small.node.home().join(PROFILES).exists());
        });
    }
}

#[test]
fn verify_no_dms_and_no_profiles_are_accepted() {
    each_way(&["--verify", "--no-dms", "--no-profiles"], |small, said| {
        assert_eq!(said.code, 0);
        assert!(small.holds(&small.events) && !small.node.home().join(PROFILES).exists());
        let dms = |filter: &Value| filter["kinds"].as_array().unwrap().contains(&4.into());
        assert!(!filters(small).iter().any(dms));
        assert!(small.log().contains("[INFO] SYNC_IMPORT: events=4 mode=verified\n"));
    });
}

#[test]
fn show_hex_prints_who_would_be_asked_for_and_exits() {
    each_way(&["--show-hex"], |small, said| {
        let mut pubkeys = [small.alice.pubkey().to_string(), small.bob.pubkey().to_string()];
        pubkeys.sort();
        let out = format!("{}\n{}\n", pubkeys[0], pubkeys[1]);
        assert_eq!(said, Said { code: 0, out, err: String::new() });
        assert!(!small.node.home().join(LOCK).exists() && !small.node.home().join(LOG).exists());
        assert_eq!(small.relay.record().connections, 0);
    });
}

#[test]
fn stats_prints_figures_and_exits() {
    each_way(&["--stats"], |small, said| {
        assert_eq!(said, small.said(&mut small.node.companion(&["stats"])));
        assert!(said.out.starts_with("Database   HOME/strfry/strfry-db\n"), "{}", said.out);
        assert_eq!(said.code, 0);
        assert!(!small.node.home().join(LOCK).exists() && !small.node.home().join(LOG).exists());
    });
}

#[test]
fn help_tells_the_flags_and_the_exit_codes() {
    each_way(&["--help"], |_, said| {
        assert_eq!((said.code, said.err.as_str()), (0, ""));
        for text in [
            "--days <N>",
            "--verbose",
            "--no-dms",
            "--verify",
            "--no-profiles",
            "--dry-run",
            "--show-hex",
            "--stats",
            "Exit codes:",
        ] {
            assert!(said.out.contains(text), "{text}");
        }
    });
}
