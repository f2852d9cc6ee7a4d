//! When the leaf wants to be woken: never later because somebody asked late.

use ingest::kafka::ErrorCode;
use ingest::leaf::Event;
use ingest::leaf::order::{Goal, Order, Report};

use crate::rig::{Rig, Said, Setup, rows};

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
    assert!(!rig.leaf.has_reports());
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
}
