//! A segment's file read again, piece by piece: what `pinleaf inspect` prints and AUDIT PIPELINE checks.
//!
//! Each piece is read when it is asked for, believed by its own checksum alone, and kept by nobody:
//! memory is the caller's to bound, who knows a body's size from its record before it is read.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use arrow_buffer::{Buffer, MutableBuffer};

use crate::error::{Corruption, Damage, StorageError};
use crate::format::{
    CommitFacts, CommitRecord, HEADER_PREFIX_BYTES, PREFIX_BYTES, ParsedHeader, Prefix, Seal,
    check_body, header_bytes, parse_batches, parse_header, parse_prefix, parse_seal,
};
use crate::segment::SegmentFile;

/// Where a segment's bytes are read from: its file, or the map of a file that is unlinked meanwhile.
pub trait SegmentBytes: fmt::Debug + Send {
    /// How many there are.
    fn bytes(&self) -> u64;

    /// `len` of them from `at_byte` on, all of which are there. May block.
    ///
    /// # Errors
    /// The kernel's: a bad sector.
    fn read(&self, at_byte: u64, len: usize) -> io::Result<Buffer>;
}

/// A file, and its length when it was opened.
#[derive(Debug)]
pub struct FileBytes {
    file: File,
    bytes: u64,
}

impl FileBytes {
    /// Asks for the length.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new(file: File) -> io::Result<FileBytes> {
        let bytes = file.metadata()?.len();
        Ok(FileBytes { file, bytes })
    }
}

impl SegmentBytes for FileBytes {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read(&self, at_byte: u64, len: usize) -> io::Result<Buffer> {
        // Aligned as a column wants it, so that arrays can be made over the bytes.
        let mut bytes = MutableBuffer::from_len_zeroed(len);
        self.file.read_exact_at(&mut bytes, at_byte)?;
        Ok(bytes.into())
    }
}

/// What a snapshot still holds of a file whose name may be gone.
#[derive(Debug)]
pub struct MapBytes {
    segment: std::sync::Arc<SegmentFile>,
    bytes: u64,
}

impl MapBytes {
    /// The first `bytes` of it.
    #[must_use]
    pub fn new(segment: std::sync::Arc<SegmentFile>, bytes: u64) -> MapBytes {
        MapBytes { segment, bytes }
    }
}

impl SegmentBytes for MapBytes {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read(&self, at_byte: u64, len: usize) -> io::Result<Buffer> {
        let pages = self.segment.pages();
        // A bad sector is an error here, and a SIGBUS at the first touch of a page.
        let read = pages
            .prefetch(at_byte, len)
            .and_then(|()| pages.buffer(at_byte, len));
        read.map_err(|error| match error {
            StorageError::Disk { source, .. } => source,
            error => io::Error::other(error.to_string()),
        })
    }
}

/// What stands at a place in a segment.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// A commit, and what it did as the user's batches, oldest first: itself, or those that it stands for.
    Commit(Box<CommitRecord>, Vec<CommitFacts>),
    /// The end of stream: a seal begins.
    EndOfStream,
    /// No message, and why; bytes counted from the file's start.
    Damage(Damage),
}

/// Reads one segment.
#[derive(Debug)]
pub struct SegmentReader {
    source: Box<dyn SegmentBytes>,
}

impl SegmentReader {
    /// Over these bytes.
    #[must_use]
    pub fn new(source: Box<dyn SegmentBytes>) -> SegmentReader {
        SegmentReader { source }
    }

    /// The file's length.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.source.bytes()
    }

    /// At most `len` bytes from `at` on: fewer where the file ends.
    fn read(&self, at: u64, len: u64) -> io::Result<Buffer> {
        let len = len.min(self.bytes().saturating_sub(at));
        self.source
            .read(at, usize::try_from(len).unwrap_or(usize::MAX))
    }

    /// The header.
    ///
    /// # Errors
    /// The outer error is the kernel's, the inner what is wrong with the bytes.
    pub fn header(&self) -> io::Result<Result<ParsedHeader, Damage>> {
        let prefix = self.read(0, HEADER_PREFIX_BYTES as u64)?;
        match header_bytes(&prefix) {
            Ok(bytes) => Ok(parse_header(&self.read(0, bytes as u64)?)),
            Err(damage) => Ok(Err(damage)),
        }
    }

    /// What stands at `at`. Whose record it is, is not asked.
    ///
    /// # Errors
    /// The kernel's.
    pub fn message(&self, at: u64) -> io::Result<Message> {
        let prefix = self.read(at, PREFIX_BYTES as u64)?;
        let parsed = match parse_prefix(&prefix) {
            Ok(Prefix::EndOfStream) => return Ok(Message::EndOfStream),
            Ok(Prefix::Head(bytes)) => parse_batches(&self.read(at, bytes as u64)?),
            Err(damage) => Err(damage),
        };
        Ok(match parsed {
            Ok((record, batches)) => {
                let itself = batches.is_empty().then_some(record.facts);
                let batches = batches.into_iter().chain(itself).collect();
                Message::Commit(Box::new(record), batches)
            }
            Err(damage) => Message::Damage(damage.shifted(at)),
        })
    }

    /// The body of the commit at `at`, as far as the file goes.
    ///
    /// # Errors
    /// The kernel's.
    pub fn body(&self, at: u64, record: &CommitRecord) -> io::Result<Buffer> {
        let body_at = at.saturating_add(u64::from(record.head_bytes));
        self.read(body_at, record.body_bytes)
    }

    /// The seal, which ends the file: index and footer.
    ///
    /// # Errors
    /// The outer error is the kernel's, the inner what is wrong with the bytes.
    pub fn seal(&self) -> io::Result<Result<Seal, Damage>> {
        parse_seal(self.bytes(), |at, len| {
            self.read(at, len as u64).map(|bytes| bytes.to_vec())
        })
    }

    /// Whether there are zeros alone from `at` on: space that was allocated ahead.
    ///
    /// # Errors
    /// The kernel's.
    pub fn is_zeros(&self, mut at: u64) -> io::Result<bool> {
        while at < self.bytes() {
            let bytes = self.read(at, 1 << 20)?;
            if bytes.iter().any(|&byte| byte != 0) {
                return Ok(false);
            }
            at += bytes.len() as u64;
        }
        Ok(true)
    }
}

/// Checks a body whole: every buffer's checksum, and that nothing stands between two of them.
///
/// # Errors
/// [`Damage`], its bytes counted from the body's start.
pub fn check_whole_body(record: &CommitRecord, body: &[u8]) -> Result<(), Damage> {
    check_body(record, body)?;
    let columns = record.columns.iter().flat_map(|column| column.buffers);
    let last = [record.rejects, record.row_deletes];
    let mut end = 0;
    for buffer in columns.chain(last) {
        check_zeros(body, end, buffer.at)?;
        end = buffer.at + u64::from(buffer.bytes);
    }
    check_zeros(body, end, record.body_bytes)
}

fn check_zeros(body: &[u8], from: u64, to: u64) -> Result<(), Damage> {
    let between = body.get(from as usize..to as usize).unwrap_or_default();
    match between.iter().position(|&byte| byte != 0) {
        Some(at) => Err(Damage::at(from + at as u64, Corruption::Padding)),
        None => Ok(()),
    }
}
