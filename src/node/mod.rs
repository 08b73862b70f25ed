//! The machine around: paths, strfry's configuration, peers, pubkeys, the blacklist, the lock.
//!
//! It reads what is on this machine and decides nothing about events. It never opens a network
//! connection or the database, and never runs a program.

pub mod address;
mod blacklist;
mod files;
mod find_files;
mod line_reader;
mod lock;
mod lock_holder;
pub mod old_script;
pub mod paths;
mod peer;
mod peers;
mod precious;
mod pubkey_list;
mod pubkeys;
mod station;
pub mod strfry_conf;
mod tao_config;
mod tao_words;

pub use blacklist::{Blacklist, BlacklistError};
pub use files::{FileError, FileProblem};
pub use lock::{Acquired, LockError, LockState, RunLock};
pub use lock_holder::Holder;
pub use paths::{Named, NodePaths, Surroundings};
pub use peer::{Peer, PeerSource, UrlError, UrlProblem, author_peer, explicit_peer, fallback_peer};
pub use peers::{Discovery, PeerPolicy, SkipReason, SkippedPeer, Subject, discover};
pub use precious::Precious;
pub use pubkey_list::{LineProblem, ListError, PubkeyList, SkippedLine, read_list, read_list_file};
pub use pubkeys::{PubkeySources, SourceReport};
pub use station::{OwnStationError, is_station_id, own_station_id};
pub use strfry_conf::{ConfError, END_OF_TIME, EventLimits, StrfryConf};
