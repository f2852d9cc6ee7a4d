//! What leaves say, looked at on its way to the aggregator.

use ingest::leaf::order::{Goal, Report};
use storage::ids::LeafPartitionId;

use super::drive::{Drive, EVENTS};
use crate::sim::reasons::is_of_damage;
use crate::sim::world::Law;

impl Drive<'_> {
    /// A report sets out for the aggregator.
    pub(super) fn report_progress(&mut self, node: usize) -> Law {
        if !self.process().links[node].has_room() {
            return Ok(());
        }
        let Some((report, visible)) = self.world.nodes[node].reports.pop_front() else {
            return Ok(());
        };
        if self.world.trace.is_on() {
            let words = format!("{report:?}");
            self.world.say(|| words);
        }
        self.heard(&report, visible)?;
        self.process().links[node].report(report);
        Ok(())
    }

    fn heard(&mut self, report: &Report, visible: i64) -> Law {
        let Some(id) = report.leaf_partition() else {
            return match self.stopping.is_some() {
                true => Ok(()),
                false => Err("a leaf ended by itself".to_owned()),
            };
        };
        if let Report::Failed {
            generation,
            failure,
            ..
        } = report
        {
            let mut links = self.process().links.iter();
            let told = links.find_map(|link| link.told(id));
            if told.is_some_and(|told| *generation < told) {
                self.world.coverage.hit(EVENTS[4]);
            } else {
                let failures = self.failures.entry(id).or_default();
                failures.insert(failure.text.clone(), *generation);
            }
        }
        let ordered = self.ordered.get(&id).copied();
        let ordered = ordered.unwrap_or((0, Goal::Stop));
        let topics_made = self.topics_made(id);
        let Some(tracked) = self.world.tracked.get_mut(&id) else {
            return Ok(());
        };
        match report {
            Report::Attached {
                lineage, durable, ..
            } => {
                let (before, wanted) = (tracked.durable, tracked.lineage);
                if *lineage != wanted {
                    return Err(format!(
                        "leaf partition {id} is attached in lineage {lineage}, the catalog says {wanted}"
                    ));
                }
                if *durable < before {
                    return Err(format!(
                        "leaf partition {id}: durable was said to be {before}, recovered at {durable}"
                    ));
                }
                tracked.recovered_at(*durable);
                if self.resting.remove(&id) {
                    self.world.coverage.hit(EVENTS[6]);
                    self.at_rest.entry(id).or_insert(*durable);
                }
                self.look(id)
            }
            Report::Durable {
                lineage, offset, ..
            } if *lineage == tracked.lineage => {
                let before = tracked.durable;
                tracked.durable = *offset;
                tracked.shown = Some(*lineage);
                match *offset < before {
                    true => Err(format!(
                        "leaf partition {id}: durable went back from {before} to {offset}"
                    )),
                    false => Ok(()),
                }
            }
            Report::Reached {
                goal,
                generation,
                cursor,
                ..
            } if (*generation, *goal) == ordered => self.reached(id, *goal, *cursor),
            Report::Failed {
                generation,
                failure,
                ..
            } if *generation >= ordered.0 => {
                let text = failure.text.as_str();
                let ahead = self.ahead.contains(&id) && text.contains("was replaced");
                let so = ahead || self.world.explains(id, topics_made, failure, visible);
                match so && !is_of_damage(text) {
                    true => Ok(()),
                    false => Err(format!(
                        "leaf partition {id}: a failure that nothing explains, cursor {visible}: {text}"
                    )),
                }
            }
            _ => Ok(()),
        }
    }

    fn reached(&mut self, id: u64, goal: Goal, cursor: i64) -> Law {
        match goal {
            Goal::Rewind {
                lineage,
                live_lineage,
                ..
            } => {
                let Some(tracked) = self.world.tracked.get_mut(&id) else {
                    return Ok(());
                };
                let wanted = (tracked.lineage, tracked.live, tracked.start);
                if (lineage, live_lineage, cursor) != wanted {
                    return Err(format!(
                        "leaf partition {id} is rewound to {:?}, the catalog says {wanted:?}",
                        (lineage, live_lineage, cursor)
                    ));
                }
                tracked.shown = Some(lineage);
                self.look(id)
            }
            Goal::Stop => {
                self.look(id)?;
                match self.is_drained(id) {
                    false => Err(format!(
                        "leaf partition {id} says that it stopped at {cursor}, and not all of it is durable"
                    )),
                    true => Ok(()),
                }
            }
            Goal::Drop if self.world.views.get(LeafPartitionId(id)).is_some() => {
                Err(format!("leaf partition {id} is dropped and shown"))
            }
            Goal::Drop | Goal::Run | Goal::Foreground { .. } => Ok(()),
        }
    }

    /// Whether all that is visible of a leaf partition is durable. One that nobody shows is.
    pub(super) fn is_drained(&self, id: u64) -> bool {
        let Some(attached) = self.world.views.attached(LeafPartitionId(id)) else {
            return true;
        };
        let snapshot = attached.view.snapshot();
        let durable = snapshot.durable_prefix();
        durable.rows() == snapshot.rows()
            && durable.commits().count() == snapshot.commits().count()
            && durable.rejects().count() == snapshot.rejects().count()
    }

    /// How often the topic had been made when the lineage of this leaf partition began.
    pub(super) fn topics_made(&self, id: u64) -> u8 {
        let made = self.world.cluster.topics_made;
        let view = self.view();
        let paired = view.pairing(LeafPartitionId(id));
        match paired.map(|pairing| pairing.topic_id.0[0]) {
            None | Some(0) => made,
            Some(first) => first - 6,
        }
    }
}
