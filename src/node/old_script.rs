//! The text of the script that this program replaces, and the one line in it that hands over.
//!
//! It never reads or writes a file: see the command `adopt`.

use std::path::{Path, PathBuf};

/// A longer file is not the script, which has 77 kilobytes.
pub const MAX_SCRIPT_BYTES: u64 = 1 << 20;

/// What the line ends in, by which it is known again.
const MARK: &[u8] = b" # strfry-companion adopt\n";

/// What the script holds in every version: its log, a function that another script cuts out of it,
/// and its last line.
const LANDMARKS: [&str; 3] =
    ["constellation-backfill.log", "\ndiscover_constellation_peers() {\n", "\nmain \"$@\"\n"];

/// Why a text is left alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unexpected {
    /// It has another interpreter, or none.
    #[error("its first line is not that of a bash script (#!/bin/bash)")]
    NotBash,
    /// It is some other script.
    #[error("it does not hold {0:?}, as the script does")]
    Missing(&'static str),
    /// It was adopted, and somebody has moved or changed the line since.
    #[error(
        "the line of an earlier 'adopt' is in it, but not as the second line; take it out by hand"
    )]
    Moved,
}

/// This program's path cannot be written into a script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the path of this program, {0:?}, is not plain text on one line; move the program")]
pub struct BadProgram(pub PathBuf);

/// The line that hands over to the program at this path. Bash goes on to the next line if the
/// program is gone, or does not start.
///
/// # Errors
/// [`BadProgram`]
pub fn hand_over_line(program: &Path) -> Result<Vec<u8>, BadProgram> {
    let bad = || BadProgram(program.to_owned());
    let path = program.to_str().filter(|path| !path.contains(char::is_control)).ok_or_else(bad)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    let quoted = match path.chars().all(is_plain) {
        true => path.to_owned(),
        false => format!("'{}'", path.replace('\'', r"'\''")),
    };
    let line =
        format!("{quoted} --version >/dev/null 2>&1 && exec {quoted} backfill --as-script \"$@\"");
    Ok([line.as_bytes(), MARK].concat())
}

/// The line in an adopted script that hands over, with its newline; `None` if it is not adopted.
///
/// # Errors
/// [`Unexpected`] if it is not the script.
pub fn line_in(script: &[u8]) -> Result<Option<&[u8]>, Unexpected> {
    let (shebang, rest) = split_line(script);
    let interpreter = shebang.strip_prefix(b"#!").and_then(|line| line.strip_suffix(b"\n"));
    // The last word: after /usr/bin/env, too. Options of bash are none of the script's.
    let words = interpreter.unwrap_or_default().rsplit(|byte| [b' ', b'/'].contains(byte));
    if words.take(1).all(|name| name != b"bash") {
        return Err(Unexpected::NotBash);
    }
    let missing =
        LANDMARKS.iter().find(|mark| memchr::memmem::find(script, mark.as_bytes()).is_none());
    if let Some(missing) = missing {
        return Err(Unexpected::Missing(missing.trim()));
    }
    let (second, after) = split_line(rest);
    let is_in = |text: &[u8]| memchr::memmem::find(text, MARK).is_some();
    match (second.ends_with(MARK), is_in(after)) {
        (_, true) => Err(Unexpected::Moved),
        (true, false) => Ok(Some(second)),
        (false, false) => Ok(None),
    }
}

/// The script with this line below the first one, in place of the one that is there.
///
/// # Errors
/// [`Unexpected`] if it is not the script.
pub fn adopted(script: &[u8], line: &[u8]) -> Result<Vec<u8>, Unexpected> {
    let original = restored(script)?;
    let (shebang, rest) = split_line(&original);
    Ok([shebang, line, rest].concat())
}

/// The script without the line that hands over.
///
/// # Errors
/// [`Unexpected`] if it is not the script.
pub fn restored(script: &[u8]) -> Result<Vec<u8>, Unexpected> {
    let line = line_in(script)?.unwrap_or_default();
    let (shebang, rest) = split_line(script);
    Ok([shebang, rest.get(line.len()..).unwrap_or_default()].concat())
}

/// The first line, with its newline, and the rest.
fn split_line(text: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b'\n', text).map_or(text.len(), |at| at + 1);
    text.split_at_checked(end).unwrap_or((text, b""))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "#!/bin/bash\n# It logs to constellation-backfill.log\n\n\
        # Function to discover constellation peers from IPNS swarm\n\
        discover_constellation_peers() {\n    echo \"$HOME\"\n}\n\nmain() { :; }\nmain \"$@\"\n";

    fn line() -> Vec<u8> {
        hand_over_line(Path::new("/usr/bin/strfry-companion")).unwrap()
    }

    #[test]
    fn the_line_stands_below_the_first_one_and_is_taken_out_byte_for_byte() {
        let script = SCRIPT.as_bytes();
        let adopted_once = adopted(script, &line()).unwrap();
        let text = String::from_utf8(adopted_once.clone()).unwrap();
        assert!(text.starts_with(
            "#!/bin/bash\n/usr/bin/strfry-companion --version >/dev/null 2>&1 && exec \
             /usr/bin/strfry-companion backfill --as-script \"$@\" # strfry-companion adopt\n\
             # It logs to"
        ));
        assert_eq!(line_in(&adopted_once), Ok(Some(&*line())));
        assert_eq!(restored(&adopted_once).unwrap(), script);
        assert_eq!(restored(script).unwrap(), script);
        assert_eq!(line_in(script), Ok(None));
    }

    #[test]
    fn a_script_that_is_adopted_again_has_the_new_line_alone() {
        let once = adopted(SCRIPT.as_bytes(), &line()).unwrap();
        let moved = hand_over_line(Path::new("/opt/it's here/x")).unwrap();
        assert_eq!(
            String::from_utf8(moved.clone()).unwrap(),
            "'/opt/it'\\''s here/x' --version >/dev/null 2>&1 && exec '/opt/it'\\''s here/x' \
             backfill --as-script \"$@\" # strfry-companion adopt\n"
        );
        let twice = adopted(&once, &moved).unwrap();
        assert_eq!(twice, adopted(SCRIPT.as_bytes(), &moved).unwrap());
    }

    #[test]
    fn what_does_not_look_like_the_script_is_refused_with_the_reason() {
        let without = |text: &str| SCRIPT.replace(text, "");
        let crlf = SCRIPT.replacen('\n', "\r\n", 1);
        let misplaced = SCRIPT.to_owned() + std::str::from_utf8(&line()).unwrap();
        for (script, expected) in [
            (String::new(), Unexpected::NotBash),
            ("\u{7f}ELF".to_owned(), Unexpected::NotBash),
            (SCRIPT.replace("/bin/bash", "/bin/sh"), Unexpected::NotBash),
            (crlf, Unexpected::NotBash),
            (without("constellation-backfill.log"), Unexpected::Missing(LANDMARKS[0])),
            (
                without("discover_constellation_peers() {"),
                Unexpected::Missing("discover_constellation_peers() {"),
            ),
            (without("main \"$@\"\n"), Unexpected::Missing("main \"$@\"")),
            (misplaced, Unexpected::Moved),
        ] {
            assert_eq!(adopted(script.as_bytes(), &line()), Err(expected.clone()), "{script}");
            assert_eq!(restored(script.as_bytes()), Err(expected), "{script}");
        }
        let env = SCRIPT.replace("/bin/bash", "/usr/bin/env bash");
        assert!(adopted(env.as_bytes(), &line()).is_ok());
    }

    #[test]
    fn a_program_whose_path_no_line_can_hold_is_named() {
        for path in ["/a\nb", "/a\u{1b}b"] {
            assert_eq!(hand_over_line(Path::new(path)), Err(BadProgram(path.into())));
        }
    }
}
