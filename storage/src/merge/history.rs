//! What a merge keeps of the history: batches and errors that retention has passed leave it here.
//!
//! Batches below the floor become one, the first, which is their sum; so offsets follow one another and
//! counts add up as ever. Errors older than theirs go with their bytes, the oldest first.

use arrow_buffer::Buffer;

use crate::format::CommitFacts;
use crate::format::rejects::Rejects;

/// Where history begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryFloor {
    /// Batches of a lower number are kept as one.
    pub commit_number: u64,
    /// Errors of before this time, ms since 1970, are not kept.
    pub errors_unix_ms: i64,
}

impl HistoryFloor {
    /// The batches that a merged commit stands for, oldest first; none where it stands for itself.
    #[must_use]
    pub fn batches(&self, batches: &[CommitFacts]) -> Vec<CommitFacts> {
        let below = |batch: &&CommitFacts| batch.commit_number < self.commit_number;
        let (old, kept) = batches.split_at(batches.iter().take_while(below).count());
        let mut all = Vec::with_capacity(kept.len() + 1);
        if !old.is_empty() {
            all.push(CommitFacts::sum(old));
        }
        all.extend_from_slice(kept);
        if all.len() == 1 {
            all.clear();
        }
        all
    }

    /// The rejects of a commit without those that are too old; its batches, oldest first, say how many
    /// each has left.
    #[must_use]
    pub fn errors(&self, batches: &mut [CommitFacts], rejects: &Buffer) -> Buffer {
        let (mut gone, mut bytes) = (0u64, 0);
        for reject in Rejects::new(rejects).map_while(Result::ok) {
            if reject.unix_ms >= self.errors_unix_ms {
                break;
            }
            gone += 1;
            bytes += reject.encoded_bytes();
        }
        for batch in batches {
            let of_it = gone.min(u64::from(batch.rejects));
            batch.rejects -= of_it as u32;
            gone -= of_it;
        }
        rejects.slice(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counts::Counts;
    use crate::format::rejects::{Reject, RejectKind};
    use crate::ids::Offset;

    fn batch(number: u64, rejects: u32, skipped: u64) -> CommitFacts {
        CommitFacts {
            commit_number: number,
            first_offset: Offset(number as i64 * 10),
            next_offset: Offset(number as i64 * 10 + 10),
            rows: 7,
            rejects,
            counts: Counts {
                loaded: 10 - skipped,
                skipped,
                ..Counts::default()
            },
            started_unix_ms: number as i64,
            ended_unix_ms: number as i64 + 1,
            extracted_bytes: 100,
            ..CommitFacts::default()
        }
    }

    fn floor(commit_number: u64, errors_unix_ms: i64) -> HistoryFloor {
        HistoryFloor {
            commit_number,
            errors_unix_ms,
        }
    }

    #[test]
    fn batches_below_the_floor_are_one_that_is_their_sum() {
        let batches = [
            batch(1, 1, 2),
            batch(2, 0, 0),
            batch(3, 2, 3),
            batch(4, 0, 0),
        ];
        assert_eq!(floor(0, 0).batches(&batches), batches);
        assert_eq!(floor(2, 0).batches(&batches), batches);
        let kept = floor(4, 0).batches(&batches);
        let sum = CommitFacts {
            commit_number: 3,
            first_offset: Offset(10),
            next_offset: Offset(40),
            rows: 21,
            rejects: 3,
            counts: Counts {
                loaded: 25,
                skipped: 5,
                ..Counts::default()
            },
            more_skips: 1,
            started_unix_ms: 1,
            ended_unix_ms: 4,
            extracted_bytes: 300,
            ..CommitFacts::default()
        };
        assert_eq!(kept, [sum, batches[3]]);
        assert_eq!(sum.skips(), 2);
        // All of it is itself.
        assert_eq!(floor(9, 0).batches(&batches), []);
        assert_eq!(CommitFacts::sum(&kept).skips(), 2);
        assert_eq!(CommitFacts::sum(&kept), CommitFacts::sum(&batches));
    }

    #[test]
    fn old_errors_go_oldest_first_and_each_batch_says_how_many_it_has() {
        let mut bytes = Vec::new();
        for unix_ms in [1, 2, 3, 4] {
            let reject = Reject {
                offset: Offset(unix_ms),
                timestamp_ms: 0,
                unix_ms,
                code: 1,
                kind: RejectKind::Parser,
                line: 1,
                column: None,
                text: "no",
                key: None,
                message: b"m",
            };
            let at = bytes.len();
            bytes.resize(at + reject.encoded_bytes(), 0);
            reject.encode(&mut bytes[at..]);
        }
        let bytes = Buffer::from_vec(bytes);
        for (from, left, of_each) in [
            (0, 4, [1, 0, 3]),
            (2, 3, [0, 0, 3]),
            (4, 1, [0, 0, 1]),
            (9, 0, [0, 0, 0]),
        ] {
            let mut batches = [batch(1, 1, 0), batch(2, 0, 0), batch(3, 3, 0)];
            let kept = floor(0, from).errors(&mut batches, &bytes);
            assert_eq!(Rejects::new(&kept).count(), left, "from {from}");
            assert_eq!(batches.map(|batch| batch.rejects), of_each, "from {from}");
        }
    }
}
