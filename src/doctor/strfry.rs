//! The strfry that imports: whether it is there, starts, and uses the database that is read.

use std::path::{Path, PathBuf};

use super::database::Opened;
use super::finding::{Check, Finding, Level, Trouble};
use crate::import::{ImportError, StrfryCommand, VersionError, initialise, version};
use crate::node::{ConfError, StrfryConf};
use crate::stop::Stop;
use crate::strfry_db::OpenError;

/// Versions that this program is tested with.
const KNOWN: [&str; 2] = ["strfry 1.0", "strfry 1.1"];
const MEND_FIRST: &str = "mend that first, then look again";

/// How strfry is called, and what is known of its files.
#[derive(Debug)]
pub struct Strfry<'a> {
    /// How it is called.
    pub command: &'a StrfryCommand,
    /// Its executable, or the words by which it is reached.
    pub program: String,
    /// It is reached through a command, such as in a container, and finds its files by itself.
    pub is_elsewhere: bool,
    /// Its configuration, and what that says.
    pub config: (PathBuf, Result<StrfryConf, ConfError>),
    /// The database that was named, whatever the configuration says.
    pub named: Option<&'a Path>,
    /// The database that is read, if it can be.
    pub database: Option<&'a Opened>,
}

/// Looks at strfry. It is started with `--version`, which opens nothing, and with an import of
/// nothing, which opens its database as each import does and changes no byte of `data.mdb`. The
/// latter only if that database can be read and strfry has made its lock file: otherwise it would
/// make or change files, as whichever user this is. Nor if another C library has made the lock file.
pub fn strfry(strfry: &Strfry<'_>, stop: &Stop) -> Vec<Finding> {
    let mut findings = vec![strfry.program()];
    let starts = findings.iter().all(|finding| finding.level == Level::Ok);
    let version = starts.then(|| strfry.version(stop));
    findings.extend(version);
    findings.extend(strfry.config());
    let database = strfry.database();
    let is_same = database.as_ref().is_none_or(|finding| finding.level != Level::Error);
    findings.extend(database);
    let starts = findings.iter().all(|finding| {
        let is_of_program = matches!(finding.id, Check::StrfryProgram | Check::StrfryVersion);
        !is_of_program || finding.level != Level::Error
    });
    if starts {
        findings.push(strfry.import(is_same, stop));
    }
    findings
}

impl Strfry<'_> {
    fn program(&self) -> Finding {
        let check = Check::StrfryProgram;
        match self.command.check() {
            Ok(()) => Finding::ok(check, &self.program, "can be executed"),
            Err(error) => Finding::error(check, &self.program, trouble_of(&error)),
        }
    }

    fn version(&self, stop: &Stop) -> Finding {
        let check = Check::StrfryVersion;
        let error = match version(self.command, stop) {
            Ok(said) if KNOWN.iter().any(|known| is_of(&said, known)) => {
                return Finding::ok(check, &self.program, said);
            }
            Ok(said) => {
                let said = if said.is_empty() { "no version".to_owned() } else { said };
                let found = format!("it says that it is: {said}");
                let remedy = "this program knows strfry 1.0 and 1.1: see that this is a strfry, and \
                              look for a newer strfry-companion if it is a newer one";
                return Finding::warning(check, &self.program, Trouble::new(found, remedy));
            }
            Err(error) => error,
        };
        let trouble = match &error {
            VersionError::Start(error) => trouble_of(error),
            _ if self.is_elsewhere => Trouble::new(
                error.to_string(),
                "let the command of --strfry-command pass on '--version', to see it here",
            ),
            _ => Trouble::new(
                error.to_string(),
                "install what it lacks, or name another strfry with --strfry-bin",
            ),
        };
        // A command may do nothing but import.
        let level = if self.is_elsewhere { Level::Warning } else { Level::Error };
        Finding::of(check, level, &self.program, trouble)
    }

    fn config(&self) -> Option<Finding> {
        let (file, config) = &self.config;
        let (check, subject) = (Check::StrfryConfig, file.display());
        match config {
            Ok(_) => Some(Finding::ok(check, subject, "is understood")),
            // It need not be here.
            Err(ConfError::Missing(_)) if self.is_elsewhere => None,
            Err(error) => {
                let trouble = Trouble::of_message(&error.to_string(), "correct it");
                Some(Finding::error(check, subject, trouble))
            }
        }
    }

    fn database(&self) -> Option<Finding> {
        let check = Check::StrfryDatabase;
        if self.is_elsewhere {
            let found = "finds its database by itself; the first import shows which one";
            return Some(Finding::ok(check, &self.program, found));
        }
        let config = self.config.1.as_ref().ok()?;
        let named = self.named.unwrap_or(&config.db);
        if config.is_of(named) {
            let found = "strfry imports into it";
            return Some(Finding::ok(check, named.display(), found));
        }
        let trouble = Trouble::new(
            format!("strfry imports into another database, {}", config.db.display()),
            "name the configuration of this database with --strfry-config, or leave out --db",
        );
        Some(Finding::error(check, named.display(), trouble))
    }

    fn import(&self, is_same: bool, stop: &Stop) -> Finding {
        let check = Check::StrfryImport;
        let subject = format!("{} import", self.program);
        let not_tried = |why: &str, remedy: &str| {
            let trouble = Trouble::new(format!("not tried: {why}"), remedy);
            Finding::warning(check, &subject, trouble)
        };
        if !is_same {
            return not_tried("it would open another database", MEND_FIRST);
        }
        let Some(opened) = self.database else {
            return not_tried("there is no database that can be read", MEND_FIRST);
        };
        let directory = opened.db.directory();
        if directory.join("lock.mdb").symlink_metadata().is_err() {
            return not_tried(
                "strfry has not opened this database yet, and would make a lock file as this user",
                "start strfry, then look again",
            );
        }
        // Two C libraries that share a lock file hang, or write at the same time. Whose this strfry
        // is cannot be told.
        let is_of_other_libc =
            matches!(opened.not_shared, Some(OpenError::LockFileOfOtherLibc { .. }));
        if is_of_other_libc && !self.is_elsewhere {
            return not_tried(
                "a strfry with another C library has made the lock file",
                "see that both have the same one (glibc or musl), or reach that strfry with \
                 --strfry-command",
            );
        }
        match initialise(self.command, directory, stop) {
            Ok(()) => Finding::ok(check, &subject, "opens its database to import"),
            Err(error) => Finding::error(check, &subject, trouble_of(&error)),
        }
    }
}

/// Whether a program that says so is of this version: `strfry 1.1`, `strfry 1.1.1-144-gabc`.
fn is_of(said: &str, known: &str) -> bool {
    let rest = said.strip_prefix(known);
    rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
}

fn trouble_of(error: &ImportError) -> Trouble {
    let message = error.to_string();
    match error {
        ImportError::Died { .. } => Trouble::new(
            shortened(&message),
            "correct what it names; run it by hand, with no input, to see all that it says",
        ),
        ImportError::Stopped { .. } => Trouble::new("stopped before the end", "look again"),
        ImportError::Hung { .. } => Trouble::new(
            message,
            "see what holds the database (another import, 'strfry compact'), and whether its disk \
             answers",
        ),
        _ => Trouble::of_message(&message, "run it by hand to see what it says"),
    }
}

/// With those of strfry's last lines alone that tell of an error, if there are any.
fn shortened(message: &str) -> String {
    let Some((what, lines)) = message.split_once("; its last lines: ") else {
        return message.to_owned();
    };
    let errors: Vec<&str> = lines.split(" | ").filter(|line| line.contains("error")).collect();
    if errors.is_empty() { message.to_owned() } else { format!("{what}: {}", errors.join(" | ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_known_with_whatever_comes_behind_it() {
        let known = |said: &str| KNOWN.iter().any(|known| is_of(said, known));
        for said in ["strfry 1.0", "strfry 1.0.4", "strfry 1.1.1-144-gabc", "strfry 1.1.1 (x)"] {
            assert!(known(said), "{said}");
        }
        for said in ["", "strfry", "strfry 0.9.7", "strfry 1.2", "strfry 1.10", "1.1.1"] {
            assert!(!known(said), "{said}");
        }
    }
    #[test]
    fn of_what_a_strfry_said_at_its_end_the_errors_are_quoted() {
        let said =
            |lines: &str| shortened(&format!("strfry import ended; its last lines: {lines}"));
        assert_eq!(said("a | strfry error: no | b"), "strfry import ended: strfry error: no");
        assert_eq!(said("a | b"), "strfry import ended; its last lines: a | b");
        assert_eq!(shortened("it ended"), "it ended");
    }
}
