//! What a merge keeps of the history: batches below the floor become one, the first, which is their sum; so
//! offsets follow one another and counts add up as ever. Their rows and rejects all stay.

use crate::format::CommitFacts;

/// Where history begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryFloor {
    /// Batches of a lower number are kept as one.
    pub commit_number: u64,
}

impl HistoryFloor {
    /// The batches that a merged commit stands for, oldest first; none where it stands for itself.
    #[must_use]
    pub fn batches(&self, batches: &[CommitFacts]) -> Vec<CommitFacts> {
        let below = |batch: &&CommitFacts| batch.commit_number < self.commit_number;
        let old = batches.iter().take_while(below).count();
        // The newest that a record batch came to stays one: where that reached is the leader epoch's place.
        let last = batches
            .iter()
            .rposition(|batch| batch.epoch_reaches().is_some());
        let (old, kept) = batches.split_at(last.map_or(old, |last| last.min(old)));
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counts::Counts;
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

    fn floor(commit_number: u64) -> HistoryFloor {
        HistoryFloor { commit_number }
    }

    #[test]
    fn batches_below_the_floor_are_one_that_is_their_sum() {
        let batches = [
            batch(1, 1, 2),
            batch(2, 0, 0),
            batch(3, 2, 3),
            batch(4, 0, 0),
        ];
        assert_eq!(floor(0).batches(&batches), batches);
        assert_eq!(floor(2).batches(&batches), batches);
        let kept = floor(4).batches(&batches);
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
        // The newest that anything was loaded of stays one by one; alone it is itself.
        assert_eq!(floor(9).batches(&batches), kept);
        assert_eq!(floor(9).batches(&batches[..1]), []);
        assert_eq!(CommitFacts::sum(&kept).skips(), 2);
        assert_eq!(CommitFacts::sum(&kept), CommitFacts::sum(&batches));
    }
}
