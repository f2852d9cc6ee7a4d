//! COM_STMT_EXECUTE's parameters: bytes to values, by the types the client sent with them or before.
//!
//! `[bitmap of NULLs][types are new: u8]{[type: u8][flags: u8]}{value}`. Types are kept per statement:
//! a client sends them once. A parameter that came by COM_STMT_SEND_LONG_DATA has no value here.
//!
//! Source: MySQL's protocol documentation, "COM_STMT_EXECUTE" and "Binary Protocol Value".

use std::collections::{BTreeMap, HashMap};

use mysql_common::io::ParseBuf;

use super::packet::ConnectionError;
use super::type_code;
use crate::limits::LONG_DATA_OVERHEAD_BYTES;
use crate::sql::Value;

const UNSIGNED: u8 = 0x80;

/// What is kept of a session's prepared statements; their long data is bounded together.
pub struct Statements {
    by_id: HashMap<u32, Bindings>,
    long_data_bytes: usize,
    long_data_bytes_max: usize,
}

impl Statements {
    /// None yet, for at most so much long data at once.
    #[must_use]
    pub fn new(long_data_bytes_max: usize) -> Statements {
        Statements {
            by_id: HashMap::new(),
            long_data_bytes: 0,
            long_data_bytes_max,
        }
    }

    /// A new statement with so many parameters.
    pub fn insert(&mut self, id: u32, params: usize) {
        self.by_id.insert(id, Bindings::new(params));
    }

    /// COM_STMT_CLOSE.
    pub fn close(&mut self, id: u32) {
        self.reset(id);
        self.by_id.remove(&id);
    }

    /// COM_RESET_CONNECTION.
    pub fn clear(&mut self) {
        self.by_id.clear();
        self.long_data_bytes = 0;
    }

    /// COM_STMT_RESET: forgets its long data. `false`: there is no such statement.
    pub fn reset(&mut self, id: u32) -> bool {
        let Some(bindings) = self.by_id.get_mut(&id) else {
            return false;
        };
        self.long_data_bytes -= bindings.long_data_bytes();
        bindings.reset();
        true
    }

    /// COM_STMT_SEND_LONG_DATA; it has no answer, so an unknown statement is nobody's fault.
    ///
    /// # Errors
    /// `TooLarge`: all statements together hold more than they may.
    pub fn append_long_data(
        &mut self,
        id: u32,
        param: usize,
        bytes: &[u8],
    ) -> Result<(), ConnectionError> {
        let Some(bindings) = self.by_id.get_mut(&id) else {
            return Ok(());
        };
        let held = bindings.long_data_bytes();
        bindings.append_long_data(param, bytes);
        self.long_data_bytes += bindings.long_data_bytes() - held;
        if self.long_data_bytes > self.long_data_bytes_max {
            return Err(ConnectionError::TooLarge {
                bytes: self.long_data_bytes,
                bytes_max: self.long_data_bytes_max,
            });
        }
        Ok(())
    }

    /// The values of one execution; its long data is taken. `None`: there is no such statement.
    ///
    /// # Errors
    /// As [`Bindings::read`].
    pub fn read(&mut self, id: u32, params: &[u8]) -> Option<Result<Vec<Value>, ConnectionError>> {
        let bindings = self.by_id.get_mut(&id)?;
        self.long_data_bytes -= bindings.long_data_bytes();
        let values = bindings.read(params);
        bindings.reset();
        Some(values)
    }
}

/// What is kept of a prepared statement between two executions.
#[derive(Default)]
pub struct Bindings {
    /// How many `?` it has.
    pub params: usize,
    types: Vec<(u8, u8)>,
    long_data: BTreeMap<usize, Vec<u8>>,
    long_data_bytes: usize,
}

impl Bindings {
    /// For a statement with `params` parameters.
    #[must_use]
    pub fn new(params: usize) -> Bindings {
        Bindings {
            params,
            types: Vec::new(),
            long_data: BTreeMap::new(),
            long_data_bytes: 0,
        }
    }

    /// What is held of long data, bytes.
    #[must_use]
    pub fn long_data_bytes(&self) -> usize {
        self.long_data_bytes
    }

    /// Appends COM_STMT_SEND_LONG_DATA's bytes to a parameter. Out of range: dropped, as MySQL does,
    /// since the command has no answer.
    pub fn append_long_data(&mut self, param: usize, bytes: &[u8]) {
        if param < self.params {
            let data = self.long_data.entry(param).or_insert_with(|| {
                self.long_data_bytes += LONG_DATA_OVERHEAD_BYTES;
                Vec::new()
            });
            data.extend_from_slice(bytes);
            self.long_data_bytes += bytes.len();
        }
    }

    /// Forgets long data: after each execution and at COM_STMT_RESET.
    pub fn reset(&mut self) {
        self.long_data.clear();
        self.long_data_bytes = 0;
    }

    /// Reads the parameters of one execution from what follows the iteration count.
    ///
    /// # Errors
    /// `Malformed` where the bytes end early, or a type is not one that clients send.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Vec<Value>, ConnectionError> {
        const SHORT: ConnectionError = ConnectionError::Malformed("COM_STMT_EXECUTE ends early");
        if self.params == 0 {
            return Ok(Vec::new());
        }
        let mut rest = ParseBuf(bytes);
        let nulls = rest.checked_eat(self.params.div_ceil(8)).ok_or(SHORT)?;
        if rest.checked_eat_u8().ok_or(SHORT)? == 1 {
            self.types.clear();
            for _ in 0..self.params {
                let pair = rest.checked_eat(2).ok_or(SHORT)?;
                self.types.push((pair[0], pair[1]));
            }
        }
        let mut values = Vec::with_capacity(self.params);
        for at in 0..self.params {
            values.push(if let Some(data) = self.long_data.remove(&at) {
                Value::Bytes(data)
            } else if nulls[at / 8] & (1 << (at % 8)) != 0 {
                Value::Null
            } else {
                // Connector/J sends no types where every value is NULL or long data.
                let (type_code, flags) = self
                    .types
                    .get(at)
                    .copied()
                    .ok_or(ConnectionError::Malformed("COM_STMT_EXECUTE without types"))?;
                value(type_code, flags & UNSIGNED != 0, &mut rest)?.ok_or(SHORT)?
            });
        }
        Ok(values)
    }
}

/// `Ok(None)`: the bytes end early.
fn value(
    code: u8,
    unsigned: bool,
    rest: &mut ParseBuf<'_>,
) -> Result<Option<Value>, ConnectionError> {
    let int = |signed: i64, wide: u64| {
        if unsigned {
            Value::UInt(wide)
        } else {
            Value::Int(signed)
        }
    };
    Ok(match code {
        type_code::NULL => Some(Value::Null),
        type_code::TINY => rest
            .checked_eat_u8()
            .map(|v| int(i64::from(v.cast_signed()), v.into())),
        type_code::SHORT | type_code::YEAR => rest
            .checked_eat_u16_le()
            .map(|v| int(i64::from(v.cast_signed()), v.into())),
        type_code::LONG | type_code::INT24 => rest
            .checked_eat_u32_le()
            .map(|v| int(i64::from(v.cast_signed()), v.into())),
        type_code::LONGLONG => rest.checked_eat_u64_le().map(|v| int(v.cast_signed(), v)),
        type_code::FLOAT => rest
            .checked_eat_u32_le()
            .map(|v| Value::Float(f32::from_bits(v))),
        type_code::DOUBLE => rest
            .checked_eat_u64_le()
            .map(|v| Value::Double(f64::from_bits(v))),
        type_code::DATE | type_code::DATETIME | type_code::TIMESTAMP => {
            rest.checked_eat_u8_str().and_then(date_time)
        }
        type_code::TIME => rest.checked_eat_u8_str().and_then(time),
        type_code::NEWDECIMAL
        | 0
        | 16
        | type_code::VARCHAR
        | type_code::JSON..=type_code::STRING => rest
            .checked_eat_lenenc_str()
            .map(|bytes| Value::Bytes(bytes.to_vec())),
        _ => {
            return Err(ConnectionError::Malformed(
                "COM_STMT_EXECUTE with an unknown type",
            ));
        }
    })
}

fn date_time(bytes: &[u8]) -> Option<Value> {
    let mut fields = [0; 11];
    matches!(bytes.len(), 0 | 4 | 7 | 11).then(|| fields[..bytes.len()].copy_from_slice(bytes))?;
    let [y0, y1, month, day, hour, minute, second, m0, m1, m2, m3] = fields;
    Some(Value::Date {
        year: u16::from_le_bytes([y0, y1]),
        month,
        day,
        hour,
        minute,
        second,
        micros: u32::from_le_bytes([m0, m1, m2, m3]),
        has_time: bytes.len() > 4,
    })
}

fn time(bytes: &[u8]) -> Option<Value> {
    let mut fields = [0; 12];
    matches!(bytes.len(), 0 | 8 | 12).then(|| fields[..bytes.len()].copy_from_slice(bytes))?;
    let [
        negative,
        d0,
        d1,
        d2,
        d3,
        hours,
        minutes,
        seconds,
        m0,
        m1,
        m2,
        m3,
    ] = fields;
    Some(Value::Time {
        negative: negative != 0,
        days: u32::from_le_bytes([d0, d1, d2, d3]),
        hours,
        minutes,
        seconds,
        micros: u32::from_le_bytes([m0, m1, m2, m3]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_null_or_long_data_needs_no_types() {
        let mut bindings = Bindings::new(2);
        bindings.append_long_data(0, b"long");
        assert_eq!(
            bindings.read(&[0b0010, 0]).expect("read"),
            vec![Value::Bytes(b"long".to_vec()), Value::Null]
        );
        assert!(bindings.read(&[0b0010, 0, 1]).is_err());
    }

    #[test]
    fn parameters_are_read_by_their_types_and_types_are_kept() {
        let mut bindings = Bindings::new(4);
        let mut bytes = vec![0b0010, 1];
        for (code, flags) in [
            (type_code::LONGLONG, 0),
            (type_code::TINY, 0),
            (type_code::SHORT, UNSIGNED),
            (253, 0),
        ] {
            bytes.extend_from_slice(&[code, flags]);
        }
        let values = [
            (-5i64).to_le_bytes().as_slice(),
            &[0xff, 0xff],
            &[2, b'h', b'i'],
        ]
        .concat();
        let expected = vec![
            Value::Int(-5),
            Value::Null,
            Value::UInt(65535),
            Value::Bytes(b"hi".to_vec()),
        ];
        assert_eq!(
            bindings
                .read(&[bytes, values.clone()].concat())
                .expect("read"),
            expected
        );
        assert_eq!(
            bindings
                .read(&[vec![0b0010, 0], values].concat())
                .expect("read"),
            expected
        );
    }

    #[test]
    fn long_data_takes_the_place_of_a_value_once() {
        let mut bindings = Bindings::new(1);
        bindings.append_long_data(0, b"ab");
        bindings.append_long_data(0, b"c");
        bindings.append_long_data(7, b"nowhere");
        assert_eq!(bindings.long_data_bytes(), 3 + LONG_DATA_OVERHEAD_BYTES);
        let bytes = [0, 1, 252, 0];
        assert_eq!(
            bindings.read(&bytes).expect("read"),
            [Value::Bytes(b"abc".to_vec())]
        );
        assert!(bindings.read(&bytes).is_err());
    }

    #[test]
    fn long_data_of_all_statements_is_bounded_together() {
        let piece = LONG_DATA_OVERHEAD_BYTES + 10;
        let mut statements = Statements::new(3 * piece);
        for id in 1..=4 {
            statements.insert(id, 2);
        }
        let append = |statements: &mut Statements, id, param| {
            statements.append_long_data(id, param, &[b'x'; 10]).is_ok()
        };
        assert!(append(&mut statements, 1, 0));
        assert!(append(&mut statements, 2, 0));
        assert!(append(&mut statements, 3, 1));
        assert!(append(&mut statements, 9, 0), "nobody's");
        assert!(append(&mut statements, 3, 2), "no such parameter");
        // What is read, reset or closed makes room; nothing else does.
        let read = statements.read(1, &[0b10, 0]).expect("there");
        assert_eq!(read.expect("read").len(), 2);
        assert!(append(&mut statements, 4, 0));
        assert!(statements.reset(2) && !statements.reset(9));
        assert!(append(&mut statements, 4, 1));
        statements.close(3);
        assert!(append(&mut statements, 2, 1));
        assert!(!append(&mut statements, 2, 1), "full");
        statements.clear();
        assert_eq!(statements.long_data_bytes, 0);
        assert!(statements.read(4, &[]).is_none());
    }

    #[test]
    fn bytes_that_end_early_are_an_error_at_every_length() {
        let whole = [0, 1, 12, 0, 11, 0xd0, 7, 2, 29, 1, 2, 3, 4, 0, 0, 0];
        for end in 0..whole.len() {
            assert!(Bindings::new(1).read(&whole[..end]).is_err(), "{end}");
        }
        let value = Bindings::new(1).read(&whole).expect("read");
        let expected = Value::Date {
            year: 2000,
            month: 2,
            day: 29,
            hour: 1,
            minute: 2,
            second: 3,
            micros: 4,
            has_time: true,
        };
        assert_eq!(value, [expected]);
        assert!(Bindings::new(1).read(&[0, 1, 200, 0]).is_err());
    }
}
