//! Somebody who had no part in it reads all that was recorded again, as AUDIT PIPELINE does.

use std::io;
use std::path::Path;

use ingest::audit::{LogSays, Range, Rows, Stopped, Subject, World, records};
use storage::disk::{Disk as _, DiskError};
use storage::ids::{LeafPartitionId, Lineage, Offset, TableId, TopicId};
use storage::inspect::SegmentBytes;

use super::drive::{Drive, TABLE};
use crate::sim::disk::SimDisk;
use crate::sim::world::Law;

impl Drive<'_> {
    /// See the module.
    pub(super) fn audit(&self, at: usize) -> Law {
        let (paired, tracked) = (&self.partitions[at], self.tracked(at));
        let id = LeafPartitionId(paired.id);
        let Some(shown) = self.world.views.get(id) else {
            return Ok(());
        };
        let subject = Subject {
            table: TableId(TABLE),
            leaf_partition: id,
            kafka_partition: tracked.log as i32,
            lineage: Lineage(tracked.lineage),
            start_offset: Offset(tracked.start),
            topic_id: TopicId(paired.topic_id),
            stands: None,
        };
        let mut audited = Audited {
            disk: &self.world.disk,
            wrong: None,
        };
        // Err: it has found something.
        let _ = records(&subject, shown.snapshot(), &mut audited);
        match audited.wrong {
            Some(what) => Err(format!("leaf partition {id}: the audit says: {what}")),
            None => Ok(()),
        }
    }
}

struct Audited<'a> {
    disk: &'a SimDisk,
    wrong: Option<String>,
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

/// No log is asked: the law has compared all of it.
impl World for Audited<'_> {
    fn reserve(&mut self, _bytes: u64) -> Result<(), Stopped> {
        Ok(())
    }

    fn open(&mut self, path: &Path) -> io::Result<Option<Box<dyn SegmentBytes>>> {
        let failed = |error: DiskError| io::Error::other(error.to_string());
        let file = self.disk.open(path).map_err(failed)?;
        let mut bytes = vec![0; file.bytes().map_err(failed)? as usize];
        file.read_at(&mut bytes, 0).map_err(failed)?;
        Ok(Some(Box::new(Bytes(bytes))))
    }

    fn is_shown(&mut self, _path: &Path) -> bool {
        true
    }

    fn ask_log(&mut self, _from: Offset, _to: Offset) {}

    fn log(&mut self) -> Result<LogSays, Stopped> {
        Err(Stopped::Ended)
    }

    fn leave_log(&mut self) {}
}

#[derive(Debug)]
struct Bytes(Vec<u8>);

impl SegmentBytes for Bytes {
    fn bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, at_byte: u64, len: usize) -> io::Result<arrow_buffer::Buffer> {
        let at = at_byte as usize;
        let bytes = self.0.get(at..at.saturating_add(len));
        let bytes = bytes.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(arrow_buffer::Buffer::from_slice_ref(bytes))
    }
}
