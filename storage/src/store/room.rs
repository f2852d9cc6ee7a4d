//! Room on the disk: what finds none is tried again, and whoever waits for it is told of the disk as it is now.

use super::machine::{Phase, Rewinding, Store, Writing};
use crate::disk::DiskError;
use crate::limits::FULL_RETRY_MS;

impl Store {
    /// Whether nothing can be committed until there is room on the disk; also while loading goes on.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        self.disk_is_full && matches!(self.phase, Phase::Running | Phase::Voiding)
    }

    /// Somebody waits for what has no room: it is tried again with the next event, whenever that was last done.
    pub fn ask_for_room(&mut self) {
        self.full_until_ms = None;
        self.refused = false;
        self.asked_since = self.writing.is_some();
    }

    /// Whether the disk had no room for what was begun since [`Store::ask_for_room`].
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.refused && self.is_disk_full()
    }

    /// Whether a segment is to be made before anything else is done: a lineage begins with one, and so does what
    /// follows a void.
    #[must_use]
    pub fn begins_segment(&self) -> bool {
        self.phase == Phase::Voiding || self.begins_lineage()
    }

    /// Whether a lineage begins whose first segment is not made.
    pub(super) fn begins_lineage(&self) -> bool {
        self.rewinding == Some(Rewinding::Beginning)
            && (self.chain.last()).is_none_or(|last| last.lineage() != self.start.lineage)
    }

    pub(super) fn disk_full(&mut self, now_ms: u64) {
        self.disk_is_full = true;
        if !self.asked_since {
            self.refused = true;
            self.full_until_ms = Some(now_ms + FULL_RETRY_MS);
        }
    }

    /// There was room for what was last written, or nothing is to be written any more.
    pub(super) fn room_found(&mut self) {
        self.disk_is_full = false;
        self.refused = false;
    }

    /// A create, commit or footer is handed out.
    pub(super) fn begin(&mut self, writing: Writing) {
        self.writing = Some(writing);
        self.asked_since = false;
    }

    /// Another file has the next segment's name: the one behind it is tried, later each time.
    pub(super) fn name_taken(&mut self, now_ms: u64, error: &DiskError) {
        if self.names_taken == 0 {
            tracing::warn!(%error, "a file that is not the leaf's has the next segment's name; the next names are tried");
        }
        let doubled = 1_u64.checked_shl(self.names_taken).unwrap_or(u64::MAX);
        self.names_taken = self.names_taken.saturating_add(1);
        self.full_until_ms = Some(now_ms + doubled.min(FULL_RETRY_MS));
    }
}
