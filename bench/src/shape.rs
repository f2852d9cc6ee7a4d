//! What the rows look like: as JSON messages, as a table, and as the text that is hashed.
//!
//! A shape is a list of columns and a seeded generator of their values. Ids count up; the same seed gives
//! the same rows, times too. The **canonical text** of a row is its columns in order, joined by `|`: numbers
//! in decimal, a price with two digits behind its point, a time as `2026-01-02 03:04:05.678`. Every engine
//! that can is asked for the sum of the CRC-32 of it over all rows, which no order of rows changes.

use std::fmt::Write;

/// Times count up from here, 2026-01-01T00:00:00Z.
const FIRST_TIME_MS: u64 = 1_767_225_600_000;
/// From row to row: a million rows are some fifty minutes.
const TIME_STEP_MS: u64 = 3;
/// How many users order.
const USERS: u64 = 1_000_000;
const SYMBOLS: [&str; 16] = [
    "ACME", "BOLT", "CRUX", "DELTA", "EMBER", "FLUX", "GLINT", "HALO", "IONIC", "JOLT", "KITE",
    "LUMEN", "MESA", "NOVA", "ORBIT", "PRISM",
];
const WORDS: [&str; 12] = [
    "limit", "market", "iceberg", "hedge", "roll", "retail", "desk", "north", "south", "lit",
    "dark", "auction",
];
/// Bytes of one order, as `quickstart` produces them.
pub const ORDER_BYTES: usize = 172;
/// Bytes of one with keys that no column has, escapes, and its keys in another order.
pub const STRANGE_BYTES: usize = 236;
const LARGE_BYTES: usize = 4_096;
const WIDE_COLUMNS: usize = 200;
/// Objects that stand in one another.
const NESTED: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A whole number of 64 bits.
    Int,
    /// Text of at most so many characters.
    Text(u32),
    /// A decimal of 12 digits, two of them behind the point.
    Price,
    /// A moment, to the millisecond.
    Time,
}

/// One column.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Column {
    /// In the table.
    pub name: String,
    /// The keys that lead to it in a message.
    pub path: Vec<String>,
    /// What it holds.
    pub kind: Kind,
    /// JSON before and behind the value.
    #[serde(skip)]
    around: (String, String),
}

/// The shapes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// 172 bytes of eight columns, as `quickstart` has them.
    Orders,
    /// The same columns of messages with unknown keys, escapes, and the known keys in another order, always the same.
    Strange,
    /// 30 bytes of two columns.
    Small,
    /// 4 KB of two columns.
    Large,
    /// 200 columns.
    Wide,
    /// Three columns, two of them below eight objects.
    Nested,
}

impl Shape {
    /// As the report calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Shape::Orders => "172-byte orders",
            Shape::Strange => "orders with unknown keys, escapes and another order of keys",
            Shape::Small => "30-byte messages",
            Shape::Large => "4-KB messages",
            Shape::Wide => "200 columns",
            Shape::Nested => "nested 8 deep",
        }
    }

    /// Of a message, about.
    #[must_use]
    pub fn bytes(self) -> u64 {
        match self {
            Shape::Orders => ORDER_BYTES as u64,
            Shape::Strange => STRANGE_BYTES as u64,
            Shape::Small => 30,
            Shape::Large => LARGE_BYTES as u64,
            Shape::Wide => 2_000,
            Shape::Nested => 130,
        }
    }

    /// The first row's id: as long in digits as all that follow.
    #[must_use]
    pub fn first_id(self) -> u64 {
        1_000_000_000
    }

    /// Its columns, in the order of the message. The first is the id.
    #[must_use]
    pub fn columns(self) -> Vec<Column> {
        let flat = |columns: &[(&str, Kind)]| -> Vec<Column> {
            let named = columns.iter().enumerate();
            named
                .map(|(at, (name, kind))| {
                    let open = if at == 0 { '{' } else { ',' };
                    let close = if at + 1 == columns.len() { "}" } else { "" };
                    Column::new(name, &[name], *kind, &format!("{open}\"{name}\":"), close)
                })
                .collect()
        };
        match self {
            Shape::Orders | Shape::Strange => flat(&[
                ("id", Kind::Int),
                ("user_id", Kind::Int),
                ("symbol", Kind::Text(8)),
                ("side", Kind::Text(4)),
                ("price", Kind::Price),
                ("quantity", Kind::Int),
                ("note", Kind::Text(100)),
                ("created_at", Kind::Time),
            ]),
            Shape::Small => flat(&[("id", Kind::Int), ("v", Kind::Int)]),
            Shape::Large => flat(&[("id", Kind::Int), ("body", Kind::Text(4_096))]),
            Shape::Wide => {
                let names: Vec<String> = (1..WIDE_COLUMNS).map(|at| format!("c{at}")).collect();
                let columns: Vec<_> = std::iter::once("id")
                    .chain(names.iter().map(String::as_str))
                    .map(|name| (name, Kind::Int))
                    .collect();
                flat(&columns)
            }
            Shape::Nested => {
                let open: String = NESTED.iter().map(|key| format!("\"{key}\":{{")).collect();
                let path = |last| [&NESTED[..], &[last]].concat();
                vec![
                    Column::new("id", &["id"], Kind::Int, "{\"id\":", ""),
                    Column::new(
                        "value",
                        &path("value"),
                        Kind::Int,
                        &format!(",{open}\"value\":"),
                        "",
                    ),
                    Column::new(
                        "name",
                        &path("name"),
                        Kind::Text(16),
                        ",\"name\":",
                        &"}".repeat(NESTED.len() + 1),
                    ),
                ]
            }
        }
    }
}

impl Column {
    fn new(name: &str, path: &[&str], kind: Kind, before: &str, behind: &str) -> Column {
        Column {
            name: name.to_owned(),
            path: path.iter().map(|key| (*key).to_owned()).collect(),
            kind,
            around: (before.to_owned(), behind.to_owned()),
        }
    }
}

/// Generates rows of one shape.
#[derive(Clone, Debug)]
pub struct Rows {
    shape: Shape,
    columns: Vec<Column>,
    state: u64,
    next_id: u64,
    json: String,
    text: String,
}

impl Rows {
    /// From the shape's first id on. The same seed gives the same rows.
    #[must_use]
    pub fn new(shape: Shape, seed: u64) -> Rows {
        Rows {
            shape,
            columns: shape.columns(),
            state: seed,
            next_id: shape.first_id(),
            json: String::new(),
            text: String::new(),
        }
    }

    /// The same from another id on.
    #[must_use]
    pub fn starting_at(mut self, id: u64) -> Rows {
        self.next_id = id;
        self
    }

    /// The next row's id.
    #[must_use]
    pub fn next_id(&self) -> u64 {
        self.next_id
    }

    /// Makes the next row; its time is its place in the series.
    pub fn advance(&mut self) {
        let time_ms =
            FIRST_TIME_MS + self.next_id.saturating_sub(self.shape.first_id()) * TIME_STEP_MS;
        self.advance_at(time_ms);
    }

    /// Makes the next row, of that time.
    pub fn advance_at(&mut self, time_ms: u64) {
        self.json.clear();
        self.text.clear();
        let id = self.next_id;
        self.next_id += 1;
        self.int(0, id);
        let random = self.random();
        match self.shape {
            Shape::Orders => {
                let order = Order::of(random);
                self.int(1, order.user);
                self.word(2, order.symbol);
                self.word(3, order.side);
                self.number(4, &order.price());
                self.int(5, order.quantity);
                const REST: usize =
                    ",\"note\":\"\",\"created_at\":\"2026-01-02T03:04:05.678Z\"}".len();
                let note = self.words(ORDER_BYTES - REST - self.json.len());
                self.word(6, &note);
                self.time(7, time_ms);
            }
            Shape::Strange => self.strange(id, random, time_ms),
            Shape::Small => self.int(1, 10_000_000 + random % 90_000_000),
            Shape::Large => {
                let body = self.words(LARGE_BYTES - self.json.len() - ",\"body\":\"\"}".len());
                self.word(1, &body);
            }
            Shape::Wide => {
                let mut mixed = random;
                for at in 1..WIDE_COLUMNS {
                    self.int(at, mixed % 1_000);
                    mixed = mixed.rotate_right(7).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                }
            }
            Shape::Nested => {
                self.int(1, random % USERS);
                self.word(2, SYMBOLS[(random >> 20) as usize % SYMBOLS.len()]);
            }
        }
    }

    /// The text is the plain order's, with a note of its own; the message is not.
    fn strange(&mut self, id: u64, random: u64, time_ms: u64) {
        const REST: usize = "\\\"\\u00e9\\t.\"}".len();
        let order = Order::of(random);
        let Order {
            user,
            symbol,
            side,
            quantity,
            ..
        } = order;
        let (price, time) = (order.price(), time_text(time_ms));
        let (date, clock) = time.split_at(10);
        let clock = clock.trim_start();
        self.json.clear();
        let _ = write!(
            self.json,
            "{{\"trace\":\"{random:016x}\",\"created_at\":\"{date}T{clock}Z\",\"quantity\":{quantity},\
             \"symbol\":\"{symbol}\",\"source\":{{\"host\":\"a7\",\"seq\":[1,2]}},\"price\":{price},\
             \"id\":{id},\"side\":\"{side}\",\"user_id\":{user},\"note\":\"\\\"",
        );
        let words = self.words(STRANGE_BYTES - REST - self.json.len());
        let _ = write!(self.json, "{words}\\\"\\u00e9\\t.\"}}");
        let _ = write!(
            self.text,
            "|{user}|{symbol}|{side}|{price}|{quantity}|\"{words}\"é\t.|{time}"
        );
    }

    /// The last row, as a message.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        self.json.as_bytes()
    }

    /// The last row's canonical text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    fn begin(&mut self, at: usize) {
        self.json.push_str(&self.columns[at].around.0);
        if at > 0 {
            self.text.push('|');
        }
    }

    // A string takes whatever is written: in the four below nothing is to be done about a failure.

    fn int(&mut self, at: usize, value: u64) {
        self.begin(at);
        let from = self.text.len();
        let _ = write!(self.text, "{value}");
        self.json.push_str(&self.text[from..]);
        self.json.push_str(&self.columns[at].around.1);
    }

    fn number(&mut self, at: usize, value: &str) {
        self.begin(at);
        self.text.push_str(value);
        let _ = write!(self.json, "{value}{}", self.columns[at].around.1);
    }

    fn word(&mut self, at: usize, value: &str) {
        self.begin(at);
        self.text.push_str(value);
        let _ = write!(self.json, "\"{value}\"{}", self.columns[at].around.1);
    }

    fn time(&mut self, at: usize, unix_ms: u64) {
        self.begin(at);
        let text = time_text(unix_ms);
        self.text.push_str(&text);
        let (date, clock) = text.split_at(10);
        let clock = clock.trim_start();
        let _ = write!(
            self.json,
            "\"{date}T{clock}Z\"{}",
            self.columns[at].around.1
        );
    }

    /// Words and blanks, exactly so many bytes.
    fn words(&mut self, bytes: usize) -> String {
        let mut out = String::with_capacity(bytes + 8);
        let mut mixed = self.random();
        while out.len() < bytes {
            out.push_str(WORDS[(mixed % WORDS.len() as u64) as usize]);
            out.push(' ');
            mixed = mixed.rotate_right(5) ^ 0x9e37;
        }
        out.truncate(bytes);
        // A blank at its end is not kept by every type of every engine.
        if out.ends_with(' ') {
            out.pop();
            out.push('.');
        }
        out
    }

    /// SplitMix64.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// What is random of an order, but for its note.
struct Order {
    user: u64,
    symbol: &'static str,
    side: &'static str,
    cents: u64,
    quantity: u64,
}

impl Order {
    fn of(random: u64) -> Order {
        Order {
            user: random % USERS,
            symbol: SYMBOLS[(random >> 20) as usize % SYMBOLS.len()],
            side: if random >> 63 == 0 { "buy" } else { "sell" },
            cents: 1_000 + (random >> 24) % 99_000,
            quantity: 1 + (random >> 44) % 500,
        }
    }

    fn price(&self) -> String {
        format!("{}.{:02}", self.cents / 100, self.cents % 100)
    }
}

/// Year, month and day of a day since 1970: eras of 400 years that begin in March.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

/// The time of a row by its place in the series, as canonical text has it.
#[must_use]
pub fn time_of_row(row: u64) -> String {
    time_text(FIRST_TIME_MS + row * TIME_STEP_MS)
}

/// `2026-01-02 03:04:05.678`.
#[must_use]
pub fn time_text(unix_ms: u64) -> String {
    let (days, of_day) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}.{:03}",
        of_day / 3_600_000,
        of_day / 60_000 % 60,
        of_day / 1_000 % 60,
        of_day % 1_000,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Shape; 6] = [
        Shape::Orders,
        Shape::Strange,
        Shape::Small,
        Shape::Large,
        Shape::Wide,
        Shape::Nested,
    ];

    #[test]
    fn messages_have_their_size_and_the_table_their_text() {
        for (shape, bytes) in [
            (Shape::Orders, ORDER_BYTES),
            (Shape::Strange, STRANGE_BYTES),
            (Shape::Small, 30),
            (Shape::Large, LARGE_BYTES),
        ] {
            let mut rows = Rows::new(shape, 1);
            for _ in 0..1_000 {
                rows.advance();
                assert_eq!(rows.json().len(), bytes, "{shape:?}");
            }
        }
        for shape in ALL {
            let mut rows = Rows::new(shape, 7);
            rows.advance();
            let json: serde_json::Value = serde_json::from_slice(rows.json()).unwrap();
            let values: Vec<String> = shape
                .columns()
                .iter()
                .map(|column| {
                    let mut at = &json;
                    for key in &column.path {
                        at = &at[key];
                    }
                    match at.as_str() {
                        Some(text) if column.kind == Kind::Time => {
                            text.replace('T', " ").replace('Z', "")
                        }
                        Some(text) => text.to_owned(),
                        None => at.to_string(),
                    }
                })
                .collect();
            // serde_json drops a zero behind the point; the row of this seed has none.
            assert_eq!(rows.text(), values.join("|"), "{shape:?}");
        }
    }

    #[test]
    fn times_are_civil() {
        let mut rows = Rows::new(Shape::Orders, 1);
        for (unix_ms, expected) in [
            (0, "1970-01-01 00:00:00.000"),
            (951_782_399_999, "2000-02-28 23:59:59.999"),
            (951_782_400_000, "2000-02-29 00:00:00.000"),
            (FIRST_TIME_MS, "2026-01-01 00:00:00.000"),
        ] {
            rows.advance_at(unix_ms);
            assert!(rows.text().ends_with(expected), "{}", rows.text());
        }
        assert_eq!(time_of_row(1_200_000), "2026-01-01 01:00:00.000");
    }
}
