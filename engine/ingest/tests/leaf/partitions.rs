//! Which partitions an answer names: each that was asked for once, and nothing of one is lost for another.

use ingest::kafka::ErrorCode;
use ingest::leaf::order::Goal;

use crate::rig::{Part, Rig, Said, Setup, rows};

const GOOD: ErrorCode = ErrorCode::None;

/// What the oldest fetch asks.
fn asked(rig: &Rig) -> Vec<(i32, i64)> {
    let mut asked = rig.fetches[0].asked.clone();
    asked.sort_unstable();
    asked
}

fn two(name: &'static str) -> Rig {
    let mut setup = Setup::new(name);
    setup.partitions = 2;
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    assert_eq!(asked(&rig), [(0, 0), (1, 0)]);
    rig
}

/// The lane is closed for it, and both are asked for again.
fn refused(rig: &mut Rig, parts: &[Part<'_>]) {
    rig.answer_with(0, parts);
    assert_eq!(rig.fetches.len(), 0, "the connection is closed");
    assert_eq!(rig.failed(), None);
    rig.run(Goal::Run);
    rig.pass(5_000);
    assert_eq!(asked(rig), [(0, 0), (1, 0)]);
    rig.answer(&Said::records(4, &[rows(0, 4)]));
    assert_eq!(rig.visible(), 4);
}

#[test]
fn a_partition_that_is_answered_twice_closes_the_lane() {
    let (some, nothing) = (Said::records(4, &[rows(0, 4)]), Said::nothing(4));
    let mut rig = two("twice");
    refused(&mut rig, &[(0, GOOD, &nothing), (0, GOOD, &some)]);
    // What was answered with an error has passed: more of it would be void, and memory without a bound.
    let mut rig = two("twice-moved");
    let moved = ErrorCode::NotLeaderOrFollower;
    refused(&mut rig, &vec![(0, moved, &nothing); 10_000]);
}

#[test]
fn partitions_in_another_order_are_loaded_and_one_left_out_is_asked_for_again() {
    let mut rig = two("order");
    let some = Said::records(4, &[rows(0, 4)]);
    let nothing = Said::nothing(4);
    rig.answer_with(0, &[(1, GOOD, &nothing), (0, GOOD, &some)]);
    assert_eq!(rig.visible(), 4);
    rig.answer_with(0, &[(1, GOOD, &nothing)]);
    rig.pass(10);
    assert_eq!(asked(&rig), [(0, 4), (1, 0)]);
}
