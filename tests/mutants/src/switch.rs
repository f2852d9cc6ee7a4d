//! The switch of all mutants of this crate, put into it by `tests/mutants` and by nothing else.
//!
//! `PINLEAF_MUTANT` says which one is on. `PINLEAF_MUTANT_NOTED` names a file instead, in which each one
//! that is asked for sets its byte.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

/// Nobody has asked yet.
const UNREAD: u32 = u32::MAX;
/// None is on, and whichever is asked for is noted.
const NOTING: u32 = u32::MAX - 1;
/// More than there are.
const MUTANTS_MAX: usize = 16_384;

static ON: AtomicU32 = AtomicU32::new(UNREAD);
static NOTED: OnceLock<File> = OnceLock::new();
static SEEN: [AtomicBool; MUTANTS_MAX] = [const { AtomicBool::new(false) }; MUTANTS_MAX];

/// Whether this mutant is on.
#[inline]
pub fn on(mutant: u32) -> bool {
    let on = ON.load(Relaxed);
    if on >= NOTING { unusual(mutant) } else { on == mutant }
}

#[cold]
#[inline(never)]
fn unusual(mutant: u32) -> bool {
    if ON.load(Relaxed) == UNREAD {
        let text = |name| std::env::var(name).ok();
        let on = match text("PINLEAF_MUTANT_NOTED") {
            Some(path) => {
                let file = File::options().write(true).open(path).expect("the file of notes");
                let _ = NOTED.set(file);
                NOTING
            }
            None => text("PINLEAF_MUTANT").and_then(|text| text.parse().ok()).unwrap_or(0),
        };
        ON.store(on, Relaxed);
    }
    if ON.load(Relaxed) != NOTING {
        return ON.load(Relaxed) == mutant;
    }
    if !SEEN[mutant as usize].swap(true, Relaxed) {
        let file = NOTED.get().expect("opened before it is noting");
        file.write_all_at(&[1], u64::from(mutant)).expect("a note");
    }
    false
}
