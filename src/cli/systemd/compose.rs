//! The compose file. Paths are the same inside of the container as outside.

use std::fmt::Write;

use anyhow::anyhow;
use serde_json::Value;

use super::deployment::Deployment;
use super::{MOST_MEMORY_MIB, OPEN_FILES, SECONDS_TO_STOP};
use crate::cli::exit::{Failure, Result};

/// Where strfry's own image has its executable.
pub(super) const STRFRY_IN_IMAGE: &str = "/app/strfry";

const HEAD: &str = "\
# compose.yaml; to be started every hour: docker compose run --rm companion
services:
  companion:
    # Built from the Containerfile upon an image that holds strfry (see docs/containers.md).
    image: strfry-companion
    entrypoint: [\"/usr/local/bin/strfry-companion\"]
";

/// The file.
pub(super) fn file(deployment: &Deployment) -> Result<String> {
    let options = deployment.options_in_image.as_ref();
    let options = options.map_err(|why| Failure::Usage(anyhow!("no compose file: {why}")))?;
    let mut text = HEAD.to_owned();
    // Writing to a String cannot fail.
    if !deployment.names_strfry {
        let _ = writeln!(
            text,
            "    # strfry's own image has it in {STRFRY_IN_IMAGE}; name another place with --strfry-bin."
        );
    }
    text.push_str("    command:\n      - backfill\n");
    for option in options {
        let _ = writeln!(text, "      - {}", scalar(option));
    }
    let _ = write!(
        text,
        "    user: \"{}:{}\"\n    \
         # One numbering of processes, by which LMDB tells readers apart.\n    \
         pid: host\n    \
         network_mode: host\n    \
         read_only: true\n    \
         cap_drop: [ALL]\n    \
         security_opt: [\"no-new-privileges:true\"]\n    \
         mem_limit: {MOST_MEMORY_MIB}m\n    \
         ulimits: {{ nofile: {OPEN_FILES} }}\n    \
         stop_grace_period: {SECONDS_TO_STOP}s\n    \
         restart: \"no\"\n    \
         profiles: [tools]\n",
        deployment.user.uid, deployment.user.gid
    );
    let home = deployment.caller_home.iter().map(|home| ("HOME", home));
    let environment = deployment.environment.iter().map(|(name, value)| (name.as_str(), value));
    let environment: Vec<(&str, &String)> = home.chain(environment).collect();
    if !environment.is_empty() {
        text.push_str("    environment:\n");
    }
    for (name, value) in environment {
        let _ = writeln!(text, "      {name}: {}", scalar(value));
    }
    text.push_str("    volumes:\n");
    let read = deployment.read.iter().map(|path| (path, ", read_only: true"));
    let mut volumes: Vec<(&String, &str)> = read.collect();
    volumes.extend(deployment.written.iter().map(|path| (path, "")));
    volumes.sort_unstable();
    for (path, how) in volumes {
        let path = scalar(path);
        let _ = writeln!(text, "      - {{ type: bind, source: {path}, target: {path}{how} }}");
    }
    Ok(text)
}

/// A text in quotes, as JSON and YAML have it; compose puts variables in place of `$`.
fn scalar(text: &str) -> String {
    Value::from(text.replace('$', "$$")).to_string()
}
