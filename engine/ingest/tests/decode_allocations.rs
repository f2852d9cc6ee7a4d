//! No allocation per row: a counting allocator over a million rows.

#[path = "../benches/decode/orders.rs"]
mod orders;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use ingest::pipeline::{Decode, Ended, JsonDecoder};
use orders::{Batch, Look};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const ALLOCATIONS_PER_BATCH_MAX: u64 = 8;
const BATCH_ROWS: u32 = 2_500;
const ROWS: u64 = 1_000_000;

/// One test in this file: another would allocate beside it.
#[test]
fn at_most_eight_allocations_a_record_batch_over_a_million_rows() {
    let looks = [
        Look::Plain,
        Look::OtherOrder,
        Look::TwoOrders,
        Look::UnknownKeys,
        Look::Escapes,
        Look::Optional,
    ];
    let batches = looks.map(|look| Batch::new(look, 7_000_000, BATCH_ROWS));
    let mean = batches[0].message_bytes as u32 / BATCH_ROWS;
    assert!((168..=176).contains(&mean), "an order has {mean} bytes");
    let mut decoder = JsonDecoder::new(&orders::mapping()).expect("the mapping");
    let mut writer = orders::block(BATCH_ROWS);
    let (mut rows, mut most, mut all, mut loads) = (0, 0, 0, 0);
    while rows < ROWS {
        for batch in &batches {
            let mut tail = writer.tail();
            let empty = tail.savepoint();
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            let loaded = decoder.load(&mut batch.records(), &batch.limits(), &mut tail);
            let count = ALLOCATIONS.load(Ordering::Relaxed) - before;
            assert_eq!((loaded.rows, &loaded.ended), (BATCH_ROWS, &Ended::Batch));
            tail.rewind(empty);
            rows += u64::from(loaded.rows);
            loads += 1;
            most = most.max(count);
            all += count;
        }
    }
    assert!(most <= ALLOCATIONS_PER_BATCH_MAX, "{most} in one batch");
    // Only the first look at each shape allocates.
    assert!(all < loads, "{all} in {loads} batches");
}
