//! A node to throw away, the real program run on it, and a check of what became of it.
//!
//! One executable is three programs, told apart by the name that it is called by, so that the
//! node needs nothing but links to it: `strfry` is the stand-in that the tests use,
//! `strfry-companion` and `backfill_constellation.sh` are the program, and any other name is the
//! demo. `STRFRY_BIN=/path/to/strfry` puts the real strfry in the stand-in's place.

#[path = "../tests/support/events.rs"]
mod events;
#[path = "../tests/support/no_relays.rs"]
mod no_relays;
#[path = "demo/node.rs"]
mod node;
#[path = "../tests/support/relays.rs"]
mod relays;
#[path = "../tests/support/scripted.rs"]
mod scripted;
#[path = "../tests/support/stand_in/mod.rs"]
mod stand_in;
#[path = "demo/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde_json::Value;

use node::Node;
use relays::Relay;
use scripted::ScriptedRelay;
use world::World;

/// What a relay gives at most in one answer; strfry's own default.
const RELAY_LIMIT: usize = 500;

/// Build a node to throw away, fill it from four relays on this machine, and check the result.
/// Nothing is deleted afterwards, and nothing outside the directory is touched.
#[derive(Debug, Parser)]
#[command(name = "demo")]
struct Arguments {
    /// Where to build the node: a directory that does not exist yet or is empty [default: a new
    /// temporary directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Few pubkeys and events
    #[arg(long)]
    small: bool,
    /// Keep the relays running at the end, until Enter is pressed
    #[arg(long)]
    serve: bool,
}

fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    match Path::new(&name).file_name().and_then(|name| name.to_str()) {
        Some("strfry") => stand_in::main(),
        Some("strfry-companion" | "backfill_constellation.sh") => strfry_companion::cli::main(),
        _ => match demo(&Arguments::parse()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("demo: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

fn demo(arguments: &Arguments) -> Result<()> {
    let world = World::new(if arguments.small { 40 } else { 300 });
    let relays: Vec<Relay> =
        world.relays.iter().map(|events| Relay::start(events, RELAY_LIMIT)).collect();
    let hostile = world.hostile.start();
    let node = Node::build(arguments.dir.as_deref())?;
    furnish(&node, &world, &relays, &hostile)?;
    introduce(&node, &world);

    println!("1. What does the node lack? Read from its database, by index lookup:\n");
    node.show("profiles --missing | wc -l", &["profiles", "--missing"], |out| {
        format!("{}\n", out.lines().count())
    })?;

    println!("2. Fetch it, check it, import it through strfry:\n");
    let first = Instant::now();
    let command = backfill();
    node.show(&command.join(" "), &command, str::to_owned)?;
    let first = first.elapsed().as_secs_f64();

    println!("3. What does the node know now?\n");
    node.show("profiles | head -6", &["profiles"], |out| {
        out.lines().take(6).map(|line| format!("{line}\n")).collect()
    })?;

    println!("4. The same again, when there is nothing new:\n");
    let second = Instant::now();
    node.show(&command.join(" "), &command, |out| {
        out.lines().take(2).map(|line| format!("{line}\n")).collect()
    })?;
    let second = second.elapsed().as_secs_f64();
    println!("   The first run took {first:.2} s, this one {second:.2} s.\n");

    println!("5. Is that true? What strfry itself exports, against what the relays hold:\n");
    let holds = check(&node, &world)?;
    finish(&node, arguments.serve)?;
    ensure!(holds, "something above does not hold; the node is kept in {}", node.home().display());
    Ok(())
}

/// The command that an operator would run. The relays of the demo are on this machine, which a
/// swarm file must not name without leave; and the demo needs no public relays.
fn backfill() -> [&'static str; 5] {
    ["backfill", "--days", "30", "--allow-local-peers", "--no-fallback"]
}

fn furnish(node: &Node, world: &World, relays: &[Relay], hostile: &ScriptedRelay) -> Result<()> {
    for ((number, relay), author) in relays.iter().enumerate().zip(&world.stations) {
        node.add_station(&format!("station{}", number + 1), &relay.url(), &author.pubkey())?;
    }
    node.add_station("stationHostile", &hostile.url(), &world.hostile.author.pubkey())?;
    let (players, friends) = world.authors.split_at(world.authors.len() / 3);
    node.add_players(players.iter().map(|author| author.pubkey()))?;
    node.add_friends(friends.iter().map(|author| author.pubkey()))?;
    node.add_to_blacklist(&world.hostile.blacklisted.pubkey())?;
    node.import(&world.already_here)
}

fn introduce(node: &Node, world: &World) {
    println!(
        "A node to throw away, in {home}

   {authors} pubkeys, two of which look like dates; {missing} of them have no profile anywhere.
   Its database holds {here} events.
   Three relays hold {events} events, in shares that overlap, and give at most {RELAY_LIMIT} at a time.
   A fourth, hostile, offers {hostile}.
   strfry is {strfry}.
",
        home = node.home().display(),
        authors = world.authors.len(),
        missing = world.without_profile,
        here = world.already_here.len(),
        events = world.honest().len(),
        hostile = world.hostile.in_words(),
        strfry = node.strfry_in_words(),
    );
}

/// Compares the database and the profiles file with what the honest relays hold, event by event.
fn check(node: &Node, world: &World) -> Result<bool> {
    let by_id = |lines: Vec<String>| -> Result<BTreeMap<String, Value>> {
        let parse = |line: String| {
            let event: Value = serde_json::from_str(&line).context("an event that is no JSON")?;
            Ok((event["id"].as_str().unwrap_or_default().to_owned(), event))
        };
        lines.into_iter().map(parse).collect()
    };
    let here = by_id(node.export()?)?;
    let honest = by_id(world.honest())?;
    let arrived = honest.iter().filter(|&(id, event)| here.get(id) == Some(event)).count();
    let strange = here.iter().filter(|&(id, event)| honest.get(id) != Some(event)).count();
    let profiles: Value = serde_json::from_str(&node.read("tmp/coucou/_NIP101.profiles.json")?)
        .context("the profiles file is no JSON")?;
    let profiles = profiles.as_array().map_or(0, Vec::len);
    let existing = world.pubkeys() - world.without_profile;
    let log = node.read("strfry/constellation-backfill.log")?;

    let mut holds = true;
    let mut verdict = |is_so: bool, text: String| {
        holds &= is_so;
        println!("   {:<4} {text}", if is_so { "yes" } else { "NO" });
    };
    verdict(
        arrived == honest.len(),
        format!("{arrived} of the honest relays' {} events are here, unchanged", honest.len()),
    );
    verdict(strange == 0, format!("{strange} events of any other origin are here"));
    verdict(
        profiles == existing,
        format!("{profiles} of {existing} existing profiles are in the profiles file"),
    );
    verdict(
        log.contains("SYNC_IMPORT: events=0 "),
        "the log of the second run says that it imported nothing".to_owned(),
    );
    println!();
    Ok(holds)
}

fn finish(node: &Node, serve: bool) -> Result<()> {
    println!("Where things are, in {}:\n", node.home().display());
    for (path, what) in [
        ("strfry/constellation-backfill.log", "the log of the latest run"),
        ("strfry/hex-to-profile.log", "what became of each profile"),
        ("tmp/coucou/_NIP101.profiles.json", "the profiles"),
        ("strfry/strfry-db/", "the database"),
        ("strfry/strfry.conf", "strfry's configuration"),
        ("tmp/swarm/", "the stations"),
    ] {
        println!("   {path:<36} {what}");
    }
    println!("\nTry next:\n\n   cd {}", node.home().display());
    for arguments in [
        "stats",
        "pubkeys",
        "peers --allow-local-peers",
        "profiles --format jsonl | head -3",
        "profiles --missing --check; echo \"exit code $?\"",
    ] {
        println!("   {}", node::as_typed(arguments));
    }
    println!("   ./strfry-companion --help");
    if serve {
        print!("\nThe relays are still running; try a backfill of your own. Enter ends the demo. ");
        io::stdout().flush()?;
        io::stdin().read_line(&mut String::new())?;
    } else {
        println!(
            "\nThe relays end with this demo (--serve keeps them), the node stays: delete it when \
             you like."
        );
    }
    Ok(())
}
