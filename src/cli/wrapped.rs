//! Text in lines that fit a terminal.

use rustix::termios::tcgetwinsize;
use unicode_width::UnicodeWidthStr;

/// Fewer columns than that for a text are as bad as none: then the terminal breaks lines.
const NARROWEST: usize = 30;

/// Columns of the terminal on standard output; `None`: it is none.
pub(super) fn columns() -> Option<usize> {
    let size = tcgetwinsize(rustix::stdio::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|&columns| columns > 0)
}

/// The text in lines that fit beside what takes `beside` columns, each with `front` before it. A word
/// that is wider stays whole. One line if there is no terminal.
pub(super) fn wrapped(
    text: &str,
    columns: Option<usize>,
    beside: usize,
    front: &str,
) -> Vec<String> {
    let room = columns.and_then(|columns| columns.checked_sub(beside));
    let room = room.filter(|&room| room >= NARROWEST).unwrap_or(usize::MAX);
    let mut lines = Vec::new();
    let mut line = front.to_owned();
    for word in text.split(' ') {
        let is_first = line.len() == front.len();
        let width = line.width().saturating_add(word.width()).saturating_add(1);
        if !is_first && width > room {
            lines.push(line.trim_end().to_owned());
            line = format!("{front}{word}");
        } else {
            line.push_str(if is_first { "" } else { " " });
            line.push_str(word);
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_and_a_terminal_that_is_too_narrow_breaks_them_itself() {
        let text =
            "a word that is followed by others, and by one-that-is-wider-than-all-of-this-room";
        let in_40 = wrapped(text, Some(40), 8, "  ");
        assert_eq!(
            in_40,
            [
                "  a word that is followed by",
                "  others, and by",
                "  one-that-is-wider-than-all-of-this-room"
            ]
        );
        for columns in [None, Some(37), Some(3)] {
            assert_eq!(wrapped(text, columns, 8, ""), [text]);
        }
    }
}
