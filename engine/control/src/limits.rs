//! Every bound of this crate, by name, units last; what depends on another is asserted beside it.

// --- catalog ---

/// Requests that wait for the catalog's thread; the sender waits beyond it.
pub const CATALOG_QUEUE_REQUESTS_MAX: usize = 64;
/// Numbered changes kept for replay; whoever is further behind takes the whole catalog.
pub const CATALOG_CHANGES_KEPT_MAX: u64 = 4_096;
/// Databases.
pub const DATABASES_MAX: usize = 1_024;
/// Tables in all databases.
pub const TABLES_MAX: usize = 16_384;
/// Columns of one table: MySQL's own bound is 4,096.
pub const TABLE_COLUMNS_MAX: usize = 1_024;
/// Pipelines in all databases.
pub const PIPELINES_MAX: usize = 4_096;
/// Pairings in all pipelines: leaf partitions of this node.
pub const PAIRINGS_MAX: usize = 65_536;
/// A database's, table's, column's or pipeline's name, as MySQL bounds it.
pub const NAME_CHARS_MAX: usize = 64;
/// A comment, as MySQL bounds it.
pub const COMMENT_CHARS_MAX: usize = 2_048;
/// What is kept of the disk for the catalog's WAL: twice as much as it grows to while it can be checkpointed.
pub const CATALOG_ROOM_BYTES: u64 = 8 * 1024 * 1024;
/// Bytes of the catalog's WAL that a start writes again at a time.
pub const CATALOG_WAL_PIECE_BYTES: usize = 256 * 1024;
/// Free pages that are made in the catalog's own file: what makes something more leaves half of them. One that stops or
/// drops adds a row to the list of changes, some 20 of a few partitions to a page, or two pages of a thousand.
pub const CATALOG_FREE_PAGES: u64 = 512;
/// SQLite's own page.
pub const CATALOG_PAGE_BYTES: u64 = 4_096;
/// One change as it stands in the catalog.
pub const CATALOG_CHANGE_BYTES_MAX: usize = 16 * 1024 * 1024;

// --- aggregator ---

/// Statements that wait for the aggregator; the session waits beyond it.
pub const AGGREGATOR_QUEUE_COMMANDS_MAX: usize = 256;
/// Statements under way at once: those that wait for leaves or brokers.
pub const AGGREGATOR_OPEN_COMMANDS_MAX: usize = 1_024;
/// Reports taken from leaves before the aggregator decides again.
pub const REPORTS_PER_TURN_MAX: usize = 1_024;
/// Kafka partitions of one pipeline.
pub const PIPELINE_PARTITIONS_MAX: usize = 16_384;
/// Bootstrap servers of one pipeline.
pub const BOOTSTRAP_SERVERS_MAX: usize = 64;
/// CONFIG keys of one pipeline.
pub const CONFIG_KEYS_MAX: usize = 128;
/// Brokers of one cluster.
pub const CLUSTER_BROKERS_MAX: usize = 1_024;
/// How often topics are looked at for new partitions, deletion and another id.
pub const METADATA_INTERVAL_MS: u64 = 10_000;
/// The least time between two questions about one topic.
pub const TOPIC_QUESTION_INTERVAL_MS: u64 = 100;
/// A topic that Metadata does not know for this long is deleted.
pub const TOPIC_DELETED_AFTER_MS: u64 = 60_000;
/// Group offsets are published at most this often.
pub const GROUP_OFFSET_INTERVAL_MS: u64 = 1_000;
/// And at least this often: brokers forget idle groups after seven days.
pub const GROUP_OFFSET_REFRESH_MS: u64 = 24 * 3_600 * 1_000;
/// `operation.timeout.ms` where CONFIG does not say.
pub const OPERATION_TIMEOUT_MS: u64 = 10_000;
/// How often orders that a leaf's queue refused are tried again.
pub const AGGREGATOR_TICK_MS: u64 = 250;
/// At start, how long who leads may take to learn; leaf partitions are dealt without it then.
pub const START_METADATA_MS: u64 = 3_000;
/// The pause after brokers that could not be asked, while a leaf waits for the answer.
pub const UNREACHABLE_PAUSE_MS: u64 = 1_000;
/// The pause before a failure that could not be kept is written again.
pub const FAILURE_AGAIN_MS: u64 = 1_000;
/// Questions of a pipeline's leaves that wait; beyond it they are dropped, a leaf asks again.
pub const SOURCE_QUEUE_QUESTIONS_MAX: usize = 4_096;
/// Rows TEST PIPELINE returns without a LIMIT.
pub const TEST_ROWS_DEFAULT: u64 = 1;
/// Rows TEST PIPELINE returns at most.
pub const TEST_ROWS_MAX: u64 = 65_536;
/// Bytes of messages that TEST PIPELINE decodes at most.
pub const TEST_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Room for strings, per column, in a block of TEST PIPELINE; a larger message gets its own.
pub const TEST_BLOCK_STRING_BYTES: u32 = 256 * 1024;
/// Answers in a row without a record, before what is left of a range counts as compacted away: AUDIT.
pub const AUDIT_EMPTY_ANSWERS_MAX: u32 = 3;
/// Answers in a row at a log's end below what was loaded, 100 ms each, before AUDIT says so: a new leader's
/// high watermark lags for a moment.
pub const AUDIT_END_ANSWERS_MAX: u32 = 50;
/// How often in a row AUDIT asks who leads, before a partition that cannot be read is given up.
pub const AUDIT_TRIES_MAX: u32 = 10;
/// How long the leaves may drain at shutdown before it is said that they do not.
pub const DRAIN_WARN_MS: u64 = 10_000;
/// How long the leaves may drain at all: then the process ends, and what is not durable is fetched again.
pub const DRAIN_MS_MAX: u64 = 30_000;
/// How long all sources together may take to publish their last group offsets.
pub const LAST_PUBLISH_MS: u64 = 250;

const _: () = assert!(DRAIN_WARN_MS < DRAIN_MS_MAX);
const _: () = assert!(TOPIC_QUESTION_INTERVAL_MS < METADATA_INTERVAL_MS);
const _: () = assert!(METADATA_INTERVAL_MS < TOPIC_DELETED_AFTER_MS);
const _: () = assert!(GROUP_OFFSET_INTERVAL_MS < GROUP_OFFSET_REFRESH_MS);
const _: () = assert!(TOPIC_QUESTION_INTERVAL_MS <= UNREACHABLE_PAUSE_MS);
const _: () = assert!(UNREACHABLE_PAUSE_MS < METADATA_INTERVAL_MS);
const _: () = assert!(START_METADATA_MS < METADATA_INTERVAL_MS);
const _: () = assert!(TEST_ROWS_DEFAULT <= TEST_ROWS_MAX);
const _: () = assert!(PIPELINE_PARTITIONS_MAX <= PAIRINGS_MAX);
const _: () = assert!(AGGREGATOR_QUEUE_COMMANDS_MAX <= AGGREGATOR_OPEN_COMMANDS_MAX);
const _: () = assert!(AUDIT_EMPTY_ANSWERS_MAX <= AUDIT_END_ANSWERS_MAX);
