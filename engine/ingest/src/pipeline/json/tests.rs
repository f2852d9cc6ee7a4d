//! Data-driven cases, and the decoder against its twin over generated and mutated messages.

use std::sync::Arc;

use storage::block::{BlockLayout, BlockWriter, ColumnRegion, Mark};
use storage::ids::Offset;
use storage::schema::{Column, Physical, Schema};

use super::twin::{self, Cell, Refused};
use super::*;
use crate::pipeline::{Literal, MappedColumn, Path};

/// The table's columns as storage sees them.
fn schema(mapping: &JsonMapping) -> Arc<Schema> {
    let columns = mapping.columns.iter().map(|column| Column {
        name: column.name.clone(),
        physical: column.sql_type.physical(),
        nullable: column.nullable,
        annotation: column.sql_type.to_string(),
    });
    Arc::new(Schema {
        version: 1,
        columns: columns.collect(),
    })
}

fn block(mapping: &JsonMapping, rows: u32, string_bytes: u32) -> BlockWriter {
    let strings = mapping.columns.iter();
    let strings = strings.filter(|column| column.sql_type.physical() == Physical::Utf8);
    let layout = BlockLayout {
        schema: schema(mapping),
        rows,
        string_bytes: strings.map(|_| string_bytes).collect(),
        rejects_bytes: 1 << 16,
    };
    BlockWriter::new(&layout, Offset(0))
}

fn cell(region: &ColumnRegion<'_>, row: usize) -> Cell {
    if let Some(nulls) = region.nulls
        && row >= nulls.first_null
        && nulls.validity[row] == 0
    {
        return Cell::Null;
    }
    let at = |width: usize| &region.values[row * width..][..width];
    macro_rules! int {
        ($type:ty) => {
            Cell::Int(
                <$type>::from_le_bytes(at(size_of::<$type>()).try_into().expect("a width")).into(),
            )
        };
    }
    match region.physical {
        Physical::Int8 => int!(i8),
        Physical::Int16 => int!(i16),
        Physical::Int32 | Physical::Date32 => int!(i32),
        Physical::Int64 | Physical::Timestamp(_) => int!(i64),
        Physical::UInt8 => int!(u8),
        Physical::UInt16 => int!(u16),
        Physical::UInt32 => int!(u32),
        Physical::UInt64 => int!(u64),
        Physical::Decimal128 { .. } => int!(i128),
        Physical::Float32 => Cell::Float(u32::from_le_bytes(at(4).try_into().expect("a width"))),
        Physical::Float64 => Cell::Double(u64::from_le_bytes(at(8).try_into().expect("a width"))),
        Physical::Utf8 => {
            let end = |row: usize| {
                let bytes = region.values[row * 4..][..4].try_into().expect("a width");
                u32::from_le_bytes(bytes) as usize
            };
            let text = &region.data[end(row)..end(row + 1)];
            Cell::Text(String::from_utf8(text.to_vec()).expect("UTF-8"))
        }
    }
}

fn rows_between(writer: &BlockWriter, columns: usize, from: Mark, to: Mark) -> Vec<Vec<Cell>> {
    let block = writer.shared();
    let regions: Vec<_> = (0..columns)
        .map(|column| block.column(column, to))
        .collect();
    (from.rows_end as usize..to.rows_end as usize)
        .map(|row| regions.iter().map(|region| cell(region, row)).collect())
        .collect()
}

/// Decodes one message and publishes its rows.
fn decode(
    decoder: &mut JsonDecoder,
    writer: &mut BlockWriter,
    bytes: &[u8],
) -> Result<Vec<Vec<Cell>>, Failure> {
    let before = writer.published();
    let mut tail = writer.tail();
    let savepoint = tail.savepoint();
    let message = Message {
        offset: before.next_offset,
        timestamp_ms: 7,
        key: None,
        bytes,
    };
    match decoder.message(&message, &mut tail) {
        Ok(rows) => {
            let after = writer.publish(before.next_offset.next());
            assert_eq!(after.rows_end - before.rows_end, rows);
            Ok(rows_between(
                writer,
                decoder.plan.columns.len(),
                before,
                after,
            ))
        }
        Err(Stop::Failed) => {
            tail.rewind(savepoint);
            Err(decoder.failure.clone())
        }
        Err(Stop::Full) => panic!("the tests' blocks are large enough"),
    }
}

/// The decoder's answer must be the twin's.
fn compare(
    decoder: &mut JsonDecoder,
    writer: &mut BlockWriter,
    mapping: &JsonMapping,
    bytes: &[u8],
) {
    let expected = twin::rows(mapping, bytes);
    let found = decode(decoder, writer, bytes).map_err(|failure| Refused {
        class: failure.class,
        code: failure.column.map(|_| failure.code),
        column: failure.column,
        line: failure.line,
    });
    assert_eq!(
        found,
        expected,
        "\nmessage {}\nmapping {mapping:#?}",
        bytes.escape_ascii()
    );
}

fn column(name: &str, sql_type: SqlType, path: &[&str]) -> MappedColumn {
    MappedColumn {
        name: name.into(),
        sql_type,
        nullable: true,
        path: Some(Path(path.iter().map(|key| (*key).to_owned()).collect())),
        default: None,
    }
}

fn mapping(columns: impl IntoIterator<Item = MappedColumn>) -> JsonMapping {
    JsonMapping {
        columns: columns.into_iter().collect(),
    }
}

const BIGINT: SqlType = SqlType::BigInt { unsigned: false };
const VARCHAR: SqlType = SqlType::VarChar { chars: 20 };

fn show(cells: &[Vec<Cell>]) -> String {
    let row = |row: &Vec<Cell>| {
        let cells = row.iter().map(|cell| match cell {
            Cell::Null => "NULL".to_owned(),
            Cell::Int(value) => value.to_string(),
            Cell::Double(bits) => format!("{:?}", f64::from_bits(*bits)),
            Cell::Float(bits) => format!("{:?}", f32::from_bits(*bits)),
            Cell::Text(text) => format!("'{text}'"),
        });
        cells.collect::<Vec<_>>().join(", ")
    };
    cells.iter().map(row).collect::<Vec<_>>().join("; ")
}

/// What a message becomes, in one line: rows, or class, code, column, line and text.
fn outcome(mapping: &JsonMapping, bytes: &[u8]) -> String {
    let mut decoder = JsonDecoder::new(mapping).expect("a mapping");
    let mut writer = block(mapping, 4_096, 1 << 20);
    compare(&mut decoder, &mut writer, mapping, bytes);
    // Once more: now it knows the shape. And once with what the other message left behind.
    compare(&mut decoder, &mut writer, mapping, bytes);
    compare(&mut decoder, &mut writer, mapping, br#"{"a":1,"b":"x"}"#);
    match decode(&mut decoder, &mut writer, bytes) {
        Ok(rows) => show(&rows),
        Err(failure) => {
            let Failure {
                class,
                code,
                column,
                line,
                text,
            } = failure;
            let column = column.map_or(String::new(), |column| {
                format!(" {}", mapping.columns[usize::from(column)].name)
            });
            format!("{class:?} {code}{column} line {line}: {text}")
        }
    }
}

#[test]
fn paths_duplicates_and_defaults() {
    let mut with_default = column("b", VARCHAR, &["b"]);
    with_default.default = Some(Literal::Text("none".into()));
    let flat = mapping([column("a", BIGINT, &["a"]), with_default]);
    let check = |message: &str, expected: &str| {
        assert_eq!(outcome(&flat, message.as_bytes()), expected, "{message}");
    };
    check(r#"{"a":1,"b":"x"}"#, "1, 'x'");
    check(r#"{"b":"x","a":1}"#, "1, 'x'");
    check(" {\t\"a\" :\n1 , \"b\"\r:\"x\" } ", "1, 'x'");
    check(r#"{"a":1}"#, "1, 'none'");
    check(r#"{"a":null,"b":null}"#, "NULL, NULL");
    check(r#"{"a":1,"c":{"a":[2,{"b":3}]},"b":""}"#, "1, ''");
    check(r#"{"a":1,"a":2}"#, "2, 'none'");
    check(r#"{"a":"bad","a":2}"#, "2, 'none'");
    check(r#"{"a":1,"b":"long enough to fail it","b":"x"}"#, "1, 'x'");
    check(r#"{"\u0061":1,"b":"x"}"#, "1, 'x'");
    check(r#"{"a":1,"\u0061":2}"#, "2, 'none'");
    check(
        "{\"a\":1}{\"a\":2}\n{\"a\":3}",
        "1, 'none'; 2, 'none'; 3, 'none'",
    );
    check(r#"{"a":true,"b":true}"#, "1, '1'");
    check(r#"{"a":"-12","b":1.50e+3}"#, "-12, '1.50e+3'");
    check(r#"{"a":1,"b":[1, {"x" : 2}]}"#, r#"1, '[1, {"x" : 2}]'"#);
    check(
        r#"{"b":"x"}"#,
        "Parser 1364 a line 1: Field 'a' doesn't have a default value: 'a' is missing at row 1",
    );
    check(
        r#"{"a":1} {"a":2} {"a":{}}"#,
        "Parser 1366 a line 3: Incorrect integer value: '{}' for column 'a' at row 3",
    );
    check(
        r#"[1]"#,
        "Parser 1364 a line 1: Field 'a' doesn't have a default value: 'a' is missing at row 1",
    );
    check(
        r#"{"a":1,"b":"123456789012345678901"}"#,
        "Constraint 1406 b line 1: Data too long for column 'b' at row 1",
    );
    check(
        r#"{"a":9223372036854775808}"#,
        "Constraint 1264 a line 1: Out of range value for column 'a' at row 1: '9223372036854775808'",
    );
    check(
        r#"{"a":1.5}"#,
        "Constraint 1265 a line 1: Data truncated for column 'a' at row 1: '1.5' has a fraction",
    );
    check(
        r#"{"a":""}"#,
        "Parser 1366 a line 1: Incorrect integer value: '\"\"' for column 'a' at row 1",
    );

    let nested = mapping([
        column("ab", BIGINT, &["a", "b"]),
        column("a", SqlType::Json, &["a"]),
        column("all", SqlType::Json, &[]),
    ]);
    let check = |message: &str, expected: &str| {
        assert_eq!(outcome(&nested, message.as_bytes()), expected, "{message}");
    };
    check(
        r#" {"a": {"b": 1}} "#,
        r#"1, '{"b": 1}', '{"a": {"b": 1}}'"#,
    );
    check(
        r#"{"a":{"b":1},"a":{"b":2}}"#,
        r#"2, '{"b":2}', '{"a":{"b":1},"a":{"b":2}}'"#,
    );
    // The later value un-sets what the earlier one held below.
    check(
        r#"{"a":{"b":1},"a":5}"#,
        "Parser 1364 ab line 1: Field 'ab' doesn't have a default value: 'a::b' is missing at row 1",
    );
    check(
        r#"{"a":{"b":1},"a":{}}"#,
        "Parser 1364 ab line 1: Field 'ab' doesn't have a default value: 'a::b' is missing at row 1",
    );
    check(
        r#"{"a":[{"b":1}]}"#,
        "Parser 1364 ab line 1: Field 'ab' doesn't have a default value: 'a::b' is missing at row 1",
    );
}

#[test]
fn what_is_not_json_is_the_parsers() {
    let whole = mapping([column("all", SqlType::Json, &[])]);
    let check = |message: &[u8], expected: &str| {
        assert_eq!(
            outcome(&whole, message),
            expected,
            "{}",
            message.escape_ascii()
        );
    };
    let invalid = |what: &str, at: usize| {
        format!("Parser 3140 line 1: Invalid JSON text: {what}, at byte {at}.")
    };
    check(b"", &invalid("a value was expected", 0));
    check(b" \n", &invalid("a value was expected", 2));
    check(b"\xef\xbb\xbf{}", &invalid("a value was expected", 0));
    check(b"NaN", &invalid("a value was expected", 0));
    check(b"-Infinity", &invalid("not a number", 1));
    check(b"nul", &invalid("neither true, false nor null", 0));
    check(
        b"truex",
        &invalid("white space was expected between two values", 4),
    );
    check(b"01", &invalid("not a number", 1));
    check(b"1.", &invalid("the message ends within a value", 2));
    check(
        b"1{}",
        &invalid("white space was expected between two values", 1),
    );
    check(b"+1", &invalid("a value was expected", 0));
    check(b"{", &invalid("the message ends within a value", 1));
    check(b"[1,]", &invalid("a value was expected", 3));
    check(b"[1 2]", &invalid("a comma or an end was expected", 3));
    check(b"[1}", &invalid("a comma or an end was expected", 2));
    check(b"{\"a\"}", &invalid("a colon was expected", 4));
    check(b"{a:1}", &invalid("a key was expected", 1));
    check(b"{\"a\":1,}", &invalid("a key was expected", 7));
    check(b"\"\t\"", &invalid("a control character in a string", 1));
    check(b"\"\x00\"", &invalid("a control character in a string", 1));
    check(br#""\x""#, &invalid("an unknown escape in a string", 1));
    check(br#""\u12g4""#, &invalid("an unknown escape in a string", 1));
    check(
        br#""\ud83d""#,
        &invalid("half a surrogate pair in a string", 1),
    );
    check(
        br#""\ud83d\u0041""#,
        &invalid("half a surrogate pair in a string", 1),
    );
    check(
        br#""\ude00\ud83d""#,
        &invalid("half a surrogate pair in a string", 1),
    );
    check(
        br#"{"x":{"y":["\ude00"]}}"#,
        &invalid("half a surrogate pair in a string", 12),
    );
    check(
        b"\"\xff\"",
        "Parser 1300 line 1: Invalid utf8mb4 character string, at byte 1.",
    );
    check(
        b"\"\xed\xa0\x80\"",
        "Parser 1300 line 1: Invalid utf8mb4 character string, at byte 1.",
    );
    check(
        b"1 2 x",
        "Parser 3140 line 3: Invalid JSON text: a value was expected, at byte 4.",
    );
    check(b"1 [] \"\"\"x\"{}", r#"'1'; '[]'; '""'; '"x"'; '{}'"#);
    let deep = |levels: usize| [vec![b'['; levels], vec![b']'; levels]].concat();
    assert_eq!(
        outcome(&whole, &deep(128)),
        format!("'{}'", String::from_utf8(deep(128)).expect("brackets"))
    );
    check(
        &deep(129),
        "Parser 3157 line 1: The JSON document exceeds the maximum depth of 128.",
    );
    check(
        &deep(100_000),
        "Parser 3157 line 1: The JSON document exceeds the maximum depth of 128.",
    );
}

#[test]
fn strings_are_unescaped_into_strings_and_verbatim_into_json() {
    let both = mapping([
        column("s", SqlType::LongText, &["s"]),
        column("j", SqlType::Json, &["s"]),
    ]);
    let check = |json: &str, text: &str| {
        let message = format!(r#"{{"s":{json}}}"#);
        assert_eq!(
            outcome(&both, message.as_bytes()),
            format!("'{text}', '{json}'")
        );
    };
    check(r#""""#, "");
    check(r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t");
    check(
        r#""\u00e9\u20AC\ud83d\ude00\u0000\uffff""#,
        "é€😀\0\u{ffff}",
    );
    check("\"é€😀\u{7f}\u{85}\u{2028}\"", "é€😀\u{7f}\u{85}\u{2028}");
    check(r#""\\""#, "\\");
    check(r#""0123456\n""#, "0123456\n");
    check(r#""01234567\n9""#, "01234567\n9");
    for length in 0..70 {
        let plain = "x".repeat(length);
        check(&format!("\"{plain}\""), &plain);
        check(
            &format!("\"{plain}\\\"{plain}\""),
            &format!("{plain}\"{plain}"),
        );
    }
}

#[test]
fn a_message_of_too_many_rows_is_refused_and_one_of_the_most_is_not() {
    let one = mapping([column("a", BIGINT, &[])]);
    let mut decoder = JsonDecoder::new(&one).expect("a mapping");
    let mut writer = block(&one, MESSAGE_ROWS_MAX, 0);
    let most = "7 ".repeat(MESSAGE_ROWS_MAX as usize);
    let more = format!("{most}8");
    let failure = decode(&mut decoder, &mut writer, more.as_bytes()).expect_err("too many");
    assert_eq!(failure.text, "More than 65536 JSON values in one message.");
    assert_eq!(failure.line, 65_537);
    let rows = decode(&mut decoder, &mut writer, most.as_bytes()).expect("rows");
    assert_eq!(rows.len(), MESSAGE_ROWS_MAX as usize);
}

#[test]
fn a_mapping_that_cannot_hold_is_refused_when_it_is_made() {
    let check = |column: MappedColumn, expected: Option<&str>| {
        let made = JsonDecoder::new(&mapping([column])).map(drop);
        assert_eq!(
            made.err().map(|error| error.to_string()).as_deref(),
            expected
        );
    };
    let with = |sql_type, nullable, path: Option<&[&str]>, default| MappedColumn {
        nullable,
        path: path.map(|keys| Path(keys.iter().map(|key| (*key).to_owned()).collect())),
        default,
        ..column("c", sql_type, &[])
    };
    let number = |text: &str| Some(Literal::Number(text.to_owned()));
    let text = |text: &str| Some(Literal::Text(text.to_owned()));
    check(with(BIGINT, true, None, None), None);
    check(
        with(BIGINT, false, None, None),
        Some("column 'c' is NOT NULL, has no DEFAULT and is not in the mapping"),
    );
    check(with(BIGINT, false, Some(&["c"]), None), None);
    check(
        with(BIGINT, false, Some(&["c"]), Some(Literal::Null)),
        Some("column 'c': invalid default value: NULL in a NOT NULL column"),
    );
    check(
        with(BIGINT, true, Some(&["c"]), text("x")),
        Some("column 'c': invalid default value: not a number"),
    );
    check(
        with(VARCHAR, true, None, text("123456789012345678901")),
        Some("column 'c': invalid default value: too long"),
    );
    check(
        with(SqlType::Date, true, None, number("20240101")),
        Some("column 'c': invalid default value: not a date or time"),
    );
    check(
        with(SqlType::Json, true, None, text("{")),
        Some("column 'c': invalid default value: not JSON"),
    );
    check(with(SqlType::Json, true, None, text("{\"a\": 1}")), None);
    check(
        with(
            SqlType::Decimal {
                precision: 39,
                scale: 0,
            },
            true,
            None,
            None,
        ),
        Some("column 'c': decimal(39,0) is not a type that a column can have"),
    );
    check(
        with(BIGINT, true, Some(&["k"; 33]), None),
        Some("column 'c': a path of 33 keys, at most 32"),
    );
}

/// What a decoder has learned must never make a message right or wrong.
#[test]
fn a_shape_only_guesses() {
    let flat = mapping([column("a", BIGINT, &["a"]), column("b", VARCHAR, &["b"])]);
    let check = |messages: &[&str]| {
        let mut decoder = JsonDecoder::new(&flat).expect("a mapping");
        let mut writer = block(&flat, 4_096, 1 << 16);
        for _ in 0..3 {
            for message in messages {
                compare(&mut decoder, &mut writer, &flat, message.as_bytes());
            }
        }
    };
    // A first member's spelling in a later one's place, and the other way round.
    check(&[
        r#"{"b":"x","a":1}"#,
        r#"{"a":1,"b":"x"}"#,
        r#"{"b":"x"{"a":1}"#,
        r#"{"a":1{"b":"x"}"#,
        r#"{,"a":1,"b":"x"}"#,
        r#"{"a":1"b":"x"}"#,
    ]);
    // Spaces that come and go.
    check(&[
        r#"{"a": 1, "b": "x"}"#,
        r#"{"a":1,"b":"x"}"#,
        r#"{"a":   1,"b":"x"}"#,
        r#"{ "a":1 ,"b":"x" }"#,
    ]);
    // Prefixes of one another, keys longer than what is compared at once, more than is kept.
    check(&[
        r#"{"a":1,"b":"x","aaaaaaaaaaaaaaaaaaaaaaaaaa":1}"#,
        r#"{"a":1,"b":"x","aaaaaaaaaaaaaaaaaaaaaaaaab":1}"#,
        r#"{"a":1,"b":"x","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa":1}"#,
        r#"{"a":1,"b":"x","aaaaaaaaaaaaaaaaaaaaaaaaa"#,
    ]);
    // Keys that never come again: nothing is learned for long, and nothing grows.
    let mut decoder = JsonDecoder::new(&flat).expect("a mapping");
    let mut writer = block(&flat, 16_384, 1 << 16);
    for at in 0..900 {
        let message = format!(r#"{{"k{at}":1,"a":{at},"l{at}":[],"b":"x"}}"#);
        compare(&mut decoder, &mut writer, &flat, message.as_bytes());
    }
}

/// The exact pass is right too, so only this notices when the fast one gives up for no reason.
#[test]
fn the_fast_pass_takes_what_is_common() {
    let mut optional = column("o", VARCHAR, &["o"]);
    optional.default = Some(Literal::Null);
    let types = mapping([
        column("i", BIGINT, &["i"]),
        column("u", SqlType::Int { unsigned: true }, &["u"]),
        column(
            "d",
            SqlType::Decimal {
                precision: 18,
                scale: 4,
            },
            &["d"],
        ),
        column("f", SqlType::Double, &["n", "f"]),
        column("s", VARCHAR, &["n", "s"]),
        column("t", SqlType::DateTime { fsp: 6 }, &["t"]),
        column("j", SqlType::Json, &["n"]),
        optional,
    ]);
    let mut decoder = JsonDecoder::new(&types).expect("a mapping");
    let mut writer = block(&types, 64, 1 << 12);
    let mut check = |message: &str, fast: bool| {
        let mut tail = writer.tail();
        let found = decoder.fast_row(message, 0, &mut tail);
        let expected = if fast {
            Ok(message.len())
        } else {
            Err(Bail::Exact)
        };
        assert_eq!(found, expected, "{message}");
    };
    let plain = r#"{"i":-1,"u":"7","d":"1.5","n":{"f":0.25,"s":"x"},"t":"2024-05-06T07:08:09.123456Z","o":"y"}"#;
    check(plain, true);
    check(
        r#"{"t":"2024-05-06 07:08","n":{"s":"\u00e9","f":1e300},"d":1,"u":1.0,"i":12345678901234567}"#,
        true,
    );
    check(
        r#"{"i":null,"u":true,"d":2.123456,"x":[{}],"n":{"f":"1e3","s":{"a":[]}},"t":null,"\u006f":"y"}"#,
        true,
    );
    // What only the exact pass may judge.
    check(&plain.replace("\"i\":-1", "\"i\":-1,\"i\":2"), false);
    check(&plain.replace("-1", "-1.5"), false);
    check(&plain.replace("\"i\":-1,", ""), false);
    check(&plain.replace("05-06", "05-32"), false);
    check(&plain.replace("\"x\"", "\"123456789012345678901\""), false);
    check(&plain[..plain.len() - 1], false);
}

#[test]
fn the_depth_is_counted_from_the_message() {
    let nested = mapping([column("ab", SqlType::Json, &["a", "b"])]);
    let check = |key: &str, levels: usize, refused: bool| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        let message = format!(r#"{{"a":{{"b":0,"{key}":{open}{close}}}}}"#);
        let found = outcome(&nested, message.as_bytes());
        assert_eq!(found.starts_with("Parser 3157"), refused, "{found}");
    };
    for key in ["b", "c"] {
        check(key, 126, false);
        check(key, 127, true);
    }
}

mod examples;
mod generated;
