//! Whether an engine ended with the right rows.
//!
//! While a topic is filled, its [`Expected`] is counted: rows, the sum of their ids, of their offsets, of
//! their bytes, and of the CRC-32 of each row's canonical text. What an engine answers is a [`Tally`]: always
//! rows, and ids or offsets; the hash where it stores columns and can compute one. None of the sums depends
//! on an order of rows. A row lost or repeated changes the count; one lost and another repeated, the ids or
//! offsets; one altered, the hash.

use std::collections::BTreeMap;

use crate::fault::Fault;

/// What is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    rows: u64,
    ids: u128,
    hash: u128,
    bytes: u64,
    next_offsets: BTreeMap<i32, u64>,
}

/// What an engine has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub struct Tally {
    /// How many rows.
    pub rows: u64,
    /// The sum of their ids.
    #[serde(default)]
    pub ids: Option<u128>,
    /// The sum of their offsets.
    #[serde(default)]
    pub offsets: Option<u128>,
    /// The sum of their bytes.
    #[serde(default)]
    pub bytes: Option<u64>,
    /// The sum of the CRC-32 of their canonical texts.
    #[serde(default)]
    pub hash: Option<u128>,
}

impl Expected {
    /// Of an empty topic.
    #[must_use]
    pub fn nothing() -> Expected {
        Expected {
            rows: 0,
            ids: 0,
            hash: 0,
            bytes: 0,
            next_offsets: BTreeMap::new(),
        }
    }

    /// One more row.
    pub fn add(&mut self, id: u64, partition: i32, text: &str, bytes: usize) {
        self.rows += 1;
        self.ids += u128::from(id);
        self.hash += u128::from(crc32fast::hash(text.as_bytes()));
        self.bytes += bytes as u64;
        *self.next_offsets.entry(partition).or_default() += 1;
    }

    /// How many rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Compares; says by what.
    ///
    /// # Errors
    /// [`Fault::Wrong`], with every number that differs. An engine that can tell neither ids nor offsets
    /// is not believed.
    pub fn check(&self, who: &str, has: &Tally) -> Result<&'static str, Fault> {
        let offsets: u128 = self
            .next_offsets
            .values()
            .map(|next| u128::from(*next) * u128::from(next.saturating_sub(1)) / 2)
            .sum();
        let numbers = [
            ("rows", Some(u128::from(has.rows)), u128::from(self.rows)),
            ("sum of ids", has.ids, self.ids),
            ("sum of offsets", has.offsets, offsets),
            ("bytes", has.bytes.map(u128::from), u128::from(self.bytes)),
            ("sum of hashes", has.hash, self.hash),
        ];
        let wrong: Vec<String> = numbers
            .iter()
            .filter_map(|(name, has, right)| Some((name, (*has)?, *right)))
            .filter(|(_, has, right)| has != right)
            .map(|(name, has, right)| format!("{name} {has} in place of {right}"))
            .collect();
        if !wrong.is_empty() {
            return Err(Fault::Wrong(format!(
                "{who} ended with {}",
                wrong.join(", ")
            )));
        }
        match (has.ids, has.offsets, has.hash) {
            (_, _, Some(_)) => Ok("rows, ids, hash"),
            (Some(_), ..) => Ok("rows, ids"),
            (None, Some(_), None) if has.bytes.is_some() => Ok("rows, offsets, bytes"),
            (None, Some(_), None) => Ok("rows, offsets"),
            (None, None, None) => Err(Fault::Wrong(format!(
                "{who} tells neither ids nor offsets: its rows cannot be checked"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Row = (u64, i32, &'static str);
    const ROWS: [Row; 4] = [(7, 0, "7|a"), (8, 1, "8|b"), (9, 0, "9|c"), (10, 0, "10|d")];

    fn expected() -> Expected {
        let mut expected = Expected::nothing();
        for (id, partition, text) in ROWS {
            expected.add(id, partition, text, 10);
        }
        expected
    }

    /// What an engine that holds these rows answers, with all it could.
    fn tally(rows: &[Row]) -> Tally {
        let hash = |row: &Row| u128::from(crc32fast::hash(row.2.as_bytes()));
        Tally {
            rows: rows.len() as u64,
            ids: Some(rows.iter().map(|row| u128::from(row.0)).sum()),
            hash: Some(rows.iter().map(hash).sum()),
            ..Tally::default()
        }
    }

    fn words(rows: &[Row]) -> String {
        let said = expected().check("engine", &tally(rows));
        said.map_or_else(|fault| fault.to_string(), str::to_owned)
    }

    #[test]
    fn a_lost_a_repeated_and_an_altered_row_are_each_caught() {
        let [a, b, c, d] = ROWS;
        assert_eq!(words(&[d, b, a, c]), "rows, ids, hash", "in any order");
        for (rows, said) in [
            (vec![a, b, c], "engine ended with rows 3 in place of 4"),
            (
                vec![a, b, c, d, d],
                "engine ended with rows 5 in place of 4",
            ),
            (
                vec![a, b, c, c],
                "engine ended with sum of ids 33 in place of 34",
            ),
            (
                vec![a, b, c, (10, 0, "10|D")],
                "engine ended with sum of hashes ",
            ),
            // Two wrongs that make a sum right.
            (
                vec![a, c, c, (9, 1, "9|b")],
                "engine ended with sum of hashes ",
            ),
        ] {
            assert!(words(&rows).starts_with(said), "{}", words(&rows));
        }
    }

    #[test]
    fn offsets_stand_for_ids_and_one_of_them_must_be_told() {
        let mut has = Tally {
            rows: 4,
            offsets: Some(3),
            bytes: Some(40),
            ..Tally::default()
        };
        assert_eq!(expected().check("e", &has).unwrap(), "rows, offsets, bytes");
        has.offsets = Some(4);
        let said = expected().check("e", &has).unwrap_err().to_string();
        assert_eq!(said, "e ended with sum of offsets 4 in place of 3");
        has.offsets = None;
        let said = expected().check("e", &has).unwrap_err().to_string();
        assert_eq!(
            said,
            "e tells neither ids nor offsets: its rows cannot be checked"
        );
    }
}
