//! When the leaf wants to be woken: never later because somebody asked late.

use ingest::kafka::ErrorCode;
use ingest::leaf::Event;
use ingest::leaf::order::{Goal, Order, Report};
use ingest::leaf::rows::Row;
use ingest::limits;

use crate::rig::{Rig, Said, Setup, rows};
use crate::told::{attach, leaders_asked, ranges_asked};

/// A leaf that has just taken four rows: its next fetch waits for a pause.
fn answered(name: &'static str) -> Rig {
    let mut rig = Rig::new(Setup::new(name));
    rig.hold_disk = true;
    rig.run(Goal::Run);
    let some = Said::records(4, &[rows(0, 4)]);
    rig.answer_at_once(0, &[(0, ErrorCode::None, &some)]);
    // What is due at the moment is done.
    rig.pass(0);
    assert_eq!((rig.visible(), rig.fetches.len()), (4, 0));
    rig
}

/// The thread was held up between an event and the question: what fell due meanwhile is overdue and
/// not forgotten. It was: the next fetch left with whatever happened next, up to a second later.
#[test]
fn a_pause_that_ends_before_anybody_asks_is_still_a_deadline() {
    let mut rig = answered("late-pause");
    let due_us = rig.leaf.deadline_us().expect("a pause ends");
    assert!(due_us > rig.now.us && due_us <= rig.now.us + 1_000);
    rig.now.us += 50_000;
    assert_eq!(rig.leaf.deadline_us(), Some(due_us));
    rig.pass(0);
    assert_eq!(rig.fetches.len(), 1, "it left with the tick");
}

/// The aggregator takes none now: they are offered again, and the leaf wants to be woken for that.
#[test]
fn reports_that_nobody_takes_wait() {
    let mut rig = Rig::new(Setup::new("reports-wait"));
    assert!(!rig.leaf.has_reports() && !rig.leaf.is_ended());
    let mut effects = Vec::new();
    let end = Event::Order(Order::Shutdown);
    rig.leaf.on(rig.now, end, &mut effects);
    assert!(rig.leaf.has_reports());
    rig.leaf.reports(Err);
    assert!(rig.leaf.has_reports());
    let mut reports = Vec::new();
    rig.leaf.reports(|report| {
        reports.push(report);
        Ok(())
    });
    assert_eq!(reports.last(), Some(&Report::Ended));
    assert!(!rig.leaf.has_reports());
    assert!(rig.leaf.is_ended());
    assert_eq!(rig.leaf.deadline_us(), None);
}

/// While it ends, what is attached would begin what nobody ends.
#[test]
fn an_order_behind_the_last_is_not_taken() {
    let mut rig = answered("orders-behind-the-end");
    rig.on(Event::Order(Order::Shutdown));
    assert!(!rig.leaf.is_ended(), "its rows are not durable yet");
    attach(&mut rig, |_, pairing| pairing.leaf_partition = 2);
    assert!(rig.leaf.partition(2).is_none());
    rig.hold_disk = false;
    rig.settle();
    rig.pass(200);
    assert!(rig.leaf.is_ended());
    assert_eq!(rig.reports.last(), Some(&Report::Ended));
}

fn count(rig: &Rig, row: Row) -> u64 {
    rig.leaf.rows().of(row)
}

/// Nothing happens but what time brings: a commit and its sync are due when their ages say, to the millisecond.
#[test]
fn commits_and_syncs_come_in_time_though_nothing_else_happens() {
    let mut rig = Rig::new(Setup::new("woken"));
    rig.run(Goal::Run);
    let ages_us = 100_000..=101_000;
    for round in 1..=3 {
        let base = (round - 1) * 4;
        let some = Said::records(base + 4, &[rows(base, 4)]);
        rig.answer_at_once(0, &[(0, ErrorCode::None, &some)]);
        assert_eq!(rig.visible(), base + 4);
        let round = round as u64;
        let committed_us = rig.wake_until(|rig| count(rig, Row::Committed) == round);
        assert!(ages_us.contains(&committed_us), "after {committed_us} us");
        let durable_us = rig.wake_until(|rig| count(rig, Row::Durable) == round);
        assert!(ages_us.contains(&durable_us), "after {durable_us} us");
    }
}

#[test]
fn freshness_is_shown_in_time_though_nothing_else_happens() {
    let mut rig = Rig::new(Setup::new("woken-fresh"));
    rig.run(Goal::Run);
    let shown = |rig: &Rig| rig.views.freshness().len();
    let mut at_us = Vec::new();
    for round in 1..=3_i64 {
        rig.wake_until(|rig| !rig.fetches.is_empty());
        let base = (round - 1) * 4;
        let some = Said::records(base + 4, &[rows(base, 4)]);
        rig.answer_at_once(0, &[(0, ErrorCode::None, &some)]);
        rig.wake_until(|rig| shown(rig) == round as u64 * 4);
        at_us.push(rig.now.us);
    }
    let age_us = limits::GAUGES_AGE_MS * 1_000;
    for pair in at_us.windows(2) {
        let passed_us = pair[1] - pair[0];
        assert!(
            (age_us - 1_000..=age_us + 1_000).contains(&passed_us),
            "{at_us:?}"
        );
    }
}

#[test]
fn what_is_held_and_what_is_asked_goes_on_in_time_though_nothing_else_happens() {
    let mut rig = Rig::new(Setup::new("woken-held"));
    rig.goal(Goal::Run);
    for times in 1..=3 {
        assert_eq!(leaders_asked(&rig).len(), times);
        let passed_us = rig.wake_until(|rig| leaders_asked(rig).len() > times);
        assert_eq!(passed_us, limits::ASK_AGAIN_MS * 1_000);
    }
    rig.run(Goal::Run);
    let nothing = Said::nothing(0);
    rig.answer_at_once(0, &[(0, ErrorCode::KafkaStorageError, &nothing)]);
    assert_eq!(rig.fetches.len(), 0);
    let passed_us = rig.wake_until(|rig| !rig.fetches.is_empty());
    assert_eq!(passed_us, limits::RETRIABLE_FIRST_MS * 1_000);

    // What the log holds is asked as often, but behind what was fetched before, which is loaded first.
    rig.hold_turns = true;
    let some = Said::records(9, &[rows(0, 4)]);
    rig.answer_at_once(0, &[(0, ErrorCode::None, &some)]);
    rig.wake_until(|rig| !rig.fetches.is_empty());
    rig.answer_at_once(0, &[(0, ErrorCode::OffsetOutOfRange, &nothing)]);
    rig.pass(30);
    let due_us = rig.leaf.deadline_us();
    assert!(due_us.is_none_or(|due_us| due_us > rig.now.us));
    assert_eq!((ranges_asked(&rig).len(), rig.visible()), (0, 0));
    rig.hold_turns = false;
    rig.settle();
    rig.pass(0);
    assert_eq!(rig.visible(), 4);
    for times in 1..=2 {
        assert_eq!(ranges_asked(&rig).len(), times);
        let passed_us = rig.wake_until(|rig| ranges_asked(rig).len() > times);
        assert_eq!(passed_us, limits::ASK_AGAIN_MS * 1_000);
    }
}

/// A pause ends, and no fetch could leave then: two responses wait to be loaded, or one is being read.
#[test]
fn the_end_of_a_pause_wakes_nobody_while_no_fetch_may_leave() {
    let mut rig = Rig::new(Setup::new("woken-full"));
    rig.run(Goal::Run);
    rig.hold_turns = true;
    let some = |base| Said::records(9, &[rows(base, 4)]);
    rig.answer(&some(0));
    assert_eq!(rig.fetches[0].asked, [(0, 4)]);
    rig.answer_at_once(2_000, &[(0, ErrorCode::None, &some(4))]);
    rig.pass(1_999);
    assert_eq!(rig.fetches.len(), 0);
    let due_us = rig.leaf.deadline_us();
    assert!(due_us.is_none_or(|due_us| due_us > rig.now.us + 1_000));

    let mut setup = Setup::new("woken-reading");
    setup.partitions = 2;
    let mut rig = Rig::new(setup);
    rig.goal_of(1, Goal::Run);
    rig.run_one(1);
    rig.goal_of(2, Goal::Run);
    rig.run_one(2);
    assert_eq!(rig.fetches[0].asked, [(0, 0)]);
    let (connection, bytes) = rig.response(
        0,
        ErrorCode::None,
        2_000,
        &[(0, ErrorCode::None, &some(0))],
        None,
    );
    let headless = bytes.len() - some(0).records.len();
    rig.arrive(connection, &bytes[..headless]);
    rig.pass(1_999);
    let due_us = rig.leaf.deadline_us();
    assert!(due_us.is_none_or(|due_us| due_us > rig.now.us + 1_000));
    rig.arrive(connection, &bytes[headless..]);
    assert_eq!((rig.visible(), rig.fetches.len()), (4, 0));
    rig.pass(1);
    assert_eq!(rig.fetches.len(), 1);
}

#[test]
fn a_leaf_that_has_nothing_to_do_is_not_woken() {
    let mut rig = Rig::new(Setup::new("woken-never"));
    rig.run(Goal::Run);
    rig.answer(&Said::records(4, &[rows(0, 4)]));
    rig.goal(Goal::Stop);
    rig.pass(2_000);
    assert_eq!(rig.words(), "Stopped");
    assert_eq!(rig.leaf.deadline_us(), None);
}
