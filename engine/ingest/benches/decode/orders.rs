//! Order events of eight columns and 172 bytes, from a seed, in record batches as a broker sends them.

use std::fmt::Write as _;
use std::sync::Arc;

use ingest::kafka::build::BatchBuilder;
use ingest::kafka::{BatchHeader, Codec, Records};
use ingest::pipeline::{JsonMapping, LoadLimits, MappedColumn, Path, SkipErrors, SqlType};
use storage::block::{BlockLayout, BlockWriter};
use storage::ids::Offset;
use storage::schema::{Column, Physical, Schema};

/// How the messages look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Keys in the table's order.
    Plain,
    /// Keys in another order, the same in each message.
    OtherOrder,
    /// Two producers with an order each take turns.
    TwoOrders,
    /// Three keys more that the mapping does not know, an object and an array among them.
    UnknownKeys,
    /// Escapes in a string.
    Escapes,
    /// Each third message lacks a key that has a DEFAULT.
    Optional,
}

/// The table's columns and their paths.
pub fn mapping() -> JsonMapping {
    let column = |name: &str, sql_type| MappedColumn {
        name: name.to_owned(),
        sql_type,
        nullable: name == "venue",
        path: Some(Path(vec![name.to_owned()])),
        default: (name == "venue").then(|| ingest::pipeline::Literal::Text("none".to_owned())),
    };
    JsonMapping {
        columns: vec![
            column("order_id", SqlType::BigInt { unsigned: true }),
            column("user_id", SqlType::BigInt { unsigned: false }),
            column("symbol", SqlType::VarChar { chars: 16 }),
            column("side", SqlType::Char { chars: 4 }),
            column(
                "price",
                SqlType::Decimal {
                    precision: 18,
                    scale: 4,
                },
            ),
            column("quantity", SqlType::Int { unsigned: false }),
            column("venue", SqlType::VarChar { chars: 40 }),
            column("ts", SqlType::DateTime { fsp: 6 }),
        ],
    }
}

/// A block that holds `rows` orders.
pub fn block(rows: u32) -> BlockWriter {
    let mapping = mapping();
    let columns = mapping.columns.iter().map(|column| Column {
        name: column.name.clone(),
        physical: column.sql_type.physical(),
        nullable: column.nullable,
        annotation: column.sql_type.to_string(),
    });
    let strings = mapping.columns.iter();
    let strings = strings.filter(|column| column.sql_type.physical() == Physical::Utf8);
    let layout = BlockLayout {
        schema: Arc::new(Schema {
            version: 1,
            columns: columns.collect(),
        }),
        rows,
        string_bytes: strings.map(|_| rows * 64).collect(),
        rejects_bytes: 1 << 16,
    };
    BlockWriter::new(&layout, Offset(0))
}

/// One record batch, walked by [`Batch::records`].
pub struct Batch {
    header: BatchHeader,
    /// As on the wire.
    pub bytes: Vec<u8>,
    /// Bytes of the messages alone.
    pub message_bytes: usize,
}

impl Batch {
    /// `rows` orders from `first` on.
    pub fn new(look: Look, first: u64, rows: u32) -> Batch {
        Batch::packed(look, first, rows, Codec::None)
    }

    /// The same by a codec.
    pub fn packed(look: Look, first: u64, rows: u32, codec: Codec) -> Batch {
        let mut batch = BatchBuilder::new(first as i64);
        batch.codec = codec;
        let mut message = String::new();
        let mut message_bytes = 0;
        for at in 0..u64::from(rows) {
            message.clear();
            order(look, first + at, &mut message);
            message_bytes += message.len();
            batch.push(
                1_700_000_000_000 + at as i64,
                None,
                Some(message.as_bytes()),
            );
        }
        let bytes = batch.build();
        Batch {
            header: BatchHeader::parse(&bytes).expect("a batch"),
            bytes,
            message_bytes,
        }
    }

    /// Its records.
    pub fn records(&self) -> Records<'_> {
        Records::new(
            &self.header,
            self.header.body(&self.bytes).expect("a batch"),
        )
    }

    /// Limits that take all of it.
    pub fn limits(&self) -> LoadLimits {
        LoadLimits {
            from: self.header.base_offset,
            offsets_end: Offset(i64::MAX),
            batch_next_offset: self.header.next_offset(),
            bytes_max: u64::MAX,
            skip: SkipErrors::None,
            parse_errors_max: u64::MAX,
            now_unix_ms: 0,
        }
    }
}

fn order(look: Look, number: u64, to: &mut String) {
    let mut seed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut random = |below: u64| {
        seed ^= seed >> 30;
        seed = seed.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        seed ^= seed >> 27;
        (seed >> 8) % below
    };
    let user = 10_000_000 + random(89_999_999);
    let symbol = ["BTC-USD", "ETH-USD", "SOL-USDT", "EUR-USD", "SAP.DE"][random(5) as usize];
    let side = ["buy", "sell"][random(2) as usize];
    let (price, cents) = (100 + random(99_900), random(10_000));
    let quantity = 1 + random(10_000);
    let venue = ["xetra", "nasdaq", "kraken", "tradegate"][random(4) as usize];
    let (minute, second) = (number / 60_000_000 % 60, number / 1_000_000 % 60);
    let micros = number % 1_000_000;
    let members = [
        format!(r#""order_id":{}"#, 1_000_000_000 + number),
        format!(r#""user_id":{user}"#),
        format!(r#""symbol":"{symbol}""#),
        format!(r#""side":"{side}""#),
        format!(r#""price":"{price}.{cents:04}""#),
        format!(r#""quantity":{quantity}"#),
        match look {
            Look::Escapes => format!(r#""venue":"{venue}\/main \"A\"""#),
            _ => format!(r#""venue":"{venue}/main book""#),
        },
        format!(r#""ts":"2026-11-23T09:{minute:02}:{second:02}.{micros:06}Z""#),
    ];
    to.push('{');
    match look {
        Look::Plain | Look::Escapes => to.push_str(&members.join(",")),
        Look::OtherOrder => reversed(&members, to),
        Look::TwoOrders if number.is_multiple_of(2) => reversed(&members, to),
        Look::TwoOrders => to.push_str(&members.join(",")),
        Look::Optional if number.is_multiple_of(3) => {
            to.push_str(&members[..6].join(","));
            let _ = write!(to, ",{}", members[7]);
        }
        Look::Optional => to.push_str(&members.join(",")),
        Look::UnknownKeys => {
            let _ = write!(to, r#""trace":"{user:016x}","#);
            to.push_str(&members[..4].join(","));
            let _ = write!(to, r#","tags":{{"a":[1,2],"b":"x"}},"#);
            to.push_str(&members[4..].join(","));
            to.push_str(r#","flags":[true,null]"#);
        }
    }
    to.push('}');
}

fn reversed(members: &[String], to: &mut String) {
    for (at, member) in members.iter().rev().enumerate() {
        if at > 0 {
            to.push(',');
        }
        to.push_str(member);
    }
}
