//! BIP-340 signatures, checked one by one or on all cores.

use std::cell::RefCell;
use std::collections::HashMap;

use rayon::prelude::*;
use secp256k1::{XOnlyPublicKey, schnorr};

use super::{EventId, Pubkey, Signature};

/// Authors whose point each thread remembers. Finding the point of a pubkey is an eighth of the
/// cost of a check, and authors repeat; 4,096 of them take 400 KB.
const REMEMBERED_POINTS: usize = 4_096;

thread_local! {
    static POINTS: RefCell<HashMap<Pubkey, XOnlyPublicKey>> = RefCell::default();
}

/// Whether `sig` is the author's signature of the event id. A pubkey that is not on the curve
/// signs nothing.
pub fn is_valid(id: &EventId, pubkey: &Pubkey, sig: &Signature) -> bool {
    let Some(point) = point_of(pubkey) else { return false };
    let sig = schnorr::Signature::from_byte_array(*sig.as_bytes());
    schnorr::verify(&sig, id.as_bytes(), &point).is_ok()
}

/// Runs `check` on every item, on all cores of the current rayon pool; answers in input order.
/// Blocks: not for async threads.
pub fn check_all<T: Sync, R: Send>(items: &[T], check: impl Fn(&T) -> R + Sync + Send) -> Vec<R> {
    items.par_iter().map(check).collect()
}

fn point_of(pubkey: &Pubkey) -> Option<XOnlyPublicKey> {
    POINTS.with_borrow_mut(|points| {
        if let Some(point) = points.get(pubkey) {
            return Some(*point);
        }
        let point = XOnlyPublicKey::from_byte_array(*pubkey.as_bytes()).ok()?;
        if points.len() >= REMEMBERED_POINTS {
            points.clear();
        }
        points.insert(*pubkey, point);
        Some(point)
    })
}

#[cfg(test)]
mod tests {
    use secp256k1::Keypair;

    use super::*;

    fn signed(secret: u8, id: [u8; 32]) -> (EventId, Pubkey, Signature) {
        let keypair = Keypair::from_secret_bytes([secret; 32]).unwrap();
        let sig = schnorr::sign_no_aux_rand(&id, &keypair).to_byte_array();
        let pubkey = keypair.x_only_public_key().0.to_byte_array();
        (EventId::from_bytes(id), Pubkey::from_bytes(pubkey), Signature::from_bytes(sig))
    }

    #[test]
    fn a_signature_is_valid_for_its_event_and_author_alone() {
        let (id, pubkey, sig) = signed(1, [7; 32]);
        let (other_id, other_pubkey, other_sig) = signed(2, [8; 32]);
        for _ in 0..2 {
            assert!(is_valid(&id, &pubkey, &sig));
            assert!(!is_valid(&other_id, &pubkey, &sig));
            assert!(!is_valid(&id, &other_pubkey, &sig));
            assert!(!is_valid(&id, &pubkey, &other_sig));
        }
    }

    #[test]
    fn a_pubkey_that_is_not_on_the_curve_signs_nothing() {
        let (id, _, sig) = signed(1, [7; 32]);
        assert!(!is_valid(&id, &Pubkey::from_bytes([0xff; 32]), &sig));
    }

    #[test]
    fn more_authors_than_are_remembered_do_no_harm() {
        let (id, pubkey, sig) = signed(1, [7; 32]);
        for number in 0..=REMEMBERED_POINTS as u64 {
            let mut bytes = [0; 32];
            bytes[24..].copy_from_slice(&number.to_be_bytes());
            let _ = point_of(&Pubkey::from_bytes(bytes));
        }
        assert!(is_valid(&id, &pubkey, &sig));
    }

    #[test]
    fn answers_come_in_input_order() {
        let numbers: Vec<u32> = (0..1_000).collect();
        assert_eq!(check_all(&numbers, |number| number + 1), (1..=1_000).collect::<Vec<_>>());
    }
}
