//! Kafka's primitive types over bytes that are not trusted.
//!
//! A [`Reader`] never reads past its slice and reserves nothing: a count is a number that the caller
//! compares with what is left ([`Reader::count`] does). Truncated is told apart from wrong, because a
//! response that is still arriving is the first and never the second.

use storage::ids::TopicId;

/// Why bytes could not be read as the type that was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireFault {
    /// The slice ended first: wait for more, or wrong if there is no more.
    #[error("the bytes end in the middle of a value")]
    Truncated,
    /// A length or count below what its type allows.
    #[error("a length of {0}")]
    NegativeLength(i64),
    /// A count that the bytes left cannot hold.
    #[error("a count of {0} that the bytes left cannot hold")]
    CountTooLarge(u64),
    /// A varint of more bytes than its type has.
    #[error("a varint that does not end")]
    VarintTooLong,
    /// A string that is not UTF-8.
    #[error("a string that is not UTF-8")]
    NotUtf8,
}

/// Reads big-endian values off the front of a slice.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    /// Reads from the slice's first byte.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, position: 0 }
    }

    /// Reads from `position`, which may lie past the end: the next read is then truncated.
    #[must_use]
    pub fn at(bytes: &'a [u8], position: usize) -> Reader<'a> {
        Reader { bytes, position }
    }

    /// The next byte's index in the slice.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Goes on at `position`, which may lie past the end: the next read is then truncated.
    pub fn skip_to(&mut self, position: usize) {
        self.position = position;
    }

    /// How many bytes are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.position)
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// [`WireFault::Truncated`].
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], WireFault> {
        let end = self
            .position
            .checked_add(count)
            .ok_or(WireFault::Truncated)?;
        let taken = self
            .bytes
            .get(self.position..end)
            .ok_or(WireFault::Truncated)?;
        self.position = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireFault> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| WireFault::Truncated)
    }

    /// An INT8.
    ///
    /// # Errors
    /// [`WireFault::Truncated`].
    pub fn i8(&mut self) -> Result<i8, WireFault> {
        Ok(i8::from_be_bytes(self.array()?))
    }

    /// A BOOLEAN: any byte but 0 is true.
    ///
    /// # Errors
    /// [`WireFault::Truncated`].
    pub fn bool(&mut self) -> Result<bool, WireFault> {
        Ok(self.i8()? != 0)
    }

    /// An INT16.
    ///
    /// # Errors
    /// [`WireFault::Truncated`].
    pub fn i16(&mut self) -> Result<i16, WireFault> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    /// An INT32.
    ///
    /// # Errors
    /// [`WireFault::Truncated`].
    pub fn i32(&mut self) -> Result<i32, WireFault> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// An INT64.
    ///
    /// # Errors
    /// [`WireFault::Truncated`].
    pub fn i64(&mut self) -> Result<i64, WireFault> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A UUID.
    ///
    /// # Errors
    /// [`WireFault::Truncated`].
    pub fn uuid(&mut self) -> Result<TopicId, WireFault> {
        Ok(TopicId(self.array()?))
    }

    /// An UNSIGNED_VARINT, at most five bytes.
    ///
    /// # Errors
    /// Truncated, or longer than a `u32`.
    pub fn uvarint(&mut self) -> Result<u32, WireFault> {
        let mut value = 0_u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            if shift == 28 && byte > 0x0f {
                return Err(WireFault::VarintTooLong);
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(WireFault::VarintTooLong)
    }

    /// The count of an ARRAY (or COMPACT_ARRAY), `None` for null, refused where the bytes left cannot
    /// hold that many elements of at least `element_bytes_min` bytes.
    ///
    /// # Errors
    /// Truncated, negative, or too large. Where more bytes may still arrive the caller must ask
    /// [`Reader::count_unchecked`] instead.
    pub fn count(
        &mut self,
        flexible: bool,
        element_bytes_min: usize,
    ) -> Result<Option<usize>, WireFault> {
        let Some(count) = self.count_unchecked(flexible)? else {
            return Ok(None);
        };
        if count.saturating_mul(element_bytes_min.max(1)) > self.remaining() {
            return Err(WireFault::CountTooLarge(count as u64));
        }
        Ok(Some(count))
    }

    /// The count of an ARRAY (or COMPACT_ARRAY), `None` for null. Reserve nothing by it.
    ///
    /// # Errors
    /// Truncated or negative.
    pub fn count_unchecked(&mut self, flexible: bool) -> Result<Option<usize>, WireFault> {
        if flexible {
            return Ok((self.uvarint()? as usize).checked_sub(1));
        }
        match self.i32()? {
            -1 => Ok(None),
            count => usize::try_from(count)
                .map(Some)
                .map_err(|_| WireFault::NegativeLength(count.into())),
        }
    }

    /// A (COMPACT_)(NULLABLE_)STRING.
    ///
    /// # Errors
    /// Truncated, negative length, or not UTF-8.
    pub fn string(&mut self, flexible: bool) -> Result<Option<&'a str>, WireFault> {
        let length = if flexible {
            (self.uvarint()? as usize).checked_sub(1)
        } else {
            match self.i16()? {
                -1 => None,
                length => Some(
                    usize::try_from(length)
                        .map_err(|_| WireFault::NegativeLength(length.into()))?,
                ),
            }
        };
        let Some(length) = length else {
            return Ok(None);
        };
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes)
            .map(Some)
            .map_err(|_| WireFault::NotUtf8)
    }

    /// Skips a flexible version's tagged fields, handing each to `see` as (tag, bytes).
    ///
    /// # Errors
    /// Truncated, or what `see` returns.
    pub fn tags(
        &mut self,
        mut see: impl FnMut(u32, &'a [u8]) -> Result<(), WireFault>,
    ) -> Result<(), WireFault> {
        let count = self.uvarint()?;
        for _ in 0..count {
            let tag = self.uvarint()?;
            let size = self.uvarint()? as usize;
            see(tag, self.take(size)?)?;
        }
        Ok(())
    }

    /// Skips tagged fields where the version is flexible.
    ///
    /// # Errors
    /// Truncated.
    pub fn skip_tags(&mut self, flexible: bool) -> Result<(), WireFault> {
        if flexible {
            self.tags(|_, _| Ok(()))?;
        }
        Ok(())
    }
}

/// Appends an UNSIGNED_VARINT.
pub fn put_uvarint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a count as an ARRAY or COMPACT_ARRAY has it.
pub fn put_count(out: &mut Vec<u8>, count: u32, flexible: bool) {
    if flexible {
        put_uvarint(out, count + 1);
    } else {
        out.extend_from_slice(&count.to_be_bytes());
    }
}

/// Appends a STRING or COMPACT_STRING of at most `i16::MAX` bytes; a longer one is cut there.
pub fn put_string(out: &mut Vec<u8>, text: &str, flexible: bool) {
    let length = text.floor_char_boundary(text.len().min(i16::MAX as usize));
    if flexible {
        put_uvarint(out, length as u32 + 1);
    } else {
        out.extend_from_slice(&(length as u16).to_be_bytes());
    }
    out.extend_from_slice(&text.as_bytes()[..length]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_end_within_five_bytes() {
        for (bytes, expected) in [
            (&[0x00][..], Ok(0)),
            (&[0x7f], Ok(127)),
            (&[0x80, 0x01], Ok(128)),
            (&[0xff, 0xff, 0xff, 0xff, 0x0f], Ok(u32::MAX)),
            (
                &[0xff, 0xff, 0xff, 0xff, 0x10],
                Err(WireFault::VarintTooLong),
            ),
            (&[0x80, 0x80], Err(WireFault::Truncated)),
        ] {
            assert_eq!(Reader::new(bytes).uvarint(), expected, "{bytes:x?}");
            if let Ok(value) = expected {
                let mut out = Vec::new();
                put_uvarint(&mut out, value);
                assert_eq!(out, bytes);
            }
        }
    }

    #[test]
    fn a_count_is_compared_with_the_bytes_left() {
        let bytes = [0x7f, 0xff, 0xff, 0xff, 0, 0];
        assert_eq!(
            Reader::new(&bytes).count(false, 1),
            Err(WireFault::CountTooLarge(0x7fff_ffff))
        );
        assert_eq!(
            Reader::new(&(-2_i32).to_be_bytes()).count(false, 1),
            Err(WireFault::NegativeLength(-2))
        );
        assert_eq!(Reader::new(&[0]).count(true, 1), Ok(None));
        assert_eq!(Reader::new(&[3, 1, 1]).count(true, 1), Ok(Some(2)));
    }

    #[test]
    fn strings_are_bounded_and_checked() {
        assert_eq!(
            Reader::new(&[0, 2, b'a', b'b']).string(false),
            Ok(Some("ab"))
        );
        assert_eq!(Reader::new(&[0xff, 0xff]).string(false), Ok(None));
        assert_eq!(
            Reader::new(&[0xff, 0xfe]).string(false),
            Err(WireFault::NegativeLength(-2))
        );
        assert_eq!(
            Reader::new(&[2, 0xff]).string(true),
            Err(WireFault::NotUtf8)
        );
        assert_eq!(
            Reader::new(&[9, b'a']).string(true),
            Err(WireFault::Truncated)
        );
    }
}
