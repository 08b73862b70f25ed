//! The few settings of strfry.conf that decide what is stored and where.

use std::path::{Path, PathBuf};

use anyhow::bail;
use strfry_companion::import::EventLimits;

/// What the stand-in heeds of strfry.conf; everything else in it is skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `db`, relative to the working directory.
    pub db: PathBuf,
    /// `events.maxEventSize`, `maxNumTags`, `maxTagValSize`
    pub limits: EventLimits,
}

/// Where strfry looks for its configuration.
pub fn find(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    if let Some(path) = named.or_else(|| std::env::var_os("STRFRY_CONFIG").map(PathBuf::from)) {
        return Ok(path);
    }
    for path in ["/etc/strfry.conf", "./strfry.conf"] {
        if Path::new(path).exists() {
            return Ok(path.into());
        }
    }
    bail!("please specify config file")
}

/// Reads `key = value` lines in `section { … }` blocks.
pub fn read(path: &Path) -> anyhow::Result<Config> {
    let Ok(text) = std::fs::read_to_string(path) else {
        bail!("Failed to load config file '{}'", path.display());
    };
    let mut config = Config { db: "./strfry-db/".into(), limits: EventLimits::default() };
    let mut sections: Vec<&str> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if let Some(section) = line.strip_suffix('{') {
            sections.push(section.trim());
        } else if line == "}" {
            sections.pop();
        } else if let Some((key, value)) = line.split_once('=') {
            let value = value.trim().trim_matches('"');
            let number = || value.parse();
            match (sections.as_slice(), key.trim()) {
                ([], "db") => config.db = value.into(),
                (["events"], "maxEventSize") => config.limits.max_event_size = number()?,
                (["events"], "maxNumTags") => config.limits.max_num_tags = number()?,
                (["events"], "maxTagValSize") => config.limits.max_tag_val_size = number()?,
                _ => {}
            }
        }
    }
    Ok(config)
}
