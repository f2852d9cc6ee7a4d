//! The rows of the leaf's state table, each counted when it is taken: the simulation asks that none is
//! at zero.

macro_rules! rows {
    ($($(#[$doc:meta])* $name:ident = $words:literal;)*) => {
        /// One row of the state table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Row {
            $($(#[$doc])* $name,)*
        }

        impl Row {
            /// Every row, in the table's order.
            pub const ALL: &'static [Row] = &[$(Row::$name,)*];

            /// State, event and what follows.
            #[must_use]
            pub fn words(self) -> &'static str {
                match self {
                    $(Row::$name => $words,)*
                }
            }
        }
    };
}

rows! {
    /// Stopped; goal Run.
    StoppedRun = "Stopped: goal Run -> Locating";
    /// Locating; the leader is known.
    LeaderLearned = "Locating: the leader is known -> Queued";
    /// Locating; the epoch's end is at or above the cursor.
    EpochChecked = "Locating: the last epoch's end is not below the cursor -> Queued";
    /// Locating; the epoch's end is below the cursor.
    Diverged = "Locating: the last epoch's end is below the cursor -> Failed(diverged)";
    /// Out of range, STOP_ON_ERROR ON.
    OutOfRangeFailed = "out of range, STOP_ON_ERROR ON -> Failed(the lost range)";
    /// Out of range, STOP_ON_ERROR OFF.
    OutOfRangeLost = "out of range, STOP_ON_ERROR OFF -> counted as lost, Queued";
    /// Queued; a fetch leaves.
    Sent = "Queued: a fetch leaves with it -> InFlight";
    /// InFlight; records.
    Fetched = "InFlight: fetched records -> Loading";
    /// InFlight; none.
    FetchedNothing = "InFlight: fetched nothing -> Queued";
    /// InFlight; unchanged.
    Unchanged = "InFlight: a session's answer does not name it -> as the broker said last, Queued";
    /// A session is made.
    SessionMade = "a lane of many partitions: the broker makes a fetch session";
    /// A session is lost.
    SessionLost = "InFlight: the broker has the session no more -> Queued, all is asked anew";
    /// InFlight; retriable.
    BrokerRetriable = "InFlight: a retriable error of the broker -> Held(back-off)";
    /// InFlight; leader moved, fenced, unknown epoch.
    LeaderMoved = "InFlight: the leader moved -> Locating";
    /// InFlight; the topic is not known there.
    TopicUnknown = "InFlight: the topic is not known there -> Locating";
    /// InFlight; an answer that no waiting mends.
    BrokerRefused = "InFlight: an error that no waiting mends -> Held, after the retries Failed";
    /// InFlight; the connection is gone.
    ConnectionLost = "InFlight: the connection is lost -> Queued";
    /// A response that has passed.
    Stale = "a response of a fetch that has passed -> dropped";
    /// Loading; a step.
    StepLoaded = "Loading: a step is loaded -> published";
    /// Loading; cut at the maximum of offsets.
    CutAtMax = "Loading: cut at the maximum of offsets -> the frame is kept, goes on after the commit";
    /// Loading; the block is full.
    CutAtBlock = "Loading: the block is full -> the frame is kept, goes on in the next block";
    /// Loading; a reject.
    Rejected = "Loading: a bad record, SKIP ERRORS -> a reject is appended, and on";
    /// Loading; poison, ON.
    PoisonFailed = "Loading: a bad record, STOP_ON_ERROR ON -> Failed(partition, offset, column)";
    /// Loading; poison, OFF.
    PoisonSkipped = "Loading: a bad record, STOP_ON_ERROR OFF -> the rest of its record batch is skipped";
    /// Loading; corrupt once.
    CorruptFirst = "Loading: a corrupt record batch, the first time -> Queued";
    /// Loading; corrupt again.
    CorruptSecond = "Loading: a corrupt record batch, the second time -> Failed";
    /// Held; blocks.
    BlockedBlocks = "any that loads: both blocks are full -> Blocked -> Loading";
    /// Held; memory.
    HeldMemory = "any that fetches: no budget -> Held(memory) -> Queued";
    /// Held; space.
    HeldSpace = "any that loads: no space -> Held(space) -> Loading";
    /// Held; throttled.
    Throttled = "any that fetches: throttled -> the lane pauses";
    /// Goal Stop.
    GoalStop = "any: goal Stop -> Draining -> Stopped";
    /// Goal Rewind.
    GoalRewind = "any: goal Rewind -> Draining -> the new lineage";
    /// Goal Drop.
    GoalDrop = "any: goal Drop -> Draining -> Dropped";
    /// Failed; goal Run.
    FailedRun = "Failed: goal Run -> Locating at the same cursor";
    /// Store; flushed.
    Committed = "store Flushing: written -> Open, swapped";
    /// Store; synced.
    Durable = "store: synced to an end -> durable, the aggregator is told";
    /// Store; void.
    Voided = "any store: a write or sync failed -> Void, Locating at the durable cursor";
    /// Store; failed.
    StoreFailed = "any store: the second void within 60 s, or a directory -> Failed(disk)";
}

/// How often each row was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowCounts([u64; Row::ALL.len()]);

impl Default for RowCounts {
    fn default() -> Self {
        RowCounts([0; Row::ALL.len()])
    }
}

impl RowCounts {
    /// One more.
    pub fn count(&mut self, row: Row) {
        self.0[row as usize] += 1;
    }

    /// How often.
    #[must_use]
    pub fn of(&self, row: Row) -> u64 {
        self.0[row as usize]
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &RowCounts) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_two_runs_add_up() {
        let (mut one, mut two) = (RowCounts::default(), RowCounts::default());
        one.count(Row::Sent);
        for row in [Row::Sent, Row::Sent, Row::Fetched] {
            two.count(row);
        }
        one.add(&two);
        let of = |row| one.of(row);
        assert_eq!([of(Row::Sent), of(Row::Fetched), of(Row::Stale)], [3, 1, 0]);
    }
}
