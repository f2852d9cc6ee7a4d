//! Memory that nobody holds is given back: a leaf runs for years. One test: another beside it would allocate
//! beside it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use storage::block::{BlockLayout, BlockWriter};
use storage::ids::Offset;
use storage::pool::BlockPool;
use storage::schema::Schema;

/// Counts what is allocated at a time.
struct Counting;

static NOW_BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        NOW_BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        NOW_BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn a_block_goes_with_its_last_holder_and_a_pool_with_its_free_memory() {
    let now = || NOW_BYTES.load(Ordering::Relaxed);
    let layout = BlockLayout {
        schema: Arc::new(Schema {
            version: 1,
            columns: Arc::new([]),
        }),
        rows: 65_536,
        string_bytes: Vec::new(),
        rejects_bytes: 0,
    };
    // A megabyte and more; what else is allocated meanwhile is less than a hundredth of it.
    let block = layout.bytes();
    assert!(block > 1 << 20);
    let begun = now();
    let blocks = |bytes: usize| (bytes.saturating_sub(begun) + block / 100) / block;
    let mut writer = BlockWriter::new(&layout, Offset(0));
    let mark = writer.publish(Offset(1));
    let held = writer.shared();
    assert_eq!(blocks(now()), 1);
    drop(writer);
    assert_eq!((blocks(now()), held.mark()), (1, mark));
    drop(held);
    assert_eq!(blocks(now()), 0);
    let mut pool = BlockPool::new(4 * block);
    let taken = [0, 1, 2].map(|_| pool.take(&layout, Offset(0)).expect("room"));
    taken.into_iter().for_each(|block| pool.give(block));
    assert_eq!(blocks(now()), 3);
    // What no longer fits beside a reservation goes.
    assert!(pool.reserve(2 * block + block / 2));
    assert_eq!(blocks(now()), 1);
    drop(pool);
    assert_eq!(blocks(now()), 0);
}
