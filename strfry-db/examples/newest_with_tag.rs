//! The newest 100 notes with a hashtag: `newest_with_tag strfry-db/ nostr`.

use std::error::Error;

use strfry_db::nostr::{Event, kind};
use strfry_db::{Filter, StrfryDb};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [database, tag] = arguments.as_slice() else {
        return Err("usage: newest_with_tag DATABASE TAG".into());
    };
    let db = StrfryDb::open(database)?;
    let filter = Filter::new().kinds([kind::TEXT_NOTE]).tag('t', [tag])?.limit(100);
    for stored in db.scan(filter) {
        let stored = stored?;
        let json = stored.json()?;
        println!("{} {}", stored.created_at(), Event::parse(&json)?.content);
    }
    Ok(())
}
