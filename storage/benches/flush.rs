//! What a leaf pays per row to append to a block, and a disk thread to turn a block into a commit:
//! validity, statistics, checksums and metadata. Orders of eight columns, 65,536 to a block.

use std::sync::Arc;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use storage::block::{Block, BlockLayout, BlockWriter, Mark, Tail};
use storage::counts::Counts;
use storage::format::{
    CommitFacts, CommitInput, EncodedCommit, ParsedHeader, SegmentHeader, SegmentId, encode_commit,
    encode_header, parse_commit,
};
use storage::ids::{LeafPartitionId, Lineage, Offset, Rewrite, Sequence, TableId, TopicId};
use storage::schema::{Column, Physical, Schema, TimeUnit};
use storage::statistics;

fn main() {
    divan::main();
}

const ROWS: u32 = 65_536;

fn schema() -> Arc<Schema> {
    let column = |name: &str, physical, nullable| Column {
        name: name.to_owned(),
        physical,
        nullable,
        annotation: String::new(),
    };
    let price = Physical::Decimal128 {
        precision: 18,
        scale: 4,
    };
    Arc::new(Schema {
        version: 1,
        columns: Arc::new([
            column("order_id", Physical::Int64, false),
            column("customer_id", Physical::Int64, false),
            column("symbol", Physical::Utf8, false),
            column("side", Physical::Utf8, false),
            column("quantity", Physical::Int32, false),
            column("price", price, false),
            column(
                "created_at",
                Physical::Timestamp(TimeUnit::Microsecond),
                false,
            ),
            column("note", Physical::Utf8, true),
        ]),
    })
}

fn layout() -> BlockLayout {
    BlockLayout {
        schema: schema(),
        rows: ROWS,
        string_bytes: vec![8 * ROWS, 5 * ROWS, 40 * ROWS],
        rejects_bytes: 64 << 10,
    }
}

const SYMBOLS: [&str; 8] = [
    "AAPL", "MSFT", "NVDA", "AMZN", "GOOG", "META", "TSLA", "BRK.B",
];
const NOTES: [&str; 4] = [
    "limit order, day",
    "market, fill or kill",
    "iceberg, 5% shown",
    "-",
];

fn put_row(tail: &mut Tail<'_>, n: u64) {
    let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    tail.put(0, n as i64);
    tail.put(1, (mixed >> 44) as i64);
    let strings = tail
        .put_str(2, SYMBOLS[(mixed >> 61) as usize])
        .and_then(|()| tail.put_str(3, if mixed & 1 == 0 { "BUY" } else { "SELL" }));
    tail.put(4, (mixed >> 50) as i32);
    tail.put(5, i128::from(mixed >> 40));
    tail.put(6, 1_700_000_000_000_000i64 + n as i64);
    let note = match mixed >> 60 {
        0 => {
            tail.put_null(7);
            Ok(())
        }
        at => tail.put_str(7, NOTES[at as usize % 4]),
    };
    assert!(strings.and(note).is_ok(), "room");
    tail.end_row(Offset(n as i64), 1_700_000_000_000 + n as i64);
}

fn filled() -> (Arc<Block>, Mark) {
    let mut writer = BlockWriter::new(&layout(), Offset(0));
    let mut tail = writer.tail();
    (0..u64::from(ROWS)).for_each(|n| put_row(&mut tail, n));
    let mark = writer.publish(Offset(i64::from(ROWS)));
    (writer.shared(), mark)
}

fn header() -> ParsedHeader {
    let header = SegmentHeader {
        id: SegmentId {
            leaf_partition: LeafPartitionId(1),
            sequence: Sequence(1),
            rewrite: Rewrite(0),
        },
        table: TableId(1),
        kafka_partition: 0,
        topic_id: TopicId([0; 16]),
        lineage: Lineage(1),
        first_offset: Offset(0),
        first_commit_number: 1,
        created_unix_ms: 0,
        prev: None,
        behind_durable: false,
        schema: schema(),
    };
    encode_header(&header).0
}

fn encode(header: &ParsedHeader, block: &Arc<Block>, mark: Mark) -> EncodedCommit {
    let facts = CommitFacts {
        commit_number: 1,
        lineage: Lineage(1),
        next_offset: mark.next_offset,
        counts: Counts {
            loaded: mark.next_offset.0 as u64,
            ..Counts::default()
        },
        ..CommitFacts::default()
    };
    let input = CommitInput {
        facts,
        durable_end: 0,
        replaced: Vec::new(),
    };
    encode_commit(header, input, block, mark)
}

#[divan::bench]
fn append(bencher: Bencher<'_, '_>) {
    let mut writer = BlockWriter::new(&layout(), Offset(0));
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| {
        let mut tail = writer.tail();
        (0..u64::from(ROWS)).for_each(|n| put_row(&mut tail, n));
        writer.reset();
    });
}

#[divan::bench]
fn flush(bencher: Bencher<'_, '_>) {
    let (block, mark) = filled();
    let header = header();
    let bytes = encode(&header, &block, mark).bytes();
    bencher
        .counter(BytesCount::new(bytes))
        .bench(|| encode(&header, &block, mark).slices().len());
}

#[divan::bench]
fn statistics_alone(bencher: Bencher<'_, '_>) {
    let (block, mark) = filled();
    bencher.counter(ItemsCount::new(ROWS)).bench(|| {
        let columns = 0..block.columns();
        columns
            .map(|c| statistics::of_column(&block.column(c, mark)).null_count)
            .sum::<u32>()
    });
}

#[divan::bench]
fn checksums_alone(bencher: Bencher<'_, '_>) {
    let (block, mark) = filled();
    let regions = |c| {
        let column = block.column(c, mark);
        [column.values, column.data]
    };
    let bytes: usize = (0..block.columns())
        .flat_map(regions)
        .map(<[u8]>::len)
        .sum();
    bencher.counter(BytesCount::new(bytes)).bench(|| {
        (0..block.columns())
            .flat_map(regions)
            .fold(0, |sum, b| sum ^ crc32fast::hash(b))
    });
}

/// What a commit of one row costs: its metadata.
#[divan::bench]
fn flush_one_row(bencher: Bencher<'_, '_>) {
    let mut writer = BlockWriter::new(&layout(), Offset(0));
    put_row(&mut writer.tail(), 0);
    let mark = writer.publish(Offset(1));
    let block = writer.shared();
    let header = header();
    bencher.bench(|| encode(&header, &block, mark).slices().len());
}

#[divan::bench]
fn parse_metadata(bencher: Bencher<'_, '_>) {
    let (block, mark) = filled();
    let bytes = encode(&header(), &block, mark).to_vec();
    bencher.bench(|| parse_commit(&bytes).is_ok());
}

#[divan::bench]
fn read_a_tail(bencher: Bencher<'_, '_>) {
    let (block, mark) = filled();
    bencher.bench(|| {
        (0..block.columns())
            .map(|c| block.array(c, mark).len())
            .sum::<usize>()
    });
}
