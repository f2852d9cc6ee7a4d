//! A partition as somebody reads it who is no leaf: whole answers, one after the other, without a fault.

use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, FetchableTopicResponse, PartitionData,
};
use kafka_protocol::messages::{FetchResponse, ProducerId, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::Log;
use super::cluster::{TOPIC, encode};

/// Of the answers.
pub const VERSION: i16 = 12;
/// Of the answers.
pub const CORRELATION_ID: i32 = 7;
/// So many record batches an answer, so that a transaction does not fit one.
const BATCHES_MAX: usize = 3;

/// The answer from an offset on, from the correlation id on, and where the next one begins. `None`: there is nothing
/// more.
#[must_use]
pub fn read(log: &Log, partition: i32, from: i64, read_committed: bool) -> Option<(Vec<u8>, i64)> {
    let end = match read_committed {
        true => log.stable(),
        false => log.end(),
    };
    let batches = log.batches.iter().filter(|batch| batch.next > from);
    let batches = batches.take_while(|batch| batch.next <= end);
    let batches: Vec<_> = batches.take(BATCHES_MAX).collect();
    let next = batches.last()?.next;
    let records: Vec<&[u8]> = batches.iter().map(|batch| batch.bytes.as_slice()).collect();
    let spans = log.aborted.iter();
    let spans = spans.filter(|span| span.last >= from && span.first < next);
    let aborted = spans.map(|span| {
        AbortedTransaction::default()
            .with_producer_id(ProducerId(span.producer))
            .with_first_offset(span.first)
    });
    let data = PartitionData::default()
        .with_partition_index(partition)
        .with_high_watermark(log.end())
        .with_last_stable_offset(log.stable())
        .with_log_start_offset(log.start)
        .with_aborted_transactions(read_committed.then(|| aborted.collect()))
        .with_records(Some(records.concat().into()));
    let said = FetchableTopicResponse::default()
        .with_topic(TopicName::from(StrBytes::from_static_str(TOPIC)))
        .with_partitions(vec![data]);
    let response = FetchResponse::default().with_responses(vec![said]);
    let mut bytes = encode(CORRELATION_ID, VERSION, &response, 1);
    Some((bytes.split_off(4), next))
}
