//! Directories of small segments: a chain, sealed and open, a merged file beside what it replaced.

use std::sync::Arc;

use storage::block::{BlockLayout, BlockWriter, Reject, RejectKind};
use storage::counts::Counts;
use storage::format::{
    CommitFacts, CommitInput, CommitRecord, EncodedCommit, ParsedHeader, Predecessor,
    SegmentHeader, SegmentId, encode_commit, encode_header, encode_seal,
};
use storage::ids::{LeafPartitionId, Lineage, Offset, Rewrite, Sequence, TableId, TopicId};
use storage::schema::{Column, Physical, Schema};

/// Sequence, rewrite and bytes of a file.
type File = (u8, u8, Vec<u8>);

/// Name and files of each directory.
pub fn chains() -> Vec<(&'static str, Vec<File>)> {
    let first = Small::new(1, 0, None).commits(2, 0);
    let next = || Small::new(2, 0, Some(first.predecessor()));
    let open = next().commits(3, 1);
    let merged = Small::new(2, 1, None).merged(&first, &open);
    let torn = open.open();
    // An end of stream where a commit begins, and behind it a commit that says it was durable.
    let three = Small::new(1, 0, None).commits(3, 0);
    let (second, third) = (three.commits[1].0 as usize, three.commits[2].0 as usize);
    let mut ended = three.open();
    ended[second + 4..second + 8].fill(0);
    let mut emptied = three.open();
    emptied[second..third].fill(0);
    vec![
        ("empty", vec![(1, 0, Small::new(1, 0, None).open())]),
        ("one-open", vec![(1, 0, first.open())]),
        ("ended", vec![(1, 0, ended)]),
        ("emptied", vec![(1, 0, emptied)]),
        ("chain", vec![(1, 0, first.sealed()), (2, 0, open.open())]),
        (
            "torn",
            vec![
                (1, 0, first.open()),
                (2, 0, torn[..torn.len() - 100].to_vec()),
            ],
        ),
        (
            "merged",
            vec![
                (1, 0, first.sealed()),
                (2, 0, open.sealed()),
                (2, 1, merged.sealed()),
            ],
        ),
        (
            "merging",
            vec![
                (1, 0, first.sealed()),
                (2, 0, open.sealed()),
                (2, 255, merged.open()),
            ],
        ),
    ]
}

struct Small {
    header: ParsedHeader,
    header_bytes: Vec<u8>,
    commits: Vec<(u64, EncodedCommit)>,
}

impl Small {
    fn new(sequence: u64, rewrite: u32, prev: Option<Predecessor>) -> Small {
        let column = |name: &str, physical, nullable| Column {
            name: name.to_owned(),
            physical,
            nullable,
            annotation: String::new(),
        };
        let header = SegmentHeader {
            id: SegmentId {
                leaf_partition: LeafPartitionId(7),
                sequence: Sequence(sequence),
                rewrite: Rewrite(rewrite),
            },
            table: TableId(5),
            kafka_partition: 2,
            topic_id: TopicId::default(),
            lineage: Lineage(2),
            first_offset: prev.map_or(Offset(1_000), |prev| prev.next_offset),
            first_commit_number: prev.map_or(1, |prev| prev.next_commit_number),
            created_unix_ms: 0,
            prev,
            behind_durable: false,
            schema: Arc::new(Schema {
                version: 1,
                columns: Arc::new([
                    column("n", Physical::Int32, true),
                    column("s", Physical::Utf8, false),
                ]),
            }),
        };
        let (header, header_bytes) = encode_header(&header);
        Small {
            header,
            header_bytes,
            commits: Vec::new(),
        }
    }

    fn end(&self) -> u64 {
        self.commits
            .last()
            .map_or(self.header.bytes.into(), |(at, commit)| {
                at + commit.record.message_bytes()
            })
    }

    fn next(&self) -> (u64, Offset) {
        let header = &self.header.header;
        let last = self.commits.last().map(|(_, commit)| &commit.record.facts);
        last.map_or((header.first_commit_number, header.first_offset), |last| {
            (last.commit_number + 1, last.next_offset)
        })
    }

    fn predecessor(&self) -> Predecessor {
        let (next_commit_number, next_offset) = self.next();
        Predecessor {
            sequence: self.header.header.id.sequence,
            lineage: Lineage(2),
            next_offset,
            next_commit_number,
        }
    }

    /// So many commits more, the last `undurable` of which follow without a sync.
    fn commits(mut self, commits: usize, undurable: usize) -> Small {
        for at in 0..commits {
            let durable_end = if at + undurable < commits {
                self.end()
            } else {
                0
            };
            self.commit(2 + at as i64, durable_end, Vec::new());
        }
        self
    }

    /// One commit that stands for those of two segments.
    fn merged(mut self, first: &Small, second: &Small) -> Small {
        let commits = first.commits.iter().chain(&second.commits);
        let replaced: Vec<CommitFacts> = commits.map(|(_, commit)| commit.record.facts).collect();
        let rows = replaced.iter().map(|facts| i64::from(facts.rows)).sum();
        self.commit(rows, 64, replaced);
        self
    }

    fn commit(&mut self, rows: i64, durable_end: u64, replaced: Vec<CommitFacts>) {
        let (number, first) = self.next();
        let layout = BlockLayout {
            schema: Arc::clone(&self.header.header.schema),
            rows: 16,
            string_bytes: vec![64],
            rejects_bytes: 512,
        };
        let mut writer = BlockWriter::new(&layout, first);
        let mut tail = writer.tail();
        for n in 0..rows {
            if n == 1 {
                tail.put_null(0);
            } else {
                tail.put(0, n as i32);
            }
            tail.put_str(1, ["é", "", "xyz"][n as usize % 3])
                .expect("room");
            tail.end_row(Offset(first.0 + n), 1_700_000_000_000 + n);
        }
        let rejects = replaced.len().max(1) as u64;
        for n in 0..rejects {
            let reject = Reject {
                offset: Offset(first.0 + rows + n as i64),
                timestamp_ms: 0,
                unix_ms: 0,
                code: 1_366,
                kind: RejectKind::Parser,
                line: 1,
                column: None,
                text: "bad",
                key: None,
                message: b"{",
            };
            tail.reject(&reject).expect("room");
        }
        let counts = Counts {
            loaded: rows as u64,
            rejected: rejects,
            ..Counts::default()
        };
        let next = Offset(first.0 + counts.offsets() as i64);
        let mark = writer.publish(next);
        let facts = CommitFacts {
            commit_number: replaced.last().map_or(number, |last| last.commit_number),
            lineage: Lineage(2),
            first_offset: first,
            next_offset: next,
            counts,
            leader_epoch: 4,
            ..CommitFacts::default()
        };
        let input = CommitInput {
            facts,
            durable_end,
            replaced,
        };
        let encoded = encode_commit(&self.header, input, &writer.shared(), mark);
        self.commits.push((self.end(), encoded));
    }

    fn open(&self) -> Vec<u8> {
        let commits = self.commits.iter().flat_map(|(_, commit)| commit.to_vec());
        self.header_bytes.iter().copied().chain(commits).collect()
    }

    fn sealed(&self) -> Vec<u8> {
        let mut bytes = self.open();
        let records: Vec<(u64, &CommitRecord)> = self
            .commits
            .iter()
            .map(|(at, commit)| (*at, &commit.record))
            .collect();
        let seal = encode_seal(&self.header.header, &records, bytes.len() as u64);
        bytes.extend(seal);
        bytes
    }
}
