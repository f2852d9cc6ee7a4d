//! Leaves of a few lines: they take orders, keep cursors as a disk would, and answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ingest::leaf::order::{Failure, FailureKind, Goal, Order, Report};
use tokio::sync::mpsc;

use crate::aggregator::LeafLink;

/// What outlives a process: (lineage, durable cursor) of each leaf partition.
pub type Disk = Arc<Mutex<BTreeMap<u64, (u64, i64)>>>;

/// What a test sees of a leaf, and how it interferes.
#[derive(Debug, Default)]
pub struct Seen {
    /// Every order, in words.
    pub orders: Vec<String>,
    /// Rewinds and drops are taken and never answered nor carried out.
    pub deaf: bool,
    /// Attach is taken and never answered: a recovery that takes long.
    pub recovers: bool,
    /// Shutdown is taken and never answered: a disk that stays full.
    pub lingers: bool,
    /// The disk is full: a Stop finds no room for what is visible.
    pub full: bool,
    /// The disk is full to the last byte, and all is durable: no lineage finds room to begin.
    pub last_byte: bool,
    /// Lineages that wait for room, by leaf partition: with their first offset.
    pub waits: BTreeMap<u64, (u64, i64)>,
    /// FOREGROUND does not end by itself.
    pub loads_on: bool,
    /// A Stop is taken and not answered: there is much to drain.
    pub drains: bool,
    /// Of the leader that was told last.
    pub epoch: Option<i32>,
}

/// One leaf.
pub struct FakeLeaf {
    pub seen: Arc<Mutex<Seen>>,
    reports: mpsc::Sender<Report>,
}

impl FakeLeaf {
    pub fn start(disk: Disk) -> (FakeLeaf, LeafLink) {
        let (orders, mut queue) = mpsc::channel(64);
        let (reports, heard) = mpsc::channel(64);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let leaf = FakeLeaf {
            seen: seen.clone(),
            reports: reports.clone(),
        };
        tokio::spawn(async move {
            while let Some(order) = queue.recv().await {
                for report in answer(order, &disk, &seen) {
                    let ended = report == Report::Ended;
                    reports.send(report).await.unwrap();
                    if ended {
                        return;
                    }
                }
            }
        });
        let link = LeafLink {
            send: Box::new(move |order| orders.try_send(order).is_ok()),
            reports: heard,
        };
        (leaf, link)
    }

    pub fn recovers(&self) {
        self.seen.lock().unwrap().recovers = true;
    }

    pub fn lingers(&self) {
        self.seen.lock().unwrap().lingers = true;
    }

    /// Whether its disk is full from now on.
    pub fn full(&self, full: bool) {
        self.seen.lock().unwrap().full = full;
    }

    /// Whether from now on no lineage finds room to begin.
    pub fn last_byte(&self, full: bool) {
        self.seen.lock().unwrap().last_byte = full;
    }

    /// FOREGROUND does not end by itself.
    pub fn loads_on(&self) {
        self.seen.lock().unwrap().loads_on = true;
    }

    /// Whether a Stop is not answered from now on.
    pub fn drains(&self, drains: bool) {
        self.seen.lock().unwrap().drains = drains;
    }

    pub fn orders(&self) -> Vec<String> {
        self.seen.lock().unwrap().orders.clone()
    }

    pub fn epoch(&self) -> Option<i32> {
        self.seen.lock().unwrap().epoch
    }

    pub fn deaf(&self) {
        self.seen.lock().unwrap().deaf = true;
    }

    /// Reports out of turn.
    pub async fn say(&self, report: Report) {
        self.reports.send(report).await.unwrap();
    }

    pub async fn fail(&self, leaf_partition: u64, deterministic: bool) {
        self.say(Report::Failed {
            leaf_partition,
            generation: u64::MAX,
            failure: Failure {
                kind: FailureKind::Load,
                offset: 17,
                column: Some("price".into()),
                text: "'x' is not a number".into(),
                deterministic,
                alone: false,
            },
        })
        .await;
    }
}

fn no_room(leaf_partition: u64, generation: u64) -> Vec<Report> {
    vec![Report::NoRoom {
        leaf_partition,
        generation,
        failure: Failure {
            kind: FailureKind::Load,
            offset: 3,
            column: None,
            text: "the disk is full".into(),
            deterministic: false,
            alone: true,
        },
    }]
}

fn answer(order: Order, disk: &Disk, seen: &Mutex<Seen>) -> Vec<Report> {
    let mut seen = seen.lock().unwrap();
    let mut disk = disk.lock().unwrap();
    match order {
        Order::Attach {
            generation,
            pairing,
            ..
        } => {
            let id = pairing.leaf_partition;
            seen.orders.push(format!(
                "attach {} l{} at {}",
                pairing.kafka_partition, pairing.lineage, pairing.start_offset
            ));
            let held = disk.entry(id).or_insert((0, 0));
            if seen.last_byte && held.0 < pairing.lineage {
                seen.waits
                    .insert(id, (pairing.lineage, pairing.start_offset));
                return no_room(id, generation);
            }
            if held.0 < pairing.lineage {
                *held = (pairing.lineage, pairing.start_offset);
            }
            if seen.recovers {
                return vec![];
            }
            vec![Report::Attached {
                leaf_partition: id,
                generation,
                lineage: held.0,
                durable: held.1,
                recovery_us: 1,
                commits: 0,
                rows: 0,
            }]
        }
        Order::Goal {
            leaf_partition,
            generation,
            goal,
        } => {
            let word = match goal {
                Goal::Run => "run",
                Goal::Foreground { .. } => "foreground",
                Goal::Stop => "stop",
                Goal::Rewind { .. } => "rewind",
                Goal::Drop => "drop",
            };
            seen.orders.push(format!("{word} {leaf_partition}"));
            let reached = |cursor| Report::Reached {
                leaf_partition,
                generation,
                goal,
                cursor,
            };
            match goal {
                Goal::Run => vec![],
                Goal::Foreground { .. } if seen.loads_on => vec![],
                Goal::Foreground { .. } => {
                    let held = disk.get_mut(&leaf_partition).unwrap();
                    held.1 += 10;
                    vec![Report::CaughtUp {
                        leaf_partition,
                        generation,
                        cursor: held.1,
                        rows: 10,
                        rejects: 1,
                    }]
                }
                Goal::Stop if seen.full => no_room(leaf_partition, generation),
                Goal::Stop if seen.waits.contains_key(&leaf_partition) => {
                    if seen.last_byte {
                        return no_room(leaf_partition, generation);
                    }
                    let (lineage, offset) = seen.waits.remove(&leaf_partition).unwrap();
                    disk.insert(leaf_partition, (lineage, offset));
                    let durable = Report::Durable {
                        leaf_partition,
                        lineage,
                        offset,
                        leader_epoch: -1,
                    };
                    vec![durable, reached(offset)]
                }
                Goal::Stop if seen.drains => vec![],
                Goal::Stop => vec![reached(disk[&leaf_partition].1)],
                Goal::Rewind { .. } if seen.deaf => vec![],
                Goal::Rewind {
                    lineage,
                    start_offset,
                    ..
                } if seen.last_byte => {
                    seen.waits.insert(leaf_partition, (lineage, start_offset));
                    no_room(leaf_partition, generation)
                }
                Goal::Rewind {
                    lineage,
                    start_offset,
                    ..
                } => {
                    disk.insert(leaf_partition, (lineage, start_offset));
                    vec![reached(start_offset)]
                }
                Goal::Drop if seen.deaf => vec![],
                Goal::Drop => {
                    disk.remove(&leaf_partition);
                    vec![reached(0)]
                }
            }
        }
        Order::Shutdown if seen.lingers => vec![],
        Order::Shutdown => vec![Report::Ended],
        Order::Leader {
            leaf_partition,
            leader,
        } => {
            seen.orders
                .push(format!("leader {leaf_partition} {}", leader.broker));
            seen.epoch = Some(leader.epoch);
            vec![]
        }
        Order::Configure { leaf_partition, .. } => {
            seen.orders.push(format!("configure {leaf_partition}"));
            vec![]
        }
        Order::LogRange {
            leaf_partition,
            log_start_offset,
            log_end_offset,
            ..
        } => {
            seen.orders.push(format!(
                "range {leaf_partition} {log_start_offset}..{log_end_offset}"
            ));
            vec![]
        }
        Order::EpochEnd {
            leaf_partition,
            end_offset,
            ..
        } => {
            seen.orders
                .push(format!("epoch end {leaf_partition} {end_offset}"));
            vec![]
        }
        Order::TopicLost { leaf_partition, .. } => {
            seen.orders.push(format!("lost {leaf_partition}"));
            vec![]
        }
    }
}
