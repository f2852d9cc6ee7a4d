//! The examples of `docs/casts.md`, run.

use super::*;

const PAGE: &str = include_str!("../../../../../../docs/casts.md");
const ROWS_MIN: usize = 60;

/// `DECIMAL(10,4)`, `TINYINT UNSIGNED`.
fn type_of(text: &str) -> SqlType {
    let (text, unsigned) = match text.strip_suffix(" UNSIGNED") {
        Some(text) => (text, true),
        None => (text, false),
    };
    let (name, numbers) = match text.split_once('(') {
        Some((name, numbers)) => (name, numbers.trim_end_matches(')')),
        None => (text, "0"),
    };
    let numbers: Vec<u32> = numbers
        .split(',')
        .map(|n| n.parse().expect("a number"))
        .collect();
    let first = numbers[0];
    match name {
        "TINYINT" => SqlType::TinyInt { unsigned },
        "MEDIUMINT" => SqlType::MediumInt { unsigned },
        "INT" => SqlType::Int { unsigned },
        "BIGINT" => SqlType::BigInt { unsigned },
        "BOOL" => SqlType::Bool,
        "FLOAT" => SqlType::Float,
        "DOUBLE" => SqlType::Double,
        "DECIMAL" => SqlType::Decimal {
            precision: first as u8,
            scale: numbers[1] as u8,
        },
        "CHAR" => SqlType::Char {
            chars: first as u16,
        },
        "VARCHAR" => SqlType::VarChar { chars: first },
        "TEXT" => SqlType::Text,
        "DATE" => SqlType::Date,
        "DATETIME" => SqlType::DateTime { fsp: first as u8 },
        "TIMESTAMP" => SqlType::Timestamp { fsp: first as u8 },
        "JSON" => SqlType::Json,
        other => panic!("{other} is no type of the examples"),
    }
}

/// A day as its date, by counting months.
fn date(days: i128) -> String {
    let month = (0..120_000).rev().find_map(|month| {
        let (first, _) = crate::pipeline::cast::time::month_days(month / 12, month % 12 + 1)?;
        (i128::from(first) <= days).then_some((month, days - i128::from(first) + 1))
    });
    let (month, day) = month.expect("a day of the calendar");
    format!("{:04}-{:02}-{day:02}", month / 12, month % 12 + 1)
}

/// As a client would read it.
fn read(cell: &Cell, sql_type: SqlType) -> String {
    match (sql_type, cell) {
        (SqlType::Decimal { scale, .. }, Cell::Int(value)) => {
            let (unit, scale) = (10_u128.pow(scale.into()), usize::from(scale));
            let (sign, size) = (if *value < 0 { "-" } else { "" }, value.unsigned_abs());
            match scale {
                0 => format!("{sign}{size}"),
                _ => format!("{sign}{}.{:0scale$}", size / unit, size % unit),
            }
        }
        (SqlType::Date, Cell::Int(days)) => date(*days),
        (SqlType::DateTime { fsp } | SqlType::Timestamp { fsp }, Cell::Int(value)) => {
            let unit = 10_i128.pow(fsp.into());
            let (seconds, fraction) = (value.div_euclid(unit), value.rem_euclid(unit));
            let of_day = seconds.rem_euclid(86_400);
            let clock = format!(
                "{:02}:{:02}:{:02}",
                of_day / 3_600,
                of_day / 60 % 60,
                of_day % 60
            );
            let fraction = match usize::from(fsp) {
                0 => String::new(),
                digits => format!(".{fraction:0digits$}"),
            };
            format!("{} {clock}{fraction}", date(seconds.div_euclid(86_400)))
        }
        (_, cell) => show(&[vec![cell.clone()]]),
    }
}

#[test]
fn the_examples_of_the_page_hold() {
    let examples = PAGE.split_once("## Examples").expect("the examples").1;
    let mut rows = 0;
    for line in examples.lines().filter(|line| line.starts_with("| `")) {
        let (value, rest) = line[3..].split_once("` | ").expect("a value");
        let (sql_type, expected) = rest
            .trim_end_matches(" |")
            .split_once(" | ")
            .expect("a result");
        let mut column = column("c", type_of(sql_type.trim_end_matches(" NOT NULL")), &["c"]);
        column.nullable = !sql_type.ends_with(" NOT NULL");
        let one = mapping([column]);
        let message = format!("{{\"c\":{value}}}");
        let mut decoder = JsonDecoder::new(&one).expect("a mapping");
        let mut writer = block(&one, 64, 1 << 10);
        // Twice: unknown, then expected.
        for _ in 0..2 {
            compare(&mut decoder, &mut writer, &one, message.as_bytes());
            let found = match decode(&mut decoder, &mut writer, message.as_bytes()) {
                Ok(rows) => read(&rows[0][0], one.columns[0].sql_type),
                Err(failure) => format!("{:?} {}", failure.class, failure.code).to_uppercase(),
            };
            assert_eq!(found, expected, "{line}");
        }
        rows += 1;
    }
    assert!(rows >= ROWS_MIN, "{rows} examples");
}
