//! One record batch in turns of 256 KiB, as a leaf takes them: checksum, codec, decode; on one core.
//!
//! A small batch is one turn. A large one is eighty: what a turn costs beside its own records must not
//! grow with the batch.

#[path = "decode/orders.rs"]
#[allow(dead_code)] // the decode bench has more looks
mod orders;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use ingest::kafka::{AbortedFilter, Codec, Decompressor};
use ingest::leaf::load::{self, Ended, Limits, OpenBatch};
use ingest::limits::TURN_BYTES;
use ingest::pipeline::{Decode, JsonDecoder, SkipErrors};
use orders::{Batch, Look};
use storage::block::BlockWriter;
use storage::ids::Offset;

/// 86 KB: a producer's batch, split over some partitions.
const SMALL_ROWS: u32 = 500;
const SMALL_BATCHES: u64 = 24;
/// 20 MiB.
const LARGE_ROWS: u32 = 122_000;
const TURN_ROWS: u32 = 2_048;
const CODECS: [Codec; 5] = [
    Codec::None,
    Codec::Gzip,
    Codec::Snappy,
    Codec::Lz4,
    Codec::Zstd,
];

fn main() {
    divan::main();
}

struct Loader {
    inflate: Decompressor,
    decode: JsonDecoder,
    writer: BlockWriter,
}

impl Loader {
    fn new() -> Loader {
        Loader {
            inflate: Decompressor::default(),
            decode: JsonDecoder::new(&orders::mapping()).expect("the mapping"),
            writer: orders::block(TURN_ROWS),
        }
    }

    /// Loads all of a batch; how many turns that took.
    fn load(&mut self, bytes: &[u8], from: u64) -> u32 {
        let mut limits = Limits {
            from: Offset(from as i64),
            offsets_end: Offset(i64::MAX),
            bytes_max: TURN_BYTES as u64,
            skip: SkipErrors::None,
            parse_errors_max: u64::MAX,
            now_unix_ms: 0,
        };
        let mut filter = AbortedFilter::default();
        let mut open: Option<OpenBatch> = None;
        let mut turns = 0;
        loop {
            turns += 1;
            let decode: &mut dyn Decode = &mut self.decode;
            let mut tail = self.writer.tail();
            let empty = tail.savepoint();
            let (gains, ended) = load::load(
                bytes,
                &mut open,
                &limits,
                &mut filter,
                &mut self.inflate,
                decode,
                &mut tail,
            );
            tail.rewind(empty);
            limits.from = gains.next_offset;
            match ended {
                Ended::Batch => return turns,
                Ended::Turn => {
                    if let Some(open) = &mut open {
                        open.fit(&mut self.inflate);
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[divan::bench(args = CODECS)]
fn small(bencher: Bencher<'_, '_>, codec: Codec) {
    let batch = |at| Batch::packed(Look::Plain, at * u64::from(SMALL_ROWS), SMALL_ROWS, codec);
    let batches: Vec<Batch> = (0..SMALL_BATCHES).map(batch).collect();
    let bytes: usize = batches.iter().map(|batch| batch.message_bytes).sum();
    let mut loader = Loader::new();
    bencher
        .counter(ItemsCount::new(SMALL_BATCHES * u64::from(SMALL_ROWS)))
        .counter(BytesCount::new(bytes))
        .bench_local(|| {
            for (at, batch) in (0..).zip(&batches) {
                let turns = loader.load(&batch.bytes, at * u64::from(SMALL_ROWS));
                assert_eq!(turns, 1);
            }
        });
}

#[divan::bench(args = CODECS, sample_count = 10, sample_size = 1)]
fn large(bencher: Bencher<'_, '_>, codec: Codec) {
    let batch = Batch::packed(Look::Plain, 0, LARGE_ROWS, codec);
    let mut loader = Loader::new();
    bencher
        .counter(ItemsCount::new(LARGE_ROWS))
        .counter(BytesCount::new(batch.message_bytes))
        .bench_local(|| {
            let turns = loader.load(&batch.bytes, 0);
            assert!(turns > 75, "{turns}");
        });
}
