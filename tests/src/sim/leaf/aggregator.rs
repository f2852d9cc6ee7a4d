//! The aggregator, as one seed plays it: orders, and what it makes of reports.

use ingest::leaf::Attached;
use ingest::leaf::order::{Goal, Order, Report, Settings, TableColumn};
use ingest::pipeline::{JsonMapping, MappedColumn, Path, SkipErrors, SqlType};
use std::sync::Arc;
use storage::ids::LeafPartitionId;

use super::drive::{Drive, NODE};
use super::user::Change;
use crate::sim::law::{Rules, Wrong, seen};
use crate::sim::world::Law;

/// What rotted looks torn: the lineage is shorter, and what is missing is fetched again.
const SHORTER: &str = "event: rot that looks torn makes a lineage shorter";

impl Drive<'_> {
    fn order(&mut self, order: Order) -> Law {
        self.world.order(NODE, order)
    }

    fn generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    pub(super) fn goal(&mut self, at: usize, goal: Goal) -> Law {
        let generation = self.generation();
        self.partitions[at].generation = generation;
        let leaf_partition = self.partitions[at].id;
        self.order(Order::Goal {
            leaf_partition,
            generation,
            goal,
        })
    }

    pub(super) fn attach_all(&mut self) -> Law {
        for at in 0..self.partitions.len() {
            self.tracked_mut(at).shown = None;
            self.attach(at)?;
        }
        Ok(())
    }

    pub(super) fn attach(&mut self, at: usize) -> Law {
        let generation = self.generation();
        self.partitions[at].generation = generation;
        let settings = settings(&self.world.rules);
        let columns = settings.mapping.columns.iter();
        let columns = columns
            .map(|column| TableColumn {
                name: column.name.clone(),
                sql_type: column.sql_type,
                nullable: column.nullable,
            })
            .collect();
        let pairing = self.pairing(at);
        self.order(Order::Attach {
            generation,
            pairing,
            schema_version: 1,
            columns,
            settings: Some(settings),
        })?;
        if self.partitions[at].wants_run {
            self.goal(at, Goal::Run)?;
        }
        Ok(())
    }

    pub(super) fn at(&self, leaf_partition: u64) -> Option<usize> {
        self.partitions
            .iter()
            .position(|one| one.id == leaf_partition)
    }

    pub(super) fn report_progress(&mut self) -> Law {
        let Some((report, visible)) = self.world.nodes[NODE].reports.pop_front() else {
            return Ok(());
        };
        if self.world.trace.is_on() {
            let words = format!("{report:?}");
            self.world.say(|| words);
        }
        let Some(at) = report.leaf_partition().and_then(|id| self.at(id)) else {
            return Ok(());
        };
        match report {
            Report::Attached {
                lineage, durable, ..
            } => self.attached(at, lineage, durable),
            Report::Durable {
                lineage, offset, ..
            } => {
                let known = self.partitions[at].named || self.partitions[at].dropping;
                let quarantined = self.is_quarantined(at);
                let tracked = self.tracked_mut(at);
                if lineage != tracked.lineage || known {
                    return Ok(());
                }
                let before = tracked.durable;
                if offset >= before {
                    tracked.durable = offset;
                    return Ok(());
                }
                if quarantined {
                    return self.damage_named(at, "the cursor is below the group offset");
                }
                Err(format!("durable went back from {before} to {offset}"))
            }
            Report::Reached {
                goal,
                cursor,
                generation,
                ..
            } if generation >= self.partitions[at].generation => self.reached(at, goal, cursor),
            Report::Failed {
                failure,
                generation,
                ..
            } if generation >= self.partitions[at].generation => {
                self.justify(at, &failure, visible)?;
                let past = failure.offset + 1;
                let paired = &mut self.partitions[at];
                paired.failed = Some(failure.text.clone());
                if failure.text.contains("EARLIEST") {
                    paired.change = Some(Change::Earliest);
                } else if failure.text.contains("SET OFFSETS") || failure.deterministic {
                    let log = &self.world.cluster.logs[self.tracked(at).log];
                    let past = past.max(log.start).min(log.end());
                    self.partitions[at].change = Some(Change::SetOffsets(past));
                }
                Ok(())
            }
            Report::CaughtUp {
                cursor,
                rows,
                generation,
                ..
            } if generation >= self.partitions[at].generation => {
                self.partitions[at].wants_run = false;
                self.caught_up(at, cursor, rows)
            }
            // A report below the last order's generation has passed.
            Report::Reached { .. } | Report::Failed { .. } | Report::CaughtUp { .. } => Ok(()),
            // Reached follows.
            Report::NoRoom { .. } => Ok(()),
            Report::LeaderUnknown { .. }
            | Report::RangeUnknown { .. }
            | Report::EpochUnchecked { .. } => {
                if let Some(order) = self.answer_to(&report) {
                    self.answer(order)?;
                }
                Ok(())
            }
            Report::Ended => Ok(()),
        }
    }

    fn view(&self, at: usize) -> Option<Arc<Attached>> {
        self.world
            .views
            .attached(LeafPartitionId(self.partitions[at].id))
    }

    /// FOREGROUND says so many rows, and they are there and durable.
    fn caught_up(&mut self, at: usize, cursor: i64, rows: u64) -> Law {
        let Some(before) = self.partitions[at].foreground_rows.take() else {
            return Ok(());
        };
        let Some(attached) = self.view(at) else {
            return Err("caught up, and nothing is shown".to_owned());
        };
        let snapshot = attached.view.snapshot();
        let durable = snapshot.durable_prefix();
        let there = snapshot.rows() - before;
        if rows != there || durable.rows() != snapshot.rows() {
            return Err(format!(
                "caught up at {cursor} with {rows} rows: {there} are there, {} of all {} are durable",
                durable.rows(),
                snapshot.rows()
            ));
        }
        Ok(())
    }

    fn attached(&mut self, at: usize, lineage: u64, durable: i64) -> Law {
        let paired = &mut self.partitions[at];
        paired.attached = true;
        paired.failed = None;
        paired.rewinding = false;
        paired.foreground_rows = None;
        if paired.dropping {
            return Ok(());
        }
        let quarantined = self.is_quarantined(at);
        let tracked = self.tracked_mut(at);
        if lineage != tracked.lineage {
            return Err(format!(
                "attached in lineage {lineage}, the catalog has {}",
                tracked.lineage
            ));
        }
        if quarantined {
            return self.damage_named(at, "the cursor is below the group offset");
        }
        let before = tracked.durable;
        if durable < before {
            // What rotted where nothing vouches for it looks torn: a shorter log, which the group offset names, and
            // the rest is fetched again.
            let damage = tracked.damage.as_ref();
            let shorter = damage.is_some_and(|damage| {
                !damage.must_be_named && damage.takes.0 == lineage && damage.takes.1 <= durable
            });
            if !shorter {
                return Err(format!(
                    "durable was said to be {before}, recovered at {durable}, damage {damage:?}"
                ));
            }
            self.world.coverage.hit(SHORTER);
        }
        let disk = self.world.disk.clone();
        let tracked = self.tracked_mut(at);
        let torn = tracked.damage.as_ref().filter(|one| !one.must_be_named);
        if let Some(damage) = torn.filter(|one| one.takes.0 < lineage) {
            tracked.left_shorter = Some(damage.takes);
        }
        tracked.damage.take_if(|damage| !disk.has(damage));
        tracked.recovered_at(durable);
        self.look(at)
    }

    /// A recovery that a crash cut short has moved its damaged file away, with its reason beside it.
    fn is_quarantined(&self, at: usize) -> bool {
        self.tracked(at).damage.is_some() && self.world.disk.quarantined()
    }

    /// What happened to the files is known: the user drops the table.
    pub(super) fn damage_named(&mut self, at: usize, what: &str) -> Law {
        let id = self.partitions[at].id;
        self.world
            .say(|| format!("leaf partition {id}: damage is named: {what}"));
        self.partitions[at].named = true;
        self.tracked_mut(at).shown = None;
        Ok(())
    }

    fn reached(&mut self, at: usize, goal: Goal, cursor: i64) -> Law {
        match goal {
            Goal::Stop => {
                self.partitions[at].stopping = false;
                let durable = self.tracked(at).durable;
                if cursor < durable && !self.partitions[at].named {
                    return Err(format!("stopped at {cursor}, below durable {durable}"));
                }
                self.look(at)?;
                self.stopped(at, cursor)
            }
            Goal::Rewind { lineage, .. } => {
                let tracked = self.tracked_mut(at);
                if lineage != tracked.lineage {
                    return Ok(());
                }
                if cursor != tracked.start {
                    return Err(format!("rewound to {cursor}"));
                }
                tracked.shown = Some(lineage);
                let paired = &mut self.partitions[at];
                paired.rewinding = false;
                if paired.wants_run {
                    return self.goal(at, Goal::Run);
                }
                Ok(())
            }
            Goal::Drop => self.dropped(at),
            Goal::Run | Goal::Foreground { .. } => Ok(()),
        }
    }

    /// It is drained: all of it is durable, and what was to be done is done.
    fn stopped(&mut self, at: usize, cursor: i64) -> Law {
        let lineage = self.tracked(at).lineage;
        let (Some(attached), Some(shown)) = (self.view(at), self.tracked(at).shown) else {
            return Ok(());
        };
        if shown != lineage || self.partitions[at].named {
            return Ok(());
        }
        let snapshot = attached.view.snapshot();
        let durable = snapshot.durable_prefix();
        let commits = (durable.commits().count(), snapshot.commits().count());
        // An error that waits to be written down is not durable either.
        let rejects = (durable.rejects().count(), snapshot.rejects().count());
        if durable.rows() != snapshot.rows() || commits.0 != commits.1 || rejects.0 != rejects.1 {
            return Err(format!("stopped at {cursor}, and not all of it is durable"));
        }
        let Some(change) = self.partitions[at].change.take() else {
            return Ok(());
        };
        let before = match seen(&snapshot, lineage) {
            Ok(before) => before,
            Err(Wrong::Damage(what)) if self.tracked(at).damage.is_some() => {
                return self.damage_named(at, &what);
            }
            Err(Wrong::Damage(what) | Wrong::Law(what)) => return Err(what),
        };
        // The catalog's transaction; then the leaf carries it out.
        let cluster = &self.world.cluster;
        let Some(topic_id) = cluster.topic_id else {
            // There is no topic to go on with.
            self.partitions[at].change = Some(change);
            return Ok(());
        };
        let tracked = self.tracked(at);
        let log = &cluster.logs[tracked.log];
        let accepts = change == Change::Earliest || self.partitions[at].topic_id == topic_id;
        let (start, live) = match change {
            Change::Truncate => (cursor, lineage + 1),
            Change::SetOffsets(to) => (to, tracked.live),
            Change::Earliest => (log.start, tracked.live),
        };
        let start = tracked.end_offset.map_or(start, |end| start.min(end));
        let topics_made = cluster.topics_made;
        let beyond = start > log.end();
        let tracked = self.tracked_mut(at);
        tracked.begins(lineage + 1, live, start, before);
        tracked.beyond = beyond;
        let paired = &mut self.partitions[at];
        if accepts {
            // What is known of the other topic is told no more.
            let id = paired.id;
            let other = paired.topic_id != topic_id;
            self.answers.retain(|one| !other || one.about() != Some(id));
            paired.topic_id = topic_id;
            paired.topics_made = topics_made;
        }
        paired.rewinding = true;
        paired.failed = None;
        let goal = self.rewind_goal(at);
        self.goal(at, goal)
    }

    pub(super) fn look_all(&mut self) -> Law {
        (0..self.partitions.len()).try_for_each(|at| self.look(at))
    }

    pub(super) fn look(&mut self, at: usize) -> Law {
        match self.world.look(self.partitions[at].id)? {
            Some(what) => self.damage_named(at, &what),
            None => Ok(()),
        }
    }
}

/// The pipeline's settings.
fn settings(rules: &Rules) -> Settings {
    let column = |name: &str, sql_type| MappedColumn {
        name: name.to_owned(),
        sql_type,
        nullable: true,
        path: Some(Path(vec![name.to_owned()])),
        default: None,
    };
    Settings {
        max_offsets_per_batch_partition: rules.offsets_max,
        max_retries_per_batch_partition: 2,
        retry_interval_ms: 100,
        max_retry_interval_ms: 1_000,
        retry_exponential: true,
        stop_on_error: rules.stop_on_error,
        skip_errors: if rules.skips {
            SkipErrors::Parser
        } else {
            SkipErrors::None
        },
        parse_errors_threshold: 0,
        batches_kept: 1_000,
        mapping: JsonMapping {
            columns: vec![
                column("v", SqlType::BigInt { unsigned: false }),
                column("s", SqlType::Text),
            ],
        },
        read_committed: rules.read_committed,
        client_id: "pinleaf".to_owned(),
    }
}
