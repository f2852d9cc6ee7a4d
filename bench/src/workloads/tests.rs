//! The harness against an engine that loses, repeats and alters a row, and one that stands still.

use super::*;
use crate::process::{Group, quiet};
use crate::shape::{Rows, Shape};
use crate::tally::{Expected, Tally};
use crate::topic::Topic;
use crate::workloads::queries::Asked;

const ROWS: usize = 1_000;

type Row = (u64, String);

/// "Loads" rows that were made for it, and has a process to be counted.
struct Fake {
    group: Group,
    rows: Vec<Row>,
    loading: bool,
}

impl Running for Fake {
    fn group(&self) -> &Group {
        &self.group
    }

    fn begin(&mut self) -> Result<(), Fault> {
        self.loading = true;
        Ok(())
    }

    fn rows(&mut self) -> Result<u64, Fault> {
        Ok(if self.loading {
            self.rows.len() as u64
        } else {
            0
        })
    }

    fn tally(&mut self, _table: &str, _topic: &Topic) -> Result<Tally, Fault> {
        let hash = |row: &Row| u128::from(crc32fast::hash(row.1.as_bytes()));
        Ok(Tally {
            rows: self.rows.len() as u64,
            ids: Some(self.rows.iter().map(|row| u128::from(row.0)).sum()),
            hash: Some(self.rows.iter().map(hash).sum()),
            ..Tally::default()
        })
    }

    fn query(&mut self, _asked: &Asked) -> Result<Vec<Vec<String>>, Fault> {
        Ok(Vec::new())
    }

    fn begin_beside(&mut self, _table: &str, _topic: &Topic) -> Result<(), Fault> {
        Ok(())
    }

    fn rows_beside(&mut self, _table: &str) -> Result<u64, Fault> {
        Ok(0)
    }

    fn complaints(&mut self) -> Vec<String> {
        vec!["nothing to read".to_owned()]
    }

    fn stop(self: Box<Self>) -> Result<(), Fault> {
        Ok(())
    }
}

/// A topic's worth of rows, spoilt, and what loading them comes to.
fn loaded(spoil: impl FnOnce(&mut Vec<Row>)) -> String {
    loaded_by("sleep 1000", spoil)
}

/// The same by an engine of such a process.
fn loaded_by(process: &str, spoil: impl FnOnce(&mut Vec<Row>)) -> String {
    let mut generator = Rows::new(Shape::Orders, 1);
    let mut expected = Expected::nothing();
    let mut rows = Vec::new();
    for _ in 0..ROWS {
        let id = generator.next_id();
        generator.advance();
        expected.add(id, 0, generator.text(), generator.json().len());
        rows.push((id, generator.text().to_owned()));
    }
    spoil(&mut rows);
    let topics = [Topic {
        name: "t".to_owned(),
        shape: Shape::Orders,
        partitions: 1,
        file: None,
        expected,
    }];
    let mut fake = Fake {
        group: Group::spawn(quiet("sh").args(["-c", process]), "a fake engine").unwrap(),
        rows,
        loading: false,
    };
    let stall = Stall {
        still: Duration::from_millis(100),
        working: Duration::from_millis(400),
        of_a_core: 0.001,
    };
    let loaded = load_until(stall, true, "fake", &mut fake, &topics, || Duration::ZERO);
    match loaded.and_then(|_| check("fake", &mut fake, &topics)) {
        Ok(checked) => checked.to_owned(),
        Err(fault) => {
            let caught = matches!(fault, Fault::Wrong(_) | Fault::Stalled { .. });
            assert!(caught, "{fault}");
            fault.to_string()
        }
    }
}

#[test]
fn an_engine_that_loses_repeats_or_alters_a_row_is_caught() {
    assert_eq!(loaded(|_| {}), "rows, ids, hash");
    let said = loaded(|rows| {
        let first = rows[0].clone();
        rows.push(first);
    });
    assert!(
        said.starts_with("fake ended with rows 1001 in place of 1000, "),
        "{said}"
    );
    // It lost one and made up for it.
    let said = loaded(|rows| rows[7] = rows[8].clone());
    assert!(said.starts_with("fake ended with sum of ids "), "{said}");
    let said = loaded(|rows| {
        let altered = rows[9]
            .1
            .replacen("|buy|", "|sell|", 1)
            .replacen("|sell|", "|buy|", 1);
        rows[9].1 = altered + ".";
    });
    assert!(said.starts_with("fake ended with sum of hashes "), "{said}");
}

#[test]
fn an_engine_that_lost_its_last_row_stands_still() {
    let said = loaded(|rows| {
        rows.pop();
    });
    let expected = "fake stands still at 999 of 1000 rows for 0ns\n    nothing to read";
    assert_eq!(said, expected);
}

/// One that works is waited for, but not for ever.
#[test]
fn an_engine_that_works_without_showing_a_row_has_longer() {
    let began = Instant::now();
    let said = loaded_by("while :; do :; done", |rows| {
        rows.pop();
    });
    assert!(
        said.starts_with("fake stands still at 999 of 1000"),
        "{said}"
    );
    assert!(began.elapsed() >= Duration::from_millis(400));
}

#[test]
fn a_quick_run_has_rounds_of_every_workload() {
    let (variants, _) = variants(&Plan::quick(Path::new("/")));
    let workloads: Vec<&str> = variants.iter().map(|one| one.workload).collect();
    let expected = ["ingest", "queries", "freshness", "recovery", "footprint"];
    assert_eq!(workloads[..5], expected);
    assert!(variants.iter().all(|one| one.together == Some("quick")));
}

#[test]
fn what_the_disk_has_no_room_for_is_left_out_by_name() {
    let mut plan = Plan::full(Path::new("/"));
    (plan.free_bytes, plan.cpus) = (60_000_000_000, 2);
    let (variants, skipped) = variants(&plan);
    let names = ["recovery: 200,000,000 rows", "cores"];
    let left_out: Vec<&str> = skipped.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(left_out, [names[1], names[0]]);
    assert_eq!(skipped[1].1, "needs 71 GB of disk, 60 are free");
    assert!(
        variants
            .iter()
            .any(|one| one.workload == "recovery" && one.name == "50,000,000 rows")
    );
    for workload in crate::plan::WORKLOADS
        .iter()
        .filter(|name| **name != "cores")
    {
        assert!(
            variants.iter().any(|one| one.workload == *workload),
            "{workload}"
        );
    }
}
