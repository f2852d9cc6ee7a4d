//! One partition's log: a file of record batches, as they were produced, end to end.
//!
//! Invariants:
//! 1. Base offsets and lengths are as the log assigned them; offsets have no gap between batches.
//! 2. Only whole batches lie below `end_bytes`; a torn one behind it is cut when the log is opened.
//! 3. The index has the first batch at or after every [`INDEX_EVERY_BYTES`]; it is in memory alone and
//!    rebuilt from the file, every checksum checked.
//!
//! Nothing is synced: what a machine's crash takes is cut or missing at the next start, as with Kafka's
//! own defaults.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ingest::kafka::batch::{HEADER_BYTES, LENGTH_END_BYTES};
use ingest::kafka::{BatchFault, BatchHeader, ErrorCode};

use crate::error::DevBrokerError;
use crate::limits::{BATCH_BYTES_MAX, INDEX_EVERY_BYTES, LOG_BYTES_MAX, RECOVER_READ_BYTES};

/// The leader's epoch: this broker leads for ever.
pub const LEADER_EPOCH: i32 = 0;

/// A partition's log.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
    end_bytes: u64,
    next_offset: i64,
    index: Vec<Entry>,
}

/// A batch's first offset and place.
#[derive(Clone, Copy, Debug)]
struct Entry {
    base_offset: i64,
    at_byte: u64,
}

impl Log {
    /// Opens or creates it, checks every batch and cuts what is torn at its end.
    ///
    /// # Errors
    /// The disk's. A torn or damaged batch is none: the log ends before it, and a line says so.
    pub fn open(path: &Path) -> Result<Log, DevBrokerError> {
        let io = |source| DevBrokerError::disk("opening", path, source);
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut log = Log {
            path: path.to_owned(),
            file,
            end_bytes: 0,
            next_offset: 0,
            index: Vec::new(),
        };
        log.recover(length).map_err(io)?;
        if log.end_bytes < length {
            tracing::warn!(
                path = %path.display(),
                at_byte = log.end_bytes,
                bytes = length - log.end_bytes,
                "cut the torn end of a log"
            );
            log.file.set_len(log.end_bytes).map_err(io)?;
        }
        Ok(log)
    }

    fn recover(&mut self, length: u64) -> io::Result<()> {
        let mut window = Window::new(length);
        while let Some(head) = window.get(&self.file, self.end_bytes, LENGTH_END_BYTES)? {
            let Ok(size) = BatchHeader::peek_size_bytes(head) else {
                break;
            };
            if size > BATCH_BYTES_MAX {
                break;
            }
            let Some(batch) = window.get(&self.file, self.end_bytes, size)? else {
                break;
            };
            let whole = BatchHeader::parse(batch)
                .and_then(|header| header.check_crc(batch).map(|()| header));
            match whole {
                Ok(header) if header.base_offset.0 == self.next_offset => self.took(&header),
                Ok(_) | Err(_) => break,
            }
        }
        Ok(())
    }

    fn took(&mut self, header: &BatchHeader) {
        let due = self
            .index
            .last()
            .is_none_or(|last| self.end_bytes >= last.at_byte + INDEX_EVERY_BYTES);
        if due {
            self.index.push(Entry {
                base_offset: header.base_offset.0,
                at_byte: self.end_bytes,
            });
        }
        self.end_bytes += header.size_bytes() as u64;
        self.next_offset = header.next_offset().0;
    }

    /// The offset that the next record gets.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// Appends one produced batch, giving it its offsets, which stand outside its checksum.
    ///
    /// # Errors
    /// As Kafka names it; after a failed write the log ends where it did.
    pub fn append(&mut self, batch: &mut [u8]) -> Result<i64, ErrorCode> {
        if batch.len() > BATCH_BYTES_MAX {
            return Err(ErrorCode::MessageTooLarge);
        }
        let mut header = BatchHeader::parse(batch).map_err(|fault| match fault {
            BatchFault::OldMagic { .. } => ErrorCode::UnsupportedForMessageFormat,
            BatchFault::UnknownCodec { .. } => ErrorCode::UnsupportedCompressionType,
            _ => ErrorCode::CorruptMessage,
        })?;
        // Only one batch a request and partition, as the protocol has it.
        if header.size_bytes() != batch.len() || header.check_crc(batch).is_err() {
            return Err(ErrorCode::CorruptMessage);
        }
        // Transactions need what this broker does not speak; markers are never a client's.
        if header.control || header.transactional {
            return Err(ErrorCode::InvalidRequest);
        }
        if header.record_count == 0 || header.record_count != header.last_offset_delta + 1 {
            return Err(ErrorCode::InvalidRequest);
        }
        if self.end_bytes + batch.len() as u64 > LOG_BYTES_MAX {
            return Err(ErrorCode::KafkaStorageError);
        }
        let base_offset = self.next_offset;
        header.base_offset = storage::ids::Offset(base_offset);
        batch[0..8].copy_from_slice(&base_offset.to_be_bytes());
        batch[12..16].copy_from_slice(&LEADER_EPOCH.to_be_bytes());
        // Into the page cache: some hundred microseconds at most, unless the disk is behind.
        self.file
            .write_all_at(batch, self.end_bytes)
            .map_err(|error| {
                tracing::error!(path = %self.path.display(), %error, "appending to a log failed");
                ErrorCode::KafkaStorageError
            })?;
        self.took(&header);
        Ok(base_offset)
    }

    /// Appends to `out` whole batches from the one that holds `offset`, at most `bytes_max` bytes but,
    /// with `at_least_one`, one batch of any size.
    ///
    /// # Errors
    /// OFFSET_OUT_OF_RANGE, or the disk's.
    pub fn read(
        &self,
        offset: i64,
        bytes_max: usize,
        at_least_one: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), ErrorCode> {
        if offset < 0 || offset > self.next_offset {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        if offset == self.next_offset {
            return Ok(());
        }
        self.read_from(offset, bytes_max, at_least_one, out)
            .map_err(|error| {
                tracing::error!(path = %self.path.display(), %error, "reading a log failed");
                ErrorCode::KafkaStorageError
            })
    }

    fn read_from(
        &self,
        offset: i64,
        bytes_max: usize,
        at_least_one: bool,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        let start = out.len();
        let at = self
            .index
            .partition_point(|entry| entry.base_offset <= offset);
        let mut at_byte = self.index[at.saturating_sub(1)].at_byte;
        // Some batches lie between the index's and the wanted one.
        loop {
            let (size, next_offset) = self.peek(at_byte)?;
            if next_offset > offset {
                break;
            }
            at_byte += size as u64;
        }
        let (first_size, _) = self.peek(at_byte)?;
        let left = usize::try_from(self.end_bytes - at_byte).unwrap_or(usize::MAX);
        let wanted = if first_size > bytes_max {
            if !at_least_one {
                return Ok(());
            }
            first_size
        } else {
            bytes_max.min(left)
        };
        out.resize(start + wanted, 0);
        let read = self.file.read_exact_at(&mut out[start..], at_byte);
        if read.is_err() {
            out.truncate(start);
        }
        read?;
        let mut whole = 0;
        while let Ok(size) = BatchHeader::peek_size_bytes(&out[start + whole..]) {
            if whole + size > wanted {
                break;
            }
            whole += size;
        }
        out.truncate(start + whole);
        Ok(())
    }

    /// A batch's size and next offset.
    fn peek(&self, at_byte: u64) -> io::Result<(usize, i64)> {
        let mut head = [0; HEADER_BYTES];
        self.file.read_exact_at(&mut head, at_byte)?;
        let header = BatchHeader::parse(&head)
            .map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault))?;
        Ok((header.size_bytes(), header.next_offset().0))
    }
}

/// Reads a file forwards in large pieces.
struct Window {
    length: u64,
    at_byte: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn new(length: u64) -> Window {
        Window {
            length,
            at_byte: 0,
            bytes: Vec::new(),
        }
    }

    /// `count` bytes at `at_byte`; `None` past the end.
    fn get(&mut self, file: &File, at_byte: u64, count: usize) -> io::Result<Option<&[u8]>> {
        let left = self.length.saturating_sub(at_byte);
        if (count as u64) > left {
            return Ok(None);
        }
        let held = self.at_byte..self.at_byte + self.bytes.len() as u64;
        if at_byte < held.start || at_byte + count as u64 > held.end {
            let size = count
                .max(RECOVER_READ_BYTES)
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            self.bytes.resize(size, 0);
            file.read_exact_at(&mut self.bytes, at_byte)?;
            self.at_byte = at_byte;
        }
        let from = (at_byte - self.at_byte) as usize;
        Ok(Some(&self.bytes[from..from + count]))
    }
}

#[cfg(test)]
mod tests {
    use ingest::kafka::BatchBuilder;

    use super::*;

    fn batch(count: usize, bytes: usize) -> Vec<u8> {
        let mut builder = BatchBuilder::new(0);
        for _ in 0..count {
            builder.push(1, None, Some(&vec![b'x'; bytes]));
        }
        builder.build()
    }

    fn offsets(bytes: &[u8]) -> Vec<i64> {
        let mut found = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let header = BatchHeader::parse(rest).unwrap();
            header.check_crc(rest).unwrap();
            found.push(header.base_offset.0);
            rest = &rest[header.size_bytes()..];
        }
        found
    }

    fn read(log: &Log, offset: i64, bytes_max: usize) -> Vec<i64> {
        let mut out = Vec::new();
        log.read(offset, bytes_max, true, &mut out).unwrap();
        offsets(&out)
    }

    #[test]
    fn what_was_appended_is_read_from_any_offset_and_after_a_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let mut log = Log::open(&path).unwrap();
        for at in 0..200 {
            assert_eq!(log.append(&mut batch(3, 1_000)), Ok(at * 3));
        }
        let reopened = Log::open(&path).unwrap();
        for log in [&log, &reopened] {
            assert_eq!(log.next_offset(), 600);
            assert!(log.index.len() > 5, "{}", log.index.len());
            for offset in 0..600 {
                assert_eq!(read(log, offset, 1), [offset / 3 * 3]);
            }
            assert_eq!(read(log, 100, 7_000), [99, 102]);
            assert_eq!(read(log, 598, 1 << 20), [597]);
            assert_eq!(read(log, 600, 1 << 20), [0_i64; 0]);
            let mut out = Vec::new();
            log.read(0, 10, false, &mut out).unwrap();
            assert!(out.is_empty());
            assert_eq!(
                log.read(601, 1, true, &mut out),
                Err(ErrorCode::OffsetOutOfRange)
            );
            assert_eq!(
                log.read(-1, 1, true, &mut out),
                Err(ErrorCode::OffsetOutOfRange)
            );
        }
    }

    #[test]
    fn a_torn_or_damaged_end_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let size = batch(2, 500).len() as u64;
        for (cut, damage, kept) in [
            (size * 3 - 1, None, 2),
            (size * 2 + 5, None, 2),
            (size * 3, Some(size * 2 + 100), 2),
            (size * 3, Some(size + 100), 1),
            (size * 3, Some(10), 0),
            (size * 3, None, 3),
        ] {
            std::fs::remove_file(&path).ok();
            let mut log = Log::open(&path).unwrap();
            for _ in 0..3 {
                log.append(&mut batch(2, 500)).unwrap();
            }
            log.file.set_len(cut).unwrap();
            if let Some(at) = damage {
                log.file.write_all_at(&[0xff], at).unwrap();
            }
            let mut log = Log::open(&path).unwrap();
            assert_eq!(log.next_offset(), kept * 2);
            assert_eq!(std::fs::metadata(&path).unwrap().len(), kept as u64 * size);
            assert_eq!(log.append(&mut batch(2, 500)), Ok(kept * 2));
        }
    }

    #[test]
    fn a_bad_batch_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(&dir.path().join("0.log")).unwrap();
        let mut bent = batch(1, 10);
        *bent.last_mut().unwrap() ^= 1;
        assert_eq!(log.append(&mut bent), Err(ErrorCode::CorruptMessage));
        let mut two = [batch(1, 10), batch(1, 10)].concat();
        assert_eq!(log.append(&mut two), Err(ErrorCode::CorruptMessage));
        assert_eq!(log.append(&mut [0; 5]), Err(ErrorCode::CorruptMessage));
        let mut old = batch(1, 10);
        old[16] = 1;
        assert_eq!(
            log.append(&mut old),
            Err(ErrorCode::UnsupportedForMessageFormat)
        );
        let mut marker = BatchBuilder::new(0);
        marker.push_marker(true, 0);
        assert_eq!(
            log.append(&mut marker.build()),
            Err(ErrorCode::InvalidRequest)
        );
        let mut gap = BatchBuilder::new(0);
        gap.push_at(3, 0, None, None);
        assert_eq!(log.append(&mut gap.build()), Err(ErrorCode::InvalidRequest));
        assert_eq!(
            log.append(&mut batch(1, BATCH_BYTES_MAX)),
            Err(ErrorCode::MessageTooLarge)
        );
        assert_eq!(log.next_offset(), 0);
    }
}
