//! A command on a terminal, as a person sees it while it runs.

use std::fs::File;
use std::io::Read;
use std::num::NonZero;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rustix::process::{Pid, Signal, kill_process};

use super::terminal::{Settings, set_size, terminal};

/// A command that runs, and its screen.
pub struct Screen {
    child: Child,
    end: File,
    parser: Arc<Mutex<vt100::Parser>>,
    reader: JoinHandle<()>,
}

impl Screen {
    /// Starts a command with both outputs on a terminal of this size.
    pub fn start(command: &mut Command, (columns, rows): (u16, u16)) -> Self {
        let (end, other) = terminal(columns, Settings::Usual);
        set_size(&end, columns, rows);
        command.stdin(Stdio::null()).stdout(other.try_clone().unwrap()).stderr(other);
        let child = command.spawn().unwrap();
        // The terminal ends when nobody can write to it any more.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let parser = Arc::new(Mutex::new(vt100::Parser::new(cells(rows), cells(columns), 1_000)));
        let (mut input, shown) = (end.try_clone().unwrap(), Arc::clone(&parser));
        let reader = thread::spawn(move || {
            let mut buffer = [0; 4096];
            // At its end comes an error (EIO).
            while let Ok(bytes @ 1..) = input.read(&mut buffer) {
                shown.lock().unwrap().process(&buffer[..bytes]);
            }
        });
        Self { child, end, parser, reader }
    }

    /// What is on the screen.
    pub fn text(&self) -> String {
        self.parser.lock().unwrap().screen().contents()
    }

    pub fn resize(&self, (columns, rows): (u16, u16)) {
        self.parser.lock().unwrap().screen_mut().set_size(cells(rows), cells(columns));
        set_size(&self.end, columns, rows);
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The exit code, and what is on the screen at the end.
    pub fn end(mut self) -> (Option<i32>, String) {
        let code = self.child.wait().unwrap().code();
        self.reader.join().unwrap();
        let text = self.parser.lock().unwrap().screen().contents();
        (code, text)
    }
}

fn cells(count: u16) -> NonZero<u16> {
    NonZero::new(count).unwrap()
}
