//! Checks form, id and signature of each event of a file of JSON lines: `verify_file events.jsonl`.

use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader};

use strfry_db::nostr::Event;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: verify_file FILE")?;
    let (mut genuine, mut wrong) = (0, 0);
    for (line, number) in BufReader::new(File::open(path)?).lines().zip(1..) {
        let line = line?;
        let verdict = Event::parse(&line).map_err(|why| why.to_string());
        match verdict.and_then(|event| event.verify().map_err(|why| why.to_string())) {
            Ok(_) => genuine += 1,
            Err(why) => {
                wrong += 1;
                println!("line {number}: {why}");
            }
        }
    }
    println!("{genuine} genuine, {wrong} not");
    Ok(())
}
