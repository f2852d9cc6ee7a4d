//! The byte layout of a segment file: its only statement.
//!
//! One file is one segment is one Arrow file. Sealed, any reader of Arrow opens it; open, it is an
//! Arrow stream from byte 8. All numbers are little-endian.
//!
//! ```text
//! header   "ARROW1" 00 00
//!          [FFFFFFFF][metadata length][schema flatbuffer][zeros][header record]
//! commit   [FFFFFFFF][metadata length][record-batch flatbuffer][zeros][commit record]
//!          body: column buffers | rejects | row deletes, each padded to 64
//! commit   ...
//! seal     [FFFFFFFF][00000000][zeros][index][footer flatbuffer][its length]"ARROW1"
//! ```
//!
//! The header and each message end at a multiple of 64, and so do metadata and body each: a buffer is
//! aligned to 64 in the file, and in a map of it. A record lies inside Arrow's metadata length behind
//! the flatbuffer, and rejects lie inside the body behind the last buffer: every Arrow reader ignores
//! both. Pinleaf reads its records alone and never a flatbuffer.
//!
//! A record is found from the end of its metadata: `... record | own length 4 | CRC-32 4`. The own
//! length counts from the record's magic to the end; the CRC (IEEE) covers everything before it, from
//! the file's first byte (header) or the message's (commit).
//!
//! The header record:
//!
//! ```text
//! "PLHEADER"  format version 2  flags 2 (1: something stands before it, all of that was durable)
//! kafka partition 4  table 8  leaf partition 8  sequence 8  rewrite 4
//! schema version 4  topic id 16  lineage 8  first offset 8  first commit number 8  created ms 8
//! prev { sequence 8 (0: none), lineage 8, next offset 8, next commit number 8 }
//! columns 4, each: type 3  nullable 1  name (2 + n)  annotation (2 + n)
//! ```
//!
//! The commit record:
//!
//! ```text
//! "PLCOMMIT"  leaf partition 8  sequence 8  rewrite 4  CRC-32 of the header 4
//! facts: commit number 8  lineage 8  first offset 8  next offset 8  rows 4  rejects 4
//!        loaded 8  rejected 8  empty 8  skipped 8  control 8  aborted 8  gap 8  lost 8
//!        leader epoch 4  more skips 4  started ms 8  ended ms 8  extracted bytes 8
//! body bytes 8  durable end 8  rejects: bytes 4 CRC 4  row deletes: bytes 4 CRC 4 (reserved, empty)
//! leader: leaf partition 8 (0: none)  commit number 8 (reserved)
//! columns 4  replaced 4
//! each column: 3 buffers { bytes 4  CRC 4 }  null count 4  min  max
//!   min and max: tag 1 (0: none)  exact 1  value: 1 i64 | 2 u64 | 3 f64 | 4 i128 | 5 text (2 + n)
//! each replaced commit: facts, in the metadata alone and not in a seal's index. Those that history keeps no
//! more stand as one, the first: the sum of them, of the number of the last
//! ```
//!
//! Columns are the user's, then `_offset`, then `_timestamp`. Buffers are validity bits (no bytes where
//! no row is NULL); then values, or `rows + 1` `i32` offsets and the string bytes. Where a buffer lies
//! follows from the lengths, each rounded up to 64.
//!
//! A hole, the file `<sequence>.<rewrite>.hole` (or `.bridge`) that a segment leaves in its directory when
//! it goes to quarantine; the whole file is one record:
//!
//! ```text
//! "PLHOLE" 00 00  format version 4  vouches 1  predecessor unknown 1  reserved 2
//! table 8  leaf partition 8  sequence 8  rewrite 4  lineage 8  first offset 8  next offset 8
//! next commit number 8  lineage that the partition stood in 8  found ms 8  prev { as a header's }
//! name in quarantine (2 + n)  reason (2 + n)  own length 4  CRC-32 of all before it 4
//! ```
//!
//! Invariants (the writer asserts them, the reader returns `Corrupt`):
//!
//! 1. Every column of a commit holds exactly `rows` rows, at most `BLOCK_ROWS_MAX`.
//! 2. The eight counts add up to `next offset − first offset`. A commit may cover no offsets.
//! 3. No length beyond its bound is followed; none but the metadata length before the CRC passed.
//! 4. A record names its file (leaf partition, sequence, rewrite) and the CRC of that file's header:
//!    what an earlier file left on the disk is never taken for this one's.
//!
//! A reader: [`parse_header`]; then at each position [`parse_prefix`], [`parse_commit`],
//! [`check_commit`], and where the bytes are in doubt [`check_body`]; a sealed file at once with
//! [`parse_seal`].

pub mod arrow;
mod bytes;
mod commit;
mod header;
mod hole;
mod parse;
mod record;
pub mod rejects;
mod seal;

pub use commit::{CommitInput, EncodedCommit, encode_commit, encode_copy};
pub use header::{
    FORMAT_VERSION, HEADER_PREFIX_BYTES, ParsedHeader, Predecessor, SegmentHeader, encode_header,
    header_bytes, parse_header,
};
pub use hole::{Before, Hole, encode_hole, parse_hole};
pub use parse::{
    NAME_BYTES, PREFIX_BYTES, Prefix, TAIL_BYTES, check_body, check_commit, is_named,
    parse_batches, parse_commit, parse_prefix, record_start,
};
pub use record::{
    BufferRecord, ColumnRecord, ColumnStatistics, CommitFacts, CommitLeader, CommitRecord,
    Replaced, SegmentId, StatisticBound, StatisticValue,
};
pub use seal::{Seal, encode_seal, parse_seal};

#[cfg(test)]
pub(crate) mod tests;
