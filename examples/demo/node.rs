//! The directory of the demo's node, and the commands that are run in it.

use std::env;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use strfry_companion::nostr::Pubkey;

/// Without `nofiles = 0` strfry asks for more open files than most machines allow.
const STRFRY_CONF: &str = "db = \"./strfry-db/\"\nrelay {\n    nofiles = 0\n}\n";

/// Every pubkey without a profile is worth one; there are hundreds.
const WARNINGS_SHOWN: usize = 3;

/// A node with strfry and the program in it, all of its files below one directory.
pub struct Node {
    home: PathBuf,
    real_strfry: Option<PathBuf>,
}

/// A command of the program as it is typed in the node's directory.
pub fn as_typed(arguments: &str) -> String {
    let (command, rest) = arguments.split_once(' ').unwrap_or((arguments, ""));
    format!("./strfry-companion {command} --home . {rest}").trim_end().to_owned()
}

impl Node {
    /// Builds a node with an initialised, empty database.
    pub fn build(directory: Option<&Path>) -> Result<Self> {
        let home = match directory {
            Some(directory) => new_directory(directory)?,
            None => tempfile::Builder::new()
                .prefix("strfry-companion-demo-")
                .tempdir()
                .context("cannot create a temporary directory")?
                .keep(),
        };
        let this_program = env::current_exe().context("cannot find this program")?;
        let real_strfry = env::var_os("STRFRY_BIN").map(PathBuf::from);
        let real_strfry = match real_strfry {
            Some(path) => {
                Some(path.canonicalize().with_context(|| format!("STRFRY_BIN={path:?}"))?)
            }
            None => None,
        };
        let node = Self { home, real_strfry };
        let strfry = node.real_strfry.as_ref().unwrap_or(&this_program);
        fs::create_dir_all(node.strfry_dir().join("strfry-db"))?;
        symlink(strfry, node.strfry_dir().join("strfry"))?;
        symlink(&this_program, node.home.join("strfry-companion"))?;
        symlink(&this_program, node.home.join("backfill_constellation.sh"))?;
        node.write("strfry/strfry.conf", STRFRY_CONF)?;
        node.import(&[])?;
        Ok(node)
    }

    pub fn home(&self) -> &Path {
        &self.home
    }

    pub fn strfry_in_words(&self) -> String {
        match &self.real_strfry {
            Some(path) => path.display().to_string(),
            None => "the tests' stand-in (STRFRY_BIN=/path/to/strfry takes the real one)".into(),
        }
    }

    pub fn add_station(&self, id: &str, relay: &str, pubkey: &Pubkey) -> Result<()> {
        let station = json!({ "ipfsnodeid": id, "myRELAY": relay, "NODEHEX": pubkey });
        self.write(&format!("tmp/swarm/{id}/12345.json"), &format!("{station:#}\n"))
    }

    /// Identities that live on the node.
    pub fn add_players(&self, pubkeys: impl Iterator<Item = Pubkey>) -> Result<()> {
        for (number, pubkey) in pubkeys.enumerate() {
            self.write(&format!("game/nostr/player{number}@demo/HEX"), &format!("{pubkey}\n"))?;
        }
        Ok(())
    }

    pub fn add_friends(&self, pubkeys: impl Iterator<Item = Pubkey>) -> Result<()> {
        let lines: String = pubkeys.map(|pubkey| format!("{pubkey}\n")).collect();
        self.write("strfry/amisOfAmis.txt", &lines)
    }

    pub fn add_to_blacklist(&self, pubkey: &Pubkey) -> Result<()> {
        self.write("strfry/blacklist.txt", &format!("{pubkey}\n"))
    }

    /// Imports events through the node's strfry.
    pub fn import(&self, events: &[String]) -> Result<()> {
        let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
        self.strfry(&["import", "--no-verify"], lines.as_bytes())?;
        Ok(())
    }

    /// Every event in the database, as strfry exports it.
    pub fn export(&self) -> Result<Vec<String>> {
        let exported = self.strfry(&["export"], b"")?;
        Ok(String::from_utf8(exported)?.lines().map(str::to_owned).collect())
    }

    pub fn read(&self, path: &str) -> Result<String> {
        let path = self.home.join(path);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Shows a command, runs it, and shows what is worth showing of its output.
    pub fn show(
        &self,
        typed: &str,
        arguments: &[&str],
        shown: impl FnOnce(&str) -> String,
    ) -> Result<()> {
        println!("   $ {}", as_typed(typed));
        let output = Command::new(self.home.join("strfry-companion"))
            .args(arguments)
            .args(["--home", "."])
            .current_dir(&self.home)
            .env_remove("IPFSNODEID")
            .output()
            .context("cannot run strfry-companion")?;
        let warnings = String::from_utf8_lossy(&output.stderr);
        for line in warnings.lines().take(WARNINGS_SHOWN) {
            println!("   {line}");
        }
        match warnings.lines().count().saturating_sub(WARNINGS_SHOWN) {
            0 => {}
            more => println!("   … and {more} more lines of warnings"),
        }
        for line in shown(&String::from_utf8_lossy(&output.stdout)).lines() {
            println!("   {line}");
        }
        println!();
        ensure!(output.status.success(), "that ended with {}", output.status);
        Ok(())
    }

    fn strfry_dir(&self) -> PathBuf {
        self.home.join("strfry")
    }

    fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.home.join(path);
        let write = || {
            fs::create_dir_all(path.parent().unwrap_or(&self.home))?;
            fs::write(&path, text)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    /// Runs strfry; its configuration is named, or it would prefer the machine's own.
    fn strfry(&self, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>> {
        let mut command = Command::new(self.strfry_dir().join("strfry"));
        command.args(["--config", "strfry.conf"]).args(arguments).current_dir(self.strfry_dir());
        let output = run(&mut command, input).context("cannot run strfry")?;
        let log = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "strfry {} failed:\n{log}", arguments.join(" "));
        Ok(output.stdout)
    }
}

fn run(command: &mut Command, input: &[u8]) -> Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    thread::scope(|scope| {
        // If strfry ends before its input does, its exit status and its log say why.
        scope.spawn(move || stdin.write_all(input));
        Ok(child.wait_with_output()?)
    })
}

/// Creates the directory, or takes an empty one; nothing that is there is ever overwritten.
fn new_directory(path: &Path) -> Result<PathBuf> {
    let named = || format!("cannot build a node in {}", path.display());
    fs::create_dir_all(path).with_context(named)?;
    let mut entries = fs::read_dir(path).with_context(named)?;
    ensure!(entries.next().is_none(), "{}: it is not empty", named());
    path.canonicalize().with_context(named)
}
