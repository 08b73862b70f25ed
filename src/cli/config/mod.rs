//! Options from the environment and from configuration files, and `config show`, which says where
//! each comes from.

mod environment;
mod file;
mod settings;
mod show;

pub(super) use environment::{Environment, variable};
pub(super) use settings::{Said, Settings};
pub(super) use show::{Arguments, run};
