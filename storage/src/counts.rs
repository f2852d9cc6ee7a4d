//! The law as a sum: what became of each offset.

/// What became of the offsets of one step, tail or commit: eight classes, each offset in exactly one.
///
/// Invariant, asserted by the writer and checked by the reader: [`Counts::offsets`] equals
/// `next_offset - first_offset`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Offsets that became one row or more.
    pub loaded: u64,
    /// Offsets whose message could not become a row and was kept as a reject.
    pub rejected: u64,
    /// Tombstones: messages without a value.
    pub empty: u64,
    /// Offsets given up by STOP_ON_ERROR OFF.
    pub skipped: u64,
    /// Control records: a transaction's markers.
    pub control: u64,
    /// Records of aborted transactions.
    pub aborted: u64,
    /// Offsets that the log no longer holds between those it does: compaction.
    pub gap: u64,
    /// Offsets that retention deleted before they were loaded.
    pub lost: u64,
}

impl Counts {
    /// The sum of the eight classes.
    #[must_use]
    pub fn offsets(&self) -> u64 {
        let Counts {
            loaded,
            rejected,
            empty,
            skipped,
            control,
            aborted,
            gap,
            lost,
        } = *self;
        loaded + rejected + empty + skipped + control + aborted + gap + lost
    }

    /// Adds another range's counts to these.
    pub fn add(&mut self, other: &Counts) {
        self.loaded += other.loaded;
        self.rejected += other.rejected;
        self.empty += other.empty;
        self.skipped += other.skipped;
        self.control += other.control;
        self.aborted += other.aborted;
        self.gap += other.gap;
        self.lost += other.lost;
    }
}
