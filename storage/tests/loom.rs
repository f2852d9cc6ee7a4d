//! Every order in which a leaf and a reader can meet, by loom: a block's marks, and the published state.
//!
//! The marks are the crate's own file over loom's atomics. What they publish stands in relaxed atomics
//! here: with a weaker ordering loom lets a reader see what was there before.

// The file's own words are the crate's.
#[path = "../src/block/marks.rs"]
mod marks;

mod sync {
    pub use loom::sync::atomic::{AtomicU32, Ordering};
}

use loom::sync::{Arc, Mutex};
use loom::thread;

use marks::Marks;
use sync::{AtomicU32, Ordering::Relaxed};

/// A block: a row is its number + 1, a mark is the number of rows below it.
struct Block {
    marks: Marks,
    marks_at: [AtomicU32; 3],
    rows: [AtomicU32; 2],
}

impl Block {
    fn new() -> Block {
        let block = Block {
            marks: Marks::new(),
            marks_at: [0, 0, 0].map(AtomicU32::new),
            rows: [0, 0].map(AtomicU32::new),
        };
        // The first mark says where the block begins.
        block.marks.publish(1);
        block
    }

    /// Step `row`: the row, its mark, then the count.
    fn step(&self, row: u32) {
        self.rows[row as usize].store(row + 1, Relaxed);
        self.marks_at[row as usize + 1].store(row + 1, Relaxed);
        self.marks.publish(row + 2);
    }

    /// Rows below the last mark, each of which must be there.
    fn read(&self) -> u32 {
        let mark = self.marks.published() - 1;
        let rows = self.marks_at[mark as usize].load(Relaxed);
        assert_eq!(rows, mark, "mark {mark} is as it was written");
        for row in 0..rows {
            let value = self.rows[row as usize].load(Relaxed);
            assert_eq!(value, row + 1, "row {row} is as it was written");
        }
        rows
    }
}

#[test]
fn a_reader_sees_what_lies_below_the_mark_that_it_loads() {
    loom::model(|| {
        let block = Arc::new(Block::new());
        let reader = {
            let block = Arc::clone(&block);
            thread::spawn(move || {
                let first = block.read();
                assert!(block.read() >= first, "marks only grow");
            })
        };
        block.step(0);
        block.step(1);
        reader.join().expect("the reader's assertions hold");
        assert_eq!(block.read(), 2);
    });
}

/// What is shown: the first `open_commits` of the list, then the blocks.
#[derive(Clone)]
struct Published {
    open_commits: u32,
    blocks: [Option<Arc<Block>>; 2],
}

/// The open segment's list, which only grows: `pushed` commits of one row each, and never asked how many.
struct View {
    published: Mutex<Arc<Published>>,
    commits: [AtomicU32; 1],
}

impl View {
    /// As a snapshot is taken: the state once, then each block's mark once, the first block first.
    fn snapshot(&self) -> u32 {
        let published = Arc::clone(&self.published.lock().expect("no panic"));
        let commits = published.open_commits;
        for commit in 0..commits {
            assert_eq!(self.commits[commit as usize].load(Relaxed), 1, "pushed");
        }
        let blocks = published.blocks.iter().flatten();
        commits + blocks.map(|block| block.read()).sum::<u32>()
    }

    fn show(&self, published: Published) {
        *self.published.lock().expect("no panic") = Arc::new(published);
    }
}

/// A flush between two loads shows no row twice and loses none: a reader takes the commits that the state
/// it loaded names, never as many as there are.
#[test]
fn a_flush_beside_a_reader_shows_no_row_twice() {
    loom::model(|| {
        let (first, second) = (Arc::new(Block::new()), Arc::new(Block::new()));
        let mut published = Published {
            open_commits: 0,
            blocks: [None, Some(Arc::clone(&first))],
        };
        let view = Arc::new(View {
            published: Mutex::new(Arc::new(published.clone())),
            commits: [AtomicU32::new(0)],
        });
        first.step(0);
        let reader = {
            let view = Arc::clone(&view);
            thread::spawn(move || {
                let rows = view.snapshot();
                assert!((1..=2).contains(&rows), "a prefix: {rows} rows");
            })
        };
        // The full block flushes while the next one fills; then its commit takes its place.
        published.blocks = [Some(first), Some(Arc::clone(&second))];
        view.show(published.clone());
        second.step(0);
        view.commits[0].store(1, Relaxed);
        published.open_commits = 1;
        published.blocks = [None, Some(second)];
        view.show(published);
        reader.join().expect("the reader's assertions hold");
        assert_eq!(view.snapshot(), 2);
    });
}
