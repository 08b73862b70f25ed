//! `config show`: the value of each option of a call, and where it comes from.

use std::ffi::OsString;
use std::fmt::Write;

use clap::{Arg, Args, Command, Subcommand};
use serde::Serialize;

use super::settings::{Origin, Said, Setting, Settings, can_be_set};
use crate::cli::call::{Call, options};
use crate::cli::exit::{Outcome, Result};
use crate::cli::help::OUTPUT;
use crate::cli::output::{print, print_json};
use crate::cli::wrapped::{columns, wrapped};
use crate::report::clean;

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show what each option of a command is set to, and where that is said
    Show(ShowArguments),
}

#[derive(Debug, Args)]
struct ShowArguments {
    /// Print one JSON object
    #[arg(long, help_heading = OUTPUT)]
    json: bool,
    /// The command, with arguments as it would be called
    ///
    /// [default: backfill]
    #[arg(value_name = "COMMAND", num_args = 0.., trailing_var_arg = true)]
    call: Vec<OsString>,
}

/// What is printed; its JSON form is described in schema/config-show.schema.json.
#[derive(Serialize)]
struct Shown {
    version: u32,
    command: String,
    /// Configuration files that were read, the one that wins first.
    files: Vec<String>,
    options: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    /// `None`: not set.
    values: Option<Vec<String>>,
    from: &'static str,
    /// The variable or the file.
    place: Option<String>,
    /// What it won over.
    over: Vec<String>,
    /// What an option that is not set means.
    #[serde(skip_serializing_if = "Option::is_none")]
    meaning: Option<String>,
}

pub(in crate::cli) fn run(arguments: &Arguments) -> Result<Outcome> {
    let What::Show(ShowArguments { json, call }) = &arguments.what;
    let mut typed = vec![OsString::from("strfry-companion")];
    match call.as_slice() {
        [] => typed.push("backfill".into()),
        call => typed.extend_from_slice(call),
    }
    let Some(call) = Call::of_another(typed)? else { return Ok(Outcome::Complete) };
    let options = options(&call.command);
    let files = call.settings.files.iter().map(|path| path.display().to_string()).collect();
    let rows = rows(&call.command, &options, &call.settings);
    let shown = Shown { version: 1, command: call.command, files, options: rows };
    if *json {
        print_json(&shown)?
    } else {
        print(&in_words(&shown, columns()))?
    }
    Ok(Outcome::Complete)
}

fn rows(command: &str, options: &Command, settings: &Settings) -> Vec<Row> {
    let mut rows = Vec::new();
    for arg in options.get_arguments() {
        let Some(name) = arg.get_long().filter(|name| can_be_set(command, name)) else { continue };
        let set = settings.settings.iter().find(|setting| setting.given.option == name);
        rows.push(match set {
            Some(Setting { given, over }) => Row {
                name: name.to_owned(),
                values: Some(texts(&given.value)),
                from: match given.origin {
                    Origin::Typed => "command line",
                    Origin::Environment(_) => "environment",
                    Origin::File(_) => "file",
                },
                place: (given.origin != Origin::Typed).then(|| given.origin.to_string()),
                over: over.iter().map(ToString::to_string).collect(),
                meaning: None,
            },
            None => of_default(name, arg),
        });
    }
    rows
}

fn of_default(name: &str, arg: &Arg) -> Row {
    let defaults = arg.get_default_values();
    let defaults: Vec<String> =
        defaults.iter().map(|value| value.to_string_lossy().into_owned()).collect();
    let values = match arg.get_action() {
        clap::ArgAction::SetTrue => Some(vec!["false".to_owned()]),
        _ => (!defaults.is_empty()).then_some(defaults),
    };
    let help = arg.get_long_help().or_else(|| arg.get_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    let meaning = help.split_once("[default: ").and_then(|(_, rest)| rest.rsplit_once(']'));
    let meaning = meaning.map(|(meaning, _)| meaning.to_owned());
    let (name, over) = (name.to_owned(), Vec::new());
    Row { name, values, from: "default", place: None, over, meaning }
}

fn texts(value: &Said) -> Vec<String> {
    match value {
        Said::Flag(flag) => vec![flag.to_string()],
        Said::Values(values) => {
            values.iter().map(|value| value.to_string_lossy().into_owned()).collect()
        }
    }
}

/// A line for each option, or several on a terminal of so many columns.
fn in_words(shown: &Shown, columns: Option<usize>) -> String {
    let mut text = format!("Options of {}\n", shown.command);
    match shown.files.as_slice() {
        [] => text.push_str("No configuration file is read\n"),
        files => {
            let _ = writeln!(text, "Configuration files: {}", files.join(", "));
        }
    }
    let width = shown.options.iter().map(|row| row.name.len()).max().unwrap_or(0);
    for row in &shown.options {
        let value = match (&row.values, &row.meaning) {
            (Some(values), _) => values.join(" "),
            (None, Some(meaning)) => format!("({meaning})"),
            (None, None) => "(not set)".to_owned(),
        };
        let place = row.place.as_deref().unwrap_or(row.from);
        let over = match row.over.as_slice() {
            [] => String::new(),
            over => format!(", over {}", over.join(", ")),
        };
        let (value, place) = (clean(&value), format!("{place}{over}"));
        let value = format!("{value}  [{}]", clean(&place));
        for (position, line) in wrapped(&value, columns, width + 4, "").iter().enumerate() {
            let name = if position == 0 { row.name.as_str() } else { "" };
            let _ = writeln!(text, "  {name:<width$}  {line}");
        }
    }
    text
}
