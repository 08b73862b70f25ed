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

/// A text whose lines fit the terminal on standard output: what does not fit goes on below, two
/// columns further in.
pub(super) fn fit(text: &str) -> String {
    fit_to(text, columns())
}

fn fit_to(text: &str, columns: Option<usize>) -> String {
    let mut fitted = String::new();
    for line in text.lines() {
        let rest = line.trim_start_matches(' ');
        let mut indent = " ".repeat(line.len().saturating_sub(rest.len()));
        let beside = indent.len().saturating_add(2);
        for (position, part) in wrapped(rest, columns, beside, "").iter().enumerate() {
            if position == 1 {
                indent.push_str("  ");
            }
            fitted.push_str(&indent);
            fitted.push_str(part);
            fitted.push('\n');
        }
    }
    fitted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_goes_on_below_and_further_in() {
        let text = "Incomplete, because:\n  wss://relay.example gave nothing: no answer\n";
        let fitted = "Incomplete, because:\n  wss://relay.example gave\n    nothing: no answer\n";
        assert_eq!(fit_to(text, Some(34)), fitted);
        assert_eq!(fit_to(text, None), text);
    }

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
