//! The supervisor's decisions: redo after a crash, rewinds, failures, refused sends.

use ingest::leaf::order::FailureKind;
use ingest::pipeline::{JsonMapping, SkipErrors};

use super::*;
use crate::catalog::{
    Change, DatabaseDef, DatabaseId, FIRST_NODE, PairingRow, PipelineSpec, PipelineState, TableSpec,
};

const A: LeafPartitionId = LeafPartitionId(4);
const B: LeafPartitionId = LeafPartitionId(5);
const PIPELINE: PipelineId = PipelineId(3);
const NOW_UNIX_MS: i64 = 1_700_000_000_000;

struct World {
    view: CatalogView,
    supervisor: Supervisor,
}

impl World {
    fn new() -> World {
        let mut world = World {
            view: CatalogView::default(),
            supervisor: Supervisor::new(FIRST_NODE, 2),
        };
        world.change(Change::DatabaseCreated(DatabaseDef {
            id: DatabaseId(1),
            name: "d".into(),
            create_unix_ms: 0,
        }));
        world.change(Change::TableCreated {
            table: 2,
            database: DatabaseId(1),
            name: "t".into(),
            spec: TableSpec::default(),
            unix_ms: 0,
        });
        world.change(Change::PipelineCreated {
            pipeline: PIPELINE,
            database: DatabaseId(1),
            name: "p".into(),
            table: 2,
            spec: Box::new(spec()),
            unix_ms: 0,
        });
        for (id, kafka_partition) in [(A, 0), (B, 1)] {
            world.change(Change::Paired {
                pairing: PairingRow {
                    leaf_partition: id.0,
                    table: 2,
                    pipeline: PIPELINE,
                    kafka_partition,
                    topic: "orders".into(),
                    topic_id: [1; 16],
                    owner: FIRST_NODE,
                    lineage: 1,
                    live_lineage: 1,
                    start_offset: 0,
                    end_offset: None,
                },
                generation: 1,
            });
        }
        world
    }

    fn change(&mut self, change: Change) {
        self.view.apply(&change).unwrap();
    }

    fn state(&mut self, state: PipelineState) {
        self.change(Change::PipelineState {
            pipeline: PIPELINE,
            state,
            failure: None,
        });
        self.ordered(&[A, B]);
    }

    fn ordered(&mut self, ids: &[LeafPartitionId]) -> Generation {
        let generation = self.view.next_generation();
        self.change(Change::Ordered {
            leaf_partitions: ids.iter().map(|id| id.0).collect(),
            generation,
        });
        Generation(generation)
    }

    fn plan(&mut self) -> Vec<String> {
        let mut orders = Vec::new();
        self.supervisor.plan(
            &self.view,
            &EngineVariables::default(),
            &mut |leaf, order| {
                orders.push(format!("{leaf} {}", short(&order)));
                true
            },
        );
        orders
    }

    fn hear(&mut self, report: Report) -> Heard {
        self.supervisor.hear(&self.view, &report, NOW_UNIX_MS)
    }

    fn attached(&mut self) {
        for id in [A, B] {
            self.hear(Report::Attached {
                leaf_partition: id.0,
                generation: 1,
                lineage: 1,
                durable: 50,
                recovery_us: 1,
                commits: 1,
                rows: 50,
            });
        }
    }

    fn reached(&mut self, id: LeafPartitionId, cursor: i64) -> Heard {
        let known = self.supervisor.known(id).unwrap();
        let (generation, goal) = (known.generation.0, known.goal);
        self.hear(Report::Reached {
            leaf_partition: id.0,
            generation,
            goal,
            cursor,
        })
    }

    fn restart(&mut self) {
        self.supervisor = Supervisor::new(FIRST_NODE, 2);
    }
}

fn spec() -> PipelineSpec {
    PipelineSpec {
        brokers: vec!["a".into()],
        topic: "orders".into(),
        config: BTreeMap::new(),
        batch_interval_ms: None,
        max_partitions_per_batch: None,
        max_retries_per_batch_partition: None,
        max_offsets_per_batch_partition: None,
        retry_options: None,
        skip_errors: SkipErrors::None,
        stop_on_error: None,
        mapping: JsonMapping { columns: vec![] },
        mapping_written: false,
    }
}

fn short(order: &Order) -> String {
    match order {
        Order::Attach {
            generation,
            pairing,
            settings,
            ..
        } => format!(
            "attach {} g{generation} l{} at {}{}",
            pairing.leaf_partition,
            pairing.lineage,
            pairing.start_offset,
            if settings.is_some() { "" } else { " read-only" }
        ),
        Order::Configure {
            leaf_partition,
            generation,
            ..
        } => format!("configure {leaf_partition} g{generation}"),
        Order::Goal {
            leaf_partition,
            generation,
            goal,
        } => match goal {
            Goal::Rewind {
                lineage,
                start_offset,
                ..
            } => format!("rewind {leaf_partition} g{generation} l{lineage} to {start_offset}"),
            goal => format!("{goal:?} {leaf_partition} g{generation}").to_lowercase(),
        },
        Order::Leader {
            leaf_partition,
            leader,
        } => format!("leader {leaf_partition} {}", leader.broker),
        order => format!("{order:?}"),
    }
}

fn leader(broker: i32, epoch: i32) -> Leader {
    Leader {
        broker,
        host: "h".into(),
        port: 9092,
        epoch,
    }
}

fn rewind(id: LeafPartitionId, generation: u64, lineage: u64, start_offset: i64) -> Change {
    Change::Lineage {
        leaf_partition: id.0,
        generation,
        lineage,
        live_lineage: 1,
        start_offset,
        topic_id: None,
    }
}

#[test]
fn the_first_plan_is_the_redo() {
    let mut world = World::new();
    world.state(PipelineState::Running);
    let first = world.plan();
    assert_eq!(
        first,
        [
            "0 attach 4 g2 l1 at 0",
            "1 attach 5 g2 l1 at 0",
            "0 run 4 g2",
            "1 run 5 g2"
        ]
    );
    assert_eq!(world.plan(), Vec::<String>::new(), "nothing twice");
    // Whatever was told before a crash is told again, and no more.
    world.restart();
    assert_eq!(world.plan(), first);
    world.state(PipelineState::Stopped);
    world.restart();
    assert_eq!(
        world.plan(),
        ["0 attach 4 g3 l1 at 0", "1 attach 5 g3 l1 at 0"]
    );
}

#[test]
fn a_crash_between_catalog_and_leaf_is_carried_out_at_the_next_start() {
    let mut world = World::new();
    world.state(PipelineState::Running);
    world.plan();
    world.attached();
    // ALTER ... SET OFFSETS is committed for one of two partitions; the process dies.
    let generation = world.view.next_generation();
    world.change(rewind(B, generation, 2, 7));
    world.restart();
    assert_eq!(
        world.plan(),
        [
            "0 attach 4 g2 l1 at 0",
            "1 attach 5 g3 l2 at 7",
            "0 run 4 g2",
            "1 run 5 g3"
        ]
    );
}

#[test]
fn set_offsets_that_reaches_one_of_two_leaves_reaches_the_other_later() {
    let mut world = World::new();
    world.state(PipelineState::Running);
    world.plan();
    world.attached();
    let drained = world.ordered(&[A, B]);
    for id in [A, B] {
        world.supervisor.hold(id, Held::Stopped);
    }
    assert_eq!(world.plan(), ["0 stop 4 g3", "1 stop 5 g3"]);
    for id in [A, B] {
        assert!(!world.supervisor.known(id).unwrap().rests(drained));
        world.reached(id, 60);
        assert!(world.supervisor.known(id).unwrap().rests(drained));
    }
    let generation = world.view.next_generation();
    world.change(rewind(A, generation, 2, 10));
    world.change(rewind(B, generation, 2, 20));
    for id in [A, B] {
        world.supervisor.release(id);
    }
    // The second leaf's queue is full.
    let mut sent = Vec::new();
    let (view, supervisor) = (&world.view, &mut world.supervisor);
    supervisor.plan(view, &EngineVariables::default(), &mut |leaf, order| {
        sent.push(short(&order));
        leaf == 0
    });
    assert_eq!(sent, ["rewind 4 g4 l2 to 10", "rewind 5 g4 l2 to 20"]);
    assert_eq!(world.plan(), ["1 rewind 5 g4 l2 to 20"]);
    // Run follows each rewind once it is reached, and not before.
    world.reached(A, 10);
    assert_eq!(world.plan(), ["0 run 4 g4"]);
    world.reached(B, 20);
    assert_eq!(world.plan(), ["1 run 5 g4"]);
    assert_eq!(world.supervisor.known(B).unwrap().durable, Some(Offset(20)));
}

#[test]
fn a_stop_without_room_on_the_disk_is_not_waited_for_and_is_reached_later() {
    let mut world = World::new();
    world.state(PipelineState::Running);
    world.plan();
    world.attached();
    let stopped = world.ordered(&[A, B]);
    world.supervisor.hold(A, Held::Stopped);
    world.plan();
    let no_room = |generation: u64| Report::NoRoom {
        leaf_partition: A.0,
        generation,
        failure: Failure {
            text: "the disk is full".into(),
            ..failure()
        },
    };
    let rests = |world: &World| world.supervisor.known(A).unwrap().rests(stopped);
    assert_eq!(world.hear(no_room(stopped.0 - 1)), Heard::Late);
    assert!(!rests(&world));
    assert_eq!(world.hear(no_room(stopped.0)), Heard::Noted);
    assert!(rests(&world));
    let known = world.supervisor.known(A).unwrap();
    assert_eq!(known.undrained().unwrap().text, "the disk is full");
    assert_eq!(known.failed, None, "and it loads on when it is started");
    world.reached(A, 60);
    assert!(rests(&world));
    assert_eq!(world.supervisor.known(A).unwrap().undrained(), None);
}

#[test]
fn a_stop_goes_by_a_lineage_that_waits_for_room_and_a_run_waits_for_it() {
    let mut world = World::new();
    world.state(PipelineState::Running);
    world.plan();
    world.attached();
    let generation = world.view.next_generation();
    world.change(rewind(A, generation, 2, 7));
    assert_eq!(world.plan(), ["0 rewind 4 g3 l2 to 7"]);
    let no_room = |generation: u64| Report::NoRoom {
        leaf_partition: A.0,
        generation,
        failure: failure(),
    };
    assert_eq!(world.hear(no_room(3)), Heard::Noted);
    assert_eq!(world.plan(), [""; 0], "it runs once it has begun");
    world.state(PipelineState::Stopped);
    assert_eq!(world.plan(), ["0 stop 4 g4", "1 stop 5 g4"]);
    assert_eq!(world.hear(no_room(4)), Heard::Noted);
    let known = |world: &World| world.supervisor.known(A).unwrap().clone();
    assert!(known(&world).rests(Generation(4)) && known(&world).stands < Lineage(2));
    // It begins, and stops behind that.
    world.hear(Report::Durable {
        leaf_partition: A.0,
        lineage: 2,
        offset: 7,
        leader_epoch: -1,
    });
    world.reached(A, 7);
    assert_eq!(known(&world).stands, Lineage(2));
    assert_eq!(known(&world).undrained(), None);
    // One that is stopped is told nothing more until somebody asks for it.
    world.change(rewind(A, world.view.next_generation(), 3, 9));
    assert_eq!(world.plan(), ["0 rewind 4 g5 l3 to 9"]);
    assert_eq!(world.hear(no_room(5)), Heard::Noted);
    assert_eq!(world.plan(), [""; 0]);
    world.reached(A, 9);
    assert_eq!(world.plan(), [""; 0]);
    assert_eq!(known(&world).undrained(), None);
}

#[test]
fn a_late_report_of_an_earlier_generation_changes_nothing() {
    let mut world = World::new();
    world.state(PipelineState::Running);
    world.plan();
    world.attached();
    let late = Report::Failed {
        leaf_partition: A.0,
        generation: 2,
        failure: failure(),
    };
    world.state(PipelineState::Stopped);
    assert_eq!(world.plan().len(), 2);
    assert_eq!(world.hear(late), Heard::Late);
    assert_eq!(
        world.hear(Report::Reached {
            leaf_partition: A.0,
            generation: 2,
            goal: Goal::Stop,
            cursor: 3,
        }),
        Heard::Late
    );
    assert_eq!(
        world.hear(Report::Durable {
            leaf_partition: A.0,
            lineage: 9,
            offset: 1,
            leader_epoch: 0,
        }),
        Heard::Late
    );
    let known = world.supervisor.known(A).unwrap();
    assert!(known.failed.is_none() && !known.reached);
    assert_eq!(known.durable, Some(Offset(50)));
}

fn failure() -> Failure {
    Failure {
        kind: FailureKind::Load,
        offset: 17,
        column: Some("price".into()),
        text: "no number".into(),
        deterministic: true,
        alone: false,
    }
}

#[test]
fn a_failure_stops_the_others_and_start_goes_on() {
    let mut world = World::new();
    world.state(PipelineState::Running);
    world.plan();
    world.attached();
    let heard = world.hear(Report::Failed {
        leaf_partition: A.0,
        generation: 2,
        failure: failure(),
    });
    assert!(matches!(
        heard,
        Heard::PipelineFailed {
            pipeline: PIPELINE,
            kafka_partition: 0,
            ..
        }
    ));
    world.state(PipelineState::Error);
    assert_eq!(world.plan(), ["0 stop 4 g3", "1 stop 5 g3"]);
    world.reached(A, 17);
    world.reached(B, 90);
    world.state(PipelineState::Running);
    assert_eq!(world.plan(), ["0 run 4 g4", "1 run 5 g4"]);
}

#[test]
fn a_foreground_goal_is_held_and_then_stopped() {
    let mut world = World::new();
    world.plan();
    world.attached();
    world.ordered(&[A, B]);
    world.supervisor.hold(
        A,
        Held::Foreground {
            batches_max: Some(2),
        },
    );
    let orders = world.plan();
    assert_eq!(orders[0], "0 foreground { batches_max: some(2) } 4 g2");
    assert_eq!(orders[1], "1 stop 5 g2");
    world.hear(Report::CaughtUp {
        leaf_partition: A.0,
        generation: 2,
        cursor: 70,
        rows: 20,
        rejects: 1,
    });
    assert_eq!(world.supervisor.known(A).unwrap().caught_up, Some((20, 1)));
    world.supervisor.release(A);
    assert_eq!(world.plan(), ["0 stop 4 g2"]);
}

#[test]
fn nothing_is_attached_of_a_table_that_is_dropping() {
    let mut world = World::new();
    world.change(Change::PipelineDropped { pipeline: PIPELINE });
    world.change(Change::TableDropping { table: 2 });
    world.ordered(&[A, B]);
    assert_eq!(world.plan(), [""; 0], "a start has unlinked it");
    assert!(world.supervisor.known(A).is_none());
}

#[test]
fn dropping_beats_everything_and_is_forgotten_when_gone() {
    let mut world = World::new();
    world.state(PipelineState::Running);
    world.plan();
    world.change(Change::PipelineDropped { pipeline: PIPELINE });
    world.change(Change::TableDropping { table: 2 });
    world.ordered(&[A, B]);
    assert_eq!(world.plan(), ["0 drop 4 g3", "1 drop 5 g3"]);
    world.reached(A, 0);
    world.change(Change::TableDropped { table: 2 });
    world.supervisor.forget(&world.view);
    assert_eq!(world.supervisor.served(), [0, 0]);
    assert_eq!(world.reached_unknown(), Heard::Late);
}

impl World {
    fn reached_unknown(&mut self) -> Heard {
        self.hear(Report::Reached {
            leaf_partition: B.0,
            generation: 3,
            goal: Goal::Drop,
            cursor: 0,
        })
    }
}

const ONE: TopicId = TopicId([1; 16]);
const OTHER: TopicId = TopicId([2; 16]);

#[test]
fn leaders_are_told_once_never_back_and_again_when_asked() {
    let mut world = World::new();
    world.state(PipelineState::Running);
    world.plan();
    world.supervisor.led(PIPELINE, 0, ONE, leader(1, 5));
    world.supervisor.led(PIPELINE, 1, ONE, leader(2, 5));
    assert_eq!(world.plan(), ["0 leader 4 1", "1 leader 5 2"]);
    world.supervisor.led(PIPELINE, 0, ONE, leader(2, 4));
    assert_eq!(world.plan(), Vec::<String>::new(), "an epoch never falls");
    assert!(matches!(
        world.hear(Report::LeaderUnknown {
            leaf_partition: A.0,
            epoch: 5
        }),
        Heard::Ask {
            question: Question::Leader,
            kafka_partition: 0,
            ..
        }
    ));
    world.supervisor.tell_leader_again(A);
    assert_eq!(world.plan(), ["0 leader 4 1"]);
    world.supervisor.led(PIPELINE, 0, ONE, leader(3, 6));
    assert_eq!(world.plan(), ["0 leader 4 3"]);
    // Of an old broker, which tells no id.
    world
        .supervisor
        .led(PIPELINE, 0, TopicId::default(), leader(2, 0));
    assert_eq!(world.plan(), ["0 leader 4 2"]);
}

/// A leaf that was told an epoch of the topic that is gone would take none of the present one's.
#[test]
fn a_leader_is_told_of_the_topic_that_is_paired_alone() {
    let mut world = World::new();
    world.state(PipelineState::Running);
    world.plan();
    world.supervisor.led(PIPELINE, 0, OTHER, leader(2, 5));
    assert_eq!(world.plan(), Vec::<String>::new());
    world.supervisor.led(PIPELINE, 0, ONE, leader(3, 0));
    assert_eq!(world.plan(), ["0 leader 4 3"], "its epochs are its own");
}

#[test]
fn a_partition_that_fails_by_itself_leaves_the_others_running_until_the_last() {
    let mut world = World::new();
    world.state(PipelineState::Running);
    world.plan();
    world.attached();
    let failed = |leaf_partition: LeafPartitionId| Report::Failed {
        leaf_partition: leaf_partition.0,
        generation: 2,
        failure: Failure {
            alone: true,
            deterministic: false,
            ..failure()
        },
    };
    let heard = world.hear(failed(A));
    assert!(
        matches!(
            heard,
            Heard::PartitionFailed {
                pipeline: PIPELINE,
                kafka_partition: 0,
                ..
            }
        ),
        "{heard:?}"
    );
    assert!(world.plan().is_empty());
    assert_eq!(world.supervisor.failed(&world.view, PIPELINE), [A]);
    assert_eq!(
        world.supervisor.known(A).unwrap().failed_unix_ms,
        NOW_UNIX_MS
    );
    // None is left: the pipeline has failed.
    let heard = world.hear(failed(B));
    assert!(matches!(heard, Heard::PipelineFailed { .. }), "{heard:?}");
    assert_eq!(world.supervisor.failed(&world.view, PIPELINE), [A, B]);
    // A failure that is the pipeline's is none that START tries again while it runs: it is on its way to Error.
    world.hear(Report::Failed {
        leaf_partition: B.0,
        generation: 2,
        failure: failure(),
    });
    assert_eq!(world.supervisor.failed(&world.view, PIPELINE), [A]);
}

#[test]
fn rows_of_a_dropped_pipeline_are_served_read_only() {
    let mut world = World::new();
    world.change(Change::PipelineDropped { pipeline: PIPELINE });
    assert_eq!(
        world.plan(),
        [
            "0 attach 4 g1 l1 at 0 read-only",
            "1 attach 5 g1 l1 at 0 read-only"
        ]
    );
    assert!(matches!(
        world.hear(Report::Failed {
            leaf_partition: A.0,
            generation: 1,
            failure: failure()
        }),
        Heard::Unreadable { .. }
    ));
}
