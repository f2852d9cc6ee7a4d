//! The tail: the block that steps are written into, and when it is flushed.

use super::chain::Link;
use super::machine::{Phase, Store};
use super::{FaultRecord, Step, StoreEffects};
use crate::block::{BlockFull, BlockWriter, Mark, Tail};
use crate::counts::Counts;
use crate::disk::{CommitWrite, DiskOp};
use crate::error::StorageError;
use crate::format::CommitFacts;
use crate::format::rejects::Reject;
use crate::ids::Offset;
use crate::limits::{REJECT_KEY_BYTES_MAX, REJECT_TEXT_BYTES_MAX};
use crate::planted::{Rule, out as taken_out};
use crate::pool::BlockPool;

/// The block that is being filled.
#[derive(Debug)]
pub(super) struct Filling {
    pub writer: BlockWriter,
    pub first_offset: Offset,
    pub counts: Counts,
    pub leader_epoch: i32,
    pub extracted_bytes: u64,
    pub started_unix_ms: i64,
    /// When its first mark was published; `None`: nothing is to be committed.
    pub since_ms: Option<u64>,
    /// It takes no further step.
    pub full: bool,
}

/// The block that is being written.
#[derive(Debug)]
pub(super) struct Flushing {
    pub writer: BlockWriter,
    pub mark: Mark,
    pub facts: CommitFacts,
    /// What is to be written, the same again where the disk was full.
    pub durable_end: u64,
}

impl Filling {
    pub(super) fn new(writer: BlockWriter, first_offset: Offset) -> Filling {
        Filling {
            writer,
            first_offset,
            counts: Counts::default(),
            leader_epoch: -1,
            extracted_bytes: 0,
            started_unix_ms: 0,
            since_ms: None,
            full: false,
        }
    }

    fn publish(&mut self, now_ms: u64, step: &Step) {
        self.writer.publish(step.next_offset);
        self.counts.add(&step.counts);
        // A step of nothing but given-up offsets knows none: it takes none away.
        if step.leader_epoch >= 0 || taken_out(Rule::EpochKept) {
            self.leader_epoch = step.leader_epoch;
        }
        self.extracted_bytes += step.extracted_bytes;
        if self.since_ms.is_none() {
            self.since_ms = Some(now_ms);
            self.started_unix_ms = step.unix_ms;
        }
    }
}

impl Store {
    /// The view of what lies beyond the last mark, to be written; `None`: see [`Store::blocked`].
    pub fn tail(&mut self, pool: &mut BlockPool) -> Option<Tail<'_>> {
        self.no_memory = false;
        if self.blocked().is_some() {
            return None;
        }
        if self.filling.is_none() {
            self.begin_block(pool);
        }
        Some(self.filling.as_mut()?.writer.tail())
    }

    fn begin_block(&mut self, pool: &mut BlockPool) {
        let taken = self
            .fills
            .layout_within(&self.needed, pool.block_bytes_max())
            .and_then(|layout| pool.take(&layout, self.visible));
        match taken {
            Ok(writer) => {
                self.filling = Some(Filling::new(writer, self.visible));
                self.show();
            }
            Err(_) => self.no_memory = true,
        }
    }

    /// The bytes of a block that has room for `needed` beside what the last blocks lacked.
    ///
    /// # Errors
    /// `Full(Value)`: no block can have.
    pub fn block_bytes(&self, needed: &[BlockFull], pool: &BlockPool) -> Result<u64, StorageError> {
        let mut all = self.needed.clone();
        for full in needed {
            keep_need(&mut all, *full);
        }
        let layout = self.fills.layout_within(&all, pool.block_bytes_max())?;
        Ok(layout.bytes_wanted())
    }

    /// Where the commit begins that the next step goes into.
    #[must_use]
    pub fn commit_first_offset(&self) -> Offset {
        let filling = self.filling.as_ref();
        filling.map_or(self.visible, |filling| filling.first_offset)
    }

    /// The offset that the next step must not pass, so that no commit covers more than the maximum.
    #[must_use]
    pub fn offsets_end(&self) -> Offset {
        let first = self.commit_first_offset();
        let covered = i64::try_from(self.settings.offsets_max).unwrap_or(i64::MAX);
        Offset(first.0.saturating_add(covered))
    }

    /// Makes a step visible: what was written into the tail, and what became of each offset.
    ///
    /// # Panics
    /// If no tail was taken, the counts do not add up, or the step passes [`Store::offsets_end`].
    pub fn publish(&mut self, now_ms: u64, step: &Step, out: &mut StoreEffects) {
        assert_eq!(
            step.counts.offsets(),
            self.visible.until(step.next_offset),
            "the counts add up to the offsets covered"
        );
        let end = self.offsets_end();
        assert!(step.next_offset <= end, "at most the maximum of offsets");
        let filling = self.filling.as_mut().expect("a tail was taken");
        filling.publish(now_ms, step);
        self.needed.clear();
        self.visible = step.next_offset;
        self.unix_base_ms = step
            .unix_ms
            .saturating_sub(i64::try_from(now_ms).unwrap_or(i64::MAX));
        filling.full |= filling.writer.tail().rows_free() == 0
            || filling.writer.marks_free() == 0
            || step.next_offset == end
            // What was lost ends its commit: so it is known how far its leader epoch reaches.
            || step.counts.lost > 0 && !taken_out(Rule::LostEndsCommit)
            || filling.extracted_bytes >= self.settings.flush_bytes;
        self.turn(now_ms, out);
        self.show_gauges();
    }

    /// Forgets what was written beyond the last mark.
    pub fn discard_step(&mut self) {
        if let Some(filling) = &mut self.filling {
            filling.writer.reset();
        }
    }

    /// A step ended where the block did; call it after what fitted was published. The next block has
    /// room for what did not fit.
    pub fn block_full(&mut self, now_ms: u64, full: BlockFull, out: &mut StoreEffects) {
        self.need(full);
        match &mut self.filling {
            Some(filling) if filling.since_ms.is_some() => {
                filling.writer.reset();
                filling.full = true;
            }
            // Nothing in it: the next one takes its place at once.
            Some(_) => {
                let filling = self.filling.take().expect("matched");
                self.spent.push(filling.writer);
                self.show();
            }
            None => {}
        }
        self.turn(now_ms, out);
    }

    /// A message may need more of several regions: each is kept until a step was published.
    fn need(&mut self, full: BlockFull) {
        keep_need(&mut self.needed, full);
    }

    /// Writes waiting faults into the tail, as a step that covers no offsets.
    pub(super) fn write_faults(&mut self, now_ms: u64, pool: &mut BlockPool) {
        while self.phase == Phase::Running && !self.faults.is_empty() {
            if self.filling.is_none() {
                let bytes_max = pool.budget_bytes() as u64 / 2;
                let bytes = self.block_bytes(&[], pool);
                if bytes.map_or(true, |bytes| bytes > bytes_max) {
                    // No block holds its message: the history keeps the text.
                    self.needed.clear();
                    self.faults[0].message.clear();
                }
                self.begin_block(pool);
            }
            let Some(filling) = &mut self.filling else {
                return;
            };
            if filling.full {
                return;
            }
            let fault = &self.faults[0];
            let written = filling.writer.tail().reject(&reject(fault));
            if let Err(full) = written {
                keep_need(&mut self.needed, full);
                if filling.since_ms.is_some() {
                    filling.full = true;
                    return;
                }
                let filling = self.filling.take().expect("matched");
                self.spent.push(filling.writer);
                continue;
            }
            let step = Step {
                next_offset: self.visible,
                counts: Counts::default(),
                leader_epoch: filling.leader_epoch,
                extracted_bytes: 0,
                unix_ms: fault.unix_ms,
            };
            filling.publish(now_ms, &step);
            filling.full |= filling.writer.marks_free() == 0;
            self.needed.clear();
            self.faults.pop_front();
        }
    }

    /// Whether what is visible is to be committed now.
    pub(super) fn flush_due(&self, now_ms: u64) -> bool {
        let Some(filling) = &self.filling else {
            return false;
        };
        let Some(since_ms) = filling.since_ms else {
            return false;
        };
        filling.full
            || self.draining
            || self.rewinding.is_some()
            || now_ms >= since_ms + self.settings.flush_age_ms
    }

    /// The filling block becomes the flushing one.
    pub(super) fn begin_flush(&mut self, now_ms: u64) {
        let filling = self.filling.take().expect("a block to flush");
        // How long it took is for the monotonic clock to say: the wall's may have been set meanwhile.
        let ended_unix_ms = match filling.since_ms {
            Some(since_ms) => filling
                .started_unix_ms
                .saturating_add(i64::try_from(now_ms.saturating_sub(since_ms)).unwrap_or(i64::MAX)),
            None => self.unix_ms(now_ms),
        };
        let mark = filling.writer.published();
        let block = filling.writer.shared();
        self.fills.learn(&block);
        let open = self.chain.last().expect("an open segment");
        self.flushing = Some(Flushing {
            mark,
            facts: CommitFacts {
                commit_number: open.end.next_commit_number,
                lineage: self.start.lineage,
                first_offset: filling.first_offset,
                next_offset: mark.next_offset,
                rows: mark.rows_end,
                rejects: 0,
                counts: filling.counts,
                leader_epoch: match filling.leader_epoch {
                    -1 => open.end.leader_epoch,
                    epoch => epoch,
                },
                more_skips: 0,
                started_unix_ms: filling.started_unix_ms,
                ended_unix_ms,
                extracted_bytes: filling.extracted_bytes,
            },
            durable_end: self.chain.durable_end(),
            writer: filling.writer,
        });
        self.show();
    }

    /// What writes the flushing block.
    pub(super) fn commit_write(&self, link: &Link, flushing: &Flushing) -> Option<DiskOp> {
        Some(DiskOp::Write(Box::new(CommitWrite {
            file: link.file.clone()?,
            at_byte: link.end.bytes,
            header: link.segment.header().clone(),
            block: flushing.writer.shared(),
            mark: flushing.mark,
            facts: flushing.facts,
            durable_end: flushing.durable_end,
            allocated_end: link.allocated_end,
            reserve_bytes: self.settings.disk_reserve_bytes,
        })))
    }
}

fn keep_need(needed: &mut Vec<BlockFull>, full: BlockFull) {
    needed.retain(|other| other.region != full.region);
    needed.push(full);
}

fn reject(fault: &FaultRecord) -> Reject<'_> {
    Reject {
        offset: fault.offset,
        timestamp_ms: fault.timestamp_ms,
        unix_ms: fault.unix_ms,
        code: fault.code,
        kind: fault.kind,
        line: fault.line,
        column: fault.column,
        text: &fault.text,
        key: None,
        message: &fault.message,
    }
    .cut(REJECT_TEXT_BYTES_MAX, REJECT_KEY_BYTES_MAX)
}
