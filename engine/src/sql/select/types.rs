//! MySQL's types over Arrow's: what a column is held as, and what an operator makes of its operands.
//!
//! | Arrow | MySQL |
//! |---|---|
//! | Boolean | the BIGINT 0 or 1 that a comparison gives; becomes Int64 where it leaves a query |
//! | Int8 to Int64, UInt8 to UInt64 | integers |
//! | Decimal128 | DECIMAL, at most 38 digits (MySQL has 65: what needs more is error 1690) |
//! | Float32, Float64 | FLOAT, DOUBLE |
//! | Date32, Timestamp(s, ms, µs) | DATE, DATETIME(0, 3, 6), UTC |
//! | Utf8 | strings, compared by bytes |
//! | Null | the literal NULL |

use arrow::datatypes::{DataType, TimeUnit};
use ingest::pipeline::SqlType;

/// DECIMAL's digits, in all.
pub const DECIMAL_DIGITS_MAX: u8 = 38;
/// DECIMAL's digits behind the point.
pub const DECIMAL_SCALE_MAX: u8 = 30;
/// `div_precision_increment`: the digits that a division adds behind the point.
pub const DIVISION_DIGITS: u8 = 4;

/// What kind of value a type holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// NULL alone.
    Null,
    /// Integers that fit i64.
    Int,
    /// BIGINT UNSIGNED's.
    Unsigned,
    /// DECIMAL.
    Decimal,
    /// FLOAT and DOUBLE.
    Double,
    /// Strings.
    Text,
    /// DATE.
    Date,
    /// DATETIME and TIMESTAMP.
    DateTime,
}

/// The Arrow type that holds a SQL type, as storage reads it.
#[must_use]
pub fn arrow_of(sql_type: SqlType) -> DataType {
    use storage::schema::{Physical, TimeUnit as Unit};
    match sql_type.physical() {
        Physical::Int8 => DataType::Int8,
        Physical::Int16 => DataType::Int16,
        Physical::Int32 => DataType::Int32,
        Physical::Int64 => DataType::Int64,
        Physical::UInt8 => DataType::UInt8,
        Physical::UInt16 => DataType::UInt16,
        Physical::UInt32 => DataType::UInt32,
        Physical::UInt64 => DataType::UInt64,
        Physical::Float32 => DataType::Float32,
        Physical::Float64 => DataType::Float64,
        Physical::Decimal128 { precision, scale } => {
            DataType::Decimal128(precision, i8::try_from(scale).unwrap_or(0))
        }
        Physical::Date32 => DataType::Date32,
        Physical::Timestamp(Unit::Second) => DataType::Timestamp(TimeUnit::Second, None),
        Physical::Timestamp(Unit::Millisecond) => DataType::Timestamp(TimeUnit::Millisecond, None),
        Physical::Timestamp(Unit::Microsecond) => DataType::Timestamp(TimeUnit::Microsecond, None),
        Physical::Utf8 => DataType::Utf8,
    }
}

/// The class of a type.
#[must_use]
pub fn class(data_type: &DataType) -> Class {
    match data_type {
        DataType::Null => Class::Null,
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64 => Class::Int,
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => Class::Unsigned,
        DataType::Decimal128(..) | DataType::Decimal256(..) => Class::Decimal,
        DataType::Float16 | DataType::Float32 | DataType::Float64 => Class::Double,
        DataType::Date32 | DataType::Date64 => Class::Date,
        DataType::Timestamp(..) => Class::DateTime,
        _ => Class::Text,
    }
}

/// Whether it holds a DATE or DATETIME.
#[must_use]
pub fn is_temporal(data_type: &DataType) -> bool {
    matches!(class(data_type), Class::Date | Class::DateTime)
}

/// Digits in all and behind the point, of a type as DECIMAL.
#[must_use]
pub fn digits(data_type: &DataType) -> (u8, u8) {
    match data_type {
        DataType::Null | DataType::Boolean => (1, 0),
        DataType::Int8 | DataType::UInt8 => (3, 0),
        DataType::Int16 | DataType::UInt16 => (5, 0),
        DataType::Int32 | DataType::UInt32 => (10, 0),
        DataType::Int64 => (19, 0),
        DataType::UInt64 => (20, 0),
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => (
            (*precision).min(DECIMAL_DIGITS_MAX),
            u8::try_from(*scale).unwrap_or(0),
        ),
        DataType::Date32 | DataType::Date64 => (8, 0),
        DataType::Timestamp(unit, _) => match fraction_digits(*unit) {
            0 => (14, 0),
            digits => (14 + digits, digits),
        },
        _ => (DECIMAL_DIGITS_MAX, DECIMAL_SCALE_MAX),
    }
}

/// A unit's digits of a second.
#[must_use]
pub fn fraction_digits(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond | TimeUnit::Nanosecond => 6,
    }
}

/// DATETIME(fsp); fsp up to 0, 3 and 6 are held in seconds, milliseconds and microseconds.
#[must_use]
pub fn datetime(fsp: u8) -> DataType {
    DataType::Timestamp(
        match fsp {
            0 => TimeUnit::Second,
            1..=3 => TimeUnit::Millisecond,
            _ => TimeUnit::Microsecond,
        },
        None,
    )
}

/// DECIMAL of at most 38 digits; where there are more, those before the point give way.
#[must_use]
pub fn decimal(precision: u16, scale: u16) -> DataType {
    let scale = u8::try_from(scale.min(u16::from(DECIMAL_SCALE_MAX))).unwrap_or(DECIMAL_SCALE_MAX);
    let precision = u8::try_from(precision.clamp(1, u16::from(DECIMAL_DIGITS_MAX)))
        .unwrap_or(DECIMAL_DIGITS_MAX)
        .max(scale)
        .max(1);
    DataType::Decimal128(precision, i8::try_from(scale).unwrap_or(0))
}

/// The type in which a value stands in arithmetic: Int64, UInt64, Decimal128 or Float64.
#[must_use]
pub fn as_number(data_type: &DataType) -> DataType {
    match class(data_type) {
        Class::Null | Class::Int => DataType::Int64,
        Class::Unsigned => DataType::UInt64,
        Class::Decimal => data_type.clone(),
        Class::Double | Class::Text => DataType::Float64,
        Class::Date => DataType::Int64,
        Class::DateTime => match digits(data_type) {
            (_, 0) => DataType::Int64,
            (precision, scale) => decimal(precision.into(), scale.into()),
        },
    }
}

/// The type of `a op b` for `+ - * % DIV /`, and the one both operands are converted to is its class.
#[must_use]
pub fn arithmetic(op: char, left: &DataType, right: &DataType) -> DataType {
    let (left_number, right_number) = match (class(left), class(right)) {
        (Class::Null, Class::Null) => (DataType::Int64, DataType::Int64),
        (Class::Null, _) => (as_number(right), as_number(right)),
        (_, Class::Null) => (as_number(left), as_number(left)),
        _ => (as_number(left), as_number(right)),
    };
    let is = |wanted: Class| class(&left_number) == wanted || class(&right_number) == wanted;
    if is(Class::Double) {
        return if op == 'd' {
            DataType::Int64
        } else {
            DataType::Float64
        };
    }
    let (p1, s1) = own_digits(left, &left_number);
    let (p2, s2) = own_digits(right, &right_number);
    let (p1, s1, p2, s2) = (u16::from(p1), u16::from(s1), u16::from(p2), u16::from(s2));
    match op {
        '/' => decimal(
            p1 + s2 + u16::from(DIVISION_DIGITS),
            s1 + u16::from(DIVISION_DIGITS),
        ),
        'd' if is(Class::Unsigned) => DataType::UInt64,
        'd' => DataType::Int64,
        _ if is(Class::Decimal) => match op {
            '*' => decimal(p1 + p2, s1 + s2),
            '%' => decimal(p1.max(p2), s1.max(s2)),
            _ => {
                let scale = s1.max(s2);
                decimal((p1 - s1).max(p2 - s2) + scale + 1, scale)
            }
        },
        '%' if class(&left_number) == Class::Unsigned => DataType::UInt64,
        '%' => DataType::Int64,
        _ if is(Class::Unsigned) => DataType::UInt64,
        _ => DataType::Int64,
    }
}

fn own_digits(data_type: &DataType, number: &DataType) -> (u8, u8) {
    match class(data_type) {
        Class::Int | Class::Unsigned | Class::Decimal => digits(data_type),
        _ => digits(number),
    }
}

/// The type in which two values are compared, or NULL with anything: the other's.
#[must_use]
pub fn comparison(left: &DataType, right: &DataType) -> DataType {
    use Class::{Date, DateTime, Decimal, Double, Int, Null, Text, Unsigned};
    match (class(left), class(right)) {
        (Null, _) => right.clone(),
        (_, Null) => left.clone(),
        (Text, Text) => DataType::Utf8,
        (Date, Date) => DataType::Date32,
        (Date | DateTime, DateTime) | (DateTime, Date) => {
            datetime(digits(left).1.max(digits(right).1))
        }
        (Date, Text) | (Text, Date) => datetime(6),
        (DateTime, Text) | (Text, DateTime) => datetime(6),
        (Double | Text, _) | (_, Double | Text) => DataType::Float64,
        (Date | DateTime, _) | (_, Date | DateTime) => DataType::Float64,
        (Int, Int) if left == right => left.clone(),
        (Int, Int) => DataType::Int64,
        (Unsigned, Unsigned) if left == right => left.clone(),
        (Unsigned, Unsigned) => DataType::UInt64,
        (Int, Unsigned) | (Unsigned, Int) => decimal(20, 0),
        (Decimal, _) | (_, Decimal) => {
            let ((p1, s1), (p2, s2)) = (digits(left), digits(right));
            let scale = s1.max(s2);
            decimal(
                u16::from((p1 - s1).max(p2 - s2)) + u16::from(scale),
                scale.into(),
            )
        }
    }
}

/// The type that holds the values of both: of CASE, IF, IFNULL, COALESCE, GREATEST and UNION.
#[must_use]
pub fn union(left: &DataType, right: &DataType) -> DataType {
    use Class::{Date, DateTime, Decimal, Double, Int, Null, Text, Unsigned};
    if left == right {
        return left.clone();
    }
    match (class(left), class(right)) {
        (Null, _) => right.clone(),
        (_, Null) => left.clone(),
        (Text, _) | (_, Text) => DataType::Utf8,
        (Date | DateTime, Date | DateTime) => datetime(digits(left).1.max(digits(right).1)),
        (Date | DateTime, _) | (_, Date | DateTime) => DataType::Utf8,
        (Double, _) | (_, Double) => DataType::Float64,
        (Int, Int) => DataType::Int64,
        (Unsigned, Unsigned) => DataType::UInt64,
        (Int, Unsigned) | (Unsigned, Int) => {
            let small = |t: &DataType| !matches!(t, DataType::UInt64);
            if small(left) && small(right) {
                DataType::Int64
            } else {
                decimal(20, 0)
            }
        }
        (Decimal, _) | (_, Decimal) => {
            let ((p1, s1), (p2, s2)) = (digits(left), digits(right));
            let scale = s1.max(s2);
            decimal(
                u16::from((p1 - s1).max(p2 - s2)) + u16::from(scale),
                scale.into(),
            )
        }
    }
}
