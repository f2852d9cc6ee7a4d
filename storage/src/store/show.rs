//! What queries and views see: the published state and the gauges.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::RecoveredReport;
use super::chain::{Face, Totals};
use super::machine::Store;
use crate::published::{Durable, Published};
use crate::recovery::Note;

impl Store {
    /// Publishes the chain and the blocks as they stand.
    pub(super) fn show(&mut self) {
        if self.chain.take_refaced() {
            let links = self.chain.links.iter();
            let sealed = links.filter_map(|link| match &link.face {
                Face::Sealed(segment) => Some(Arc::clone(segment)),
                Face::Open(_) => None,
            });
            self.sealed = sealed.collect();
        }
        // The one before a segment is sealed for readers when that begins.
        let (open, open_commits) = match self.chain.last() {
            Some(link) => match &link.face {
                Face::Open(open) => (Some(Arc::clone(open)), link.end.commits),
                Face::Sealed(_) => (None, 0),
            },
            None => (None, 0),
        };
        let durable = self.chain.durable().map(|(at, end)| Durable {
            sequence: self.chain.links[at].sequence(),
            commits: end.commits,
        });
        self.view.publish(Published {
            sealed: Arc::clone(&self.sealed),
            open,
            open_commits,
            blocks: [
                self.flushing
                    .as_ref()
                    .map(|flushing| flushing.writer.shared()),
                self.filling.as_ref().map(|filling| filling.writer.shared()),
            ],
            durable: durable.unwrap_or_default(),
            lineage: self.start.lineage,
            start_offset: self.start.start_offset,
            holes: self.told().cloned().collect(),
        });
        self.show_gauges();
    }

    /// Stores the numbers that the store knows.
    pub(super) fn show_gauges(&self) {
        let gauges = &self.view.gauges;
        let tail = [
            self.flushing.as_ref().map(|flushing| &flushing.writer),
            self.filling.as_ref().map(|filling| &filling.writer),
        ];
        let tail = tail.into_iter().flatten();
        let tail_rows: u64 = tail
            .map(|writer| u64::from(writer.published().rows_end))
            .sum();
        let Totals {
            rows,
            rejected,
            bytes,
        } = self.chain.totals();
        // Nothing is to be synced of the links before.
        let links = self.chain.links[self.chain.settled..].iter();
        let dirty = links.filter(|link| link.is_dirty());
        let dirty_since = dirty.filter_map(|link| link.dirty_since_ms).min();
        let dirty_since_unix_ms = dirty_since.map_or(-1, |since_ms| self.unix_ms(since_ms));
        let cursors = self.cursors();
        gauges.visible.store(cursors.visible.0, Ordering::Relaxed);
        gauges
            .committed
            .store(cursors.committed.0, Ordering::Relaxed);
        gauges.durable.store(cursors.durable.0, Ordering::Relaxed);
        gauges.rows.store(rows + tail_rows, Ordering::Relaxed);
        gauges.rejects.store(rejected, Ordering::Relaxed);
        gauges.bytes.store(bytes, Ordering::Relaxed);
        gauges
            .dirty_since_unix_ms
            .store(dirty_since_unix_ms, Ordering::Relaxed);
    }

    pub(super) fn report(&self, notes: Vec<Note>) -> RecoveredReport {
        let commits = self.chain.links.iter().flat_map(|link| &link.commits);
        let batches = commits.map(|commit| u64::from(commit.record().batches()));
        RecoveredReport {
            lineage: self.start.lineage,
            cursor: self.visible,
            leader_epoch: self.leader_epoch(),
            leader_epoch_reaches: self.leader_epoch_reaches(),
            commits: batches.sum(),
            rows: self.chain.totals().rows,
            notes,
        }
    }
}
