//! Which pubkeys have a profile: `profiles strfry-db/ < pubkeys.txt`, hex or npub, one a line.

use std::error::Error;
use std::io;

use strfry_db::StrfryDb;
use strfry_db::nostr::{Pubkey, kind};

fn main() -> Result<(), Box<dyn Error>> {
    let db = StrfryDb::open(std::env::args().nth(1).ok_or("usage: profiles DATABASE")?)?;
    let mut pubkeys: Vec<Pubkey> = Vec::new();
    for line in io::stdin().lines() {
        pubkeys.push(line?.trim().parse()?);
    }
    // Half a microsecond each, in the order of the question.
    let answers = db.has_kind_each(&pubkeys, kind::PROFILE)?;
    for (pubkey, has_profile) in pubkeys.iter().zip(answers) {
        println!("{pubkey} {}", if has_profile { "yes" } else { "no" });
    }
    Ok(())
}
