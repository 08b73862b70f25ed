//! Databases damaged in every way that a disk, a copy or an enemy damages them: no command hangs,
//! crashes or takes memory without bound, and what it cannot read it says.
//!
//! `MUTATIONS=1000 cargo test --test strfry_db mutations -- --nocapture` tries more and shows what
//! became of each kind.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use fastrand::Rng;
use tempfile::TempDir;

use crate::support::events::{Author, START};
use crate::support::{golden_database, run_strfry, strfry_bin, strfry_node};

const PAGE: usize = 4_096;
/// Of each kind, for each database.
const MUTATIONS: usize = 1;

// LMDB 0.9, `mdb.c`.
const P_BRANCH: u16 = 1;
const P_LEAF: u16 = 2;
const P_OVERFLOW: u16 = 4;
const F_BIGDATA: u16 = 1;
const F_SUBDATA: u16 = 2;
const F_DUPDATA: u16 = 4;
const META: usize = 16;
const MAIN_DB: usize = META + 72;

#[derive(Clone)]
struct Data(Vec<u8>);

impl Data {
    fn u16(&self, at: usize) -> u16 {
        u16::from_ne_bytes(self.0[at..at + 2].try_into().unwrap())
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_ne_bytes(self.0[at..at + 8].try_into().unwrap())
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Where the newest meta page begins.
    fn newest_meta(&self) -> usize {
        let txn_id = |page: usize| self.u64(page * PAGE + META + 128);
        if txn_id(1) > txn_id(0) { PAGE } else { 0 }
    }

    fn flags(&self, page: usize) -> u16 {
        self.u16(page * PAGE + 10)
    }

    /// Where the nodes of a page of nodes begin.
    fn nodes(&self, page: usize) -> Vec<usize> {
        let begin = page * PAGE;
        if !matches!(self.flags(page), P_BRANCH | P_LEAF) {
            return Vec::new();
        }
        let nodes = (usize::from(self.u16(begin + 12)) - 16) / 2;
        (0..nodes).map(|node| begin + usize::from(self.u16(begin + 16 + 2 * node))).collect()
    }

    fn value(&self, node: usize) -> usize {
        node + 8 + usize::from(self.u16(node + 6))
    }

    /// The pages of all trees, and of large values the first.
    fn live(&self) -> Live {
        let mut live = Live::default();
        let root = self.u64(self.newest_meta() + MAIN_DB + 40);
        self.visit(usize::try_from(root).unwrap(), &mut live);
        live
    }

    fn visit(&self, page: usize, live: &mut Live) {
        live.pages.push(page);
        for node in self.nodes(page) {
            let number = |at| usize::try_from(self.u64(at)).unwrap();
            let flags = self.u16(node + 4);
            if self.flags(page) & P_BRANCH != 0 {
                live.branches.push(node);
                let low = u32::from_ne_bytes(self.0[node..node + 4].try_into().unwrap());
                self.visit(usize::try_from(low).unwrap(), live);
                continue;
            }
            live.nodes.push(node);
            if flags & F_BIGDATA != 0 {
                live.large.push(node);
                live.pages.push(number(self.value(node)));
            } else if flags & F_SUBDATA != 0 {
                let records =
                    if flags & F_DUPDATA != 0 { &mut live.sub_trees } else { &mut live.tables };
                records.push(self.value(node));
                let root = self.value(node) + 40;
                if self.u64(root) != u64::MAX {
                    self.visit(number(root), live);
                }
            } else if flags & F_DUPDATA != 0 {
                live.sub_pages.push(self.value(node));
            }
        }
    }
}

/// Where things are that are in use.
#[derive(Default)]
struct Live {
    pages: Vec<usize>,
    /// Nodes of branches.
    branches: Vec<usize>,
    /// Nodes of leaves.
    nodes: Vec<usize>,
    /// Those whose value has pages of its own.
    large: Vec<usize>,
    /// Records of named databases.
    tables: Vec<usize>,
    /// Records of trees of one key's values.
    sub_trees: Vec<usize>,
    /// Pages within a node, of one key's values.
    sub_pages: Vec<usize>,
}

fn one_of<T: Copy>(random: &mut Rng, items: &[T]) -> Option<T> {
    (!items.is_empty()).then(|| items[random.usize(..items.len())])
}

fn random_field(random: &mut Rng, data: &mut Data, at: usize, bytes: usize) {
    let interesting: [u64; 8] = [0, 1, 2, 3, 0x7fff, 0xffff, 1 << 40, u64::MAX];
    let value = match random.u8(..3) {
        0 => random.u64(..),
        1 => interesting[random.usize(..interesting.len())],
        _ => {
            let mut old = [0; 8];
            old[..bytes].copy_from_slice(&data.0[at..at + bytes]);
            u64::from_ne_bytes(old) ^ (1 << random.usize(..8 * bytes))
        }
    };
    data.put(at, &value.to_ne_bytes()[..bytes]);
}

type Mutate = fn(&mut Data, &Live, &mut Rng) -> Option<()>;

/// A field of a record of a database: pad, flags, depth, four counts, root.
fn random_record_field(random: &mut Rng, data: &mut Data, record: usize) {
    let (at, bytes) =
        [(0, 4), (4, 2), (6, 2), (8, 8), (16, 8), (24, 8), (32, 8), (40, 8)][random.usize(..8)];
    random_field(random, data, record + at, bytes);
}

/// If the number of the older meta page becomes that of the next commit, or that of the newer one the
/// number before or one of the first, the older counts, of which all is there: nothing tells them apart.
const COMMIT: &str = "the number of a commit";

const KINDS: &[(&str, Mutate)] = &[
    ("a bit anywhere", |data, _, random| {
        let at = random.usize(..data.0.len());
        data.0[at] ^= 1 << random.u8(..8);
        Some(())
    }),
    ("bytes of a page in use", |data, live, random| {
        let page = one_of(random, &live.pages)?;
        for _ in 0..random.usize(1..20) {
            data.0[page * PAGE + random.usize(..PAGE)] = random.u8(..);
        }
        Some(())
    }),
    ("header of a page", |data, live, random| {
        let page = one_of(random, &live.pages)?;
        let (at, bytes) = [(0, 8), (8, 2), (10, 2), (12, 2), (14, 2)][random.usize(..5)];
        random_field(random, data, page * PAGE + at, bytes);
        Some(())
    }),
    ("a pointer to a node", |data, live, random| {
        let page = one_of(random, &live.pages)?;
        let nodes = data.nodes(page).len();
        let at = page * PAGE + 16 + 2 * random.usize(..nodes.max(1));
        let other = page * PAGE + 16 + 2 * random.usize(..nodes.max(1));
        match random.bool() {
            true => random_field(random, data, at, 2),
            false => data.put(at, &data.u16(other).to_ne_bytes()),
        }
        Some(())
    }),
    ("a field of a node", |data, live, random| {
        let nodes = if random.bool() { &live.nodes } else { &live.branches };
        let node = one_of(random, nodes)?;
        let at = node + 2 * random.usize(..4);
        random_field(random, data, at, 2);
        Some(())
    }),
    ("the file cut", |data, _, random| {
        let bytes = random.usize(..data.0.len());
        data.0.truncate(if random.bool() { bytes } else { bytes / PAGE * PAGE });
        Some(())
    }),
    ("a meta page", |data, _, random| {
        let meta = random.usize(..2) * PAGE;
        match random.u8(..5) {
            0 => {
                let second = data.0[PAGE..2 * PAGE].to_vec();
                data.0.copy_within(..PAGE, PAGE);
                data.put(0, &second);
            }
            1 => data.0[meta..meta + PAGE].fill(0),
            2 => random_field(random, data, meta + META + 120, 8),
            3 => {
                let at = meta + META + 4 * random.usize(..6);
                random_field(random, data, at, 4);
            }
            _ => {
                let record = meta + META + 24 + 48 * random.usize(..2);
                random_record_field(random, data, record);
            }
        }
        Some(())
    }),
    (COMMIT, |data, _, random| {
        let meta = random.usize(..2) * PAGE;
        random_field(random, data, meta + META + 128, 8);
        Some(())
    }),
    ("a cycle in a tree", |data, live, random| {
        let node = one_of(random, &live.branches)?;
        let target = match random.bool() {
            true => node / PAGE,
            false => one_of(random, &live.pages)?,
        };
        data.put(node, &u32::try_from(target).unwrap().to_ne_bytes());
        Some(())
    }),
    ("values of a key", |data, live, random| {
        match random.u8(..3) {
            0 => {
                let record = one_of(random, &live.sub_trees)?;
                random_record_field(random, data, record);
            }
            1 => {
                let record = one_of(random, &live.sub_trees)?;
                let root = usize::try_from(data.u64(record + 40)).unwrap() * PAGE;
                let at = root + random.usize(4..8) * 2;
                random_field(random, data, at, 2);
            }
            _ => {
                let page = one_of(random, &live.sub_pages)?;
                let at = page + random.usize(..8) * 2;
                random_field(random, data, at, 2);
            }
        }
        Some(())
    }),
    ("a large value", |data, live, random| {
        let node = one_of(random, &live.large)?;
        let page = data.value(node);
        match random.u8(..3) {
            0 => random_field(random, data, node, 4),
            1 => random_field(random, data, page, 8),
            _ => {
                let begin = usize::try_from(data.u64(page)).unwrap() * PAGE;
                assert_eq!(data.u16(begin + 10) & P_OVERFLOW, P_OVERFLOW);
                random_field(random, data, begin + 12, 4);
            }
        }
        Some(())
    }),
    ("the record of a table", |data, live, random| {
        let record = one_of(random, &live.tables)?;
        random_record_field(random, data, record);
        Some(())
    }),
    ("a page copied over another", |data, live, random| {
        let (from, to) = (one_of(random, &live.pages)?, one_of(random, &live.pages)?);
        data.0.copy_within(from * PAGE..(from + 1) * PAGE, to * PAGE);
        Some(())
    }),
    ("a page of zeros", |data, live, random| {
        let page = one_of(random, &live.pages)?;
        data.0[page * PAGE..(page + 1) * PAGE].fill(0);
        Some(())
    }),
];

const COMMANDS: &[&[&str]] = &[
    &["export"],
    &["export", "--reverse", "--fried"],
    &["scan", "{}"],
    &["scan", "--count", "{}"],
    &["scan", r##"[{"kinds":[1,7]},{"#t":["nostr","a"]}]"##],
    &["stats", "--payloads", "--json"],
    &["verify"],
    &["profiles", "--format", "jsonl", "--pubkeys"],
];

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Same,
    Told,
    /// As many lines, and in them something else: what a value holds has no check sum.
    OtherText,
    /// More or fewer lines.
    OtherEvents,
    Crashed,
    Panicked,
    /// Or took more than 500 MB.
    Hung,
}

/// A minute, on a machine that does other things too, and 500 MB of memory that is not the map of
/// a file.
fn bounded(arguments: &[&str], directory: &Path, optimistic: bool) -> Output {
    let program = env!("CARGO_BIN_EXE_strfry-companion");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -d 500000; ulimit -c 0; exec timeout 60 \"$@\"", "sh", program]);
    command.args(arguments);
    if arguments.last() == Some(&"--pubkeys") {
        command.arg(crate::support::fixture("authors.txt"));
    }
    command.arg("--db").arg(directory).env("HOME", "/nonexistent").stdin(Stdio::null());
    if optimistic {
        command.arg("--no-lock");
    }
    command.output().unwrap()
}

fn answer(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    // A profile's time of reading, and what is told of pages that are free.
    let lines = text.lines().filter(|line| !line.contains("free_bytes"));
    let lines = lines.map(|line| match line.find("\"fetched_at\"") {
        Some(at) => line[..at].to_owned(),
        None => line.to_owned(),
    });
    lines.collect()
}

fn fate(output: &Output, expected: &[String]) -> Fate {
    let panicked = String::from_utf8_lossy(&output.stderr).contains("panicked at");
    let too_large = String::from_utf8_lossy(&output.stderr).contains("memory allocation of");
    match (output.status.code(), output.status.signal()) {
        _ if panicked => Fate::Panicked,
        _ if too_large => Fate::Hung,
        (Some(124), _) => Fate::Hung,
        (Some(128..), _) | (None, _) => Fate::Crashed,
        (Some(0), _) => {
            let answer = answer(output);
            match answer.len() == expected.len() {
                true if answer == expected => Fate::Same,
                true => Fate::OtherText,
                false => Fate::OtherEvents,
            }
        }
        _ => Fate::Told,
    }
}

/// Few authors, kinds and seconds: keys that have many values.
fn dense_database() -> TempDir {
    let node = strfry_node();
    let authors: Vec<String> =
        (1..6).map(|number| Author::new(number).pubkey().to_string()).collect();
    let lines: String = (0..20_000_u64)
        .map(|number| {
            format!(
                r#"{{"content":"{}","created_at":{},"id":"{:064x}","kind":{},"pubkey":"{}","sig":"{}","tags":[["t","nostr"],["t","{}"]]}}{}"#,
                "x".repeat(usize::try_from(number % 97 * 40 * u64::from(number % 50 == 0)).unwrap()),
                START + number / 2_000,
                u128::from(number + 1) * 0x9e37_79b9_7f4a_7c15_f39c_c060,
                number % 3,
                authors[usize::try_from(number % 5).unwrap()],
                "0".repeat(128),
                number % 11,
                '\n'
            )
        })
        .collect();
    // Always the same commits, however busy the machine is, and so many that the newest meta page is
    // the first one: in the golden databases it is the second.
    let flags = ["import", "--no-verify", "--write-batch=7000", "--debounce-millis=600000"];
    let imported = run_strfry(strfry_bin(), node.path(), &flags, lines.as_bytes());
    assert!(imported.status.success());
    fs::remove_file(node.path().join("strfry-db/lock.mdb")).unwrap();
    node
}

fn databases() -> Vec<(&'static str, Vec<u8>)> {
    let read = |path: &Path| fs::read(path.join("data.mdb")).unwrap();
    let golden = |name: &'static str| (name, read(golden_database(name).path()));
    vec![
        golden("strfry-1.1.1"),
        golden("strfry-1.0.4"),
        golden("strfry-1.1.1-dict"),
        ("dense", read(&dense_database().path().join("strfry-db"))),
    ]
}

fn mutations() -> usize {
    std::env::var("MUTATIONS").map_or(MUTATIONS, |number| number.parse().unwrap())
}

/// The same in every run.
fn random_of(names: &[&str]) -> Rng {
    let bytes = names.iter().flat_map(|name| name.bytes());
    Rng::with_seed(
        bytes.fold(7, |seed: u64, byte| seed.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte)),
    )
}

type Fates = BTreeMap<(&'static str, Fate), usize>;

/// Does all of it; what became of the runs of each kind of mutation, and which were bad.
fn run(optimistic: bool, is_bad: impl Fn(Fate) -> bool + Sync) -> (Fates, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let (mut fates, mut bad) = (Fates::new(), Vec::new());
    for (name, whole) in databases() {
        let data = Data(whole);
        fs::write(directory.path().join("data.mdb"), &data.0).unwrap();
        // Whoever comes first initialises it.
        fs::write(directory.path().join("lock.mdb"), "").unwrap();
        let live = data.live();
        let expected: Vec<Vec<String>> = COMMANDS
            .iter()
            .map(|command| answer(&bounded(command, directory.path(), optimistic)))
            .collect();
        assert!(expected[0].len() > 600 && expected[2].len() > 600, "{name}");
        for &(kind, mutate) in KINDS {
            for seed in 0..mutations() {
                let mut mutated = data.clone();
                let mut random = random_of(&[name, kind, &seed.to_string()]);
                if mutate(&mut mutated, &live, &mut random).is_none() || mutated.0 == data.0 {
                    continue;
                }
                fs::write(directory.path().join("data.mdb"), &mutated.0).unwrap();
                for (command, expected) in COMMANDS.iter().zip(&expected) {
                    let output = bounded(command, directory.path(), optimistic);
                    let fate = fate(&output, expected);
                    *fates.entry((kind, fate)).or_default() += 1;
                    if is_bad(fate) && (kind, fate) != (COMMIT, Fate::OtherEvents) {
                        bad.push(format!("{name}, {kind}, seed {seed}, {command:?}: {fate:?}"));
                    }
                }
            }
        }
    }
    (fates, bad)
}

fn told(fates: &Fates, bad: &[String]) {
    for ((kind, fate), runs) in fates {
        println!("{kind:<28} {fate:?}: {runs}");
    }
    let mut sums = BTreeMap::<Fate, usize>::new();
    for ((_, fate), runs) in fates {
        *sums.entry(*fate).or_default() += runs;
    }
    println!("{sums:?}");
    println!("{}", bad.join("\n"));
}

fn is_bad(fate: Fate) -> bool {
    !matches!(fate, Fate::Same | Fate::Told | Fate::OtherText)
}

#[test]
fn without_the_lock_file_no_damage_is_endless_or_takes_events_away_in_silence() {
    let (fates, bad) = run(true, is_bad);
    told(&fates, &bad);
    assert_eq!(bad, [""; 0]);
}

#[test]
fn with_a_slot_in_the_lock_file_no_damage_is_endless_or_takes_events_away_in_silence() {
    let (fates, bad) = run(false, is_bad);
    told(&fates, &bad);
    assert_eq!(bad, [""; 0]);
}
