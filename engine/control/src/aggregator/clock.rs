//! The aggregator's clock: given by whoever starts it, so that tests own time.

/// Two readings: one that never goes back, one that people read.
pub trait Clock: Send + Sync + 'static {
    /// ms since some instant; never goes back.
    fn now_ms(&self) -> u64;
    /// ms since 1970.
    fn unix_ms(&self) -> i64;
}
