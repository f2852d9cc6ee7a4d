//! The aggregator and the person behind it, as one seed plays them: orders, answers, and what to do
//! with a partition that failed.

use ingest::leaf::Event;
use ingest::leaf::order::{Goal, Leader, Order, Report, Settings, TableColumn};
use ingest::leaf::rows::Row;
use ingest::pipeline::{JsonMapping, MappedColumn, Path, SkipErrors, SqlType};
use storage::ids::LeafPartitionId;

use super::broker::{Cluster, TOPIC_ID};
use super::drive::{Drive, Law};

impl Drive<'_> {
    pub(super) fn order(&mut self, order: Order) -> Law {
        self.on(Event::Order(order))
    }

    pub(super) fn generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    pub(super) fn goal(&mut self, at: usize, goal: Goal) -> Law {
        let generation = self.generation();
        self.partitions[at].generation = generation;
        let leaf_partition = self.partitions[at].pairing.leaf_partition;
        self.order(Order::Goal {
            leaf_partition,
            generation,
            goal,
        })
    }

    pub(super) fn attach_all(&mut self) -> Law {
        for at in 0..self.partitions.len() {
            let generation = self.generation();
            let paired = &mut self.partitions[at];
            paired.shown = None;
            paired.attached = false;
            paired.stopping = false;
            paired.rewinding = false;
            paired.failed = None;
            let pairing = paired.pairing.clone();
            let settings = self.settings();
            let columns = settings.mapping.columns.iter();
            let columns = columns
                .map(|column| TableColumn {
                    name: column.name.clone(),
                    sql_type: column.sql_type,
                    nullable: column.nullable,
                })
                .collect();
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
        }
        Ok(())
    }

    pub(super) fn settings(&self) -> Settings {
        let column = |name: &str, sql_type| MappedColumn {
            name: name.to_owned(),
            sql_type,
            nullable: true,
            path: Some(Path(vec![name.to_owned()])),
            default: None,
        };
        Settings {
            max_offsets_per_batch_partition: self.offsets_max,
            max_retries_per_batch_partition: 2,
            retry_interval_ms: 100,
            max_retry_interval_ms: 1_000,
            retry_exponential: true,
            stop_on_error: self.stop_on_error,
            skip_errors: if self.skips {
                SkipErrors::Parser
            } else {
                SkipErrors::None
            },
            parse_errors_threshold: 0,
            batches_kept: 1_000,
            errors_kept_minutes: 1_440,
            mapping: JsonMapping {
                columns: vec![
                    column("v", SqlType::BigInt { unsigned: false }),
                    column("s", SqlType::Text),
                ],
            },
            read_committed: self.read_committed,
            client_id: "pinleaf".to_owned(),
        }
    }

    pub(super) fn leader(&self, log: usize) -> Leader {
        let (broker, epoch) = self.cluster.leaders[log];
        Leader {
            broker,
            host: "sim".to_owned(),
            port: Cluster::port(broker),
            epoch,
        }
    }

    pub(super) fn at(&self, leaf_partition: u64) -> usize {
        leaf_partition as usize - 1
    }

    pub(super) fn log_of(&self, at: usize) -> usize {
        self.partitions[at].pairing.kafka_partition as usize
    }

    pub(super) fn report_progress(&mut self) -> Law {
        let Some(report) = self.reports.pop_front() else {
            return Ok(());
        };
        if self.trace.is_on() {
            let words = format!("{report:?}");
            self.say(|| words);
        }
        let Some(leaf_partition) = report.leaf_partition() else {
            return Ok(());
        };
        let at = self.at(leaf_partition);
        let log = self.log_of(at);
        match report {
            Report::Attached {
                lineage, durable, ..
            } => self.attached(at, lineage, durable),
            Report::Durable {
                lineage, offset, ..
            } => {
                let paired = &mut self.partitions[at];
                if lineage == paired.pairing.lineage {
                    if offset < paired.durable {
                        return Err(format!(
                            "durable went back from {} to {offset}",
                            paired.durable
                        ));
                    }
                    paired.durable = offset;
                }
                Ok(())
            }
            Report::Reached {
                goal,
                cursor,
                generation,
                ..
            } => {
                // A report below the last order's generation has passed.
                if generation < self.partitions[at].generation {
                    return Ok(());
                }
                self.reached(at, goal, cursor)
            }
            Report::Failed { failure, .. } => {
                let paired = &mut self.partitions[at];
                paired.failed = Some(failure.text.clone());
                if failure.text.contains("SET OFFSETS") || failure.deterministic {
                    let start = self.cluster.logs[log].start;
                    let end = self.cluster.logs[log].end();
                    let past = (failure.offset + 1).max(start).min(end);
                    self.partitions[at].rewind_to = Some(past);
                }
                Ok(())
            }
            Report::LeaderUnknown { .. } => {
                let leader = self.leader(log);
                self.order(Order::Leader {
                    leaf_partition,
                    leader,
                })
            }
            Report::RangeUnknown { offset, .. } => {
                let (start, end) = (self.cluster.logs[log].start, self.cluster.logs[log].end());
                self.say(|| format!("asked at {offset}"));
                let visible = |drive: &Drive<'_>| {
                    let one = drive.leaf.partition(leaf_partition);
                    one.map_or(0, |one| one.visible().0)
                };
                let given_up = |drive: &Drive<'_>| drive.leaf.rows().of(Row::OutOfRangeLost);
                let before = (visible(self), given_up(self));
                self.order(Order::LogRange {
                    leaf_partition,
                    log_start_offset: start,
                    log_end_offset: end,
                })?;
                if given_up(self) > before.1 {
                    let lost = &mut self.partitions[at].lost;
                    lost.iter_mut().for_each(|one| one.push((before.0, start)));
                }
                Ok(())
            }
            Report::EpochUnchecked { epoch, .. } => {
                let leader_epoch = self.leader(log).epoch;
                let end_offset = self.cluster.logs[log].epoch_end(epoch);
                self.order(Order::EpochEnd {
                    leaf_partition,
                    leader_epoch,
                    epoch,
                    end_offset,
                })
            }
            Report::CaughtUp { cursor, rows, .. } => {
                self.partitions[at].wants_run = false;
                self.caught_up(at, cursor, rows)
            }
            Report::Ended => Ok(()),
        }
    }

    /// FOREGROUND says so many rows, and they are there and durable.
    fn caught_up(&mut self, at: usize, cursor: i64, rows: u64) -> Law {
        let Some(before) = self.partitions[at].foreground_rows.take() else {
            return Ok(());
        };
        let Some(view) = self.views.get(self.leaf_partition(at)) else {
            return Err("caught up, and nothing is shown".to_owned());
        };
        let (snapshot, durable) = (view.snapshot(), view.snapshot().durable_prefix());
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

    /// How many rows are there before FOREGROUND begins; `None` where the leaf is not at rest.
    fn rows_at_rest(&self, at: usize) -> Option<u64> {
        let attached = self.views.attached(self.leaf_partition(at))?;
        (attached.standing.words() == "Stopped").then(|| attached.view.snapshot().rows())
    }

    fn leaf_partition(&self, at: usize) -> LeafPartitionId {
        LeafPartitionId(self.partitions[at].pairing.leaf_partition)
    }

    pub(super) fn attached(&mut self, at: usize, lineage: u64, durable: i64) -> Law {
        let paired = &mut self.partitions[at];
        if lineage != paired.pairing.lineage {
            return Err(format!(
                "attached in lineage {lineage}, the catalog has {}",
                paired.pairing.lineage
            ));
        }
        if durable < paired.durable {
            return Err(format!(
                "durable was said to be {}, recovered at {durable}",
                paired.durable
            ));
        }
        paired.foreground_rows = None;
        paired.durable = durable;
        paired.shown = Some(lineage);
        paired.attached = true;
        paired.failed = None;
        paired.recovered_at(durable);
        self.look(at, false)
    }

    pub(super) fn reached(&mut self, at: usize, goal: Goal, cursor: i64) -> Law {
        let paired = &mut self.partitions[at];
        match goal {
            Goal::Stop => {
                paired.stopping = false;
                if cursor < paired.durable {
                    return Err(format!(
                        "stopped at {cursor}, below durable {}",
                        paired.durable
                    ));
                }
                self.look(at, false)?;
                let Some(to) = self.partitions[at].rewind_to.take() else {
                    return Ok(());
                };
                // The catalog's transaction; then the leaf carries it out.
                let paired = &mut self.partitions[at];
                paired.begins_at(to);
                let pairing = &mut paired.pairing;
                pairing.lineage += 1;
                pairing.live_lineage = pairing.lineage;
                pairing.start_offset = to;
                paired.shown = None;
                paired.durable = to;
                paired.valid_until = i64::MAX;
                paired.rewinding = true;
                paired.failed = None;
                let goal = Goal::Rewind {
                    lineage: pairing.lineage,
                    live_lineage: pairing.live_lineage,
                    start_offset: to,
                    topic_id: TOPIC_ID,
                };
                self.goal(at, goal)
            }
            Goal::Rewind { lineage, .. } => {
                if lineage != paired.pairing.lineage {
                    return Ok(());
                }
                paired.rewinding = false;
                paired.shown = Some(lineage);
                if cursor != paired.pairing.start_offset {
                    return Err(format!("rewound to {cursor}"));
                }
                if paired.wants_run {
                    return self.goal(at, Goal::Run);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn stop_or_start(&mut self) -> Law {
        let at = self.random.below(self.partitions.len() as u64) as usize;
        let paired = &mut self.partitions[at];
        if paired.rewinding || paired.rewind_to.is_some() || paired.stopping {
            return self.push_on(at);
        }
        if paired.wants_run && paired.failed.is_none() {
            paired.wants_run = false;
            paired.stopping = true;
            self.goal(at, Goal::Stop)
        } else {
            paired.wants_run = true;
            paired.failed = None;
            self.goal(at, Goal::Run)
        }
    }

    /// What a person does next with a partition that waits for one.
    pub(super) fn push_on(&mut self, at: usize) -> Law {
        let paired = &mut self.partitions[at];
        if paired.rewinding {
            if paired.failed.take().is_some() {
                let pairing = &paired.pairing;
                let goal = Goal::Rewind {
                    lineage: pairing.lineage,
                    live_lineage: pairing.live_lineage,
                    start_offset: pairing.start_offset,
                    topic_id: TOPIC_ID,
                };
                return self.goal(at, goal);
            }
            return Ok(());
        }
        // A disk that failed is opened again first: only then is it known what is durable.
        let disk = paired
            .failed
            .as_deref()
            .is_some_and(|text| text.starts_with("/data"));
        if paired.rewind_to.is_some() && !disk {
            if paired.stopping && paired.failed.is_none() {
                return Ok(());
            }
            paired.stopping = true;
            paired.failed = None;
            paired.wants_run = true;
            return self.goal(at, Goal::Stop);
        }
        if paired.failed.take().is_some() || (paired.stopping && self.healed) {
            paired.stopping = false;
            paired.wants_run = true;
            return self.goal(at, Goal::Run);
        }
        Ok(())
    }

    pub(super) fn wish_rewind(&mut self) -> Law {
        let at = self.random.below(self.partitions.len() as u64) as usize;
        let log = &self.cluster.logs[self.log_of(at)];
        let (start, end) = (log.start, log.end());
        // Now and then a person's mistake: an offset that is not there yet.
        let to = if self.random.chance(100) {
            end + 20 + self.random.below(200) as i64
        } else {
            start + self.random.below((end - start) as u64 + 1) as i64
        };
        let paired = &mut self.partitions[at];
        if paired.rewinding || paired.rewind_to.is_some() || paired.stopping {
            return Ok(());
        }
        paired.rewind_to = Some(to);
        self.push_on(at)
    }

    pub(super) fn foreground(&mut self) -> Law {
        let at = self.random.below(self.partitions.len() as u64) as usize;
        let paired = &mut self.partitions[at];
        if paired.wants_run || paired.rewinding || paired.rewind_to.is_some() || paired.stopping {
            return Ok(());
        }
        paired.wants_run = true;
        paired.failed = None;
        self.partitions[at].foreground_rows = self.rows_at_rest(at);
        let batches_max = self.random.chance(500).then_some(2);
        self.goal(at, Goal::Foreground { batches_max })
    }
}
