//! One load of one record batch: what each offset becomes and where a load stops.

use std::fmt::Write as _;
use std::sync::Arc;

use ingest::kafka::build::BatchBuilder;
use ingest::kafka::{BatchHeader, Records};
use ingest::pipeline::{
    Decode, Ended, JsonDecoder, JsonMapping, LoadLimits, Loaded, MappedColumn, Path, SkipErrors,
    SqlType,
};
use storage::block::{BlockLayout, BlockWriter};
use storage::format::rejects::Rejects;
use storage::ids::Offset;
use storage::schema::{Column, Physical, Schema};

const BASE: i64 = 100;

/// A BIGINT `a` NOT NULL and a TEXT `s`.
fn mapping() -> JsonMapping {
    let column = |name: &str, sql_type, nullable| MappedColumn {
        name: name.to_owned(),
        sql_type,
        nullable,
        path: Some(Path(vec![name.to_owned()])),
        default: nullable.then_some(ingest::pipeline::Literal::Null),
    };
    JsonMapping {
        columns: vec![
            column("a", SqlType::BigInt { unsigned: false }, false),
            column("s", SqlType::LongText, true),
        ],
    }
}

fn block(rows: u32, string_bytes: u32, rejects_bytes: u32) -> BlockWriter {
    let column = |name: &str, physical, nullable| Column {
        name: name.to_owned(),
        physical,
        nullable,
        annotation: String::new(),
    };
    let layout = BlockLayout {
        schema: Arc::new(Schema {
            version: 1,
            columns: Arc::new([
                column("a", Physical::Int64, false),
                column("s", Physical::Utf8, true),
            ]),
        }),
        rows,
        string_bytes: vec![string_bytes],
        rejects_bytes,
    };
    BlockWriter::new(&layout, Offset(0))
}

/// `offset:a` of the rows of a block, then `!offset:code:line` of its rejects.
fn contents(writer: &mut BlockWriter, next: Offset) -> String {
    let mark = writer.publish(next);
    let block = writer.shared();
    let (values, offsets) = (block.column(0, mark), block.column(2, mark));
    let at = |bytes: &[u8], row: usize| {
        i64::from_le_bytes(bytes[row * 8..][..8].try_into().expect("eight bytes"))
    };
    let mut text = String::new();
    for row in 0..values.rows {
        let _ = write!(
            text,
            " {}:{}",
            at(offsets.values, row),
            at(values.values, row)
        );
    }
    for reject in Rejects::new(block.rejects(mark)) {
        let reject = reject.expect("a reject");
        let _ = write!(text, " !{}:{}:{}", reject.offset, reject.code, reject.line);
    }
    text
}

struct Input {
    bytes: Vec<u8>,
    header: BatchHeader,
}

impl Input {
    /// Records at their deltas; a message of `-` is a tombstone.
    fn new(records: &[(i32, &str)], last_delta: i32) -> Input {
        let mut batch = BatchBuilder::new(BASE);
        for (delta, message) in records {
            let value = (*message != "-").then_some(message.as_bytes());
            batch.push_at(*delta, 1_000 + i64::from(*delta), Some(b"key"), value);
        }
        batch.cover(last_delta);
        let bytes = batch.build();
        let header = BatchHeader::parse(&bytes).expect("a batch");
        Input { bytes, header }
    }

    fn records(&self) -> Records<'_> {
        Records::new(
            &self.header,
            self.header.body(&self.bytes).expect("a batch"),
        )
    }

    fn limits(&self) -> LoadLimits {
        LoadLimits {
            from: Offset(BASE),
            offsets_end: Offset(i64::MAX),
            batch_next_offset: self.header.next_offset(),
            bytes_max: u64::MAX,
            skip: SkipErrors::None,
            parse_errors_max: u64::MAX,
            now_unix_ms: 5,
        }
    }
}

fn decoder() -> JsonDecoder {
    JsonDecoder::new(&mapping()).expect("the mapping")
}

fn show(loaded: &Loaded, contents: &str) -> String {
    let counts = &loaded.counts;
    let ended = match &loaded.ended {
        Ended::Poison(poison) => format!(
            "Poison {} {} line {}{}",
            poison.offset,
            poison.failure.code,
            poison.failure.line,
            if poison.over_threshold { " over" } else { "" }
        ),
        Ended::BlockTooSmall(need) => format!(
            "BlockTooSmall {} rows {} strings {:?}",
            need.offset, need.rows, need.string_bytes
        ),
        Ended::Malformed(_) => "Malformed".to_owned(),
        ended => format!("{ended:?}"),
    };
    format!(
        "{} loaded {} rejected {} empty {} gap, next {}, {ended}:{contents}",
        counts.loaded, counts.rejected, counts.empty, counts.gap, loaded.next_offset
    )
}

fn outcome(input: &Input, change: impl FnOnce(&mut LoadLimits)) -> String {
    let mut writer = block(64, 1 << 12, 1 << 12);
    let mut limits = input.limits();
    change(&mut limits);
    let loaded = decoder().load(&mut input.records(), &limits, &mut writer.tail());
    let contents = contents(&mut writer, loaded.next_offset);
    show(&loaded, &contents)
}

const ONE: &str = r#"{"a":1}"#;
const TWO: &str = r#"{"a":2}"#;
const THREE: &str = r#"{"a":3}"#;

#[test]
fn each_offset_becomes_one_thing() {
    let plain = Input::new(&[(0, ONE), (1, TWO), (2, THREE)], 2);
    let check = |input: &Input, change: &dyn Fn(&mut LoadLimits), expected: &str| {
        assert_eq!(outcome(input, |limits| change(limits)), expected);
    };
    check(
        &plain,
        &|_| {},
        "3 loaded 0 rejected 0 empty 0 gap, next 103, Batch: 100:1 101:2 102:3",
    );
    // A fetch returns whole batches: what lies below the cursor was loaded before.
    check(
        &plain,
        &|limits| limits.from = Offset(102),
        "1 loaded 0 rejected 0 empty 0 gap, next 103, Batch: 102:3",
    );
    // What no batch held before this one.
    check(
        &plain,
        &|limits| limits.from = Offset(90),
        "3 loaded 0 rejected 0 empty 10 gap, next 103, Batch: 100:1 101:2 102:3",
    );
    let holes = Input::new(&[(2, ONE), (3, "-"), (7, TWO)], 9);
    check(
        &holes,
        &|_| {},
        "2 loaded 0 rejected 1 empty 7 gap, next 110, Batch: 102:1 107:2",
    );
    check(
        &holes,
        &|limits| limits.from = Offset(108),
        "0 loaded 0 rejected 0 empty 2 gap, next 110, Batch:",
    );
    let none = Input::new(&[], 4);
    check(
        &none,
        &|_| {},
        "0 loaded 0 rejected 0 empty 5 gap, next 105, Batch:",
    );
    let several = Input::new(&[(0, r#"{"a":1}{"a":2}"#), (1, THREE)], 1);
    check(
        &several,
        &|_| {},
        "2 loaded 0 rejected 0 empty 0 gap, next 102, Batch: 100:1 100:2 101:3",
    );
}

#[test]
fn a_load_stops_at_its_limits() {
    let holes = Input::new(&[(0, ONE), (1, TWO), (6, THREE)], 8);
    let check = |change: &dyn Fn(&mut LoadLimits), expected: &str| {
        assert_eq!(outcome(&holes, |limits| change(limits)), expected);
    };
    let end = |end: i64| move |limits: &mut LoadLimits| limits.offsets_end = Offset(end);
    check(
        &end(100),
        "0 loaded 0 rejected 0 empty 0 gap, next 100, OffsetsMax:",
    );
    check(
        &end(101),
        "1 loaded 0 rejected 0 empty 0 gap, next 101, OffsetsMax: 100:1",
    );
    check(
        &end(104),
        "2 loaded 0 rejected 0 empty 2 gap, next 104, OffsetsMax: 100:1 101:2",
    );
    check(
        &end(106),
        "2 loaded 0 rejected 0 empty 4 gap, next 106, OffsetsMax: 100:1 101:2",
    );
    check(
        &end(107),
        "3 loaded 0 rejected 0 empty 4 gap, next 107, OffsetsMax: 100:1 101:2 106:3",
    );
    check(
        &end(108),
        "3 loaded 0 rejected 0 empty 5 gap, next 108, OffsetsMax: 100:1 101:2 106:3",
    );
    check(
        &end(109),
        "3 loaded 0 rejected 0 empty 6 gap, next 109, Batch: 100:1 101:2 106:3",
    );
    let turn = |bytes: u64| move |limits: &mut LoadLimits| limits.bytes_max = bytes;
    check(
        &turn(0),
        "1 loaded 0 rejected 0 empty 0 gap, next 101, Turn: 100:1",
    );
    check(
        &turn(8),
        "2 loaded 0 rejected 0 empty 0 gap, next 102, Turn: 100:1 101:2",
    );
}

#[test]
fn a_bad_message_is_a_reject_or_poison() {
    let parser = r#"{"a":1} {"a":"#;
    let constraint = r#"{"a":1} {"a":2} {"a":null}"#;
    let bad = Input::new(
        &[
            (0, ONE),
            (1, constraint),
            (2, TWO),
            (3, parser),
            (4, parser),
            (5, THREE),
        ],
        5,
    );
    let mut writer = block(64, 64, 64);
    let loaded = decoder().load(&mut bad.records(), &bad.limits(), &mut writer.tail());
    let Ended::Poison(poison) = loaded.ended else {
        panic!("poison");
    };
    assert_eq!(poison.failure.text, "Column 'a' cannot be null");
    assert_eq!(*poison.message, *constraint.as_bytes());
    assert_eq!(poison.key.as_deref(), Some(&b"key"[..]));
    let check = |skip: SkipErrors, parse_errors_max: u64, expected: &str| {
        let found = outcome(&bad, |limits| {
            limits.skip = skip;
            limits.parse_errors_max = parse_errors_max;
        });
        assert_eq!(found, expected);
    };
    let none = u64::MAX;
    check(
        SkipErrors::None,
        none,
        "1 loaded 0 rejected 0 empty 0 gap, next 101, Poison 101 1048 line 3: 100:1",
    );
    check(
        SkipErrors::Parser,
        none,
        "1 loaded 0 rejected 0 empty 0 gap, next 101, Poison 101 1048 line 3: 100:1",
    );
    check(
        SkipErrors::Constraint,
        none,
        "2 loaded 1 rejected 0 empty 0 gap, next 103, Poison 103 3140 line 2: 100:1 102:2 !101:1048:3",
    );
    check(
        SkipErrors::All,
        none,
        "3 loaded 3 rejected 0 empty 0 gap, next 106, Batch: 100:1 102:2 105:3 !101:1048:3 !103:3140:2 !104:3140:2",
    );
    check(
        SkipErrors::All,
        1,
        "2 loaded 2 rejected 0 empty 0 gap, next 104, Poison 104 3140 line 2 over: 100:1 102:2 !101:1048:3 !103:3140:2",
    );
}

#[test]
fn a_reject_holds_the_whole_message() {
    let message = format!(r#"{{"a":"{}"}}"#, "x".repeat(1_000));
    let input = Input::new(&[(3, &message)], 3);
    let mut writer = block(64, 64, 1 << 12);
    let mut limits = input.limits();
    limits.skip = SkipErrors::Parser;
    let loaded = decoder().load(&mut input.records(), &limits, &mut writer.tail());
    assert_eq!(
        (loaded.parse_errors, loaded.bytes),
        (1, message.len() as u64)
    );
    assert_eq!(
        (loaded.timestamp_ms_min, loaded.timestamp_ms_max),
        (1_003, 1_003)
    );
    let mark = writer.publish(loaded.next_offset);
    let block = writer.shared();
    let reject = Rejects::new(block.rejects(mark))
        .next()
        .expect("one")
        .expect("whole");
    assert_eq!(reject.message, message.as_bytes());
    assert_eq!(reject.key, Some(&b"key"[..]));
    assert_eq!(
        (reject.offset, reject.timestamp_ms, reject.unix_ms),
        (Offset(103), 1_003, 5)
    );
    assert_eq!((reject.code, reject.column), (1366, Some(0)));
    // The value is cut in the text, not in the message.
    assert!(
        reject.text.ends_with("xxx...' for column 'a' at row 1"),
        "{}",
        reject.text
    );
}

#[test]
fn a_full_block_ends_the_load_before_the_message() {
    let twice = r#"{"a":1}{"a":2}"#;
    let input = Input::new(&[(0, twice), (1, twice), (2, THREE)], 2);
    let mut decoder = decoder();
    let mut records = input.records();
    let mut limits = input.limits();
    let mut writer = block(3, 16, 64);
    let loaded = decoder.load(&mut records, &limits, &mut writer.tail());
    let found = contents(&mut writer, loaded.next_offset);
    assert_eq!(
        show(&loaded, &found),
        "1 loaded 0 rejected 0 empty 0 gap, next 101, BlockFull: 100:1 100:2"
    );
    // The same walk goes on in the next block.
    limits.from = loaded.next_offset;
    let mut writer = block(3, 16, 64);
    let loaded = decoder.load(&mut records, &limits, &mut writer.tail());
    let found = contents(&mut writer, loaded.next_offset);
    assert_eq!(
        show(&loaded, &found),
        "2 loaded 0 rejected 0 empty 0 gap, next 103, Batch: 101:1 101:2 102:3"
    );
}

#[test]
fn a_message_that_fits_no_such_block_says_what_it_needs() {
    let check = |message: &str, writer: &mut BlockWriter, expected: &str| {
        let input = Input::new(&[(0, message)], 0);
        let mut limits = input.limits();
        limits.skip = SkipErrors::All;
        let loaded = decoder().load(&mut input.records(), &limits, &mut writer.tail());
        assert_eq!(show(&loaded, "").trim_end_matches(':'), expected);
    };
    let text = format!(r#"{{"a":1,"s":"{}"}}"#, "x".repeat(100));
    let small = "0 loaded 0 rejected 0 empty 0 gap, next 100, BlockTooSmall 100";
    check(
        &text,
        &mut block(64, 64, 64),
        &format!("{small} rows 1 strings [114]"),
    );
    check(
        &text,
        &mut block(64, 114, 64),
        "1 loaded 0 rejected 0 empty 0 gap, next 101, Batch",
    );
    let many = ONE.repeat(70);
    check(
        &many,
        &mut block(64, 64, 64),
        &format!("{small} rows 70 strings [490]"),
    );
    let bad = "[".repeat(100);
    check(
        &bad,
        &mut block(64, 64, 64),
        &format!("{small} rows 1 strings [100]"),
    );
    check(
        &bad,
        &mut block(64, 64, 100 + 8 * 1024 + 64),
        "0 loaded 1 rejected 0 empty 0 gap, next 101, Batch",
    );
}

#[test]
fn a_batch_that_breaks_off_is_malformed_behind_what_was_whole() {
    let input = Input::new(&[(0, ONE), (1, TWO)], 1);
    let body = input.header.body(&input.bytes).expect("a batch");
    let mut records = Records::new(&input.header, &body[..body.len() - 1]);
    let mut writer = block(64, 64, 64);
    let loaded = decoder().load(&mut records, &input.limits(), &mut writer.tail());
    let found = contents(&mut writer, loaded.next_offset);
    assert_eq!(
        show(&loaded, &found),
        "1 loaded 0 rejected 0 empty 0 gap, next 101, Malformed: 100:1"
    );
}

/// However a load is cut, its parts are the whole.
#[test]
fn the_parts_of_a_load_are_the_whole() {
    let mut seed = 7_u64;
    let mut random = move |below: u64| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for _ in 0..300 {
        let mut delta = -1_i32;
        let mut messages: Vec<(i32, String)> = Vec::new();
        for _ in 0..random(30) {
            delta += 1 + random(10).saturating_sub(7) as i32;
            messages.push((
                delta,
                match random(8) {
                    0 => "-".to_owned(),
                    1 => "{".to_owned(),
                    2 => r#"{"a":null}"#.to_owned(),
                    3 => format!("{{\"a\":{}}} {{\"a\":{}}}", random(9), random(9)),
                    _ => format!(
                        "{{\"a\":{},\"s\":\"{}\"}}",
                        random(99),
                        "y".repeat(random(20) as usize)
                    ),
                },
            ));
        }
        let records: Vec<(i32, &str)> = messages
            .iter()
            .map(|(at, text)| (*at, text.as_str()))
            .collect();
        let input = Input::new(&records, delta.max(0) + random(3) as i32);
        let whole = outcome(&input, |limits| limits.skip = SkipErrors::All);
        let (mut counts, mut rows, mut rejects) = (
            storage::counts::Counts::default(),
            String::new(),
            String::new(),
        );
        let mut decoder = decoder();
        let mut records = input.records();
        let mut from = Offset(BASE);
        let last = loop {
            let limits = LoadLimits {
                from,
                offsets_end: Offset(from.0 + 1 + random(12) as i64),
                bytes_max: random(80),
                skip: SkipErrors::All,
                ..input.limits()
            };
            if random(2) == 0 {
                // Opened again, as from a frame that was kept.
                records = input.records();
            }
            let mut writer = block(2 + random(6) as u32, 64, 512);
            let loaded = decoder.load(&mut records, &limits, &mut writer.tail());
            assert_eq!(loaded.counts.offsets(), from.until(loaded.next_offset));
            counts.add(&loaded.counts);
            let found = contents(&mut writer, loaded.next_offset);
            for piece in found.split_whitespace() {
                let to = if piece.starts_with('!') {
                    &mut rejects
                } else {
                    &mut rows
                };
                let _ = write!(to, " {piece}");
            }
            from = loaded.next_offset;
            if loaded.ended == Ended::Batch {
                break Loaded { counts, ..loaded };
            }
        };
        assert_eq!(show(&last, &format!("{rows}{rejects}")), whole);
    }
}
