//! A broker's connections, leaders and answers: which of them are of now, and what an answer ends.

use std::sync::atomic::Ordering;

use ingest::kafka::ErrorCode;
use ingest::leaf::Event;
use ingest::leaf::order::Goal;
use ingest::leaf::rows::Row;
use ingest::limits;
use ingest::pipeline::SkipErrors;

use crate::rig::{PARTITION, Part, Rig, Said, Setup, batch, rows};
use crate::told::{leaders_asked, led_by};

/// The port's word of a connection may be late: another one is up by then.
#[test]
fn what_comes_of_a_connection_that_is_none_any_more_is_not_heard() {
    let mut rig = Rig::new(Setup::new("late-connection"));
    rig.run(Goal::Run);
    let old = rig.connection();
    rig.break_connection("gone");
    rig.pass(200);
    let new = rig.connection();
    assert_eq!(new.lane, old.lane);
    assert_eq!((old.attempt, new.attempt), (1, 2));
    assert_eq!(rig.leaf.rows().of(Row::ConnectionLost), 1);
    assert_eq!(rig.leaf.space(old).len(), 0, "nothing is read of it");
    for late in [
        Event::Connected(old),
        Event::Received(old, 7),
        Event::Lost(old, "late".to_owned()),
    ] {
        rig.on(late);
        rig.settle();
    }
    assert_eq!(rig.leaf.rows().of(Row::ConnectionLost), 1);
    assert_eq!(rig.connection(), new);
    rig.answer(&Said::records(4, &[rows(0, 4)]));
    assert_eq!((rig.visible(), rig.failed()), (4, None));
}

#[test]
fn a_connection_that_breaks_takes_what_was_asked_on_it_alone() {
    let mut setup = Setup::new("breaks-alone");
    (setup.partitions, setup.brokers) = (2, 2);
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    assert_eq!(rig.fetches.len(), 2);
    let broken = rig.connection();
    rig.break_connection("gone");
    assert_ne!(rig.connection(), broken);
    assert_eq!(rig.leaf.rows().of(Row::ConnectionLost), 1);
    assert_eq!(rig.fetches.len(), 1);
    let other = u64::from(rig.fetches[0].asked == [(1, 0)]) + PARTITION;
    rig.answer(&Said::records(4, &[rows(0, 4)]));
    assert_eq!(rig.visible_of(other), 4);
    assert_eq!(rig.leaf.rows().of(Row::Stale), 0);
}

/// Part of an answer is none: what it brought is asked for anew with the rest.
#[test]
fn a_connection_that_breaks_within_an_answer_was_asked_something() {
    let mut rig = Rig::new(Setup::new("breaks-within"));
    rig.run(Goal::Run);
    let both = Said::records(8, &[rows(0, 4), rows(4, 4)]);
    let (connection, bytes) =
        rig.response(0, ErrorCode::None, 0, &[(0, ErrorCode::None, &both)], None);
    rig.arrive(connection, &bytes[..bytes.len() - rows(4, 4).len()]);
    assert_eq!(rig.visible(), 4);
    rig.break_connection("gone");
    assert_eq!(rig.leaf.rows().of(Row::ConnectionLost), 1);
    rig.pass(200);
    assert_eq!(rig.fetches[0].asked, [(0, 4)]);
}

/// Each of a topic's partitions that is refused would ask who leads: one question answers for all.
#[test]
fn who_leads_is_asked_at_once_for_a_topic_and_again_when_it_may_be() {
    let mut setup = Setup::new("asks-once");
    setup.partitions = 2;
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    rig.pass(1_000);
    rig.reports.clear();
    let nothing = Said::nothing(0);
    let refused: [Part<'_>; 2] = [0, 1].map(|at| (at, ErrorCode::KafkaStorageError, &nothing));
    rig.answer_at_once(0, &refused);
    assert_eq!(leaders_asked(&rig), [(1, 0)]);
    // The pause is as long as a topic's question holds.
    let passed_us = rig.wake_until(|rig| !rig.fetches.is_empty());
    assert_eq!(passed_us, limits::ASK_INTERVAL_MS * 1_000);
    rig.answer_at_once(0, &refused);
    assert_eq!(leaders_asked(&rig), [(1, 0), (1, 0)]);
}

#[test]
fn an_earlier_epochs_leader_is_not_taken_and_one_that_moved_within_its_epoch_is() {
    let mut rig = Rig::new(Setup::new("leaders"));
    rig.goal(Goal::Run);
    for (epoch, port, taken) in [
        (5, 1, 1),
        (4, 2, 1),
        (5, 3, 3),
        (5, 3, 3),
        // A broker that knows of no epochs.
        (-1, 4, 4),
        (3, 5, 5),
        (6, 6, 6),
    ] {
        led_by(&mut rig, ("broker", port), epoch);
        let leader = rig.attached().standing.leader.load_full();
        let leader = leader.expect("it was told");
        assert_eq!(leader.port, taken, "epoch {epoch} at port {port}");
    }
}

#[test]
fn refusals_count_in_a_row_and_an_answer_ends_the_row() {
    let mut rig = Rig::new(Setup::new("in-a-row"));
    rig.run(Goal::Run);
    let nothing = Said::nothing(0);
    let refused = ErrorCode::TopicAuthorizationFailed;
    let retriable = ErrorCode::KafkaStorageError;
    let retries = |rig: &Rig| rig.attached().standing.retries.load(Ordering::Relaxed);
    // Four retries are allowed: more than as many refusals, no two in a row of one kind.
    for round in 0..6 {
        for (code, times) in [(refused, 1), (refused, 2), (retriable, 2)] {
            let part: [Part<'_>; 1] = [(0, code, &nothing)];
            rig.answer_with(0, &part);
            rig.pass(30);
            assert_eq!(retries(&rig), times, "round {round}");
            rig.pass(2_000);
        }
        rig.answer(&nothing);
        rig.pass(30);
        assert_eq!((retries(&rig), rig.failed()), (0, None), "round {round}");
    }
    for _ in 0..5 {
        assert_eq!(rig.failed(), None);
        rig.answer_with(0, &[(0, refused, &nothing)]);
        rig.pass(2_000);
    }
    let failure = rig.failed().expect("refused five times in a row");
    assert!(
        failure.text.ends_with("also after 4 retries"),
        "{}",
        failure.text
    );
}

#[test]
fn a_leader_that_moved_and_a_topic_that_is_unknown_are_told_apart() {
    let mut rig = Rig::new(Setup::new("moved-or-unknown"));
    rig.run(Goal::Run);
    let nothing = Said::nothing(-1);
    for (code, counts) in [
        (ErrorCode::NotLeaderOrFollower, (1, 0)),
        (ErrorCode::UnknownTopicOrPartition, (1, 1)),
    ] {
        rig.answer_with(0, &[(0, code, &nothing)]);
        let of = |row| rig.leaf.rows().of(row);
        assert_eq!((of(Row::LeaderMoved), of(Row::TopicUnknown)), counts);
        rig.run(Goal::Run);
        rig.pass(3_000);
    }
}

/// One that is named last each time would get what room the others leave.
#[test]
fn each_partition_is_named_first_in_its_turn() {
    let mut setup = Setup::new("named-first");
    setup.partitions = 3;
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    let mut first = Vec::new();
    for _ in 0..6 {
        first.push(rig.fetches[0].asked[0].0);
        rig.answer(&Said::nothing(0));
    }
    assert_eq!(first, [1, 2, 0, 1, 2, 0]);
}

#[test]
fn nothing_is_asked_for_behind_a_range_whose_last_records_are_on_their_way() {
    let mut setup = Setup::new("whole-range");
    setup.end_offset = Some(6);
    let mut rig = Rig::new(setup);
    rig.hold_turns = true;
    rig.run(Goal::Run);
    rig.answer(&Said::records(12, &[rows(0, 6)]));
    rig.pass(200);
    assert_eq!((rig.visible(), rig.fetches.len()), (0, 0));
    rig.hold_turns = false;
    rig.settle();
    assert_eq!((rig.visible(), rig.fetches.len()), (6, 0));
    assert_eq!(rig.words(), "Ended: the handed-over range is loaded");
}

#[test]
fn what_an_answer_says_of_the_log_and_of_its_messages_is_shown() {
    let mut setup = Setup::new("shown");
    setup.settings.stop_on_error = false;
    setup.settings.skip_errors = SkipErrors::None;
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    let shown = |rig: &Rig| {
        let standing = &rig.attached().standing;
        (
            standing.log_start_offset.load(Ordering::Relaxed),
            standing.last_timestamp_ms.load(Ordering::Relaxed),
            standing.skipped.load(Ordering::Relaxed),
        )
    };
    assert_eq!(shown(&rig), (-1, -1, 0));
    rig.answer(&Said::nothing(0));
    assert_eq!(shown(&rig), (0, -1, 0));
    rig.answer(&Said::records(4, &[rows(0, 4)]));
    assert_eq!(shown(&rig), (0, 1_700_000_000_000, 0));
    // Two ranges are given up, of three messages in all.
    for (base, messages) in [(4, &["{", "{}"][..]), (6, &["{"])] {
        rig.answer(&Said::records(7, &[batch(base, messages)]));
    }
    rig.pass(200);
    assert_eq!(shown(&rig), (0, 1_700_000_000_000, 2));
    assert_eq!(rig.counts().skipped, 3);
}

#[test]
fn who_is_attached_is_seen_until_he_is_dropped() {
    let mut setup = Setup::new("seen");
    setup.partitions = 3;
    let mut rig = Rig::new(setup);
    assert_eq!(rig.seen(), [1, 2, 3]);
    rig.goal_of(2, Goal::Drop);
    assert_eq!(rig.seen(), [1, 3]);
}
