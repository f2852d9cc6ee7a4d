//! Where a load ends: FOREGROUND's target, and a range that is handed over.

use ingest::leaf::event::Event;
use ingest::leaf::order::{Goal, Order, Report};

use crate::rig::{PARTITION, Rig, Said, Setup, rows};
use crate::told::caught_up;

const FOREGROUND: Goal = Goal::Foreground { batches_max: None };

#[test]
fn foreground_ends_where_the_log_below_its_target_was_compacted_away() {
    let mut rig = Rig::new(Setup::new("compacted"));
    rig.run(FOREGROUND);
    rig.answer(&Said::records(9, &[rows(0, 4)]));
    for _ in 0..2 {
        rig.answer(&Said::nothing(9));
        assert_eq!(caught_up(&rig), []);
    }
    rig.answer(&Said::nothing(9));
    rig.pass(200);
    assert_eq!(caught_up(&rig), [(1, 4, 4)]);
    assert_eq!(
        rig.counts().gap,
        0,
        "the cursor stays where nothing was seen"
    );
}

/// A transaction is open from offset 4 on: read_committed ends before it, read_uncommitted behind it.
#[test]
fn foreground_ends_where_a_reader_of_its_isolation_level_finds_the_end() {
    for (name, read_committed, end) in [("committed", true, 4), ("uncommitted", false, 9)] {
        let mut setup = Setup::new(name);
        setup.settings.read_committed = read_committed;
        let mut rig = Rig::new(setup);
        rig.run(FOREGROUND);
        for from in (0..end).step_by(4) {
            assert_eq!(caught_up(&rig), [], "{name}");
            let said = Said {
                last_stable_offset: 4,
                ..Said::records(9, &[rows(from, (end - from).min(4))])
            };
            rig.answer(&said);
        }
        rig.pass(200);
        assert_eq!(caught_up(&rig), [(1, end, end as u64)], "{name}");
        assert_eq!(rig.lag_of(1), Some(0), "{name}");
    }
}

#[test]
fn foreground_goes_on_where_an_answer_had_no_room_or_was_throttled() {
    let mut setup = Setup::new("no-room");
    setup.partitions = 2;
    let mut rig = Rig::new(setup);
    rig.run(FOREGROUND);
    let (nothing, end) = (Said::nothing(9), 90);
    for turn in 0..4 {
        // The first partition's records took all the room there was.
        let some = Said::records(end, &[rows(turn * 4, 4)]);
        rig.answer_each(0, |partition| if partition == 0 { &some } else { &nothing });
    }
    for _ in 0..4 {
        rig.answer_each(100, |_| &nothing);
        rig.pass(100);
    }
    assert_eq!(caught_up(&rig), []);
    let some = Said::records(9, &[rows(0, 9)]);
    rig.answer_each(0, |partition| if partition == 1 { &some } else { &nothing });
    rig.pass(200);
    assert_eq!(caught_up(&rig), [(2, 9, 9)]);
}

/// The log that FOREGROUND loads ends at 4 where it ended at 9, until its range is asked.
fn ends_short(name: &'static str) -> Rig {
    let mut rig = Rig::new(Setup::new(name));
    rig.run(FOREGROUND);
    rig.answer(&Said::records(9, &[rows(0, 4)]));
    let asked = |report: &Report| matches!(report, Report::RangeUnknown { offset: 4, .. });
    for _ in 0..3 {
        assert!(!rig.reports.iter().any(asked));
        rig.answer(&Said::nothing(4));
        rig.pass(200);
    }
    assert!(rig.reports.iter().any(asked));
    assert_eq!(caught_up(&rig), []);
    rig
}

fn log_range(rig: &mut Rig, log_end_offset: i64) {
    let generation = rig.leaf.partition(PARTITION).unwrap().generation;
    let mut say = |generation, offset, log_end_offset| {
        rig.on(Event::Order(Order::LogRange {
            leaf_partition: PARTITION,
            generation,
            offset,
            log_start_offset: 0,
            log_end_offset,
        }));
        rig.settle();
        caught_up(rig)
    };
    // Of an earlier run, and of where the cursor stood before: neither says anything of now.
    assert_eq!(say(generation - 1, 4, 4), []);
    assert_eq!(say(generation, 3, 3), []);
    say(generation, 4, log_end_offset);
}

#[test]
fn foreground_goes_on_where_a_new_leader_does_not_know_the_end_yet() {
    // The leader moved: its high watermark was behind what the one before it said.
    let mut rig = ends_short("lagging");
    log_range(&mut rig, 9);
    rig.answer(&Said::nothing(4));
    rig.pass(200);
    assert_eq!(caught_up(&rig), []);
    rig.answer(&Said::records(9, &[rows(4, 5)]));
    rig.pass(200);
    assert_eq!(caught_up(&rig), [(1, 9, 9)]);
}

#[test]
fn foreground_ends_where_an_unclean_election_cut_the_log() {
    let mut rig = ends_short("cut");
    log_range(&mut rig, 4);
    rig.pass(200);
    assert_eq!(caught_up(&rig), [(1, 4, 4)]);
}

#[test]
fn foreground_ends_where_another_pipeline_loads_from_the_same_broker() {
    let mut setup = Setup::new("apart");
    setup.partitions = 2;
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    rig.goal_of(2, Goal::Stop);
    rig.goal_of(2, FOREGROUND);
    let (nothing, mut loaded) = (Said::nothing(9), 0);
    for _ in 0..20 {
        let Some(fetch) = rig.fetches.front() else {
            break;
        };
        let some = Said::records(90, &[rows(loaded, 1)]);
        loaded += i64::from(fetch.asked.iter().any(|&(partition, _)| partition == 0));
        rig.answer_each(0, |partition| if partition == 0 { &some } else { &nothing });
        rig.pass(200);
    }
    assert_eq!(caught_up(&rig), [(2, 0, 0)]);
    assert_eq!((rig.visible(), rig.failed()), (loaded, None));
}

#[test]
fn a_range_that_is_handed_over_is_loaded_to_its_end_and_no_further() {
    let mut setup = Setup::new("handed-over");
    setup.end_offset = Some(6);
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    rig.answer(&Said::records(12, &[rows(0, 4)]));
    rig.answer(&Said::records(12, &[rows(4, 8)]));
    rig.pass(1_000);
    rig.pass(1_000);
    assert_eq!((rig.visible(), rig.failed()), (6, None));
    assert_eq!(rig.words(), "Ended: the handed-over range is loaded");
    assert_eq!(rig.fetches.len(), 0);
    assert_eq!(rig.attached().view.snapshot().rows(), 6);
}
