//! The line for cron, as crontab(5) wants it.

use anyhow::anyhow;

use super::deployment::Deployment;
use crate::cli::exit::{Failure, Result};

/// Debian's cron takes a command of 998 bytes at most (`MAX_COMMAND` in cron.h, 1,000).
const LONGEST: usize = 998;

/// The line, with what to do with it.
pub(super) fn line(deployment: &Deployment) -> Result<String> {
    let mut words: Vec<String> = Vec::new();
    for (name, value) in &deployment.environment {
        words.push(format!("{name}={}", word(value)));
    }
    words.push(word(&deployment.program));
    words.push("backfill".to_owned());
    words.extend(deployment.options.iter().map(|option| word(option)));
    if !deployment.options.iter().any(|option| option == "--quiet") {
        words.push("--quiet".to_owned());
    }
    let command = words.join(" ");
    if command.len() > LONGEST {
        return Err(Failure::Usage(anyhow!(
            "the line is too long for cron, which takes {LONGEST} bytes: say some of it in a \
             configuration file (see docs/configuring.md), or use a timer"
        )));
    }
    // Not every node's the same, but each time the same.
    let minute = command.bytes().map(usize::from).sum::<usize>() % 60;
    Ok(format!(
        "# For the crontab of {} (crontab -e). With --quiet, cron has something to mail only when a run\n\
         # is not complete.\n\
         {minute} * * * * {command}\n",
        deployment.user.name
    ))
}

/// A word as a shell reads it, behind cron, for which `%` ends the line unless a backslash is before
/// it, inside of quotes, too.
fn word(text: &str) -> String {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "_@+=:,./-".contains(it);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''").replace('%', "'\\%'"))
}
