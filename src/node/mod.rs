//! The machine around: paths, strfry's configuration, peers, pubkeys, the blacklist, the lock.
//!
//! It reads what is on this machine and decides nothing about events. It never opens a network
//! connection or the database, and never runs a program.

pub mod address;
mod files;
mod lock;
pub mod paths;
pub mod strfry_conf;
mod tao_config;
mod tao_words;

pub use files::{FileError, FileProblem};
pub use lock::{Acquired, LockError, RunLock};
pub use paths::NodePaths;
pub use strfry_conf::{ConfError, StrfryConf};
