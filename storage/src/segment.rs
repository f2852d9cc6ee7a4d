//! Segments: the committed batches of one leaf partition, as one Arrow file, for readers.
//!
//! Appended to by one leaf while open, sealed once, never changed after. Byte layout:
//! [`crate::format`]. A column's checksum is checked at its first touch since the file was mapped, one
//! bit per commit and column; only then are arrays made over it. A mismatch is an error with file and
//! byte range and rings the partition's [`Alarm`]: a query never silently returns fewer rows.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use arc_swap::ArcSwapOption;
use arrow_array::ArrayRef;
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer};

use crate::array::primitive_array;
use crate::error::{Corruption, Damage, Limit, StorageError};
use crate::format::rejects::Rejects;
use crate::format::{
    BufferRecord, ColumnRecord, CommitFacts, CommitRecord, ParsedHeader, parse_batches,
};
use crate::limits::{
    ALIGN_BYTES, HELD_PER_INDEX_BYTE, OPEN_CHUNK_COMMITS, SEGMENT_COMMITS_MAX, STATISTIC_BYTES_MAX,
};
use crate::map::{Checked, Pages, StringFault, check_strings};
use crate::schema::Physical;

/// What is known of the seal behind a segment's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealState {
    /// What lies there is being written, or was given up, and says nothing.
    Unknown,
    /// Written whole, or found so. It may be in the page cache alone: what vouches for a segment vouches for its
    /// content, and a footer's sync may have failed before it was found.
    Written,
    /// Synced behind that.
    Durable,
}

/// A segment's file as readers hold it, open or sealed.
#[derive(Debug)]
pub struct SegmentFile {
    header: ParsedHeader,
    path: PathBuf,
    pages: Arc<dyn Pages>,
    alarm: Arc<Alarm>,
    /// A [`SealState`].
    seal: AtomicU8,
}

impl SegmentFile {
    /// A file whose header was read.
    #[must_use]
    pub fn new(
        header: ParsedHeader,
        path: PathBuf,
        pages: Arc<dyn Pages>,
        alarm: Arc<Alarm>,
    ) -> SegmentFile {
        SegmentFile {
            header,
            path,
            pages,
            alarm,
            seal: AtomicU8::new(SealState::Unknown as u8),
        }
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> &ParsedHeader {
        &self.header
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its bytes.
    pub(crate) fn pages(&self) -> &Arc<dyn Pages> {
        &self.pages
    }

    /// What is known of its seal: an auditor asks for one that is there.
    #[must_use]
    pub fn seal(&self) -> SealState {
        let state = self.seal.load(Ordering::Acquire);
        [SealState::Written, SealState::Durable]
            .into_iter()
            .find(|known| *known as u8 == state)
            .unwrap_or(SealState::Unknown)
    }

    /// Says so, or takes it back. The store calls it, nobody else.
    pub fn say_seal(&self, state: SealState) {
        self.seal.store(state as u8, Ordering::Release);
    }

    /// Nothing is appended any more; its content ends at `end_byte`.
    pub(crate) fn sealed(&self, end_byte: u64) {
        self.pages.sealed(end_byte);
    }

    fn physical(&self, column: usize) -> Physical {
        let columns = &self.header.header.schema.columns;
        columns.get(column).map_or(Physical::Int64, |c| c.physical)
    }

    fn corrupt(&self, damage: Damage) -> StorageError {
        self.alarm.ring(&self.path, &damage);
        damage.in_file(&self.path)
    }
}

/// Wakes whoever looks at alarms, from a reader's thread.
#[derive(Clone)]
pub struct Bell(Arc<dyn Fn() + Send + Sync>);

impl Bell {
    /// A bell that does this when it is rung: it must not wait.
    #[must_use]
    pub fn new(ring: impl Fn() + Send + Sync + 'static) -> Bell {
        Bell(Arc::new(ring))
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bell")
    }
}

/// Rung by the first reader that meets damage; the store looks and takes the partition to Failed.
#[derive(Debug, Default)]
pub struct Alarm {
    first: ArcSwapOption<(PathBuf, Damage)>,
    quiet: Mutex<()>,
    bell: Option<Bell>,
}

impl Alarm {
    /// An alarm that rings `bell` as well: a leaf that has nothing to do would not look.
    #[must_use]
    pub fn with_bell(bell: Option<Bell>) -> Alarm {
        Alarm {
            bell,
            ..Alarm::default()
        }
    }

    /// Keeps the first damage, and says so in the log once.
    fn ring(&self, path: &Path, damage: &Damage) {
        let _one_at_a_time = self.quiet.lock();
        if self.first.load().is_none() {
            let first = (path.to_owned(), damage.clone());
            self.first.store(Some(Arc::new(first)));
            tracing::error!(path = %path.display(), %damage, "a segment is damaged");
            if let Some(Bell(ring)) = &self.bell {
                ring();
            }
        }
    }

    /// The first damage that a reader met.
    #[must_use]
    pub fn damage(&self) -> Option<Arc<(PathBuf, Damage)>> {
        self.first.load_full()
    }

    /// It was of a file that nobody needs any more: the next damage rings again.
    pub(crate) fn silence(&self) {
        self.first.store(None);
    }
}

/// One commit of a segment, for readers.
#[derive(Debug)]
pub struct Commit {
    record: CommitRecord,
    at_byte: u64,
    checked: Checked,
}

impl Commit {
    /// A commit whose record was checked against the segment's header
    /// ([`crate::format::check_commit`]) and that begins at `at_byte`.
    #[must_use]
    pub fn new(record: CommitRecord, at_byte: u64) -> Commit {
        Commit {
            checked: Checked::none_of(record.columns.len()),
            record,
            at_byte,
        }
    }

    /// What its metadata says.
    #[must_use]
    pub fn record(&self) -> &CommitRecord {
        &self.record
    }

    /// Where it begins in its file.
    #[must_use]
    pub fn at_byte(&self) -> u64 {
        self.at_byte
    }

    fn place(&self, buffer: &BufferRecord) -> (u64, usize) {
        let at = self.at_byte + u64::from(self.record.head_bytes) + buffer.at;
        (at, buffer.bytes as usize)
    }

    fn buffer(&self, file: &SegmentFile, buffer: &BufferRecord) -> Result<Buffer, StorageError> {
        let (at, len) = self.place(buffer);
        file.pages.buffer(at, len)
    }

    /// What it did, as the user's batches, oldest first: read from the file where it stands for others,
    /// and checked there.
    ///
    /// # Errors
    /// `Corrupt`: its metadata is not what it was. `Disk`: it cannot be read.
    pub fn batches(&self, file: &SegmentFile) -> Result<Vec<CommitFacts>, StorageError> {
        self.batches_quietly(file)?
            .map_err(|damage| file.corrupt(damage))
    }

    /// The same, and nobody's alarm rings.
    ///
    /// # Errors
    /// The outer error: it cannot be read. The inner: its metadata is not what it was.
    pub fn batches_quietly(
        &self,
        file: &SegmentFile,
    ) -> Result<Result<Vec<CommitFacts>, Damage>, StorageError> {
        if self.record.replaced.count == 0 {
            return Ok(Ok(vec![self.record.facts]));
        }
        let head = self.record.head_bytes as usize;
        file.pages.prefetch(self.at_byte, head)?;
        let bytes = file.pages.buffer(self.at_byte, head)?;
        Ok(match parse_batches(&bytes) {
            Ok((record, batches)) if record == self.record => Ok(batches),
            Ok(_) => Err(Damage::at(self.at_byte, Corruption::OtherSegment)),
            Err(damage) => Err(damage.shifted(self.at_byte)),
        })
    }

    /// Column `index` as an array over the map, its checksum checked if it was not yet.
    pub(crate) fn read(&self, file: &SegmentFile, index: usize) -> Result<ArrayRef, StorageError> {
        let column = &self.record.columns[index];
        let rows = self.record.facts.rows as usize;
        let [validity, values, data] = [
            self.buffer(file, &column.buffers[0])?,
            aligned(self.buffer(file, &column.buffers[1])?),
            self.buffer(file, &column.buffers[2])?,
        ];
        let physical = file.physical(index);
        if !self.checked.has(index) {
            self.check(file, index, [&validity, &values, &data])?;
            self.checked.pass(index);
        }
        let nulls = (!validity.is_empty())
            .then(|| NullBuffer::new(BooleanBuffer::new(validity, 0, rows)))
            .filter(|nulls| nulls.null_count() > 0);
        Ok(match physical {
            Physical::Utf8 => self.checked.string_array(index, rows, values, data, nulls),
            physical => primitive_array(physical, rows, values, nulls),
        })
    }

    fn check(
        &self,
        file: &SegmentFile,
        index: usize,
        found: [&Buffer; 3],
    ) -> Result<(), StorageError> {
        let column = index as u16;
        let buffers = &self.record.columns[index].buffers;
        let damage = |buffer: usize, what| {
            let (at, len) = self.place(&buffers[buffer]);
            file.corrupt(Damage {
                bytes: at..at + len as u64,
                what,
            })
        };
        for (buffer, bytes) in found.iter().enumerate() {
            if crc32fast::hash(bytes) != buffers[buffer].crc {
                let what = Corruption::BufferChecksum {
                    column,
                    buffer: buffer as u8,
                };
                return Err(damage(buffer, what));
            }
        }
        if file.physical(index) == Physical::Utf8 {
            check_strings(found[1], found[2]).map_err(|fault| match fault {
                StringFault::Offsets => damage(1, Corruption::StringOffsets { column }),
                StringFault::Utf8 => damage(2, Corruption::Utf8 { column }),
            })?;
        }
        Ok(())
    }

    /// The rejects' bytes, their checksum checked.
    pub(crate) fn rejects(&self, file: &SegmentFile) -> Result<Buffer, StorageError> {
        let bytes = self.buffer(file, &self.record.rejects)?;
        let (at, len) = self.place(&self.record.rejects);
        let range = at..at + len as u64;
        if crc32fast::hash(&bytes) != self.record.rejects.crc {
            return Err(file.corrupt(Damage {
                bytes: range,
                what: Corruption::RejectsChecksum,
            }));
        }
        if let Some(Err(damage)) = Rejects::new(&bytes).find(Result::is_err) {
            return Err(file.corrupt(damage.shifted(at)));
        }
        Ok(bytes)
    }

    /// Checks every column and the rejects, whether they passed before or not: a reader may trust what it has
    /// seen once, but what is written again under a checksum of its own must be what was written then.
    /// Whoever copies asks before and behind the copy: then no change of the file came between.
    pub(crate) fn check_anew(&self, file: &SegmentFile) -> Result<(), StorageError> {
        for (index, column) in self.record.columns.iter().enumerate() {
            let [validity, values, data] = [
                self.buffer(file, &column.buffers[0])?,
                self.buffer(file, &column.buffers[1])?,
                self.buffer(file, &column.buffers[2])?,
            ];
            // The check of strings reads offsets as they lie in memory.
            self.check(file, index, [&validity, &aligned(values), &data])?;
            self.checked.pass(index);
        }
        self.rejects(file).map(drop)
    }

    /// The whole body as it lies, unchecked: see [`Commit::check_anew`].
    pub(crate) fn body(&self, file: &SegmentFile) -> Result<Buffer, StorageError> {
        let at = self.at_byte + u64::from(self.record.head_bytes);
        file.pages.buffer(at, self.record.body_bytes as usize)
    }

    /// Brings the columns' bytes into memory.
    pub(crate) fn prefetch(
        &self,
        file: &SegmentFile,
        columns: &[usize],
    ) -> Result<(), StorageError> {
        for &index in columns {
            for buffer in &self.record.columns[index].buffers {
                let (at, len) = self.place(buffer);
                file.pages.prefetch(at, len)?;
            }
        }
        Ok(())
    }
}

// What `limits::HELD_PER_INDEX_BYTE` says: the least that an index has of a commit and of a column, and what
// they take here, the lists' places and the statistics' texts with them.
const COMMIT_INDEX_BYTES_MIN: usize = 240;
const COLUMN_INDEX_BYTES_MIN: usize = 32;
const _: () = assert!(
    size_of::<Commit>() + 8 * size_of::<Arc<Commit>>()
        <= HELD_PER_INDEX_BYTE as usize * COMMIT_INDEX_BYTES_MIN
);
const _: () = assert!(
    size_of::<ColumnRecord>() + 2 * STATISTIC_BYTES_MAX
        < HELD_PER_INDEX_BYTE as usize * COLUMN_INDEX_BYTES_MIN
);

/// A map is aligned by itself; bytes that a simulation hands out may not be.
fn aligned(buffer: Buffer) -> Buffer {
    if buffer.as_ptr().align_offset(ALIGN_BYTES) == 0 || buffer.is_empty() {
        buffer
    } else {
        Buffer::from_slice_ref(buffer.as_slice())
    }
}

/// A sealed segment. An enum from the first day: cold ones will be encoded otherwise.
#[derive(Debug)]
pub enum Segment {
    /// As written: Arrow, plain columns.
    Arrow(ArrowSegment),
}

/// A sealed segment in Arrow's format.
#[derive(Debug)]
pub struct ArrowSegment {
    file: Arc<SegmentFile>,
    commits: Box<[Arc<Commit>]>,
    rows: u64,
}

impl Segment {
    /// A segment of these commits, in order.
    #[must_use]
    pub fn arrow(file: Arc<SegmentFile>, commits: Vec<Arc<Commit>>) -> Segment {
        Segment::Arrow(ArrowSegment {
            file,
            rows: rows_of(&commits),
            commits: commits.into(),
        })
    }

    /// What an open segment becomes at its seal, nothing read again. `commits`: those that count.
    #[must_use]
    pub fn from_open(open: &Open, commits: u32) -> Segment {
        let commits = open.first(commits).cloned().collect();
        Segment::arrow(Arc::clone(&open.file), commits)
    }

    /// Its file.
    #[must_use]
    pub fn file(&self) -> &Arc<SegmentFile> {
        match self {
            Segment::Arrow(segment) => &segment.file,
        }
    }

    /// Its commits, in order.
    #[must_use]
    pub fn commits(&self) -> &[Arc<Commit>] {
        match self {
            Segment::Arrow(segment) => &segment.commits,
        }
    }

    /// Its rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        match self {
            Segment::Arrow(segment) => segment.rows,
        }
    }
}

fn rows_of(commits: &[Arc<Commit>]) -> u64 {
    commits.iter().map(|c| u64::from(c.record.facts.rows)).sum()
}

type Chunk = Box<[OnceLock<Arc<Commit>>]>;

/// An open segment: a bounded list of commits that only grows and is never copied. A reader takes the
/// first `open_commits` that the published state names, never the list's length: a commit pushed
/// between two loads would show its block twice.
#[derive(Debug)]
pub struct Open {
    file: Arc<SegmentFile>,
    chunks: Box<[OnceLock<Chunk>]>,
}

impl Open {
    /// Without a commit.
    #[must_use]
    pub fn new(file: Arc<SegmentFile>) -> Open {
        let chunks = SEGMENT_COMMITS_MAX / OPEN_CHUNK_COMMITS;
        Open {
            file,
            chunks: (0..chunks).map(|_| OnceLock::new()).collect(),
        }
    }

    /// Its file.
    #[must_use]
    pub fn file(&self) -> &Arc<SegmentFile> {
        &self.file
    }

    /// Sets commit `index`, which is the number of those before. The one writer calls this, then
    /// publishes `open_commits = index + 1`.
    ///
    /// # Errors
    /// `Full`: a segment holds at most `SEGMENT_COMMITS_MAX`; seal first.
    ///
    /// # Panics
    /// If it was set before: there is one writer.
    pub fn push(&self, index: u32, commit: Arc<Commit>) -> Result<(), StorageError> {
        let chunk = self.chunks.get((index / OPEN_CHUNK_COMMITS) as usize);
        let Some(chunk) = chunk else {
            return Err(StorageError::Full(Limit::SegmentCommits {
                max: SEGMENT_COMMITS_MAX,
            }));
        };
        let chunk =
            chunk.get_or_init(|| (0..OPEN_CHUNK_COMMITS).map(|_| OnceLock::new()).collect());
        let set = chunk[(index % OPEN_CHUNK_COMMITS) as usize].set(commit);
        assert!(set.is_ok(), "a commit is pushed once");
        Ok(())
    }

    /// Commit `index`.
    ///
    /// # Panics
    /// If it was not pushed: the published count never says more than was.
    #[must_use]
    pub fn commit(&self, index: u32) -> &Arc<Commit> {
        let chunk = self.chunks[(index / OPEN_CHUNK_COMMITS) as usize].get();
        let commit = chunk.and_then(|chunk| chunk[(index % OPEN_CHUNK_COMMITS) as usize].get());
        commit.expect("a commit below the published count")
    }

    /// The first `commits`, in order.
    pub fn first(&self, commits: u32) -> impl DoubleEndedIterator<Item = &Arc<Commit>> {
        (0..commits).map(|index| self.commit(index))
    }
}
