//! Every bound of this crate, by name, units last; what depends on another is asserted beside it.

pub use control::limits::*;

// --- sql: sessions and statements ---

/// An error's text as a client is shown it, at most; three dots follow one that was cut.
pub const ERROR_BYTES_MAX: usize = 4096;
/// A statement's text in SHOW PROCESSLIST, at most.
pub const PROCESS_INFO_BYTES_MAX: usize = 4096;

// --- sql: SELECT ---

/// Levels of parentheses and subqueries in a statement's text.
pub const STATEMENT_NESTING_MAX: usize = 256;
/// Operands that a parse begins for each token of its text, on the way or in vain, and so many more.
pub const PARSE_STEPS_PER_TOKEN_MAX: usize = 16;
/// See [`PARSE_STEPS_PER_TOKEN_MAX`].
pub const PARSE_STEPS_SPARE: usize = 1_536;
/// The stack of a thread that parses, plans or runs queries: address space, of which what is used is memory. A level of an
/// expression takes 5 KB of it to be copied.
pub const QUERY_STACK_BYTES: usize = 128 << 20;
/// Tokens of a text that its parser may copy: sqlparser hands an operator its left side to look at alone.
pub const COPIED_TOKENS_MAX: usize = 8 << 20;
/// Tokens of a parenthesis between two commas, or in all where it has a set operation; numbers and strings are none.
pub const STATEMENT_TOKENS_MAX: usize = 65_536;
/// Bytes of a statement that is parsed beside the control thread.
pub const PARSE_BESIDE_BYTES: usize = 16 << 10;
/// What a statement of many steps reserves for the stack of its thread while it is planned: the highest that is not
/// refused was measured at 9.6 MB.
pub const QUERY_STACK_USED_BYTES: usize = 16 << 20;
/// Expressions in a call that a plan names by their text.
pub const NAMED_EXPRESSIONS_MAX: usize = 16;
/// Bytes of a text among them.
pub const NAMED_TEXT_BYTES_MAX: usize = 1_024;
/// Words and operators of a statement in a row, with those of the parentheses in it: its tree is not higher.
pub const STATEMENT_HEIGHT_MAX: usize = 2_048;
/// What a plan may hold of what it repeats: BETWEEN, IN, COALESCE, IFNULL, NULLIF, CASE and IF repeat an operand.
pub const REPEATED_EXPRESSIONS_MAX: usize = 8_192;
/// Steps that planning a statement may take: one for each expression but a literal, and more where it is nested deep or
/// stands beside many. One was measured at some 50 to 300 us, less of what is nested deep.
pub const PLAN_STEPS_MAX: usize = 65_536;
/// Steps of a statement that is planned beside the query threads, some 50 ms. Not of every one: an allocator keeps what is
/// freed for each thread that ever planned.
pub const PLAN_STEPS_BESIDE: usize = 1_024;
/// Bytes of constants of which a function is evaluated there too while a statement is planned.
pub const CONSTANTS_BESIDE_BYTES: usize = 1 << 20;
/// An expression on level n takes n * n * n steps, divided by this, more: it is named and hashed with all below it, often.
pub const PLAN_STEP_LEVELS: usize = 1_024;
/// The n-th SELECT of a statement takes n steps, divided by this, more.
pub const PLAN_STEP_SELECTS: usize = 4;
/// The n-th aggregate, or item of an ORDER BY or GROUP BY, takes n steps, divided by this, more.
pub const PLAN_STEP_ITEMS: usize = 32;
/// Tables in a FROM, as MySQL bounds them.
pub const JOINED_TABLES_MAX: usize = 61;
/// Subqueries in expressions of a statement.
pub const SUBQUERIES_MAX: usize = 256;
/// Levels of subqueries in expressions: each doubles the work of a plan.
pub const SUBQUERY_NESTING_MAX: usize = 8;
/// Windows of a statement, as MySQL bounds those of a SELECT.
pub const WINDOWS_MAX: usize = 127;
/// Levels of plain expressions below a function that becomes one itself.
pub const LOWERED_LEVELS_MAX: usize = 8;
/// The first level of an expression that is named by a number; lower ones may be a filter's.
pub const NUMBERED_LEVEL_MIN: usize = 8;
/// Levels between two of these.
pub const NUMBERED_LEVELS: usize = 4;
/// How often a query in parentheses may be read, with all around it.
pub const QUERY_READS_MAX: usize = 128;
/// Levels of subqueries, derived tables and common table expressions.
pub const QUERY_NESTING_MAX: usize = 64;
/// Levels of an expression; AND and OR of many count as one.
pub const EXPRESSION_NESTING_MAX: usize = 128;
/// Columns of a SELECT, as MySQL bounds them.
pub const RESULT_COLUMNS_MAX: usize = 4_096;
/// What parsing a statement takes beside what follows, measured as these are (`tests/parse_memory.rs`).
pub const PARSED_BASE_BYTES: usize = 16 << 10;
/// What a token of a statement takes in the parser and its tree, at most: a table that is joined, or an item of ORDER BY, in
/// a vector that has just grown.
pub const PARSED_TOKEN_BYTES: usize = 3_328;
/// What a SELECT takes there beside its tokens: room for a few of everything that it may have.
pub const PARSED_SELECT_BYTES: usize = 14 << 10;
/// What a blank takes there.
pub const PARSED_BLANK_BYTES: usize = 288;
/// How often the text itself stands there: its own, of its tokens while they grow, and of what it says.
pub const PARSED_COPIES: usize = 10;
/// What a byte of JSON takes there, in the string that it is.
pub const PARSED_JSON_BYTES: usize = 144;
/// What an expression takes while it is planned, measured: an item of a list 3 KiB, a column 4.9.
pub const PLANNED_EXPRESSION_BYTES: usize = 5 << 10;
/// Expressions whose planning is reserved at a time.
pub const PLANNED_STEP_EXPRESSIONS: usize = 16;
/// Characters of an expression in an error's text.
pub const SHOWN_CHARS_MAX: usize = 200;
/// Which part of all memory for queries is kept for what reserves little.
pub const QUERY_BYTES_KEPT_SHARE: usize = 8;
/// Batches that wait between a query's task and its client.
pub const RESULT_BATCHES_MAX: usize = 2;
/// Parts a scan partition reads ahead.
pub const PREFETCH_PARTS: usize = 2;
/// Rows of a batch between two operators.
pub const BATCH_ROWS: usize = 8_192;
/// Bytes of one string that a function may make.
pub const STRING_RESULT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of all strings that a function may make for one batch.
pub const STRING_BATCH_BYTES_MAX: usize = 256 * 1024 * 1024;
/// What a statement's batches in flight may take before they are made shorter.
pub const STATEMENT_BATCHES_BYTES: usize = 16 * 1024 * 1024;
/// And which part of all memory for queries.
pub const STATEMENT_BATCHES_SHARE: usize = 16;
/// Strings that functions which make them longer may make of one batch: more calls make it shorter.
pub const GROWN_STRINGS_PER_BATCH: usize = 16_384;
/// Parts of a table that are looked at for the length of its strings.
pub const WIDTH_SAMPLE_PARTS: usize = 64;
/// Bytes that a statement's constant strings may have together: each is written out in every row of a batch.
pub const CONSTANTS_BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of a text that a plan has as a constant, and copies; a longer one is kept beside it.
pub const TEXT_IN_PLAN_BYTES_MAX: usize = 16 << 10;
/// How often a constant string is there while a statement is planned: in the plan, in what evaluates an expression
/// around it, in that one's arrays.
pub const CONSTANT_COPIES: usize = 4;
/// Columns of a scan whose statistics are worth computing when it is planned.
pub const STATISTICS_COLUMNS_MAX: usize = 3;
/// Values that a filter pushed into a scan may list.
pub const PUSHED_LIST_VALUES_MAX: usize = 1_024;
/// Batches that a join gives in a row before others are let in.
pub const JOINED_BATCHES_AT_ONCE: usize = 16;
/// Of a pattern of LIKE or REGEXP: to compile one takes some hundred times its bytes, and hears no KILL.
pub const PATTERN_BYTES_MAX: usize = 16 << 10;
/// Rows that are matched with patterns before KILL is looked at again: each may have one to be compiled.
pub const PATTERNS_AT_ONCE: usize = 16;
/// Characters of a column's name, as MySQL bounds those of an alias.
pub const COLUMN_NAME_CHARS_MAX: usize = 256;
/// How often SLEEP looks whether it was killed.
pub const SLEEP_SLICE_MS: u64 = 20;
/// The longest SLEEP.
pub const SLEEP_S_MAX: f64 = 86_400.0;

const _: () = assert!(QUERY_NESTING_MAX <= STATEMENT_NESTING_MAX);
const _: () = assert!(2 * EXPRESSION_NESTING_MAX * 16_384 <= QUERY_STACK_BYTES);
const _: () = assert!(STATEMENT_HEIGHT_MAX * 16_384 <= QUERY_STACK_BYTES);
const _: () = assert!(QUERY_NESTING_MAX <= EXPRESSION_NESTING_MAX);
const _: () = assert!(STRING_RESULT_BYTES_MAX <= STRING_BATCH_BYTES_MAX);
const _: () = assert!(STRING_RESULT_BYTES_MAX <= CONSTANTS_BATCH_BYTES_MAX);
// Arrow's string offsets are i32.
const _: () = assert!(STRING_BATCH_BYTES_MAX + STRING_RESULT_BYTES_MAX < i32::MAX as usize);
/// A session's prepared statements: MySQL's `max_prepared_stmt_count` is for all of them.
pub const PREPARED_STATEMENTS_MAX: usize = 1_024;
/// Of the word behind DELIMITER.
pub const DELIMITER_BYTES_MAX: usize = 64;
/// The texts of a session's prepared statements together.
pub const PREPARED_TEXT_BYTES_MAX: usize = 16 << 20;
/// What parsing those of them may take that are kept parsed; others are parsed again at each execution.
pub const PREPARED_PARSED_BYTES_MAX: usize = 32 << 20;
/// What a piece of long data costs beside its bytes.
pub const LONG_DATA_OVERHEAD_BYTES: usize = 64;
/// What SHOW WARNINGS can show: MySQL's `max_error_count`, 1,024 at most there.
pub const WARNINGS_MAX: usize = 64;
/// Parts that cannot be read whose place one statement keeps; of more than that it counts rows alone.
pub const LEFT_OUT_PARTS_MAX: usize = 4_096;
/// A session's user variables.
pub const USER_VARIABLES_MAX: usize = 1_024;
/// A user variable's value.
pub const USER_VARIABLE_BYTES_MAX: usize = 1 << 20;
/// All of them.
pub const USER_VARIABLES_BYTES_MAX: usize = 16 << 20;

const _: () = assert!(USER_VARIABLE_BYTES_MAX <= USER_VARIABLES_BYTES_MAX);

// --- sql: lists ---

/// What a SHOW or one table of information_schema may hold.
pub const LISTING_BYTES_MAX: usize = 64 << 20;
/// Rows of PIPELINES_ERRORS, the newest; no more than `ingest_errors_max_disk_space_mb` either.
pub const VIEW_ERRORS_ROWS_MAX: usize = 10_000;
/// Bytes of PIPELINES_ERRORS: the newest rows whose messages fit.
pub const VIEW_ERRORS_BYTES_MAX: usize = 32 << 20;
/// Segments in quarantine that DAMAGE and PIPELINES_ERRORS name of one leaf partition.
pub const VIEW_HOLES_MAX: usize = 16;
/// Rows of PIPELINES_BATCHES, the newest of each leaf partition.
pub const VIEW_BATCHES_ROWS_MAX: usize = 100_000;

const _: () = assert!(VIEW_ERRORS_BYTES_MAX < LISTING_BYTES_MAX);
// A row of PIPELINES_BATCHES is 18 cells of at most 32 bytes and four short texts.
const _: () = assert!(VIEW_BATCHES_ROWS_MAX * (18 * 32) < LISTING_BYTES_MAX);

// --- sql: AUDIT PIPELINE ---

/// AUDIT PIPELINE at once: each keeps a thread.
pub const AUDITS_MAX: usize = 4;
/// Rows that wait between an audit and its client.
pub const AUDIT_ROWS_QUEUED_MAX: usize = 16;
/// Messages that wait between the control core and an audit: one response, which may be 64 MiB.
pub const AUDIT_LOG_QUEUED_MAX: usize = 1;
/// Looks at a cursor that seems to be behind: a leaf shows how it stands some 20 ms late.
pub const AUDIT_CURSOR_LOOKS_MAX: u32 = 40;
/// Between two of them.
pub const AUDIT_CURSOR_LOOK_MS: u64 = 5;

// --- sql: waiting for leaf partitions ---

/// A query looks so often whether a leaf partition is recovered.
pub const RECOVERY_POLL_MS: u64 = 5;
/// And so many times, before it is an error: 10 s.
pub const RECOVERY_POLLS_MAX: u32 = 2_000;

// --- server ---

/// MySQL's packet: a payload this long goes on in the next packet.
pub const PACKET_BYTES_MAX: usize = (1 << 24) - 1;
/// What a client may send before it has logged in, in one packet; it sends two at most.
pub const LOGIN_PACKET_BYTES_MAX: usize = 64 * 1024;
/// What is gathered before it is written to a client.
pub const WRITE_BUFFER_BYTES: usize = 64 * 1024;
/// The first piece of a payload for which memory is taken; each further one is as long as all before it.
pub const READ_CHUNK_BYTES_MIN: usize = 4 * 1024;
/// The longest such piece. Each must have arrived within `net_read_timeout`.
pub const READ_CHUNK_BYTES: usize = 64 * 1024;
/// A user's or a database's name in a login; MySQL has 32 and 64 characters.
pub const LOGIN_NAME_BYTES_MAX: usize = 256;
/// Connections that are not logged in, where `max_connections` are fewer.
pub const LOGINS_MIN: usize = 256;
/// And where they are more: a start of that many clients at once is no flood yet.
pub const LOGINS_MAX: usize = 4_096;
/// Connections that are being told why they end; no other is accepted beyond it.
pub const ENDINGS_MAX: usize = 64;
/// Failed logins of a place that cost nothing.
pub const FAILURES_FREE: u32 = 3;
/// The first delay; it doubles.
pub const FAILURE_DELAY_MS: u64 = 250;
/// The longest.
pub const FAILURE_DELAY_MS_MAX: u64 = 5_000;
/// Logins of one place that wait for their delay; more are refused.
pub const FAILURE_WAITING_MAX: u32 = 16;
/// A place without a failure for so long is forgotten.
pub const FAILURES_FORGOTTEN_MS: u64 = 600_000;
/// Counters that a source has for the names of its users.
pub const FAILURE_BUCKETS: u64 = 64;
/// Places that are remembered; beyond it the one that failed longest ago is not.
pub const FAILURE_PLACES_MAX: usize = 4_096;
/// A user's name in an error or the log, as MySQL cuts it there.
pub const SHOWN_USER_CHARS_MAX: usize = 48;
/// Of refused connections the log says the first, then a number so often.
pub const LOG_BURST_MS: u64 = 10_000;
/// After a connection that the kernel did not give for want of files or memory.
pub const ACCEPT_PAUSE_MS: u64 = 100;
/// A client whose session ends has so long to take the error that says why.
pub const LAST_ERROR_MS: u64 = 1_000;
/// At the end, how long statements that run may still take to answer.
pub const LAST_ANSWERS_MS: u64 = 1_000;

const _: () = assert!(LOGIN_PACKET_BYTES_MAX < PACKET_BYTES_MAX);
const _: () = assert!(WRITE_BUFFER_BYTES < PACKET_BYTES_MAX);
const _: () = assert!(READ_CHUNK_BYTES_MIN < READ_CHUNK_BYTES);
const _: () = assert!(READ_CHUNK_BYTES <= LOGIN_PACKET_BYTES_MAX);
const _: () = assert!(LOGINS_MIN < LOGINS_MAX);
const _: () = assert!(FAILURE_DELAY_MS < FAILURE_DELAY_MS_MAX);
const _: () = assert!(FAILURE_DELAY_MS_MAX < FAILURES_FORGOTTEN_MS);
// One source alone cannot push all others out of the table.
const _: () = assert!(FAILURE_BUCKETS as usize * 16 <= FAILURE_PLACES_MAX);

// --- node ---

/// A signal that comes sooner after the first one is taken for the same.
pub const SECOND_SIGNAL_AFTER_MS: u64 = 500;
/// So long a process that a second signal ends waits for its last line to be written.
pub const LAST_WORDS_MS_MAX: u64 = 100;
/// A configuration file.
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// A file that holds a password in its first line.
pub const PASSWORD_FILE_BYTES_MAX: u64 = 64 << 10;
/// A startup_sql.
pub const STARTUP_SQL_BYTES_MAX: u64 = 64 << 20;
/// What a process takes beside its leaves, queries and clients.
pub const PROCESS_BYTES: u64 = 64 << 20;
/// What a leaf takes beside `leaf_bytes`: its runtime, and recovery.
pub const LEAF_BESIDE_BYTES: u64 = 16 << 20;
/// What a query CPU takes beside `query_bytes`: what the allocator keeps of freed memory, and one array that
/// an expression has made and not yet handed over.
pub const QUERY_CPU_BESIDE_BYTES: u64 = 64 << 20;
/// Files beside client connections that a node has open at once: segments, the catalog, brokers, io_uring.
pub const OPEN_FILES_BESIDE_CONNECTIONS: u64 = 256;

/// Connections that may be open and not logged in, beside `connections_max` that are.
#[must_use]
pub const fn logins_open_max(connections_max: usize) -> usize {
    if connections_max < LOGINS_MIN {
        LOGINS_MIN
    } else if connections_max > LOGINS_MAX {
        LOGINS_MAX
    } else {
        connections_max
    }
}

/// Clients' sockets that may be open beside those of `connections_max` sessions: of connections that are not
/// logged in, and of those that are told why they end.
#[must_use]
pub const fn sockets_beside_sessions_max(connections_max: usize) -> usize {
    logins_open_max(connections_max) + ENDINGS_MAX
}

// Whoever waits for a stop that gives statements their last moment can still end it at once.
const _: () = assert!(SECOND_SIGNAL_AFTER_MS < LAST_ANSWERS_MS);
