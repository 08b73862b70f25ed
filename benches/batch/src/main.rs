//! BIP-340 signatures in batches, by one multi-exponentiation for each, as a ratio to single calls
//! of libsecp256k1 on the same threads: interleaved runs, medians.
//!
//! libsecp256k1 has no batch verification that is published; arkworks has the fastest published
//! multi-exponentiation over its curve. Of a batch it is checked that
//! `(Σ aᵢ sᵢ) G = Σ aᵢ Rᵢ + Σ (aᵢ eᵢ) Pᵢ` with random 128-bit `aᵢ`, the terms of one author taken
//! together. Authors' points are found beforehand, for both. The random numbers are not
//! unpredictable here, as they would have to be.

use std::collections::HashMap;
use std::time::Instant;

use ark_ec::{AffineRepr, VariableBaseMSM};
use ark_ff::{BigInteger, Field, PrimeField, Zero};
use ark_secp256k1::{Affine, Fq, Fr, Projective};
use rayon::prelude::*;
use secp256k1::{Keypair, XOnlyPublicKey, schnorr};
use sha2::{Digest, Sha256};

const EVENTS: usize = 20_000;
const RUNS: usize = 5;
const SIZES: [usize; 4] = [64, 256, 1_024, 4_096];

struct Signed {
    sig: [u8; 64],
    id: [u8; 32],
    author: usize,
}

struct Author {
    pubkey: [u8; 32],
    theirs: XOnlyPublicKey,
    point: Affine,
}

fn main() {
    for authors in [100, 1_000, EVENTS] {
        let (authors, events) = world(authors);
        let single = || {
            events.par_chunks(256).all(|events| {
                events.iter().all(|Signed { sig, id, author }| {
                    let sig = schnorr::Signature::from_byte_array(*sig);
                    schnorr::verify(&sig, id, &authors[*author].theirs).is_ok()
                })
            })
        };
        let mut single_times = Vec::new();
        let mut batch_times = SIZES.map(|_| Vec::new());
        for _ in 0..RUNS {
            single_times.push(seconds(single));
            for (size, times) in SIZES.iter().zip(&mut batch_times) {
                times.push(seconds(|| events.par_chunks(*size).all(|it| is_genuine(it, &authors))));
            }
        }
        let mut forged = world(10).1;
        forged.truncate(256);
        forged[100].sig[40] ^= 1;
        assert!(!is_genuine(&forged, &authors), "a forgery must not pass");
        let single = median(single_times);
        print!("{:>6} authors: single {:>6.0}/s, batches", authors.len(), EVENTS as f64 / single);
        for (size, times) in SIZES.iter().zip(batch_times) {
            print!("  of {size}: {:.2}", single / median(times));
        }
        println!();
    }
}

fn world(count: usize) -> (Vec<Author>, Vec<Signed>) {
    let keys: Vec<Keypair> = (0..count)
        .map(|number| {
            Keypair::from_secret_bytes(Sha256::digest(format!("{number}")).into()).unwrap()
        })
        .collect();
    let events = (0..EVENTS).into_par_iter().map(|number| {
        let id: [u8; 32] = Sha256::digest(format!("event {number}")).into();
        let author = number % count;
        let sig = schnorr::sign_no_aux_rand(&id, &keys[author]).to_byte_array();
        Signed { sig, id, author }
    });
    let authors = keys.iter().map(|key| {
        let theirs = key.x_only_public_key().0;
        let pubkey = theirs.to_byte_array();
        Author { pubkey, theirs, point: lift(&pubkey).unwrap() }
    });
    (authors.collect(), events.collect())
}

/// BIP-340, `lift_x`: the point of this x whose y is even.
fn lift(x: &[u8; 32]) -> Option<Affine> {
    let x = Fq::from_be_bytes_mod_order(x);
    let y = (x * x * x + Fq::from(7u64)).sqrt()?;
    let y = if y.into_bigint().is_odd() { -y } else { y };
    Some(Affine::new_unchecked(x, y))
}

fn is_genuine(events: &[Signed], authors: &[Author]) -> bool {
    let tag = Sha256::digest(b"BIP0340/challenge");
    let tagged = Sha256::new().chain_update(tag).chain_update(tag);
    let mut bases = Vec::with_capacity(2 * events.len() + 1);
    let mut scalars = Vec::with_capacity(2 * events.len() + 1);
    let mut by_author: HashMap<usize, Fr> = HashMap::new();
    let mut of_generator = Fr::zero();
    for Signed { sig, id, author } in events {
        let (r, s) = sig.split_first_chunk::<32>().unwrap();
        let Some(point) = lift(r) else { return false };
        let factor = Fr::from(fastrand::u128(1..));
        let hash = tagged.clone().chain_update(r).chain_update(authors[*author].pubkey);
        let challenge = Fr::from_be_bytes_mod_order(&hash.chain_update(id).finalize());
        of_generator += factor * Fr::from_be_bytes_mod_order(s);
        // The point's sign and not the factor's, which would no longer be short.
        bases.push(-point);
        scalars.push(factor.into_bigint());
        *by_author.entry(*author).or_insert(Fr::zero()) -= factor * challenge;
    }
    for (author, scalar) in by_author {
        bases.push(authors[author].point);
        scalars.push(scalar.into_bigint());
    }
    bases.push(Affine::generator());
    scalars.push(of_generator.into_bigint());
    Projective::msm_bigint(&bases, &scalars).is_zero()
}

fn seconds(run: impl FnOnce() -> bool) -> f64 {
    let start = Instant::now();
    assert!(run(), "all are genuine");
    start.elapsed().as_secs_f64()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
