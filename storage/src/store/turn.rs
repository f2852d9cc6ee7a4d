//! A turn: whatever can be started now is started, in the order of its urgency.

use std::sync::Arc;

use super::chain::{Chain, Cover, Footer, Link};
use super::machine::{Again, Merge, Phase, Rewinding, Store, Writing};
use super::{StoreEffect, StoreEffects, SyncWanted};
use crate::disk::{CreateSegment, DiskOp, Failure};
use crate::format::{SegmentHeader, SegmentId};
use crate::ids::{Rewrite, Sequence};
use crate::limits::{MERGE_MEMORY_RETRY_MS, SEGMENTS_UNDURABLE_MAX};
use crate::merge::{self, Candidate, HistoryFloor, MergeInput, MergeSegments};
use crate::planted::{Rule, out as taken_out};
use crate::pool::BlockPool;
use crate::recovery::segment_path;

impl Store {
    pub(super) fn turn(&mut self, now_ms: u64, out: &mut StoreEffects) {
        if self.full_until_ms.is_some_and(|until| now_ms >= until) {
            self.full_until_ms = None;
        }
        match self.phase {
            Phase::Running => {
                self.answer(now_ms, out);
                self.write_next(now_ms, out);
                self.unlink_garbage(out);
                self.close_next(out);
                self.answer(now_ms, out);
            }
            Phase::Voiding if self.writing.is_none() && self.full_until_ms.is_none() => {
                self.create(now_ms, out);
            }
            Phase::Recovering { started: false } if self.on_their_way == 0 => {
                self.recover(now_ms, out);
            }
            Phase::Quarantining { started: false } if self.on_their_way == 0 => {
                self.quarantine(now_ms, out);
            }
            Phase::Dropping { started: false } if self.on_their_way == 0 => {
                self.phase = Phase::Dropping { started: true };
                self.chain = Chain::emptied();
                self.show();
                let directory = self.identity.directory.clone();
                let orphans = self.identity.orphans.clone();
                self.submit(DiskOp::Drop { directory, orphans }, out);
            }
            _ => {}
        }
    }

    /// Whether everything visible is durable.
    fn is_drained(&self) -> bool {
        let tail = self.filling.as_ref().is_some_and(|f| f.since_ms.is_some());
        let durable = |link: &Link| {
            link.content_durable() || taken_out(Rule::EmptySegmentSynced) && link.end.commits == 0
        };
        !tail
            && self.flushing.is_none()
            && self.writing.is_none()
            && self.faults.is_empty()
            && self.holes_at_rest()
            && self.chain.links[self.chain.whole..].iter().all(durable)
    }

    /// Answers who waits for a drain, a lineage or recovery.
    fn answer(&mut self, now_ms: u64, out: &mut StoreEffects) {
        let drained = self.is_drained()
            || taken_out(Rule::DrainBeforeNewLineage)
                && self.flushing.is_none()
                && self.writing.is_none();
        if drained && self.draining {
            self.draining = false;
            out.push(StoreEffect::Drained {
                cursor: self.visible,
            });
        }
        if let Some(Rewinding::Draining(start)) = self.rewinding
            && drained
            && matches!(self.merge, Merge::Idle { .. })
            && !self.unlinking
        {
            self.start = start;
            self.begin_lineage();
        }
        let last = self.chain.last();
        let empty = last.is_none();
        let begun =
            last.is_some_and(|last| last.lineage() == self.start.lineage && last.durable.is_some());
        if self.rewinding == Some(Rewinding::Beginning) && begun {
            self.rewinding = None;
            self.forget_dead_lineages();
            self.close_holes(now_ms);
            if self.recovered.is_none() {
                out.push(StoreEffect::Rewound {
                    lineage: self.start.lineage,
                    cursor: self.visible,
                });
            }
        }
        if self.rewinding.is_none()
            && (begun || empty)
            && let Some(mut report) = self.recovered.take()
        {
            report.lineage = self.start.lineage;
            report.cursor = self.visible;
            out.push(StoreEffect::Recovered(report));
        }
    }

    /// The chain's last segment takes nothing more; the next one begins the lineage.
    pub(super) fn begin_lineage(&mut self) {
        if let Some(open) = self.chain.open() {
            open.closed = true;
            open.footer = Footer::Due;
        }
        self.chain.settle();
        self.give_up_blocks();
        self.visible = self.start.start_offset;
        self.durable_said = None;
        self.rewinding = Some(Rewinding::Beginning);
        self.show();
    }

    fn write_next(&mut self, now_ms: u64, out: &mut StoreEffects) {
        if self.writing.is_some() || self.full_until_ms.is_some() {
            return;
        }
        if self.begins_lineage() {
            if !(std::mem::take(&mut self.seals_first) && self.write_footer(out)) {
                self.create(now_ms, out);
            }
            return;
        }
        // Before the next commit: where the disk is the bottleneck one always waits, and a segment
        // without its footer is neither merged nor let go.
        if self.flushing.is_none() && self.write_footer(out) {
            return;
        }
        if self.flushing.is_none() && self.flush_due(now_ms) {
            if self.chain.open().is_some() {
                self.begin_flush(now_ms);
            } else if self.chain.undurable() < SEGMENTS_UNDURABLE_MAX {
                return self.create(now_ms, out);
            }
        }
        if let (Some(flushing), Some(link)) = (&self.flushing, self.chain.last()) {
            let sequence = link.sequence();
            if let Some(op) = self.commit_write(link, flushing) {
                self.begin(Writing::Commit(sequence));
                self.submit(op, out);
            }
        }
    }

    pub(super) fn is_footer_due(&self) -> bool {
        let mut links = self.chain.links[self.chain.settled..].iter();
        links.any(|link| link.footer == Footer::Due)
    }

    /// Writes the oldest footer that is due; whether there was one.
    fn write_footer(&mut self, out: &mut StoreEffects) -> bool {
        let mut links = self.chain.links[self.chain.settled..].iter_mut();
        let Some(link) = links.find(|link| link.footer == Footer::Due) else {
            return false;
        };
        let Some(file) = link.file.clone() else {
            link.footer = Footer::None;
            return false;
        };
        link.footer = Footer::Writing;
        let sequence = link.sequence();
        let op = DiskOp::Seal {
            sequence,
            file,
            segment: Arc::clone(&link.segment),
            commits: link.commits.clone(),
            at_byte: link.end.bytes,
        };
        self.begin(Writing::Footer(sequence));
        self.submit(op, out);
        true
    }

    /// A new segment behind the chain as it stands.
    fn create(&mut self, now_ms: u64, out: &mut StoreEffects) {
        let sequence = Sequence(self.sequence_last.0 + 1);
        self.sequence_last = sequence;
        let prev = self.chain.predecessor();
        let number = prev.map_or(1, |prev| prev.next_commit_number);
        self.next_commit_number = self.next_commit_number.max(number);
        let header = SegmentHeader {
            id: SegmentId {
                leaf_partition: self.identity.leaf_partition,
                sequence,
                rewrite: Rewrite(0),
            },
            table: self.identity.table,
            kafka_partition: self.identity.kafka_partition,
            topic_id: self.start.topic_id,
            lineage: self.start.lineage,
            first_offset: self.committed(),
            first_commit_number: self.next_commit_number,
            created_unix_ms: self.unix_ms(now_ms),
            prev,
            behind_durable: prev.is_some() && self.chain.is_durable(),
            schema: Arc::clone(&self.identity.schema),
        };
        self.begin(Writing::Create(sequence));
        let segment = CreateSegment {
            path: segment_path(&self.identity.directory, sequence, Rewrite(0)),
            header,
            pages_bytes_max: self.pages_bytes_max(),
        };
        self.submit(DiskOp::Create(Box::new(segment)), out);
    }

    /// Whether nothing syncs the directory: of two syncs at a time either would take the other's error.
    pub(super) fn directory_free(&self) -> bool {
        self.directory_syncing.is_empty() && self.merge != Merge::Merging
    }

    /// Which link would be synced now.
    pub(super) fn next_sync(&self, now_ms: u64) -> Option<(usize, SyncWanted)> {
        if self.phase != Phase::Running {
            return None;
        }
        let urgent = self.draining
            || self.rewinding.is_some()
            || self.recovered.is_some()
            || self.chain.undurable() >= SEGMENTS_UNDURABLE_MAX;
        let two = taken_out(Rule::NeverTwoSyncs);
        let due = |(at, link): (usize, &Link)| {
            let since_ms = link.dirty_since_ms?;
            let free = link.syncing.is_empty() || two && link.syncing.len() < 2;
            let names = link.durable.is_some() || self.directory_free() || two;
            if !free || !names || !link.is_dirty() || link.file.is_none() {
                return None;
            }
            let synced = link.durable.map_or(0, |end| end.bytes);
            let now = urgent
                || now_ms >= since_ms + self.settings.sync_age_ms
                || link.end.bytes.saturating_sub(synced) >= self.settings.sync_bytes;
            let since_ms = if urgent { 0 } else { since_ms };
            now.then_some((at, SyncWanted { since_ms }))
        };
        let links = self.chain.links.iter().enumerate();
        let links = links.skip(self.chain.settled);
        links
            .filter_map(due)
            .min_by_key(|(at, wanted)| (wanted.since_ms, *at))
    }

    /// Starts the sync that [`Store::sync_wanted`] spoke of; nothing where there is none.
    pub fn sync(&mut self, now_ms: u64, out: &mut StoreEffects) {
        let Some((at, _)) = self.next_sync(now_ms) else {
            return;
        };
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        let link = &mut self.chain.links[at];
        let Some(file) = link.file.clone() else {
            return;
        };
        let directory = link.durable.is_none() && !taken_out(Rule::DirectorySyncAtFirstSync);
        link.syncing.push(Cover {
            ticket,
            submitted_ms: now_ms,
            end: link.end,
            footer: link.footer == Footer::Written,
        });
        let sequence = link.sequence();
        if directory {
            self.directory_syncing.push(ticket);
        }
        let op = DiskOp::Sync {
            sequence,
            ticket,
            file,
            directory: directory.then(|| self.identity.directory.clone()),
        };
        self.submit(op, out);
    }

    /// Starts a merge where there is one to be made and memory for it.
    pub(super) fn merge_next(&mut self, now_ms: u64, pool: &mut BlockPool, out: &mut StoreEffects) {
        // A second one beside the first, where a test lets it.
        let second = taken_out(Rule::MergesOneAtATime) && self.merge == Merge::Merging;
        let not_before_ms = match self.merge {
            Merge::Idle { not_before_ms } => not_before_ms,
            _ if second => 0,
            _ => return,
        };
        if self.phase != Phase::Running
            || now_ms < not_before_ms
            || self.rewinding.is_some()
            || self.full_until_ms.is_some()
        {
            return;
        }
        if !self.directory_syncing.is_empty() && !taken_out(Rule::NeverTwoSyncs) {
            return;
        }
        // Beside damage that was met nothing is merged: it waits for its quarantine, or for its partition's
        // START, and a merge of it would end in it each time.
        if self.merge_looked || self.view.alarm().damage().is_some() {
            if !second {
                self.merge = Merge::Idle { not_before_ms: 0 };
            }
            return;
        }
        let follows = |at: usize, link: &Link| {
            let before = at.checked_sub(1).map(|at| &self.chain.links[at]);
            let prev = link.header().prev.map(|prev| prev.sequence);
            before.is_some_and(|before| prev == Some(before.sequence()))
                || taken_out(Rule::NoMergeOverHole)
        };
        let any = taken_out(Rule::MergeDurableInputs);
        let candidate = |(at, link): (usize, &Link)| Candidate {
            ready: link.closed
                && (at < self.chain.whole && link.footer == Footer::Durable
                    || any && matches!(link.footer, Footer::Written | Footer::Durable)),
            merged: link.header().id.rewrite > Rewrite(0),
            follows: follows(at, link),
            lineage: link.lineage(),
            schema_version: link.header().schema.version,
            commits: link.end.commits,
            rows: link.rows,
            bytes: link.end.bytes,
            index_bytes: link.index_bytes,
        };
        let candidates = self.chain.links.iter().enumerate().map(candidate);
        let candidates: Vec<Candidate> = candidates.collect();
        let Some(range) = merge::choose(&candidates, &self.settings) else {
            self.merge_looked = true;
            if !second {
                self.merge = Merge::Idle { not_before_ms: 0 };
            }
            return;
        };
        let buffer_bytes_max = merge::buffer_bytes(pool);
        if !pool.reserve(buffer_bytes_max) {
            // Ingest first.
            if !second {
                self.merge = Merge::Idle {
                    not_before_ms: now_ms + MERGE_MEMORY_RETRY_MS,
                };
            }
            return;
        }
        let links = &self.chain.links[range];
        let (first, last) = (&links[0], &links[links.len() - 1]);
        let mut header = last.header().clone();
        header.id.rewrite = Rewrite(header.id.rewrite.0 + 1);
        header.first_offset = first.header().first_offset;
        header.first_commit_number = first.header().first_commit_number;
        header.prev = first.header().prev;
        header.behind_durable = header.prev.is_some();
        header.created_unix_ms = self.unix_ms(now_ms);
        let inputs = links.iter().map(|link| MergeInput {
            segment: Arc::clone(&link.segment),
            commits: link.commits.clone(),
        });
        let merge = MergeSegments {
            directory: self.identity.directory.clone(),
            inputs: inputs.collect(),
            header,
            rows_max: self.settings.merge_rows_max,
            history: self.history_floor(),
            buffer_bytes_max: buffer_bytes_max as u64,
            reserve_bytes: self.settings.disk_reserve_bytes,
        };
        self.merge = if second {
            Merge::Unlinking(Vec::new())
        } else {
            Merge::Merging
        };
        self.submit(DiskOp::Merge(Box::new(merge)), out);
    }

    /// Where the history that a merge keeps begins. What is not durable may be taken back, and does not push
    /// anything out.
    fn history_floor(&self) -> HistoryFloor {
        let durable = self.chain.durable();
        let next = durable.map_or(1, |(_, end)| end.next_commit_number);
        HistoryFloor {
            commit_number: next.saturating_sub(self.settings.batches_kept),
        }
    }

    fn unlink_garbage(&mut self, out: &mut StoreEffects) {
        let durable = self.chain.last().is_none_or(|last| last.durable.is_some());
        if self.garbage.is_empty() || self.unlinking || !durable {
            return;
        }
        self.unlinking = true;
        let paths = std::mem::take(&mut self.garbage);
        self.submit(DiskOp::Unlink { paths }, out);
    }

    /// Stands still, until [`super::StoreEvent::Open`].
    pub(super) fn fail(&mut self, failure: Failure, again: Again, out: &mut StoreEffects) {
        if matches!(self.phase, Phase::Dropped | Phase::Failed { .. }) {
            return;
        }
        self.phase = Phase::Failed { again };
        self.room_found();
        self.draining = false;
        self.rewinding = None;
        self.recovered = None;
        self.cut_to_durable();
        out.push(StoreEffect::Failed(failure));
    }
}
