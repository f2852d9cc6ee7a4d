//! The pass for the messages there are: like the last one, and without a fault.
use storage::block::Tail;

use super::JsonDecoder;

#[derive(Clone, Debug, Default)]
pub(super) struct Months;

/// Why the pass gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bail {
    /// To be done by the exact pass, which knows why.
    Exact,
    /// The block's string region is full.
    Full,
}

impl JsonDecoder {
    pub(super) fn fast_row(
        &mut self,
        _text: &str,
        _at: usize,
        _tail: &mut Tail<'_>,
    ) -> Result<usize, Bail> {
        Err(Bail::Exact)
    }
}
