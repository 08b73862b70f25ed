//! README and docs: they are short, their links lead somewhere, and every message is explained.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use strfry_companion::doctor::Check;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Every Markdown file of the project.
fn documents() -> Vec<PathBuf> {
    let directories = ["", "docs", "docs/fr", "strfry-db"].map(|it| Path::new(ROOT).join(it));
    let files = directories.iter().filter_map(|directory| fs::read_dir(directory).ok()).flatten();
    let files = files.map(|entry| entry.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|extension| extension == "md")).collect()
}

/// What is between `](` and `)`, outside of code.
fn links(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    let parts = prose.flat_map(|prose| prose.split("](").skip(1));
    parts.filter_map(|part| part.split(')').next()).collect()
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let prose = text.split("```").step_by(2);
    let headings = prose.flat_map(str::lines).filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|&it| it.is_alphanumeric() || " -_".contains(it));
        kept.map(|it| if it == ' ' { '-' } else { it }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_there_are() {
    let mut dead = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for link in links(&text).into_iter().filter(|link| !link.starts_with("http")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => document.clone(),
                file => document.parent().unwrap().join(file),
            };
            let is_there = target.exists();
            let is_heading = || anchors(&fs::read_to_string(&target).unwrap()).contains(anchor);
            if !is_there || !(anchor.is_empty() || is_heading()) {
                dead.push(format!("{}: {link}", document.strip_prefix(ROOT).unwrap().display()));
            }
        }
    }
    assert_eq!(dead, [""; 0]);
}

#[test]
fn the_readme_is_short_and_every_page_of_the_docs_can_be_reached_from_it() {
    let readme = fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    assert!(readme.len() <= 8_000, "{} bytes", readme.len());
    let mut reached = BTreeSet::new();
    let mut pages = vec![Path::new(ROOT).join("README.md")];
    while let Some(page) = pages.pop() {
        let page = page.canonicalize().unwrap();
        if reached.insert(page.clone()) {
            let text = fs::read_to_string(&page).unwrap();
            let files = links(&text).into_iter().filter(|link| !link.starts_with("http"));
            let files = files.map(|link| link.split('#').next().unwrap_or_default());
            let files = files.filter(|file| file.ends_with(".md"));
            pages.extend(files.map(|file| page.parent().unwrap().join(file)));
        }
    }
    let all: BTreeSet<PathBuf> =
        documents().iter().map(|file| file.canonicalize().unwrap()).collect();
    assert_eq!(all.difference(&reached).collect::<Vec<_>>(), [] as [&PathBuf; 0]);
}

/// Every Rust file below a directory that is not only for tests.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] });
    let is_code = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default();
        path.extension().is_some_and(|it| it == "rs") && name != "tests.rs"
    };
    files.filter(is_code).collect()
}

/// The string literal that code begins with, behind what may stand before a message.
fn leading_literal(code: &str) -> Option<String> {
    let mut code = code.trim_start();
    for before in ["||", "{", "&", "format!(", "format_args!("] {
        code = code.strip_prefix(before).unwrap_or(code).trim_start();
    }
    let mut characters = code.strip_prefix('"')?.chars().peekable();
    let mut text = String::new();
    loop {
        match characters.next()? {
            '"' => return Some(text),
            '\\' => match characters.next()? {
                '\n' => while characters.next_if(|it| it.is_whitespace()).is_some() {},
                'n' => text.push('\n'),
                escaped => text.push(escaped),
            },
            character => text.push(character),
        }
    }
}

/// What is always in a message: its longest part between placeholders, from before the first remedy
/// (behind a semicolon) if anything is there.
fn constant_part(message: &str) -> String {
    let longest = |text: &str| {
        let text = text.replace("{{", "\u{1}").replace("}}", "\u{2}");
        let parts = text.split('{').filter_map(|part| part.rsplit('}').next());
        let longest = parts.max_by_key(|part| part.len()).unwrap_or_default();
        longest
            .trim_matches([' ', ':', ';', ',', '(', ')'])
            .replace('\u{1}', "{")
            .replace('\u{2}', "}")
    };
    match longest(message.split("; ").next().unwrap_or_default()) {
        cause if cause.len() >= 4 => cause,
        _ => longest(message),
    }
}

#[test]
fn every_message_of_an_error_is_explained_among_the_troubles() {
    let page = fs::read_to_string(Path::new(ROOT).join("docs/troubleshooting.md")).unwrap();
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut found = 0;
    let mut unexplained = BTreeSet::new();
    for file in ["src", "strfry-db/src"].iter().flat_map(|it| sources(&Path::new(ROOT).join(it))) {
        let code = fs::read_to_string(&file).unwrap();
        let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let displays = code.split("impl fmt::Display for ").skip(1);
        let displays = displays.filter_map(|it| it.split("\n}").next()).collect::<String>();
        let places = [
            ("#[error(", code),
            ("anyhow!(", code),
            ("context(", code),
            ("= || format!(", code),
            ("warn(", code),
            ("error(", code),
            ("f.write_str(", &displays),
            ("write!(f,", &displays),
        ];
        for (marker, code) in places {
            let messages = code.split(marker).skip(1).filter_map(leading_literal);
            let parts = messages.map(|message| constant_part(&message));
            for part in parts.filter(|part| part.len() >= 4) {
                found += 1;
                if !page.contains(&part) {
                    let file = file.strip_prefix(ROOT).unwrap().display();
                    unexplained.insert(format!("{file}: {part}"));
                }
            }
        }
    }
    assert!(found > 200, "only {found} messages are found in the sources");
    assert!(unexplained.is_empty(), "docs/troubleshooting.md lacks\n{unexplained:#?}");
}

#[test]
fn every_finding_of_a_doctor_is_explained_among_the_troubles() {
    let page = fs::read_to_string(Path::new(ROOT).join("docs/troubleshooting.md")).unwrap();
    let ids = Check::ALL.iter().map(|check| format!("`{}`", check.id()));
    let unexplained: Vec<String> = ids.filter(|id| !page.contains(id)).collect();
    assert_eq!(unexplained, [""; 0]);
}

#[test]
fn the_french_page_of_troubles_quotes_messages_that_the_english_one_explains() {
    let page = |name: &str| fs::read_to_string(Path::new(ROOT).join("docs").join(name)).unwrap();
    let (english, french) = (page("troubleshooting.md"), page("fr/troubleshooting.md"));
    let rows = french.lines().filter_map(|line| line.strip_prefix("| `"));
    let messages: Vec<&str> = rows.filter_map(|row| row.split("` | ").next()).collect();
    let parts = messages.iter().flat_map(|message| message.split(['…', '`']));
    let unknown: Vec<&str> = parts.filter(|part| !english.contains(part.trim())).collect();
    assert!(messages.len() >= 20, "{messages:?}");
    assert_eq!(unknown, [""; 0]);
}

#[test]
fn the_french_readme_names_the_commands_of_the_english_one() {
    let commands = |file: &str| -> BTreeSet<String> {
        let text = fs::read_to_string(Path::new(ROOT).join(file)).unwrap();
        let cells = text.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
        let spans = cells.flat_map(|cell| cell.split('`').step_by(2).collect::<Vec<_>>());
        let names = spans.filter_map(|span| span.split_whitespace().next());
        names.map(str::to_owned).collect()
    };
    let english = commands("README.md");
    assert!(english.len() >= 15, "{english:?}");
    assert_eq!(commands("docs/fr/README.md"), english);
}

/// Set to make docs/commands.md anew.
const WRITE: &str = "STRFRY_COMPANION_WRITE_DOCS";

/// What the program's help says on a terminal of 100 columns, whatever runs the test.
fn help(command: &[&str]) -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_strfry-companion"));
    program.args(command).arg("--help").env_clear().env("COLUMNS", "100").stdin(Stdio::null());
    let output = program.output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().flat_map(|line| [line.trim_end(), "\n"]).collect()
}

/// The commands page: the help of the program, and that of each command without the exit codes,
/// which the former has.
fn page_of_commands() -> String {
    let first = help(&[]);
    let list = first.lines().skip_while(|line| !line.is_empty()).skip(1);
    let list = list.take_while(|line| !line.starts_with("Options"));
    let names = list.map(|line| line[8..].split(' ').next().unwrap());
    let commands = names.flat_map(|name| match name {
        "config" => vec![vec![name], vec![name, "show"]],
        _ => vec![vec![name]],
    });
    let mut page = format!(
        "# Commands\n\nWhat `--help` says. Each option may also come from the environment or a configuration \
         file\n([how](configuring.md)). This page is made by `{WRITE}=1 cargo test --test \
         documents`.\n\n```text\n{first}```\n"
    );
    for command in commands {
        let text = help(&command);
        let text = text.split("\nExit codes:").next().unwrap().trim_end();
        // Writing to a String cannot fail.
        let _ = write!(page, "\n## {}\n\n```text\n{text}\n```\n", command.join(" "));
    }
    page
}

#[test]
fn the_page_of_commands_is_what_their_help_says() {
    let file = Path::new(ROOT).join("docs/commands.md");
    let page = page_of_commands();
    if std::env::var_os(WRITE).is_some() {
        fs::write(&file, &page).unwrap();
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    let differs = page.lines().zip(written.lines().chain([""; 1])).find(|(new, old)| new != old);
    assert!(
        page == written,
        "the help differs from docs/commands.md, first in {differs:?}; make that page anew with \
         {WRITE}=1 cargo test --test documents"
    );
}
