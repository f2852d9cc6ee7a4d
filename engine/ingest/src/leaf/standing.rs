//! How each leaf partition stands, in words for people: a wait is never without its reason.
//!
//! `Running: ...` goes on by itself in a moment; `Held: ...` waits for something outside the leaf, and
//! says for what. "Caught up" is said while the visible cursor has reached the log's end as a
//! broker told it within [`limits::HEARD_MS_MAX`], and not a moment longer: what is older says nothing
//! of now. A partition that nothing holds but its neighbour is told behind whom it waits, and why that
//! one does.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use storage::store::Blocked;

use super::event::Now;
use super::lane::State;
use super::machine::Leaf;
use super::order::Goal;
use super::partition::{Fetch, Hold, Load, Partition, Phase, Question};
use crate::limits;

/// What keeps a lane from asking for more, where something does.
#[derive(Debug)]
enum LaneStands {
    /// Nothing.
    Well,
    /// The leaf is connected to as many brokers as it may be.
    Nowhere,
    /// Not up yet, for the first time.
    Connecting,
    /// There is no connection, with the reason.
    Lost(String),
    /// The broker asked for silence.
    Throttled,
    /// The leaf's memory for responses is in use.
    NoRegion,
    /// A response of more than the usual size waits for the leaf's one region for such.
    TooLarge,
    /// Its responses hold records of a partition that takes none: which, and why.
    Behind(Wait),
}

/// What all of a leaf's partitions share.
#[derive(Debug)]
struct LeafStands {
    /// What queries hold of the leaf's blocks.
    queries_bytes: usize,
    /// The wait of whoever has no memory to unpack a record batch.
    large_batch: Option<Wait>,
}

/// Why records that are here are not loaded.
#[derive(Clone, Debug)]
struct Wait {
    /// It waits for something outside the leaf.
    lasts: bool,
    why: String,
}

impl Wait {
    fn words(&self) -> String {
        let state = if self.lasts { "Held" } else { "Running" };
        format!("{state}: {}", self.why)
    }
}

/// What the words of a leaf partition end with while its disk is full and nothing waits for it yet but commits.
pub const DISK_FULL: &str = "; the disk is full, nothing is committed until there is room";

impl Leaf {
    /// Shows how each partition stands: not more often than people can read.
    pub(super) fn show(&mut self, now: Now) {
        if self.dirty && (self.shown_us == 0 || now.us >= self.show_due_us()) {
            self.show_all(now);
            self.dirty = false;
            self.shown_us = now.us;
        }
    }

    /// When it may be shown again.
    pub(super) fn show_due_us(&self) -> u64 {
        self.shown_us + limits::SHOW_AGE_MS * 1_000
    }

    /// Shows it now.
    pub(super) fn show_all(&mut self, now: Now) {
        let leaf = LeafStands {
            queries_bytes: self.pool.lingering_bytes(),
            large_batch: self.large_batch_stands(),
        };
        let lanes: Vec<LaneStands> = (0..self.lanes.len())
            .map(|index| self.lane_stands(now, index, &leaf))
            .collect();
        for partition in self.partitions.iter_mut().flatten() {
            let lane = partition.lane.and_then(|lane| lanes.get(lane as usize));
            let lane = lane.unwrap_or(&LaneStands::Nowhere);
            partition.show(now, lane, &leaf);
        }
    }

    /// What whoever waits to unpack a record batch waits for.
    fn large_batch_stands(&self) -> Option<Wait> {
        let has_it = self.large_batch()?;
        let (index, topic) = (has_it.pairing.kafka_partition, &has_it.pairing.topic);
        let why = format!("behind a large record batch of partition {index} of topic '{topic}'");
        let leaf = LeafStands {
            queries_bytes: self.pool.lingering_bytes(),
            large_batch: None,
        };
        Some(match has_it.load_wait(&leaf) {
            Some(wait) => Wait {
                why: format!("{why}: {}", wait.why),
                ..wait
            },
            None => Wait { lasts: false, why },
        })
    }

    fn lane_stands(&self, now: Now, index: usize, leaf: &LeafStands) -> LaneStands {
        let run = &self.lanes[index];
        if let Some(why) = run.lane.closed_why() {
            return LaneStands::Lost(why.to_owned());
        }
        match run.lane.state() {
            State::Closed { .. } | State::Connecting { .. } | State::Negotiating { .. } => {
                return LaneStands::Connecting;
            }
            State::Idle | State::Parked { .. } | State::Reading { .. } => {}
        }
        let arriving = run.frames.back().filter(|frame| !frame.ended);
        if arriving.is_some_and(|frame| !frame.fits()) {
            return LaneStands::TooLarge;
        }
        if run.lane.is_throttled(now.us) {
            return LaneStands::Throttled;
        }
        if run.no_region {
            return LaneStands::NoRegion;
        }
        if !run.has_frame_free() {
            let entries = run.frames.iter().flat_map(|frame| &frame.entries);
            let held = entries
                .filter(|entry| !entry.is_done())
                .filter_map(|entry| self.get(entry.asked.slot))
                .find_map(|partition| Some((partition, partition.load_wait(leaf)?)));
            if let Some((partition, wait)) = held {
                let (index, topic) = (partition.pairing.kafka_partition, &partition.pairing.topic);
                return LaneStands::Behind(Wait {
                    why: format!("behind partition {index} of topic '{topic}': {}", wait.why),
                    ..wait
                });
            }
        }
        LaneStands::Well
    }

    /// Says in the log that the disk is full when it begins to be and when that ends, not at each attempt
    /// nor for each partition.
    pub(super) fn say_disk_full(&mut self, now: Now) {
        let full = |partition: &&Partition| partition.store.is_disk_full();
        let first = self.partitions.iter().flatten().find(full);
        match (first, self.disk_full_us) {
            (Some(partition), None) => {
                tracing::warn!(
                    leaf = self.config.index,
                    leaf_partition = partition.pairing.leaf_partition,
                    data_dir = %self.config.data_dir.display(),
                    reserve_bytes = self.config.disk_reserve_bytes,
                    "the disk is full: nothing is committed until there is room; what is visible stays"
                );
                self.disk_full_us = Some(now.us);
            }
            (None, Some(since_us)) => {
                tracing::info!(
                    leaf = self.config.index,
                    held_ms = now.us.saturating_sub(since_us) / 1_000,
                    "nothing waits for room on the disk any more"
                );
                self.disk_full_us = None;
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
}

impl Partition {
    /// Shows how it stands.
    fn show(&mut self, now: Now, lane: &LaneStands, leaf: &LeafStands) {
        let words = self.words(now, lane, leaf);
        let running = matches!(self.phase, Phase::Running)
            || (self.phase == Phase::Opening && self.goal != Goal::Stop);
        self.standing.running.store(running, Ordering::Relaxed);
        self.standing
            .fetched
            .store(self.fetched.0, Ordering::Relaxed);
        let retries = self.retriable.failures().max(self.extract.failures());
        self.standing
            .retries
            .store(u64::from(retries), Ordering::Relaxed);
        if words != self.shown {
            self.standing.words.store(Arc::new(words.clone()));
            self.shown = words;
        }
        let heard_until_us = self.heard_until_us().filter(|&until| until >= now.us);
        self.shown_until_us = match self.phase {
            Phase::Running => heard_until_us.map(|until| until + 1),
            _ => None,
        };
    }

    /// How long what was heard last says how the log stands.
    fn heard_until_us(&self) -> Option<u64> {
        Some(self.heard_us? + limits::HEARD_MS_MAX * 1_000)
    }

    fn words(&self, now: Now, lane: &LaneStands, leaf: &LeafStands) -> String {
        let words = match &self.phase {
            Phase::Opening => "Recovering".to_owned(),
            Phase::Stopped => return "Stopped".to_owned(),
            Phase::Draining => "Draining".to_owned(),
            Phase::Dropped => return "Dropped".to_owned(),
            Phase::Failed(failure) => format!("Failed: {}", failure.text),
            Phase::Running => match self.load_wait(leaf) {
                Some(wait) => return wait.words(),
                None => self.running_words(now, lane),
            },
        };
        match self.store.is_disk_full() {
            true => format!("{words}{DISK_FULL}"),
            false => words,
        }
    }

    /// Why its records that are here are not loaded, where that is so.
    fn load_wait(&self, leaf: &LeafStands) -> Option<Wait> {
        if self.waits_to_unpack.is_some() {
            return leaf.large_batch.clone();
        }
        let Load::Blocked(blocked) = self.load else {
            return None;
        };
        let wait = |lasts, why: String| Some(Wait { lasts, why });
        if self.store.is_disk_full() {
            return wait(
                true,
                "the disk is full; goes on when there is room".to_owned(),
            );
        }
        match blocked {
            Blocked::Memory => {
                let queries = match leaf.queries_bytes {
                    0 => String::new(),
                    bytes => format!(", {} KiB of it by queries", bytes >> 10),
                };
                let why =
                    format!("the leaf's memory is in use{queries}; goes on when a block is free");
                wait(true, why)
            }
            Blocked::Voiding => wait(true, "what a failed write left is taken back".to_owned()),
            Blocked::BothBlocksFull => {
                let why = "its blocks are full; goes on when a commit is written";
                wait(false, why.to_owned())
            }
            Blocked::Space | Blocked::Closed | Blocked::Draining => None,
        }
    }

    fn running_words(&self, now: Now, lane: &LaneStands) -> String {
        let leader = || match &self.leader {
            Some(leader) => format!("broker {} ({}:{})", leader.broker, leader.host, leader.port),
            None => "the leader".to_owned(),
        };
        match &self.fetch {
            Fetch::Locating(Question::Leader) => match self.moved {
                Some((code, _)) => format!("Locating: {} answers {code}; asks who leads", leader()),
                None => "Locating: asks who leads".to_owned(),
            },
            Fetch::Locating(Question::Epoch(epoch)) => format!(
                "Locating: asks where epoch {epoch} ends in the log of {}",
                leader()
            ),
            Fetch::Locating(Question::Range) => {
                "Locating: asks what the log holds, the cursor or the end of FOREGROUND is out of its range".to_owned()
            }
            Fetch::Held {
                why: Hold::Broker(code),
                ..
            } => {
                let times = self.retriable.failures().max(self.extract.failures());
                format!("Held: {} answers {code}, {times} times in a row", leader())
            }
            Fetch::Losing => "Running: gives up what retention deleted".to_owned(),
            Fetch::Stopped => "Ended: the handed-over range is loaded".to_owned(),
            Fetch::Queued | Fetch::InFlight => {
                let queued = self.fetch == Fetch::Queued;
                match lane {
                    LaneStands::Nowhere => {
                        return format!(
                            "Held: no connection to {}: this leaf has its {} already",
                            leader(),
                            limits::LANES_MAX
                        );
                    }
                    LaneStands::Connecting => return format!("Running: connects to {}", leader()),
                    LaneStands::Lost(why) => {
                        return format!("Held: no connection to {}: {why}", leader());
                    }
                    LaneStands::TooLarge => {
                        return format!(
                            "Held: {} sends more than {} MiB at once; goes on when the leaf's one \
                             region for that is free",
                            leader(),
                            limits::FETCH_RESPONSE_BYTES_MAX >> 20
                        );
                    }
                    LaneStands::Throttled if queued => {
                        return format!("Held: {} throttles", leader());
                    }
                    LaneStands::NoRegion if queued => {
                        return "Held: the leaf's memory for responses is in use".to_owned();
                    }
                    LaneStands::Behind(wait) if queued => return wait.words(),
                    _ => {}
                }
                self.fetching_words(now, &leader())
            }
        }
    }

    /// Nothing keeps it from being asked for.
    fn fetching_words(&self, now: Now, leader: &str) -> String {
        let fresh = self.heard_until_us().is_some_and(|until| until >= now.us);
        let end = self.log_end();
        if self.load != Load::Empty {
            "Running".to_owned()
        } else if fresh && end.is_some_and(|end| self.visible() >= end) {
            "Running: caught up".to_owned()
        } else if fresh {
            "Running".to_owned()
        } else if self.fetch == Fetch::Queued {
            format!("Running: waits for its turn at {leader}")
        } else {
            format!("Running: waits for an answer of {leader}")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use storage::ids::{LeafPartitionId, Offset, TableId};
    use storage::schema::Schema;
    use storage::store::{Store, StoreIdentity, StoreSettings};

    use super::super::event::Slot;
    use super::super::order::{Leader, Pairing};
    use super::super::views::Standing;
    use super::*;
    use crate::kafka::ErrorCode;

    /// At the cursor 0, led by broker 2; it was heard a moment ago that the log ends there.
    fn running(fetch: Fetch) -> Partition {
        let pairing = Pairing {
            leaf_partition: 1,
            table: 1,
            pipeline: 1,
            kafka_partition: 3,
            topic: "t".to_owned(),
            topic_id: [0; 16],
            lineage: 1,
            live_lineage: 1,
            start_offset: 0,
            end_offset: None,
        };
        let identity = StoreIdentity {
            table: TableId(1),
            leaf_partition: LeafPartitionId(1),
            kafka_partition: 3,
            schema: Arc::new(Schema {
                version: 1,
                columns: Arc::from([]),
            }),
            unix_base_ms: 0,
            directory: PathBuf::new(),
            quarantine: PathBuf::new(),
            orphans: PathBuf::new(),
        };
        let slot = Slot { index: 0, turn: 1 };
        let store = Store::new(identity, StoreSettings::default());
        let standing = Arc::new(Standing::new(0, None, 1));
        standing.say_log_end(0, 0);
        let mut partition = Partition::new(slot, 1, pairing, store, standing, 0);
        partition.phase = Phase::Running;
        partition.fetch = fetch;
        partition.heard_us = Some(NOW.us);
        partition.leader = Some(Leader {
            broker: 2,
            host: "h".to_owned(),
            port: 1,
            epoch: 0,
        });
        partition
    }

    const LEAF: LeafStands = LeafStands {
        queries_bytes: 7 << 10,
        large_batch: None,
    };
    const NOW: Now = Now {
        us: 1_000_000,
        unix_us: 0,
    };

    fn words(fetch: Fetch, lane: &LaneStands) -> String {
        running(fetch).words(NOW, lane, &LEAF)
    }

    #[test]
    fn each_wait_of_a_lane_has_its_words_and_for_whom_it_is_none_there_are_others() {
        let behind = |lasts| {
            LaneStands::Behind(Wait {
                lasts,
                why: "behind partition 1 of topic 't': why".to_owned(),
            })
        };
        let caught_up = "Running: caught up";
        for (lane, queued, in_flight) in [
            (LaneStands::Well, caught_up, caught_up),
            (
                LaneStands::Nowhere,
                "Held: no connection to broker 2 (h:1): this leaf has its 256 already",
                "Held: no connection to broker 2 (h:1): this leaf has its 256 already",
            ),
            (
                LaneStands::Connecting,
                "Running: connects to broker 2 (h:1)",
                "Running: connects to broker 2 (h:1)",
            ),
            (
                LaneStands::Lost("reset".to_owned()),
                "Held: no connection to broker 2 (h:1): reset",
                "Held: no connection to broker 2 (h:1): reset",
            ),
            (
                LaneStands::TooLarge,
                "Held: broker 2 (h:1) sends more than 2 MiB at once; goes on when the leaf's one region \
                 for that is free",
                "Held: broker 2 (h:1) sends more than 2 MiB at once; goes on when the leaf's one region \
                 for that is free",
            ),
            (
                LaneStands::Throttled,
                "Held: broker 2 (h:1) throttles",
                caught_up,
            ),
            (
                LaneStands::NoRegion,
                "Held: the leaf's memory for responses is in use",
                caught_up,
            ),
            (
                behind(true),
                "Held: behind partition 1 of topic 't': why",
                caught_up,
            ),
            (
                behind(false),
                "Running: behind partition 1 of topic 't': why",
                caught_up,
            ),
        ] {
            assert_eq!(words(Fetch::Queued, &lane), queued);
            assert_eq!(words(Fetch::InFlight, &lane), in_flight);
        }
    }

    #[test]
    fn each_wait_of_a_partition_has_its_words() {
        for (fetch, expected) in [
            (Fetch::Losing, "Running: gives up what retention deleted"),
            (Fetch::Stopped, "Ended: the handed-over range is loaded"),
            (
                Fetch::Locating(Question::Range),
                "Locating: asks what the log holds, the cursor or the end of FOREGROUND is out of its range",
            ),
            (
                Fetch::Locating(Question::Epoch(4)),
                "Locating: asks where epoch 4 ends in the log of broker 2 (h:1)",
            ),
            (
                Fetch::Held {
                    why: Hold::Broker(ErrorCode::LeaderNotAvailable),
                    until_us: 0,
                },
                "Held: broker 2 (h:1) answers LEADER_NOT_AVAILABLE (5), 0 times in a row",
            ),
        ] {
            assert_eq!(words(fetch, &LaneStands::Well), expected);
        }
        let mut waits = running(Fetch::InFlight);
        for (load, expected) in [
            (
                Load::Blocked(Blocked::Memory),
                "Held: the leaf's memory is in use, 7 KiB of it by queries; goes on when a block is free",
            ),
            (
                Load::Blocked(Blocked::Voiding),
                "Held: what a failed write left is taken back",
            ),
            (
                Load::Blocked(Blocked::BothBlocksFull),
                "Running: its blocks are full; goes on when a commit is written",
            ),
            (Load::Loading, "Running"),
        ] {
            waits.load = load;
            assert_eq!(waits.words(NOW, &LaneStands::Well, &LEAF), expected);
        }
        waits.load = Load::Empty;
        waits.standing.say_log_end(5, 0);
        assert_eq!(waits.words(NOW, &LaneStands::Well, &LEAF), "Running");
        waits.heard_us = None;
        waits.fetched = Offset(0);
        let answer = "Running: waits for an answer of broker 2 (h:1)";
        assert_eq!(waits.words(NOW, &LaneStands::Well, &LEAF), answer);
        waits.fetch = Fetch::Queued;
        let turn = "Running: waits for its turn at broker 2 (h:1)";
        assert_eq!(waits.words(NOW, &LaneStands::Well, &LEAF), turn);
    }
}
