//! The recipes in `examples/` do what they say, on databases that the real strfry made.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, mpsc};
use std::time::Duration;

use strfry_db::nostr::{Event, kind};

const DATABASES: [&str; 3] = ["strfry-1.1.1", "strfry-1.0.4", "strfry-1.1.1-dict"];

/// No example is silent for as long while it has something to print; `watch` sleeps for a second.
const LONGEST_SILENCE: Duration = Duration::from_secs(20);

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures").join(name)
}

fn fixture_text(name: &str) -> String {
    fs::read_to_string(fixture(name)).unwrap()
}

/// A copy of a golden database, without a lock file.
fn golden(name: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let compressed = File::open(fixture(name).join("data.mdb.zst")).unwrap();
    let data = File::create(directory.path().join("data.mdb")).unwrap();
    zstd::stream::copy_decode(compressed, data).unwrap();
    directory
}

/// What strfry exported from it: newest first, of one second the last stored first.
fn exported(name: &str) -> Vec<String> {
    let text = fixture_text(&format!("{name}/export.jsonl"));
    text.lines().rev().map(str::to_owned).collect()
}

/// Builds the examples as they are now, with the features of this test, and says where they are.
/// `cargo test --test cookbook` does not build them, and would leave the library of an older build in
/// them.
fn build_examples() -> HashMap<String, PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::inherit());
    cargo.args(["build", "--offline", "--quiet", "--examples", "--message-format", "json"]);
    cargo.args(cfg!(feature = "lmdb").then_some(["--features", "lmdb"]).into_iter().flatten());
    cargo.args((!cfg!(debug_assertions)).then_some("--release"));
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "cargo build --examples: {}", output.status);
    let messages = String::from_utf8(output.stdout).unwrap();
    let executable = |line: &str| -> Option<(String, PathBuf)> {
        let message: serde_json::Value = serde_json::from_str(line).unwrap();
        let name = message["target"]["name"].as_str()?.to_owned();
        Some((name, message["executable"].as_str()?.into()))
    };
    messages.lines().filter_map(executable).collect()
}

/// An example that runs, and ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts an example.
fn start(example: &str, arguments: &[&str]) -> Child {
    static EXAMPLES: LazyLock<HashMap<String, PathBuf>> = LazyLock::new(build_examples);
    let mut command = Command::new(&EXAMPLES[example]);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

/// The first lines that an example prints; fewer if it ends, or prints no more for a long time.
fn first_lines(running: &mut Running, count: usize) -> Vec<String> {
    let lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
    std::iter::from_fn(|| receiver.recv_timeout(LONGEST_SILENCE).ok()).take(count).collect()
}

/// Runs an example and gives it some input; its lines.
fn run(example: &str, arguments: &[&str], input: &str) -> Vec<String> {
    let mut child = start(example, arguments);
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{example}: {}", output.status);
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn path(directory: &tempfile::TempDir) -> &str {
    directory.path().to_str().unwrap()
}

#[test]
fn profiles_tells_which_pubkeys_have_one() {
    for name in DATABASES {
        let database = golden(name);
        let events = exported(name);
        let authors = fixture_text("authors.txt");
        let stranger = "00".repeat(32);
        let pubkeys: Vec<&str> = authors.lines().chain([stranger.as_str()]).collect();
        let has_profile = |pubkey: &str| {
            events
                .iter()
                .map(|line| Event::parse(line).unwrap())
                .any(|event| event.kind == kind::PROFILE && event.pubkey.to_string() == pubkey)
        };
        let yes_or_no =
            |pubkey: &&str| format!("{pubkey} {}", if has_profile(pubkey) { "yes" } else { "no" });
        let expected: Vec<String> = pubkeys.iter().map(yes_or_no).collect();
        assert!(expected.iter().any(|line| line.ends_with("yes")));
        let answers = run("profiles", &[path(&database)], &pubkeys.join("\n"));
        assert_eq!(answers, expected, "{name}");
    }
}

#[test]
fn newest_with_tag_prints_the_newest_notes_of_that_hashtag() {
    for name in DATABASES {
        let database = golden(name);
        let lines = exported(name);
        let events: Vec<Event<'_>> = lines.iter().map(|line| Event::parse(line).unwrap()).collect();
        let notes = || events.iter().filter(|event| event.kind == kind::TEXT_NOTE);
        let tag = notes().flat_map(|event| event.tag_pairs()).find(|(tag, _)| *tag == "t");
        let tag = tag.unwrap().1;
        let expected: Vec<String> = notes()
            .filter(|event| event.tag_pairs().any(|pair| pair == ("t", tag)))
            .take(100)
            .flat_map(|event| {
                let text = format!("{} {}", event.created_at, event.content);
                text.lines().map(str::to_owned).collect::<Vec<_>>()
            })
            .collect();
        let found = run("newest_with_tag", &[path(&database), tag], "");
        assert_eq!(found, expected, "{name} {tag}");
    }
}

#[test]
fn author_lines_prints_an_authors_events_byte_for_byte() {
    for name in DATABASES {
        let database = golden(name);
        let events = exported(name);
        let author = Event::parse(&events[0]).unwrap().pubkey;
        let mut expected = events;
        expected.retain(|line| Event::parse(line).unwrap().pubkey == author);
        assert!(expected.len() > 1, "{name}");
        let found = run("author_lines", &[path(&database), &author.to_string()], "");
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn verify_file_names_the_lines_that_are_not_genuine() {
    let mut lines = exported("strfry-1.1.1");
    lines.truncate(3);
    lines[1] = lines[1].replacen("\"created_at\":1", "\"created_at\":2", 1);
    lines.push("{}".to_owned());
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), lines.join("\n")).unwrap();
    let expected = [
        "line 2: the id is not the hash of the event",
        "line 4: JSON object key \"id\" not found",
        "2 genuine, 2 not",
    ];
    assert_eq!(run("verify_file", &[file.path().to_str().unwrap()], ""), expected);
}

#[test]
fn watch_prints_what_has_come_since_in_the_order_in_which_it_came() {
    for name in DATABASES {
        let database = golden(name);
        let db = strfry_db::StrfryDb::open_without_lock(database.path()).unwrap();
        let mut all: Vec<(u64, String)> = db
            .scan(strfry_db::Filter::new())
            .map(Result::unwrap)
            .map(|event| (event.lev_id(), event.json().unwrap().into_owned()))
            .collect();
        all.sort();
        let last = db.last_lev_id().unwrap();
        assert_eq!(all.last().unwrap().0, last);
        let since = all[all.len() - 51].0;
        let mut watch = Running(start("watch", &[path(&database), &since.to_string()]));
        let found = first_lines(&mut watch, 50);
        let newer = all.iter().filter(|(lev_id, _)| *lev_id > since);
        let expected: Vec<String> =
            newer.map(|(lev_id, json)| format!("{lev_id} {json}")).collect();
        assert_eq!(found, expected, "{name}");
        assert_eq!(db.newer_than(last).count(), 0);
    }
}
