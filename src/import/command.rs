//! How strfry is called: as a program of this machine, or through a command that reaches it
//! elsewhere, such as in a container.
//!
//! No shell ever reads such a command.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::child::ImportError;
use crate::node::paths::in_path;

/// How strfry is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrfryCommand {
    program: OsString,
    /// What comes before the name of strfry's own command.
    arguments: Vec<OsString>,
    /// Where it is started; `None`: where this process runs.
    directory: Option<PathBuf>,
    /// How long it may take next to no input and commit nothing before it counts as hanging. What it
    /// says meanwhile does not matter.
    pub(super) patience: Duration,
}

/// Why a text is not a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WordsError {
    /// No words in it.
    #[error("it names no program; write it as in 'docker exec -i relay /app/strfry'")]
    Empty,
    /// A quote that is opened and not closed.
    #[error("the quote {0} is not closed; close it, or write \\{0} for the character itself")]
    Unclosed(char),
    /// A backslash with nothing behind it.
    #[error("it ends in a backslash; remove it, or write \\\\ for the character itself")]
    TrailingBackslash,
    /// What only a shell would understand.
    #[error(
        "{0} means something to a shell, and no shell reads this; put it in single quotes if it is \
         meant as it stands, or name a script of your own"
    )]
    Shell(char),
    /// strfry's own command is appended by this program.
    #[error("leave out the last word: 'import' is appended to it")]
    Import,
}

impl StrfryCommand {
    /// A strfry of this machine: its executable, its configuration, the directory in which it runs.
    /// Paths must be absolute, or relative to that directory.
    pub fn local(binary: &Path, config: &Path, directory: &Path, patience: Duration) -> Self {
        Self {
            program: binary.into(),
            arguments: vec!["--config".into(), config.into()],
            directory: Some(directory.to_owned()),
            patience,
        }
    }

    /// Whether it runs on this machine, as far as we know.
    pub(super) fn is_local(&self) -> bool {
        self.directory.is_some()
    }

    /// A command that reaches strfry, such as `docker exec -i relay /app/strfry`. strfry's own
    /// command is appended to its words; nothing says which configuration is meant, unless they do.
    ///
    /// White space separates words. Single quotes, double quotes and backslashes keep it, as in a
    /// shell.
    ///
    /// # Errors
    /// [`WordsError`]
    pub fn by_words(text: &str, patience: Duration) -> Result<Self, WordsError> {
        let mut words = words(text)?.into_iter().map(OsString::from);
        let program = words.next().filter(|word| !word.is_empty()).ok_or(WordsError::Empty)?;
        let arguments: Vec<OsString> = words.collect();
        if arguments.last().is_some_and(|last| last == "import") {
            return Err(WordsError::Import);
        }
        Ok(Self { program, arguments, directory: None, patience })
    }

    /// Whether there is something to execute.
    ///
    /// # Errors
    /// [`ImportError::Start`] or [`ImportError::NotExecutable`]
    pub fn check(&self) -> Result<(), ImportError> {
        let missing = |source| self.cannot_start(source);
        let program = Path::new(&self.program);
        if self.directory.is_none() && !self.program.as_encoded_bytes().contains(&b'/') {
            let found = in_path(program, std::env::var_os("PATH").as_ref());
            return found.map(drop).ok_or_else(|| {
                missing(io::Error::new(io::ErrorKind::NotFound, "no directory of PATH has it"))
            });
        }
        let is_file = std::fs::metadata(program).map_err(missing)?.is_file();
        let may_run = rustix::fs::access(program, rustix::fs::Access::EXEC_OK).is_ok();
        if is_file && may_run {
            return Ok(());
        }
        let program = program.display().to_string();
        Err(ImportError::NotExecutable { program, remedy: self.remedy() })
    }

    /// A process that is yet to be given strfry's own command.
    pub(super) fn process(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
    }

    /// A process that says strfry's version. One of this machine needs no configuration for that.
    pub(super) fn process_for_version(&self) -> Command {
        let mut command = match &self.directory {
            Some(directory) => {
                let mut command = Command::new(&self.program);
                command.current_dir(directory);
                command
            }
            None => self.process(),
        };
        command.arg("--version");
        command
    }

    pub(super) fn cannot_start(&self, source: io::Error) -> ImportError {
        let program = Path::new(&self.program).display().to_string();
        let remedy = match source.kind() {
            io::ErrorKind::NotFound if self.directory.is_some() => {
                "name strfry with --strfry-bin, or put it into a directory of PATH"
            }
            _ => self.remedy(),
        };
        ImportError::Start { program, source, remedy }
    }

    fn remedy(&self) -> &'static str {
        match self.directory {
            Some(_) => "name strfry with --strfry-bin",
            None => "correct the first word of --strfry-command",
        }
    }

    /// What to look at where strfry does not use the database that is expected.
    pub(super) fn what_to_check(&self) -> String {
        match (&self.directory, self.arguments.as_slice()) {
            (Some(_), [.., config]) => format!(
                "check `db` in {}, and which configuration and directory {} uses",
                Path::new(config).display(),
                Path::new(&self.program).display()
            ),
            _ => format!("check which strfry, and which configuration of it, '{self}' reaches"),
        }
    }
}

impl fmt::Display for StrfryCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.program.to_string_lossy())?;
        let words = self.arguments.iter().map(|word: &OsString| -> &OsStr { word });
        words.into_iter().try_for_each(|word| write!(f, " {}", word.to_string_lossy()))
    }
}

/// Words as POSIX describes them for a shell (2.2 Quoting), without anything that it would expand.
fn words(text: &str) -> Result<Vec<String>, WordsError> {
    let (mut words, mut word) = (Vec::new(), None::<String>);
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            _ if character.is_ascii_whitespace() => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next().ok_or(WordsError::Unclosed('\''))? {
                        '\'' => break,
                        inside => word.push(inside),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next().ok_or(WordsError::Unclosed('"'))? {
                        '"' => break,
                        '\\' => match characters.next().ok_or(WordsError::Unclosed('"'))? {
                            escaped @ ('"' | '\\' | '$' | '`') => word.push(escaped),
                            other => word.extend(['\\', other]),
                        },
                        expanded @ ('$' | '`') => return Err(WordsError::Shell(expanded)),
                        inside => word.push(inside),
                    }
                }
            }
            '\\' => {
                let escaped = characters.next().ok_or(WordsError::TrailingBackslash)?;
                word.get_or_insert_default().push(escaped);
            }
            '|' | '&' | ';' | '<' | '>' | '(' | ')' | '$' | '`' | '*' | '?' | '[' => {
                return Err(WordsError::Shell(character));
            }
            '~' | '#' if word.is_none() => return Err(WordsError::Shell(character)),
            plain => word.get_or_insert_default().push(plain),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_those_of_a_shell() {
        for (text, expected) in [
            (
                "docker exec -i relay /app/strfry",
                &["docker", "exec", "-i", "relay", "/app/strfry"][..],
            ),
            (" \t a\n b ", &["a", "b"]),
            ("'a b' \"c d\" e\\ f", &["a b", "c d", "e f"]),
            ("a'b'\"c\"d ''", &["abcd", ""]),
            (r#""\" \\ \$ \` \n""#, &[r#"" \ $ ` \n"#]),
            (r"'$HOME | \'", &[r"$HOME | \"]),
            (
                "ssh -p 22 me@host --set=a~b#c {x}",
                &["ssh", "-p", "22", "me@host", "--set=a~b#c", "{x}"],
            ),
            ("", &[]),
        ] {
            assert_eq!(words(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_only_a_shell_understands_is_refused_and_never_passed_on() {
        for character in "|&;<>()$`*?[".chars() {
            let error = WordsError::Shell(character);
            assert_eq!(words(&format!("a b{character}c")), Err(error), "{character}");
        }
        let refused = |text| StrfryCommand::by_words(text, Duration::ZERO).unwrap_err();
        assert_eq!(refused("~/strfry"), WordsError::Shell('~'));
        assert_eq!(refused("strfry # comment"), WordsError::Shell('#'));
        assert_eq!(refused("\"$STRFRY\""), WordsError::Shell('$'));
        assert_eq!(refused("\"`which strfry`\""), WordsError::Shell('`'));
        assert_eq!(refused("docker 'exec"), WordsError::Unclosed('\''));
        assert_eq!(refused("docker \"exec\\"), WordsError::Unclosed('"'));
        assert_eq!(refused("docker exec\\"), WordsError::TrailingBackslash);
        for empty in ["", " ", "''", "\"\" exec"] {
            assert_eq!(refused(empty), WordsError::Empty, "{empty:?}");
        }
        assert_eq!(refused("docker exec relay strfry import"), WordsError::Import);
    }

    #[test]
    fn a_command_shows_its_words_and_is_looked_for_in_path() {
        let command = StrfryCommand::by_words("sh -c 'exit 0'", Duration::ZERO).unwrap();
        assert_eq!((command.to_string().as_str(), command.check().is_ok()), ("sh -c exit 0", true));
        let missing = StrfryCommand::by_words("no-such-program -i", Duration::ZERO).unwrap();
        let error = missing.check().unwrap_err().to_string();
        let expected = "cannot start strfry (no-such-program): no directory of PATH has it; correct \
                        the first word of --strfry-command";
        assert_eq!(error, expected);
        let directory = StrfryCommand::by_words("/tmp x", Duration::ZERO).unwrap();
        let error = directory.check().unwrap_err().to_string();
        let expected = "/tmp is not an executable file; correct the first word of --strfry-command";
        assert_eq!(error, expected);
    }

    proptest! {
        #[test]
        fn any_text_is_split_or_refused(text: String) {
            let _ = words(&text);
        }

        #[test]
        fn what_is_quoted_comes_through_as_it_is(
            before in prop::collection::vec("[^']{0,20}", 0..5),
        ) {
            let quoted: Vec<String> = before.iter().map(|word| format!("'{word}'")).collect();
            prop_assert_eq!(words(&quoted.join(" ")), Ok(before));
        }
    }
}
