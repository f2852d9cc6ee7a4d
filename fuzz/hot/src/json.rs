//! `json`: messages through the JSON decode, each compared with the slow twin on serde_json.
//!
//! Input: a mapping ([`mapping`]) | messages with the byte 0xff between them, which no JSON has. All go
//! through one decoder, because it learns from each what the next may look like: what it has learned
//! must never make a message right or wrong.

use ingest::kafka::build::BatchBuilder;
use ingest::kafka::{BatchHeader, Records};
use ingest::pipeline::{
    Decode, Ended, Failure, JsonDecoder, JsonMapping, Literal, LoadLimits, MappedColumn, Path,
    SkipErrors, SqlType,
};
use storage::block::BlockWriter;
use storage::ids::Offset;

use crate::bounds::within;
use crate::input::Input;
use crate::table;
use crate::twin::{self, Cell, Refused};

const BETWEEN: u8 = 0xff;
/// Messages of an input that are looked at.
const MESSAGES_MAX: usize = 32;
/// An input beyond it tells nothing new, and its twin takes long.
const INPUT_BYTES_MAX: usize = 16 << 10;
const COLUMNS_MAX: usize = 8;

/// The body.
pub fn json(data: &[u8]) {
    let mut input = Input::new(&data[..data.len().min(INPUT_BYTES_MAX)]);
    let mapping = mapping(&mut input);
    let Ok(mut decoder) = JsonDecoder::new(&mapping) else {
        // Refused at CREATE PIPELINE.
        return;
    };
    let messages = input.rest();
    // A row takes a byte at least; a string column takes what is written there, or a DEFAULT.
    let rows = messages.len() as u32 + 1;
    let mut writer = table::block(&mapping, rows, 17 * rows, 0);
    let messages = messages.split(|byte| *byte == BETWEEN);
    for message in messages.take(MESSAGES_MAX) {
        let expected = twin::rows(&mapping, message);
        // A failed message is copied, and its text kept; nothing else may be made of it.
        let bytes_max = 8 * message.len() + (64 << 10);
        let batch = Batch::of(message);
        let found = within(bytes_max, "the decode", || {
            batch.load(&mut decoder, &mut writer)
        });
        let found = found.map_err(|failure| Refused {
            class: failure.class,
            code: failure.column.map(|_| failure.code),
            column: failure.column,
            line: failure.line,
        });
        let found = found.map(|rows| read(&mut writer, &mapping, rows));
        assert_eq!(
            found,
            expected,
            "\nmessage {}\nmapping {mapping:#?}",
            message.escape_ascii()
        );
    }
}

/// One message as a record batch.
struct Batch {
    header: BatchHeader,
    records: Vec<u8>,
    message_bytes: usize,
}

impl Batch {
    fn of(message: &[u8]) -> Batch {
        let mut builder = BatchBuilder::new(0);
        builder.push(7, None, Some(message));
        let bytes = builder.build();
        let header = BatchHeader::parse(&bytes).expect("a batch");
        let records = header.body(&bytes).expect("whole").to_vec();
        Batch {
            header,
            records,
            message_bytes: message.len(),
        }
    }

    /// Decodes it beyond the block's last mark.
    fn load(&self, decoder: &mut JsonDecoder, writer: &mut BlockWriter) -> Result<u32, Failure> {
        let limits = LoadLimits {
            from: Offset(0),
            offsets_end: Offset(1),
            batch_next_offset: Offset(1),
            bytes_max: u64::MAX,
            skip: SkipErrors::None,
            parse_errors_max: u64::MAX,
            now_unix_ms: 0,
        };
        let mut tail = writer.tail();
        let before = tail.rows();
        let mut records = Records::new(&self.header, &self.records);
        let loaded = decoder.load(&mut records, &limits, &mut tail);
        assert_eq!(tail.rows() - before, loaded.rows);
        match loaded.ended {
            Ended::Batch => {
                assert_eq!((loaded.next_offset, loaded.counts.loaded), (Offset(1), 1));
                Ok(loaded.rows)
            }
            Ended::Poison(poison) => {
                assert_eq!((loaded.next_offset, loaded.rows), (Offset(0), 0));
                assert_eq!(poison.message.len(), self.message_bytes);
                Err(poison.failure)
            }
            other => panic!("the block has room for all: {other:?}"),
        }
    }
}

/// The rows beyond the last mark, which are published here.
fn read(writer: &mut BlockWriter, mapping: &JsonMapping, rows: u32) -> Vec<Vec<Cell>> {
    let before = writer.published();
    let mark = writer.publish(before.next_offset.next());
    assert_eq!(mark.rows_end - before.rows_end, rows);
    let block = writer.shared();
    let columns = 0..mapping.columns.len();
    let regions: Vec<_> = columns.map(|column| block.column(column, mark)).collect();
    (before.rows_end as usize..mark.rows_end as usize)
        .map(|row| {
            regions
                .iter()
                .map(|region| table::cell(region, row))
                .collect()
        })
        .collect()
}

const KEYS: &[&str] = &[
    "a",
    "b",
    "id",
    "é",
    "x y",
    "",
    "\"",
    "a_rather_long_key_of_a_column",
    "note",
    "price",
];

const TYPES: &[SqlType] = &[
    SqlType::BigInt { unsigned: false },
    SqlType::VarChar { chars: 20 },
    SqlType::Json,
    SqlType::Double,
    SqlType::Decimal {
        precision: 18,
        scale: 4,
    },
    SqlType::DateTime { fsp: 6 },
    SqlType::BigInt { unsigned: true },
    SqlType::TinyInt { unsigned: false },
    SqlType::TinyInt { unsigned: true },
    SqlType::SmallInt { unsigned: false },
    SqlType::MediumInt { unsigned: true },
    SqlType::Int { unsigned: false },
    SqlType::Bool,
    SqlType::Float,
    SqlType::Decimal {
        precision: 38,
        scale: 30,
    },
    SqlType::Decimal {
        precision: 38,
        scale: 0,
    },
    SqlType::Char { chars: 5 },
    SqlType::VarChar { chars: 0 },
    SqlType::TinyText,
    SqlType::LongText,
    SqlType::Date,
    SqlType::DateTime { fsp: 0 },
    SqlType::Timestamp { fsp: 3 },
];

/// A mapping: how many columns, then per column its type, bits (0: NOT NULL, 1: no path, 2 to 4: keys of
/// the path, 5 to 7: DEFAULT) and its path's keys.
fn mapping(input: &mut Input<'_>) -> JsonMapping {
    let columns = 1 + input.below(COLUMNS_MAX);
    let columns = (0..columns).map(|at| {
        let sql_type = input.pick(TYPES);
        let bits = input.byte();
        let keys = (0..bits >> 2 & 7).map(|_| input.pick(KEYS).to_owned());
        let keys = keys.collect();
        let text = |text: &str| Some(Literal::Text(text.to_owned()));
        MappedColumn {
            name: format!("c{at}"),
            sql_type,
            nullable: bits & 1 == 0,
            path: (bits & 2 == 0).then_some(Path(keys)),
            default: match bits >> 5 {
                0 | 1 => None,
                2 => Some(Literal::Null),
                3 => Some(Literal::Bool(true)),
                4 => Some(Literal::Number("-1.5".to_owned())),
                5 => text("1"),
                6 => text("2024-05-06"),
                _ => text("[1]"),
            },
        }
    });
    JsonMapping {
        columns: columns.collect(),
    }
}
