//! Options as environment variables: `--max-time` as `STRFRY_COMPANION_MAX_TIME`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use anyhow::anyhow;
use clap::{Arg, ArgAction};

use super::settings::{Given, Layer, Origin, Said};
use crate::cli::exit::{Failure, Result};

const PREFIX: &str = "STRFRY_COMPANION_";

/// What a process finds around it, as far as options come from there.
#[derive(Debug, Clone, Default)]
pub(in crate::cli) struct Environment {
    /// Those that begin with [`PREFIX`] and are not empty.
    variables: BTreeMap<String, OsString>,
    /// `$HOME`
    pub(super) user_home: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME`
    pub(super) xdg_config_home: Option<PathBuf>,
}

impl Environment {
    pub(in crate::cli) fn of_this_process() -> Self {
        let ours = |(name, value): (OsString, OsString)| {
            let name = name.into_string().ok().filter(|name| name.starts_with(PREFIX))?;
            (!value.is_empty()).then_some((name, value))
        };
        let absolute = |path: &PathBuf| path.is_absolute();
        Self {
            variables: std::env::vars_os().filter_map(ours).collect(),
            user_home: std::env::home_dir().filter(absolute),
            // The specification says that a relative one is to be ignored.
            xdg_config_home: std::env::var_os("XDG_CONFIG_HOME")
                .map(PathBuf::from)
                .filter(absolute),
        }
    }

    /// Whether no variable sets an option.
    pub(super) fn is_empty(&self) -> bool {
        self.variables.is_empty()
    }

    /// The value of an option's variable.
    pub(super) fn get(&self, option: &str) -> Option<&OsStr> {
        self.variables.get(&variable(option)).map(OsString::as_os_str)
    }

    /// What the environment says of an option.
    pub(super) fn given(&self, arg: &Arg, option: &str) -> Result<Option<Given>> {
        let Some(value) = self.get(option) else { return Ok(None) };
        let name = variable(option);
        let value = match arg.get_action() {
            ArgAction::SetTrue => Said::Flag(truth(&name, value)?),
            ArgAction::Append => Said::Values(words(value)),
            _ => Said::Values(vec![value.to_owned()]),
        };
        let origin = Origin::Environment(name);
        Ok(Some(Given { option: option.to_owned(), value, origin, layer: Layer::Environment }))
    }

    /// Options that a variable may have been meant to name.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, String)> {
        let named = self.variables.keys().map(|name| (name.as_str(), name.strip_prefix(PREFIX)));
        let option = |name: &str| name.to_ascii_lowercase().replace('_', "-");
        named.map(move |(name, rest)| (name, option(rest.unwrap_or_default())))
    }
}

/// The name of an option's variable.
pub(in crate::cli) fn variable(option: &str) -> String {
    format!("{PREFIX}{}", option.to_ascii_uppercase().replace('-', "_"))
}

fn truth(name: &str, value: &OsStr) -> Result<bool> {
    let value = value.to_string_lossy().to_ascii_lowercase();
    match value.as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err(Failure::Usage(anyhow!("{name} is '{value}': write true or false"))),
    }
}

/// What white space separates.
fn words(value: &OsStr) -> Vec<OsString> {
    let words = value.as_bytes().split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words.map(|word| OsString::from_vec(word.to_vec())).collect()
}

#[cfg(test)]
impl Environment {
    pub(super) fn with(variables: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), OsString::from(value));
        Self { variables: variables.iter().map(owned).collect(), ..Self::default() }
    }
}
