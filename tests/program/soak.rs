//! Every command that reads, again and again, beside a strfry that restarts, compacts, deletes and
//! imports. `SOAK_SECONDS` says for how long.
//!
//! While the data file is replaced, nothing reads through the lock file: LMDB does not allow that,
//! whoever the reader is (docs/reading-safely.md, "This does not protect against"). Without it all read on.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::events::Author;
use crate::support::node::{Node, code};
use crate::support::running_relay::RunningRelay;
use crate::support::{NO_STRFRY, real_strfry, run_strfry};

/// Long enough for each thing to happen once.
const SECONDS: u64 = 6;

/// Authors whose events stay, and how many events each of them has.
const STAYING: std::ops::Range<u64> = 0..5;
const EVENTS: usize = 80;

/// Authors whose events come and go.
const PASSING: std::ops::Range<u64> = 100..110;

/// A node whose strfry is never left in peace.
struct RestlessNode<'a> {
    strfry: &'a Path,
    node: Node,
    relay: Option<RunningRelay>,
    random: fastrand::Rng,
    made: u64,
}

/// What is done to a node.
#[derive(Debug, Clone, Copy)]
enum Act {
    Import,
    Delete,
    Restart,
    Compact,
}

impl<'a> RestlessNode<'a> {
    fn new(strfry: &'a Path, staying: &[String]) -> Self {
        let node = Node::new(strfry);
        node.import(staying);
        let relay = Some(RunningRelay::start(strfry, &node.strfry_dir()));
        Self { strfry, node, relay, random: fastrand::Rng::with_seed(7), made: 0 }
    }

    fn perform(&mut self, act: Act) {
        match act {
            Act::Import => {
                let author = Author::new(self.random.u64(PASSING));
                let text = "passing ".repeat(self.random.usize(1..60));
                self.made += 50;
                let note = |number| author.note(1_700_000_000 + number, &text);
                self.node.import(&(self.made..self.made + 50).map(note).collect::<Vec<_>>());
            }
            Act::Delete => {
                let author = Author::new(self.random.u64(PASSING)).pubkey().to_string();
                let filter = json!({ "authors": [author] }).to_string();
                let arguments = ["delete", "--filter", &filter];
                assert_done(&run_strfry(self.strfry, &self.node.strfry_dir(), &arguments, b""));
            }
            Act::Restart => self.restart_around(|_| {}),
            Act::Compact => self.restart_around(|directory| {
                let compact = run_strfry("./strfry", directory, &["compact", "new.mdb"], b"");
                assert_done(&compact);
                fs::rename(directory.join("new.mdb"), directory.join("strfry-db/data.mdb"))
                    .unwrap();
            }),
        }
    }

    fn restart_around(&mut self, act: impl FnOnce(&Path)) {
        self.relay = None;
        act(&self.node.strfry_dir());
        self.relay = Some(RunningRelay::start(self.strfry, &self.node.strfry_dir()));
    }

    fn file_size(&self) -> u64 {
        fs::metadata(self.node.strfry_dir().join("strfry-db/data.mdb")).unwrap().len()
    }
}

fn assert_done(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// One command that reads, and whether what it printed is right.
type Question<'a> = (Vec<String>, Box<dyn Fn(&str) -> bool + Sync + 'a>);

fn questions<'a>(authors: &'a [String], staying: &'a [String], list: &Path) -> Vec<Question<'a>> {
    let filter = json!({ "authors": authors }).to_string();
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let lines_of = move |text: &str| -> Vec<String> {
        let is_staying = |line: &&str| authors.iter().any(|author| line.contains(author.as_str()));
        text.lines().filter(is_staying).map(str::to_owned).collect()
    };
    let rising = move |lines: Vec<String>| lines == staying;
    let falling = move |lines: Vec<String>| lines.iter().rev().eq(staying);
    let count = staying.len() as u64;
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let list = list.to_str().unwrap();
    vec![
        (words(&["scan", &filter]), Box::new(move |text| falling(lines_of(text)))),
        (words(&["scan", "{}"]), Box::new(move |text| falling(lines_of(text)))),
        (
            words(&["scan", "--count", &filter]),
            Box::new(move |text| text.trim() == count.to_string()),
        ),
        (words(&["export"]), Box::new(move |text| rising(lines_of(text)))),
        (words(&["export", "--reverse"]), Box::new(move |text| falling(lines_of(text)))),
        (
            words(&["profiles", "--check", "--format", "jsonl", "--pubkeys", list]),
            Box::new(move |text| text.lines().count() == authors.len()),
        ),
        (
            words(&["stats", "--json"]),
            Box::new(move |text| json(text)["events"].as_u64() >= Some(count)),
        ),
        (words(&["verify"]), Box::new(move |text| verified(text) >= Some(count))),
    ]
}

/// How many events a verification has checked, if none of them is wrong.
fn verified(said: &str) -> Option<u64> {
    let checked = said
        .strip_prefix("strfry-companion: ")?
        .strip_suffix(" events checked, 0 of them wrong\n")?;
    checked.parse().ok()
}

#[test]
fn every_command_that_reads_is_right_beside_a_strfry_that_restarts_compacts_deletes_and_imports() {
    let Some(strfry) = real_strfry() else { return println!("{NO_STRFRY}") };
    let seconds = std::env::var("SOAK_SECONDS").map_or(SECONDS, |text| text.parse().unwrap());
    let made = staying_events();
    let authors: Vec<String> =
        Author::all(STAYING).iter().map(|author| author.pubkey().to_string()).collect();
    let mut read = RestlessNode::new(&strfry, &made);
    // The same is done to another one, which nobody reads: its file grows as much as it has to.
    let mut alone = RestlessNode::new(&strfry, &made);
    // As strfry has stored them, oldest first.
    let staying = run_strfry(&strfry, &read.node.strfry_dir(), &["export"], b"").stdout;
    let staying: Vec<String> =
        String::from_utf8(staying).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(staying.len(), made.len());
    let list = read.node.write("staying.txt", authors.join("\n"));
    let questions = questions(&authors, &staying, &list);
    let has_ended = AtomicBool::new(false);
    let compactions = AtomicUsize::new(0);
    let lock_file = RwLock::new(());
    let answers = Mutex::new(BTreeMap::<(String, &str), usize>::new());
    let home = read.node.home().to_owned();

    let ask = |mut next: usize| {
        while !has_ended.load(Ordering::SeqCst) {
            let (words, is_right) = &questions[next / 2 % questions.len()];
            let lock: &[&str] = if next.is_multiple_of(2) { &[] } else { &["--no-lock"] };
            next += 1;
            let shares = lock.is_empty().then(|| lock_file.read().unwrap());
            let before = compactions.load(Ordering::SeqCst);
            let words: Vec<&str> =
                words.iter().map(String::as_str).chain(lock.iter().copied()).collect();
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_strfry-companion"));
            let output = command
                .args(&words)
                .arg("--home")
                .arg(&home)
                .env_remove("STRFRY_CONFIG")
                .output()
                .unwrap();
            drop(shares);
            // A number is odd while the file is being replaced.
            let may_be_replaced = before % 2 == 1 || compactions.load(Ordering::SeqCst) != before;
            // A command that prints no data says what it did on standard error.
            let said = if output.stdout.is_empty() { &output.stderr } else { &output.stdout };
            let text = String::from_utf8_lossy(said);
            let what = match code(&output) {
                0 if is_right(&text) => "right",
                3 if may_be_replaced => "replaced",
                code => panic!(
                    "{words:?}: exit code {code}, {} lines: {}",
                    text.lines().count(),
                    String::from_utf8_lossy(&output.stderr)
                ),
            };
            let key = (words[..1].concat() + &lock.concat(), what);
            *answers.lock().unwrap().entry(key).or_default() += 1;
        }
    };
    let growth = thread::scope(|scope| {
        let readers = [0, 5].map(|first| scope.spawn(move || ask(first)));
        let mut sizes = Vec::new();
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut choice = fastrand::Rng::with_seed(11);
        while Instant::now() < end && readers.iter().all(|reader| !reader.is_finished()) {
            for _ in 0..choice.usize(8..24) {
                let act = choice.choice([
                    Act::Import,
                    Act::Import,
                    Act::Import,
                    Act::Delete,
                    Act::Restart,
                ]);
                let act = act.unwrap_or(Act::Import);
                read.perform(act);
                alone.perform(act);
            }
            sizes.push((read.file_size(), alone.file_size()));
            let nobody_shares = lock_file.write().unwrap();
            compactions.fetch_add(1, Ordering::SeqCst);
            read.perform(Act::Compact);
            compactions.fetch_add(1, Ordering::SeqCst);
            drop(nobody_shares);
            alone.perform(Act::Compact);
        }
        has_ended.store(true, Ordering::SeqCst);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        sizes
    });
    assert!(compactions.load(Ordering::SeqCst) > 0);
    let answers = answers.into_inner().unwrap();
    println!("{answers:#?}\nfile sizes, read and alone: {growth:?}");
    let (read, alone) = growth.iter().fold((0, 0), |sum, size| (sum.0 + size.0, sum.1 + size.1));
    let percent = 100.0 * (read as f64 / alone as f64 - 1.0);
    println!("the file that was read is {percent:.2} % larger");
    let right: usize =
        answers.iter().filter(|((_, what), _)| *what == "right").map(|(_, n)| n).sum();
    assert!(right > questions.len(), "{answers:?}");
    assert!(percent <= 1.0 || seconds <= SECONDS, "{growth:?}");
}

/// Profiles and notes, oldest first.
fn staying_events() -> Vec<String> {
    let mut events = Vec::new();
    for (number, author) in Author::all(STAYING).iter().enumerate() {
        events.push((
            1_690_000_000 + number as u64,
            author.profile(1_690_000_000 + number as u64, "stays"),
        ));
        let at = |note: usize| 1_695_000_000 + (note * 100 + number) as u64;
        events.extend(
            (0..EVENTS).map(|note| (at(note), author.note(at(note), &format!("note {note}")))),
        );
    }
    events.sort();
    events.into_iter().map(|(_, event)| event).collect()
}
