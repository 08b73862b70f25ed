//! A terminal for a program to write to.

use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

/// What a command writes to a terminal of this many columns, and its exit code.
pub struct Shown {
    pub out: String,
    pub err: String,
    pub code: Option<i32>,
}

/// Runs a command whose standard output and standard error are a terminal each.
pub fn on_terminal(command: &mut Command, columns: u16) -> Shown {
    let [(out, out_end), (err, err_end)] = [(); 2].map(|()| terminal(columns, Settings::Raw));
    command.stdin(Stdio::null()).stdout(out_end).stderr(err_end);
    let mut child = command.spawn().unwrap();
    // The terminal ends when nobody can write to it any more.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let [out, err] = [out, err].map(|terminal| thread::spawn(move || read(terminal)));
    let code = child.wait().unwrap().code();
    Shown { out: out.join().unwrap(), err: err.join().unwrap(), code }
}

/// What a terminal does to what is written to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Settings {
    /// Nothing.
    Raw,
    /// As a shell finds it: a line feed also returns to the first column.
    Usual,
}

/// Both ends of a terminal.
pub fn terminal(columns: u16, how: Settings) -> (File, File) {
    let end = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&end).unwrap();
    unlockpt(&end).unwrap();
    let name = ptsname(&end, Vec::new()).unwrap();
    let name = Path::new(std::ffi::OsStr::from_bytes(name.as_bytes())).to_owned();
    let other = File::options().read(true).write(true).open(name).unwrap();
    if how == Settings::Raw {
        let mut settings = tcgetattr(&other).unwrap();
        settings.make_raw();
        tcsetattr(&other, OptionalActions::Now, &settings).unwrap();
    }
    let end = end.into();
    set_size(&end, columns, 24);
    (end, other)
}

pub fn set_size(end: &File, columns: u16, rows: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(end, size).unwrap();
}

fn read(mut terminal: File) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    // At its end comes an error (EIO).
    while let Ok(bytes @ 1..) = terminal.read(&mut buffer) {
        text.extend_from_slice(&buffer[..bytes]);
    }
    String::from_utf8(text).unwrap()
}
