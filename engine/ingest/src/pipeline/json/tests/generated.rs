//! Messages that a seed makes: for a random mapping, mostly right, then mutated.

use super::*;

/// xorshift64*: small, seeded, the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

const KEYS: &[&str] = &[
    "a",
    "b",
    "c",
    "id",
    "é",
    "price",
    "a_rather_long_key_of_a_column",
    "x y",
    "",
    "\"",
    "😀",
];

fn sql_type(random: &mut Random) -> SqlType {
    let unsigned = random.one_in(2);
    let fsp = random.pick(&[0, 3, 6]);
    match random.below(20) {
        0 => SqlType::TinyInt { unsigned },
        1 => SqlType::SmallInt { unsigned },
        2 => SqlType::MediumInt { unsigned },
        3 => SqlType::Int { unsigned },
        4 | 5 => SqlType::BigInt { unsigned },
        6 => SqlType::Bool,
        7 => SqlType::Float,
        8 => SqlType::Double,
        9 | 10 => {
            let precision = random.pick(&[1, 2, 9, 18, 19, 20, 37, 38]);
            SqlType::Decimal {
                precision,
                scale: random.below(usize::from(precision) + 1) as u8,
            }
        }
        11 => SqlType::Char {
            chars: random.pick(&[0, 1, 5, 255]),
        },
        12 | 13 => SqlType::VarChar {
            chars: random.pick(&[0, 3, 16, 1_000]),
        },
        14 => SqlType::TinyText,
        15 => SqlType::Text,
        16 => SqlType::Date,
        17 => SqlType::DateTime { fsp },
        18 => SqlType::Timestamp { fsp },
        _ => SqlType::Json,
    }
}

fn random_mapping(random: &mut Random) -> JsonMapping {
    loop {
        let columns = 1 + random.below(8);
        let columns = (0..columns).map(|at| {
            let depth = random.pick(&[0, 1, 1, 1, 1, 1, 2, 2, 3]);
            let keys = (0..depth).map(|_| random.pick(KEYS).to_owned());
            MappedColumn {
                name: format!("c{at}"),
                path: Some(Path(keys.collect())).filter(|_| !random.one_in(15)),
                sql_type: sql_type(random),
                nullable: !random.one_in(4),
                default: random.one_in(3).then(|| match random.below(8) {
                    0 | 1 => Literal::Null,
                    2 => Literal::Bool(true),
                    3 | 4 => Literal::Number(random.pick(&["0", "1", "1.5", "-7"]).into()),
                    _ => Literal::Text(
                        random
                            .pick(&["", "1", "2024-05-06", "2024-05-06 07:08:09", "[1]"])
                            .into(),
                    ),
                }),
            }
        });
        let mapping = mapping(columns);
        if JsonDecoder::new(&mapping).is_ok() {
            return mapping;
        }
    }
}

fn digits(random: &mut Random, most: usize) -> String {
    let count = 1 + random.below(most);
    (0..count)
        .map(|_| char::from(b'0' + random.below(10) as u8))
        .collect()
}

fn number(random: &mut Random) -> String {
    let mut text = String::new();
    if random.one_in(3) {
        text.push('-');
    }
    let most = random.pick(&[1, 3, 5, 10, 20, 45]);
    let int = digits(random, most);
    text.push_str(match int.trim_start_matches('0') {
        _ if random.one_in(40) => &int,
        "" => "0",
        int => int,
    });
    if random.one_in(3) {
        text.push('.');
        let most = random.pick(&[1, 2, 4, 9, 25, 45]);
        text.push_str(&digits(random, most));
        if random.one_in(4) {
            text.push_str("000");
        }
    }
    if random.one_in(8) {
        text.push_str(random.pick(&["e", "E", "e+", "e-"]));
        let most = random.pick(&[1, 2, 2, 3, 30]);
        text.push_str(&digits(random, most));
    }
    text
}

const EDGES: &[&str] = &[
    "127",
    "128",
    "-128",
    "-129",
    "255",
    "256",
    "32767",
    "32768",
    "-32768",
    "-32769",
    "65535",
    "65536",
    "8388607",
    "8388608",
    "-8388608",
    "-8388609",
    "16777215",
    "16777216",
    "2147483647",
    "2147483648",
    "-2147483648",
    "-2147483649",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "18446744073709551616",
    "9007199254740993",
    "-0",
    "0",
    "0.0",
    "-0.0",
    "1e3",
    "1.0",
    "1e-3",
    "0e5",
    "3.4028235e38",
    "3.4028236e38",
    "1.7976931348623157e308",
    "1.7976931348623159e308",
    "4.9e-324",
    "99999999999999999999999999999999999999",
    "100000000000000000000000000000000000000",
    "99999999999999999999999999999999999999.5",
    "170141183460469231731687303715884105727.5",
    "1701411834604692317316873037158841057.275",
    "1e38",
    "1e37",
    "0.5",
    "-0.5",
    "999.995",
    "999.9949",
];

fn moment(random: &mut Random) -> String {
    let year = random.pick(&[0, 1, 1000, 1969, 1970, 2000, 2023, 2024, 2024, 2024, 9999]);
    let month = if random.one_in(20) {
        random.below(15)
    } else {
        1 + random.below(12)
    };
    let day = if random.one_in(20) {
        random.below(35)
    } else {
        1 + random.below(28)
    };
    let mut text = format!("{year:04}-{month:02}-{day:02}");
    if random.one_in(6) {
        return text;
    }
    text.push_str(random.pick(&["T", "T", "T", " ", "t", "X"]));
    let (hour, minute, second) = (random.below(24), random.below(60), random.below(61));
    text.push_str(&format!("{hour:02}:{minute:02}"));
    if !random.one_in(8) {
        text.push_str(&format!(":{second:02}"));
    }
    if random.one_in(2) {
        text.push('.');
        let most = random.pick(&[1, 3, 6, 7, 9, 12]);
        text.push_str(&digits(random, most));
    }
    if random.one_in(25) {
        text.truncate(18);
        text.push_str("9.9999999");
    }
    text.push_str(random.pick(&[
        "", "Z", "Z", "Z", "z", "+00:00", "-05:30", "+0200", "+14:00", "+14:01", "-14", "+1", " Z",
        "+01:60",
    ]));
    text
}

fn quote(random: &mut Random, text: &str) -> String {
    let mut quoted = String::from("\"");
    for one in text.chars() {
        match one {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            one if one < ' ' || random.one_in(60) => {
                for unit in one.encode_utf16(&mut [0; 2]) {
                    quoted.push_str(&format!("\\u{unit:04x}"));
                }
            }
            one => quoted.push(one),
        }
    }
    quoted.push('"');
    quoted
}

fn text(random: &mut Random) -> String {
    let pieces = [
        "a",
        "B",
        " ",
        "xyz",
        "é",
        "€",
        "😀",
        "\n",
        "\"",
        "\\",
        "/",
        "0123456789abcdef",
        "\u{7f}",
    ];
    let count = random.pick(&[0, 1, 2, 3, 5, 9, 40]);
    (0..count).map(|_| random.pick(&pieces)).collect()
}

fn white(random: &mut Random, to: &mut String) {
    if random.one_in(12) {
        to.push_str(random.pick(&[" ", "  ", "\n", "\t", " \r\n "]));
    }
}

/// A value that a column of this type takes.
fn fitting(random: &mut Random, wanted: SqlType) -> String {
    let short = |random: &mut Random, most: u32| -> String {
        let text = text(random);
        text.chars().take(random.below(most as usize + 1)).collect()
    };
    let int = |random: &mut Random, bits: u32, unsigned: bool| {
        let size = i128::from(random.next() | random.next() << 40) >> random.below(64);
        let size = size & ((1 << (bits - u32::from(!unsigned))) - 1);
        let value = if !unsigned && random.one_in(3) {
            -size - 1
        } else {
            size
        };
        let spelled = match random.below(10) {
            0 => format!("{value}.0"),
            1 => format!("{value}e0"),
            2 => format!("{value}0e-1"),
            _ => value.to_string(),
        };
        if random.one_in(4) {
            format!("\"{spelled}\"")
        } else {
            spelled
        }
    };
    match wanted {
        SqlType::TinyInt { unsigned } => int(random, 8, unsigned),
        SqlType::Bool => random.pick(&["true", "false", "0", "1", "-3"]).into(),
        SqlType::SmallInt { unsigned } => int(random, 16, unsigned),
        SqlType::MediumInt { unsigned } => int(random, 24, unsigned),
        SqlType::Int { unsigned } => int(random, 32, unsigned),
        SqlType::BigInt { unsigned } => int(random, 64, unsigned),
        SqlType::Float | SqlType::Double => {
            let bits = random.pick(&[8, 24, 53, 64]);
            int(random, bits, false)
        }
        SqlType::Decimal { precision, scale } => {
            let sign = random.pick(&["", "", "-"]);
            let before = usize::from(precision - scale);
            let int = if before == 0 {
                "0".into()
            } else {
                digits(random, before)
            };
            let int = int.trim_start_matches('0');
            let int = if int.is_empty() { "0" } else { int };
            let frac = if scale == 0 {
                String::new()
            } else {
                format!(".{}", digits(random, scale.into()))
            };
            let quote = random.pick(&["", "\""]);
            format!("{quote}{sign}{int}{frac}{quote}")
        }
        SqlType::Char { chars } => {
            let text = short(random, chars.into());
            quote(random, &text)
        }
        SqlType::VarChar { chars } => {
            let text = short(random, chars);
            quote(random, &text)
        }
        SqlType::TinyText => {
            let text = short(random, 60);
            quote(random, &text)
        }
        SqlType::Text | SqlType::MediumText | SqlType::LongText => {
            let text = text(random);
            quote(random, &text)
        }
        SqlType::Json => {
            let mut json = String::new();
            value(random, 2, &mut json);
            json
        }
        SqlType::Date | SqlType::DateTime { .. } | SqlType::Timestamp { .. } => {
            let (year, month, day) = (
                1990 + random.below(40),
                1 + random.below(12),
                1 + random.below(28),
            );
            let (hour, minute, second) = (random.below(24), random.below(60), random.below(60));
            let date = format!("{year}-{month:02}-{day:02}");
            if matches!(wanted, SqlType::Date) && !random.one_in(4) {
                return format!("\"{date}\"");
            }
            let most = random.pick(&[1, 3, 6, 6, 9]);
            let fraction = format!(".{}", digits(random, most));
            let fraction = random.pick(&["", &fraction]).to_owned();
            let zone = random.pick(&["", "Z", "Z", "+02:00"]);
            format!("\"{date}T{hour:02}:{minute:02}:{second:02}{fraction}{zone}\"")
        }
    }
}

/// What a column of this type likes, or something else.
fn scalar(random: &mut Random, wanted: SqlType) -> String {
    if !random.one_in(8) {
        return fitting(random, wanted);
    }
    if random.one_in(12) {
        return random.pick(&["null", "true", "false"]).into();
    }
    let physical = wanted.physical();
    let kind = if random.one_in(10) {
        random.below(4)
    } else {
        match physical {
            Physical::Date32 | Physical::Timestamp(_) => 2,
            Physical::Utf8 => 3,
            _ => random.below(2),
        }
    };
    let plain = match kind {
        0 => number(random),
        1 => random.pick(EDGES).to_owned(),
        2 => moment(random),
        _ => text(random),
    };
    if kind < 2 && !random.one_in(4) {
        return plain;
    }
    quote(random, &plain)
}

fn value(random: &mut Random, depth: usize, to: &mut String) {
    white(random, to);
    match random.below(if depth > 3 { 4 } else { 6 }) {
        0..=3 => {
            let wanted = sql_type(random);
            to.push_str(&scalar(random, wanted));
        }
        4 => {
            to.push('[');
            for at in 0..random.below(4) {
                if at > 0 {
                    to.push(',');
                }
                value(random, depth + 1, to);
            }
            to.push(']');
        }
        _ => {
            to.push('{');
            for at in 0..random.below(4) {
                if at > 0 {
                    to.push(',');
                }
                let key = random.pick(KEYS);
                to.push_str(&quote(random, key));
                to.push(':');
                value(random, depth + 1, to);
            }
            to.push('}');
        }
    }
    white(random, to);
}

/// The object that the mapping's columns below `path` ask for.
fn object(random: &mut Random, mapping: &JsonMapping, path: &[String], to: &mut String) {
    let depth = path.len();
    let below = |column: &&MappedColumn| {
        column
            .path
            .as_ref()
            .is_some_and(|p| p.0.len() > depth && p.0.starts_with(path))
    };
    let mut columns: Vec<&MappedColumn> = mapping.columns.iter().filter(below).collect();
    if random.one_in(6) {
        let at = random.below(columns.len().max(1));
        let at = at.min(columns.len());
        columns.rotate_left(at);
    }
    let mut members: Vec<String> = Vec::new();
    let mut done: Vec<&str> = Vec::new();
    for column in columns {
        let keys = &column.path.as_ref().expect("filtered").0;
        let key = keys[depth].as_str();
        // Mostly once; twice is the case to find.
        if (done.contains(&key) && !random.one_in(8)) || random.one_in(25) {
            continue;
        }
        done.push(key);
        let mut member = quote(random, key);
        white(random, &mut member);
        member.push(':');
        white(random, &mut member);
        let deeper = mapping.columns.iter().any(|c| {
            c.path
                .as_ref()
                .is_some_and(|p| p.0.len() > depth + 1 && p.0[..=depth] == keys[..=depth])
        });
        if deeper && !random.one_in(6) {
            object(random, mapping, &keys[..=depth], &mut member);
        } else if random.one_in(20) {
            value(random, depth, &mut member);
        } else {
            member.push_str(&scalar(random, column.sql_type));
        }
        white(random, &mut member);
        members.push(member);
        if random.one_in(10) {
            let key = random.pick(KEYS);
            let mut unknown = quote(random, key);
            unknown.push(':');
            value(random, depth + 1, &mut unknown);
            members.push(unknown);
        }
    }
    to.push('{');
    to.push_str(&members.join(","));
    to.push('}');
}

fn message(random: &mut Random, mapping: &JsonMapping) -> Vec<u8> {
    let mut text = String::new();
    for _ in 0..random.pick(&[1, 1, 1, 1, 1, 2, 3]) {
        if random.one_in(30) {
            value(random, 0, &mut text);
        } else {
            object(random, mapping, &[], &mut text);
        }
        text.push_str(random.pick(&["", "", " ", "\n"]));
    }
    let mut bytes = text.into_bytes();
    if random.one_in(4) {
        for _ in 0..1 + random.below(3) {
            mutate(random, &mut bytes);
        }
    }
    bytes
}

fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let at = random.below(bytes.len());
    let special = b"\"\\{}[]:,0129.eE+- \n\t\x00\x1f\x7f\x80\xc3\xff/untf'";
    match random.below(7) {
        0 => bytes[at] = random.pick(special),
        1 => bytes.insert(at, random.pick(special)),
        2 => {
            bytes.remove(at);
        }
        3 => bytes.truncate(at),
        4 => bytes[at] ^= 1 << random.below(8),
        5 => {
            let end = at + random.below(bytes.len() - at);
            let piece = bytes[at..end].to_vec();
            let to = random.below(bytes.len());
            bytes.splice(to..to, piece);
        }
        _ => {
            let end = at + random.below(bytes.len() - at);
            bytes.drain(at..end);
        }
    }
}

/// Shapes, months and row numbers carry over from message to message, so each mapping gets several.
#[test]
fn the_decoder_is_its_twin_over_generated_messages() {
    let (mut rows, mut refused) = (0, 0);
    for seed in 1..=600 {
        let mut random = Random(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let mapping = random_mapping(&mut random);
        let mut decoder = JsonDecoder::new(&mapping).expect("a mapping");
        let mut writer = block(&mapping, 4_096, 1 << 20);
        for _ in 0..60 {
            let bytes = message(&mut random, &mapping);
            compare(&mut decoder, &mut writer, &mapping, &bytes);
            match twin::rows(&mapping, &bytes) {
                Ok(_) => rows += 1,
                Err(_) => refused += 1,
            }
        }
    }
    // Neither side may become rare without notice.
    assert!(
        rows > 8_000 && refused > 8_000,
        "{rows} with rows, {refused} refused"
    );
}
