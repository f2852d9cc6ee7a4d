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

fn class(rows: u32) -> usize {
    one(rows).bytes().next_multiple_of(POOL_CLASS_BYTES)
}

/// What waits to be used again, as the pool counts it and as it is.
fn free(pool: &BlockPool) -> usize {
    let held: usize = pool.free.iter().map(Memory::bytes).sum();
    assert_eq!(pool.free_bytes(), held);
    held
}

#[test]
fn free_memory_makes_room_for_what_is_taken_and_for_what_queries_hold() {
    let bytes = class(256);
    let mut pool = BlockPool::new(4 * bytes);
    let mut taken: Vec<BlockWriter> = (0..4)
        .map(|_| pool.take(&one(256), Offset(0)).expect("room"))
        .collect();
    let held = taken[3].shared();
    for _ in 0..3 {
        pool.give(taken.pop().expect("four"));
    }
    assert_eq!((pool.lingering_bytes(), free(&pool)), (bytes, 2 * bytes));
    // Together with the block that is still taken, that is all of the budget.
    assert!(pool.reserve(bytes));
    assert_eq!((pool.taken_bytes(), free(&pool)), (2 * bytes, bytes));
    assert!(pool.reserve(1));
    assert_eq!(free(&pool), 0);
    pool.release(bytes + 1);
    drop(held);
    pool.give(taken.pop().expect("four"));
    assert_eq!((pool.lingering_bytes(), free(&pool)), (0, 2 * bytes));
}

#[test]
fn memory_is_used_again_where_it_fits_and_half_of_it_is_used() {
    let (small, twice) = (class(256), 2 * class(256));
    let layout_of = |bytes: usize| BlockLayout {
        rejects_bytes: one(256).rejects_bytes + (bytes - small) as u32,
        ..one(256)
    };
    let mut pool = BlockPool::new(1 << 20);
    let give = |pool: &mut BlockPool, bytes| {
        let block = pool.take(&layout_of(bytes), Offset(0)).expect("room");
        assert_eq!(block.shared().bytes(), bytes);
        pool.give(block);
    };
    give(&mut pool, twice + POOL_CLASS_BYTES);
    let block = pool.take(&one(256), Offset(0)).expect("room");
    assert_eq!(
        block.shared().bytes(),
        small,
        "more than half would be lost"
    );
    pool.give(block);
    pool.free.remove(1);
    pool.free_bytes -= small;
    let large = pool.take(&layout_of(twice + POOL_CLASS_BYTES), Offset(0));
    give(&mut pool, twice);
    let block = pool.take(&one(256), Offset(0)).expect("room");
    assert_eq!((block.shared().bytes(), free(&pool)), (twice, 0));
    drop(large);
}

#[test]
fn the_pool_keeps_so_much_free_and_so_many_that_queries_hold() {
    let tiny = layout(&pair(), 1, 64);
    let mut pool = BlockPool::new(1 << 30);
    let mut taken: Vec<BlockWriter> = (0..POOL_FREE_MAX + 1)
        .map(|_| pool.take(&tiny, Offset(0)).expect("room"))
        .collect();
    taken.drain(..).for_each(|block| pool.give(block));
    assert_eq!(free(&pool), POOL_FREE_MAX * POOL_CLASS_BYTES);
    let mut held = Vec::new();
    for _ in 0..POOL_LINGERING_MAX {
        let block = pool.take(&tiny, Offset(0)).expect("room");
        held.push(block.shared());
        pool.give(block);
    }
    assert!(pool.take(&tiny, Offset(0)).is_err() && !pool.reserve(0));
    held.pop();
    assert!(pool.take(&tiny, Offset(0)).is_ok());
}

/// A block of so many rows, of which so many are there, each with a string of so many bytes.
fn filled(rows_max: u32, rows: u32, string_bytes: usize) -> Arc<Block> {
    let mut writer = BlockWriter::new(&layout(&pair(), rows_max, 1 << 20), Offset(0));
    for _ in 0..rows {
        let mut tail = writer.tail();
        tail.put(0, 1);
        tail.put_str(1, &"x".repeat(string_bytes)).expect("room");
        tail.end_row(Offset(0), 0);
    }
    writer.publish(Offset(1));
    writer.shared()
}

#[test]
fn three_quarters_ask_for_twice_as_many_rows_and_less_than_a_quarter_for_half() {
    let after = |before: u32, rows_max: u32, rows: u32| {
        let mut fills = Fills::new(pair());
        fills.rows = before;
        fills.learn(&filled(rows_max, rows, 1));
        fills.rows
    };
    for (rows, asked) in [
        (1_024, 2_048),
        (768, 2_048),
        (767, 1_024),
        (256, 1_024),
        (255, 512),
        (0, 512),
    ] {
        assert_eq!(after(1_024, 1_024, rows), asked, "{rows} rows of 1,024");
    }
    // A block that was made large for one message says nothing of the others.
    assert_eq!(after(512, 1_024, 100), 512);
    assert_eq!(after(BLOCK_ROWS_MIN, BLOCK_ROWS_MIN, 1), BLOCK_ROWS_MIN);
    assert_eq!(
        after(BLOCK_ROWS_MAX, BLOCK_ROWS_MAX, 60_000),
        BLOCK_ROWS_MAX
    );
}

#[test]
fn the_mean_of_strings_goes_up_at_once_and_down_by_a_quarter() {
    let mut fills = Fills::new(pair());
    assert_eq!(fills.means_256, [24 * 256]);
    fills.learn(&filled(256, 20, 10));
    assert_eq!(fills.means_256, [(3 * 24 + 10) * 256 / 4]);
    fills.learn(&filled(256, 20, 40));
    assert_eq!(fills.means_256, [40 * 256]);
    fills.learn(&filled(256, 0, 0));
    assert_eq!(fills.means_256, [40 * 256], "no row, no mean");
}

#[test]
fn strings_share_what_all_of_them_may_have() {
    let strings = |n: usize| crate::block::tests::column(&n.to_string(), Physical::Utf8, true);
    let mut fills = Fills::new(crate::block::tests::schema((0..2).map(strings).collect()));
    let layout = fills.of_rows(1_024);
    assert_eq!(layout.string_bytes, [30 << 10; 2], "24 bytes and a quarter");
    fills.means_256 = vec![1 << 20, 3 << 20];
    let layout = fills.of_rows(BLOCK_ROWS_MAX);
    let quarter = BLOCK_STRINGS_BYTES_MAX / 4;
    assert_eq!(layout.string_bytes, [quarter, 3 * quarter]);
}

#[test]
fn a_small_pool_gets_fewer_rows_and_then_shorter_strings() {
    let mut fills = Fills::new(pair());
    fills.rows = 1_024;
    let wanted = fills.of_rows(1_024).bytes_wanted();
    let within = |fills: &Fills, bytes_max| {
        let layout = fills.layout_within(&[], bytes_max).expect("a layout");
        (layout.rows, layout.string_bytes[0])
    };
    assert_eq!(within(&fills, wanted), (1_024, 30 << 10));
    assert_eq!(within(&fills, wanted - 1), (512, 15 << 10));
    let least = (BLOCK_ROWS_MIN, BLOCK_STRING_REGION_BYTES_MIN);
    assert_eq!(within(&fills, 0), least);
    fills.rows = BLOCK_ROWS_MIN;
    fills.means_256 = vec![4_096 * 256];
    let wanted = fills.of_rows(BLOCK_ROWS_MIN).bytes_wanted();
    let strings = 256 * 4_096 * 5 / 4;
    assert_eq!(within(&fills, wanted), (256, strings));
    assert_eq!(within(&fills, wanted - 1), (256, strings / 2));
}

#[test]
fn what_one_message_needs_is_given_up_to_each_bound() {
    let full = |region, needed| BlockFull { region, needed };
    let fills = Fills::new(pair());
    let rows = fills.layout(&[full(BlockRegion::Rows, BLOCK_ROWS_MAX)]);
    assert_eq!(rows.expect("a layout").rows, BLOCK_ROWS_MAX);
    let most = fills.layout(&[full(BlockRegion::Strings(1), BLOCK_REGION_BYTES_MAX)]);
    assert_eq!(
        most.expect("a layout").string_bytes,
        [BLOCK_REGION_BYTES_MAX]
    );
    // All regions together are a block.
    let strings = |n: usize| crate::block::tests::column(&n.to_string(), Physical::Utf8, true);
    let fills = Fills::new(crate::block::tests::schema((0..4).map(strings).collect()));
    let layout = fills.layout(&[]).expect("a layout");
    let held: u32 = layout.string_bytes.iter().sum();
    let rest = layout.bytes_wanted() - u64::from(held);
    let last = BLOCK_BYTES_MAX as u64 - rest - 3 * u64::from(BLOCK_REGION_BYTES_MAX);
    let of = |last: u64| {
        let mut needed: Vec<BlockFull> = (0..3)
            .map(|n| full(BlockRegion::Strings(n), BLOCK_REGION_BYTES_MAX))
            .collect();
        needed.push(full(BlockRegion::Strings(3), last as u32));
        fills.layout(&needed).map(|layout| layout.bytes_wanted())
    };
    assert_eq!(of(last).ok(), Some(BLOCK_BYTES_MAX as u64));
    assert!(matches!(
        of(last + 1),
        Err(StorageError::Full(Limit::Value { .. }))
    ));
}
