//! Files of the node in whose place somebody has put a pipe, a device, or a link.

use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::said::Said;
use crate::small_node::{ERROR_LOG, LOCK, LOG, PROFILES, SmallNode};
use crate::wait::until;

const PROFILE_LOG: &str = "strfry/hex-to-profile.log";
const STATE: &str = "strfry/constellation-backfill.state.json";
/// Files without which a run does not begin, and how messages name them.
const NEEDED: [(&str, &str); 3] = [(LOCK, "lock file"), (ERROR_LOG, "error log"), (LOG, "log")];

fn put_pipe(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
}

/// What a command says, which must not wait for the other end of any pipe.
fn soon(small: &SmallNode, command: &mut Command) -> Said {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut texts = [String::new(), String::new()];
    let mut status = None;
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        until("the program has ended", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
    }));
    if let Err(panic) = ended {
        let _ = child.kill();
        let _ = child.wait();
        std::panic::resume_unwind(panic);
    }
    child.stdout.take().unwrap().read_to_string(&mut texts[0]).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut texts[1]).unwrap();
    let [out, err] = texts.map(|text| {
        let text = text.replace(&small.relay.url(), "RELAY");
        let text = text.replace(&*small.node.home().to_string_lossy(), "HOME");
        text.split_inclusive('\n').map(crate::said::without_time).collect()
    });
    Said { code: status.unwrap().code().unwrap(), out, err }
}

fn backfill(small: &SmallNode) -> Said {
    let flags = ["backfill", "--allow-local-peers", "--no-fallback", "--csv"];
    soon(small, &mut small.node.companion(&flags))
}

#[test]
fn what_is_no_file_in_the_place_of_lock_or_log_is_refused_at_once() {
    let small = SmallNode::new();
    // Whatever the umask is.
    fs::set_permissions(small.node.strfry_dir(), Permissions::from_mode(0o755)).unwrap();
    for (file, name) in NEEDED {
        let path = small.node.home().join(file);
        let _ = fs::remove_file(&path);
        let quoted = if file == LOCK { format!("\"HOME/{file}\"") } else { format!("HOME/{file}") };
        let refused = |what: &str| {
            let said = backfill(&small);
            let expected = format!(
                "strfry-companion: cannot open the {name} {quoted}: it is {what}, not a regular \
                 file; move it away\n"
            );
            assert_eq!(said, Said::refusal(3, expected));
            fs::remove_file(&path).unwrap();
        };
        put_pipe(&path);
        refused("a pipe (FIFO)");
        let socket = UnixListener::bind(&path).unwrap();
        refused("a socket");
        drop(socket);
        symlink("/dev/full", &path).unwrap();
        refused("a device");
        symlink("/dev/tty", &path).unwrap();
        refused("a device");
    }
    assert_eq!(small.relay.record().connections, 0);
    assert_eq!(backfill(&small).code, 0);
}

#[test]
fn a_pipe_in_the_place_of_a_file_that_a_run_can_do_without_costs_only_that() {
    let small = SmallNode::new();
    let csv = "tmp/coucou/_NIP101.profiles.csv";
    fs::create_dir_all(small.node.home().join("tmp/coucou")).unwrap();
    for file in [PROFILE_LOG, PROFILES, csv] {
        put_pipe(&small.node.home().join(file));
    }
    let pipe = "it is a pipe (FIFO), not a regular file; move it away";
    let said = backfill(&small);
    assert_eq!((said.code, said.err.as_str()), (1, ""));
    let reasons = format!(
        "Incomplete, because:\n  \
         cannot write the profiles file HOME/{PROFILES}: cannot replace what is there: {pipe}\n  \
         cannot write the profiles file HOME/{csv}: cannot replace what is there: {pipe}\n  \
         cannot open the log HOME/{PROFILE_LOG}: {pipe}\n"
    );
    assert!(said.out.ends_with(&reasons), "{}", said.out);
    assert!(small.holds(&small.events));
}

#[test]
fn a_pipe_in_the_place_of_the_state_is_refused_because_nothing_could_be_noted_in_it() {
    let small = SmallNode::new();
    put_pipe(&small.node.home().join(STATE));
    let said = backfill(&small);
    let expected = format!(
        "[ERROR] cannot read the state of earlier runs \"HOME/{STATE}\": it is a pipe (FIFO), not a \
         regular file; move it away; delete it to begin anew: "
    );
    assert!(said.code == 2 && said.err.starts_with(&expected), "{}", said.err);
    assert!(small.holds(&[]));
    // Then nothing is read or noted, and the run says so.
    let flags = ["backfill", "--allow-local-peers", "--no-fallback", "--ignore-state"];
    let said = soon(&small, &mut small.node.companion(&flags));
    let expected = expected.replace("[ERROR]", "[WARN] this run reads and notes nothing:");
    assert!(said.code == 0 && said.err.starts_with(&expected), "{}", said.err);
    assert!(small.holds(&small.events));
}

#[test]
fn a_pipe_among_the_files_that_are_read_is_named_and_holds_nobody_up() {
    let small = SmallNode::new();
    for file in [
        "strfry/amisOfAmis.txt",
        "tmp/swarm/piped/12345.json",
        "flashmem/x/HEX",
        "game/nostr/mallory/HEX",
        ".ipfs/config",
    ] {
        let path = small.node.home().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        put_pipe(&path);
    }
    let said = backfill(&small);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(said.err.matches("not a regular file").count(), 4, "{}", said.err);
    assert!(
        small.log().contains("Skipped \"HOME/tmp/swarm/piped/12345.json\": not a regular file")
    );

    let key = small.node.home().join("key");
    put_pipe(&key);
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    let flags = ["peers", "--json"];
    assert_eq!(soon(&small, &mut small.node.companion(&flags)).code, 0);
    let key = key.to_str().unwrap();
    let flags = ["backfill", "--no-fallback", "--allow-local-peers", "--auth-key-file", key];
    let said = soon(&small, &mut small.node.companion(&flags));
    assert_eq!(
        (said.code, said.err.lines().last()),
        (
            2,
            Some(
                "[ERROR] cannot read the key file HOME/key: it is a pipe (FIFO), not a regular \
                 file; move it away"
            )
        )
    );

    for (file, code) in [("strfry/blacklist.txt", 2), ("strfry/strfry.conf", 2)] {
        let path = small.node.home().join(file);
        let _ = fs::remove_file(&path);
        put_pipe(&path);
        let said = backfill(&small);
        assert_eq!(said.code, code, "{file}: {}", said.err);
        assert!(said.err.contains("not a regular file"), "{file}: {}", said.err);
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_pipe_in_the_place_of_strfrys_own_files_is_refused_at_once() {
    let small = SmallNode::new();
    for (file, what) in [("lock.mdb", "not a regular file"), ("data.mdb", "not a file")] {
        let path = small.node.home().join("strfry/strfry-db").join(file);
        fs::remove_file(&path).unwrap();
        put_pipe(&path);
        for command in ["stats", "profiles", "backfill", "export"] {
            let mut command = small.node.companion(&[command]);
            if command.get_args().next().unwrap() == "backfill" {
                command.args(["--allow-local-peers", "--no-fallback"]);
            }
            let said = soon(&small, &mut command);
            // What strfry needs the lock file for, and this program does not, strfry says.
            let by_strfry = said.out.contains("strfry import ended with");
            let is_said = said.err.contains(what) || file == "lock.mdb" && by_strfry;
            assert!(said.code == 3 && is_said, "{file}: {said:?}");
        }
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn whose_profiles_are_not_looked_for_is_said() {
    let small = SmallNode::new();
    small.node.import(&small.events);
    let friends = small.node.home().join("strfry/amisOfAmis.txt");
    put_pipe(&friends);
    let warning = "strfry-companion: warning: cannot read \"HOME/strfry/amisOfAmis.txt\": not a \
                   regular file; remove it or put a file in its place\n";
    let relay = small.relay.url();
    for command in [
        &["profiles", "--missing", "--check"][..],
        &["diff", "--relay", &relay],
        &["pubkeys", "--list"],
        &["backfill", "--show-hex"],
    ] {
        let said = soon(&small, &mut small.node.companion(command));
        assert_eq!((said.code, said.err.as_str()), (0, warning), "{command:?}");
    }
}

#[test]
fn a_list_that_was_named_may_be_a_pipe() {
    let small = SmallNode::new();
    let (reader, writer) = std::io::pipe().unwrap();
    let pubkeys = format!("{}\n", small.alice.pubkey());
    std::io::Write::write_all(&mut { writer }, pubkeys.as_bytes()).unwrap();
    let flags = ["profiles", "--missing", "--pubkeys", "/dev/stdin"];
    let output = small.node.companion(&flags).stdin(reader).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), pubkeys);
}

#[test]
fn files_are_written_through_a_link_only_where_nobody_else_can_make_one() {
    let small = SmallNode::new();
    assert_eq!(backfill(&small).code, 0);
    let elsewhere = tempfile::tempdir().unwrap();
    let files = [LOCK, ERROR_LOG, LOG, PROFILE_LOG, STATE, PROFILES];
    for file in files {
        let path = small.node.home().join(file);
        let target = elsewhere.path().join(path.file_name().unwrap());
        fs::write(&target, "precious").unwrap();
        fs::remove_file(&path).unwrap();
        symlink(&target, &path).unwrap();
    }
    let contents = || -> Vec<String> {
        let name = |file: &str| elsewhere.path().join(Path::new(file).file_name().unwrap());
        files.map(|file| fs::read_to_string(name(file)).unwrap()).into()
    };
    let chmod = |directory: &str, mode| {
        let path = small.node.home().join(directory);
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    // As in /tmp, whoever made the link.
    chmod("strfry", 0o1777);
    chmod("tmp/coucou", 0o1777);
    let link = |file: &str| {
        format!(
            "\"HOME/{file}\" is a symbolic link, and other users can write to its directory or own \
             it; put the file itself in its place, or let only its owner write to the directory \
             (chmod go-w)"
        )
    };
    for (file, name) in NEEDED {
        let quoted = if file == LOCK { format!("\"HOME/{file}\"") } else { format!("HOME/{file}") };
        let expected =
            format!("strfry-companion: cannot open the {name} {quoted}: {}\n", link(file));
        assert_eq!(backfill(&small), Said::refusal(3, expected));
        fs::rename(small.node.home().join(file), small.node.home().join("aside")).unwrap();
        assert_eq!(contents(), ["precious"; 6]);
        if file == LOG {
            break;
        }
        fs::write(small.node.home().join(file), "").unwrap();
    }
    fs::write(small.node.home().join(LOG), "").unwrap();
    // What stands in the state is not one.
    let said = backfill(&small);
    assert!(said.code == 2 && said.err.contains("is damaged"), "{}", said.err);
    let target = elsewhere.path().join(Path::new(STATE).file_name().unwrap());
    let old = r#"{"version":1,"peers":{}}"#;
    fs::write(&target, old).unwrap();
    let said = backfill(&small);
    assert!(said.code == 3 && said.err.contains(&link(STATE)), "{}", said.err);
    assert_eq!(contents(), ["precious", "precious", "precious", "precious", old, "precious"]);
    let flags = ["backfill", "--allow-local-peers", "--no-fallback", "--csv", "--dry-run"];
    assert_eq!(soon(&small, &mut small.node.companion(&flags)).code, 0);
    fs::remove_file(small.node.home().join(STATE)).unwrap();
    let said = backfill(&small);
    assert_eq!(said.code, 1, "{}", said.out);
    for file in [PROFILE_LOG, PROFILES] {
        assert!(said.out.contains(&link(file)), "{file}: {}", said.out);
    }
    assert_eq!(contents(), ["precious", "precious", "precious", "precious", old, "precious"]);

    chmod("strfry", 0o755);
    chmod("tmp/coucou", 0o755);
    for file in [LOCK, ERROR_LOG, LOG, STATE] {
        let path = small.node.home().join(file);
        fs::remove_file(&path).unwrap();
        symlink(elsewhere.path().join(path.file_name().unwrap()), &path).unwrap();
    }
    let said = backfill(&small);
    assert_eq!(said.code, 0, "{}", said.err);
    let [lock, error_log, log, profile_log, state, profiles] = &contents()[..] else { panic!() };
    assert_eq!(lock, "");
    assert_eq!(error_log, "precious");
    assert!(log.contains("Backfill process completed") && !log.contains("precious"));
    assert!(profile_log.contains("Profile: Alice") && !profile_log.contains("precious"));
    assert!(state.starts_with('{') && profiles.starts_with("[\n"));
    for file in files {
        assert!(small.node.home().join(file).is_symlink(), "{file}");
    }
}

#[test]
fn no_file_of_a_run_is_written_through_a_link_to_a_file_of_strfrys_or_of_the_nodes() {
    let small = SmallNode::new();
    let home = small.node.home();
    assert_eq!(backfill(&small).code, 0);
    fs::set_permissions(small.node.strfry_dir(), Permissions::from_mode(0o755)).unwrap();
    small.node.write("strfry/blacklist.txt", "");
    // A copy, so that nothing of other tests can be harmed.
    let strfry = home.join("strfry/strfry");
    let program = fs::read(&strfry).unwrap();
    fs::remove_file(&strfry).unwrap();
    fs::write(&strfry, program).unwrap();
    fs::set_permissions(&strfry, Permissions::from_mode(0o755)).unwrap();
    let in_database = "in the directory of strfry's database HOME/strfry/strfry-db";
    let strfrys = "strfry's executable or configuration";
    let targets = [
        ("strfry/strfry-db/data.mdb", in_database),
        ("strfry/strfry-db/lock.mdb", in_database),
        ("strfry/strfry.conf", strfrys),
        ("strfry/strfry", strfrys),
        ("strfry/blacklist.txt", "the node's file HOME/strfry/blacklist.txt"),
        ("game/nostr/player0@node/HEX", "the node's file HOME/game/nostr/player0@node/HEX"),
    ];
    let csv = "tmp/coucou/_NIP101.profiles.csv";
    let whole = |target: &str| fs::read(home.join(target)).unwrap();
    let before = targets.map(|(target, _)| whole(target));
    let make_links: [fn(&Path, &Path) -> std::io::Result<()>; 2] =
        [|target, link| symlink(target, link), |target, link| fs::hard_link(target, link)];
    for file in [LOCK, ERROR_LOG, LOG, PROFILE_LOG, STATE, PROFILES, csv] {
        let (path, aside) = (home.join(file), home.join("aside"));
        fs::rename(&path, &aside).unwrap();
        for (target, what) in targets {
            for make_link in make_links {
                make_link(&home.join(target), &path).unwrap();
                let expected = format!(
                    "strfry-companion: cannot write HOME/{file}: it is a link to a file that is \
                     {what}; put a file of its own in its place\n"
                );
                assert_eq!(backfill(&small), Said::refusal(3, expected));
                fs::remove_file(&path).unwrap();
            }
        }
        fs::rename(&aside, &path).unwrap();
    }
    assert!(before == targets.map(|(target, _)| whole(target)));
    // Nor one through another one.
    fs::remove_file(home.join(LOG)).unwrap();
    symlink(home.join(ERROR_LOG), home.join(LOG)).unwrap();
    let said = backfill(&small);
    assert_eq!(said.code, 3);
    assert!(said.err.contains(&format!("the node's file HOME/{ERROR_LOG}")), "{}", said.err);
}

#[test]
fn a_log_that_is_another_name_of_a_file_is_refused_where_others_can_write() {
    let small = SmallNode::new();
    let strfry = small.node.strfry_dir();
    let victim = small.node.write("victim", "precious");
    fs::set_permissions(&strfry, Permissions::from_mode(0o777)).unwrap();
    for (file, name) in NEEDED {
        let path = small.node.home().join(file);
        let _ = fs::remove_file(&path);
        fs::hard_link(&victim, &path).unwrap();
        let said = backfill(&small);
        assert_eq!(said.code, 3);
        let expected = format!("cannot open the {name} ");
        assert!(said.err.contains(&expected), "{}", said.err);
        assert!(said.err.contains("it has another name too (a hard link)"), "{}", said.err);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        fs::remove_file(&path).unwrap();
    }
    assert_eq!(backfill(&small).code, 0);
}
