//! What is read in a moment, or in many: single keys, scans, exports, figures.

pub(crate) mod batched_walk;
mod dictionaries;
pub(crate) mod export;
pub(crate) mod get;
pub(crate) mod get_each;
pub(crate) mod in_order;
pub(crate) mod scan;
pub(crate) mod stats;
pub(crate) mod storage;
pub(crate) mod stored_event;
