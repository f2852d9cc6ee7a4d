//! What the outcome of each disk operation does to the store.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::chain::{Chain, Face, Footer, Link};
use super::holes::Holes;
use super::machine::{Again, Merge, Phase, Store};
use super::{StoreEffect, StoreEffects};
use crate::disk::{CreatedSegment, DiskError, DiskFault, DiskOp, Failure, WrittenCommit};
use crate::ids::{Lineage, Rewrite, Sequence};
use crate::limits::MERGE_RETRY_MS;
use crate::merge::{MergeFailure, MergedSegment};
use crate::planted::{Rule, out as taken_out};
use crate::published::PartitionState;
use crate::recovery::decide::Row;
use crate::recovery::{RecoverFailure, RecoveredPartition, RecoveredSegment, segment_path};
use crate::segment::{Commit, Open, SealState, SegmentFile};

impl Store {
    pub(super) fn on_recovered(
        &mut self,
        now_ms: u64,
        result: Result<Box<RecoveredPartition>, RecoverFailure>,
        out: &mut StoreEffects,
    ) {
        if self.phase != (Phase::Recovering { started: true }) {
            return;
        }
        let recovered = match result {
            Ok(recovered) => *recovered,
            Err(failed) => {
                let again = match failed.failure {
                    Failure::Directory(_) => Again::Never,
                    _ => Again::Recover,
                };
                return self.fail(failed.failure, again, out);
            }
        };
        self.mapped = true;
        self.phase = Phase::Running;
        self.view.renew_alarm();
        self.alarm_seen = false;
        self.sequence_last = self.sequence_last.max(recovered.sequence_last);
        self.next_commit_number = self.next_commit_number.max(recovered.next_commit_number);
        self.garbage = recovered.leftover.into_iter().collect();
        self.holes = Holes::new(recovered.holes);
        self.chain = Chain::emptied();
        let count = recovered.segments.len();
        for (index, segment) in recovered.segments.into_iter().enumerate() {
            let epoch = self.chain.last().map(|l| (l.lineage(), l.end.leader_epoch));
            let link = self.recovered_link(now_ms, segment, epoch, index + 1 == count);
            self.chain.push(link);
        }
        self.chain.settle();
        let behind = self
            .chain
            .last()
            .is_some_and(|l| l.lineage() < self.start.lineage)
            && !taken_out(Rule::Row(Row::NewLineage));
        self.visible = self.committed();
        self.draining = false;
        let report = self.report(recovered.notes);
        self.recovered = Some(Box::new(report));
        if behind || !self.garbage.is_empty() {
            self.begin_lineage();
        }
        // In this order: who reads another state than Recovering finds what was recovered behind it.
        self.show();
        self.view.gauges.set_state(PartitionState::Stopped, None);
    }

    /// `epoch`: the lineage before it, and the leader epoch at its end.
    fn recovered_link(
        &self,
        now_ms: u64,
        segment: RecoveredSegment,
        epoch: Option<(Lineage, i32)>,
        last: bool,
    ) -> Link {
        let alarm = self.view.alarm();
        let path = segment_path(
            &self.identity.directory,
            segment.id.sequence,
            segment.id.rewrite,
        );
        let file = SegmentFile::new(segment.header, path, segment.pages, alarm);
        let commits: Vec<Arc<Commit>> = segment
            .commits
            .into_iter()
            .map(|(at, record)| Arc::new(Commit::new(record, at)))
            .collect();
        let mut link = link(Arc::new(file), segment.file, commits);
        // Without a commit of its own it goes on in the epoch of the one before.
        if let Some((lineage, epoch)) = epoch
            && lineage == link.lineage()
            && !taken_out(Rule::EpochOfEmptySegment)
        {
            link.start_epoch = epoch;
            link.end = link.end_of(link.commits.len());
        }
        link.durable = Some(link.end);
        link.closed = segment.closed;
        link.footer = match (segment.sealed, segment.closed) {
            (true, _) => Footer::Durable,
            (false, _) => Footer::None,
        };
        link.segment
            .say_seal(match (segment.sealed, segment.id.rewrite) {
                (false, _) => SealState::Unknown,
                (true, Rewrite(0)) => SealState::Written,
                // Synced before it had its name.
                (true, _) => SealState::Durable,
            });
        if last && !link.closed && link.is_full(&self.settings) {
            link.closed = true;
            link.footer = Footer::Due;
            link.dirty_since_ms = Some(now_ms);
        }
        if link.closed {
            link.show_sealed();
        }
        link
    }

    pub(super) fn on_created(
        &mut self,
        now_ms: u64,
        sequence: Sequence,
        result: Result<CreatedSegment, DiskError>,
        out: &mut StoreEffects,
    ) {
        self.writing = None;
        let created = match result {
            Ok(created) => created,
            Err(error) if error.fault == DiskFault::Full => {
                self.disk_full(now_ms);
                // What follows a void is made by itself: no footer goes before it.
                self.seals_first =
                    self.phase == Phase::Running && self.begins_lineage() && self.is_footer_due();
                if self.seals_first {
                    // Not refused yet: at once, and then it is tried again.
                    (self.full_until_ms, self.refused) = (None, false);
                }
                return;
            }
            Err(error) if error.fault == DiskFault::Exists => {
                return self.name_taken(now_ms, &error);
            }
            Err(error) => return self.void(now_ms, error, out),
        };
        self.names_taken = 0;
        self.room_found();
        let header = &created.header.header;
        // What follows a void says that all before it is durable: it may be all that does.
        let says = self.phase != Phase::Voiding || header.prev.is_none() || header.behind_durable;
        let current =
            self.chain.predecessor() == header.prev && header.lineage == self.start.lineage && says;
        if !matches!(self.phase, Phase::Running | Phase::Voiding) || !current {
            // What it was to follow is given up meanwhile.
            let path = segment_path(&self.identity.directory, sequence, header.id.rewrite);
            self.garbage.push(path);
            return;
        }
        let path = segment_path(
            &self.identity.directory,
            sequence,
            created.header.header.id.rewrite,
        );
        let start_epoch = self.leader_epoch();
        let alarm = self.view.alarm();
        let file = SegmentFile::new(created.header, path, created.pages, alarm);
        let mut link = link(Arc::new(file), Some(created.file), Vec::new());
        link.start_epoch = start_epoch;
        link.end.leader_epoch = start_epoch;
        link.allocated_end = created.allocated_end;
        link.dirty_since_ms = Some(now_ms);
        if let Some(before) = self.chain.links.len().checked_sub(1) {
            self.chain.seal_face(before);
        }
        self.chain.push(link);
        self.chain.settle();
        self.phase = Phase::Running;
        self.show();
    }

    pub(super) fn on_written(
        &mut self,
        now_ms: u64,
        sequence: Sequence,
        result: Result<WrittenCommit, DiskError>,
        out: &mut StoreEffects,
    ) {
        self.writing = None;
        if self.phase != Phase::Running || self.flushing.is_none() {
            return;
        }
        let written = match result {
            Ok(written) => written,
            Err(error) if error.is_full() && !taken_out(Rule::FullIsHeld) => {
                return self.disk_full(now_ms);
            }
            Err(error) => return self.void(now_ms, error, out),
        };
        self.room_found();
        let open = |link: &Link| !link.closed && link.sequence() == sequence;
        let Some(at) = self.chain.links.len().checked_sub(1) else {
            return;
        };
        if !open(&self.chain.links[at]) {
            return;
        }
        let facts = written.record.facts;
        let settings = &self.settings;
        self.chain
            .change(at, |link| link.take(now_ms, written, settings));
        if let Some(flushing) = self.flushing.take() {
            self.spent.push(flushing.writer);
        }
        let gauges = &self.view.gauges;
        gauges.commits.fetch_add(1, Ordering::Relaxed);
        self.chain.settle();
        self.show();
        out.push(StoreEffect::Committed {
            number: facts.commit_number,
            offset: facts.next_offset,
            rows: facts.rows,
        });
    }

    pub(super) fn on_sealed(
        &mut self,
        now_ms: u64,
        sequence: Sequence,
        result: Result<(), DiskError>,
        out: &mut StoreEffects,
    ) {
        self.writing = None;
        // Its room was its segment's before; what it gives back may do for the one that is to be made.
        let begins = self.begins_lineage();
        let Some(link) = self.chain.find(sequence) else {
            return;
        };
        if link.footer != Footer::Writing {
            return;
        }
        match result {
            Ok(()) => {
                link.footer = Footer::Written;
                link.segment.say_seal(SealState::Written);
                link.dirty_since_ms.get_or_insert(now_ms);
                match begins {
                    true => self.full_until_ms = None,
                    false => self.room_found(),
                }
            }
            Err(error) if error.is_full() => {
                link.footer = Footer::Due;
                self.disk_full(now_ms);
            }
            Err(error) => self.void(now_ms, error, out),
        }
    }

    pub(super) fn on_synced(
        &mut self,
        now_ms: u64,
        sequence: Sequence,
        ticket: u64,
        result: Result<(), Failure>,
        out: &mut StoreEffects,
    ) {
        self.directory_syncing.retain(|&of| of != ticket);
        if let Err(failure @ Failure::Directory(_)) = &result
            && !taken_out(Rule::DirectoryFailureIsFinal)
        {
            return self.fail(failure.clone(), Again::Never, out);
        }
        let Some(link) = self.chain.find(sequence) else {
            return;
        };
        // A void gave up what it covered: neither its success nor its failure says anything now.
        let Some(at) = link.syncing.iter().position(|cover| cover.ticket == ticket) else {
            return;
        };
        let mut cover = link.syncing.remove(at);
        match result {
            Err(Failure::File(error)) if !taken_out(Rule::VoidAfterFailedSync) => {
                return self.void(now_ms, error, out);
            }
            // The rule is out, or a directory's failure is not final: as if it were to be tried again.
            Err(_) => return,
            Ok(()) => {}
        }
        if taken_out(Rule::SyncCoversWhatWasSubmitted) {
            cover.end = link.end;
        }
        if link
            .durable
            .is_none_or(|durable| durable.bytes < cover.end.bytes)
        {
            link.durable = Some(cover.end);
        }
        if cover.footer && link.footer == Footer::Written {
            link.footer = Footer::Durable;
            link.segment.say_seal(SealState::Durable);
        }
        link.dirty_since_ms = link.is_dirty().then_some(cover.submitted_ms);
        if link.closed && link.footer == Footer::Durable && link.syncing.is_empty() {
            link.file = None;
        }
        let gauges = &self.view.gauges;
        gauges.syncs.fetch_add(1, Ordering::Relaxed);
        let took_ms = now_ms.saturating_sub(cover.submitted_ms);
        gauges.sync_ms.store(took_ms, Ordering::Relaxed);
        self.chain.settle();
        self.close_holes(now_ms);
        self.show();
        self.say_durable(out);
    }

    fn say_durable(&mut self, out: &mut StoreEffects) {
        let (offset, leader_epoch) = self.durable();
        let lineage = self.start.lineage;
        let begun = self.chain.durable();
        let in_lineage = begun.is_some_and(|(at, _)| self.chain.links[at].lineage() == lineage);
        if in_lineage && self.durable_said != Some((lineage, offset)) {
            self.durable_said = Some((lineage, offset));
            out.push(StoreEffect::Durable {
                lineage,
                offset,
                leader_epoch,
            });
        }
    }

    pub(super) fn on_merged(
        &mut self,
        now_ms: u64,
        result: Result<Box<MergedSegment>, MergeFailure>,
        out: &mut StoreEffects,
    ) {
        let merged = match result {
            Ok(merged) => *merged,
            Err(MergeFailure::GivenUp(error)) => {
                tracing::warn!(%error, "a merge was given up");
                self.merge = Merge::Idle {
                    not_before_ms: now_ms + MERGE_RETRY_MS,
                };
                return;
            }
            Err(MergeFailure::Damaged { .. }) => {
                // The alarm rang: the damage is dealt with as a query's would be.
                self.merge = Merge::Idle {
                    not_before_ms: now_ms + MERGE_RETRY_MS,
                };
                return self.look_at_alarm();
            }
            Err(MergeFailure::Directory(error)) => {
                self.merge = Merge::Idle { not_before_ms: 0 };
                return self.fail(Failure::Directory(error), Again::Never, out);
            }
        };
        let count = merged.inputs.len();
        let first = self.chain.position(merged.inputs[0].sequence);
        let links = first.and_then(|first| self.chain.links.get(first..first + count));
        let there = links.is_some_and(|links| {
            let ids = links.iter().map(|link| link.header().id);
            ids.eq(merged.inputs.iter().copied())
        });
        let directory = &self.identity.directory;
        let paths: Vec<PathBuf> = merged
            .inputs
            .iter()
            .map(|id| segment_path(directory, id.sequence, id.rewrite))
            .collect();
        let (Some(first), true) = (first, there) else {
            // The inputs are gone from the chain; so must be what replaces them.
            let id = merged.header.header.id;
            self.garbage
                .push(segment_path(directory, id.sequence, id.rewrite));
            self.merge = Merge::Idle { not_before_ms: 0 };
            return;
        };
        let path = segment_path(
            directory,
            merged.header.header.id.sequence,
            merged.header.header.id.rewrite,
        );
        let alarm = self.view.alarm();
        let file = SegmentFile::new(merged.header, path, merged.pages, alarm);
        let mut link = link(Arc::new(file), None, merged.commits);
        link.durable = Some(link.end);
        link.closed = true;
        link.footer = Footer::Durable;
        link.segment.say_seal(SealState::Durable);
        link.start_epoch = self.chain.links[first].start_epoch;
        link.show_sealed();
        self.chain.replace(first..first + count, Some(link));
        self.chain.unsettle(first);
        self.show();
        self.merge = Merge::Unlinking(paths.clone());
        self.submit(DiskOp::Unlink { paths }, out);
    }

    pub(super) fn on_unlinked(&mut self, now_ms: u64, result: Result<(), DiskError>) {
        if let Err(error) = result {
            // They cost space and nothing else; the next recovery unlinks them.
            tracing::warn!(%error, "segments that are off the chain could not be unlinked");
        }
        if matches!(self.merge, Merge::Unlinking(_)) {
            self.merge = Merge::Idle {
                not_before_ms: now_ms,
            };
        } else {
            self.unlinking = false;
        }
    }
}

/// A link of these commits, open.
fn link(
    segment: Arc<SegmentFile>,
    file: Option<Arc<dyn crate::disk::DiskFile>>,
    commits: Vec<Arc<Commit>>,
) -> Link {
    let open = Open::new(Arc::clone(&segment));
    for (index, commit) in (0u32..).zip(&commits) {
        let pushed = open.push(index, Arc::clone(commit));
        pushed.expect("recovery and merges keep the bound of commits");
    }
    let sum = |of: fn(&Commit) -> u64| commits.iter().map(|c| of(c)).sum();
    let index_bytes = commits.iter().map(|c| c.record().index_bytes_max()).sum();
    let mut link = Link {
        index_bytes,
        rows: sum(|commit| u64::from(commit.record().facts.rows)),
        rejected: sum(|commit| commit.record().facts.counts.rejected),
        face: Face::Open(Arc::new(open)),
        start_epoch: -1,
        end: super::chain::End::NOWHERE,
        durable: None,
        closed: false,
        footer: Footer::None,
        dirty_since_ms: None,
        syncing: Vec::new(),
        allocated_end: 0,
        segment,
        file,
        commits,
    };
    link.end = link.end_of(link.commits.len());
    link
}
