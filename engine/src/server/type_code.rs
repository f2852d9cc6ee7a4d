//! MySQL's column types, by number.

/// DECIMAL as text.
pub const NEWDECIMAL: u8 = 246;
/// 8 bits.
pub const TINY: u8 = 1;
/// 16 bits.
pub const SHORT: u8 = 2;
/// 32 bits.
pub const LONG: u8 = 3;
/// IEEE single.
pub const FLOAT: u8 = 4;
/// IEEE double.
pub const DOUBLE: u8 = 5;
/// NULL.
pub const NULL: u8 = 6;
/// TIMESTAMP.
pub const TIMESTAMP: u8 = 7;
/// 64 bits.
pub const LONGLONG: u8 = 8;
/// 24 bits, sent as 32.
pub const INT24: u8 = 9;
/// DATE.
pub const DATE: u8 = 10;
/// TIME.
pub const TIME: u8 = 11;
/// DATETIME.
pub const DATETIME: u8 = 12;
/// YEAR, sent as 16 bits.
pub const YEAR: u8 = 13;
/// VARCHAR, as old servers said it.
pub const VARCHAR: u8 = 15;
/// JSON.
pub const JSON: u8 = 245;
/// TINYTEXT.
pub const TINY_BLOB: u8 = 249;
/// MEDIUMTEXT.
pub const MEDIUM_BLOB: u8 = 250;
/// LONGTEXT.
pub const LONG_BLOB: u8 = 251;
/// TEXT.
pub const BLOB: u8 = 252;
/// VARCHAR.
pub const VAR_STRING: u8 = 253;
/// CHAR.
pub const STRING: u8 = 254;
