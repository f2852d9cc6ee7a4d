//! What the eight queries must answer, counted over the rows as they are generated: no engine is believed because
//! others say the same.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use super::{Asked, QUERIES, RECENT_ROWS};
use crate::fault::Fault;
use crate::shape::Shape;
use crate::topic::Content;

/// The right answers over the rows of tables `t` and `u`, but for look-ups.
#[derive(Clone, Debug)]
pub struct Truth {
    /// By a query's name: rows of values as text.
    answers: BTreeMap<&'static str, Vec<Vec<String>>>,
}

/// What they are made of.
#[derive(Debug, Default)]
struct Counts {
    rows: u64,
    /// By symbol: rows, the sum of quantities.
    symbols: BTreeMap<String, (u64, u64)>,
    /// By user: the sum of quantities.
    users: HashMap<u64, u64>,
    like: u64,
    /// By hour.
    hours: BTreeMap<String, u64>,
    /// Rows of the last five minutes, and the sum of their quantities.
    recent: (u64, u64),
    /// By symbol: joined rows, the sum of `u.v`.
    joined: BTreeMap<String, (u64, u64)>,
}

impl Truth {
    /// Generates both contents once more. `None` where they are not these two.
    #[must_use]
    pub fn of(contents: &[Content]) -> Option<Truth> {
        let [orders, small, ..] = contents else {
            return None;
        };
        if (orders.shape, small.shape) != (Shape::Orders, Shape::Small) {
            return None;
        }
        let mut counts = Counts {
            rows: orders.rows,
            ..Counts::default()
        };
        let (mut rows, mut joined) = (orders.generator(), small.generator());
        for row in 0..orders.rows {
            rows.advance();
            let mut of_join = None;
            // Both count their ids up from the same first.
            if row < small.rows {
                joined.advance();
                of_join = joined.text().split('|').nth(1)?.parse().ok();
            }
            counts.add(row, rows.text(), of_join)?;
        }
        let answers = QUERIES.map(|(name, _)| (name, counts.answer(name)));
        Some(Truth {
            answers: answers.into_iter().collect(),
        })
    }

    /// Compares an answer.
    ///
    /// # Errors
    /// [`Fault::Wrong`], with the first row that differs.
    pub fn check(&self, who: &str, asked: &Asked, answer: &[Vec<String>]) -> Result<(), Fault> {
        let (query, id) = (asked.name, asked.id);
        if query == "lookup" {
            // One row of it: whatever else it holds was checked by its hash.
            let is_it = matches!(answer, [row] if row.len() == 3 && row[0] == id.to_string());
            return if is_it {
                Ok(())
            } else {
                let rows = answer.len();
                Err(Fault::Wrong(format!("{who} finds {rows} rows of id {id}")))
            };
        }
        let right: &[Vec<String>] = self.answers.get(query).map_or(&[], Vec::as_slice);
        if answer == right {
            return Ok(());
        }
        let (place, said) = answer
            .iter()
            .enumerate()
            .find(|(at, row)| right.get(*at) != Some(*row))
            .map_or((answer.len(), "nothing".to_owned()), |(at, row)| {
                (at, row.join(" "))
            });
        let right = right
            .get(place)
            .map_or("nothing".to_owned(), |row| row.join(" "));
        Err(Fault::Wrong(format!(
            "{who} answers `{query}` in row {} with {said} in place of {right}",
            place + 1
        )))
    }
}

impl Counts {
    fn add(&mut self, row: u64, text: &str, joined: Option<u64>) -> Option<()> {
        let mut fields = text.split('|');
        let (_id, user) = (fields.next()?, fields.next()?);
        let (symbol, _side, _price) = (fields.next()?, fields.next()?, fields.next()?);
        let quantity: u64 = fields.next()?.parse().ok()?;
        let (note, time) = (fields.next()?, fields.next()?);
        bump(&mut self.symbols, symbol, (1, quantity));
        *self.users.entry(user.parse().ok()?).or_default() += quantity;
        let iceberg = note.find("iceberg").map(|at| at + "iceberg".len());
        self.like += u64::from(iceberg.is_some_and(|at| note[at..].contains("dark")));
        let hour = time.get(..13)?;
        match self.hours.get_mut(hour) {
            Some(count) => *count += 1,
            None => drop(self.hours.insert(hour.to_owned(), 1)),
        }
        if row + RECENT_ROWS >= self.rows {
            self.recent = (self.recent.0 + 1, self.recent.1 + quantity);
        }
        if let Some(v) = joined {
            bump(&mut self.joined, symbol, (1, v));
        }
        Some(())
    }

    fn answer(&self, query: &str) -> Vec<Vec<String>> {
        let three = |map: &BTreeMap<String, (u64, u64)>| -> Vec<Vec<String>> {
            let rows = map.iter();
            rows.map(|(key, (rows, sum))| vec![key.clone(), rows.to_string(), sum.to_string()])
                .collect()
        };
        match query {
            "lookup" => Vec::new(),
            "count" => vec![vec![self.rows.to_string()]],
            "group" => three(&self.symbols),
            "top" => {
                let mut users: Vec<(u64, u64)> =
                    self.users.iter().map(|(user, sum)| (*user, *sum)).collect();
                users.sort_unstable_by_key(|(user, sum)| (Reverse(*sum), *user));
                let top = users.into_iter().take(10);
                top.map(|(user, sum)| vec![user.to_string(), sum.to_string()])
                    .collect()
            }
            "like" => vec![vec![self.like.to_string()]],
            "hours" => {
                let hours = self.hours.iter();
                hours
                    .map(|(hour, count)| vec![hour.clone(), count.to_string()])
                    .collect()
            }
            "recent" => vec![vec![self.recent.0.to_string(), self.recent.1.to_string()]],
            _ => three(&self.joined),
        }
    }
}

fn bump(map: &mut BTreeMap<String, (u64, u64)>, key: &str, by: (u64, u64)) {
    match map.get_mut(key) {
        Some(at) => *at = (at.0 + by.0, at.1 + by.1),
        None => drop(map.insert(key.to_owned(), by)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth() -> Truth {
        let small = Content {
            shape: Shape::Small,
            ..Content::orders(125, 1)
        };
        Truth::of(&[Content::orders(1_000, 1), small]).unwrap()
    }

    #[test]
    fn the_answers_add_up() {
        let truth = truth();
        let sum = |query: &str, column: usize| -> u64 {
            let rows = &truth.answers[query];
            rows.iter()
                .map(|row| row[column].parse::<u64>().unwrap())
                .sum()
        };
        assert_eq!(
            (sum("count", 0), sum("group", 1), sum("hours", 1)),
            (1_000, 1_000, 1_000)
        );
        assert_eq!(sum("join", 1), 125);
        // All are of the last five minutes.
        assert_eq!(
            (sum("recent", 0), sum("recent", 1)),
            (1_000, sum("group", 2))
        );
        assert!((1..1_000).contains(&sum("like", 0)));
        let top = &truth.answers["top"];
        assert_eq!(top.len(), 10);
        let sums: Vec<u64> = top.iter().map(|row| row[1].parse().unwrap()).collect();
        assert!(sums.is_sorted_by(|a, b| a >= b));
        assert!(Truth::of(&[Content::orders(1, 1)]).is_none());
    }

    #[test]
    fn a_wrong_answer_is_called_so() {
        let truth = truth();
        let said = |query: &'static str, spoil: fn(&mut Vec<Vec<String>>)| {
            let asked = Asked::of(query, 1_000, 0);
            let mut answer = truth.answers[query].clone();
            spoil(&mut answer);
            let said = truth.check("engine", &asked, &answer);
            said.map_or_else(|fault| fault.to_string(), |()| "right".to_owned())
        };
        assert_eq!(said("group", |_| {}), "right");
        let wrong = said("count", |rows| rows[0][0] = "999".to_owned());
        assert_eq!(
            wrong,
            "engine answers `count` in row 1 with 999 in place of 1000"
        );
        assert!(said("top", |rows| rows.swap(0, 1)).contains("in row 1 with "));
        assert!(said("hours", |rows| drop(rows.pop())).contains("with nothing in place of 2026-"));
        let asked = Asked::of("lookup", 1_000, 0);
        let row = |id: u64| vec![id.to_string(), "7".to_owned(), "ACME".to_owned()];
        assert!(truth.check("engine", &asked, &[row(asked.id)]).is_ok());
        let said = truth.check("engine", &asked, &[row(1)]).unwrap_err();
        assert_eq!(
            said.to_string(),
            format!("engine finds 1 rows of id {}", asked.id)
        );
    }
}
