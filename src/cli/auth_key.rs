//! `--auth-key-file`: a secret key that relays may know this node by. It is never shown, and its
//! file must be nobody else's to read.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, anyhow};

use super::exit::{Failure, OrFail, Result};
use crate::files::open_to_read;
use crate::nostr::SecretKey;
use crate::peer::AuthKey;

/// More than a key and the white space around it.
const MAX_BYTES: u64 = 1_000;

pub(super) fn read_auth_key(path: &Path) -> Result<AuthKey> {
    let cannot_read = || format!("cannot read the key file {}", path.display());
    let file = open_to_read(path).with_context(cannot_read).or_usage()?;
    let metadata = file.metadata().with_context(cannot_read).or_usage()?;
    let refuse = |what: &str| Failure::Usage(anyhow!("the key file {} {what}", path.display()));
    if !metadata.is_file() {
        return Err(refuse("is not a regular file"));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(refuse("can be read by others: chmod 600 it, and consider the key known"));
    }
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text).with_context(cannot_read).or_usage()?;
    let secret: SecretKey = text.trim().parse().map_err(|error| refuse(&format!("is {error}")))?;
    AuthKey::new(&secret).ok_or_else(|| refuse("holds a number that is no secret key"))
}
