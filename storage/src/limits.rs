//! Every bound of this crate, in one place, with its unit last in the name, tied together at the end.

/// Rows of the smallest block.
pub const BLOCK_ROWS_MIN: u32 = 256;
/// Rows of the largest block, and so of a commit.
pub const BLOCK_ROWS_MAX: u32 = 65_536;
/// A block has a mark for so many rows.
pub const BLOCK_ROWS_PER_MARK: u32 = 16;
/// Marks of the smallest block.
pub const BLOCK_MARKS_MIN: u32 = 64;
/// Marks of the largest block.
pub const BLOCK_MARKS_MAX: u32 = 4_096;
/// The string regions of a pooled block together; a larger value gets a block of its own.
pub const BLOCK_STRINGS_BYTES_MAX: u32 = 16 << 20;
/// A pooled block is given fewer rows where it would take more than this: a table of many columns.
pub const BLOCK_POOLED_BYTES_MAX: u64 = 48 << 20;
/// The smallest string region of a block.
pub const BLOCK_STRING_REGION_BYTES_MIN: u32 = 1 << 10;
/// Bytes a string value is taken to have where nothing is known yet.
pub const BLOCK_STRING_MEAN_BYTES_FIRST: u32 = 24;
/// The rejects region of a pooled block.
pub const BLOCK_REJECTS_BYTES: u32 = 64 << 10;
/// One region (a column's strings, the rejects) of any block.
pub const BLOCK_REGION_BYTES_MAX: u32 = 256 << 20;
/// One block, all regions and marks.
pub const BLOCK_BYTES_MAX: usize = 1 << 30;
/// Regions, buffers and commits begin at a multiple of this.
pub const ALIGN_BYTES: usize = 64;

/// What one block asks for by its recent fills, of its pool's budget: one part in so many, so that one
/// can fill and one be flushed, and another leaf partition has the same.
pub const BLOCK_BUDGET_DIVISOR: u64 = 4;
/// Free allocations that a pool keeps.
pub const POOL_FREE_MAX: usize = 64;
/// Blocks given back that queries still hold: at the bound none is handed out, nor where their bytes
/// leave no room in the budget.
pub const POOL_LINGERING_MAX: usize = 1_024;
/// Allocations are rounded up to a multiple of this, so that they fit another schema's block.
pub const POOL_CLASS_BYTES: usize = 16 << 10;

/// Columns of a table.
pub const COLUMNS_MAX: usize = 1_024;
/// A column's name in UTF-8: MySQL's 64 characters.
pub const COLUMN_NAME_BYTES_MAX: usize = 256;
/// A column's annotation.
pub const ANNOTATION_BYTES_MAX: usize = 1_024;
/// A segment's header: magic and schema message.
pub const HEADER_BYTES_MAX: usize = 4 << 20;
/// A commit's metadata: prefix, flatbuffer and record.
pub const METADATA_BYTES_MAX: usize = 4 << 20;
/// A commit's body.
pub const BODY_BYTES_MAX: u64 = BLOCK_BYTES_MAX as u64;
/// Records that one merged commit stands for.
pub const REPLACED_MAX: usize = 8_192;
/// A string's minimum or maximum in the statistics is cut here.
pub const STATISTIC_BYTES_MAX: usize = 32;
/// A reject's text.
pub const REJECT_TEXT_BYTES_MAX: usize = 4 << 10;
/// A reject's Kafka key; a longer one is cut.
pub const REJECT_KEY_BYTES_MAX: usize = 4 << 10;

/// A commit's number: BATCH_ID has 40 bits for it. A file that says more is not ours.
pub const COMMIT_NUMBER_MAX: u64 = (1 << 40) - 1;
/// A segment's sequence: a leaf that makes one a microsecond needs years for it. Likewise.
pub const SEQUENCE_MAX: u64 = 1 << 48;
/// How often a segment is rewritten. Likewise.
pub const REWRITE_MAX: u32 = 1 << 24;
/// Of both numbers recovery wants so many left: what lies beyond the last would not be read again.
pub const NUMBERS_LEFT_MIN: u64 = 1 << 32;
/// Commits of one segment as written; a merged one has fewer.
pub const SEGMENT_COMMITS_MAX: u32 = 4_096;
/// Bytes at which a segment is sealed.
pub const SEGMENT_BYTES_MAX: u64 = 256 << 20;
/// Rejects of one commit that `pinleaf inspect` prints.
pub const INSPECT_REJECTS_MAX: usize = 100;
/// An open segment's list of commits grows by so many.
pub const OPEN_CHUNK_COMMITS: u32 = 64;
/// An open segment's map reaches so far: the last commit begins before the seal and may be of any size.
pub const SEGMENT_MAP_BYTES: u64 = SEGMENT_BYTES_MAX + METADATA_BYTES_MAX as u64 + BODY_BYTES_MAX;
/// A sealed segment's footer, with the index in front of it.
pub const FOOTER_BYTES_MAX: u64 = 64 << 20;
/// Bytes of memory that a segment's commits take for each byte that the index has of them: their places,
/// checksums and statistics, and not what merged ones stand for. A merged commit is one for 65,536 rows, or
/// as many as a merge holds; so memory grows with rows by a few bytes for thousands, and never by batches.
pub const HELD_PER_INDEX_BYTE: u64 = 8;
/// What memory holds of one segment at most: the widest table of the most commits.
pub const SEGMENT_HELD_BYTES_MAX: u64 =
    HELD_PER_INDEX_BYTE * (INDEX_BYTES_MAX + METADATA_BYTES_MAX as u64);
/// A segment is sealed when the index of its records reaches this: many columns, many commits. A merge
/// takes no more than has so much.
pub const INDEX_BYTES_MAX: u64 = 32 << 20;
/// A file's name in quarantine: the last three parts of its path, which are ours, and a number.
pub const HOLE_NAME_BYTES_MAX: usize = 255;
/// Why a segment is in quarantine; a longer text is cut.
pub const HOLE_REASON_BYTES_MAX: usize = 1 << 10;
/// A hole's file.
pub const HOLE_BYTES_MAX: usize = 2 << 10;
/// Holes of one leaf partition: with more the disk keeps nothing that it is given, and nothing is loaded.
pub const HOLES_MAX: usize = 1_024;

const _: () = assert!(HOLE_NAME_BYTES_MAX + HOLE_REASON_BYTES_MAX + 256 <= HOLE_BYTES_MAX);
const _: () = assert!(BLOCK_ROWS_MIN.is_power_of_two() && BLOCK_ROWS_MAX.is_power_of_two());
const _: () = assert!(BLOCK_ROWS_MAX / BLOCK_ROWS_PER_MARK == BLOCK_MARKS_MAX);
const _: () = assert!(BLOCK_MARKS_MIN <= BLOCK_MARKS_MAX);
const _: () = assert!(BLOCK_STRINGS_BYTES_MAX <= BLOCK_REGION_BYTES_MAX);
const _: () = assert!(BLOCK_REJECTS_BYTES <= BLOCK_REGION_BYTES_MAX);
const _: () = assert!(2 * BLOCK_STRINGS_BYTES_MAX as u64 <= BLOCK_POOLED_BYTES_MAX);
const _: () = assert!(BLOCK_POOLED_BYTES_MAX < BLOCK_BYTES_MAX as u64);
// Even the smallest block of the widest table is a pooled one.
const _: () = assert!(
    BLOCK_POOLED_BYTES_MAX as usize
        > BLOCK_ROWS_MIN as usize * COLUMNS_MAX * 17
            + COLUMNS_MAX * BLOCK_STRING_REGION_BYTES_MIN as usize
);
const _: () = assert!((BLOCK_REGION_BYTES_MAX as usize) < BLOCK_BYTES_MAX);
const _: () = assert!(BLOCK_BYTES_MAX <= i32::MAX as usize);
const _: () = assert!(POOL_CLASS_BYTES.is_multiple_of(ALIGN_BYTES));
const _: () =
    assert!(COLUMNS_MAX * (COLUMN_NAME_BYTES_MAX + ANNOTATION_BYTES_MAX) * 3 <= HEADER_BYTES_MAX);
// A merged commit's record: its own statistics and what it replaces, behind the flatbuffer.
const _: () = assert!(
    COLUMNS_MAX * (64 + 2 * STATISTIC_BYTES_MAX) + COLUMNS_MAX * 80 + REPLACED_MAX * 192 + 4_096
        <= METADATA_BYTES_MAX
);
const _: () = assert!(SEGMENT_COMMITS_MAX as usize <= REPLACED_MAX);
// A segment takes one more commit below the bound.
const _: () = assert!(INDEX_BYTES_MAX + METADATA_BYTES_MAX as u64 <= FOOTER_BYTES_MAX);
// An index has at least 240 bytes of a commit and 32 of each column.
const _: () = assert!(SEGMENT_HELD_BYTES_MAX <= 512 << 20);
const _: () =
    assert!(HEADER_BYTES_MAX as u64 + SEGMENT_COMMITS_MAX as u64 * 32 <= FOOTER_BYTES_MAX);

/// A tail is flushed when its oldest mark is this old.
pub const FLUSH_AGE_MS: u64 = 1_000;
/// A tail is flushed when so many bytes were extracted for it.
pub const FLUSH_BYTES: u64 = 8 << 20;
/// A file is synced when its oldest commit has waited this long.
pub const SYNC_AGE_MS: u64 = 1_000;
/// A file is synced when so many bytes wait.
pub const SYNC_DIRTY_BYTES: u64 = 64 << 20;
/// Syncs on their way at a time, per leaf.
pub const SYNCS_PER_LEAF_MAX: u32 = 2;
/// Segments of a leaf partition that are not durable; at the bound, flushing waits.
pub const SEGMENTS_UNDURABLE_MAX: usize = 4;
/// Sealed segments with fewer rows a commit than this are merged.
pub const MERGE_ROWS_MEAN_MIN: u32 = 8_192;
/// The newest so many commits of a leaf partition stay in the history one by one.
pub const BATCHES_KEPT: u64 = 1_000;
/// Segments that one merge takes.
pub const MERGE_INPUTS_MAX: usize = 16;
/// What a merge holds of rows and rejects at a time, of its leaf's blocks' budget; in a small budget
/// as much as a block. A commit that is larger is copied as it lies.
pub const MERGE_BUFFER_BYTES: u64 = 32 << 20;
/// What a merge copies at a time.
pub const MERGE_COPY_BYTES: usize = 8 << 20;
/// With fewer bytes free than this nothing is committed: the catalog, a footer and the DROP that makes
/// room can still be written.
pub const DISK_RESERVE_BYTES: u64 = 64 << 20;
/// A second void within this time is a failure of the disk.
pub const VOID_WINDOW_MS: u64 = 60_000;
/// A write that found the disk full is tried again after this time.
pub const FULL_RETRY_MS: u64 = 1_000;
/// A merge that was given up is tried again after this time.
pub const MERGE_RETRY_MS: u64 = 60_000;
/// A merge that found no memory is tried again after this time.
pub const MERGE_MEMORY_RETRY_MS: u64 = 1_000;
/// Space reserved ahead in an open segment: as much again as it has, within these.
pub const ALLOCATE_BYTES_MIN: u64 = 64 << 10;
/// The most that is reserved ahead.
pub const ALLOCATE_BYTES_MAX: u64 = 8 << 20;
/// Slices of one vectored write: the kernel's IOV_MAX.
pub const WRITE_SLICES_MAX: usize = 1_024;
/// Bytes read at a time in search of a record behind damage.
pub const SEARCH_BYTES: usize = 1 << 20;
/// Times that recovery begins anew because bytes that it had checked read otherwise.
pub const RECOVERY_ROUNDS_MAX: usize = 16;
/// Faults that wait for a block to be written into; one more replaces the last.
pub const FAULTS_WAITING_MAX: usize = 8;
/// Effects that one event can cause.
pub const STORE_EFFECTS_MAX: usize = 64;

const _: () = assert!(MERGE_ROWS_MEAN_MIN <= BLOCK_ROWS_MAX);
const _: () = assert!(MERGE_BUFFER_BYTES <= BLOCK_REGION_BYTES_MAX as u64);
const _: () = assert!(MERGE_COPY_BYTES as u64 <= MERGE_BUFFER_BYTES);
const _: () = assert!(ALLOCATE_BYTES_MIN <= ALLOCATE_BYTES_MAX);
const _: () = assert!(ALLOCATE_BYTES_MAX < SEGMENT_BYTES_MAX);
const _: () = assert!(SYNC_DIRTY_BYTES < SEGMENT_BYTES_MAX);
const _: () = assert!(SEGMENT_MAP_BYTES > SEGMENT_BYTES_MAX + FLUSH_BYTES);
const _: () = assert!(SEGMENT_COMMITS_MAX.is_multiple_of(OPEN_CHUNK_COMMITS));
