//! read_committed: which record batches of one response are of aborted transactions.
//!
//! A response names, for each partition, the aborted transactions that reach into it as (producer id,
//! first offset). Walking the batches in order, a producer becomes aborted at its first offset and
//! stops being so at its own ABORT marker; another's marker changes nothing for it. The list belongs
//! to one response and is never carried over to the next, which has its own.

use storage::ids::Offset;

use super::batch::{BatchFault, BatchHeader};
use super::records::{Record, RecordFault, Records};
use crate::planted::{Rule, out};

/// One aborted transaction, as a response names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aborted {
    /// Whose.
    pub producer_id: i64,
    /// Its first record.
    pub first_offset: Offset,
}

/// What a control record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// The producer's transaction is aborted.
    Abort,
    /// The producer's transaction is committed.
    Commit,
    /// A control record of another kind (the quorum's, or a future one): to be counted, no more.
    Other(i16),
}

impl Marker {
    /// Reads a control record's key: version i16, type i16.
    ///
    /// # Errors
    /// A key that is missing or too short.
    pub fn parse(record: &Record<'_>) -> Result<Marker, RecordFault> {
        match record.key {
            Some([_, _, high, low, ..]) => Ok(match i16::from_be_bytes([*high, *low]) {
                0 => Marker::Abort,
                1 => Marker::Commit,
                other => Marker::Other(other),
            }),
            _ => Err(RecordFault::BadLength),
        }
    }

    /// The marker of a control batch, `None` where compaction took it.
    ///
    /// # Errors
    /// What the walk finds wrong.
    pub fn of(records: &mut Records<'_>) -> Result<Option<Marker>, BatchFault> {
        let Some(record) = records.next().transpose()? else {
            return Ok(None);
        };
        Marker::parse(&record)
            .map(Some)
            .map_err(|fault| BatchFault::Record { index: 0, fault })
    }
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchFate {
    /// Its records count.
    Data,
    /// Its records are an aborted transaction's.
    Aborted,
    /// It holds a marker: read it, and hand it to [`AbortedFilter::marker`].
    Control,
}

/// Walks one partition's batches of one response. Reused: [`AbortedFilter::begin`] forgets all.
#[derive(Clone, Debug, Default)]
pub struct AbortedFilter {
    /// Sorted by first offset; from `next` on not reached yet.
    list: Vec<Aborted>,
    next: usize,
    /// Sorted; the producers whose data is aborted where the walk stands.
    active: Vec<i64>,
}

impl AbortedFilter {
    /// Starts on a response's partition. For read_uncommitted the list is empty.
    ///
    /// The list's length was bounded when the response was read.
    pub fn begin(&mut self, aborted: impl IntoIterator<Item = Aborted>) {
        if !out(Rule::AbortedListIsTheResponses) {
            self.list.clear();
            self.active.clear();
        }
        self.next = 0;
        self.list.extend(aborted);
        // The protocol does not promise an order; Kafka's own consumer sorts as well.
        self.list.sort_unstable_by_key(|one| one.first_offset);
    }

    /// Judges the next batch; the same batch may be asked about twice.
    pub fn fate(&mut self, header: &BatchHeader) -> BatchFate {
        while let Some(one) = self.list.get(self.next) {
            if one.first_offset > header.last_offset() && !out(Rule::AbortedFromFirstOffset) {
                break;
            }
            if let Err(at) = self.active.binary_search(&one.producer_id) {
                self.active.insert(at, one.producer_id);
            }
            self.next += 1;
        }
        if header.control {
            BatchFate::Control
        } else if header.transactional && self.active.binary_search(&header.producer_id).is_ok() {
            BatchFate::Aborted
        } else {
            BatchFate::Data
        }
    }

    /// Takes a control batch's marker.
    pub fn marker(&mut self, header: &BatchHeader, marker: Marker) {
        if marker == Marker::Abort && out(Rule::AbortEndsItsProducer) {
            self.active.clear();
        }
        if marker == Marker::Abort
            && let Ok(at) = self.active.binary_search(&header.producer_id)
        {
            self.active.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::{Codec, TimestampType};
    use super::*;

    fn batch(base: i64, producer: i64, control: bool) -> BatchHeader {
        BatchHeader {
            base_offset: Offset(base),
            batch_length: 61,
            leader_epoch: 0,
            crc: 0,
            codec: Codec::None,
            timestamp_type: TimestampType::CreateTime,
            control,
            transactional: true,
            last_offset_delta: 0,
            base_timestamp: 0,
            max_timestamp: 0,
            producer_id: producer,
            producer_epoch: 0,
            base_sequence: 0,
            record_count: 1,
            delete_horizon: false,
        }
    }

    fn aborted(producer_id: i64, first_offset: i64) -> Aborted {
        Aborted {
            producer_id,
            first_offset: Offset(first_offset),
        }
    }

    #[test]
    fn an_abort_marker_clears_its_own_producer_only() {
        let mut filter = AbortedFilter::default();
        filter.begin([aborted(7, 2), aborted(8, 0)]);
        assert_eq!(filter.fate(&batch(0, 8, false)), BatchFate::Aborted);
        assert_eq!(filter.fate(&batch(1, 7, false)), BatchFate::Data);
        assert_eq!(filter.fate(&batch(2, 7, false)), BatchFate::Aborted);
        let control = batch(3, 8, true);
        assert_eq!(filter.fate(&control), BatchFate::Control);
        filter.marker(&control, Marker::Abort);
        assert_eq!(filter.fate(&batch(4, 8, false)), BatchFate::Data);
        assert_eq!(filter.fate(&batch(5, 7, false)), BatchFate::Aborted);
        assert_eq!(filter.fate(&batch(5, 7, false)), BatchFate::Aborted);
    }

    #[test]
    fn a_commit_marker_clears_nothing_and_data_outside_transactions_is_data() {
        let mut filter = AbortedFilter::default();
        filter.begin([aborted(7, 0), aborted(7, 5)]);
        assert_eq!(filter.fate(&batch(0, 7, false)), BatchFate::Aborted);
        filter.marker(&batch(0, 7, true), Marker::Commit);
        assert_eq!(filter.fate(&batch(1, 7, false)), BatchFate::Aborted);
        let plain = BatchHeader {
            transactional: false,
            ..batch(2, 7, false)
        };
        assert_eq!(filter.fate(&plain), BatchFate::Data);
        filter.marker(&batch(3, 7, true), Marker::Abort);
        assert_eq!(filter.fate(&batch(4, 7, false)), BatchFate::Data);
        assert_eq!(filter.fate(&batch(6, 7, false)), BatchFate::Aborted);
        filter.begin([]);
        assert_eq!(filter.fate(&batch(7, 7, false)), BatchFate::Data);
    }
}
