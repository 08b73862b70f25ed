//! What is to run, as whom, and which directories it reads and writes: found as a backfill finds it,
//! and said so that it does not depend on where and by whom it is started.

use std::any::TypeId;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use anyhow::anyhow;

use super::compose::STRFRY_IN_IMAGE;
use crate::cli::backfill;
use crate::cli::call;
use crate::cli::config::{Said, Settings, variable};
use crate::cli::exit::{Failure, OrFail, Result};
use crate::cli::node::warn;
use crate::cli::own_path::own_path;
use crate::node::{NodePaths, paths};
use crate::report::clean;

/// Options that say where things are; each has one value in the end, whoever named it.
const PLACES: [&str; 7] =
    ["home", "strfry-dir", "strfry-config", "strfry-bin", "state-dir", "db", "ipfs-bin"];
/// Variables that a backfill, or the ipfs that it starts, reads beside its options.
const VARIABLES: [&str; 3] = ["IPFSNODEID", "IPFS_PATH", "XDG_CONFIG_HOME"];
/// Programs that get the rights of another user, which a hardened service does not let them.
const OTHER_USERS: [&str; 4] = ["sudo", "doas", "su", "pkexec"];

/// A backfill that something else starts. No text holds a control character.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Deployment {
    /// This program, as an absolute path.
    pub(super) program: String,
    /// Each a word: `--option`, or `--option=value`.
    pub(super) options: Vec<String>,
    /// The same for a container that has strfry in its image; why there is none of that.
    pub(super) options_in_image: std::result::Result<Vec<String>, &'static str>,
    /// Whether the call says where strfry is.
    pub(super) names_strfry: bool,
    /// Variables and their values.
    pub(super) environment: Vec<(String, String)>,
    pub(super) user: User,
    /// Home of the user who called this program.
    pub(super) caller_home: Option<String>,
    /// Directories in which a run writes, none inside another, sorted.
    pub(super) written: Vec<String>,
    /// Those that are not there yet.
    pub(super) missing: Vec<String>,
    /// Files and directories that a run only reads, none inside another, sorted.
    pub(super) read: Vec<String>,
}

/// Who runs it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct User {
    /// The name, or the number of one without a name.
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Deployment {
    pub(super) fn find(backfill: &backfill::Arguments, settings: &Settings) -> Result<Self> {
        let paths = backfill.node.paths();
        let database = backfill.strfry.target(&backfill.node)?.directory();
        let user = User::of(backfill, &database)?;
        user.need_state(&paths)?;
        user.warn_of_configuration(&settings.files);

        let mut given = Given::of(settings)?;
        let strfry_dir = used_strfry_dir(&paths, &database);
        let names_home = given.names_home || paths.home().is_dir();
        let home = names_home.then(|| absolute(paths.home())).transpose()?;
        let mut places = vec![("home", home.clone())];
        // What a node's home says need not be said again.
        if home.as_ref().is_none_or(|home| NodePaths::of_home(home) != paths) {
            let conf = Some(paths.strfry_conf()).filter(|it| paths.names_conf() || it.exists());
            places.push(("strfry-dir", strfry_dir.clone()));
            places.push(("strfry-config", conf));
            places.push(("state-dir", Some(absolute(paths.state_dir())?)));
        }
        places.push(("db", backfill.node.db.as_deref().map(absolute).transpose()?));
        for (option, place) in places {
            if let Some(place) = place {
                given.options.push(with_value(option, &said(place.as_os_str())?));
            }
        }

        let mut options = given.options.clone();
        let options_in_image = match backfill.strfry.words() {
            Some(_) => Err("a container starts no --strfry-command"),
            None => {
                let strfry = backfill.strfry.binary(&backfill.node)?;
                let option = with_value("strfry-bin", &said(strfry.as_os_str())?);
                let of_home = home.as_ref().map(|home| NodePaths::of_home(home).strfry_bin());
                if of_home.is_none_or(|it| it != strfry) {
                    options.push(option.clone());
                }
                let in_image = with_value("strfry-bin", STRFRY_IN_IMAGE);
                given.options.push(if given.names_strfry { option } else { in_image });
                Ok(given.options)
            }
        };
        if let Some(ipfs) = found_ipfs(&backfill.asking.reaching.ipfs_bin)? {
            options.push(with_value("ipfs-bin", &said(ipfs.as_os_str())?));
        }

        let mut written = backfill.written();
        written.extend(["data.mdb", "lock.mdb"].map(|file| database.join(file)));
        let written = outermost(directories(&written)?);
        let mut read = vec![paths.strfry_conf(), paths.home().to_owned()];
        read.extend(strfry_dir);
        read.extend(settings.files.iter().chain(&given.files).cloned());
        let mut read = outermost(read.iter().map(|it| absolute(it)).collect::<Result<_>>()?);
        read.retain(|it| it.exists() && it.parent().is_some());
        read.retain(|it| !written.iter().any(|directory| it.starts_with(directory)));
        Ok(Self {
            program: said(own_path()?.as_os_str())?,
            options,
            options_in_image,
            names_strfry: given.names_strfry,
            environment: given.environment,
            user,
            caller_home: std::env::home_dir().map(|it| said(it.as_os_str())).transpose()?,
            missing: texts(written.iter().filter(|directory| !directory.exists()))?,
            written: texts(written.iter())?,
            read: texts(read.iter())?,
        })
    }

    /// Whether something of it lies in a directory for everybody's temporary files.
    pub(super) fn is_temporary(&self) -> bool {
        let values = self.options.iter().filter_map(|option| option.split_once('='));
        let values = values.map(|(_, value)| value).chain([self.program.as_str()]);
        let mut all = values.chain(self.written.iter().map(String::as_str));
        all.any(|text| ["/tmp", "/var/tmp"].iter().any(|it| Path::new(text).starts_with(it)))
    }
}

/// What the call says beside places.
#[derive(Default)]
struct Given {
    options: Vec<String>,
    environment: Vec<(String, String)>,
    /// Files that options name.
    files: Vec<PathBuf>,
    names_home: bool,
    names_strfry: bool,
}

impl Given {
    fn of(settings: &Settings) -> Result<Self> {
        let mut given = Self::default();
        let known = call::options("backfill");
        for (option, value) in settings.to_repeat() {
            given.names_home |= option == "home";
            given.names_strfry |= option == "strfry-bin";
            if PLACES.contains(&option) {
                continue;
            }
            let named = known.get_arguments().find(|arg| arg.get_long() == Some(option));
            let is_path = named
                .is_some_and(|arg| arg.get_value_parser().type_id() == TypeId::of::<PathBuf>());
            match value {
                Said::Flag(true) => given.options.push(format!("--{option}")),
                // No flag says so.
                Said::Flag(false) => {
                    given.environment.push((variable(option), "false".to_owned()));
                }
                Said::Values(values) => {
                    for value in values {
                        let value = given.value(option, value, is_path)?;
                        given.options.push(with_value(option, &value));
                    }
                }
            }
        }
        for name in VARIABLES {
            if let Some(value) = std::env::var_os(name).filter(|value| !value.is_empty()) {
                given.environment.push((name.to_owned(), said(&value)?));
            }
        }
        Ok(given)
    }

    fn value(&mut self, option: &str, value: &OsString, is_path: bool) -> Result<String> {
        // `--config none`
        if !is_path || (option == "config" && value == "none") {
            return said(value);
        }
        if value == "-" {
            return Err(Failure::Usage(anyhow!(
                "--{option} - is standard input, which nobody writes to there: name a file"
            )));
        }
        let path = absolute(Path::new(value))?;
        let text = said(path.as_os_str())?;
        self.files.push(path);
        Ok(text)
    }
}

impl User {
    /// The owner of the database, whom strfry runs as; with a command that reaches strfry, the user
    /// who may call that.
    fn of(backfill: &backfill::Arguments, database: &Path) -> Result<Self> {
        if let Some(words) = backfill.strfry.words() {
            let first = words.split_whitespace().next().map(Path::new);
            let first = first.and_then(Path::file_name).unwrap_or_default();
            if OTHER_USERS.iter().any(|name| first == *name) {
                return Err(Failure::Usage(anyhow!(
                    "{first:?} in --strfry-command gets no other user's rights there: call this \
                     program as the user whose strfry it is, and name strfry with --strfry-bin"
                )));
            }
            let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
            return Ok(Self::named(own.0, own.1));
        }
        let data = database.join("data.mdb");
        let owner = nearest(&data)?;
        Ok(Self::named(owner.uid(), owner.gid()))
    }

    fn named(uid: u32, gid: u32) -> Self {
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let name = users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let (name, number) = (fields.next()?, fields.nth(1)?);
            (number.parse() == Ok(uid)).then_some(name)
        });
        let is_plain =
            |name: &&str| name.bytes().all(|it| it.is_ascii_alphanumeric() || b"_-.".contains(&it));
        let name = name.filter(is_plain).map_or_else(|| uid.to_string(), str::to_owned);
        Self { name, uid, gid }
    }

    fn is_caller(&self) -> bool {
        self.uid == rustix::process::geteuid().as_raw()
    }

    /// Names each file that is read now, and will not be.
    fn warn_of_configuration(&self, files: &[PathBuf]) {
        let home = std::env::home_dir().filter(|_| !self.is_caller());
        for file in files.iter().filter(|file| home.as_ref().is_some_and(|it| file.starts_with(it)))
        {
            warn(format_args!(
                "{} reads no {} of yours: name it with --config",
                self.name,
                file.display()
            ));
        }
    }

    /// Refuses a state directory that this user cannot write to.
    fn need_state(&self, paths: &NodePaths) -> Result<()> {
        let directory = absolute(paths.state_dir())?;
        let owner = nearest(&directory)?.uid();
        let is_new = !directory.exists();
        let is_of_caller = !self.is_caller()
            && std::env::home_dir().is_some_and(|home| directory.starts_with(home));
        let fits = owner == self.uid || self.uid == 0 || (is_new && owner == 0);
        if fits && !is_of_caller {
            return Ok(());
        }
        Err(Failure::Usage(anyhow!(
            "state, lock and logs would go to {}, where {}, the owner of strfry's database, cannot \
             write: name another directory with --state-dir, or call this program as that user",
            directory.display(),
            self.name
        )))
    }
}

/// strfry's directory, if anything of strfry is in it: it is where this process runs if nothing says
/// otherwise.
fn used_strfry_dir(paths: &NodePaths, database: &Path) -> Option<PathBuf> {
    let directory = paths.strfry_dir();
    let files = [paths.blacklist(), paths.amis_of_amis(), database.to_owned(), paths.strfry_bin()];
    let is_used = files.iter().any(|file| file.starts_with(directory) && file.exists());
    is_used.then(|| directory.to_owned())
}

/// The command that opens tunnels, which need not be in the `PATH` of what runs later.
fn found_ipfs(named: &Path) -> Result<Option<PathBuf>> {
    if named.components().count() > 1 {
        return absolute(named).map(Some);
    }
    Ok(paths::in_path(named, std::env::var_os("PATH").as_ref()))
}

/// A file, or the first directory above it that is there.
fn nearest(path: &Path) -> Result<fs::Metadata> {
    let found = path.ancestors().find_map(|path| fs::metadata(path).ok());
    found.ok_or_else(|| anyhow!("cannot tell whose {} is", path.display())).or_usage()
}

fn absolute(path: &Path) -> Result<PathBuf> {
    let path: PathBuf = std::path::absolute(path).or_usage()?.components().collect();
    let is_plain = path.components().all(|it| it != Component::ParentDir);
    // What is not there stays as it is.
    if is_plain { Ok(path) } else { Ok(path.canonicalize().unwrap_or(path)) }
}

fn with_value(option: &str, value: &str) -> String {
    format!("--{option}={value}")
}

/// Text that a unit, a crontab and a compose file can hold, and a terminal shows as it is.
fn said(text: &OsStr) -> Result<String> {
    let is_separator = |it| matches!(it, '\u{2028}' | '\u{2029}' | '\u{feff}');
    match text.to_str() {
        Some(text) if clean(text) == text && !text.contains(is_separator) => Ok(text.to_owned()),
        _ => Err(Failure::Usage(anyhow!(
            "{text:?} cannot be written into such a file: it is not UTF-8, or holds a character \
             that is not shown; give the file or directory another name"
        ))),
    }
}

fn texts<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> Result<Vec<String>> {
    paths.map(|path| said(path.as_os_str())).collect()
}

/// Where these files are replaced: their directories, and those of what they lead to.
fn directories(files: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut directories = Vec::new();
    for file in files {
        let file = absolute(file)?;
        directories.extend(file.parent().map(Path::to_owned));
        if file.is_symlink() {
            let real = file.canonicalize().ok();
            directories.extend(real.and_then(|it| it.parent().map(Path::to_owned)));
        }
    }
    Ok(directories)
}

/// Without what is inside another one.
fn outermost(mut paths: Vec<PathBuf>) -> Vec<PathBuf> {
    paths.sort_unstable();
    paths.dedup();
    let all = paths.clone();
    paths.retain(|path| !all.iter().any(|other| other != path && path.starts_with(other)));
    paths
}
