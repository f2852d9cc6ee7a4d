//! Which lane a partition is on: one of its own where it must be, and nothing is lost where it moves.

use ingest::kafka::ErrorCode;
use ingest::leaf::order::Goal;
use ingest::limits;

use crate::rig::{Rig, Said, Setup, rows};
use crate::told::attach;

/// A request names a Kafka partition once: who reads the same one has a connection of its own, however many they are.
#[test]
fn each_leaf_partition_of_one_kafka_partition_has_a_connection_of_its_own() {
    let mut rig = Rig::new(Setup::new("lanes-copies"));
    rig.run(Goal::Run);
    for leaf_partition in [71, 72, 73] {
        attach(&mut rig, |_, pairing| {
            pairing.leaf_partition = leaf_partition;
        });
        rig.goal_of(leaf_partition, Goal::Run);
        rig.run_one(leaf_partition);
    }
    assert_eq!(rig.connected(), 4);
    let asked: Vec<_> = rig.fetches.iter().map(|fetch| &fetch.asked[..]).collect();
    assert_eq!(asked, [[(0, 0)]; 4]);
    for _ in 0..4 {
        rig.answer(&Said::records(4, &[rows(0, 4)]));
    }
    assert_eq!([1, 71, 72, 73].map(|id| rig.visible_of(id)), [4; 4]);
}

/// Records of it wait, and what it asked behind them is refused for now.
fn waits_with_records(name: &'static str) -> Rig {
    let mut rig = Rig::new(Setup::new(name));
    rig.run(Goal::Run);
    rig.hold_turns = true;
    rig.answer(&Said::records(9, &[rows(0, 4)]));
    assert_eq!(rig.fetches[0].asked, [(0, 4)]);
    let refused = [(0, ErrorCode::KafkaStorageError, &Said::nothing(9))];
    rig.answer_with(0, &refused);
    assert_eq!((rig.visible(), rig.fetches.len()), (0, 0));
    rig
}

#[test]
fn who_stays_on_its_lane_asks_for_nothing_twice() {
    let mut rig = waits_with_records("lanes-stays");
    rig.pass(limits::RETRIABLE_FIRST_MS);
    assert_eq!((rig.connected(), rig.addresses.len()), (1, 1));
    assert_eq!(rig.fetches[0].asked, [(0, 4)]);
    rig.hold_turns = false;
    rig.answer(&Said::records(9, &[rows(4, 5)]));
    assert_eq!((rig.visible(), rig.failed()), (9, None));
}

/// In the foreground it has a connection of its own: the other one closes, and the records with it. They were passed
/// over, and counted as a gap.
#[test]
fn who_moves_to_another_lane_asks_anew_for_what_waits_on_the_one_it_leaves() {
    let mut rig = waits_with_records("lanes-moves");
    rig.goal(Goal::Foreground { batches_max: None });
    rig.pass(limits::RETRIABLE_FIRST_MS);
    assert_eq!((rig.connected(), rig.addresses.len()), (1, 2));
    assert_eq!(rig.fetches[0].asked, [(0, 0)]);
    rig.hold_turns = false;
    rig.answer(&Said::records(9, &[rows(0, 4), rows(4, 5)]));
    rig.pass(200);
    let counts = rig.counts();
    assert_eq!((rig.visible(), counts.loaded, counts.gap), (9, 9, 0));
}
