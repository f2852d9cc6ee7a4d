//! A segment's seal as its file has it. Recovery writes one anew, or cuts it, that is not whole or is of other commits.

use std::io;
use std::sync::Arc;

use storage::format::CommitRecord;
use storage::inspect::{Message, SegmentReader};
use storage::published::SegmentPart;
use storage::segment::Commit;

/// What is wrong with it; `None`: it is whole, and its index repeats the commits.
///
/// # Errors
/// The kernel's.
pub(super) fn torn_seal(part: &SegmentPart, reader: &SegmentReader) -> io::Result<Option<String>> {
    let Message::EndOfStream = reader.message(part.end_byte())? else {
        return Ok(Some(format!(
            "no end of stream at byte {}",
            part.end_byte()
        )));
    };
    let seal = match reader.seal()? {
        Ok(seal) => seal,
        Err(damage) => return Ok(Some(damage.to_string())),
    };
    let repeats = |(commit, (at, record)): (&Arc<Commit>, &(u64, CommitRecord))| {
        commit.at_byte() == *at && commit.record().is_indexed_as(record)
    };
    let same = seal.content_end == part.end_byte()
        && seal.commits.len() == part.commits.len()
        && part.commits.iter().zip(&seal.commits).all(repeats);
    Ok((!same).then(|| "its index is not of these commits".to_owned()))
}
