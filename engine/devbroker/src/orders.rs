//! Order events: what the quickstart and the benchmarks load. Seeded, 172 bytes each.
//!
//! ```json
//! {"id":1,"user_id":4711,"symbol":"ACME","side":"buy","price":103.25,"quantity":7,"note":"...","created_at":"2026-01-02T03:04:05.678Z"}
//! ```
//!
//! The note fills what is left to [`ORDER_BYTES`]. Ids count up from the first one given.

use std::io::Write;

/// Bytes of one event.
pub const ORDER_BYTES: usize = 172;
/// How many users order.
pub const USERS: u64 = 1_000_000;
/// What is ordered.
pub const SYMBOLS: [&str; 16] = [
    "ACME", "BOLT", "CRUX", "DELTA", "EMBER", "FLUX", "GLINT", "HALO", "IONIC", "JOLT", "KITE",
    "LUMEN", "MESA", "NOVA", "ORBIT", "PRISM",
];

const NOTE_WORDS: [&str; 12] = [
    "limit", "market", "iceberg", "hedge", "roll", "retail", "desk", "north", "south", "lit",
    "dark", "auction",
];

/// The statement that makes a table for these events.
pub const CREATE_TABLE: &str = "CREATE TABLE orders (\
    id BIGINT NOT NULL, user_id BIGINT NOT NULL, symbol VARCHAR(8) NOT NULL, side VARCHAR(4) NOT NULL, \
    price DECIMAL(12,2) NOT NULL, quantity INT NOT NULL, note VARCHAR(100) NOT NULL, \
    created_at DATETIME(3) NOT NULL)";

/// Generates events.
#[derive(Clone, Debug)]
pub struct Orders {
    state: u64,
    next_id: u64,
}

impl Orders {
    /// The same seed and first id give the same events, but for their times.
    #[must_use]
    pub fn new(seed: u64, first_id: u64) -> Orders {
        Orders {
            state: seed,
            next_id: first_id,
        }
    }

    /// The next event's id.
    #[must_use]
    pub fn next_id(&self) -> u64 {
        self.next_id
    }

    /// The next event gets this id.
    pub fn set_next_id(&mut self, id: u64) {
        self.next_id = id;
    }

    /// Appends one event, created at that time.
    pub fn append(&mut self, out: &mut Vec<u8>, unix_ms: u64) {
        let start = out.len();
        let random = self.random();
        let id = self.next_id;
        self.next_id += 1;
        let user = random % USERS;
        let symbol = SYMBOLS[(random >> 20) as usize % SYMBOLS.len()];
        let side = if random >> 63 == 0 { "buy" } else { "sell" };
        let cents = 1_000 + (random >> 24) % 99_000;
        let quantity = 1 + (random >> 44) % 500;
        let (units, rest) = (cents / 100, cents % 100);
        let written = write!(
            out,
            "{{\"id\":{id},\"user_id\":{user},\"symbol\":\"{symbol}\",\"side\":\"{side}\",\
             \"price\":{units}.{rest:02},\"quantity\":{quantity},\"note\":\""
        );
        // Writing to memory has no way to fail.
        debug_assert!(written.is_ok());
        const END: &str = "\",\"created_at\":\"2026-01-02T03:04:05.678Z\"}";
        let note_end = start + ORDER_BYTES - END.len();
        let mut words = self.random();
        while out.len() < note_end {
            let word = NOTE_WORDS[(words % NOTE_WORDS.len() as u64) as usize];
            words = words.rotate_right(5) ^ 0x9e37;
            let room = note_end - out.len();
            out.extend_from_slice(&word.as_bytes()[..word.len().min(room)]);
            if out.len() < note_end {
                out.push(b' ');
            }
        }
        out.extend_from_slice(b"\",\"created_at\":\"");
        append_time(out, unix_ms);
        out.extend_from_slice(b"\"}");
        debug_assert_eq!(out.len() - start, ORDER_BYTES);
    }

    /// SplitMix64: small, fast, and the same everywhere.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// `2026-01-02T03:04:05.678Z`, for any time from 1970 to 9999.
fn append_time(out: &mut Vec<u8>, unix_ms: u64) {
    let days = unix_ms / 86_400_000;
    let of_day = unix_ms % 86_400_000;
    // Civil date from days, eras of 400 years that begin in March.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let written = write!(
        out,
        "{:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        year.min(9_999),
        of_day / 3_600_000,
        of_day / 60_000 % 60,
        of_day / 1_000 % 60,
        of_day % 1_000,
    );
    debug_assert!(written.is_ok());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_of_one_size_and_seeded() {
        let (mut one, mut two) = (Orders::new(7, 1), Orders::new(7, 1));
        let mut text = Vec::new();
        for _ in 0..1_000 {
            text.clear();
            one.append(&mut text, 1_767_323_045_678);
            assert_eq!(text.len(), ORDER_BYTES);
            let mut again = Vec::new();
            two.append(&mut again, 1_767_323_045_678);
            assert_eq!(text, again);
        }
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with("{\"id\":1000,\"user_id\":"), "{text}");
        assert!(
            text.ends_with("\",\"created_at\":\"2026-01-02T03:04:05.678Z\"}"),
            "{text}"
        );
        let mut far = Vec::new();
        Orders::new(1, u64::MAX / 2).append(&mut far, 0);
        assert_eq!(far.len(), ORDER_BYTES);
    }

    #[test]
    fn times_are_civil() {
        for (unix_ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_767_225_599_000, "2025-12-31T23:59:59.000Z"),
            (4_102_444_800_000, "2100-01-01T00:00:00.000Z"),
        ] {
            let mut out = Vec::new();
            append_time(&mut out, unix_ms);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
