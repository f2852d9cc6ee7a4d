//! Reports that wait for the aggregator: bounded, because a newer one of a kind replaces the older.

use std::collections::VecDeque;
use std::mem::discriminant;

use super::order::Report;

/// Reports in the order they arose, at most one of a kind for each leaf partition.
#[derive(Debug, Default)]
pub struct Reports(VecDeque<Report>);

impl Reports {
    /// Adds one; takes the place of an older one of its kind, at the end.
    pub fn push(&mut self, report: Report) {
        let same = |other: &Report| {
            discriminant(other) == discriminant(&report)
                && other.leaf_partition() == report.leaf_partition()
        };
        if let Some(at) = self.0.iter().position(same) {
            self.0.remove(at);
        }
        self.0.push_back(report);
    }

    /// Hands them on until `take` gives one back.
    pub fn drain(&mut self, mut take: impl FnMut(Report) -> Result<(), Report>) {
        while let Some(report) = self.0.pop_front() {
            if let Err(report) = take(report) {
                self.0.push_front(report);
                return;
            }
        }
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn durable(leaf_partition: u64, offset: i64) -> Report {
        Report::Durable {
            leaf_partition,
            lineage: 1,
            offset,
            leader_epoch: 0,
        }
    }

    #[test]
    fn a_newer_report_of_a_kind_takes_the_older_ones_place_and_order_holds() {
        let mut reports = Reports::default();
        reports.push(durable(1, 10));
        reports.push(durable(2, 5));
        reports.push(Report::Ended);
        reports.push(durable(1, 20));
        let mut taken = Vec::new();
        reports.drain(|report| {
            if taken.len() == 2 {
                return Err(report);
            }
            taken.push(report);
            Ok(())
        });
        assert_eq!(taken, [durable(2, 5), Report::Ended]);
        assert!(!reports.is_empty());
        reports.drain(|report| {
            assert_eq!(report, durable(1, 20));
            Ok(())
        });
        assert!(reports.is_empty());
    }
}
