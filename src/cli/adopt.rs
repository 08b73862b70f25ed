//! `adopt`: lets the script that a node calls hand over to this program, and takes that back.

use std::fmt::Write;
use std::fs::{self, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;

use super::exit::{Failure, OrFail, Outcome, Result};
use super::node::ConfigurationFile;
use super::output::print;
use super::own_path::own_path;
use crate::files;
use crate::node::old_script::{self, MAX_SCRIPT_BYTES};
use crate::node::{Named, NodePaths, Surroundings, paths};

/// Added to the script's name for the copy that is kept.
const COPY: &str = ".before-adopt";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The script [default: HOME/workspace/NIP-101/backfill_constellation.sh]
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Change the script; without this flag the change is only shown
    #[arg(long)]
    yes: bool,
    /// Take the change out again
    #[arg(long, conflicts_with = "yes")]
    undo: bool,
    /// Home of the node's files [default: ~/.zen]
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
    #[command(flatten)]
    configuration: ConfigurationFile,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome> {
    let script = Script::read(arguments.path()?)?;
    let text = if arguments.undo { script.undo()? } else { script.adopt(arguments.yes)? };
    print(&text)?;
    Ok(Outcome::Complete)
}

impl Arguments {
    fn path(&self) -> Result<PathBuf> {
        let named = Named { home: self.home.clone(), ..Named::default() };
        let usual = || NodePaths::find(&named, &Surroundings::of_this_process()).old_script();
        std::path::absolute(self.script.clone().unwrap_or_else(usual)).or_usage()
    }
}

/// The script as it is.
struct Script {
    path: PathBuf,
    content: Vec<u8>,
    metadata: Metadata,
}

impl Script {
    fn read(path: PathBuf) -> Result<Self> {
        let cannot = || format!("cannot read the script {}; name it with --script", path.display());
        let file = files::open_to_read(&path).with_context(cannot).or_usage()?;
        let metadata = file.metadata().with_context(cannot).or_usage()?;
        let mut content = Vec::new();
        file.take(MAX_SCRIPT_BYTES + 1)
            .read_to_end(&mut content)
            .with_context(cannot)
            .or_usage()?;
        if u64::try_from(content.len()).unwrap_or(u64::MAX) > MAX_SCRIPT_BYTES {
            return Err(Failure::Usage(anyhow!(
                "{} is left alone: it is longer than 1 MiB, which the script is not",
                path.display()
            )));
        }
        Ok(Self { path, content, metadata })
    }

    /// Shows the change, or makes it; returns what there is to say.
    fn adopt(&self, is_sure: bool) -> Result<String> {
        let program = own_path()?;
        if is_open_to_all(&program) {
            return Err(Failure::Usage(anyhow!(
                "any user of this machine can replace {}, which the script would start: install the \
                 program where others cannot write (chmod o-w), and call it there",
                program.display()
            )));
        }
        let line = old_script::hand_over_line(&program).or_usage()?;
        let before = self.expected(old_script::line_in(&self.content))?;
        let (path, copy) = (self.path.display(), self.copy());
        if before == Some(line.as_slice()) {
            return Ok(format!("{path} hands over to this program already: nothing to do.\n"));
        }
        let mut text = self.change(before, &line);
        if !is_sure {
            let _ = write!(
                text,
                "\nNothing is changed yet. With --yes the line is put in, and a copy of the script is \
                 kept as\n{}.\n",
                copy.display()
            );
            return Ok(text);
        }
        let original = self.expected(old_script::restored(&self.content))?;
        let adopted = self.expected(old_script::adopted(&self.content, &line))?;
        files::replace_like(&copy, &self.metadata, &original)
            .with_context(|| format!("cannot keep a copy as {}", copy.display()))
            .or_cannot_run()?;
        self.rewrite(&adopted)?;
        let _ = write!(
            text,
            "\nDone: whoever calls the script now starts this program. If the program is gone or does \
             not start,\nthe script runs as before. `strfry-companion adopt --undo` takes the line out \
             again; the copy is\n{}.\n",
            copy.display()
        );
        if let Some(clone) = self.path.ancestors().find(|dir| dir.join(".git").exists()) {
            let _ = write!(
                text,
                "\nThe script lies in a git clone. `git pull` stops there as soon as the script changes \
                 upstream,\nunless git carries the line over by itself:\n  git -C {} config \
                 merge.autoStash true\n",
                clone.display()
            );
        }
        Ok(text)
    }

    /// Takes the line out; returns what there is to say.
    fn undo(&self) -> Result<String> {
        let path = self.path.display();
        if self.expected(old_script::line_in(&self.content))?.is_none() {
            return Ok(format!("{path} hands over to no program: nothing to undo.\n"));
        }
        let original = self.expected(old_script::restored(&self.content))?;
        self.rewrite(&original)?;
        let copy = self.copy();
        let kept = files::open_to_read(&copy).and_then(|file| {
            let mut content = Vec::new();
            file.take(MAX_SCRIPT_BYTES + 1).read_to_end(&mut content).map(|_| content)
        });
        match kept {
            Ok(kept) if kept == original => {
                fs::remove_file(&copy)
                    .with_context(|| format!("cannot remove the copy {}", copy.display()))
                    .or_cannot_run()?;
                Ok(format!("{path} is byte for byte what it was before; the copy is removed.\n"))
            }
            Ok(_) => Ok(format!(
                "The line is out of {path}. The script has changed since it was put in; the copy from \
                 then stays:\n{}.\n",
                copy.display()
            )),
            Err(_) => Ok(format!("The line is out of {path}.\n")),
        }
    }

    /// What does not look like the script is left alone.
    fn expected<T>(&self, looked: std::result::Result<T, old_script::Unexpected>) -> Result<T> {
        looked
            .with_context(|| {
                format!(
                    "{} is left alone, for it is not the script {} that is known here",
                    self.path.display(),
                    paths::OLD_SCRIPT
                )
            })
            .or_usage()
    }

    fn rewrite(&self, content: &[u8]) -> Result<()> {
        files::rewrite(&self.path, &self.content, content)
            .with_context(|| format!("cannot change the script {}", self.path.display()))
            .or_cannot_run()
    }

    fn copy(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(COPY);
        name.into()
    }

    /// The beginning of the script with the change marked, as `diff` does it.
    fn change(&self, before: Option<&[u8]>, line: &[u8]) -> String {
        let mut text = format!("{}\n", self.path.display());
        let first = self.content.split_inclusive(|&byte| byte == b'\n').next();
        let skipped = first.unwrap_or_default().len() + before.unwrap_or_default().len();
        let next = self.content.get(skipped..).unwrap_or_default();
        let next = next.split_inclusive(|&byte| byte == b'\n').next();
        for (sign, line) in [(' ', first), ('-', before), ('+', Some(line)), (' ', next)] {
            if let Some(line) = line {
                let _ = write!(text, "{sign} {}", String::from_utf8_lossy(line));
            }
        }
        text
    }
}

/// Whether a program, or the directory that it lies in, can be written to by anybody.
fn is_open_to_all(program: &Path) -> bool {
    let program = program.canonicalize().unwrap_or_else(|_| program.to_owned());
    let is_open = |path: &Path| fs::metadata(path).is_ok_and(|found| found.mode() & 0o002 != 0);
    is_open(&program) || program.parent().is_some_and(is_open)
}
