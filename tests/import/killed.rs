//! Killed without warning at random points, strfry or we ourselves: every summary is true, no
//! strfry is left behind, and one more run makes the database that an uninterrupted one makes.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rayon::prelude::*;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::events::{Author, id_of};
use crate::support::node::Node;
use crate::support::tables::{assert_holds, by_event_id};
use crate::{database, import, lines, told, with_each_strfry};

/// Points of time at which each is killed.
const POINTS: u64 = 50;

/// Command lines of the processes that have to do with a directory.
pub fn processes_of(directory: &Path) -> Vec<String> {
    processes()
        .into_iter()
        .map(|(_, _, line)| line)
        .filter(|line| line.contains(&*directory.to_string_lossy()))
        .collect()
}

/// PID, parent's PID and command line of every process.
fn processes() -> Vec<(i32, i32, String)> {
    let process = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.ok()?.path();
        let pid = path.file_name()?.to_str()?.parse().ok()?;
        let line = fs::read(path.join("cmdline")).ok()?;
        let stat = fs::read_to_string(path.join("stat")).ok()?;
        let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
        Some((pid, parent, String::from_utf8_lossy(&line).replace('\0', " ")))
    };
    fs::read_dir("/proc").unwrap().filter_map(process).collect()
}

fn children_of(parent: i32) -> Vec<Pid> {
    let children = processes().into_iter().filter(|(_, of, _)| *of == parent);
    children.filter_map(|(pid, _, _)| Pid::from_raw(pid)).collect()
}

/// What is imported: notes, profiles that replace one another, and deletions.
fn events() -> Vec<String> {
    let author = Author::new(1);
    let mut events: Vec<String> = (0..500).map(|second| author.note(second, "hello")).collect();
    for at in (0..500).step_by(50) {
        let deleted = json!([["e", id_of(&events[at])]]);
        events.push(author.profile(5_000 + at as u64, "a name"));
        events.push(author.event(5, 9_000, deleted, ""));
    }
    events
}

fn start(node: &Node, file: &Path) -> Child {
    let mut command: Command = node.companion(&["import", "--json"]);
    command.arg(file).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// A point of time, reproducibly random, within what an import takes here.
fn point(number: u64, longest: Duration) -> Duration {
    longest.mul_f64(fastrand::Rng::with_seed(number).f64())
}

/// Runs the test at every point, with an uninterrupted import for comparison.
fn at_random_points(strfry: &Path, test: impl Fn(&Node, &Path, Duration) + Sync) {
    let input = tempfile::NamedTempFile::new().unwrap();
    fs::write(input.path(), lines(&events())).unwrap();
    let whole = Node::new(strfry);
    let started = Instant::now();
    let file = input.path().to_str().unwrap();
    let (code, _) = import(&whole, &[file], b"");
    let longest = started.elapsed();
    assert_eq!(code, 0);
    let expected = by_event_id(&database(&whole));
    (0..POINTS).into_par_iter().for_each(|number| {
        let node = Node::new(strfry);
        test(&node, input.path(), point(number, longest));
        let (code, summary) = import(&node, &[file], b"");
        assert_eq!((code, &summary["status"]), (0, &"complete".into()), "{summary:#}");
        assert_holds(&database(&node), &expected);
    });
}

/// Some points are before the beginning or after the end, and not all of them may be.
fn assert_hit(hits: &AtomicU64) {
    let hits = hits.load(Ordering::Relaxed);
    println!("{hits} of {POINTS} points were in the middle of an import");
    assert!(hits >= POINTS / 10, "{hits}");
}

#[test]
fn strfry_killed_at_any_point_loses_nothing_that_is_said_to_be_there() {
    with_each_strfry(|strfry| {
        let hits = AtomicU64::new(0);
        at_random_points(strfry, |node, input, point| {
            let mut child = start(node, input);
            let ours = child.id().cast_signed();
            // On a busy machine much of an import's time is over before strfry is started.
            while child.try_wait().unwrap().is_none() && children_of(ours).is_empty() {
                sleep(Duration::from_millis(1));
            }
            sleep(point);
            for pid in children_of(ours) {
                // It may be gone by now.
                let _ = kill_process(pid, Signal::KILL);
            }
            let (code, summary) = told(&child.wait_with_output().unwrap());
            // Once is made good.
            let was_killed = !summary["errors"].as_array().unwrap().is_empty();
            hits.fetch_add(u64::from(was_killed), Ordering::Relaxed);
            assert_eq!(code, i32::from(was_killed), "{summary:#}");
            let taken: u64 = ["imported", "superseded", "deleted"]
                .iter()
                .filter_map(|class| summary["events"][class].as_u64())
                .sum();
            assert_eq!(taken, summary["received"].as_u64().unwrap(), "{summary:#}");
            // 10 notes are deleted, 9 of 10 profiles replaced, before or after they arrived.
            assert_eq!(node.events().len(), events().len() - 10 - 9);
            assert_eq!(processes_of(node.home()), [""; 0]);
        });
        assert_hit(&hits);
    });
}

#[test]
fn we_ourselves_killed_at_any_point_leave_no_strfry_behind_and_nothing_half_done() {
    with_each_strfry(|strfry| {
        let hits = AtomicU64::new(0);
        at_random_points(strfry, |node, input, point| {
            let mut child = start(node, input);
            sleep(point);
            child.kill().unwrap();
            child.wait().unwrap();
            let deadline = Instant::now() + Duration::from_secs(30);
            while !processes_of(node.home()).is_empty() {
                assert!(Instant::now() < deadline, "{:?}", processes_of(node.home()));
                sleep(Duration::from_millis(5));
            }
            let is_whole = node.events().len() == events().len() - 10 - 9;
            hits.fetch_add(u64::from(!is_whole), Ordering::Relaxed);
            // What has arrived is whole.
            let all: std::collections::BTreeSet<String> =
                events().iter().map(|event| id_of(event)).collect();
            assert!(node.events().iter().all(|event| all.contains(&id_of(event))));
        });
        assert_hit(&hits);
    });
}
