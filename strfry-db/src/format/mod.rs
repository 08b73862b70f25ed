//! strfry's bytes: how it lays out keys and values, and in which order LMDB has them. Reads no file.

pub(crate) mod comparators;
pub(crate) mod flatbuffers;
pub(crate) mod keys;
pub(crate) mod packed_event;
pub(crate) mod payload;
pub(crate) mod tables;
