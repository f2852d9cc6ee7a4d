//! Every bound of this crate: queues, buffers, loops. Units stand last in the name; what hangs
//! together is asserted at compile time.

// --- leaf ---

/// Orders that may wait for a leaf.
pub const ORDERS_QUEUED_MAX: usize = 4_096;
/// Reports that may wait for the aggregator; what does not fit stays in the leaf, coalesced.
pub const REPORTS_QUEUED_MAX: usize = 4_096;
/// Leaf partitions that one leaf serves.
pub const LEAF_PARTITIONS_MAX: usize = 1_024;
/// Connections of one leaf to brokers.
pub const LANES_MAX: usize = 256;
/// Responses of one lane in memory: one is loaded while one is on its way.
pub const FRAMES_PER_LANE_MAX: usize = 2;

/// Regions for responses that a leaf keeps for the next ones.
pub const REGIONS_FREE_MAX: usize = 16;
/// Of a leaf's memory, the part that responses may take; the rest is for blocks.
pub const FRAMES_SHARE_DIVISOR: u64 = 4;

/// Of a leaf's memory, the part of the responses' share that record batches may take which are unpacked
/// and not loaded yet, beside one of any size.
pub const UNPACKED_SHARE_DIVISOR: u64 = 16;

/// What a fetch asks of one partition.
pub const FETCH_PARTITION_BYTES_MAX: usize = 1024 * 1024;
/// What a fetch asks of a broker in all.
pub const FETCH_RESPONSE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Room in a frame for the response's own fields beside its records.
pub const FRAME_OVERHEAD_BYTES: usize = 256 * 1024;
/// A record batch larger than this is an error that names its offset.
pub const BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What one read from a socket may take.
pub const RECEIVE_BYTES: usize = 128 * 1024;
/// A fetch waits on the broker so long when every running partition of that broker is in it.
pub const FETCH_WAIT_MS: u32 = 500;
/// And so long when one was left out.
pub const FETCH_WAIT_PARTIAL_MS: u32 = 10;
/// A lane of so many partitions makes a fetch session with its broker: below it a request that names
/// all of them is small beside what it brings.
pub const FETCH_SESSION_PARTITIONS_MIN: usize = 128;
/// What a broker said of a log's end this long ago or less is how it stands: an idle partition is
/// answered once in a fetch's own wait, and the answer has as long for its way.
pub const HEARD_MS_MAX: u64 = 2 * FETCH_WAIT_MS as u64;
/// A response with fewer rows than this is followed by a pause of [`FETCH_PAUSE_MS`].
pub const FETCH_SMALL_ROWS: u64 = 64;
/// The next fetch leaves at least so long after the one whose response was small.
pub const FETCH_PAUSE_MS: u64 = 1;

/// Bytes of records that one partition decodes before its neighbours have a turn.
pub const TURN_BYTES: usize = 256 * 1024;

/// START ... FOREGROUND ends after so many answers in a row in which the broker had no record at all,
/// though the log's end lies ahead of the cursor: what stood there was compacted away. And where the log
/// ends before FOREGROUND does, its range is asked after as many.
pub const EMPTY_ANSWERS_MAX: u32 = 3;

/// A connection that is not up by then is given up.
pub const CONNECT_TIMEOUT_MS: u64 = 10_000;
/// Addresses of a broker's name that are tried, one after another.
pub const ADDRESSES_MAX: usize = 4;
/// Look-ups of a leaf that the system has not answered: each keeps a thread until it does.
pub const LOOKUPS_MAX: usize = 8;
/// A broker that answers nothing for so long beyond a fetch's own wait is disconnected.
pub const RESPONSE_TIMEOUT_MS: u64 = 30_000;
/// First pause before a lane is connected again.
pub const RECONNECT_FIRST_MS: u64 = 50;
/// Longest pause before a lane is connected again.
pub const RECONNECT_MAX_MS: u64 = 5_000;
/// That a lane was lost for the same reason is logged once in so long.
pub const LOST_SAID_MS: u64 = 60_000;
/// First pause of a partition after a retriable error of the broker.
pub const RETRIABLE_FIRST_MS: u64 = 100;
/// Longest pause of a partition after retriable errors of the broker.
pub const RETRIABLE_MAX_MS: u64 = 2_000;
/// The aggregator is asked about one topic's leaders at most so often.
pub const ASK_INTERVAL_MS: u64 = 100;
/// A question that is not answered is asked again after this.
pub const ASK_AGAIN_MS: u64 = 1_000;
/// A broker's wish for silence is followed up to this.
pub const THROTTLE_MS_MAX: u64 = 60_000;
/// An answer to ApiVersions is never longer.
pub const HELLO_BYTES_MAX: usize = 64 * 1024;
/// Operations that may wait for one kind of a leaf's disk threads: each store has at most four.
pub const DISK_OPS_QUEUED_MAX: usize = 4 * LEAF_PARTITIONS_MAX;
/// Outcomes that may wait for the leaf; its disk threads wait beyond it.
pub const DISK_DONE_QUEUED_MAX: usize = 4_096;
/// Threads of a leaf that sync.
pub const SYNC_THREADS: usize = storage::limits::SYNCS_PER_LEAF_MAX as usize;
/// Memory that an executor registers with io_uring: the leaf's files do not use it.
pub const IO_MEMORY_BYTES: usize = 64 * 1024;
/// How long a leaf that spins looks for work before it parks.
pub const SPIN_US: u64 = 500;
/// A leaf partition that waits for a block looks for one so often: a query says nothing when it lets
/// one go.
pub const MEMORY_AGAIN_MS: u64 = 10;
/// Reports that did not fit are tried again after this.
pub const REPORT_AGAIN_MS: u64 = 10;
/// Room for effects that is kept from event to event.
pub const EFFECTS_KEPT: usize = 64;
/// How a partition stands is shown at most so often.
pub const SHOW_AGE_MS: u64 = 20;
/// Gauges that cost more than a store are published at most so often.
pub const GAUGES_AGE_MS: u64 = 1_000;

/// Freshness is kept from 1 µs up to this: an hour.
pub const FRESHNESS_US_MAX: u64 = 3_600_000_000;

const _: () = assert!(FETCH_PARTITION_BYTES_MAX <= FETCH_RESPONSE_BYTES_MAX);
const _: () = assert!(FETCH_RESPONSE_BYTES_MAX + FRAME_OVERHEAD_BYTES < BATCH_BYTES_MAX);
const _: () = assert!(UNPACKED_SHARE_DIVISOR > FRAMES_SHARE_DIVISOR);
const _: () = assert!(FETCH_SESSION_PARTITIONS_MIN <= LEAF_PARTITIONS_MAX);
const _: () = assert!(RECEIVE_BYTES <= FETCH_PARTITION_BYTES_MAX);
const _: () = assert!(TURN_BYTES <= FETCH_PARTITION_BYTES_MAX);
const _: () = assert!(FETCH_WAIT_PARTIAL_MS < FETCH_WAIT_MS);
const _: () = assert!((FETCH_WAIT_MS as u64) < RESPONSE_TIMEOUT_MS);
const _: () = assert!((FETCH_WAIT_MS as u64) < HEARD_MS_MAX && HEARD_MS_MAX < RESPONSE_TIMEOUT_MS);
const _: () = assert!(RECONNECT_FIRST_MS < RECONNECT_MAX_MS);
const _: () = assert!(RETRIABLE_FIRST_MS < RETRIABLE_MAX_MS);
const _: () = assert!(ORDERS_QUEUED_MAX <= 4_096 && REPORTS_QUEUED_MAX <= 4_096);

// --- kafka ---

/// What one record batch may unpack to. A larger one is an error, not memory.
pub const DECOMPRESSED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The decompressor's first allocation.
pub const DECOMPRESS_SCRATCH_BYTES_MIN: usize = 256 * 1024;
/// What it keeps from one batch to the next.
pub const DECOMPRESS_SCRATCH_KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Aborted transactions that one partition of one response may name.
pub const ABORTED_MAX: usize = 65_536;
/// Tagged fields of one structure; each is at least two bytes and ours have at most three.
pub const TAGS_MAX: u32 = 64;
/// A response other than Fetch's is never longer.
pub const RESPONSE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A cluster's brokers.
pub const BROKERS_MAX: usize = 10_000;
/// A host's name or address, as DNS bounds it.
pub const HOST_BYTES_MAX: usize = 255;

const _: () = assert!(DECOMPRESS_SCRATCH_BYTES_MIN <= DECOMPRESS_SCRATCH_KEPT_BYTES_MAX);
const _: () = assert!(DECOMPRESS_SCRATCH_KEPT_BYTES_MAX <= DECOMPRESSED_BYTES_MAX);
// The smallest aborted transaction in a response is a record batch and a marker: some 140 bytes.
const _: () = assert!(ABORTED_MAX * 140 > FETCH_RESPONSE_BYTES_MAX);
const _: () = assert!(BATCH_BYTES_MAX + FRAME_OVERHEAD_BYTES < i32::MAX as usize);

// --- pipeline ---

/// Rows of one message: what a block can hold. A message of more is a reject.
pub const MESSAGE_ROWS_MAX: u32 = storage::limits::BLOCK_ROWS_MAX;
/// Objects and arrays around a JSON value's innermost one, with it.
pub const NESTING_LEVELS_MAX: u32 = 128;
/// Keys in a mapping's path.
pub const PATH_KEYS_MAX: usize = 32;
/// Columns of a mapping.
pub const MAPPED_COLUMNS_MAX: usize = storage::limits::COLUMNS_MAX;
/// A value as an error's text shows it.
pub const FAILURE_VALUE_BYTES_MAX: usize = 128;
/// Members of one object whose order and spelling are kept from message to message.
pub const SHAPE_MEMBERS_MAX: usize = 128;
/// Members that may be missing in a row before a member is looked up by its key.
pub const SHAPE_AHEAD_MEMBERS: usize = 6;
/// What a kept member may take from the end of the last value to the start of its own.
pub const SHAPE_MEMBER_BYTES_MAX: usize = 46;
/// How many members a shape lets pass before it learns again, at most, when it learns in vain.
pub const SHAPE_PAUSE_MEMBERS_MAX: u32 = 4_096;
/// Scratch for unescaped strings that is kept from message to message.
pub const SCRATCH_KEPT_BYTES_MAX: usize = 1024 * 1024;

// The walk over nested values keeps one bit a level in a u128.
const _: () = assert!(NESTING_LEVELS_MAX == u128::BITS);
const _: () = assert!((PATH_KEYS_MAX as u32) < NESTING_LEVELS_MAX);
const _: () = assert!(MAPPED_COLUMNS_MAX < u16::MAX as usize);

// --- audit ---

/// Contradictions that one range's STATUS names; the rest is counted.
pub const AUDIT_FAULTS_SHOWN: usize = 3;
/// What verifying holds at any time beside a commit and a response: the decompressor's scratch, a list
/// of aborted transactions, the response that is on its way.
pub const AUDIT_BASE_BYTES: u64 = (DECOMPRESS_SCRATCH_KEPT_BYTES_MAX
    + 2 * (FETCH_PARTITION_BYTES_MAX + FRAME_OVERHEAD_BYTES))
    as u64;
/// What reading a seal takes, in its own sizes: its bytes, and its records twice.
pub const AUDIT_SEAL_FACTOR: u64 = 4;
