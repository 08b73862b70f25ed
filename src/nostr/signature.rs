//! BIP-340 signatures, checked one by one or on all cores.

use rayon::prelude::*;
use secp256k1::{XOnlyPublicKey, schnorr};

use super::{EventId, Pubkey, Signature};

/// Whether `sig` is the author's signature of the event id. A pubkey that is not on the curve
/// signs nothing.
pub fn is_valid(id: &EventId, pubkey: &Pubkey, sig: &Signature) -> bool {
    let Ok(key) = XOnlyPublicKey::from_byte_array(*pubkey.as_bytes()) else { return false };
    let sig = schnorr::Signature::from_byte_array(*sig.as_bytes());
    schnorr::verify(&sig, id.as_bytes(), &key).is_ok()
}

/// Runs `check` on every item, on all cores of the current rayon pool; answers in input order.
/// Blocks: not for async threads.
pub fn check_all<T: Sync, R: Send>(items: &[T], check: impl Fn(&T) -> R + Sync + Send) -> Vec<R> {
    items.par_iter().map(check).collect()
}
