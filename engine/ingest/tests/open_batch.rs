//! A record batch that is loaded in parts, its walk kept from part to part, gains what one gains that is
//! begun anew for each: wherever a part ends.

use std::sync::Arc;

use ingest::kafka::{AbortedFilter, BatchBuilder, Codec, Decompressor};
use ingest::leaf::load::{self, Ended, Gains, Limits, OpenBatch};
use ingest::limits::DECOMPRESS_SCRATCH_KEPT_BYTES_MAX;
use ingest::pipeline::{JsonDecoder, JsonMapping, MappedColumn, Path, SkipErrors, SqlType};
use storage::block::{BlockLayout, BlockWriter};
use storage::ids::Offset;
use storage::schema::{Column, Physical, Schema};

const CODECS: [Codec; 5] = [
    Codec::None,
    Codec::Gzip,
    Codec::Snappy,
    Codec::Lz4,
    Codec::Zstd,
];

struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

fn mapping() -> JsonMapping {
    JsonMapping {
        columns: vec![MappedColumn {
            name: "v".to_owned(),
            sql_type: SqlType::BigInt { unsigned: false },
            nullable: false,
            path: Some(Path(vec!["v".to_owned()])),
            default: None,
        }],
    }
}

fn block(rows: u32) -> BlockWriter {
    let column = Column {
        name: "v".to_owned(),
        physical: Physical::Int64,
        nullable: false,
        annotation: String::new(),
    };
    let layout = BlockLayout {
        schema: Arc::new(Schema {
            version: 1,
            columns: Arc::new([column]),
        }),
        rows,
        string_bytes: Vec::new(),
        rejects_bytes: 1 << 16,
    };
    BlockWriter::new(&layout, Offset(0))
}

/// Rows, messages that are none, tombstones and gaps.
fn batch(random: &mut Random, base: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(base);
    builder.codec = CODECS[random.below(5) as usize];
    let mut delta = 0;
    for _ in 0..1 + random.below(60) {
        delta += [0, 0, 0, 1, 5][random.below(5) as usize];
        let value = match random.below(10) {
            0 => None,
            1 => Some("{".to_owned()),
            number => Some(format!("{{\"v\":{}}}", number * 7 + delta as u64)),
        };
        builder.push_at(
            delta,
            1_700_000_000_000 + i64::from(delta),
            None,
            value.as_deref().map(str::as_bytes),
        );
        delta += 1;
    }
    if random.below(3) == 0 {
        builder.cover(delta + 3);
    }
    builder.build()
}

/// One side: its decoder and block, and the walk that it keeps or not.
struct Side {
    keeps: bool,
    open: Option<OpenBatch>,
    inflate: Decompressor,
    filter: AbortedFilter,
    decode: JsonDecoder,
    writer: BlockWriter,
}

impl Side {
    fn new(keeps: bool) -> Side {
        Side {
            keeps,
            open: None,
            inflate: Decompressor::default(),
            filter: AbortedFilter::default(),
            decode: JsonDecoder::new(&mapping()).expect("the mapping"),
            writer: block(24),
        }
    }

    /// One part, and the rows that it made.
    fn load(&mut self, bytes: &[u8], limits: &Limits) -> (Gains, Ended, Vec<u8>) {
        if !self.keeps {
            self.open = None;
        }
        let mut tail = self.writer.tail();
        let (gains, ended) = load::load(
            bytes,
            &mut self.open,
            limits,
            &mut self.filter,
            &mut self.inflate,
            &mut self.decode,
            &mut tail,
        );
        let mark = self.writer.publish(gains.next_offset);
        let block = self.writer.shared();
        let mut rows = block.column(0, mark).values.to_vec();
        rows.extend_from_slice(block.rejects(mark));
        drop(block);
        self.writer = self::block(24);
        (gains, ended, rows)
    }
}

#[test]
fn a_part_gains_the_same_whether_the_walk_was_kept_or_begun_anew() {
    let mut parts = 0_u64;
    for seed in 1..=400_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let (mut kept, mut anew) = (Side::new(true), Side::new(false));
        let skip = [SkipErrors::None, SkipErrors::Parser][random.below(2) as usize];
        let mut base = random.below(50) as i64;
        for _ in 0..4 {
            let bytes = batch(&mut random, base);
            let mut from = Offset(base - random.below(4).min(base as u64) as i64);
            let end = loop {
                let limits = Limits {
                    from,
                    offsets_end: Offset(from.0 + 1 + random.below(40) as i64),
                    bytes_max: 1 + random.below(200),
                    skip,
                    parse_errors_max: u64::MAX,
                    now_unix_ms: 7,
                };
                let one = kept.load(&bytes, &limits);
                assert_eq!(one, anew.load(&bytes, &limits), "seed {seed}");
                parts += 1;
                from = one.0.next_offset;
                match one.1 {
                    Ended::Batch => break from,
                    // What cannot be loaded is passed over, now and then with what follows it.
                    Ended::Poison(_) => from = Offset(from.0 + 1 + random.below(80) as i64),
                    Ended::Turn | Ended::OffsetsMax | Ended::BlockFull => {}
                    other => panic!("seed {seed}: {other:?}"),
                }
            };
            assert!(kept.open.is_none(), "seed {seed}: it is done");
            base = end.0.max(base + 1);
        }
        assert!(kept.inflate.unpackings() <= 4, "seed {seed}");
        assert!(anew.inflate.unpackings() >= kept.inflate.unpackings());
    }
    assert!(parts > 4_000, "{parts} parts");
}

#[test]
fn a_batch_that_is_not_the_one_that_was_begun_is_begun_itself() {
    let mut side = Side::new(true);
    let mut random = Random(99);
    let (first, second) = (batch(&mut random, 0), batch(&mut random, 500));
    let limits = |from| Limits {
        from: Offset(from),
        offsets_end: Offset(i64::MAX),
        bytes_max: 1,
        skip: SkipErrors::Parser,
        parse_errors_max: u64::MAX,
        now_unix_ms: 7,
    };
    side.load(&first, &limits(0));
    assert!(side.open.is_some());
    let after = side.load(&second, &limits(500));
    assert_eq!(after, Side::new(false).load(&second, &limits(500)));
}

#[test]
fn the_scratch_that_stays_is_bounded_also_behind_a_large_batch() {
    let mut builder = BatchBuilder::new(0);
    builder.codec = Codec::Zstd;
    let message = format!("{{\"v\":1{}}}", " ".repeat(1 << 20));
    for _ in 0..12 {
        builder.push(1, None, Some(message.as_bytes()));
    }
    let bytes = builder.build();
    let mut side = Side::new(true);
    let mut limits = Limits {
        from: Offset(0),
        offsets_end: Offset(i64::MAX),
        bytes_max: 1,
        skip: SkipErrors::None,
        parse_errors_max: u64::MAX,
        now_unix_ms: 0,
    };
    loop {
        let (gains, ended, _) = side.load(&bytes, &limits);
        limits.from = gains.next_offset;
        if ended == Ended::Batch {
            break;
        }
        let open = side.open.as_ref().expect("it goes on");
        assert!(open.memory_bytes() >= 12 << 20);
        assert_eq!(side.inflate.scratch_bytes(), 0, "it left with the batch");
    }
    assert!(side.inflate.scratch_bytes() <= DECOMPRESS_SCRATCH_KEPT_BYTES_MAX);
    assert_eq!(side.inflate.unpackings(), 1);
}

#[test]
fn what_a_batch_unpacked_to_goes_back_where_it_ends_and_where_it_is_given_up() {
    let mut builder = BatchBuilder::new(0);
    builder.codec = Codec::Zstd;
    for _ in 0..100 {
        builder.push(1, None, Some(b"{\"v\":1}"));
    }
    let bytes = builder.build();
    let mut limits = Limits {
        from: Offset(0),
        offsets_end: Offset(i64::MAX),
        bytes_max: 100,
        skip: SkipErrors::None,
        parse_errors_max: u64::MAX,
        now_unix_ms: 0,
    };
    let mut side = Side::new(true);
    let (_, ended, _) = side.load(&bytes, &limits);
    assert_eq!((ended, side.inflate.scratch_bytes()), (Ended::Turn, 0));
    let open = side.open.take().expect("it goes on");
    side.inflate.give(open.into_unpacked().expect("zstd"));
    let scratch_bytes = side.inflate.scratch_bytes();
    assert!(scratch_bytes >= 100 * 7);
    // The cursor was taken past the end of one that is open.
    side.load(&bytes, &limits);
    limits.from = Offset(100);
    let (gains, ended, _) = side.load(&bytes, &limits);
    assert_eq!((ended, gains.next_offset), (Ended::Batch, Offset(100)));
    assert_eq!(side.inflate.scratch_bytes(), scratch_bytes);
    (limits.from, limits.bytes_max) = (Offset(0), 1_000_000);
    while side.load(&bytes, &limits).1 != Ended::Batch {
        limits.from = Offset(limits.from.0 + 24);
    }
    assert_eq!(side.inflate.scratch_bytes(), scratch_bytes);
}

#[test]
fn timestamps_are_those_of_the_records_that_were_taken() {
    let mut builder = BatchBuilder::new(0);
    for (delta, timestamp_ms) in [(0, 5_000), (1, 4_000), (2, 9_000)] {
        builder.push_at(delta, timestamp_ms, None, Some(b"{\"v\":1}"));
    }
    let bytes = builder.build();
    let limits = |from| Limits {
        from: Offset(from),
        offsets_end: Offset(i64::MAX),
        bytes_max: u64::MAX,
        skip: SkipErrors::None,
        parse_errors_max: u64::MAX,
        now_unix_ms: 0,
    };
    let timestamps_ms = |from| Side::new(true).load(&bytes, &limits(from)).0.timestamps_ms;
    assert_eq!(timestamps_ms(0), Some((5_000, 9_000)));
    assert_eq!(timestamps_ms(3), None, "it lies below the cursor");
    let mut none = BatchBuilder::new(0);
    none.cover(2);
    let (gains, ended, _) = Side::new(true).load(&none.build(), &limits(0));
    assert_eq!((ended, gains.next_offset), (Ended::Batch, Offset(3)));
    assert_eq!(gains.timestamps_ms, None, "no record is left of it");
}

#[test]
fn what_calls_gained_adds_up() {
    let one = |next_offset, of: u64, leader_epoch, timestamps_ms| Gains {
        next_offset: Offset(next_offset),
        rows: of as u32,
        parse_errors: of * 10,
        bytes: of * 100,
        leader_epoch,
        timestamps_ms,
        ..Gains::nothing(Offset(0))
    };
    let mut sum = Gains::nothing(Offset(0));
    sum.counts.gap = 1;
    let mut second = one(8, 3, 4, Some((70, 90)));
    second.counts.gap = 2;
    sum.add(&one(5, 2, 6, None));
    sum.add(&second);
    sum.add(&one(9, 1, -1, Some((60, 80))));
    let mut all = one(9, 6, 6, Some((60, 90)));
    all.counts.gap = 3;
    assert_eq!(sum, all);
}
