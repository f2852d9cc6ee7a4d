//! Every bound of the development broker. Units stand last in the name.

/// Clients at a time; one more waits to be accepted.
pub const CONNECTIONS_MAX: usize = 64;
/// A request's bytes.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// One record batch.
pub const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// One partition's log. Beyond it a producer is refused: this broker deletes nothing.
pub const LOG_BYTES_MAX: u64 = 64 * 1024 * 1024 * 1024;
/// The index has an entry for so many bytes of the log.
pub const INDEX_EVERY_BYTES: u64 = 64 * 1024;
/// What one fetch response holds at most, one record batch excepted.
pub const FETCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A fetch is held back at most so long.
pub const FETCH_WAIT_MS_MAX: u64 = 30_000;
/// Topics.
pub const TOPICS_MAX: usize = 1_000;
/// A topic's partitions.
pub const PARTITIONS_MAX: i32 = 1_000;
/// A topic's name, as Kafka bounds it.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;
/// Published offsets, of all groups together.
pub const OFFSETS_MAX: usize = 100_000;
/// The text kept with one, as Kafka bounds it.
pub const OFFSET_METADATA_BYTES_MAX: usize = 4_096;
/// Elements of any list in a request.
pub const REQUEST_ELEMENTS_MAX: usize = 10_000;
/// What the rebuild of an index reads at a time.
pub const RECOVER_READ_BYTES: usize = 1024 * 1024;
/// A broker that does not answer a producer for so long is given up.
pub const PRODUCE_TIMEOUT_MS: u64 = 30_000;
/// A response to a producer is never longer.
pub const PRODUCE_RESPONSE_BYTES_MAX: usize = 1024 * 1024;

const _: () = assert!(BATCH_BYTES_MAX < REQUEST_BYTES_MAX);
const _: () = assert!(BATCH_BYTES_MAX <= ingest::limits::BATCH_BYTES_MAX);
const _: () = assert!(FETCH_BYTES_MAX + REQUEST_BYTES_MAX < i32::MAX as usize);
const _: () = assert!(LOG_BYTES_MAX / INDEX_EVERY_BYTES <= 1024 * 1024);
