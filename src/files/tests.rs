use std::fs::{self, Permissions};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use super::*;

/// Modes of directories to which others than their owner can write.
const SHARED: [u32; 5] = [0o777, 0o1777, 0o775, 0o770, 0o703];

fn directory(mode: u32) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(mode)).unwrap();
    directory
}

fn pipe_at(path: &Path) {
    rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, NEW_FILE, 0).unwrap();
}

fn refusal(error: &io::Error) -> &Refused {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    inner.unwrap_or_else(|| panic!("not a refusal: {error}"))
}

fn owner_of(path: &Path) -> (u32, u32) {
    let metadata = fs::metadata(path).unwrap();
    (metadata.uid(), metadata.gid())
}

type Writer = fn(&Path) -> io::Result<()>;

/// Everything that writes to a file of this program.
const WRITERS: [(&str, Writer); 3] = [
    ("append", |path| open_to_append(path).and_then(|mut file| file.write_all(b"new"))),
    ("update", |path| open_to_update(path).and_then(|mut file| file.write_all(b"new"))),
    ("replace", |path| {
        replace(path, 0o644, |out| out.write_all(b"new")).map_err(|error| error.source)
    }),
];

#[test]
fn a_missing_file_is_created_and_a_file_keeps_its_content_until_it_is_emptied() {
    let directory = directory(0o700);
    let path = directory.path().join("file");
    open_to_append(&path).unwrap().write_all(b"one ").unwrap();
    open_to_append(&path).unwrap().write_all(b"two").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "one two");
    let mut file = open_to_update(&path).unwrap();
    let mut content = String::new();
    file.read_to_string(&mut content).unwrap();
    assert_eq!(content, "one two");
    file.set_len(0).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "");
    let flags = rustix::fs::fcntl_getfl(&file).unwrap();
    assert!(!flags.contains(OFlags::NONBLOCK));
}

#[test]
fn what_is_no_regular_file_is_refused_at_once_and_stays() {
    let directory = directory(0o700);
    let at = |name: &str| directory.path().join(name);
    pipe_at(&at("pipe"));
    let _socket = UnixListener::bind(at("socket")).unwrap();
    symlink("/dev/full", at("device")).unwrap();
    for (name, what) in [("pipe", "a pipe (FIFO)"), ("socket", "a socket"), ("device", "a device")]
    {
        let expected = Refused::NotAFile(what);
        for (writer, write) in WRITERS {
            let error = write(&at(name)).unwrap_err();
            assert_eq!(refusal(&error), &expected, "{writer} {name}");
        }
        assert_eq!(refusal(&open_to_read(&at(name)).unwrap_err()), &expected, "{name}");
        assert_eq!(refusal(&rotate(&at(name), 3).unwrap_err().source), &expected, "{name}");
        assert!(!fs::metadata(at(name)).unwrap().is_file());
    }
    for (writer, write) in WRITERS {
        let error = write(directory.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::IsADirectory, "{writer}");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
}

#[test]
fn a_link_in_a_private_directory_leads_to_its_target_and_stays() {
    for (writer, write) in WRITERS {
        let (private, elsewhere) = (directory(0o755), directory(0o777));
        let (link, target) = (private.path().join("log"), elsewhere.path().join("real.log"));
        symlink(elsewhere.path(), private.path().join("place")).unwrap();
        symlink("./place/real.log", &link).unwrap();
        // First it leads nowhere, then to a file.
        for _ in 0..2 {
            write(&link).unwrap();
            assert!(fs::read_to_string(&target).unwrap().starts_with("new"), "{writer}");
        }
        assert!(link.is_symlink());
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1, "{writer}");
    }
}

#[test]
fn a_link_in_a_directory_that_others_can_write_to_is_refused() {
    for mode in SHARED {
        let (shared, private) = (directory(mode), directory(0o700));
        let victim = private.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        let link = shared.path().join("log");
        symlink(&victim, &link).unwrap();
        // Not by way of a link that is followed, either.
        let way = private.path().join("way");
        symlink(&link, &way).unwrap();
        let dangling = shared.path().join("dangling");
        symlink(private.path().join("made by a stranger"), &dangling).unwrap();
        for (writer, write) in WRITERS {
            for (path, named) in [(&link, &link), (&way, &link), (&dangling, &dangling)] {
                let error = write(path).unwrap_err();
                assert_eq!(refusal(&error), &Refused::Link(named.clone()), "{writer} {mode:o}");
            }
        }
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(fs::read_dir(private.path()).unwrap().count(), 2);
        // What is no link is no danger there.
        WRITERS.iter().for_each(|(_, write)| write(&shared.path().join("file")).unwrap());
    }
}

#[test]
fn a_link_to_a_directory_is_followed_if_it_belongs_to_this_user() {
    let (shared, private) = (directory(0o1777), directory(0o700));
    symlink(private.path(), shared.path().join("home")).unwrap();
    for (writer, write) in WRITERS {
        write(&shared.path().join("home").join(writer)).unwrap();
        assert_eq!(fs::read_to_string(private.path().join(writer)).unwrap(), "new");
    }
}

#[test]
fn a_link_that_belongs_to_somebody_else_is_refused_wherever_it_is() {
    let (home, elsewhere) = (directory(0o755), directory(0o700));
    let link = home.path().join("strfry");
    symlink(elsewhere.path(), &link).unwrap();
    if std::os::unix::fs::lchown(&link, Some(12_345), None).is_err() {
        println!("skipped: only root can give a link away");
        return;
    }
    for (writer, write) in WRITERS {
        for path in [link.clone(), link.join("log")] {
            let error = write(&path).unwrap_err();
            assert_eq!(refusal(&error), &Refused::Link(link.clone()), "{writer}");
        }
    }
    // Nor is a link of ours in a directory of theirs a safe one.
    fs::remove_file(&link).unwrap();
    symlink(elsewhere.path().join("log"), home.path().join("log")).unwrap();
    std::os::unix::fs::chown(home.path(), Some(12_345), None).unwrap();
    for (writer, write) in WRITERS {
        assert!(is_refusal(&write(&home.path().join("log")).unwrap_err()), "{writer}");
    }
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn links_without_end_are_an_error() {
    let directory = directory(0o700);
    let (a, b) = (directory.path().join("a"), directory.path().join("b"));
    symlink("b", &a).unwrap();
    symlink("./a", &b).unwrap();
    for (writer, write) in WRITERS {
        let error = write(&a).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::LOOP.raw_os_error()), "{writer}");
    }
}

#[test]
fn a_file_with_two_names_is_refused_only_where_others_can_have_made_one() {
    for (mode, is_refused) in SHARED.map(|mode| (mode, true)).into_iter().chain([(0o755, false)]) {
        let (place, private) = (directory(mode), directory(0o700));
        let victim = private.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        let path = place.path().join("log");
        fs::hard_link(&victim, &path).unwrap();
        for (writer, write) in &WRITERS[..2] {
            match write(&path) {
                Ok(()) => assert!(!is_refused, "{writer} {mode:o}"),
                Err(error) => assert_eq!(refusal(&error), &Refused::HardLink, "{writer} {mode:o}"),
            }
        }
        let is_untouched = fs::read_to_string(&victim).unwrap() == "precious";
        assert_eq!(is_untouched, is_refused, "{mode:o}");
        // A replaced file is a new one.
        fs::write(&victim, "precious").unwrap();
        replace(&path, 0o644, |out| out.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    }
}

#[test]
fn a_file_that_is_exchanged_all_the_time_is_never_a_way_to_another() {
    let (shared, private) = (directory(0o777), directory(0o700));
    let victim = private.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    let path = shared.path().join("log");
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let made = shared.path().join("made");
            while !end.load(Ordering::Relaxed) {
                symlink(&victim, &made).unwrap();
                fs::rename(&made, &path).unwrap();
                fs::write(&made, "").unwrap();
                fs::rename(&made, &path).unwrap();
                pipe_at(&made);
                fs::rename(&made, &path).unwrap();
                fs::hard_link(&victim, &made).unwrap();
                fs::rename(&made, &path).unwrap();
                fs::remove_file(&path).unwrap();
            }
        });
        let mut opened = 0;
        for _ in 0..3_000 {
            for (_, write) in &WRITERS[..2] {
                opened += u32::from(write(&path).is_ok());
            }
            let _ = open_to_read(&path);
        }
        end.store(true, Ordering::Relaxed);
        println!("{opened} of 6000 opened");
    });
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn a_path_that_leads_nowhere_gets_the_systems_own_error() {
    let directory = directory(0o700);
    fs::write(directory.path().join("file"), "").unwrap();
    for (writer, write) in WRITERS {
        let error = |path: &str| write(&directory.path().join(path)).unwrap_err().kind();
        assert_eq!(error("absent/log"), io::ErrorKind::NotFound, "{writer}");
        assert_eq!(error("file/log"), io::ErrorKind::NotADirectory, "{writer}");
        assert_eq!(write(Path::new("/")).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        // A pipe without a name, as a shell makes it for `>(...)`, is no file to be found.
        let (_reader, pipe) = io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
        assert_eq!(write(Path::new(&path)).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}

#[test]
fn a_replaced_file_is_whole_has_its_mode_and_leaves_nothing_beside_it() {
    let directory = directory(0o700);
    let path = directory.path().join("state");
    fs::write(&path, "old").unwrap();
    let error = replace(&path, 0o640, |out| {
        out.write_all(&[b'x'; 100_000])?;
        Err(io::ErrorKind::StorageFull.into())
    });
    assert_eq!(error.unwrap_err().step, "write a temporary file beside it");
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    replace(&path, 0o640, |out| out.write_all(b"new")).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_file_is_rewritten_with_its_mode_and_owner_unless_it_has_changed() {
    let directory = directory(0o700);
    let path = directory.path().join("script");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o751)).unwrap();
    let owner = if rustix::process::geteuid().is_root() { (1, 2) } else { owner_of(&path) };
    std::os::unix::fs::chown(&path, Some(owner.0), Some(owner.1)).unwrap();
    for before in ["ol", "older", "new"] {
        let error = rewrite(&path, before.as_bytes(), b"x").unwrap_err();
        assert_eq!(refusal(&error.source), &Refused::Changed, "{before}");
    }
    rewrite(&path, b"old", b"new").unwrap();
    let copy = directory.path().join("copy");
    replace_like(&copy, &fs::metadata(&path).unwrap(), b"new").unwrap();
    for path in [&path, &copy] {
        assert_eq!(fs::read_to_string(path).unwrap(), "new");
        let mode = fs::metadata(path).unwrap().mode() & 0o7777;
        assert_eq!((mode, owner_of(path)), (0o751, owner));
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
}

#[test]
fn nothing_is_rewritten_through_a_link_that_others_can_make() {
    let (shared, private) = (directory(0o777), directory(0o700));
    let target = private.path().join("script");
    fs::write(&target, "old").unwrap();
    let link = shared.path().join("script");
    symlink(&target, &link).unwrap();
    let error = rewrite(&link, b"old", b"new").unwrap_err();
    assert_eq!(refusal(&error.source), &Refused::Link(link.clone()));
    assert_eq!(fs::read_to_string(&target).unwrap(), "old");
    let own_link = private.path().join("link");
    symlink(&target, &own_link).unwrap();
    rewrite(&own_link, b"old", b"new").unwrap();
    assert_eq!(fs::read_to_string(&target).unwrap(), "new");
    assert!(own_link.is_symlink());
}

#[test]
fn old_files_are_kept_under_their_numbers_beside_where_a_link_leads() {
    let (private, elsewhere) = (directory(0o700), directory(0o700));
    let at = |name: &str| elsewhere.path().join(name);
    let link = private.path().join("link");
    symlink(at("log"), &link).unwrap();
    for number in 1..=4 {
        fs::write(&link, number.to_string()).unwrap();
        rotate(&link, 2).unwrap();
    }
    let names = ["log", "log.1", "log.2", "log.3"];
    let contents = names.map(|name| fs::read_to_string(at(name)).ok());
    assert_eq!(contents, [None, Some("4".into()), Some("3".into()), None]);
    assert_eq!(fs::read_dir(private.path()).unwrap().count(), 1);
}

#[test]
fn nothing_is_rotated_over_what_is_no_file() {
    let directory = directory(0o700);
    let at = |name: &str| directory.path().join(name);
    for name in ["log", "log.1", "log.2"] {
        fs::write(at(name), name).unwrap();
    }
    let is_refused = |path: &Path| {
        let error = rotate(&at("log"), 3).unwrap_err();
        assert_eq!(error.path, path);
        assert_eq!(fs::read_to_string(at("log.2")).unwrap(), "log.2");
        error.source
    };
    pipe_at(&at("log.3"));
    assert_eq!(refusal(&is_refused(&at("log.3"))), &Refused::NotAFile("a pipe (FIFO)"));
    fs::remove_file(at("log.3")).unwrap();
    fs::create_dir(at("log.3")).unwrap();
    assert_eq!(is_refused(&at("log.3")).kind(), io::ErrorKind::IsADirectory);
    fs::remove_dir(at("log.3")).unwrap();
    // A link is only renamed.
    symlink(at("log"), at("log.3")).unwrap();
    rotate(&at("log"), 3).unwrap();
    let contents = ["log.1", "log.2", "log.3"].map(|name| fs::read_to_string(at(name)).unwrap());
    assert_eq!(contents, ["log", "log.1", "log.2"]);
}

#[test]
fn a_file_is_known_again_at_its_path_until_it_is_replaced() {
    let directory = directory(0o700);
    let path = directory.path().join("lock");
    let file = open_to_update(&path).unwrap();
    assert!(is_at(&file, &path).unwrap());
    fs::rename(&path, directory.path().join("moved")).unwrap();
    assert!(!is_at(&file, &path).unwrap());
    fs::write(&path, "").unwrap();
    assert!(!is_at(&file, &path).unwrap());
}

#[test]
fn whether_a_file_may_be_written_is_told_without_writing_or_creating_it() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("file"), "text").unwrap();
    fs::create_dir(at("dir")).unwrap();
    symlink("file", at("link")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    for way in [Way::InPlace, Way::Whole] {
        let may = |name: &str| may_write(&at(name), way).map_err(|error| error.kind());
        assert_eq!((may("file"), may("link"), may("new")), (Ok(true), Ok(true), Ok(false)));
        assert_eq!(may("dir"), Err(io::ErrorKind::IsADirectory));
        assert_eq!(may("pipe"), Err(io::ErrorKind::Other));
        assert_eq!(may("file/x"), Err(io::ErrorKind::NotADirectory));
        assert_eq!(may("absent/x"), Err(io::ErrorKind::NotFound));
    }
    let may = |name: &str| may_create_directory(&at(name)).map_err(|error| error.kind());
    assert_eq!((may("dir"), may("a/b/c")), (Ok(()), Ok(())));
    assert_eq!(may("file"), Err(io::ErrorKind::NotADirectory));
    assert_eq!(may("file/x"), Err(io::ErrorKind::NotADirectory));
    let names = fs::read_dir(directory.path()).unwrap().count();
    assert_eq!((names, fs::read_to_string(at("file")).unwrap()), (4, "text".to_owned()));
}
