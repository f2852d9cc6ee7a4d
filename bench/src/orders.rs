//! Order events: 172 bytes of JSON in eight columns, seeded, with the send time in each.

use std::fmt::Write;

/// Bytes of one event.
pub const ORDER_BYTES: usize = 172;

const SYMBOLS: [&str; 8] = [
    "ACME", "BOLT", "CRUX", "DELTA", "EMBER", "FLUX", "GLINT", "HALO",
];
const NOTE: &str =
    "limit iceberg desk north lit auction retail hedge roll south dark market limit desk";
const MICROS_A_DAY: u64 = 86_400_000_000;

/// Generates events with ids that count up.
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

    /// Writes the next event into `out`, which is cleared first. `sent_us`: µs since 1970.
    pub fn write(&mut self, out: &mut String, sent_us: u64) {
        out.clear();
        let random = self.random();
        let id = self.next_id;
        self.next_id += 1;
        let side = if random & 1 == 0 { "buy" } else { "sell" };
        let symbol = SYMBOLS[(random >> 1) as usize % SYMBOLS.len()];
        let (price, quantity) = (10_000 + (random >> 8) % 90_000, 1 + (random >> 32) % 1_000);
        let (whole, cents) = (price / 100, price % 100);
        let user = (random >> 40) % 1_000_000;
        // A string takes whatever is written.
        let _ = write!(
            out,
            "{{\"id\":{id},\"user_id\":{user},\"symbol\":\"{symbol}\",\"side\":\"{side}\",\"price\":{whole}.{cents:02},\
             \"quantity\":{quantity},\"created_at\":\""
        );
        write_instant(out, sent_us);
        out.push_str("\",\"note\":\"");
        let room = ORDER_BYTES.saturating_sub(out.len() + 2).min(NOTE.len());
        out.push_str(&NOTE[..room]);
        out.push_str("\"}");
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

/// `2026-01-02T03:04:05.678901Z`.
fn write_instant(out: &mut String, unix_us: u64) {
    let (mut day, us) = (unix_us / MICROS_A_DAY, unix_us % MICROS_A_DAY);
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [
        31,
        28 + u64::from(leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let mut month = 0;
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    let seconds = us / 1_000_000;
    // A string takes whatever is written.
    let _ = write!(
        out,
        "{year:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
        month + 1,
        day + 1,
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60,
        us % 1_000_000
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_its_size_and_its_time() {
        let mut out = String::new();
        let mut orders = Orders::new(1, 1_000_000);
        for _ in 0..1_000 {
            orders.write(&mut out, 951_782_400_000_001);
            assert_eq!(out.len(), ORDER_BYTES, "{out}");
            assert!(
                out.contains("\"created_at\":\"2000-02-29T00:00:00.000001Z\""),
                "{out}"
            );
        }
    }
}
