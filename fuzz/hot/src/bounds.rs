//! What an input may cost: memory, counted by the allocator, and time on the CPU.
//!
//! Both are a thread's own, so that tests that run side by side do not see each other. What a body
//! hands to other threads is bounded by libFuzzer's own limits alone (`fuzz/run`).

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;

/// What one input may take on the CPU.
pub const INPUT_MS_MAX: u64 = 1_000;

/// The system's allocator, with what this thread holds counted.
pub struct Counting;

thread_local! {
    static NOW_BYTES: Cell<isize> = const { Cell::new(0) };
    static PEAK_BYTES: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // A thread that ends has no counters any more; nobody measures there.
    let _ = NOW_BYTES.try_with(|now| {
        now.set(now.get() + bytes);
        let _ = PEAK_BYTES.try_with(|peak| peak.set(peak.get().max(now.get())));
    });
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // Old and new may stand beside each other for a moment.
        count(bytes as isize);
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise, passed on.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

/// Runs `work`, which may hold at most `bytes_max` more than there was, at any time; one may stand in another.
///
/// # Panics
/// If it held more: what the target is for.
pub fn within<T>(bytes_max: usize, what: &str, work: impl FnOnce() -> T) -> T {
    let before = NOW_BYTES.get();
    let around = PEAK_BYTES.replace(before);
    let done = work();
    let peak = usize::try_from(PEAK_BYTES.get() - before).unwrap_or(0);
    PEAK_BYTES.set(around.max(PEAK_BYTES.get()));
    assert!(
        peak <= bytes_max,
        "{what} held {peak} bytes at a time, {bytes_max} at most"
    );
    done
}

/// What this thread has spent on the CPU so far, ms; 0 where the kernel does not say.
#[must_use]
pub fn cpu_ms() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|text| text.parse().ok());
    nanoseconds.map_or(0, |nanoseconds: u64| nanoseconds / 1_000_000)
}
