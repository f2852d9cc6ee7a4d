//! What queries and views see: the published state and the gauges.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::RecoveredReport;
use super::chain::Face;
use super::machine::Store;
use crate::published::{Durable, Published};
use crate::recovery::Note;
use crate::segment::Segment;

impl Store {
    /// Publishes the chain and the blocks as they stand.
    pub(super) fn show(&mut self) {
        let mut open = None;
        let mut open_commits = 0;
        let mut sealed: Vec<Arc<Segment>> = Vec::with_capacity(self.chain.links.len());
        for link in &self.chain.links {
            match &link.face {
                Face::Sealed(segment) => sealed.push(Arc::clone(segment)),
                Face::Open(of) => {
                    open = Some(Arc::clone(of));
                    open_commits = link.end.commits;
                }
            }
        }
        let same = sealed.len() == self.sealed.len()
            && sealed
                .iter()
                .zip(&*self.sealed)
                .all(|(a, b)| Arc::ptr_eq(a, b));
        if !same {
            self.sealed = sealed.into();
        }
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
        let links = &self.chain.links;
        let rows: u64 = links.iter().map(|link| link.rows).sum();
        let rejected: u64 = links.iter().map(|link| link.rejected).sum();
        let bytes: u64 = links.iter().map(|link| link.end.bytes).sum();
        let dirty = links.iter().filter(|link| link.is_dirty());
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
        let batches = commits.map(|commit| commit.record().batches().len() as u64);
        RecoveredReport {
            lineage: self.start.lineage,
            cursor: self.visible,
            leader_epoch: self.leader_epoch(),
            leader_epoch_reaches: self.leader_epoch_reaches(),
            commits: batches.sum(),
            rows: self.chain.links.iter().map(|link| link.rows).sum(),
            notes,
        }
    }
}
