//! `record_batch`: record batches of one partition, under every codec, from header to rows.
//!
//! Input: bits of [`How`] | per batch: length of four bytes, little-endian | the batch. Where the input
//! asks for it, length, magic and checksum of each batch are made right again: a fuzzer does not guess a
//! CRC-32C, and what stands behind it must be met too.

use std::io::Read;

use ingest::kafka::{
    Aborted, AbortedFilter, BatchFault, BatchHeader, Codec, CodecFault, Decompressor, Marker,
    Records,
};
use ingest::leaf::load::{Ended, Limits, load};
use ingest::limits::{DECOMPRESSED_BYTES_MAX, TURN_BYTES};
use ingest::pipeline::{
    BlockNeed, JsonDecoder, JsonMapping, MappedColumn, Path, SkipErrors, SqlType,
};
use storage::block::BlockWriter;
use storage::ids::Offset;

use crate::bounds::within;
use crate::input::Input;
use crate::repair;
use crate::table;

pub use ingest::kafka::batch::HEADER_BYTES;

/// Beside what a batch unpacks to: the codecs' own state.
const CODEC_BYTES: usize = 2 << 20;
/// Calls of [`load`] for one batch: each unpacks it again.
const LOADS_MAX: usize = 32;
/// A larger body is not loaded, for the same reason.
const LOAD_BYTES_MAX: usize = 1 << 20;
/// A block that a message asks for beyond this is not made.
const BLOCK_BYTES_MAX: u64 = 4 << 20;

/// Bits of the first byte: 0 asks for repair, 1 and 2 choose what a batch may unpack to, 3 wants what
/// lies below the first batch's second offset passed over, 4 names each batch's producer as aborted.
struct How(u8);

impl How {
    fn bytes_max(&self) -> usize {
        [64 << 10, 1 << 20, 300, DECOMPRESSED_BYTES_MAX][usize::from(self.0 >> 1 & 3)]
    }
}

/// The body.
pub fn record_batch(data: &[u8]) {
    let mut input = Input::new(data);
    let how = How(input.byte());
    let mut batches = Vec::new();
    while !input.is_empty() {
        let bytes = input.length();
        let mut batch = input.take(bytes).to_vec();
        if how.0 & 1 != 0 {
            repair::record_batch(&mut batch);
        }
        batches.push(batch);
    }
    let headers = || batches.iter().filter_map(|b| BatchHeader::parse(b).ok());
    let mut walk = Walk::new(how.bytes_max());
    if how.0 & 8 != 0 {
        walk.from = headers().next().map(|header| header.base_offset.next());
    }
    if how.0 & 16 != 0 {
        walk.begin(headers().map(|header| Aborted {
            producer_id: header.producer_id,
            first_offset: header.base_offset,
        }));
    }
    for batch in &batches {
        walk.batch(batch);
    }
}

/// Walks and loads record batches one after another, as a leaf does.
pub struct Walk {
    filter: AbortedFilter,
    inflate: Decompressor,
    bytes_max: usize,
    decoder: JsonDecoder,
    mapping: JsonMapping,
    /// The cursor, once it is known.
    from: Option<Offset>,
}

impl Walk {
    /// A batch may unpack to so many bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Walk {
        let column = |name: &str, sql_type, keys: &[&str]| MappedColumn {
            name: name.to_owned(),
            sql_type,
            nullable: true,
            path: Some(Path(keys.iter().map(|key| (*key).to_owned()).collect())),
            default: None,
        };
        let mapping = JsonMapping {
            columns: vec![
                column("id", SqlType::BigInt { unsigned: false }, &["id"]),
                column("all", SqlType::Json, &[]),
            ],
        };
        Walk {
            filter: AbortedFilter::default(),
            inflate: Decompressor::new(bytes_max),
            bytes_max,
            decoder: JsonDecoder::new(&mapping).expect("a mapping"),
            mapping,
            from: None,
        }
    }

    /// A partition of a response begins.
    pub fn begin(&mut self, aborted: impl IntoIterator<Item = Aborted>) {
        self.filter.begin(aborted);
        self.from = None;
    }

    /// Walks one batch by hand, then loads it.
    pub fn batch(&mut self, bytes: &[u8]) {
        let header = match BatchHeader::parse(bytes) {
            Ok(header) => header,
            Err(fault) => return shown(&fault),
        };
        assert!(header.base_offset <= header.last_offset());
        assert_eq!(header.last_offset().next(), header.next_offset());
        if let Err(fault) = header.check_crc(bytes) {
            return shown(&fault);
        }
        let body = header.body(bytes).expect("whole, as its checksum is right");
        let unpacked = self.walk(&header, body);
        if header.next_offset() > self.from.unwrap_or(Offset(0)) && unpacked {
            self.load(&header, bytes);
        }
    }

    /// Whether its records can be read at all, and are few enough to be loaded.
    fn walk(&mut self, header: &BatchHeader, body: &[u8]) -> bool {
        let own_bytes_max = 2 * self.bytes_max + body.len() + CODEC_BYTES;
        let expected = reference(header, body, self.bytes_max);
        let inflate = &mut self.inflate;
        let opened = within(own_bytes_max, "unpacking", || inflate.open(header, body));
        let records = match opened {
            Ok(records) => records,
            Err(fault) => {
                assert!(
                    expected.is_none() || fault == too_large(header.codec, self.bytes_max),
                    "{fault}, where the codec's own library reads it"
                );
                shown(&fault);
                return false;
            }
        };
        assert!(records.remaining_bytes() <= self.bytes_max.max(body.len()));
        if let Some(expected) = expected {
            let expected = Records::new(header, &expected);
            assert_eq!(records.remaining_bytes(), expected.remaining_bytes());
            assert!(records.clone().eq(expected), "other bytes");
        }
        let small = records.remaining_bytes() <= LOAD_BYTES_MAX;
        walked(header, records);
        small
    }

    /// Loads it into blocks, step by step, as far as it goes.
    fn load(&mut self, header: &BatchHeader, bytes: &[u8]) {
        let mut limits = Limits {
            from: self.from.unwrap_or(header.base_offset),
            offsets_end: Offset(i64::MAX),
            bytes_max: 256,
            skip: SkipErrors::All,
            parse_errors_max: u64::MAX,
            now_unix_ms: 1_700_000_000_000,
        };
        let mut writer = table::block(&self.mapping, 16, 512, 512);
        let (mut enlarged, mut open) = (None, None);
        for _ in 0..LOADS_MAX {
            let mut tail = writer.tail();
            let empty = tail.savepoint();
            let (gains, ended) = load(
                bytes,
                &mut open,
                &limits,
                &mut self.filter,
                &mut self.inflate,
                &mut self.decoder,
                &mut tail,
            );
            assert_eq!(gains.counts.offsets(), limits.from.until(gains.next_offset));
            assert_eq!(tail.rows(), gains.rows);
            assert!(gains.bytes <= TURN_BYTES.max(bytes.len() + self.bytes_max) as u64);
            tail.rewind(empty);
            let moved = gains.next_offset > limits.from;
            limits.from = gains.next_offset;
            match ended {
                Ended::Batch => {
                    assert_eq!(gains.next_offset, header.next_offset().max(limits.from));
                    break;
                }
                Ended::OffsetsMax => panic!("there is no last offset"),
                Ended::Turn | Ended::BlockFull => assert!(moved, "goes on"),
                Ended::BlockTooSmall(need) => {
                    assert_ne!(enlarged, Some(need.offset), "what it asked for is enough");
                    enlarged = Some(need.offset);
                    match self.larger(&need) {
                        Some(larger) => writer = larger,
                        None => break,
                    }
                }
                Ended::Poison(poison) => panic!("all errors are skipped: {:?}", poison.failure),
                Ended::Malformed(fault) => {
                    shown(&fault);
                    break;
                }
            }
        }
        self.from = Some(limits.from);
    }

    fn larger(&self, need: &BlockNeed) -> Option<BlockWriter> {
        let bytes = need.string_bytes.iter().sum::<u64>() + need.reject_bytes;
        let string_bytes = *need.string_bytes.first()?;
        (bytes <= BLOCK_BYTES_MAX).then(|| {
            table::block(
                &self.mapping,
                need.rows.max(1),
                string_bytes as u32,
                need.reject_bytes as u32,
            )
        })
    }
}

/// Offsets rise within the batch's, and there are as many records as it says, or a fault ends them.
fn walked(header: &BatchHeader, mut records: Records<'_>) {
    let mut last = None;
    let mut count = 0;
    let mut left = records.remaining_bytes();
    loop {
        match records.next() {
            None => break,
            Some(Err(fault)) => {
                assert!(records.next().is_none() && records.remaining() == 0);
                return shown(&fault);
            }
            Some(Ok(record)) => {
                assert!(last < Some(record.offset));
                assert!(record.offset >= header.base_offset);
                assert!(record.offset <= header.last_offset());
                assert!(records.remaining_bytes() < left);
                left = records.remaining_bytes();
                last = Some(record.offset);
                if header.control {
                    // A marker or a fault; never a panic.
                    let _ = Marker::parse(&record);
                }
                count += 1;
            }
        }
    }
    assert_eq!(count, header.record_count);
}

/// What the codec's own streaming library makes of a body, where all of it is one sound stream of at
/// most `bytes_max`. Ours unpack in other ways: lz4 block by block, zstd in one shot.
fn reference(header: &BatchHeader, body: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    const LZ4_MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();
    if header.record_count == 0 {
        return None;
    }
    let mut unpacked = Vec::new();
    let limit = bytes_max as u64 + 1;
    match header.codec {
        Codec::Lz4 if body.starts_with(&LZ4_MAGIC) && body.len() > 11 => {
            // It takes a frame without its end for one that ends, and an empty block for the end: here
            // what follows is no block, and before it stands the mark of the end.
            let checked = body[4] & 4 != 0;
            let content = body.get(..body.len() - if checked { 4 } else { 0 })?;
            content.ends_with(&[0; 4]).then_some(())?;
            let followed = [body, &LZ4_MAGIC].concat();
            let mut decoder = lz4_flex::frame::FrameDecoder::new(followed.as_slice());
            (&mut decoder).take(limit).read_to_end(&mut unpacked).ok()?;
            // More than one frame is for the walk to judge.
            (decoder.get_ref().len() == LZ4_MAGIC.len()).then_some(())?;
        }
        Codec::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(body).ok()?;
            decoder.take(limit).read_to_end(&mut unpacked).ok()?;
        }
        Codec::None | Codec::Gzip | Codec::Snappy | Codec::Lz4 => return None,
    }
    (unpacked.len() <= bytes_max).then_some(unpacked)
}

fn too_large(codec: Codec, bytes_max: usize) -> BatchFault {
    BatchFault::Codec(CodecFault::TooLarge { codec, bytes_max })
}

/// A fault is said in words.
fn shown(fault: &BatchFault) {
    assert!(!fault.to_string().is_empty());
}
