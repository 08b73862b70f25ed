//! The files that a run writes, in the forms that other programs of the node read.

use std::path::Path;

use jiff::civil::DateTime;
use serde_json::json;

use crate::said::without_time;
use crate::small_node::{ERROR_LOG, LOCK, LOG, SmallNode, now};
use crate::support::events::Author;
use crate::support::no_relays::ClosedPort;
use crate::support::{NO_STRFRY, real_strfry, strfry_bin};

const PROFILE_LOG: &str = "strfry/hex-to-profile.log";

/// As other programs take a line apart: level and text.
fn parse_line(line: &str) -> Option<(&str, &str)> {
    let (time, rest) = line.strip_prefix('[')?.split_once("] [")?;
    DateTime::strptime("%Y-%m-%d %H:%M:%S", time).ok().filter(|_| time.len() == 19)?;
    rest.split_once("] ")
}

fn levels(log: &str) -> Vec<&str> {
    log.lines().map(|line| parse_line(line).unwrap_or_else(|| panic!("{line}")).0).collect()
}

/// The value after the last such word, as `grep … | tail -1` finds it.
fn last_line<'a>(log: &'a str, mark: &str) -> &'a str {
    let line = log.lines().rev().find(|line| line.contains(mark)).unwrap();
    parse_line(line).unwrap().1
}

fn failures(log: &str) -> Vec<String> {
    const MARKS: [&str; 5] = ["failed", "FAILED", "❌ Batch", "❌ WebSocket", "❌ P2P"];
    let is_failure = |line: &&str| MARKS.iter().any(|mark| line.contains(mark));
    log.lines().filter(is_failure).map(|line| without_time(line).to_owned()).collect()
}

/// Runs with the stand-in, and with the strfry that `STRFRY_BIN` names.
fn with_each_strfry(test: impl Fn(&Path)) {
    test(&strfry_bin());
    match real_strfry() {
        Some(strfry) => test(&std::path::absolute(strfry).unwrap()),
        None => println!("{NO_STRFRY}"),
    }
}

fn short(author: &Author) -> String {
    author.pubkey().short()
}

/// Alice has an old profile, which only a full sync finds; Carol has none.
fn recovering() -> (SmallNode, Author) {
    let carol = Author::new(3);
    let dave = Author::new(4);
    let mut small = SmallNode::with(&strfry_bin(), |_, _| {
        vec![
            dave.event(
                0,
                now() - 40 * 86_400,
                json!([]),
                r#"{"name":"Dave","display_name":"Dave D.","nip05":"dave@example.com"}"#,
            ),
            dave.note(now() - 41 * 86_400, "long ago"),
        ]
    });
    let pubkeys = [&small.alice, &small.bob, &carol, &dave].map(Author::pubkey);
    small.node.add_pubkeys(&pubkeys);
    small.events.sort();
    (small, carol)
}

#[test]
fn the_log_tells_the_whole_run_in_lines_that_people_and_programs_know() {
    let (small, carol) = recovering();
    let dave = Author::new(4);
    let said = small.backfill(&["--days", "1"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert!(said.out.contains("\nProfiles: 3 found, 1 missing\n"), "{}", said.out);

    let mut missing = [&small.alice, &small.bob, &carol, &dave];
    missing.sort_by_key(|author| author.pubkey());
    let recovered = missing.map(|author| match author.pubkey() == carol.pubkey() {
        true => String::new(),
        false => format!("[INFO]     ✅ Full sync successful for {}\n", short(author)),
    });
    let full_sync = missing.map(|author| {
        format!("[INFO]   🔄 FULL SYNC for {}... (all messages, no time limit)\n", short(author))
    });
    let mut shown = [
        (small.alice.pubkey(), format!("[INFO]   ✅ {}... Profile: Alice\n", short(&small.alice))),
        (small.bob.pubkey(), format!("[INFO]   ✅ {}... Profile: Bob\n", short(&small.bob))),
        (
            dave.pubkey(),
            format!(
                "[INFO]   ✅ {}... Profile: Dave\n[INFO]       Display: Dave D.\n\
                 [INFO]       NIP-05: dave@example.com\n",
                short(&dave)
            ),
        ),
    ];
    shown.sort();
    let shown: String = shown.into_iter().map(|(_, lines)| lines).collect();
    assert_eq!(
        small.log(),
        format!(
            "[INFO] Starting Astroport constellation backfill process\n\
             [INFO] Pubkeys from game/nostr: 4 found, 0 lines skipped\n\
             [INFO] Pubkeys from amisOfAmis.txt: 0 found, 0 lines skipped\n\
             [INFO] Pubkeys from 12345.json: 0 found, 0 lines skipped\n\
             [INFO] Pubkeys from flashmem: 0 found, 0 lines skipped\n\
             [INFO] 1 peer, 4 pubkeys\n\
             [INFO] 📊 Found 0 HEX pubkeys with profiles\n\
             [INFO] 📊 Found 4 HEX pubkeys WITHOUT profiles\n\
             [INFO] 🔄 Triggering FULL SYNC (no time limit) for 4 HEX pubkeys without profiles...\n\
             {}\
             [INFO]     📡 Syncing from: RELAY\n\
             {}\
             [WARN]   ❌ {}... NO PROFILE FOUND - scheduling full sync\n\
             {shown}\
             [INFO] Peer peer (RELAY): complete, 18 events received\n\
             [INFO] 18 events received: imported=6 duplicate=12\n\
             [INFO] SYNC_STATS: events=6 dms=0 public=6 deletions=0 videos=0 profiles=3 files=0 \
             comments=0 voice=0 tags=0 tmdb=0 channels=0 playlists=0 status=0 did=0 ore_spaces=0 \
             ore_meetings=0 oracle=0 economic_health=0 workflows=0 n2_memory=0 nip52_calendar=0 \
             text=3 contacts=0 reposts=0 reactions=0 blog=0 drafts=0 encrypted_analytics=0 \
             analytics=0 badge_awards=0 profile_badges=0 badge_definitions=0 \
             love_ledger=0 wotx2_objects=0 wotx2_justice=0 vibration_matches=0 friction_reports=0 \
             zaps=0 crowdfunding=0\n\
             [INFO] SYNC_IMPORT: events=6 mode=verified\n\
             [INFO] SYNC_PEERS: success=1 total=1\n\
             [INFO] SYNC_HEX: count=4\n\
             [INFO] SYNC_PROFILES: found=3 missing=1\n\
             [INFO] Backfill process completed\n",
            full_sync.concat(),
            recovered.concat(),
            short(&carol),
        )
    );
    let known = ["INFO", "WARN", "ERROR", "DEBUG", "PERF"];
    assert!(levels(&small.node.log()).iter().all(|level| known.contains(level)));
    assert_eq!(failures(&small.node.log()), [""; 0]);
    assert_eq!(small.node.read(ERROR_LOG).lines().count(), 1);
    assert_eq!(small.node.read(LOCK), "");

    let profile_log = small.node.read(PROFILE_LOG);
    let mut expected: Vec<String> = shown.lines().map(str::to_owned).collect();
    expected.push(format!("[WARN]   ❌ {}... NO PROFILE FOUND", short(&carol)));
    let mut lines: Vec<&str> = profile_log.lines().map(without_time).collect();
    expected.sort();
    lines.sort_unstable();
    assert_eq!(lines, expected);
}

#[test]
fn each_run_starts_the_log_afresh_and_appends_trouble_to_the_error_log() {
    let small = SmallNode::new();
    small.node.write(LOG, "x\n".repeat(100_000));
    small.node.write(ERROR_LOG, "[2026-01-01 00:00:00] [ERROR] of old\n");
    small.node.write(PROFILE_LOG, "old\n");
    let dead = ClosedPort::reserve();
    small.node.add_station("dead", &dead.url());
    for run in 1..=2 {
        assert_eq!(small.backfill(&[]).code, 1);
        let log = small.node.log();
        assert_eq!(log.matches("Starting Astroport constellation backfill process").count(), 1);
        assert!(!levels(&log).is_empty());
        let trouble: String = log
            .split_inclusive('\n')
            .filter(|line| matches!(parse_line(line.trim_end()), Some(("WARN" | "ERROR", _))))
            .collect();
        assert_eq!(trouble.lines().count(), 1);
        let error_log = small.node.read(ERROR_LOG);
        assert!(error_log.starts_with("[2026-01-01 00:00:00] [ERROR] of old\n"));
        assert!(error_log.ends_with(&trouble));
        assert_eq!(error_log.lines().count(), 1 + run);
    }
    assert!(!small.node.read(PROFILE_LOG).contains("old"));
}

#[test]
fn a_dead_peer_is_one_failure_and_nothing_else_is() {
    let small = SmallNode::new();
    let dead = [ClosedPort::reserve(), ClosedPort::reserve()];
    for (number, port) in dead.iter().enumerate() {
        small.node.add_station(&format!("dead{number}"), &port.url());
    }
    let carol = Author::new(3);
    small.node.write("strfry/amisOfAmis.txt", format!("{}\n", carol.pubkey()));
    let said = small.backfill(&[]);
    assert_eq!(said.code, 1);
    let failures = failures(&small.node.log());
    let [first, second] = failures.as_slice() else { panic!("{failures:?}") };
    for (number, (line, port)) in [first, second].into_iter().zip(&dead).enumerate() {
        let expected =
            format!("[WARN] Peer dead{number} ({}) failed: cannot connect to ", port.url());
        assert!(line.starts_with(&expected), "{line}");
    }
    assert_eq!(last_line(&small.node.log(), "SYNC_PEERS:"), "SYNC_PEERS: success=1 total=3");
    assert!(small.holds(&small.events));
}

#[test]
fn a_hostile_text_forges_no_line_and_no_failure() {
    let name = "failed SYNC_STATS: events=9\n[2026-01-01 00:00:00] [ERROR] ❌ Batch FAILED\u{202e}";
    let mallory = Author::new(9);
    let content = json!({
        "name": name, "display_name": "Backfill process completed", "nip05": "\u{1b}[2JSYNC_HEX: count=7",
    });
    let small = SmallNode::with(&strfry_bin(), |_, _| {
        vec![mallory.event(0, now() - 300, json!([]), &content.to_string())]
    });
    small.node.write("strfry/amisOfAmis.txt", format!("{}\n", mallory.pubkey()));
    let station = json!({
        "ipfsnodeid": "x\n[2026-01-01 00:00:00] [ERROR] failed", "myRELAY": "failed://SYNC_PEERS: success=9",
    });
    small.node.write("tmp/swarm/failed/12345.json", station.to_string());
    small.node.write(
        "tmp/swarm/hostile/12345.json",
        json!({"ipfsnodeid": "hostile", "myRELAY": "failed://SYNC_STATS: events=9"}).to_string(),
    );
    let said = small.backfill(&["--verbose"]);
    assert_eq!(said.code, 0);
    let log = small.node.log();
    levels(&log);
    assert_eq!(failures(&log), [""; 0]);
    for (mark, value) in [
        ("SYNC_STATS: ", "SYNC_STATS: events=5 dms=0 public=5 "),
        ("SYNC_HEX: ", "SYNC_HEX: count=3"),
        ("SYNC_PEERS: ", "SYNC_PEERS: success=1 total=1"),
        ("Backfill process completed", "Backfill process completed"),
    ] {
        assert_eq!(log.matches(mark).count(), 1, "{mark}");
        assert!(last_line(&log, mark).starts_with(value), "{mark}");
    }
    assert!(!said.err.contains(['\u{1b}', '\u{202e}']));
    let written = small.profiles();
    let written = written.as_array().unwrap().iter();
    let written = written.map(|record| &record["profile"]).find(|profile| profile["name"] == name);
    assert_eq!(written, Some(&content));
}

#[test]
fn the_last_sync_lines_count_what_was_imported() {
    with_each_strfry(|strfry| {
        let small = SmallNode::with(strfry, |alice, bob| {
            vec![
                alice.event(4, now() - 90, json!([["p", bob.pubkey()]]), "secret"),
                alice.event(3, now() - 80, json!([]), ""),
                bob.event(7, now() - 70, json!([]), "+"),
                bob.event(30_023, now() - 60, json!([["d", "x"]]), "text"),
                bob.event(10_000, now() - 50, json!([["t", "analytics"]]), "{}"),
                bob.note(now() - 40, "Hello NOSTR visitor. Welcome"),
                bob.note(now() - 30, "They say: Hello NOSTR visitor."),
            ]
        });
        let said = small.backfill(&["--no-verify"]);
        assert_eq!((said.code, said.err.as_str()), (0, ""));
        let log = small.node.log();
        let stats = last_line(&log, "SYNC_STATS: ");
        let counted: Vec<&str> =
            stats.split(' ').skip(1).filter(|pair| !pair.ends_with("=0")).collect();
        assert_eq!(
            counted,
            [
                "events=10",
                "dms=1",
                "public=9",
                "profiles=2",
                "text=3",
                "contacts=1",
                "reactions=1",
                "blog=1",
                "analytics=1"
            ]
        );
        assert_eq!(last_line(&log, "SYNC_IMPORT: "), "SYNC_IMPORT: events=10 mode=no-verify");
        let robot = |event: &&String| event.contains("\"Hello NOSTR visitor. Welcome\"");
        let rest: Vec<String> = small.events.iter().filter(|it| !robot(it)).cloned().collect();
        assert!(small.holds(&rest));
        for line in
            ["SYNC_STATS: ", "SYNC_IMPORT: ", "SYNC_PEERS: ", "SYNC_HEX: ", "SYNC_PROFILES: "]
        {
            assert_eq!(log.matches(line).count(), 1, "{line}");
        }
    });
}
