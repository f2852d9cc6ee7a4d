//! The pool: sizes follow the fills, the budget holds, and blocks come back.

use super::*;
use crate::block::tests::{layout, pair};
use crate::limits::COLUMNS_MAX;

fn one(rows: u32) -> BlockLayout {
    layout(&pair(), rows, 1 << 10)
}

#[test]
fn the_budget_holds_and_memory_comes_round() {
    let bytes = one(256).bytes().next_multiple_of(POOL_CLASS_BYTES);
    let mut pool = BlockPool::new(2 * bytes);
    let first = pool.take(&one(256), Offset(0)).expect("room");
    let second = pool.take(&one(256), Offset(0)).expect("room");
    assert!(matches!(
        pool.take(&one(256), Offset(0)),
        Err(StorageError::Full(Limit::BlockMemory { .. }))
    ));
    pool.give(first);
    assert_eq!((pool.taken_bytes(), pool.free_bytes()), (bytes, bytes));
    let again = pool.take(&one(256), Offset(9)).expect("room");
    assert_eq!(pool.free_bytes(), 0, "the memory is used again");
    assert_eq!(again.published().next_offset, Offset(9));
    pool.give(second);
    pool.give(again);
    assert_eq!((pool.taken_bytes(), pool.free_bytes()), (0, 2 * bytes));
}

#[test]
fn a_block_that_a_query_holds_is_not_written_again() {
    let mut pool = BlockPool::new(1 << 20);
    let mut writer = pool.take(&one(256), Offset(0)).expect("room");
    writer.tail().put(0, 41);
    writer.tail().put_str(1, "held").expect("room");
    writer.tail().end_row(Offset(0), 0);
    let mark = writer.publish(Offset(1));
    let held = writer.shared().array(1, mark);
    let bytes = writer.shared().bytes();
    pool.give(writer);
    assert_eq!(
        (
            pool.taken_bytes(),
            pool.free_bytes(),
            pool.lingering_bytes()
        ),
        (0, 0, bytes)
    );
    assert!(
        !pool.reserve((1 << 20) - bytes + 1),
        "what a query holds is not there for anything else"
    );
    assert!(pool.reserve((1 << 20) - bytes));
    assert!(pool.take(&one(256), Offset(0)).is_err());
    pool.release((1 << 20) - bytes);
    let mut other = pool.take(&one(256), Offset(0)).expect("room");
    other.tail().put_str(1, "over").expect("room");
    assert_eq!(
        arrow_array::cast::AsArray::as_string::<i32>(&held).value(0),
        "held"
    );
    drop(held);
    pool.give(other);
    assert_eq!((pool.free_bytes(), pool.lingering_bytes()), (2 * bytes, 0));
}

#[test]
fn sizes_follow_the_fills() {
    let mut fills = Fills::new(pair());
    assert_eq!(fills.layout(&[]).expect("a layout").rows, BLOCK_ROWS_MIN);
    let mut pool = BlockPool::new(256 << 20);
    for round in 0..10 {
        let layout = fills.layout(&[]).expect("a layout");
        let mut writer = pool.take(&layout, Offset(0)).expect("room");
        let mut tail = writer.tail();
        while tail.rows_free() > 0 {
            tail.put(0, 1);
            if tail
                .put_str(1, "a string of forty bytes, more or less ...")
                .is_err()
            {
                break;
            }
            tail.end_row(Offset(0), 0);
        }
        writer.publish(Offset(1));
        fills.learn(&writer.shared());
        assert!(round > 0 || fills.layout(&[]).expect("a layout").rows >= BLOCK_ROWS_MIN);
        pool.give(writer);
    }
    let layout = fills.layout(&[]).expect("a layout");
    assert_eq!(layout.rows, BLOCK_ROWS_MAX);
    let wanted = 41 * BLOCK_ROWS_MAX;
    assert!(
        (wanted..wanted * 2).contains(&layout.string_bytes[0]),
        "{layout:?}"
    );
    // An idle partition's block shrinks again.
    for _ in 0..10 {
        let writer = pool
            .take(&fills.layout(&[]).expect("a layout"), Offset(0))
            .expect("room");
        fills.learn(&writer.shared());
        pool.give(writer);
    }
    assert_eq!(fills.layout(&[]).expect("a layout").rows, BLOCK_ROWS_MIN);
}

#[test]
fn a_large_value_gets_a_block_of_its_own() {
    let fills = Fills::new(pair());
    let full = |region, needed| BlockFull { region, needed };
    let needed = [
        full(BlockRegion::Strings(1), 100 << 20),
        full(BlockRegion::Rejects, 1 << 20),
        full(BlockRegion::Rows, 1_000),
    ];
    let layout = fills.layout(&needed).expect("a layout");
    assert_eq!(
        (layout.string_bytes[0], layout.rejects_bytes, layout.rows),
        (100 << 20, 1 << 20, 1_024)
    );
    for too_much in [
        full(BlockRegion::Strings(1), BLOCK_REGION_BYTES_MAX + 1),
        full(BlockRegion::Rows, BLOCK_ROWS_MAX + 1),
    ] {
        assert!(matches!(
            fills.layout(&[too_much]),
            Err(StorageError::Full(Limit::Value { .. }))
        ));
    }
}

#[test]
fn a_wide_table_gets_blocks_of_fewer_rows() {
    let price = Physical::Decimal128 {
        precision: 38,
        scale: 0,
    };
    let wide = crate::block::tests::schema(
        (0..COLUMNS_MAX)
            .map(|n| crate::block::tests::column(&n.to_string(), price, true))
            .collect(),
    );
    let mut fills = Fills::new(wide);
    fills.rows = BLOCK_ROWS_MAX;
    let layout = fills.layout(&[]).expect("a layout");
    assert!((BLOCK_ROWS_MIN..BLOCK_ROWS_MAX).contains(&layout.rows));
    assert!(layout.bytes() as u64 <= BLOCK_POOLED_BYTES_MAX);
    assert!(layout.bytes_wanted() >= layout.bytes() as u64);
    // A message of many rows of it is more than any block: said, not tried.
    let rows = BlockFull {
        region: BlockRegion::Rows,
        needed: BLOCK_ROWS_MAX,
    };
    assert!(matches!(
        fills.layout(&[rows]),
        Err(StorageError::Full(Limit::Value { .. }))
    ));
}
