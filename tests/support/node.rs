//! A throw-away node: a home with strfry and its database, and the program run on it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use strfry_companion::nostr::Pubkey;
use tempfile::TempDir;

use super::{run_strfry, strfry_node};

/// A node in a directory of its own.
pub struct Node {
    home: TempDir,
}

impl Node {
    /// A node whose strfry is this executable, with an initialised, empty database.
    pub fn new(strfry: &Path) -> Self {
        let home = tempfile::tempdir().unwrap();
        let directory = strfry_node();
        fs::rename(directory.path(), home.path().join("strfry")).unwrap();
        symlink(strfry, home.path().join("strfry/strfry")).unwrap();
        let node = Self { home };
        node.import(&[]);
        node
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub fn strfry_dir(&self) -> PathBuf {
        self.home().join("strfry")
    }

    /// Writes a file below the home.
    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.home().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// The text of a file below the home.
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.home().join(path)).unwrap()
    }

    /// The log of the last backfill.
    pub fn log(&self) -> String {
        self.read("strfry/constellation-backfill.log")
    }

    /// Adds a station with this relay to the swarm.
    pub fn add_station(&self, name: &str, relay: &str) {
        let station = json!({"ipfsnodeid": name, "myRELAY": relay}).to_string();
        self.write(&format!("tmp/swarm/{name}/12345.json"), station);
    }

    /// Gives the node these pubkeys as its own.
    pub fn add_pubkeys<'a>(&self, pubkeys: impl IntoIterator<Item = &'a Pubkey>) {
        for (number, pubkey) in pubkeys.into_iter().enumerate() {
            self.write(&format!("game/nostr/player{number}@node/HEX"), format!("{pubkey}\n"));
        }
    }

    /// Imports events through the node's strfry, one JSON line each.
    pub fn import(&self, events: &[String]) {
        let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
        let output = run_strfry(
            "./strfry",
            &self.strfry_dir(),
            &["import", "--no-verify"],
            lines.as_bytes(),
        );
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Every event in the database, as strfry exports it.
    pub fn events(&self) -> BTreeSet<String> {
        let output = run_strfry("./strfry", &self.strfry_dir(), &["export"], b"");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    /// The program, on this node.
    pub fn companion(&self, arguments: &[&str]) -> Command {
        self.called(Path::new(env!("CARGO_BIN_EXE_strfry-companion")), arguments)
    }

    /// The program on this node, by the name of the script that it replaces.
    pub fn script(&self, arguments: &[&str]) -> Command {
        let link = self.home().join("backfill_constellation.sh");
        if !link.exists() {
            symlink(env!("CARGO_BIN_EXE_strfry-companion"), &link).unwrap();
        }
        self.called(&link, arguments)
    }

    fn called(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .arg("--home")
            .arg(self.home())
            .env_remove("IPFSNODEID")
            .env_remove("STRFRY_CONFIG")
            .env("HOME", self.home());
        command
    }

    /// Runs a backfill to its end; returns its exit code and its summary, in which every event
    /// that came in must be accounted for.
    pub fn backfill(&self, arguments: &[&str]) -> (i32, Value) {
        let arguments = [&["backfill", "--json", "--no-fallback"], arguments].concat();
        let output = self.companion(&arguments).output().unwrap();
        let summary = serde_json::from_slice(&output.stdout);
        let summary: Value = summary.unwrap_or_else(|_| panic!("no summary: {output:?}"));
        let counts = summary["events"].as_object().unwrap().values();
        let accounted: u64 = counts.map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(summary["received"], accounted, "events without a class: {summary:#}");
        (code(&output), summary)
    }
}

/// The exit code; a process that a signal ended has none.
pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("no exit code: {output:?}"))
}
