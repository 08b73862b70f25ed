//! JSON lines from a file or standard input, plain or compressed, in pieces of bounded size.
//!
//! Knows lines and nothing of what is in them.

use std::fs::{File, Metadata};
use std::io::{self, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use crate::stop::Stop;

/// What is read at once: some hundred events, so that whoever works on pieces has many of them.
const PIECE_BYTES: usize = 256 << 10;

/// How often a source that gives nothing is asked whether to stop, in milliseconds.
const STOP_MILLIS: u64 = 100;

/// RFC 8878, 3.1.1 and 3.1.2: a zstd frame, and one to be skipped (its first byte varies).
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const ZSTD_SKIPPED: [u8; 3] = [0x2a, 0x4d, 0x18];
/// RFC 1952, 2.3.1.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Where lines come from.
pub struct Source {
    /// The file's path; `-` for standard input.
    pub path: PathBuf,
    /// Size of the file as it lies there; `None` if it is none, such as a pipe.
    pub bytes: Option<u64>,
    /// Which file it is: device and inode.
    identity: (u64, u64),
    input: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
    stop: Stop,
}

/// Reading was ended because the run is to stop.
#[derive(Debug, thiserror::Error)]
#[error("told to stop")]
struct ToldToStop;

/// Consecutive lines of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Number of the first line; that of a source is 1.
    first: u64,
    /// Whole lines, line feeds included; the last of a source may lack its own. `None`: one line
    /// that was skipped, for it is too long.
    lines: Option<Vec<u8>>,
    longest: usize,
}

impl Source {
    /// Opens a file, or standard input for `-`. Compression (zstd, gzip) is told by the first
    /// bytes, not by the name. Once `stop` is set, reading ends with an error.
    ///
    /// # Errors
    /// It cannot be opened or its beginning not be read.
    pub fn open(path: &Path, stop: &Stop) -> io::Result<Self> {
        let file = if path == Path::new("-") {
            File::from(io::stdin().as_fd().try_clone_to_owned()?)
        } else {
            // A pipe that nobody writes to yet is waited for where it is read.
            let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
            File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path)?
        };
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let bytes = metadata.is_file().then_some(metadata.len());
        let read = Arc::new(AtomicU64::new(0));
        let raw = Raw { file, read: Arc::clone(&read), stop: stop.clone() };
        let input = decompressed(raw)?;
        let identity = (metadata.dev(), metadata.ino());
        Ok(Self { path: path.to_owned(), bytes, identity, input, read, stop: stop.clone() })
    }

    /// Whether this is the file that it reads, whatever its name.
    pub fn is(&self, file: &Metadata) -> bool {
        self.identity == (file.dev(), file.ino())
    }

    /// How much of [`Source::bytes`] has been read, told while it is being read.
    pub fn counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.read)
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // A few compressed bytes can give gigabytes.
        if self.stop.is_told() {
            return Err(io::Error::other(ToldToStop));
        }
        self.input.read(buffer)
    }
}

/// Whether this error means that reading was ended because the run is to stop.
pub fn is_told_to_stop(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|error| error.is::<ToldToStop>())
}

/// The file as it is, read only while nobody wants it to stop.
struct Raw {
    file: File,
    read: Arc<AtomicU64>,
    stop: Stop,
}

impl Read for Raw {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.stop.is_told() {
                return Err(io::Error::other(ToldToStop));
            }
            let mut fds = [PollFd::new(&self.file, PollFlags::IN)];
            let time_out = Timespec { tv_sec: 0, tv_nsec: STOP_MILLIS as i64 * 1_000_000 };
            match poll(&mut fds, Some(&time_out)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) | Err(_) => match self.file.read(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    read => {
                        let bytes = read?;
                        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
                        return Ok(bytes);
                    }
                },
            }
        }
    }
}

fn decompressed(mut raw: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let mut head = [0; 4];
    let mut length = 0;
    while let Some(rest @ [_, ..]) = head.get_mut(length..) {
        match raw.read(rest) {
            Ok(0) => break,
            Ok(bytes) => length += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let is_zstd = head == ZSTD || (head[0] & 0xf0 == 0x50 && head[1..] == ZSTD_SKIPPED);
    let is_gzip = head[..2] == GZIP;
    let whole = io::Cursor::new(head).take(length as u64).chain(raw);
    Ok(if is_zstd {
        Box::new(zstd::Decoder::new(whole)?)
    } else if is_gzip {
        Box::new(MultiGzDecoder::new(BufReader::new(whole)))
    } else {
        Box::new(whole)
    })
}

/// Iterator over the pieces of an input.
pub struct Pieces<R> {
    input: R,
    longest: usize,
    /// The beginning of a line whose end has not been read.
    begun: Vec<u8>,
    next_line: u64,
    ended: bool,
    /// Why it ended, to be told after the lines in front of it.
    error: Option<io::Error>,
}

impl<R: Read> Pieces<R> {
    /// The lines of any input, none of them longer than `longest` bytes.
    pub fn new(input: R, longest: usize) -> Self {
        Self { input, longest, begun: Vec::new(), next_line: 1, ended: false, error: None }
    }

    fn next_piece(&mut self) -> Option<Piece> {
        let mut bytes = std::mem::take(&mut self.begun);
        loop {
            self.fill(&mut bytes);
            if let Some(last) = memchr::memrchr(b'\n', &bytes) {
                self.begun = bytes.split_off(last + 1);
                return Some(self.whole_lines(bytes));
            }
            if bytes.len() > self.longest {
                let first = self.next_line;
                self.skip_line();
                return Some(Piece { first, lines: None, longest: self.longest });
            }
            if self.ended {
                // A line that an error cut short is none.
                let is_whole = self.error.is_none() && !bytes.is_empty();
                return is_whole.then(|| self.whole_lines(bytes));
            }
        }
    }

    /// Reads on: a piece, or whole lines if there is no more at the moment.
    fn fill(&mut self, bytes: &mut Vec<u8>) {
        let mut length = bytes.len();
        bytes.resize(length + PIECE_BYTES, 0);
        while !self.ended {
            let Some(rest @ [_, ..]) = bytes.get_mut(length..) else { break };
            match self.input.read(rest) {
                Ok(0) => self.ended = true,
                Ok(read) => {
                    length += read;
                    let is_short = read < rest.len();
                    if is_short && memchr::memchr(b'\n', rest.get(..read).unwrap_or(rest)).is_some()
                    {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.ended = true;
                    self.error = Some(error);
                }
            }
        }
        bytes.truncate(length);
    }

    fn whole_lines(&mut self, bytes: Vec<u8>) -> Piece {
        let first = self.next_line;
        self.next_line += memchr::memchr_iter(b'\n', &bytes).count() as u64;
        Piece { first, lines: Some(bytes), longest: self.longest }
    }

    fn skip_line(&mut self) {
        self.next_line += 1;
        let mut bytes = Vec::new();
        while !self.ended {
            bytes.clear();
            self.fill(&mut bytes);
            if let Some(end) = memchr::memchr(b'\n', &bytes) {
                self.begun = bytes.split_off(end + 1);
                break;
            }
        }
    }
}

impl<R: Read> Iterator for Pieces<R> {
    type Item = io::Result<Piece>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_piece().map(Ok).or_else(|| self.error.take().map(Err))
    }
}

impl Piece {
    /// Number and bytes of each line that is not blank, without its line feed; `None` for the bytes
    /// of one that is too long.
    pub fn lines(&self) -> impl Iterator<Item = (u64, Option<&[u8]>)> {
        let skipped = self.lines.is_none().then_some((self.first, None));
        let lines = self.lines.as_deref().unwrap_or_default().split(|&byte| byte == b'\n');
        let written = lines.zip(self.first..).filter(|(line, _)| !line.trim_ascii().is_empty());
        let fitting = |line: &&[u8]| line.len() <= self.longest;
        written.map(move |(line, number)| (number, Some(line).filter(fitting))).chain(skipped)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    type Line = (u64, Option<Vec<u8>>);

    fn lines_of(input: impl Read, longest: usize) -> Vec<Line> {
        let pieces: Vec<Piece> = Pieces::new(input, longest).map(Result::unwrap).collect();
        let lines = pieces.iter().flat_map(Piece::lines);
        lines.map(|(number, line)| (number, line.map(<[u8]>::to_vec))).collect()
    }

    fn read_back(bytes: &[u8]) -> io::Result<Vec<Line>> {
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(bytes)?;
        let mut source = Source::open(file.path(), &Stop::default())?;
        let pieces = Pieces::new(&mut source, 1 << 20).collect::<io::Result<Vec<_>>>()?;
        assert_eq!(source.bytes, Some(bytes.len() as u64));
        assert_eq!(source.counter().load(Ordering::Relaxed), bytes.len() as u64);
        let lines = pieces.iter().flat_map(Piece::lines);
        Ok(lines.map(|(number, line)| (number, line.map(<[u8]>::to_vec))).collect())
    }

    fn gzipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_file_is_decompressed_whatever_its_name() {
        let text = b"one\n\ntwo\r\nthree";
        let lines = ["one", "two\r", "three"].map(|line| Some(line.as_bytes().to_vec()));
        let expected: Vec<Line> = [1, 3, 4].into_iter().zip(lines).collect();
        let zstd = zstd::encode_all(&text[..], 0).unwrap();
        let skipped = [b"\x50\x2a\x4d\x18\x01\x00\x00\x00x", zstd.as_slice()].concat();
        // Both formats allow for one stream after another.
        let two_streams = [gzipped(&text[..6]), gzipped(&text[6..])].concat();
        for bytes in [text.to_vec(), zstd, skipped, gzipped(text), two_streams] {
            assert_eq!(read_back(&bytes).unwrap(), expected);
        }
        for short in [&b""[..], b"\n", b"\n\n\n"] {
            assert_eq!(read_back(short).unwrap(), []);
        }
    }

    #[test]
    fn a_compressed_file_that_is_cut_short_is_an_error() {
        let text = "a line of text\n".repeat(10_000);
        for whole in [zstd::encode_all(text.as_bytes(), 0).unwrap(), gzipped(text.as_bytes())] {
            assert!(read_back(&whole[..whole.len() - 9]).is_err());
        }
    }

    #[test]
    fn an_input_that_cannot_be_read_on_is_told_once() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        let mut pieces = Pieces::new((&b"a\nb"[..]).chain(Broken), 10);
        let before: Vec<_> =
            pieces.next().unwrap().unwrap().lines().map(|(line, _)| line).collect();
        assert_eq!(before, [1]);
        assert_eq!(pieces.next().unwrap().unwrap_err().to_string(), "broken");
        assert!(pieces.next().is_none());
    }

    #[test]
    fn reading_ends_when_it_is_told_to_stop() {
        let (reader, _writer) = io::pipe().unwrap();
        let stop = Stop::default();
        let file = File::from(std::os::fd::OwnedFd::from(reader));
        let mut raw = Raw { file, read: Arc::default(), stop: stop.clone() };
        let reading = std::thread::spawn(move || raw.read(&mut [0; 10]));
        stop.tell();
        assert!(is_told_to_stop(&reading.join().unwrap().unwrap_err()));
    }

    /// Gives a few bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(buffer.len()).min(self.0.len());
            let (now, later) = self.0.split_at(length);
            buffer[..length].copy_from_slice(now);
            self.0 = later;
            Ok(length)
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_its_neighbours_are_not() {
        let long = "x".repeat(3 * PIECE_BYTES);
        let text = format!("one\n{long}\nthree\n{long}");
        let expected =
            [(1, Some(b"one".to_vec())), (2, None), (3, Some(b"three".to_vec())), (4, None)];
        for step in [7_777, PIECE_BYTES, usize::MAX] {
            assert_eq!(lines_of(Slow(text.as_bytes(), step), 1_000), expected, "{step}");
        }
    }

    proptest! {
        #[test]
        fn lines_come_as_they_are_however_they_are_read(
            lines in prop::collection::vec("[a-z ]{0,40}", 0..50),
            step in 1usize..200,
        ) {
            let text = lines.join("\n");
            let written = lines.iter().zip(1..).filter(|(line, _)| !line.trim().is_empty());
            let expected: Vec<Line> =
                written.map(|(line, number)| (number, Some(line.as_bytes().to_vec()))).collect();
            prop_assert_eq!(lines_of(Slow(text.as_bytes(), step), 1_000), expected);
        }
    }
}
