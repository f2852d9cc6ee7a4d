//! What a record may say is synced, and must: as far as the store has heard of syncs, by what went by the port alone.
//!
//! A record that says too much makes recovery take a torn write for damage, one that says too little makes damage pass
//! for a torn write.

use std::path::PathBuf;

use storage::disk::{DiskDone, DiskOp};

use super::{Law, Process, check};

/// What a process has heard of one file.
pub(super) struct Heard {
    path: PathBuf,
    sequence: u64,
    /// Where its content ends, as far as that is written.
    written: u64,
    /// The same, as far as that is synced; 0 as long as its name is not.
    synced: u64,
    /// Where the last write began: one that found no room comes again, and says what it said.
    writing: u64,
    /// Syncs that are on their way, and where the content ended when they set out.
    asked: Vec<(u64, u64)>,
}

impl Process {
    /// An operation sets out.
    pub(super) fn submits(&mut self, op: &DiskOp) -> Law {
        match op {
            DiskOp::Recover(_) => self.heard.clear(),
            DiskOp::Create(create) => {
                // Behind what it names nothing counts any more.
                let prev = create.header.prev.map_or(0, |prev| prev.sequence.0);
                self.heard.retain(|one| one.sequence <= prev);
                self.heard.push(Heard {
                    path: create.path.clone(),
                    sequence: create.header.id.sequence.0,
                    written: 0,
                    synced: 0,
                    writing: 0,
                    asked: Vec::new(),
                });
            }
            DiskOp::Write(write) => {
                let path = write.file.path();
                let at_byte = write.at_byte;
                let here = self.heard.iter().position(|one| one.path == path);
                let at = match here {
                    Some(at) => at,
                    // Recovery has left it, and all of that is durable.
                    None => {
                        self.heard.insert(
                            0,
                            Heard {
                                path: path.to_path_buf(),
                                sequence: write.header.header.id.sequence.0,
                                written: at_byte,
                                synced: at_byte,
                                writing: 0,
                                asked: Vec::new(),
                            },
                        );
                        0
                    }
                };
                let before = self.heard[..at].iter();
                let whole = before.clone().all(|one| one.synced == one.written);
                let one = &mut self.heard[at];
                one.written = one.written.max(at_byte);
                let wanted = if whole { one.synced } else { 0 };
                let said = write.durable_end;
                let again = std::mem::replace(&mut one.writing, at_byte) == at_byte;
                let trusted = said == wanted || again && said < wanted;
                check(trusted, || {
                    format!(
                        "a record of {} says that {said} bytes are synced, it was told of {wanted}",
                        path.display()
                    )
                })?;
            }
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

    /// What is not durable is given up; a file that is on its way is not.
    pub(super) fn voids(&mut self) {
        self.heard.retain(|one| one.written == 0);
    }

    /// An outcome is reported.
    pub(super) fn hears(&mut self, done: &DiskDone) {
        match done {
            DiskDone::Synced {
                sequence,
                ticket,
                result,
            } => {
                let here = self.heard.iter_mut().find(|one| one.sequence == sequence.0);
                let Some(one) = here else {
                    return;
                };
                let asked = one.asked.iter().position(|asked| asked.0 == *ticket);
                if let (Some(at), Ok(())) = (asked, result) {
                    let (_, end) = one.asked.remove(at);
                    one.synced = one.synced.max(end);
                }
            }
            DiskDone::Created {
                sequence,
                result: Err(_),
            } => self.heard.retain(|one| one.sequence != sequence.0),
            DiskDone::Created {
                sequence,
                result: Ok(created),
            } => {
                let here = self.heard.iter_mut().find(|one| one.sequence == sequence.0);
                if let Some(one) = here {
                    one.written = u64::from(created.header.bytes);
                }
            }
            DiskDone::Written {
                sequence,
                result: Ok(written),
            } => {
                let here = self.heard.iter_mut().find(|one| one.sequence == sequence.0);
                if let Some(one) = here {
                    one.written = one.written.max(written.end_byte);
                }
            }
            _ => {}
        }
    }
}
