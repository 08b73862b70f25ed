//! Lines at the end of a terminal that are drawn again in place.

use unicode_width::UnicodeWidthStr;

/// What is drawn at present.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Block {
    /// Columns of each line.
    widths: Vec<usize>,
}

impl Block {
    /// What draws these lines in place of those that are there. They must fit into the terminal.
    pub(super) fn redraw(&mut self, lines: &[String], columns: usize) -> String {
        let mut text = self.erase(columns);
        self.widths = lines.iter().map(|line| width(line)).collect();
        text.push_str(&lines.join("\r\n"));
        text
    }

    /// What takes the lines away and leaves the cursor where the first one began. A terminal that
    /// has become narrower has broken long lines: then they take more rows.
    pub(super) fn erase(&mut self, columns: usize) -> String {
        let rows = |&width: &usize| width.div_ceil(columns.max(1)).max(1);
        let rows: usize = self.widths.iter().map(rows).sum();
        self.widths.clear();
        match rows {
            0 => String::new(),
            1 => "\r\u{1b}[J".to_owned(),
            rows => format!("\r\u{1b}[{}A\u{1b}[J", rows - 1),
        }
    }
}

/// Columns of a line without its colours.
fn width(line: &str) -> usize {
    let mut width = 0;
    for (position, part) in line.split('\u{1b}').enumerate() {
        let text = match position {
            0 => part,
            _ => part.split_once('m').map_or("", |(_, text)| text),
        };
        width += text.width();
    }
    width
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Color;

    #[test]
    fn lines_are_drawn_over_those_before_and_taken_away() {
        let mut block = Block::default();
        let lines = |lines: &[&str]| -> Vec<String> { lines.iter().map(|&it| it.into()).collect() };
        assert_eq!(block.redraw(&lines(&["one", "two"]), 80), "one\r\ntwo");
        assert_eq!(block.redraw(&lines(&["three"]), 80), "\r\u{1b}[1A\u{1b}[Jthree");
        assert_eq!(block.erase(80), "\r\u{1b}[J");
        assert_eq!(block.erase(80), "");
    }

    #[test]
    fn lines_that_a_narrower_terminal_has_broken_are_taken_away_whole() {
        let mut block = Block::default();
        let lines = vec![Color::Red.paint(&"x".repeat(60)), "é".repeat(20)];
        block.redraw(&lines, 80);
        // Three rows and one.
        assert_eq!(block.erase(20), "\r\u{1b}[3A\u{1b}[J");
    }
}
