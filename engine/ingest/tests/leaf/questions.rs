//! What only the aggregator knows: how often it is asked, and which answers count.

use ingest::kafka::ErrorCode;
use ingest::leaf::order::{FailureKind, Goal};
use ingest::limits;

use crate::rig::{PARTITION, Rig, Said, Setup, rows};
use crate::told::{attach, epoch_end, leaders_asked, led, log_range, ranges_asked};

fn running(name: &'static str) -> Rig {
    let mut rig = Rig::new(Setup::new(name));
    rig.run(Goal::Run);
    rig
}

/// The oldest fetch is answered with an error, and no time passes.
fn refuse(rig: &mut Rig, error: ErrorCode) {
    rig.answer_at_once(0, &[(0, error, &Said::nothing(-1))]);
}

/// A topic of a thousand partitions is one question, and its answer names all of them.
#[test]
fn who_leads_a_topics_partitions_is_asked_one_at_a_time() {
    let mut setup = Setup::new("asked-one-at-a-time");
    setup.partitions = 3;
    let mut rig = Rig::new(setup);
    rig.goal(Goal::Run);
    let interval_us = limits::ASK_INTERVAL_MS * 1_000;
    for times in 1..=3 {
        let asked = leaders_asked(&rig);
        let expected: Vec<(u64, i32)> = (1..=times).map(|one| (one, -1)).collect();
        assert_eq!(asked, expected);
        if times < 3 {
            let passed_us = rig.wake_until(|rig| leaders_asked(rig).len() > asked.len());
            assert_eq!(passed_us, interval_us);
        }
    }
}

#[test]
fn a_leader_that_is_told_once_more_has_nothing_asked_anew() {
    let mut rig = running("told-once-more");
    refuse(&mut rig, ErrorCode::OffsetOutOfRange);
    assert_eq!(ranges_asked(&rig), [0]);
    rig.run_one(PARTITION);
    assert_eq!(ranges_asked(&rig), [0]);
}

/// The aggregator may have asked a broker that has not heard of it either: the one that said that it leads no more
/// would be asked as fast as the two of them answer.
#[test]
fn one_that_says_it_leads_no_more_is_asked_again_after_a_pause_where_nobody_else_is_known() {
    let mut rig = running("leads-no-more");
    for pause_ms in [100, 200, 400] {
        refuse(&mut rig, ErrorCode::NotLeaderOrFollower);
        rig.run_one(PARTITION);
        assert_eq!(rig.fetches.len(), 0);
        let passed_us = rig.wake_until(|rig| !rig.fetches.is_empty());
        assert_eq!(passed_us, pause_ms * 1_000);
    }
    // The pause was over when the answer came.
    refuse(&mut rig, ErrorCode::NotLeaderOrFollower);
    rig.pass(800);
    assert_eq!(rig.fetches.len(), 0);
    rig.run_one(PARTITION);
    assert_eq!(rig.fetches.len(), 1);
    // Another one is asked at once.
    refuse(&mut rig, ErrorCode::NotLeaderOrFollower);
    led(&mut rig, 1);
    assert_eq!(rig.fetches.len(), 1);
}

#[test]
fn what_is_refused_is_asked_again_after_the_pipelines_own_pauses() {
    let mut setup = Setup::new("own-pauses");
    setup.settings.retry_interval_ms = 70;
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    for pause_ms in [70, 140, 280, 560] {
        refuse(&mut rig, ErrorCode::TopicAuthorizationFailed);
        assert_eq!((rig.fetches.len(), rig.failed()), (0, None));
        let passed_us = rig.wake_until(|rig| !rig.fetches.is_empty());
        assert_eq!(passed_us, pause_ms * 1_000);
    }
}

/// Whether its log is the same one is asked first: what the leader before it sent may be in it no more.
#[test]
fn what_the_leader_before_sent_is_void() {
    for arrives_before in [false, true] {
        let mut rig = running("leader-before");
        rig.answer(&Said::records(10, &[rows(0, 10)]));
        rig.hold_turns = true;
        let sent = Said::records(12, &[rows(10, 2)]);
        if arrives_before {
            rig.answer(&sent);
        }
        led(&mut rig, 1);
        if !arrives_before {
            rig.answer(&sent);
        }
        rig.hold_turns = false;
        rig.pass(30);
        assert_eq!((rig.visible(), rig.failed()), (10, None));
        epoch_end(&mut rig, 1, 10);
        if arrives_before {
            // What was asked for behind it is void as well.
            rig.answer(&Said::records(14, &[rows(12, 2)]));
        }
        assert_eq!(rig.fetches[0].asked, [(0, 10)]);
        rig.answer(&Said::records(12, &[rows(10, 2)]));
        assert_eq!((rig.visible(), rig.failed()), (12, None));
        assert_eq!(rig.attached().view.snapshot().rows(), 12);
    }
}

/// The answer to an earlier question at the same cursor: records that were fetched since are no lost ones.
#[test]
fn what_is_fetched_is_loaded_before_a_range_says_that_it_is_lost() {
    let mut rig = running("fetched-before-lost");
    rig.answer(&Said::records(8, &[rows(0, 4)]));
    rig.hold_turns = true;
    rig.answer(&Said::records(8, &[rows(4, 4)]));
    refuse(&mut rig, ErrorCode::OffsetOutOfRange);
    log_range(&mut rig, 50, 60);
    assert_eq!((rig.visible(), rig.failed()), (4, None));
    rig.hold_turns = false;
    rig.pass(30);
    assert_eq!((rig.visible(), rig.failed()), (8, None));
    assert_eq!(ranges_asked(&rig), [8]);
    log_range(&mut rig, 50, 60);
    let failure = rig.failed().expect("they are lost");
    assert_eq!((failure.kind, failure.offset), (FailureKind::Extract, 8));
    assert!(failure.text.starts_with("offsets 8 to 49 (42 of them)"));
}

#[test]
fn a_range_that_nobody_waits_for_changes_nothing() {
    let mut rig = running("range-unasked");
    rig.answer(&Said::records(4, &[rows(0, 4)]));
    log_range(&mut rig, 50, 60);
    assert_eq!((rig.visible(), rig.failed()), (4, None));
    assert_eq!(rig.fetches.len(), 1);
    // What is on its way is still wanted.
    rig.answer(&Said::records(8, &[rows(4, 4)]));
    assert_eq!((rig.visible(), rig.failed()), (8, None));
}

#[test]
fn nothing_is_lost_where_the_log_begins_or_ends_just_at_the_cursor() {
    for range in [(4, 9), (0, 4), (4, 4)] {
        let mut rig = running("range-at-the-cursor");
        rig.answer(&Said::records(4, &[rows(0, 4)]));
        refuse(&mut rig, ErrorCode::OffsetOutOfRange);
        log_range(&mut rig, range.0, range.1);
        assert_eq!((rig.visible(), rig.failed()), (4, None), "{range:?}");
        rig.answer(&Said::records(9, &[rows(4, 5)]));
        assert_eq!((rig.visible(), rig.failed()), (9, None), "{range:?}");
    }
}

/// Its answer is on its way while another one takes its place: those rows are none of its.
#[test]
fn what_was_asked_for_one_that_is_dropped_is_not_loaded_into_the_one_in_its_place() {
    let mut setup = Setup::new("in-its-place");
    setup.partitions = 2;
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    let dropped = rig.leaf.partition(2).expect("attached").slot;
    rig.goal_of(2, Goal::Drop);
    assert!(rig.leaf.partition(2).is_none());
    attach(&mut rig, |_, pairing| {
        (pairing.leaf_partition, pairing.kafka_partition) = (77, 5);
    });
    rig.goal_of(77, Goal::Run);
    rig.run_one(77);
    let slot = rig.leaf.partition(77).expect("attached").slot;
    assert_eq!(slot.index, dropped.index);
    assert_ne!(slot, dropped);
    assert_eq!(rig.fetches[0].asked.len(), 2, "it was asked before");
    rig.answer(&Said::records(4, &[rows(0, 4)]));
    assert_eq!([1, 77].map(|id| rig.visible_of(id)), [4, 0]);
}
