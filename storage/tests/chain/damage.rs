//! Segments, and bits of them that rot.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use storage::format::{CommitRecord, parse_commit, parse_header};
use storage::store::StoreSettings;

use crate::rig::Rig;

/// Segments of two commits, left as they are.
pub fn plain() -> StoreSettings {
    StoreSettings {
        segment_commits_max: 2,
        merge_rows_mean_min: 0,
        ..StoreSettings::default()
    }
}

/// Segments of a commit each, left as they are.
pub fn single() -> StoreSettings {
    StoreSettings {
        segment_commits_max: 1,
        ..plain()
    }
}

/// So many segments of two rows and one each, all of it durable. The second commit of each says that the first was.
pub fn segments(name: &str, segments: usize) -> Rig {
    let mut rig = Rig::new(name, 1, plain());
    for _ in 0..segments {
        rig.commit(2, "some text");
        rig.commit(1, "some text");
    }
    assert_eq!(rig.rows(), 3 * segments as u64);
    assert_eq!(rig.segments().len(), segments);
    rig
}

/// Turns a bit below whoever has the file mapped.
pub fn flip(path: &Path, at: usize) {
    let bytes = fs::read(path).expect("it is there");
    let file = OpenOptions::new().write(true).open(path);
    let file = file.expect("it can be written");
    file.write_all_at(&[bytes[at] ^ 1], at as u64)
        .expect("written");
}

/// Where each commit of a segment begins, and its record.
pub fn commits(bytes: &[u8]) -> Vec<(usize, CommitRecord)> {
    let mut at = parse_header(bytes).expect("a header").bytes as usize;
    let mut found = Vec::new();
    while let Some(Ok(record)) = bytes.get(at..).map(parse_commit) {
        let end = at + record.message_bytes() as usize;
        found.push((at, record));
        at = end;
    }
    found
}

/// The same of a file.
pub fn commits_of(path: &Path) -> Vec<(usize, CommitRecord)> {
    commits(&fs::read(path).expect("it is there"))
}

/// The first byte of a commit's first text.
pub fn text_of((at, record): &(usize, CommitRecord)) -> usize {
    at + record.head_bytes as usize + record.columns[0].buffers[2].at as usize
}

/// A byte of the first commit's metadata, and one of its text.
pub fn places(path: &Path) -> (usize, usize) {
    let first = &commits_of(path)[0];
    (first.0 + 20, text_of(first))
}
