//! Relays as they are found in the wild, each asked by one backfill of a node that has nothing. The
//! rule for every one of them: everything that small questions reach is here at the end, and what
//! is missing is never called complete.
//!
//! `WILD_RELAY=part of a name` runs those alone and tells more.

#[path = "../support/quirks/mod.rs"]
mod quirks;
mod relays;
mod server;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use quirks::{Archive, Relay};
use relays::{Comes, Said, Wild, wild_relays};
use serde_json::Value;
use server::Living;
use support::events::id_of;
use support::node::Node;
use support::strfry_bin;
use tokio::runtime::Handle;

/// Relays that the program does not read rightly yet. A relay that is, and is still named here,
/// fails the test too.
const NOT_YET: &[&str] = &[];

/// An event of more bytes is none for strfry (`events.maxEventSize`).
const TOO_LARGE: usize = 65_536;

/// Runs at once: most of the time all of them wait.
const AT_ONCE: usize = 12;

/// What came of a run.
struct Seen {
    code: i32,
    summary: Value,
    here: BTreeSet<String>,
    seconds: f64,
    heard: Vec<String>,
}

fn backfill(wild: &Wild, runtime: &Handle) -> Seen {
    let node = Node::new(&strfry_bin());
    let archive = Archive::of_lines(&wild.events);
    let relay = Living::start(runtime, Relay::new(wild.quirks.clone(), archive, 1));
    let pubkeys: String = wild.authors.iter().map(|it| format!("{}\n", it.pubkey())).collect();
    let pubkeys = node.write("pubkeys.txt", pubkeys);
    let (pubkeys, url) = (pubkeys.to_str().unwrap(), relay.url());
    let mut arguments = vec!["--days", "0", "--timeout", "1", "--connect-timeout", "2"];
    arguments.extend(["--max-time", "45s", "--pubkeys", pubkeys, "--relay", &url]);
    let key = node.write("key.hex", "07".repeat(32));
    if wild.has_key {
        set_private(&key);
        arguments.extend(["--auth-key-file", key.to_str().unwrap()]);
    }
    arguments.extend(wild.arguments);
    let began = Instant::now();
    let (code, summary) = node.backfill(&arguments);
    let seconds = began.elapsed().as_secs_f64();
    let here = node.events().iter().map(|event| id_of(event)).collect();
    Seen { code, summary, here, seconds, heard: relay.heard() }
}

fn set_private(file: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

impl Seen {
    fn peer(&self) -> &Value {
        &self.summary["peers"][0]
    }

    fn is_complete(&self) -> bool {
        self.summary["status"] == "complete"
    }

    fn reasons(&self) -> String {
        let gaps = self.peer()["gaps"].as_array().into_iter().flatten();
        let mut reasons: Vec<&str> = gaps.filter_map(|gap| gap["reason"].as_str()).collect();
        reasons.dedup();
        reasons.join("; ")
    }

    /// Every reason and kind of what was withheld.
    fn withheld(&self) -> String {
        self.peer()["withheld"]
            .as_array()
            .map_or(String::new(), |it| Value::from(it.clone()).to_string())
    }
}

/// What is wrong about what came and what was said; empty: nothing.
fn faults(wild: &Wild, seen: &Seen) -> Vec<String> {
    let relay = Relay::new(wild.quirks.clone(), Archive::of_lines(&wild.events), 1);
    let (mut all, mut reachable) = (relay.archive.ids(), relay.reachable(wild.is_let_in()));
    for event in relay.archive.events().iter().filter(|event| event.line.len() > TOO_LARGE) {
        all.remove(&event.id);
        reachable.remove(&event.id);
    }
    let mut faults = Vec::new();
    let mut check = |is_right: bool, fault: String| {
        if !is_right {
            faults.push(fault);
        }
    };
    let expected = match wild.comes {
        Comes::All => &all,
        Comes::Reachable | Comes::ReachableOrGap => &reachable,
    };
    let missing = expected.difference(&seen.here).count();
    if wild.comes == Comes::Reachable {
        check(reachable.len() < all.len(), "everything is reachable: say so".to_owned());
    }
    let may_lack = wild.comes == Comes::ReachableOrGap && !seen.is_complete();
    check(missing == 0 || may_lack, format!("{missing} of {} are missing", expected.len()));
    check(missing == 0 || !seen.is_complete(), "FALSELY COMPLETE".to_owned());
    let code = if seen.is_complete() { 0 } else { 1 };
    check(seen.code == code, format!("exit code {} for {}", seen.code, seen.summary["status"]));
    check(
        (seen.peer()["status"] == "complete") == seen.is_complete(),
        format!("peer {} in a run {}", seen.peer()["status"], seen.summary["status"]),
    );
    match wild.said {
        Said::Complete => {
            check(seen.is_complete(), "not complete".to_owned());
            check(seen.withheld().len() <= 2, "withheld".to_owned());
        }
        Said::Incomplete(because) => {
            check(!seen.is_complete(), "complete".to_owned());
            check(seen.reasons().contains(because), format!("not a word of {because:?}"));
        }
        Said::Withheld(because) => {
            check(seen.is_complete(), "not complete".to_owned());
            check(seen.withheld().contains(because), format!("not a word of {because:?}"));
        }
        Said::Either => {}
    }
    faults
}

/// One line about a run.
fn row(wild: &Wild, seen: &Seen) -> String {
    let mut reasons: String = seen.reasons().chars().take(110).collect();
    if !seen.withheld().is_empty() && seen.withheld() != "[]" {
        reasons += &format!(" withheld {}", seen.withheld());
    }
    format!(
        "{:<78} {:>4.1} s {:>4} of {:>4}  {:<10} {:>4} messages  {reasons}",
        wild.name,
        seen.seconds,
        seen.here.len(),
        wild.events.len(),
        seen.summary["status"].as_str().unwrap_or_default(),
        seen.heard.len(),
    )
}

#[test]
fn relays_of_the_wild_give_all_that_small_questions_reach_and_are_never_falsely_complete() {
    let only = std::env::var("WILD_RELAY").ok();
    let wild: Vec<Wild> = wild_relays()
        .into_iter()
        .filter(|it| only.as_ref().is_none_or(|only| it.name.contains(only.as_str())))
        .collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("wild relays")
        .enable_all()
        .build()
        .unwrap();
    let waiting = Mutex::new(wild.iter());
    let results = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(wild) = waiting.lock().unwrap().next() else { break };
                    let run = || backfill(wild, runtime.handle());
                    let seen = catch_unwind(AssertUnwindSafe(run)).ok();
                    if let Some(seen) = &seen
                        && only.is_some()
                    {
                        println!("{}\n{:#}", seen.heard.join("\n"), seen.summary);
                    }
                    let faults = seen
                        .as_ref()
                        .map_or(vec!["no summary".to_owned()], |seen| faults(wild, seen));
                    let row = seen.map_or(wild.name.to_owned(), |seen| row(wild, &seen));
                    results.lock().unwrap().push((wild.name, row, faults));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(name, ..)| wild.iter().position(|it| it.name == *name));
    let (mut new, mut mended) = (Vec::new(), Vec::new());
    for (name, row, faults) in &results {
        let is_known = NOT_YET.contains(name);
        println!("{} {row}", if faults.is_empty() { "ok  " } else { "FAIL" });
        if !faults.is_empty() {
            println!("        {}", faults.join(", "));
        }
        match (faults.is_empty(), is_known) {
            (false, false) => new.push(format!("{row}\n        {}", faults.join(", "))),
            (true, true) => mended.push(*name),
            _ => {}
        }
    }
    assert!(new.is_empty(), "{} of {}:\n{}", new.len(), results.len(), new.join("\n"));
    assert_eq!(mended, Vec::<&str>::new(), "these are read rightly: take them off the list");
}

#[test]
fn every_relay_of_the_table_has_a_name_of_its_own() {
    let all = wild_relays();
    let names: BTreeSet<&str> = all.iter().map(|wild| wild.name).collect();
    assert_eq!(names.len(), all.len());
    assert!(all.len() >= 44, "{}", all.len());
    let unknown: Vec<_> = NOT_YET.iter().filter(|name| !names.contains(*name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn a_relay_from_which_all_comes_gives_all_to_small_questions_or_by_id() {
    for wild in wild_relays().into_iter().filter(|it| it.comes == Comes::All && !it.by_id) {
        let relay = Relay::new(wild.quirks.clone(), Archive::of_lines(&wild.events), 1);
        assert_eq!(relay.reachable(wild.is_let_in()), relay.archive.ids(), "{}", wild.name);
    }
}
