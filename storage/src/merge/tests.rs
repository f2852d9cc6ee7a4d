//! Which neighbours are merged, at each of the bounds.

use super::*;

/// As many rows as have it merged, and no more.
const SMALL: Candidate = Candidate {
    ready: true,
    merged: false,
    follows: true,
    lineage: Lineage(3),
    schema_version: 5,
    commits: 10,
    rows: 99,
    bytes: 100,
    index_bytes: 100,
};

fn settings() -> StoreSettings {
    StoreSettings {
        merge_rows_mean_min: 10,
        segment_bytes_max: 1_000,
        ..StoreSettings::default()
    }
}

/// `change` of the last of two.
fn newest(change: impl Fn(&mut Candidate)) -> Option<Range<usize>> {
    let mut last = SMALL;
    change(&mut last);
    choose(&[SMALL, last], &settings())
}

#[test]
fn the_newest_of_many_small_commits_is_merged() {
    assert_eq!(choose(&[], &settings()), None);
    assert_eq!(newest(|_| ()), Some(0..2));
    // Then the first is the newest that is to be merged, alone.
    let passed: [fn(&mut Candidate); 5] = [
        |last| last.ready = false,
        |last| last.merged = true,
        |last| last.rows = 100,
        |last| (last.commits, last.rows) = (1, 1),
        |last| last.index_bytes = FOOTER_BYTES_MAX + 1,
    ];
    for (case, change) in passed.into_iter().enumerate() {
        assert_eq!(newest(change), Some(0..1), "{case}");
    }
    // The one before it is too large to be taken along.
    let two = |rows| newest(move |last| (last.commits, last.rows) = (2, rows));
    assert_eq!((two(19), two(20)), (Some(1..2), Some(0..1)));
    // Alone it may hold as much as a footer does.
    assert_eq!(
        newest(|last| last.index_bytes = FOOTER_BYTES_MAX),
        Some(1..2)
    );
}

#[test]
fn those_before_it_that_are_not_much_larger_are_taken_along() {
    let before = |change: fn(&mut Candidate)| {
        let mut first = SMALL;
        change(&mut first);
        choose(&[first, SMALL, SMALL], &settings())
    };
    let along: [fn(&mut Candidate); 5] = [
        |first| first.merged = true,
        |first| first.follows = false,
        |first| first.rows = 2 * (99 + 99),
        |first| first.bytes = 800,
        |first| first.index_bytes = INDEX_BYTES_MAX - 200,
    ];
    for (case, change) in along.into_iter().enumerate() {
        assert_eq!(before(change), Some(0..3), "{case}");
    }
    let left: [fn(&mut Candidate); 6] = [
        |first| first.ready = false,
        |first| first.lineage = Lineage(2),
        |first| first.schema_version = 4,
        |first| first.rows = 2 * (99 + 99) + 1,
        |first| first.bytes = 801,
        |first| first.index_bytes = INDEX_BYTES_MAX - 199,
    ];
    for (case, change) in left.into_iter().enumerate() {
        assert_eq!(before(change), Some(1..3), "{case}");
    }
    // A segment in quarantine lies between the second and the first.
    let cut = Candidate {
        follows: false,
        ..SMALL
    };
    assert_eq!(choose(&[SMALL, cut, SMALL], &settings()), Some(1..3));
    assert_eq!(choose(&[SMALL, SMALL, cut], &settings()), Some(2..3));
}

#[test]
fn a_merge_has_so_many_inputs_at_most() {
    let tiny = Candidate { bytes: 1, ..SMALL };
    let many = vec![tiny; MERGE_INPUTS_MAX];
    assert_eq!(choose(&many, &settings()), Some(0..MERGE_INPUTS_MAX));
    let more = vec![tiny; MERGE_INPUTS_MAX + 3];
    assert_eq!(choose(&more, &settings()), Some(3..MERGE_INPUTS_MAX + 3));
}

#[test]
fn a_merge_reserves_no_more_than_a_pool_lends_at_once() {
    assert_eq!(
        buffer_bytes(&BlockPool::new(1 << 40)) as u64,
        MERGE_BUFFER_BYTES
    );
    let small = BlockPool::new(1 << 20);
    assert_eq!(buffer_bytes(&small) as u64, small.block_bytes_max());
    assert!(small.block_bytes_max() < MERGE_BUFFER_BYTES);
}
