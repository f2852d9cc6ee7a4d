//! From a record batch's body to its records: four codecs into one reused scratch region.
//!
//! Bounded twice: a body never decompresses to more than `bytes_max` (a bomb is an error at that
//! byte), and of the scratch [`DECOMPRESS_SCRATCH_KEPT_BYTES_MAX`] stay from batch to batch. A body that
//! is not walked at once leaves with its scratch ([`Decompressor::unpack`]) and comes back when it is.
//! The batch's CRC-32C covers the compressed bytes, so the codecs' own checksums are not looked at,
//! gzip's excepted, which its library checks anyway.

use std::io::Read;

use flate2::bufread::MultiGzDecoder;
use zstd::zstd_safe::DCtx;

use super::batch::{BatchFault, BatchHeader, Codec};
use super::records::Records;
use crate::limits::{
    DECOMPRESS_SCRATCH_BYTES_MIN, DECOMPRESS_SCRATCH_KEPT_BYTES_MAX, DECOMPRESSED_BYTES_MAX,
};

/// Why a body did not decompress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecFault {
    /// The stream contradicts its own format.
    #[error("the {} body is not a valid stream", name(*codec))]
    Invalid {
        /// Which codec.
        codec: Codec,
    },
    /// It holds more than may be unpacked.
    #[error("the {} body unpacks to more than {bytes_max} bytes", name(*codec))]
    TooLarge {
        /// Which codec.
        codec: Codec,
        /// The limit.
        bytes_max: usize,
    },
}

fn name(codec: Codec) -> &'static str {
    match codec {
        Codec::None => "plain",
        Codec::Gzip => "gzip",
        Codec::Snappy => "snappy",
        Codec::Lz4 => "lz4",
        Codec::Zstd => "zstd",
    }
}

/// What a body unpacked to.
#[derive(Debug)]
pub struct Unpacked {
    /// The scratch it was unpacked into, a prefix of which it is.
    scratch: Vec<u8>,
    length: usize,
}

impl Unpacked {
    /// The records.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.scratch[..self.length]
    }

    /// Its length.
    #[must_use]
    pub fn length_bytes(&self) -> usize {
        self.length
    }

    /// The memory that it takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.scratch.capacity()
    }
}

/// Decompresses one batch at a time; one for each leaf.
pub struct Decompressor {
    /// Always initialised to its length; what was unpacked is a prefix.
    scratch: Vec<u8>,
    bytes_max: usize,
    unpackings: u64,
    snappy: snap::raw::Decoder,
    zstd: DCtx<'static>,
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decompressor")
            .field("scratch_bytes", &self.scratch.len())
            .field("bytes_max", &self.bytes_max)
            .finish_non_exhaustive()
    }
}

impl Default for Decompressor {
    fn default() -> Self {
        Decompressor::new(DECOMPRESSED_BYTES_MAX)
    }
}

impl Decompressor {
    /// A body may unpack to `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Decompressor {
        Decompressor {
            scratch: Vec::new(),
            bytes_max,
            unpackings: 0,
            snappy: snap::raw::Decoder::new(),
            zstd: DCtx::create(),
        }
    }

    /// The walk over a batch's records. An uncompressed body is walked where it lies.
    ///
    /// - `body`: the bytes after the header ([`BatchHeader::body`]), whose checksum has passed.
    ///
    /// # Errors
    /// [`BatchFault::Codec`].
    pub fn open<'a>(
        &'a mut self,
        header: &BatchHeader,
        body: &'a [u8],
    ) -> Result<Records<'a>, BatchFault> {
        self.trim();
        Ok(match self.unpack_here(header, body)? {
            None => Records::new(header, body),
            Some(length) => Records::new(header, &self.scratch[..length]),
        })
    }

    /// Unpacks a body to be walked now or later, in parts: [`Decompressor::give`] it back at the end.
    /// `None`: it is not compressed and is walked where it lies.
    ///
    /// # Errors
    /// [`BatchFault::Codec`].
    pub fn unpack(
        &mut self,
        header: &BatchHeader,
        body: &[u8],
    ) -> Result<Option<Unpacked>, BatchFault> {
        let length = self.unpack_here(header, body)?;
        Ok(length.map(|length| Unpacked {
            scratch: std::mem::take(&mut self.scratch),
            length,
        }))
    }

    /// Makes it take no more memory than it is long. A small one leaves the scratch here, which is warm:
    /// an empty one would have to grow anew, which codecs that do not tell their size pay for by
    /// unpacking again.
    pub fn fit(&mut self, unpacked: &mut Unpacked) {
        let length = unpacked.length;
        if unpacked.scratch.len() == length {
            return;
        }
        if length <= DECOMPRESS_SCRATCH_KEPT_BYTES_MAX {
            let own = unpacked.bytes().to_vec();
            self.scratch = std::mem::replace(&mut unpacked.scratch, own);
            self.trim();
        } else {
            unpacked.scratch.truncate(length);
            unpacked.scratch.shrink_to_fit();
        }
    }

    /// Takes back what was unpacked: its memory is the next one's.
    pub fn give(&mut self, unpacked: Unpacked) {
        if unpacked.scratch.len() > self.scratch.len() {
            self.scratch = unpacked.scratch;
        }
        self.trim();
    }

    /// Bodies that were unpacked so far.
    #[must_use]
    pub fn unpackings(&self) -> u64 {
        self.unpackings
    }

    /// The memory that it keeps.
    #[must_use]
    pub fn scratch_bytes(&self) -> usize {
        self.scratch.capacity()
    }

    fn trim(&mut self) {
        if self.scratch.len() > DECOMPRESS_SCRATCH_KEPT_BYTES_MAX {
            self.scratch.truncate(DECOMPRESS_SCRATCH_KEPT_BYTES_MAX);
            self.scratch.shrink_to_fit();
        }
    }

    /// Unpacks into the scratch: how many bytes. `None`: the body is not compressed.
    fn unpack_here(
        &mut self,
        header: &BatchHeader,
        body: &[u8],
    ) -> Result<Option<usize>, BatchFault> {
        // An empty batch that compaction left behind keeps its codec but has no stream.
        if header.codec == Codec::None || (header.record_count == 0 && body.is_empty()) {
            return Ok(None);
        }
        self.unpackings += 1;
        Ok(match header.codec {
            Codec::None => None,
            Codec::Gzip => Some(self.gzip(body)?),
            Codec::Snappy => Some(self.snappy(body)?),
            Codec::Lz4 => Some(self.lz4(body)?),
            Codec::Zstd => Some(self.zstd(body)?),
        })
    }

    /// Makes `scratch[..length]` usable, growing at least twofold.
    fn reserve(&mut self, length: usize, codec: Codec) -> Result<(), CodecFault> {
        if length > self.bytes_max {
            return Err(CodecFault::TooLarge {
                codec,
                bytes_max: self.bytes_max,
            });
        }
        if length > self.scratch.len() {
            let grown = length
                .max(self.scratch.len() * 2)
                .max(DECOMPRESS_SCRATCH_BYTES_MIN)
                .min(self.bytes_max);
            self.scratch.resize(grown, 0);
        }
        Ok(())
    }

    fn gzip(&mut self, body: &[u8]) -> Result<usize, CodecFault> {
        let invalid = CodecFault::Invalid { codec: Codec::Gzip };
        let mut decoder = MultiGzDecoder::new(body);
        let mut length = 0;
        loop {
            if length == self.bytes_max {
                // Full to the byte: one more tells a bomb from a body that just fits.
                return match decoder.read(&mut [0]) {
                    Ok(0) => Ok(length),
                    Ok(_) => Err(CodecFault::TooLarge {
                        codec: Codec::Gzip,
                        bytes_max: self.bytes_max,
                    }),
                    Err(_) => Err(invalid),
                };
            }
            self.reserve(length + 1, Codec::Gzip)?;
            match decoder.read(&mut self.scratch[length..]) {
                Ok(0) => return Ok(length),
                Ok(read) => length += read,
                Err(_) => return Err(invalid),
            }
        }
    }

    /// Raw, or the framing of Java's library: a magic, two versions, then `length i32 | raw` chunks.
    fn snappy(&mut self, body: &[u8]) -> Result<usize, CodecFault> {
        const JAVA_MAGIC: &[u8] = b"\x82SNAPPY\0";
        const JAVA_HEADER_BYTES: usize = 16;
        let invalid = CodecFault::Invalid {
            codec: Codec::Snappy,
        };
        if !body.starts_with(JAVA_MAGIC) {
            return self.snappy_raw(body, 0);
        }
        let mut rest = body.get(JAVA_HEADER_BYTES..).ok_or(invalid)?;
        let mut length = 0;
        while !rest.is_empty() {
            let (size, after) = rest.split_first_chunk::<4>().ok_or(invalid)?;
            let (chunk, after) = after
                .split_at_checked(u32::from_be_bytes(*size) as usize)
                .ok_or(invalid)?;
            length = self.snappy_raw(chunk, length)?;
            rest = after;
        }
        Ok(length)
    }

    fn snappy_raw(&mut self, chunk: &[u8], at: usize) -> Result<usize, CodecFault> {
        let invalid = CodecFault::Invalid {
            codec: Codec::Snappy,
        };
        let end = at + snap::raw::decompress_len(chunk).map_err(|_| invalid)?;
        self.reserve(end, Codec::Snappy)?;
        let written = self
            .snappy
            .decompress(chunk, &mut self.scratch[at..end])
            .map_err(|_| invalid)?;
        if at + written == end {
            Ok(end)
        } else {
            Err(invalid)
        }
    }

    /// Frames of blocks, each unpacked straight into the scratch: the library's frame reader copies
    /// every block twice.
    ///
    /// Frame: `magic u32le | FLG | BD | [content size u64] | [dictionary id u32] | header check |
    /// blocks | [content check u32]`; block: `size u32le (top bit: stored) | bytes | [check u32]`,
    /// a size of 0 ends the frame.
    fn lz4(&mut self, body: &[u8]) -> Result<usize, CodecFault> {
        const MAGIC: u32 = 0x184d_2204;
        const STORED: u32 = 1 << 31;
        const HISTORY_BYTES: usize = 64 * 1024;
        let invalid = CodecFault::Invalid { codec: Codec::Lz4 };
        let mut rest = body;
        let mut length = 0;
        while !rest.is_empty() {
            if u32_le(&mut rest).ok_or(invalid)? != MAGIC {
                return Err(invalid);
            }
            let (&[flags, descriptor], after) = rest.split_first_chunk().ok_or(invalid)?;
            let (linked, block_check) = (flags & 0x20 == 0, flags & 0x10 != 0);
            let (sized, content_check, dictionary) =
                (flags & 0x08 != 0, flags & 0x04 != 0, flags & 0x01 != 0);
            let block_bytes_max = match (descriptor >> 4) & 0x07 {
                4 => 64 * 1024,
                5 => 256 * 1024,
                6 => 1024 * 1024,
                7 => 4 * 1024 * 1024,
                _ => return Err(invalid),
            };
            if flags >> 6 != 1 || dictionary {
                return Err(invalid);
            }
            rest = after.get(usize::from(sized) * 8 + 1..).ok_or(invalid)?;
            let frame_start = length;
            loop {
                let size = u32_le(&mut rest).ok_or(invalid)?;
                if size == 0 {
                    break;
                }
                let stored = size & STORED != 0;
                let (block, after) = rest
                    .split_at_checked((size & !STORED) as usize)
                    .ok_or(invalid)?;
                rest = after
                    .get(if block_check { 4 } else { 0 }..)
                    .ok_or(invalid)?;
                if block.len() > block_bytes_max {
                    return Err(invalid);
                }
                if stored {
                    self.reserve(length + block.len(), Codec::Lz4)?;
                    self.scratch[length..length + block.len()].copy_from_slice(block);
                    length += block.len();
                    continue;
                }
                // A block near the limit may end before it: what is too large shows as no room.
                let room_end = (length + block_bytes_max).min(self.bytes_max);
                self.reserve(room_end, Codec::Lz4)?;
                let (before, room) = self.scratch.split_at_mut(length);
                let history = if linked {
                    &before[frame_start.max(length.saturating_sub(HISTORY_BYTES))..]
                } else {
                    &[]
                };
                let room = &mut room[..room_end - length];
                length += if history.is_empty() {
                    lz4_flex::block::decompress_into(block, room)
                } else {
                    lz4_flex::block::decompress_into_with_dict(block, room, history)
                }
                .map_err(|fault| match fault {
                    lz4_flex::block::DecompressError::OutputTooSmall { .. }
                        if room_end == self.bytes_max =>
                    {
                        CodecFault::TooLarge {
                            codec: Codec::Lz4,
                            bytes_max: self.bytes_max,
                        }
                    }
                    _ => invalid,
                })?;
            }
            if content_check {
                rest = rest.get(4..).ok_or(invalid)?;
            }
        }
        Ok(length)
    }

    /// In one shot: the frame seldom says its size, so a scratch that is too small grows and the shot
    /// is repeated; warmed up it fits. No window is allocated that way.
    fn zstd(&mut self, body: &[u8]) -> Result<usize, CodecFault> {
        /// `ZSTD_error_dstSize_tooSmall`, negated as the library returns it.
        const TOO_SMALL: usize = 0_usize.wrapping_sub(70);
        let mut room = self.scratch.len().max(1);
        loop {
            self.reserve(room.min(self.bytes_max), Codec::Zstd)?;
            match self.zstd.decompress(&mut self.scratch[..], body) {
                Ok(length) => return Ok(length),
                Err(TOO_SMALL) if self.scratch.len() < self.bytes_max => {
                    room = self.scratch.len() * 2;
                }
                Err(TOO_SMALL) => {
                    return Err(CodecFault::TooLarge {
                        codec: Codec::Zstd,
                        bytes_max: self.bytes_max,
                    });
                }
                Err(_) => return Err(CodecFault::Invalid { codec: Codec::Zstd }),
            }
        }
    }
}

fn u32_le(bytes: &mut &[u8]) -> Option<u32> {
    let (four, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*four))
}
