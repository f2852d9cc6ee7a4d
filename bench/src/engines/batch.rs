//! librdkafka's consumer in batches, which is how it is cheapest: the crate `rdkafka` gives one message a call.
//!
//! The only unsafe code of the benchmarks: calls of librdkafka's simple consumer, all partitions into one queue.
//! A [`Batches`] owns the client, its topics and the queue; a message is looked at and destroyed before the call
//! returns, so none outlives them. The high-level consumer's own queue would not do: it also holds what is no
//! message, and librdkafka ends the process when it meets that in a batch.

use std::ffi::CString;
use std::ptr;
use std::time::Duration;

use rdkafka::bindings::{
    RD_KAFKA_OFFSET_BEGINNING, rd_kafka_consume_batch_queue, rd_kafka_consume_start_queue,
    rd_kafka_consume_stop, rd_kafka_message_destroy, rd_kafka_message_t, rd_kafka_queue_destroy,
    rd_kafka_queue_new, rd_kafka_queue_t, rd_kafka_topic_destroy, rd_kafka_topic_new,
    rd_kafka_topic_t,
};
use rdkafka::consumer::{BaseConsumer, Consumer};

/// Messages of one call at most.
const BATCH_MAX: usize = 10_000;

/// Partitions that are read from their beginning.
pub struct Batches {
    queue: *mut rd_kafka_queue_t,
    topics: Vec<(*mut rd_kafka_topic_t, i32)>,
    messages: Vec<*mut rd_kafka_message_t>,
    /// Dropped behind the others.
    _consumer: BaseConsumer,
}

impl Batches {
    /// By a consumer that is assigned nothing and is no group's. `topics`: names and numbers of partitions.
    #[must_use]
    pub fn start(consumer: BaseConsumer, topics: &[(CString, i32)]) -> Batches {
        let client = consumer.client().native_ptr();
        // SAFETY: the client lives as long as `consumer`, which this value keeps; names end with a zero; what is
        // made here is given back in `drop`, once.
        let (queue, topics) = unsafe {
            let queue = rd_kafka_queue_new(client);
            let start = |(name, partitions): &(CString, i32)| {
                let topic = rd_kafka_topic_new(client, name.as_ptr(), ptr::null_mut());
                for partition in 0..*partitions {
                    let from = i64::from(RD_KAFKA_OFFSET_BEGINNING);
                    rd_kafka_consume_start_queue(topic, partition, from, queue);
                }
                (topic, *partitions)
            };
            (queue, topics.iter().map(start).collect())
        };
        Batches {
            queue,
            topics,
            messages: vec![ptr::null_mut(); BATCH_MAX],
            _consumer: consumer,
        }
    }

    /// Waits so long at most until a batch is full; `each` hears offset and bytes of every one, or librdkafka's error
    /// code with it.
    pub fn take(&mut self, wait: Duration, mut each: impl FnMut(Result<(u64, usize), i32>)) {
        let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is our own reference, and `messages` has room for as many as are asked for.
        let taken = unsafe {
            let room = self.messages.as_mut_ptr();
            rd_kafka_consume_batch_queue(self.queue, wait_ms, room, BATCH_MAX)
        };
        let taken = usize::try_from(taken).unwrap_or(0);
        for message in &self.messages[..taken] {
            // SAFETY: librdkafka wrote the first `taken` of them, each its own message, ours until it is
            // destroyed, which is here; nothing of it is kept.
            unsafe {
                let said = &**message;
                match said.err as i32 {
                    0 => each(Ok((said.offset.cast_unsigned(), said.len))),
                    code => each(Err(code)),
                }
                rd_kafka_message_destroy(*message);
            }
        }
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        // SAFETY: topics and queue were made in `start` and are given back once, before the client.
        unsafe {
            for (topic, partitions) in &self.topics {
                for partition in 0..*partitions {
                    rd_kafka_consume_stop(*topic, partition);
                }
                rd_kafka_topic_destroy(*topic);
            }
            rd_kafka_queue_destroy(self.queue);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::ClientConfig;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, Producer};

    #[test]
    fn a_batch_is_what_was_produced() {
        const MESSAGES: u64 = 25_000;
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("t", 1, 1).unwrap();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers());
        let producer: BaseProducer = config.create().unwrap();
        for number in 0..MESSAGES {
            let value = vec![b'x'; number as usize % 100];
            crate::topic::queue(&producer, "t", 0, &value).unwrap();
        }
        producer.flush(Duration::from_secs(60)).unwrap();
        let consumer: BaseConsumer = config.create().unwrap();
        let mut batches = Batches::start(consumer, &[(CString::new("t").unwrap(), 1)]);
        let mut next = 0;
        while next < MESSAGES {
            batches.take(Duration::from_millis(100), |message| {
                assert_eq!(message, Ok((next, next as usize % 100)));
                next += 1;
            });
        }
    }
}
