//! An author's events as JSON lines, newest first: `author_lines strfry-db/ npub1…`.

use std::error::Error;
use std::io::{self, BufWriter, Write};

use strfry_db::{Filter, StrfryDb};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [database, author] = arguments.as_slice() else {
        return Err("usage: author_lines DATABASE PUBKEY".into());
    };
    let db = StrfryDb::open(database)?;
    let mut out = BufWriter::new(io::stdout().lock());
    for event in db.scan(Filter::new().authors([author.parse()?])) {
        writeln!(out, "{}", event?.json()?)?;
    }
    out.flush()?;
    Ok(())
}
