//! `systemd`: prints what starts a backfill every hour: a service and its timer, a line for cron, or a
//! compose file. It writes no file and starts nothing.

mod compose;
mod cron;
mod deployment;
mod unit;

use std::ffi::OsString;

use clap::{Args, FromArgMatches, ValueEnum};

use super::backfill;
use super::call::Call;
use super::exit::{Failure, OrFail, Outcome, Result};
use super::node::warn;
use super::output::print;
use crate::report::with_causes;
use deployment::Deployment;

/// Own memory of a run and of the strfry that it starts, and some of the database's pages. An import
/// of 400,000 events of 650 bytes was seen to take 35 and 49 MiB of its own.
const MOST_MEMORY_MIB: u32 = 512;
/// strfry, also to import, asks for as many open files as its `relay.nofiles` says, and ends if it
/// may not have them (onAppStartup.cpp). This is the number in the configuration that it comes with.
const OPEN_FILES: u32 = 1_000_000;
/// How long a run may take to end: within 10 s of the first signal, and a little more.
const SECONDS_TO_STOP: u32 = 15;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// What to print
    #[arg(value_enum)]
    what: What,
    /// Options of the backfill that is to run, as they would be typed
    ///
    /// Those of the environment are taken over, too. Configuration files are read at each run.
    #[arg(value_name = "BACKFILL OPTION", num_args = 0.., trailing_var_arg = true,
          allow_hyphen_values = true)]
    options: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    /// A service of systemd that runs a backfill once, with no more rights than it needs
    Service,
    /// The timer that starts it every hour
    Timer,
    /// A line for the crontab of the user who runs it
    Cron,
    /// A compose file, for an image that holds strfry, too
    Compose,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome> {
    if let What::Timer = arguments.what {
        print(unit::TIMER)?;
        return Ok(Outcome::Complete);
    }
    let mut typed: Vec<OsString> = vec!["strfry-companion".into(), "backfill".into()];
    typed.extend_from_slice(&arguments.options);
    let Some(call) = Call::of_another(typed)? else { return Ok(Outcome::Complete) };
    let backfill = backfill::Arguments::from_arg_matches(&call.matches).or_usage()?;
    let deployment = Deployment::find(&backfill, &call.settings)?;
    print(&match arguments.what {
        What::Service | What::Timer => unit::service(&deployment)?,
        What::Cron => cron::line(&deployment)?,
        What::Compose => compose::file(&deployment)?,
    })?;
    let finds_strfry = match arguments.what {
        // It is in the image.
        What::Compose => Ok(()),
        _ => backfill.finds_strfry(),
    };
    let could_begin = finds_strfry.and_then(|()| backfill.finds_whom_to_ask());
    if let Err(Failure::Usage(why) | Failure::CannotRun(why)) = could_begin {
        warn(format_args!("as things are, that backfill ends at once: {}", with_causes(&*why)));
    }
    Ok(Outcome::Complete)
}
