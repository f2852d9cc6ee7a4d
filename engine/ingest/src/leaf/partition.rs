//! One leaf partition: its goal, and the small machines fetch and load beside the store.
//!
//! Invariants:
//! 1. `fetched >= visible`. `fetched` runs ahead by the frames that are being loaded and falls back to
//!    the cursor when they are void.
//! 2. A fetch has a number. What comes of an earlier one is dropped, so whoever makes the cursor jump
//!    (a void, a rewind, a new leader, a corrupt batch) only has to count it up.
//! 3. The goal is the aggregator's last; reports carry its generation.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use storage::ids::Offset;
use storage::store::{Blocked, Store};

use super::backoff::{Backoff, Pauses};
use super::event::{Now, Slot};
use super::load::OpenBatch;
use super::order::{Failure, Goal, Leader, Pairing, Settings};
use super::told::LogSaid;
use super::views::Standing;
use crate::kafka::ErrorCode;
use crate::limits;
use crate::pipeline::Decode;
use crate::planted::{Rule, out};

/// What the store and the goal make of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Recovery is under way.
    Opening,
    /// Drained and durable; waits for a goal.
    Stopped,
    /// Fetches and loads.
    Running,
    /// On its way to Stopped, another lineage, or away.
    Draining,
    /// Waits for START or a person.
    Failed(Failure),
    /// Its directory is unlinked.
    Dropped,
}

/// The fetch machine. Failed is the partition's phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// Not wanted.
    Stopped,
    /// Waits for the aggregator: who leads, what the log holds, where an epoch ends.
    Locating(Question),
    /// Gives up what retention deleted.
    Losing,
    /// Goes with the next request.
    Queued,
    /// In a request that is on its way.
    InFlight,
    /// Not before this time.
    Held {
        /// Why.
        why: Hold,
        /// Until when.
        until_us: u64,
    },
}

/// What only the aggregator knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Who leads?
    Leader,
    /// Where does the last loaded epoch end in the leader's log?
    Epoch(i32),
    /// What does the log hold?
    Range,
}

/// Why a fetch is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The broker's answer.
    Broker(ErrorCode),
}

/// The load machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// No frame holds records of it.
    Empty,
    /// A frame does.
    Loading,
    /// A frame does, and the store takes none.
    Blocked(Blocked),
}

/// START ... FOREGROUND: where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreground {
    /// The log's end as the first response showed it; less where the log was cut since.
    pub end: Option<Offset>,
    /// Commits left; none without LIMIT.
    pub batches_left: Option<u64>,
    /// Offsets may be loaded up to here: the limit times the maximum of offsets.
    pub offsets_end: Option<Offset>,
    /// Rows that were there before it.
    pub rows_before: u64,
    /// Rejects that were there before it.
    pub rejects_before: u64,
    /// The order that it belongs to.
    pub generation: u64,
    /// Answers in a row without a record though the log's end lies ahead.
    pub empty_answers: u32,
    /// Answers without a record from a log that ends before it, since its range was asked.
    pub short_answers: u32,
    /// It is reached; the drain is under way.
    pub reached: bool,
}

/// See the module.
pub struct Partition {
    /// Its place.
    pub slot: Slot,
    /// What is paired with what.
    pub pairing: Pairing,
    /// None: read only.
    pub settings: Option<Settings>,
    /// Of the last order.
    pub generation: u64,
    /// Of the order that attached it.
    pub attach_generation: u64,
    /// The last order's.
    pub goal: Goal,
    /// Of the last order it was said that it waits for room.
    pub no_room_said: bool,
    /// Where it stands.
    pub phase: Phase,
    /// The fetch machine.
    pub fetch: Fetch,
    /// Counts the fetches: invariant 2.
    pub fetch_number: u32,
    /// The load machine.
    pub load: Load,
    /// The record batch that the last step did not end; none of an earlier fetch.
    pub open: Option<OpenBatch>,
    /// It has the leaf's memory for one of any size.
    pub open_is_large: bool,
    /// What its record batch unpacks to, where the leaf's memory for that is in use.
    pub waits_to_unpack: Option<usize>,
    /// Its disk side.
    pub store: Store,
    /// Its format; none while it has no pipeline.
    pub decode: Option<Box<dyn Decode>>,
    /// How it stands, for others.
    pub standing: Arc<Standing>,
    /// The next offset to ask for.
    pub fetched: Offset,
    /// Leader epoch of the last record batch loaded; -1 none.
    pub epoch: i32,
    /// Up to where the record batches reach of which `epoch` is the last one's.
    pub epoch_reaches: Offset,
    /// Up to this leader epoch, `epoch` was checked.
    pub epoch_checked: i32,
    /// Who leads.
    pub leader: Option<Leader>,
    /// The leader said that it is none, with what words, and is not asked again before this time.
    pub moved: Option<(ErrorCode, u64)>,
    /// Offsets up to here were deleted by retention and are given up.
    pub lost_until: Option<Offset>,
    /// The settings cannot be used.
    pub broken: Option<Failure>,
    /// The lane to it.
    pub lane: Option<u32>,
    /// When the aggregator was last asked, for each partition its own question.
    pub asked_us: Option<u64>,
    /// Retriable answers of the broker.
    pub retriable: Backoff,
    /// Answers that no waiting mends; bounded by the settings.
    pub extract: Backoff,
    /// Where a corrupt record batch was met once.
    pub corrupt_at: Option<Offset>,
    /// PARSER failures of the commit that begins at `parse_errors_from`.
    parse_errors: u64,
    parse_errors_from: Offset,
    /// START ... FOREGROUND.
    pub foreground: Option<Foreground>,
    /// With LIMIT: where the commits that count and are not durable yet end.
    pub foreground_commits: VecDeque<Offset>,
    /// The store stands still until it is opened again.
    pub store_failed: bool,
    /// It recovered once: its cursors mean something.
    pub recovered: bool,
    /// A goal was ordered since Attach.
    pub goal_given: bool,
    /// The leaf is ending: no report of the drain.
    pub ending: bool,
    /// When recovery began.
    pub opened_us: u64,
    /// When a broker last said where the log ends, by the monotonic clock.
    pub heard_us: Option<u64>,
    /// The words shown last.
    pub(super) shown: String,
    /// They hold so long, if no broker says anything more.
    pub(super) shown_until_us: Option<u64>,
}

impl Partition {
    /// A partition whose store is about to recover.
    #[must_use]
    pub fn new(
        slot: Slot,
        generation: u64,
        pairing: Pairing,
        store: Store,
        standing: Arc<Standing>,
        now_us: u64,
    ) -> Partition {
        let start = Offset(pairing.start_offset);
        Partition {
            slot,
            pairing,
            settings: None,
            generation,
            attach_generation: generation,
            goal: Goal::Stop,
            phase: Phase::Opening,
            fetch: Fetch::Stopped,
            fetch_number: 0,
            load: Load::Empty,
            open: None,
            open_is_large: false,
            waits_to_unpack: None,
            store,
            decode: None,
            standing,
            fetched: start,
            epoch: -1,
            epoch_reaches: start,
            epoch_checked: -1,
            leader: None,
            moved: None,
            lost_until: None,
            broken: None,
            lane: None,
            asked_us: None,
            retriable: Backoff::new(Pauses {
                first_ms: limits::RETRIABLE_FIRST_MS,
                max_ms: limits::RETRIABLE_MAX_MS,
                doubling: true,
            }),
            extract: Backoff::new(Pauses {
                first_ms: limits::RETRIABLE_FIRST_MS,
                max_ms: limits::RETRIABLE_MAX_MS,
                doubling: true,
            }),
            corrupt_at: None,
            parse_errors: 0,
            parse_errors_from: start,
            no_room_said: false,
            foreground: None,
            foreground_commits: VecDeque::new(),
            store_failed: false,
            recovered: false,
            goal_given: false,
            ending: false,
            opened_us: now_us,
            heard_us: None,
            shown: String::new(),
            shown_until_us: None,
        }
    }

    /// The cursor.
    #[must_use]
    pub fn visible(&self) -> Offset {
        self.store.cursors().visible
    }

    /// Takes settings: the format's decoder was built from them.
    pub fn configure(&mut self, settings: Settings, decode: Box<dyn Decode>) {
        self.extract = Backoff::new(Pauses {
            first_ms: settings.retry_interval_ms,
            max_ms: settings.max_retry_interval_ms,
            doubling: settings.retry_exponential,
        });
        self.decode = Some(decode);
        self.settings = Some(settings);
    }

    /// What is on its way or waits in a frame is not for us any more; the next fetch begins at the
    /// cursor.
    pub fn void_fetch(&mut self) {
        let number = self.fetch_number.wrapping_add(1);
        if !out(Rule::StaleResponseDropped) {
            self.fetch_number = number;
        }
        if !out(Rule::FetchFromCursor) {
            self.fetched = self.visible();
        }
        self.load = Load::Empty;
        self.open = None;
        self.waits_to_unpack = None;
        if self.fetch == Fetch::InFlight {
            self.fetch = Fetch::Queued;
        }
    }

    /// Stops fetching and loading.
    pub fn stop_fetch(&mut self) {
        self.void_fetch();
        self.fetch = Fetch::Stopped;
        self.asked_us = None;
        // Asked anew: the next run may begin in another lineage, or after retention was undone.
        self.lost_until = None;
    }

    /// Exclusive: as far as the next step may reach.
    #[must_use]
    pub fn offsets_end(&self) -> Offset {
        let mut end = self.store.offsets_end();
        if let Some(last) = self.pairing.end_offset {
            end = end.min(Offset(last));
        }
        if let Some(limit) = self
            .foreground
            .and_then(|foreground| foreground.offsets_end)
        {
            end = end.min(limit);
        }
        end.max(self.visible())
    }

    /// Rows and rejects that are there: what a void takes back is not among them.
    #[must_use]
    pub fn there(&self) -> (u64, u64) {
        let view = self.store.view();
        let (rows, rejects) = (&view.gauges.rows, &view.gauges.rejects);
        (
            rows.load(Ordering::Relaxed),
            rejects.load(Ordering::Relaxed),
        )
    }

    /// A commit counts for FOREGROUND's LIMIT.
    pub fn foreground_committed(&mut self, offset: Offset) {
        if let Some(foreground) = &mut self.foreground
            && let Some(left) = &mut foreground.batches_left
        {
            *left = left.saturating_sub(1);
            self.foreground_commits.push_back(offset);
        }
    }

    /// What ends at or before an offset is durable.
    pub fn foreground_durable(&mut self, offset: Offset) {
        while self
            .foreground_commits
            .front()
            .is_some_and(|end| *end <= offset)
        {
            self.foreground_commits.pop_front();
        }
    }

    /// What was not durable is gone: FOREGROUND goes on for it.
    pub fn foreground_voided(&mut self) {
        let gone = self.foreground_commits.len() as u64;
        self.foreground_commits.clear();
        if let Some(foreground) = &mut self.foreground {
            foreground.reached = false;
            (foreground.empty_answers, foreground.short_answers) = (0, 0);
            if let Some(left) = &mut foreground.batches_left {
                *left += gone;
            }
        }
    }

    /// Whether there is nothing left that may be loaded.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        let end = self.pairing.end_offset;
        end.is_some_and(|end| self.visible() >= Offset(end))
    }

    /// Whether it goes with the next request: not where what is on its way reaches the end already.
    #[must_use]
    pub fn wants_fetch(&self) -> bool {
        let end = self.pairing.end_offset;
        self.fetch == Fetch::Queued && end.is_none_or(|end| self.fetched < Offset(end))
    }

    /// PARSER failures of the commit that the next step goes into: the threshold is a commit's.
    pub fn parse_errors(&mut self) -> u64 {
        let from = self.store.commit_first_offset();
        if self.parse_errors_from != from {
            self.parse_errors_from = from;
            self.parse_errors = 0;
        }
        self.parse_errors
    }

    /// Counts those of a step that is about to be published.
    pub fn add_parse_errors(&mut self, more: u64) {
        self.parse_errors = self.parse_errors() + more;
    }

    /// The threshold counts anew.
    pub fn forget_parse_errors(&mut self) {
        self.parse_errors = 0;
    }

    /// What must be known before the next fetch.
    #[must_use]
    pub fn question(&self) -> Option<Question> {
        let Some(leader) = &self.leader else {
            return Some(Question::Leader);
        };
        if self.moved.is_some() {
            return Some(Question::Leader);
        }
        let newer = leader.epoch > self.epoch && leader.epoch > self.epoch_checked;
        (self.epoch >= 0 && newer && !out(Rule::EpochChecked))
            .then_some(Question::Epoch(self.epoch))
    }

    /// A fetch left with it.
    pub fn fetch_sent(&mut self) {
        self.fetch = Fetch::InFlight;
    }

    /// The broker answered without an error.
    pub fn answered(&mut self) {
        self.retriable.reset();
        self.extract.reset();
        self.moved = None;
    }

    /// Takes what a response says of the log, or does not say anew.
    pub fn log_said(&mut self, now: Now, said: &LogSaid, read_committed: bool) {
        let standing = &self.standing;
        standing.say_log_end(said.end(read_committed).0, now.unix_ms());
        if said.log_start_offset >= 0 {
            standing
                .log_start_offset
                .store(said.log_start_offset, Ordering::Relaxed);
        }
        self.heard_us = Some(now.us);
    }

    /// The log's end as last told, as a reader of the pipeline's isolation level finds it.
    #[must_use]
    pub fn log_end(&self) -> Option<Offset> {
        Some(Offset(self.standing.log_end()?.offset))
    }

    /// The timestamp of the last message loaded.
    pub fn timestamp_said(&self, timestamp_ms: i64) {
        let gauge = &self.standing.last_timestamp_ms;
        gauge.store(timestamp_ms, Ordering::Relaxed);
    }

    /// A range was given up.
    pub fn skipped(&self) {
        self.standing.skipped.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether it wants a lane.
    #[must_use]
    pub fn is_fetching(&self) -> bool {
        self.phase == Phase::Running && self.fetch != Fetch::Stopped
    }

    /// Takes what is known of the leader; whether that changed anything. An epoch never falls.
    pub fn take_leader(&mut self, leader: Leader) -> bool {
        if let Some(known) = &self.leader {
            if leader.epoch >= 0 && leader.epoch < known.epoch {
                return false;
            }
            if *known == leader {
                return false;
            }
        }
        self.standing.leader.store(Some(Arc::new(leader.clone())));
        self.leader = Some(leader);
        true
    }
}
