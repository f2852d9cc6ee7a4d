//! Somebody who had no part in it reads all that was recorded again, as AUDIT PIPELINE does, and with VERIFY every byte
//! beside the broker's own log.

use std::io;
use std::path::Path;

use ingest::audit::{LogSays, Range, Response, Rows, Stopped, World};
use storage::disk::{Disk as _, DiskError};
use storage::ids::{LeafPartitionId, Offset};
use storage::inspect::SegmentBytes;

use super::disk::SimDisk;
use super::kafka::Log;
use super::kafka::reading::{CORRELATION_ID, VERSION, read};
use super::world::Law;

/// What an audit finds, and what it reads.
pub struct Audited<'a> {
    /// What is wrong.
    wrong: Option<String>,
    disk: &'a SimDisk,
    log: &'a Log,
    partition: i32,
    read_committed: bool,
    /// What the broker says next, last first.
    says: Vec<LogSays>,
}

impl<'a> Audited<'a> {
    /// Of this Kafka partition.
    #[must_use]
    pub fn new(disk: &'a SimDisk, log: &'a Log, partition: i32, read_committed: bool) -> Self {
        Audited {
            wrong: None,
            disk,
            log,
            partition,
            read_committed,
            says: Vec::new(),
        }
    }

    /// What it has found of a leaf partition.
    ///
    /// # Errors
    /// What is wrong.
    pub fn found(self, leaf_partition: LeafPartitionId) -> Law {
        match self.wrong {
            Some(what) => Err(format!(
                "leaf partition {leaf_partition}: the audit says: {what}"
            )),
            None => Ok(()),
        }
    }
}

impl Rows for Audited<'_> {
    fn row(&mut self, range: Range) -> Result<(), Stopped> {
        if range.is_ok() && range.unasked.is_none() {
            return Ok(());
        }
        self.wrong = Some(range.status());
        Err(Stopped::Ended)
    }

    fn go_on(&mut self) -> Result<(), Stopped> {
        Ok(())
    }

    fn fetched_behind(&mut self, _visible: Offset) -> Option<Offset> {
        None
    }
}

impl World for Audited<'_> {
    fn reserve(&mut self, _bytes: u64) -> Result<(), Stopped> {
        Ok(())
    }

    fn open(&mut self, path: &Path) -> io::Result<Option<Box<dyn SegmentBytes>>> {
        let failed = |error: DiskError| io::Error::other(error.to_string());
        let file = self.disk.open(path).map_err(failed)?;
        let mut bytes = vec![0; file.bytes().map_err(failed)? as usize];
        file.read_at(&mut bytes, 0).map_err(failed)?;
        Ok(Some(Box::new(Bytes(arrow_buffer::Buffer::from_slice_ref(
            &bytes,
        )))))
    }

    fn is_shown(&mut self, _path: &Path) -> bool {
        true
    }

    fn ask_log(&mut self, from: Offset, to: Offset) {
        let log = self.log;
        self.says = vec![LogSays::Begins(Offset(log.start))];
        let mut cursor = from.0.max(log.start);
        while cursor < to.0 {
            let said = read(log, self.partition, cursor, self.read_committed);
            let Some((frame, next)) = said else {
                break;
            };
            self.says.push(LogSays::Response(Response {
                version: VERSION,
                correlation_id: CORRELATION_ID,
                frame,
            }));
            cursor = next;
        }
        self.says.push(match log.end() {
            end if end < to.0 => LogSays::EndsAt(Offset(end)),
            _ => LogSays::End,
        });
        self.says.reverse();
    }

    fn log(&mut self) -> Result<LogSays, Stopped> {
        self.says.pop().ok_or(Stopped::Ended)
    }

    fn leave_log(&mut self) {
        self.says.clear();
    }
}

#[derive(Debug)]
struct Bytes(arrow_buffer::Buffer);

impl SegmentBytes for Bytes {
    fn bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, at_byte: u64, len: usize) -> io::Result<arrow_buffer::Buffer> {
        let at = at_byte as usize;
        match at.checked_add(len) {
            Some(end) if end <= self.0.len() => Ok(self.0.slice_with_length(at, len)),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
