//! Configuration files: TOML whose keys are the names of options, `max-time = "2h"`.
//!
//! A key above all sections is for each command that has the option; one in a section, `[diff]`, is
//! for that command alone, and `[backfill]` also for those that look at backfills. A file may name programs to run, so it must be nobody else's to write.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::{Arg, ArgAction, Command, ValueHint};
use toml::{Table, Value};

use super::environment::Environment;
use super::settings::{
    Given, Layer, Origin, Said, can_be_configured, can_be_set, option_named, similar,
};
use crate::cli::exit::{Failure, OrFail, Result};
use crate::cli::{NAMES, call};
use crate::files::open_to_read;

/// For everybody on this machine.
const OF_MACHINE: &str = "/etc/strfry-companion.toml";
/// In a directory of configurations, or in a node's home.
const NAME: &str = "strfry-companion.toml";
/// Commands that look at what a backfill uses and leaves behind: where `[backfill]` says where that is,
/// they look there.
const ABOUT_BACKFILLS: [&str; 3] = ["doctor", "history", "report"];
/// Options of each command's own output.
const LOOKS: [&str; 3] = ["json", "quiet", "color"];
/// A configuration with a thousand relays is smaller.
const MAX_BYTES: u64 = 256 << 10;
/// Write access of others, and of a group.
const OTHERS: u32 = 0o002;
const GROUP: u32 = 0o020;

/// The machine's file.
pub(super) fn of_machine() -> PathBuf {
    OF_MACHINE.into()
}

/// The user's file: in `$XDG_CONFIG_HOME`, else in `~/.config`.
pub(super) fn of_user(environment: &Environment) -> Option<PathBuf> {
    let usual = || Some(environment.user_home.as_ref()?.join(".config"));
    Some(environment.xdg_config_home.clone().or_else(usual)?.join(NAME))
}

/// The file of the node in this home.
pub(super) fn of_home(home: &Path) -> PathBuf {
    home.join(NAME)
}

/// Reads a file for a command. `None`: there is no such file.
pub(super) fn read(
    path: &Path,
    layer: Layer,
    command: &str,
    options: &Command,
) -> Result<Option<Vec<Given>>> {
    let text = match text_of(path) {
        Err(error) if is_missing(&error) => return Ok(None),
        text => text.with_context(|| cannot_read(path)).or_usage()?,
    };
    let table = text.parse::<Table>().map_err(|error| not_toml(path, &text, &error))?;
    let file = File { path, layer };
    // The command's own section first: it wins.
    let (mut given, mut of_backfill) = (Vec::new(), Vec::new());
    for (key, value) in &table {
        if let Value::Table(section) = value {
            let values = file.section(key, section)?;
            match key.as_str() {
                name if name == command => given.extend(values),
                "backfill" if ABOUT_BACKFILLS.contains(&command) => of_backfill.extend(values),
                _ => {}
            }
        }
    }
    let is_shared = |given: &Given| {
        option_named(options, &given.option).is_some()
            && can_be_set(command, &given.option)
            && !LOOKS.contains(&given.option.as_str())
    };
    given.extend(of_backfill.into_iter().filter(is_shared));
    for (key, value) in table.iter().filter(|(_, value)| !value.is_table()) {
        match option_named(options, key).filter(|_| can_be_set(command, key)) {
            Some(arg) => given.push(file.given(arg, key, value)?),
            None => file.of_another_command(key, value)?,
        }
    }
    Ok(Some(given))
}

pub(super) fn missing(path: &Path) -> Failure {
    Failure::Usage(anyhow!(
        "there is no configuration {}; correct --config, or leave it out to use the usual files",
        path.display()
    ))
}

/// A file that is being read.
struct File<'a> {
    path: &'a Path,
    layer: Layer,
}

impl File<'_> {
    /// What a section says of the options of its command.
    fn section(&self, name: &str, section: &Table) -> Result<Vec<Given>> {
        let Some(known) = NAMES.iter().find(|known| **known == name) else {
            return Err(self.unknown(&format!("[{name}] is no command"), name, NAMES));
        };
        let options = call::options(known);
        if !can_be_configured(&options) {
            return Err(
                self.wrong(&format!("the options of {name} are only typed; leave [{name}] out"))
            );
        }
        let given = |(key, value): (&String, &Value)| {
            let arg = option_named(&options, key).filter(|_| can_be_set(name, key));
            let arg = arg.ok_or_else(|| {
                let problem = format!("{name} has no option '{key}' that can be set here");
                self.unknown(&problem, key, &names_of(name, &options))
            })?;
            self.given(arg, key, value)
        };
        section.iter().map(given).collect()
    }

    /// A key that this command does not know is one of another command's, or a mistake.
    fn of_another_command(&self, key: &str, value: &Value) -> Result<()> {
        let mut known = Vec::new();
        for name in NAMES {
            let options = call::options(name);
            if !can_be_configured(&options) {
                continue;
            }
            if let Some(arg) = option_named(&options, key).filter(|_| can_be_set(name, key)) {
                return self.given(arg, key, value).map(drop);
            }
            known.extend(names_of(name, &options).into_iter().map(str::to_owned));
        }
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        Err(self.unknown(
            &format!("no command has an option '{key}' that can be set here"),
            key,
            &known,
        ))
    }

    fn unknown(&self, problem: &str, name: &str, known: &[&str]) -> Failure {
        let remedy = match similar(name, known) {
            Some(similar) => format!("did you mean '{similar}'?"),
            None => "see strfry-companion config show".to_owned(),
        };
        self.wrong(&format!("{problem}; {remedy}"))
    }

    fn wrong(&self, problem: &str) -> Failure {
        Failure::Usage(anyhow!("the configuration {}: {problem}", self.path.display()))
    }

    fn given(&self, arg: &Arg, key: &str, value: &Value) -> Result<Given> {
        let is_flag = matches!(arg.get_action(), ArgAction::SetTrue);
        let value = match value {
            Value::Boolean(value) if is_flag => Said::Flag(*value),
            _ if is_flag => return Err(self.wrong(&format!("{key} takes true or false"))),
            Value::Array(values) if matches!(arg.get_action(), ArgAction::Append) => {
                let texts = values.iter().map(|value| self.text(arg, key, value));
                Said::Values(texts.collect::<Result<_>>()?)
            }
            Value::Array(_) if is_path(arg) => {
                return Err(self.wrong(&format!("{key} takes one path, not a list of them")));
            }
            // Such as kinds = [0, 3].
            Value::Array(values) => {
                let texts = values.iter().map(|value| self.text(arg, key, value));
                Said::Values(vec![texts.collect::<Result<Vec<_>>>()?.join(OsStr::new(","))])
            }
            value => Said::Values(vec![self.text(arg, key, value)?]),
        };
        let origin = Origin::File(self.path.to_owned());
        Ok(Given { option: key.to_owned(), value, origin, layer: self.layer })
    }

    fn text(&self, arg: &Arg, key: &str, value: &Value) -> Result<OsString> {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Datetime(time) => time.to_string(),
            _ => return Err(self.wrong(&format!("{key} takes texts or numbers"))),
        };
        if text.contains('\0') {
            return Err(self.wrong(&format!("{key} holds a null character")));
        }
        Ok(if is_path(arg) { self.path_of(&text).into() } else { text.into() })
    }

    /// A relative path starts from the directory of the file that names it, `~/` from the home.
    fn path_of(&self, text: &str) -> PathBuf {
        let home = || std::env::home_dir().filter(|home| home.is_absolute());
        if text == "-" {
            return text.into();
        }
        if let (Some(rest), Some(home)) = (text.strip_prefix("~/"), home()) {
            return home.join(rest);
        }
        self.path.parent().unwrap_or(Path::new("")).join(text)
    }
}

fn is_path(arg: &Arg) -> bool {
    arg.get_value_hint() == ValueHint::AnyPath
}

/// Options of a command that can be set here.
fn names_of<'a>(command: &str, options: &'a Command) -> Vec<&'a str> {
    let names = options.get_arguments().filter_map(Arg::get_long);
    names.filter(|name| can_be_set(command, name)).collect()
}

fn text_of(path: &Path) -> io::Result<String> {
    let file = open_to_read(path)?;
    let metadata = file.metadata()?;
    let user = rustix::process::geteuid().as_raw();
    if ![0, user].contains(&metadata.uid()) {
        return Err(io::Error::other(format!(
            "it belongs to user {}, who could name programs to run; make it yours (chown)",
            metadata.uid()
        )));
    }
    let own_group = [0, rustix::process::getegid().as_raw()].contains(&metadata.gid());
    let writable = if own_group { OTHERS } else { OTHERS | GROUP };
    if metadata.mode() & writable != 0 {
        return Err(io::Error::other(
            "others can write to it, and could name programs to run; chmod go-w it",
        ));
    }
    let mut text = String::new();
    let read = file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if read as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("it is longer than {MAX_BYTES} bytes; shorten it")));
    }
    Ok(text)
}

/// Nothing is there, or on the way.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn cannot_read(path: &Path) -> String {
    format!("cannot read the configuration {} (--config none does without)", path.display())
}

fn not_toml(path: &Path, text: &str, error: &toml::de::Error) -> Failure {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    Failure::Usage(anyhow!(
        "the configuration {}, line {line}: {}; a line looks like days = 7 or kinds = \"0,3\"",
        path.display(),
        error.message()
    ))
}
