//! What parsing a text takes at a time, beside what is reserved for it: each shape that a client could repeat.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use engine::sql::parse::{parameters, parse, parsed_bytes};

/// Counts what is allocated at a time.
struct Counting;

static NOW_BYTES: AtomicUsize = AtomicUsize::new(0);
static PEAK_BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW_BYTES.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK_BYTES.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How often a shape is repeated: a vector that grows is at its worst just past a power of two, and there may be some for
/// each piece.
const COUNTS: &[usize] = &[
    1, 4, 9, 17, 33, 65, 129, 257, 513, 1_025, 1_100, 1_200, 1_366, 1_500, 1_639, 1_900,
];

/// What a text begins with, what it repeats and what it ends with.
const SHAPES: &[(&str, &str, &str)] = &[
    ("select ", "1,", "1"),
    ("select ", "a,", "a"),
    ("select ", "-a,", "a"),
    ("select ", "~-!a,", "a"),
    ("select ", "not a,", "a"),
    ("select ", "a+a,", "a"),
    ("select ", "1+a*a-1,", "a"),
    ("select ", "a and a,", "a"),
    ("select ", "a or a or a or a,", "a"),
    ("select ", "a div a,", "a"),
    ("select ", "a mod a div a,", "a"),
    ("select ", "(a),", "a"),
    ("select ", "(a,a),", "a"),
    ("select ", "a a,", "a"),
    ("select ", "a as a,", "a"),
    ("select ", "a.a,", "a"),
    ("select ", "a.a.a,", "a"),
    ("select ", "*,", "a"),
    ("select ", "a.*,", "a"),
    ("select ", "`a`,", "a"),
    ("select ", "'a',", "a"),
    ("select ", "'a' 'b',", "a"),
    ("select ", "x'41',", "a"),
    ("select ", "?,", "a"),
    ("select ", "@a,", "a"),
    ("select ", "@@a,", "a"),
    ("select ", "@@global.a,", "a"),
    ("select ", "null,", "a"),
    ("select ", "a(),", "a"),
    ("select ", "a(a),", "a"),
    ("select ", "a(a,a,a),", "a"),
    ("select ", "a(distinct a),", "a"),
    ("select ", "a()over(),", "a"),
    ("select ", "a(a)over(partition by a order by a),", "a"),
    ("select ", "a(a)over(rows 1 preceding),", "a"),
    ("select ", "case when a then a end,", "a"),
    ("select ", "case a when a then a else a end,", "a"),
    ("select ", "cast(a as char),", "a"),
    ("select ", "convert(a,char),", "a"),
    ("select ", "extract(day from a),", "a"),
    ("select ", "substring(a from a for a),", "a"),
    ("select ", "trim(both a from a),", "a"),
    ("select ", "position(a in a),", "a"),
    ("select ", "a in(a),", "a"),
    ("select ", "a in(a,a,a),", "a"),
    ("select ", "a not in(select a),", "a"),
    ("select ", "a between a and a,", "a"),
    ("select ", "a like a,", "a"),
    ("select ", "a not like a escape 'a',", "a"),
    ("select ", "a regexp a,", "a"),
    ("select ", "a is null,", "a"),
    ("select ", "a is not true,", "a"),
    ("select ", "a collate a,", "a"),
    ("select ", "a+interval a day,", "a"),
    ("select ", "date 'a',", "a"),
    ("select ", "(select a),", "a"),
    ("select ", "exists(select a),", "a"),
    ("select ", "a=any(select a),", "a"),
    ("select ", "binary a,", "a"),
    ("select ", "match(a)against(a),", "a"),
    ("select a from ", "a,", "a"),
    ("select a from ", "a a,", "a"),
    ("select a from ", "(select a)a,", "a"),
    ("select a from a ", "join a ", ""),
    ("select a from a ", "join`a`", ""),
    ("select a from a ", "straight_join`a`", ""),
    ("explain select a from a ", "join`a`", ""),
    ("select a from a ", "join a on a ", ""),
    ("select a from a ", "left join a using(a)", ""),
    ("select a from a ", "natural join a ", ""),
    ("select a from a where ", "a or ", "a"),
    ("select a from a where ", "a=a and ", "a"),
    ("select a from a where ", "a && a || ", "a"),
    ("select a group by ", "a,", "a"),
    ("select a order by ", "a,", "a"),
    ("select a order by ", "a desc,", "a"),
    ("select a from a window ", "a as(),", "a as ()"),
    ("select a ", "union select a ", ""),
    ("select a ", "union all select a from a ", ""),
    ("with ", "a as(select a),", "a as (select a) select a"),
    ("values ", "row(a),", "row(a)"),
    ("values ", "row(a,a,a,a),", "row(a)"),
    ("table a ", "union table a ", ""),
    ("explain select ", "a,", "a"),
    ("set ", "@a=1,", "@a=1"),
    ("set ", "a=a,", "a=a"),
    ("set @a=", "a+", "a"),
    ("show tables where ", "a or ", "a"),
    ("drop table ", "a,", "a"),
    ("create table a(", "a int,", "a int)"),
    (
        "create table a(",
        "a decimal(1,1)not null default 1 comment 'a',",
        "a int)",
    ),
    ("create table a(a int,", "key(a),", "key(a))"),
    (
        "create pipeline a as load data kafka 'a/a' into table a format json(",
        "a<-a,",
        "a<-a)",
    ),
    (
        "create pipeline a as load data kafka 'a/a' into table a format json(",
        "a<-a::a default '1',",
        "a<-a)",
    ),
    ("alter pipeline a set offsets '", "a", "'"),
    ("alter pipeline a set offsets '{\"a\":[", "1,", "1]}'"),
    ("alter pipeline a set offsets '{\"a\":[", "[1],", "1]}'"),
    (
        "alter pipeline a set offsets '{\"a\":[",
        "{\"\":1},",
        "1]}'",
    ),
    ("alter pipeline a set offsets '{\"''\":[", "1,", "1]}'"),
    ("alter pipeline a set offsets '{\"a\":' '[", "1,", "1]}'"),
    (
        "alter pipeline a set offsets '{\"a\":[",
        "{\"\":{\"\":{\"\":{\"\":{\"\":{\"\":{\"\":{\"\":1}}}}}}}},",
        "1]}'",
    ),
    (
        "alter pipeline a set offsets '{\"a\":[",
        "{\"\":{}},",
        "1]}'",
    ),
    ("select /*'*/", "1,", "1"),
    ("select #'\n", "1,", "1"),
    ("select -- '\n", "1,", "1"),
    ("select b'\\',", "1,", "1"),
    ("select @@',", "1,", "1"),
    ("select @`,", "1,", "1"),
    ("b'\\',", "1,", "1"),
    ("select 1e5b'\\',", "1,", "1"),
    ("select 1e5Lb\"\\\",", "1,", "1"),
    ("select a.1e5b'\\',", "1,", "1"),
    ("select ?1b'\\',", "1,", "1"),
    ("select ?²b'\\',", "1,", "1"),
    ("select ", "1e5L", ""),
    ("select ", "1e1x,", "a"),
    ("select ", "0x1g,", "a"),
    ("select ", "1L1L,", "a"),
    ("select ", "😀", ""),
    ("select ", "1.e5a,", "a"),
    ("select 1e1", "union select 1e1", ""),
    ("select ", "(1e5select ", ""),
    ("select ", "1e'a',", "a"),
    ("select x'41\\',", "1,", "1"),
    ("select 1", ";commit", ""),
    ("select 1", ";create table a(a int)", ""),
    ("select a from (", "a,", "a)"),
    ("", "1 ", ""),
    ("", "a ", ""),
    ("", "+ ", ""),
    ("", ";", ""),
    ("", ",", ""),
    ("", "(", ""),
    ("", "!", ""),
    ("", "a.", ""),
    ("", "'a' ", ""),
    ("", "/**/", ""),
    ("", "-- \n", ""),
    ("", " ", ""),
    ("", "\n\t", ""),
    ("select ", "1 ", ""),
    ("select ", "+", ""),
    ("select ", "(", ""),
    ("select (", "a,", ""),
    ("select a(", "a,", ""),
    ("select a in(", "a,", ""),
    ("select a in(", "a,", "a)"),
    ("select case ", "when a then a ", ""),
    ("select case ", "when a then a ", "end"),
];

/// What may be one token however long it is.
const LONG: &[(&str, &str, &str)] = &[
    ("select '", "a", "'"),
    ("select \"", "ä", "\""),
    ("select `", "a", "`"),
    ("select ", "a", ""),
    ("select ", "1", ""),
    ("select 0x", "1", ""),
    ("select x'", "41", "'"),
    ("select n'", "a", "'"),
    ("select /*", "a", "*/ 1"),
    ("explain select '", "a", "'"),
    ("explain /*", "a", "*/ select 1"),
    ("explain #", "a", "\nselect 1"),
    ("set @a='", "a", "'"),
    ("show tables where '", "a", "'"),
    ("create database ", "a", ""),
    ("create table a(a int default '", "a", "')"),
    (
        "create pipeline a as load data kafka 'a/a' retry_options '{\"",
        "a",
        "\":1}'",
    ),
    ("use ", "a", ""),
    ("alter `", "ΐ", "`"),
    ("create `", "ΐ", "`"),
    ("alter pipeline a set offsets '\"", "\u{7f}", "\"'"),
    (
        "create pipeline a as load data kafka 'a/a' config '\"",
        "\u{7f}",
        "\"'",
    ),
    (
        "create pipeline a as load data kafka 'a/a' credentials '\"",
        "\u{7f}",
        "\"'",
    ),
];

/// Percent of what is reserved that a text takes at a time, prepared: its tokens once more beside its tree.
fn percent(sql: &str) -> usize {
    let before = NOW_BYTES.load(Ordering::Relaxed);
    PEAK_BYTES.store(before, Ordering::Relaxed);
    let parsed = parse(sql);
    if parsed.is_ok() {
        assert!(parameters(sql).is_ok());
    }
    let peak = PEAK_BYTES.load(Ordering::Relaxed) - before;
    drop(parsed);
    100 * peak / parsed_bytes(sql)
}

#[test]
fn a_parser_takes_no_more_than_is_reserved() {
    let long: &[usize] = &[1 << 19, (1 << 19) + 20];
    let texts = SHAPES
        .iter()
        .map(|shape| (shape, COUNTS))
        .chain(LONG.iter().map(|shape| (shape, long)));
    let mut over = Vec::new();
    for ((head, piece, tail), counts) in texts {
        let of = |count: &usize| {
            let sql = format!("{head}{}{tail}", piece.repeat(*count));
            (percent(&sql), *count)
        };
        let (percent, count) = counts.iter().map(of).max().expect("some counts");
        println!("{percent:>4} % at {count:>5} times: {head}{piece}{tail}");
        if percent > 100 {
            over.push((percent, count, format!("{head}{piece}{tail}")));
        }
    }
    assert!(over.is_empty(), "{over:#?}");
}
