//! A stand-in for the strfry executable, for tests, benches and the demo: `import`, `scan`,
//! `export` and `compact` as strfry 1.1.1 does them, on databases of DB version 3.
//!
//! `tests/stand_in.rs` proves it against databases, exports, scans and verdicts of the real one.
//! Not here: the relay, negentropy trees, compression, and strfry's speed.

#![allow(dead_code, reason = "each program that includes this uses its own part")]

mod config;
mod export;
mod import;
pub mod judge;
mod log;
mod scan;
mod tables;
pub mod tao;
pub mod writer;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{anyhow, bail};

use log::{Log, Thread};
use writer::{Durability, Writer};

const VERSION: &str = "strfry 1.1.1 (stand-in)";

const USAGE: &str = "    Usage: strfry [--config=<config>] <command> [<args>...]

    import [--show-rejected] [--no-verify] [--debounce-millis=<debounce-millis>]
           [--write-batch=<write-batch>] [--fried]
    scan [--count] <filter>
    export [--since=<since>] [--until=<until>] [--reverse] [--fried]
    compact <output_file>
";

/// Whether it is to do as the newest strfry (1.1.1 and 144 commits) where that differs: with
/// `STAND_IN_NEWEST=1` it warns root, names rejected events by their ids, and lets recipients delete
/// gift wraps.
pub fn is_newest() -> bool {
    std::env::var_os("STAND_IN_NEWEST").is_some()
}

/// What strfry's argument parser exits with.
const WRONG_USAGE: u8 = 255;

/// Runs the command that the program's arguments name.
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("--version") => {
            println!("{VERSION}");
            return ExitCode::SUCCESS;
        }
        Some("--help" | "-h") => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    if is_newest() {
        // Whoever runs it: so that tests need not be root.
        log::write("WARNING: Running as root is not recommended");
    }
    let log = Log::start(&arguments);
    let exit_code = match run(Arguments(arguments.into_iter().skip(1).collect()), &log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<WrongUsage>() => {
            log::write(format_args!("{error}"));
            println!("{USAGE}");
            ExitCode::from(WRONG_USAGE)
        }
        // Nobody reads on: strfry exits so when it is told.
        Err(error) if is_broken_pipe(&error) => ExitCode::FAILURE,
        Err(error) => {
            log::write(format_args!("strfry error: {error}"));
            ExitCode::FAILURE
        }
    };
    log.info(Thread::Main, "atexit");
    exit_code
}

fn run(mut arguments: Arguments, log: &Log) -> anyhow::Result<()> {
    let mut config = None;
    let command = loop {
        match arguments.next()? {
            option if option == "--config" => config = Some(PathBuf::from(arguments.next()?)),
            option => match option.strip_prefix("--config=") {
                Some(path) => config = Some(PathBuf::from(path)),
                None => break option,
            },
        }
    };
    if let Ok(text) = std::env::var("STAND_IN_FAIL_START") {
        bail!(text);
    }
    let path = config::find(config)?;
    log.info(Thread::Main, format_args!("CONFIG: Loading config from file: {}", path.display()));
    let config = config::read(&path)?;
    log.info(Thread::Main, "CONFIG: successfully installed");
    let writer = Writer::open(&config.db, Durability::Synced)?;
    match command.as_str() {
        "import" => import::run(&mut arguments, &writer, &config.limits, log),
        "scan" => scan::run(&mut arguments, &writer),
        "export" => export::run(&mut arguments, &writer),
        "compact" => writer.copy_to(&PathBuf::from(arguments.next()?)),
        _ => bail!("unknown command: {command}"),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// What was given on the command line and not looked at yet.
pub struct Arguments(Vec<String>);

#[derive(Debug, thiserror::Error)]
enum WrongUsage {
    #[error("Unexpected argument: {0}")]
    Unexpected(String),
    #[error("Arguments did not match expected patterns")]
    Missing,
}

impl Arguments {
    /// The first one, whatever it is.
    fn next(&mut self) -> Result<String, WrongUsage> {
        if self.0.is_empty() { Err(WrongUsage::Missing) } else { Ok(self.0.remove(0)) }
    }

    /// Whether this flag was given.
    fn flag(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|argument| argument != name);
        self.0.len() < before
    }

    /// The number given as `name=number` or `name number`.
    fn number(&mut self, name: &str) -> anyhow::Result<Option<u64>> {
        let of_this = |argument: &String| {
            argument.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        };
        let Some(at) = self.0.iter().position(of_this) else { return Ok(None) };
        let argument = self.0.remove(at);
        let value = match argument.split_once('=') {
            Some((_, value)) => value.to_owned(),
            None if at < self.0.len() => self.0.remove(at),
            None => return Err(WrongUsage::Missing.into()),
        };
        // C++ names the function that failed.
        value.parse().map(Some).map_err(|_| anyhow!("stol"))
    }

    /// The next argument that is no option.
    fn operand(&mut self) -> Result<String, WrongUsage> {
        let at = self.0.iter().position(|argument| !argument.starts_with("--"));
        at.map(|at| self.0.remove(at)).ok_or(WrongUsage::Missing)
    }

    /// That nothing is left.
    fn finish(&self) -> Result<(), WrongUsage> {
        self.0.first().map_or(Ok(()), |rest| Err(WrongUsage::Unexpected(rest.clone())))
    }
}
