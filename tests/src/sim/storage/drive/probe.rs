//! What recovery must leave, and what a crash at this very moment would leave: looked at on a copy of the
//! disk, so that the history itself goes on.

use std::path::{Path, PathBuf};

use storage::disk::{Disk, DiskDone, DiskOp, perform};
use storage::ids::{LeafPartitionId, TableId};
use storage::recovery::{KnownHole, RecoverPartition, RecoveredPartition, recover};

use super::{DIRECTORY, Drive, Law, QUARANTINE, TrueHole, check};
use crate::sim::disk::{Lying, SimDisk};

impl Drive<'_> {
    /// Performs an operation; of a recovery, looks at what it leaves.
    pub(super) fn perform_now(&mut self, op: DiskOp) -> DiskDone {
        let DiskOp::Recover(partition) = op else {
            return perform(&self.disk, op);
        };
        // A reader of this process may hold the files: then nothing is cut and nothing is mended.
        let looked_at = !partition.mapped && self.damage.is_none();
        let before = looked_at.then(|| self.disk.lying(&partition.directory));
        let evictions = self.disk.evictions();
        drop(self.disk.take_cuts());
        let done = perform(&self.disk, DiskOp::Recover(partition));
        if let DiskDone::Recovered(result) = &done {
            self.cut_by(match result {
                Ok(recovered) => &recovered.notes,
                Err(failed) => &failed.notes,
            });
        }
        // What was dropped meanwhile lay there otherwise before.
        if let (Some(before), DiskDone::Recovered(Ok(recovered))) = (before, &done)
            && self.disk.evictions() == evictions
            && let Err(what) = self.whole(&before, recovered)
        {
            self.broken = Some(what);
        }
        done
    }

    /// The directory holds the chain and nothing else, each file of it is sealed or ends with its content,
    /// and none that was sealed was cut.
    fn whole(&self, before: &[Lying], recovered: &RecoveredPartition) -> Law {
        let directory = Path::new(DIRECTORY);
        let kept = recovered.segments.iter().map(|segment| {
            let id = segment.id;
            storage::recovery::segment_path(directory, id.sequence, id.rewrite)
        });
        let kept: Vec<PathBuf> = kept.collect();
        let holes = recovered.holes.iter().map(|known| {
            let path = match known.told {
                true => storage::recovery::hole_path,
                false => storage::recovery::bridge_path,
            };
            path(directory, known.hole.id.sequence, known.hole.id.rewrite)
        });
        let holes: Vec<PathBuf> = holes.collect();
        for name in self.disk.names(directory) {
            let leftover = recovered.leftover.as_ref() == Some(&name);
            let hole = holes.contains(&name);
            check(leftover || hole || kept.contains(&name), || {
                format!("recovery leaves {}", name.display())
            })?;
        }
        let after = self.disk.lying(directory);
        let cuts = self.disk.take_cuts();
        for (index, (path, segment)) in kept.iter().zip(&recovered.segments).enumerate() {
            let find = |lying: &'_ [Lying]| lying.iter().position(|one| one.path == *path);
            let Some(lying) = find(&after).map(|at| &after[at]) else {
                return Err(format!("recovery kept {}, which is gone", path.display()));
            };
            let commits = segment.commits.len();
            let newest = index + 1 == kept.len();
            let ends = newest && !segment.sealed && lying.bytes() == segment.end_byte;
            check(ends || lying.sealed_commits() == Some(commits), || {
                format!("recovery leaves {} without its footer", path.display())
            })?;
            let was = find(before).map(|at| &before[at]);
            let was_whole = was.is_some_and(|was| {
                was.is_sealed_and_good() && was.sealed_commits() == Some(commits)
            });
            check(!(was_whole && cuts.contains(path)), || {
                format!("recovery cut {}, which was sealed", path.display())
            })?;
        }
        Ok(())
    }

    /// A kill or a power loss now, and a power loss after the recovery from it: what was said to be
    /// durable is there each time.
    pub(super) fn probe(&mut self) -> Law {
        const LOOKS: &str = "event: what a power loss now would leave";
        let off = self.damage.is_some() || self.may_be_refused() || self.restored;
        if off || self.disk.is_dead() || !self.has(LOOKS) {
            return Ok(());
        }
        self.hit(LOOKS);
        let fork = self.disk.fork(self.random.number());
        let mut power = self.random.chance(600);
        let mut least = self.lineages[&self.catalog.lineage.0].durable;
        for _ in 0..2 {
            if power {
                fork.lose_power();
            } else {
                fork.kill();
            }
            least = self
                .left(&fork, least)
                .map_err(|what| format!("after a power loss ({power}) now: {what}"))?;
            power = true;
        }
        Ok(())
    }

    /// Recovers a copy; returns its cursor.
    fn left(&self, fork: &SimDisk, least: i64) -> Result<i64, String> {
        let partition = RecoverPartition {
            table: TableId(1),
            leaf_partition: LeafPartitionId(1),
            directory: PathBuf::from(DIRECTORY),
            quarantine: PathBuf::from(QUARANTINE),
            start: self.catalog,
            mapped: false,
            pages_bytes_max: 0,
            unix_ms: 0,
        };
        let disk: &dyn Disk = fork;
        let recovered = recover(disk, &partition).map_err(|failed| failed.failure.to_string())?;
        let mut cursor = None;
        for segment in &recovered.segments {
            let header = &segment.header.header;
            let last = segment.commits.last();
            let end = last.map_or(header.first_offset, |(_, record)| record.facts.next_offset);
            cursor = Some((header.lineage, end.0));
        }
        let cursor = match cursor {
            Some((lineage, cursor)) if lineage == self.catalog.lineage => cursor,
            Some((lineage, cursor)) => {
                let end = self.lineages.get(&lineage.0).and_then(|truth| truth.end);
                let hole = |one: &TrueHole| one.lineage == lineage.0 && one.from == cursor;
                let known = |known: &KnownHole| {
                    known.hole.lineage == lineage && known.hole.first_offset.0 == cursor
                };
                let hole = self.holes.iter().any(hole) || recovered.holes.iter().any(known);
                check(end.is_none_or(|end| cursor == end) || hole, || {
                    format!("lineage {lineage} ends at {cursor}, it was left at {end:?}")
                })?;
                self.catalog.start_offset.0
            }
            None => self.catalog.start_offset.0,
        };
        let told = recovered.holes.iter().any(|known| {
            let hole = &known.hole;
            known.told && hole.lineage == self.catalog.lineage && hole.next_offset.0 >= least
        });
        check(cursor >= least || told, || {
            format!("the cursor is {cursor}, durable was {least}")
        })?;
        Ok(cursor)
    }
}
