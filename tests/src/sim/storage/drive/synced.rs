//! What a record may say is synced, and must: as far as the store has heard of syncs, by what went by the port alone.
//!
//! A record that says too much makes recovery take a torn write for damage, one that says too little makes damage pass
//! for a torn write.

use std::path::{Path, PathBuf};

use storage::disk::{CommitWrite, DiskDone, DiskOp};
use storage::format::SegmentHeader;
use storage::ids::Sequence;

use super::{Law, Process, check};

/// What a process has heard of one file.
pub(super) struct Heard {
    path: PathBuf,
    sequence: Sequence,
    /// Where its content ends, as far as that is written.
    written: u64,
    /// The same, as far as that is synced; 0 as long as its name is not.
    synced: u64,
    /// Where the last write began: one that found no room comes again, and says what it said.
    writing: u64,
    /// Syncs that are on their way, and where the content ended when they set out.
    asked: Vec<(u64, u64)>,
}

impl Heard {
    /// A file whose content is durable as far as this.
    fn new(path: &Path, header: &SegmentHeader, end: u64) -> Heard {
        Heard {
            path: path.to_path_buf(),
            sequence: header.id.sequence,
            written: end,
            synced: end,
            writing: 0,
            asked: Vec::new(),
        }
    }
}

impl Process {
    /// An operation sets out.
    pub(super) fn submits(&mut self, op: &DiskOp) -> Law {
        match op {
            DiskOp::Recover(_) => self.heard.clear(),
            DiskOp::Create(create) => {
                // Behind what it names nothing counts any more.
                let prev = create.header.prev.map(|prev| prev.sequence);
                self.heard
                    .retain(|one| prev.is_some_and(|prev| one.sequence <= prev));
                let durable = self.heard.iter().all(|one| one.synced == one.written);
                let wanted = prev.is_some() && durable;
                check(create.header.behind_durable == wanted, || {
                    format!(
                        "the header of {} says that all before it is durable: {}, it was told {wanted}",
                        create.path.display(),
                        !wanted
                    )
                })?;
                let made = Heard::new(&create.path, &create.header, 0);
                self.heard.push(made);
            }
            DiskOp::Write(write) => return self.writes(write),
            DiskOp::Sync { file, ticket, .. } => {
                let here = self.heard.iter_mut().find(|one| one.path == file.path());
                if let Some(one) = here {
                    one.asked.push((*ticket, one.written));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A record sets out: it says just what the store has heard, where all before its file is durable.
    fn writes(&mut self, write: &CommitWrite) -> Law {
        let path = write.file.path();
        let here = self.heard.iter().position(|one| one.path == path);
        let at = here.unwrap_or_else(|| {
            // Recovery has left it, and all of that is durable.
            let left = Heard::new(path, &write.header.header, write.at_byte);
            self.heard.insert(0, left);
            0
        });
        let mut before = self.heard[..at].iter();
        let whole = before.all(|one| one.synced == one.written);
        let one = &mut self.heard[at];
        one.written = one.written.max(write.at_byte);
        let wanted = if whole { one.synced } else { 0 };
        let again = std::mem::replace(&mut one.writing, write.at_byte) == write.at_byte;
        let said = write.durable_end;
        check(said == wanted || again && said < wanted, || {
            format!(
                "a record of {} says that {said} bytes are synced, it was told of {wanted}",
                path.display()
            )
        })
    }

    /// What is not durable is given up; a file that is on its way is not.
    pub(super) fn voids(&mut self) {
        self.heard.retain(|one| one.written == 0);
    }

    /// An outcome is reported.
    pub(super) fn hears(&mut self, done: &DiskDone) {
        match done {
            DiskDone::Created { sequence, result } => match result {
                Ok(created) => self.hears_written(*sequence, u64::from(created.header.bytes)),
                Err(_) => self.heard.retain(|one| one.sequence != *sequence),
            },
            DiskDone::Written {
                sequence,
                result: Ok(written),
            } => self.hears_written(*sequence, written.end_byte),
            DiskDone::Synced {
                sequence,
                ticket,
                result: Ok(()),
            } => {
                let here = self.heard.iter_mut().find(|one| one.sequence == *sequence);
                let Some(one) = here else {
                    return;
                };
                let mut asked = one.asked.iter();
                if let Some((_, end)) = asked.find(|asked| asked.0 == *ticket) {
                    one.synced = one.synced.max(*end);
                }
            }
            _ => {}
        }
    }

    fn hears_written(&mut self, sequence: Sequence, end: u64) {
        let mut here = self.heard.iter_mut();
        if let Some(one) = here.find(|one| one.sequence == sequence) {
            one.written = one.written.max(end);
        }
    }
}
