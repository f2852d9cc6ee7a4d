//! JSON decode of a record batch into a block, on one core: rows a second.
//!
//! The figure to stand near is 8 M rows/s for the plain order of 172 bytes and eight columns; the
//! other looks should stay within 1.5 times of it.

#[path = "decode/orders.rs"]
mod orders;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use ingest::pipeline::{Decode, Ended, JsonDecoder};
use orders::{Batch, Look};

const BATCH_ROWS: u32 = 500;
const BATCHES: u64 = 4;

fn main() {
    divan::main();
}

#[divan::bench(args = [
    Look::Plain,
    Look::OtherOrder,
    Look::TwoOrders,
    Look::UnknownKeys,
    Look::Escapes,
    Look::Optional,
])]
fn json(bencher: Bencher<'_, '_>, look: Look) {
    let batches: Vec<Batch> = (0..BATCHES)
        .map(|at| Batch::new(look, at * u64::from(BATCH_ROWS), BATCH_ROWS))
        .collect();
    let bytes: usize = batches.iter().map(|batch| batch.message_bytes).sum();
    let mut decoder = JsonDecoder::new(&orders::mapping()).expect("the mapping");
    let mut writer = orders::block(BATCH_ROWS * BATCHES as u32);
    bencher
        .counter(ItemsCount::new(BATCHES * u64::from(BATCH_ROWS)))
        .counter(BytesCount::new(bytes))
        .bench_local(|| {
            let mut tail = writer.tail();
            let empty = tail.savepoint();
            for batch in &batches {
                let loaded = decoder.load(&mut batch.records(), &batch.limits(), &mut tail);
                assert_eq!((loaded.rows, loaded.ended), (BATCH_ROWS, Ended::Batch));
            }
            tail.rewind(empty);
        });
}

/// What the walk alone takes: the floor.
#[divan::bench]
fn walk(bencher: Bencher<'_, '_>) {
    let batches: Vec<Batch> = (0..BATCHES)
        .map(|at| Batch::new(Look::Plain, at * u64::from(BATCH_ROWS), BATCH_ROWS))
        .collect();
    bencher
        .counter(ItemsCount::new(BATCHES * u64::from(BATCH_ROWS)))
        .bench_local(|| {
            let mut bytes = 0;
            for batch in &batches {
                for record in batch.records() {
                    bytes += record.expect("a record").value.map_or(0, <[u8]>::len);
                }
            }
            bytes
        });
}
