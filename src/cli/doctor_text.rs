//! The findings of `doctor` for people: in areas, a line for each, its remedy below what is wrong.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::looks::is_colored_on;
use super::wrapped::{columns, wrapped};
use crate::doctor::{Area, Finding, Level, Report};
use crate::report::{Color, clean};

/// Columns of the area and of the level, each with a space behind it.
const AREA: usize = 9;
const LEVEL: usize = 8;

/// How findings are shown.
pub(super) struct Text {
    /// Those of the terminal; `None`: it is none.
    columns: Option<usize>,
    /// The user's home with a `/` behind it, which people on a terminal read as `~/`.
    home: Option<String>,
    is_colored: bool,
    /// Only what is not as it should be.
    is_quiet: bool,
}

impl Text {
    /// For standard output.
    pub(super) fn new(is_quiet: bool) -> Self {
        let columns = columns();
        let home = std::env::var("HOME").ok().filter(|home| home.len() > 1 && columns.is_some());
        let home = home.map(|home| format!("{}/", home.trim_end_matches('/')));
        Self { columns, home, is_colored: is_colored_on(&io::stdout()), is_quiet }
    }

    /// These findings, which are all of their areas.
    pub(super) fn of(&self, findings: &[Finding]) -> String {
        let mut text = String::new();
        for area in Area::ALL {
            let of_area = findings.iter().filter(|finding| finding.id.area() == area);
            let of_area = of_area.filter(|it| !self.is_quiet || it.level != Level::Ok);
            for (position, row) in rows(area, of_area.collect()).iter().enumerate() {
                let name = if position == 0 { area.name() } else { "" };
                text.push_str(&self.row(name, row));
            }
        }
        text
    }

    /// The last line.
    pub(super) fn total(report: &Report) -> String {
        let count = |level, one: &str, more: &str| match report.count(level) {
            1 => format!("1 {one}"),
            count => format!("{count} {more}"),
        };
        let errors = count(Level::Error, "error", "errors");
        let warnings = count(Level::Warning, "warning", "warnings");
        format!("{errors}, {warnings}, {} ok\n", report.count(Level::Ok))
    }

    fn row(&self, area: &str, row: &Row) -> String {
        let level = format!("{:<LEVEL$}", row.level.name());
        let level = match (self.is_colored, row.level) {
            (false, _) => level,
            (true, Level::Ok) => Color::Green.paint(&level),
            (true, Level::Warning) => Color::Yellow.paint(&level),
            (true, Level::Error) => Color::Red.paint(&level),
        };
        let mut text = String::new();
        let indent = " ".repeat(AREA + LEVEL + 2);
        for (position, line) in self.wrapped(&row.text, "").iter().enumerate() {
            match position {
                0 => text.push_str(&format!("{area:<AREA$} {level} {line}\n")),
                _ => text.push_str(&format!("{indent}{line}\n")),
            }
        }
        for line in row.remedy.iter().flat_map(|remedy| self.wrapped(remedy, "  ")) {
            text.push_str(&format!("{indent}{line}\n"));
        }
        text
    }

    /// The text in lines that fit beside area and level, each with this in front.
    fn wrapped(&self, text: &str, front: &str) -> Vec<String> {
        let short = self.home.as_ref().map(|home| text.replace(home, "~/"));
        let text = clean(short.as_deref().unwrap_or(text));
        wrapped(&text, self.columns, AREA + LEVEL + 2, front)
    }
}

/// What is shown in one place.
struct Row {
    level: Level,
    text: String,
    remedy: Option<String>,
}

/// A row for each finding; files of one directory that are as they should be share one.
fn rows(area: Area, findings: Vec<&Finding>) -> Vec<Row> {
    let mut well: BTreeMap<&Path, Vec<&Finding>> = BTreeMap::new();
    let mut rows = Vec::new();
    for finding in findings {
        match Path::new(&finding.subject).parent() {
            Some(directory) if area == Area::Files && finding.level == Level::Ok => {
                well.entry(directory).or_default().push(finding);
            }
            _ => rows.push(Row {
                level: finding.level,
                text: format!("{}: {}", finding.subject, finding.found),
                remedy: finding.remedy.clone(),
            }),
        }
    }
    let well = well.into_iter().map(|(directory, findings)| {
        let text = match findings.as_slice() {
            [finding] => format!("{}: {}", finding.subject, finding.found),
            many => format!("{}: {} files can be written", directory.display(), many.len()),
        };
        Row { level: Level::Ok, text, remedy: None }
    });
    well.chain(rows).collect()
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::*;
    use crate::doctor::{Check, Trouble};

    fn text(columns: Option<usize>, is_colored: bool, is_quiet: bool) -> Text {
        Text { columns, home: None, is_colored, is_quiet }
    }

    fn findings() -> Vec<Finding> {
        let trouble = || Trouble::new("is \u{1b}[2J gone", "put it back where it was before");
        vec![
            Finding::ok(Check::StrfryProgram, "/s/strfry", "can be executed"),
            Finding::warning(Check::DiskState, "/s", trouble()),
            Finding::ok(Check::FilesLock, "/s/lock", "can be written"),
            Finding::error(Check::FilesLog, "/s/log", trouble()),
            Finding::ok(Check::FilesState, "/s/state", "can be created"),
            Finding::ok(Check::FilesMetrics, "/m/metrics", "can be created"),
        ]
    }

    #[test]
    fn each_area_is_named_once_and_each_remedy_stands_below_its_finding() {
        let remedy = "                     put it back where it was before\n";
        let lines = [
            "strfry    ok       /s/strfry: can be executed\n",
            "disk      warning  /s: is \\u{1b}[2J gone\n",
            remedy,
            "files     ok       /m/metrics: can be created\n",
            "          ok       /s: 2 files can be written\n",
            "          error    /s/log: is \\u{1b}[2J gone\n",
            remedy,
        ];
        assert_eq!(text(None, false, false).of(&findings()), lines.concat());
        let total = Text::total(&Report::new(findings()));
        assert_eq!(total, "1 error, 1 warning, 4 ok\n");
    }

    #[test]
    fn the_users_home_is_written_as_people_do() {
        let text = Text { home: Some("/s/".to_owned()), ..text(Some(80), false, false) };
        let line = text.of(&findings()[..1]);
        assert_eq!(line, "strfry    ok       ~/strfry: can be executed\n");
    }

    #[test]
    fn quiet_leaves_out_what_is_as_it_should_be() {
        let quiet = text(None, false, true).of(&findings());
        assert_eq!(quiet.lines().count(), 4, "{quiet}");
        assert!(!quiet.contains(" ok "), "{quiet}");
    }

    #[test]
    fn lines_fit_the_terminal_and_colours_are_only_in_the_level() {
        let narrow = text(Some(50), true, false).of(&findings());
        for line in narrow.lines() {
            let plain = ["\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m", "\u{1b}[0m"]
                .iter()
                .fold(line.to_owned(), |line, code| line.replace(code, ""));
            assert!(plain.width() <= 50 && !plain.contains('\u{1b}'), "{plain}");
        }
        assert!(narrow.contains("disk      \u{1b}[33mwarning \u{1b}[0m /s: is"), "{narrow}");
        assert!(narrow.contains("put it back where it was\n"), "{narrow}");
        // As wide as it is on a terminal that is too narrow for two columns.
        assert_eq!(
            text(Some(40), false, false).of(&findings()),
            text(None, false, false).of(&findings())
        );
    }
}
