//! Prints events as strfry stores them, from now on or from a levId on: `watch strfry-db/ [LEVID]`.

use std::error::Error;
use std::time::Duration;

use strfry_db::StrfryDb;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let db = StrfryDb::open(arguments.next().ok_or("usage: watch DATABASE [LEVID]")?)?;
    let mut last = match arguments.next() {
        Some(lev_id) => lev_id.parse()?,
        None => db.last_lev_id()?,
    };
    loop {
        for event in db.newer_than(last) {
            let event = event?;
            println!("{} {}", event.lev_id(), event.json()?);
            last = event.lev_id();
        }
        // No snapshot is open meanwhile.
        std::thread::sleep(Duration::from_secs(1));
    }
}
