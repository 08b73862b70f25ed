//! What all commands have in common on a terminal: colours or none, and whether anything but results
//! and trouble is told.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use clap::{Args, ColorChoice, ValueEnum};

use super::help::OUTPUT;

/// Set once, when the arguments are read.
static LOOKS: OnceLock<Looks> = OnceLock::new();

#[derive(Debug, Clone, Copy, Default, Args)]
pub(super) struct Looks {
    /// When to use colours [default: on a terminal, unless NO_COLOR is set]
    #[arg(long, value_name = "WHEN", help_heading = OUTPUT, hide_short_help = true, value_enum,
          hide_default_value = true, default_value_t = When::Auto)]
    color: When,
    /// Say nothing but results asked for, warnings and errors
    #[arg(short, long, help_heading = OUTPUT, hide_short_help = true)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum When {
    /// On a terminal
    #[default]
    Auto,
    /// Also into a file or a pipe
    Always,
    /// Nowhere
    Never,
}

impl Looks {
    pub(super) fn set(self) {
        let _ = LOOKS.set(self);
    }
}

/// Whether a summary and progress are left out.
pub(super) fn is_quiet() -> bool {
    LOOKS.get().is_some_and(|looks| looks.quiet)
}

/// Whether standard error gets colours.
pub(super) fn is_colored() -> bool {
    is_colored_on(&io::stderr())
}

/// Whether this output gets colours.
pub(super) fn is_colored_on(output: &impl IsTerminal) -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    match LOOKS.get().map(|looks| looks.color).unwrap_or_default() {
        When::Always => true,
        When::Never => false,
        When::Auto => {
            let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
            output.is_terminal() && !is_set("NO_COLOR") && !is_dumb
        }
    }
}

/// What the arguments say of the colours of help and of errors in arguments, which come before the
/// arguments are understood.
pub(super) fn color_of_help(arguments: &[OsString]) -> ColorChoice {
    let mut named = None;
    let mut words = arguments.iter().map(|word| word.to_string_lossy());
    while let Some(word) = words.next() {
        match word.strip_prefix("--color") {
            Some("") => named = words.next().map(|word| word.into_owned()),
            Some(rest) => named = rest.strip_prefix('=').map(str::to_owned).or(named),
            None => {}
        }
    }
    match named.as_deref() {
        Some("always") => ColorChoice::Always,
        Some("never") => ColorChoice::Never,
        _ => ColorChoice::Auto,
    }
}
