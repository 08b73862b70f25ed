//! Which value an option has, where it comes from, and what it won over.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::environment::{Environment, variable};
use super::file;
use crate::cli::exit::Result;

/// Options that are only typed, in which command, and why. `*` is every command.
const ONLY_TYPED: &[(&str, &str, &str)] = &[
    ("*", "help", "it ends the program"),
    ("*", "full", "it is an old name"),
    ("*", "no-lock", "it is an old name"),
    ("backfill", "show-hex", "it makes another command of a backfill"),
    ("backfill", "stats", "it makes another command of a backfill"),
    ("backfill", "as-script", "adopt puts it into the script"),
    ("adopt", "yes", "it changes a file"),
    ("adopt", "undo", "it changes a file"),
    ("stats", "days", "elsewhere it says how far back peers are asked"),
];
/// A configuration file does not say which configuration file is read.
const CONFIG: &str = "config";
/// The name that stands for no configuration file.
const NO_FILE: &str = "none";
/// As similar as clap wants a suggestion to be.
const SIMILAR: f64 = 0.8;

/// Where a value comes from; the first one wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Layer {
    Typed,
    Environment,
    HomeFile,
    UserFile,
    MachineFile,
}

/// Where exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    Typed,
    /// This variable.
    Environment(String),
    File(PathBuf),
}

/// What one layer says of one option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) option: String,
    pub(super) value: Said,
    pub(super) origin: Origin,
    pub(super) layer: Layer,
}

/// What is said of an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum Said {
    /// Whether a flag is set.
    Flag(bool),
    /// One value, or each of several.
    Values(Vec<OsString>),
}

/// An option that has a value, and the layers below that name it too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) given: Given,
    pub(super) over: Vec<Origin>,
}

/// The options of a call that have a value.
#[derive(Debug, Default)]
pub(in crate::cli) struct Settings {
    pub(super) settings: Vec<Setting>,
    /// Files that were read.
    pub(in crate::cli) files: Vec<PathBuf>,
    /// What the operator should know: what contradicts what, and what is probably misspelt.
    pub(in crate::cli) remarks: Vec<String>,
}

impl Settings {
    /// Whether options may come from elsewhere: a variable is set, or a configuration file is there.
    pub(in crate::cli) fn are_elsewhere(matches: &ArgMatches, environment: &Environment) -> bool {
        let typed = |id| {
            let mut values = matches.try_get_raw(id).ok().flatten()?;
            values.next().map(PathBuf::from)
        };
        let usual = || Some(environment.user_home.as_ref()?.join(".zen"));
        let of_home = typed("home").or_else(usual).map(|home| file::of_home(&home));
        let files = [Some(file::of_machine()), file::of_user(environment), of_home];
        !environment.is_empty()
            || typed(CONFIG).is_some()
            || files.iter().flatten().any(|file| file.symlink_metadata().is_ok())
    }

    /// Gathers what was typed, the environment, and the configuration files.
    pub(in crate::cli) fn find(
        command: &str,
        options: &Command,
        matches: &ArgMatches,
        environment: &Environment,
    ) -> Result<Self> {
        let mut settings = Self::default();
        if !can_be_configured(options) {
            return Ok(settings);
        }
        let args = || options.get_arguments().filter(|arg| is_settable(command, arg));
        for arg in args() {
            settings.settings.extend(typed(arg, matches));
        }
        for arg in args() {
            let given = environment.given(arg, arg.get_long().unwrap_or_default())?;
            settings.add(options, given);
        }
        for (name, option) in environment.names() {
            settings.remark_misspelt(options, name, &option);
        }
        for (path, given) in settings.files(command, options, environment)? {
            settings.add(options, given);
            settings.files.push(path);
        }
        Ok(settings)
    }

    /// Reads the configuration files, the one that wins first.
    fn files(
        &self,
        command: &str,
        options: &Command,
        environment: &Environment,
    ) -> Result<Vec<(PathBuf, Vec<Given>)>> {
        let read = |path: &Path, layer| file::read(path, layer, command, options);
        if let Some(named) = self.path(CONFIG) {
            if named == Path::new(NO_FILE) {
                return Ok(Vec::new());
            }
            let given = read(&named, Layer::MachineFile)?.ok_or_else(|| file::missing(&named))?;
            return Ok(vec![(named, given)]);
        }
        let mut files = Vec::new();
        let user = file::of_user(environment).map(|path| (path, Layer::UserFile));
        for (path, layer) in user.into_iter().chain([(file::of_machine(), Layer::MachineFile)]) {
            files.extend(read(&path, layer)?.map(|given| (path, given)));
        }
        let of_files = files.iter().flat_map(|(_, given)| given);
        let of_files = of_files.filter(|given| given.option == "home");
        let home = self.path("home").or_else(|| of_files.map(Given::first).next());
        let usual = || Some(environment.user_home.as_ref()?.join(".zen"));
        if let Some(home) = home.or_else(usual) {
            let path = file::of_home(&home);
            if let Some(given) = read(&path, Layer::HomeFile)? {
                files.insert(0, (path, given));
            }
        }
        Ok(files)
    }

    fn path(&self, option: &str) -> Option<PathBuf> {
        let named = self.settings.iter().find(|setting| setting.given.option == option);
        named.map(|setting| setting.given.first())
    }

    /// Takes what a layer says, unless one above it says otherwise.
    fn add(&mut self, options: &Command, layer: impl IntoIterator<Item = Given>) {
        for given in layer {
            if let Some(above) = self.settings.iter_mut().find(|it| it.given.option == given.option)
            {
                // A section and the lines above it are in one file.
                let known = above.over.last().unwrap_or(&above.given.origin);
                if *known != given.origin {
                    above.over.push(given.origin);
                }
                continue;
            }
            let contradicts = |above: &&Setting| {
                above.given.layer < given.layer
                    && above.given.is_set()
                    && conflict(options, &above.given.option, &given.option)
            };
            let above = self.settings.iter().find(contradicts).filter(|_| given.is_set());
            match above {
                Some(Setting { given: above, .. }) => self.remarks.push(format!(
                    "--{} ({}) wins over --{} ({})",
                    above.option, above.origin, given.option, given.origin
                )),
                None => self.settings.push(Setting { given, over: Vec::new() }),
            }
        }
    }

    fn remark_misspelt(&mut self, options: &Command, name: &str, option: &str) {
        if option_named(options, option).is_some() {
            return;
        }
        let names: Vec<String> = crate::cli::NAMES
            .iter()
            .flat_map(|name| {
                let options = crate::cli::call::options(name);
                let names = options.get_arguments().filter_map(Arg::get_long).map(str::to_owned);
                names.collect::<Vec<_>>()
            })
            .collect();
        if names.iter().any(|known| known == option) {
            return;
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if let Some(similar) = similar(option, &names) {
            let meant = variable(similar);
            self.remarks.push(format!("warning: {name} sets nothing; did you mean {meant}?"));
        }
    }

    /// The options that were not typed, as arguments.
    pub(in crate::cli) fn arguments(&self) -> Vec<OsString> {
        let given = self.settings.iter().map(|setting| &setting.given);
        given.filter(|given| given.origin != Origin::Typed).flat_map(Given::arguments).collect()
    }

    /// The options that no configuration file says: a call elsewhere must be given them.
    pub(in crate::cli) fn to_repeat(&self) -> impl Iterator<Item = (&str, &Said)> {
        let given = self.settings.iter().map(|setting| &setting.given);
        let given = given.filter(|given| !matches!(given.origin, Origin::File(_)));
        given.map(|given| (given.option.as_str(), &given.value))
    }

    /// A sentence for each of these options that was not typed.
    pub(in crate::cli) fn origins_of(&self, is_meant: impl Fn(&str) -> bool) -> Vec<String> {
        let given = self.settings.iter().map(|setting| &setting.given);
        let meant = given.filter(|it| it.origin != Origin::Typed && is_meant(&it.option));
        meant.map(|given| format!("--{} comes from {}", given.option, given.origin)).collect()
    }

    /// Where to look when a call is wrong, if not all of it was typed.
    pub(in crate::cli) fn hint(&self) -> Option<String> {
        let mut origins: Vec<String> = Vec::new();
        for Setting { given, .. } in &self.settings {
            let origin = given.origin.to_string();
            if given.origin != Origin::Typed && !origins.contains(&origin) {
                origins.push(origin);
            }
        }
        let origins = origins.join(", ");
        (!origins.is_empty())
            .then(|| format!("options also come from {origins}: see strfry-companion config show"))
    }
}

impl Given {
    /// Whether it says anything: a flag that is false is as if it was not given.
    fn is_set(&self) -> bool {
        self.value != Said::Flag(false)
    }

    fn arguments(&self) -> Vec<OsString> {
        let option = format!("--{}", self.option);
        let with_value = |value: &OsString| {
            let mut argument = OsString::from(&option);
            argument.push("=");
            argument.push(value);
            argument
        };
        match &self.value {
            Said::Flag(true) => vec![option.into()],
            Said::Flag(false) => Vec::new(),
            Said::Values(values) => values.iter().map(with_value).collect(),
        }
    }

    fn first(&self) -> PathBuf {
        match &self.value {
            Said::Values(values) => values.first().map(PathBuf::from).unwrap_or_default(),
            Said::Flag(_) => PathBuf::new(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Typed => f.write_str("the command line"),
            Self::Environment(variable) => f.write_str(variable),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Whether the environment or a configuration file may set an option of a command.
pub(super) fn can_be_set(command: &str, option: &str) -> bool {
    let is_typed = |&(place, name, _): &(&str, &str, &str)| {
        name == option && (place == "*" || place == command)
    };
    option != CONFIG && !ONLY_TYPED.iter().any(is_typed)
}

/// Whether a command takes options from elsewhere at all.
pub(super) fn can_be_configured(options: &Command) -> bool {
    option_named(options, CONFIG).is_some()
}

/// The same, where the environment may also name the configuration file.
fn is_settable(command: &str, arg: &Arg) -> bool {
    arg.get_long().is_some_and(|name| name == CONFIG || can_be_set(command, name))
}

pub(super) fn option_named<'a>(options: &'a Command, name: &str) -> Option<&'a Arg> {
    options.get_arguments().find(|arg| arg.get_long() == Some(name))
}

/// The known name that a mistaken one resembles most.
pub(super) fn similar<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let likeness = |known: &&str| strsim::jaro_winkler(name, known);
    let best = known.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(&best) > SIMILAR).then_some(best)
}

fn typed(arg: &Arg, matches: &ArgMatches) -> Option<Setting> {
    let id = arg.get_id().as_str();
    let source = matches.try_contains_id(id).ok().and_then(|_| matches.value_source(id))?;
    if source != ValueSource::CommandLine {
        return None;
    }
    let value = match arg.get_action() {
        ArgAction::SetTrue => Said::Flag(true),
        _ => Said::Values(matches.get_raw(id).into_iter().flatten().map(Into::into).collect()),
    };
    let option = arg.get_long()?.to_owned();
    let given = Given { option, value, origin: Origin::Typed, layer: Layer::Typed };
    Some(Setting { given, over: Vec::new() })
}

fn conflict(options: &Command, one: &str, other: &str) -> bool {
    let excludes = |one: &Arg, other: &Arg| {
        let excluded = options.get_arg_conflicts_with(one);
        excluded.iter().any(|it| it.get_id() == other.get_id())
    };
    match (option_named(options, one), option_named(options, other)) {
        (Some(one), Some(other)) => excludes(one, other) || excludes(other, one),
        _ => false,
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
