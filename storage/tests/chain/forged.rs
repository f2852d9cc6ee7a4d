//! A leaf partition's directory of segments made by hand: what a crash, a disk that lies or a kill between two
//! calls leaves, commit by commit, where no store can be led to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage::block::{BlockLayout, BlockWriter};
use storage::counts::Counts;
use storage::disk::{Disk, Failure, RealDisk};
use storage::format::{
    CommitFacts, CommitInput, CommitRecord, Hole, ParsedHeader, Predecessor, SegmentHeader,
    SegmentId, encode_commit, encode_header, encode_hole, encode_seal,
};
use storage::ids::{LeafPartitionId, Lineage, Offset, Rewrite, Sequence, TableId, TopicId};
use storage::limits::SEGMENT_MAP_BYTES;
use storage::recovery::decide::Row;
use storage::recovery::{
    RecoverFailure, RecoverPartition, RecoveredPartition, hole_path, recover, segment_path,
};
use storage::schema::{Column, Physical, Schema};
use storage::store::LineageStart;

/// The end of a segment, as what follows it names it.
pub fn end(sequence: u64, next_offset: i64, next_commit_number: u64) -> Predecessor {
    Predecessor {
        sequence: Sequence(sequence),
        lineage: Lineage(1),
        next_offset: Offset(next_offset),
        next_commit_number,
    }
}

/// What a segment's header says that is not the same for all.
pub fn header(sequence: u64, first: (i64, u64), prev: Option<Predecessor>) -> SegmentHeader {
    let text = Column {
        name: "text".to_owned(),
        physical: Physical::Utf8,
        nullable: false,
        annotation: "text".to_owned(),
    };
    SegmentHeader {
        id: SegmentId {
            leaf_partition: LeafPartitionId(1),
            sequence: Sequence(sequence),
            rewrite: Rewrite(0),
        },
        table: TableId(1),
        kafka_partition: 0,
        topic_id: TopicId::default(),
        lineage: Lineage(1),
        first_offset: Offset(first.0),
        first_commit_number: first.1,
        created_unix_ms: 1_700_000_000_000,
        prev,
        behind_durable: false,
        schema: Arc::new(Schema {
            version: 1,
            columns: Arc::new([text]),
        }),
    }
}

/// One commit: up to this offset, none of which has a row but for the first where it has a text.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    pub number: u64,
    pub next_offset: i64,
    pub durable_end: u64,
    pub text_bytes: usize,
    pub extracted_bytes: u64,
    pub replaced: Vec<CommitFacts>,
}

/// A commit of this number up to this offset, that says how much was durable.
pub fn commit(number: u64, next_offset: i64, durable_end: u64) -> Commit {
    Commit {
        number,
        next_offset,
        durable_end,
        ..Commit::default()
    }
}

/// A segment's bytes.
#[derive(Clone, Debug)]
pub struct Forged {
    pub header: ParsedHeader,
    pub bytes: Vec<u8>,
    pub commits: Vec<(u64, CommitRecord)>,
}

impl Forged {
    pub fn new(header: &SegmentHeader) -> Forged {
        let (header, bytes) = encode_header(header);
        Forged {
            header,
            bytes,
            commits: Vec::new(),
        }
    }

    /// Where it ends by now.
    pub fn end_byte(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub fn push(&mut self, commit: Commit) {
        let last = self.commits.last();
        let first = last.map_or(self.header.header.first_offset, |(_, record)| {
            record.facts.next_offset
        });
        let layout = BlockLayout {
            schema: Arc::clone(&self.header.header.schema),
            rows: 256,
            string_bytes: vec![
                4_096 + commit.text_bytes as u32;
                self.header.header.schema.columns.len()
            ],
            rejects_bytes: 4_096,
        };
        let mut writer = BlockWriter::new(&layout, first);
        let rows = u64::from(commit.text_bytes > 0);
        if rows > 0 {
            let mut tail = writer.tail();
            tail.put_str(0, &"a".repeat(commit.text_bytes))
                .expect("room");
            tail.end_row(first, 1_700_000_000_000);
        }
        let next_offset = Offset(commit.next_offset);
        let mark = writer.publish(next_offset);
        let facts = CommitFacts {
            commit_number: commit.number,
            lineage: self.header.header.lineage,
            first_offset: first,
            next_offset,
            counts: Counts {
                loaded: rows,
                gap: first.until(next_offset) - rows,
                ..Counts::default()
            },
            extracted_bytes: commit.extracted_bytes,
            ..CommitFacts::default()
        };
        let input = CommitInput {
            facts,
            durable_end: commit.durable_end,
            replaced: commit.replaced,
        };
        let encoded = encode_commit(&self.header, input, &writer.shared(), mark);
        self.commits.push((self.end_byte(), encoded.record.clone()));
        self.bytes.extend(encoded.to_vec());
    }

    pub fn seal(&mut self) {
        let commits = self.commits.iter();
        let commits: Vec<(u64, &CommitRecord)> =
            commits.map(|(at, record)| (*at, record)).collect();
        let seal = encode_seal(&self.header.header, &commits, self.end_byte());
        self.bytes.extend(seal);
    }

    /// Turns a bit.
    pub fn flip(&mut self, at: u64) {
        self.bytes[at as usize] ^= 1;
    }
}

/// See the module.
pub struct Place {
    pub directory: PathBuf,
    /// What the catalog says.
    pub start: LineageStart,
}

impl Place {
    /// An empty one.
    pub fn new(name: &str) -> Place {
        let data_dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("forged")
            .join(name);
        let _ = fs::remove_dir_all(&data_dir);
        let directory = data_dir.join("tables/1/1");
        fs::create_dir_all(&directory).expect("the target directory can be written");
        Place::at(&directory, 1, 0)
    }

    pub fn put(&self, forged: &Forged) {
        let path = self.segment(forged.header.header.id);
        fs::write(path, &forged.bytes).expect("writable");
    }

    pub fn put_hole(&self, hole: &Hole) {
        let path = hole_path(&self.directory, hole.id.sequence, hole.id.rewrite);
        fs::write(path, encode_hole(hole)).expect("writable");
    }

    pub fn segment(&self, id: SegmentId) -> PathBuf {
        segment_path(&self.directory, id.sequence, id.rewrite)
    }

    /// One that is there already, where the catalog says that its first lineage alone is alive.
    pub fn at(directory: &Path, lineage: u64, start_offset: i64) -> Place {
        Place {
            directory: directory.to_path_buf(),
            start: LineageStart {
                lineage: Lineage(lineage),
                live_lineage: Lineage(1),
                start_offset: Offset(start_offset),
                topic_id: TopicId::default(),
            },
        }
    }

    /// `mapped`: whether readers have maps of what is there.
    pub fn recover_on(
        &self,
        disk: &dyn Disk,
        mapped: bool,
    ) -> Result<RecoveredPartition, RecoverFailure> {
        let partition = RecoverPartition {
            table: TableId(1),
            leaf_partition: LeafPartitionId(1),
            directory: self.directory.clone(),
            quarantine: self.directory.join("../../../quarantine"),
            start: self.start,
            mapped,
            pages_bytes_max: SEGMENT_MAP_BYTES,
            unix_ms: 1_700_000_000_000,
        };
        recover(disk, &partition)
    }

    pub fn recover(&self) -> RecoveredPartition {
        self.recover_on(&RealDisk, false).expect("it recovers")
    }

    /// The hole of what it finds damaged.
    pub fn corrupt(&self) -> Hole {
        match self
            .recover_on(&RealDisk, false)
            .map_err(|failed| failed.failure)
        {
            Err(Failure::Corrupt {
                hole: Some(hole), ..
            }) => *hole,
            other => panic!("{other:?}"),
        }
    }
}

/// What was noted of the file of this name.
pub fn rows_of(recovered: &RecoveredPartition, name: &str) -> Vec<Row> {
    let notes = recovered.notes.iter();
    let of = notes.filter(|note| note.path.ends_with(name));
    of.map(|note| note.row).collect()
}
