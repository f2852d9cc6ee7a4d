//! Leaders and their epochs: whose log an answer speaks of.

use ingest::leaf::Event;
use ingest::leaf::order::{Goal, Leader, Order, Report};

use crate::rig::{PARTITION, Rig, Said, Setup, rows};

/// Ten rows of leader epoch 0, committed.
fn loaded(name: &'static str) -> Rig {
    let mut rig = Rig::new(Setup::new(name));
    rig.run(Goal::Run);
    rig.answer(&Said::records(10, &[rows(0, 10)]));
    rig.pass(200);
    assert_eq!((rig.visible(), rig.failed()), (10, None));
    rig.reports.clear();
    rig
}

fn led(rig: &mut Rig, epoch: i32) {
    let leader = Leader {
        broker: 1,
        host: "broker".to_owned(),
        port: 9_092,
        epoch,
    };
    rig.on(Event::Order(Order::Leader {
        leaf_partition: PARTITION,
        leader,
    }));
    rig.settle();
}

fn answered(rig: &mut Rig, leader_epoch: i32, end_offset: i64) {
    rig.on(Event::Order(Order::EpochEnd {
        leaf_partition: PARTITION,
        leader_epoch,
        epoch: 0,
        end_offset,
    }));
    rig.settle();
}

/// The leader epochs that were asked of where epoch 0 ends.
fn asked(rig: &Rig) -> Vec<i32> {
    let asked = rig.reports.iter().filter_map(|report| match report {
        Report::EpochUnchecked { leader_epoch, .. } => Some(*leader_epoch),
        _ => None,
    });
    asked.collect()
}

#[test]
fn the_answer_of_a_leader_that_is_none_any_more_says_nothing_of_the_next_ones_log() {
    let mut rig = loaded("stale-epoch-end");
    led(&mut rig, 1);
    led(&mut rig, 2);
    assert_eq!(asked(&rig), [1, 2]);
    let fetches = rig.fetches.len();
    // Leader 1 had all of it; the log of leader 2, elected uncleanly, ends below the cursor.
    answered(&mut rig, 1, 10);
    rig.pass(100);
    assert_eq!(rig.fetches.len(), fetches, "nothing is fetched unchecked");
    answered(&mut rig, 2, 4);
    let failure = rig.failed().expect("it diverged");
    assert!(failure.text.contains("diverged"), "{}", failure.text);
    assert!(failure.text.contains("offsets 4 to 9"), "{}", failure.text);
}

#[test]
fn the_answer_of_a_leader_that_is_not_known_yet_makes_it_known_and_asked() {
    let mut rig = loaded("early-epoch-end");
    led(&mut rig, 1);
    answered(&mut rig, 2, 10);
    let unknown = |report: &Report| matches!(report, Report::LeaderUnknown { epoch: 1, .. });
    assert!(rig.reports.iter().any(unknown), "{:?}", rig.reports);
    led(&mut rig, 2);
    assert_eq!(asked(&rig), [1, 2]);
    answered(&mut rig, 2, 10);
    // The fetch that was on its way when the leader changed is void.
    rig.answer(&Said::nothing(10));
    rig.answer(&Said::records(12, &[rows(10, 2)]));
    assert_eq!((rig.visible(), rig.failed()), (12, None));
}
