//! Memory that queries hold: they say nothing when they let it go, so whoever waits for a block looks for one.

use ingest::kafka::ErrorCode;
use ingest::leaf::order::{Goal, Report};
use ingest::limits;
use storage::published::Snapshot;

use crate::rig::{Rig, Said, Setup, batch};

/// Queries hold all blocks of a leaf: each what it was shown when one more message of 1 MiB was sent, the last of which
/// waits.
pub fn all_held(mut setup: Setup) -> (Rig, Vec<Snapshot>) {
    setup.memory_bytes = 8 << 20;
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    let message = format!("{{\"s0\":\"{}\"}}", "x".repeat(1 << 20));
    let (mut held, mut offset) = (Vec::new(), 0);
    while rig.visible() == offset && offset < 20 {
        rig.answer(&Said::records(30, &[batch(offset, &[&message])]));
        offset += 1;
        held.push(rig.attached().view.snapshot());
        rig.pass(100);
    }
    assert_eq!(rig.visible(), offset - 1);
    (rig, held)
}

/// The same; the pipeline was stopped, and runs again.
fn held(name: &'static str) -> (Rig, Vec<Snapshot>) {
    let mut setup = Setup::new(name);
    setup.settings.max_retries_per_batch_partition = 0;
    let (mut rig, held) = all_held(setup);
    rig.goal(Goal::Stop);
    rig.pass(1_000);
    rig.run(Goal::Run);
    rig.pass(1_000);
    (rig, held)
}

fn stopped(rig: &Rig) -> bool {
    let stop = |report: &Report| {
        matches!(
            report,
            Report::Reached {
                goal: Goal::Stop,
                ..
            }
        )
    };
    rig.reports.iter().any(stop)
}

/// It has an error to write down, and no block for it: the stop waits for that, and looks for one again and again.
#[test]
fn a_stop_that_waits_for_a_block_goes_on_when_a_query_lets_one_go() {
    let (mut rig, mut held) = held("stop-waits-for-a-block");
    let refused = [(0, ErrorCode::TopicAuthorizationFailed, &Said::nothing(30))];
    rig.answer_with(0, &refused);
    assert!(rig.failed().is_some());
    rig.reports.clear();
    rig.goal(Goal::Stop);
    assert_eq!(rig.words(), "Draining");
    let again_us = limits::MEMORY_AGAIN_MS * 1_000;
    // What is shown, and freshness, are woken for first.
    for _ in 0..100 {
        rig.wake();
    }
    for _ in 0..10 {
        assert_eq!(rig.wake(), again_us);
        // Other events in between bring it no nearer and put it off no longer.
        rig.pass(4);
        assert_eq!(rig.wake(), again_us - 4_000);
        assert_eq!(rig.wake(), again_us);
    }
    assert!(!stopped(&rig));
    held.remove(0);
    let passed_us = rig.wake_until(stopped);
    assert!(passed_us <= again_us, "after {passed_us} us");
    let rejects = rig.attached().view.snapshot().rejects().count();
    assert_eq!(rejects, 1, "what failed is in the history");
}
