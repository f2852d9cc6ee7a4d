//! Orders: which of them count, what they change, and what is said when they are done.

use ingest::leaf::Event;
use ingest::leaf::order::{FailureKind, Goal, Order, Report, Settings};
use ingest::leaf::rows::Row;
use ingest::limits;
use ingest::pipeline::Path;
use storage::disk::DiskOp;
use storage::store::StoreSettings;

use crate::rig::{PARTITION, Rig, Said, Setup, batch, rows, settings};
use crate::told::{attach, caught_up, epochs_asked, led};

fn of(rig: &Rig, row: Row) -> u64 {
    rig.leaf.rows().of(row)
}

fn goal(rig: &mut Rig, generation: u64, goal: Goal) {
    rig.on(Event::Order(Order::Goal {
        leaf_partition: PARTITION,
        generation,
        goal,
    }));
    rig.settle();
}

/// The first one's Attach once more, of this generation.
fn attach_again(rig: &mut Rig, of: u64) {
    attach(rig, |generation, _| *generation = of);
}

/// The generations under which it was said to be attached, with its durable cursor and its rows.
fn attached(rig: &Rig) -> Vec<(u64, i64, u64)> {
    let attached = |report: &Report| match *report {
        Report::Attached {
            generation,
            durable,
            rows,
            ..
        } => Some((generation, durable, rows)),
        _ => None,
    };
    rig.reports.iter().filter_map(attached).collect()
}

#[test]
fn an_order_counts_unless_one_of_a_later_generation_came() {
    let mut rig = Rig::new(Setup::new("generations"));
    // Attach is of generation 1.
    for (generation, ordered, phase) in [
        (1, Goal::Run, "Locating: asks who leads"),
        (5, Goal::Stop, "Stopped"),
        (4, Goal::Run, "Stopped"),
        (5, Goal::Run, "Locating: asks who leads"),
        (4, Goal::Stop, "Locating: asks who leads"),
        (6, Goal::Stop, "Stopped"),
    ] {
        goal(&mut rig, generation, ordered);
        assert_eq!(rig.words(), phase, "{ordered:?} of generation {generation}");
    }
}

#[test]
fn an_attachment_once_more_is_answered_as_it_stands_where_it_is_known() {
    let name = "attached-again";
    let mut rig = Rig::new(Setup::new(name));
    rig.run(Goal::Run);
    rig.answer(&Said::records(4, &[rows(0, 4)]));
    rig.goal(Goal::Stop);
    let generation = rig.leaf.partition(PARTITION).expect("there").generation;
    rig.reports.clear();
    // The first is repeated, the second is new, the third is late.
    for generation in [generation, generation + 1, generation] {
        attach_again(&mut rig, generation);
    }
    let answers = [(generation, 4, 4), (generation + 1, 4, 4)];
    assert_eq!(attached(&rig), answers);
    // What failed says that, and nothing else.
    goal(&mut rig, generation + 1, Goal::Run);
    rig.run_one(PARTITION);
    rig.answer(&Said::records(5, &[batch(4, &["{"])]));
    assert!(rig.failed().is_some());
    attach_again(&mut rig, generation + 2);
    assert_eq!(attached(&rig), answers);
}

#[test]
fn an_attachment_once_more_is_answered_once_where_recovery_is_under_way() {
    let name = "attached-while-recovering";
    let mut setup = Setup::new(name);
    setup.partitions = 0;
    let mut rig = Rig::new(setup);
    std::fs::create_dir_all(rig.directory(PARTITION)).expect("writable");
    rig.hold_disk = true;
    for generation in [1, 2] {
        attach_again(&mut rig, generation);
        assert_eq!(attached(&rig), []);
    }
    rig.hold_disk = false;
    rig.settle();
    assert_eq!(attached(&rig), [(2, 0, 0)]);
}

/// What it finds and moves away, and each segment that is made, bears the time of day.
#[test]
fn recovery_is_told_the_time_of_day() {
    let name = "time-of-day";
    let mut setup = Setup::new(name);
    setup.partitions = 0;
    let mut rig = Rig::new(setup);
    rig.hold_disk = true;
    attach_again(&mut rig, 1);
    let (_, op) = rig.disk.front().expect("recovery");
    let DiskOp::Recover(recovery) = &**op else {
        panic!("a recovery, not {op:?}");
    };
    assert_eq!(recovery.unix_ms, rig.now.unix_us / 1_000);
}

#[test]
fn a_leaf_takes_as_many_leaf_partitions_as_it_may_and_no_more() {
    let name = "all-places";
    let mut setup = Setup::new(name);
    setup.partitions = 0;
    let mut rig = Rig::new(setup);
    rig.hold_disk = true;
    let most = limits::LEAF_PARTITIONS_MAX as u64;
    for leaf_partition in 1..=most + 1 {
        assert_eq!(rig.failed(), None);
        attach(&mut rig, |_, pairing| {
            pairing.leaf_partition = leaf_partition
        });
        let there = rig.leaf.partition(leaf_partition).is_some();
        assert_eq!(there, leaf_partition <= most);
    }
    let failure = rig.failed().expect("there is no place");
    assert_eq!(
        (failure.kind, failure.offset, failure.deterministic),
        (FailureKind::Internal, -1, true)
    );
    assert_eq!(failure.text, "a leaf serves at most 1024 leaf partitions");
}

fn configure(rig: &mut Rig, settings: Settings) {
    rig.on(Event::Order(Order::Configure {
        leaf_partition: PARTITION,
        generation: rig.leaf.partition(PARTITION).expect("there").generation,
        settings,
    }));
    rig.settle();
}

#[test]
fn what_is_configured_holds_for_what_is_loaded_from_then_on() {
    let mut rig = Rig::new(Setup::new("configured"));
    configure(
        &mut rig,
        Settings {
            max_offsets_per_batch_partition: 2,
            stop_on_error: false,
            ..settings(1)
        },
    );
    rig.run(Goal::Run);
    rig.answer(&Said::records(5, &[rows(0, 4), batch(4, &["{"])]));
    rig.pass(200);
    assert_eq!((rig.visible(), rig.failed()), (5, None));
    let snapshot = rig.attached().view.snapshot();
    let commits = snapshot.commits().map(|one| {
        let one = one.expect("sound");
        (one.first_offset.0, one.next_offset.0)
    });
    assert_eq!(commits.collect::<Vec<_>>(), [(0, 2), (2, 4), (4, 5)]);
}

/// The mapping is looked at when it is set: what it fails is the start, and not a message.
#[test]
fn a_mapping_that_cannot_be_used_fails_the_start_and_another_one_mends_that() {
    let mut rig = Rig::new(Setup::new("unusable"));
    let mut broken = settings(1);
    broken.mapping.columns[0].path = Some(Path(vec!["a".to_owned(); limits::PATH_KEYS_MAX + 1]));
    configure(&mut rig, broken);
    assert_eq!(rig.failed(), None);
    rig.goal(Goal::Run);
    let failure = rig.failed().expect("it cannot be used");
    assert_eq!(
        (failure.kind, failure.offset, failure.deterministic),
        (FailureKind::Internal, -1, true)
    );
    let text = "the mapping cannot be used: column 'v': a path of 33 keys, at most 32";
    assert_eq!(failure.text, text);
    configure(&mut rig, settings(1));
    rig.run(Goal::Run);
    rig.answer(&Said::records(4, &[rows(0, 4)]));
    assert_eq!(rig.visible(), 4);
}

#[test]
fn a_topic_that_is_lost_fails_where_nobody_knows_an_offset_and_only_what_runs() {
    let mut rig = Rig::new(Setup::new("topic-lost"));
    let lost = || {
        Event::Order(Order::TopicLost {
            leaf_partition: PARTITION,
            text: "topic 'orders' is deleted".to_owned(),
        })
    };
    rig.on(lost());
    assert_eq!(rig.failed(), None);
    rig.goal(Goal::Run);
    rig.on(lost());
    rig.settle();
    let failure = rig.failed().expect("it is lost").clone();
    assert_eq!(
        (failure.kind, failure.offset, failure.deterministic),
        (FailureKind::Extract, -1, true)
    );
    // That stands in the history, by the clock of then, though nothing was ever loaded.
    rig.goal(Goal::Stop);
    let snapshot = rig.attached().view.snapshot();
    let told = snapshot.rejects().next().expect("one").expect("sound");
    assert_eq!(told.text, failure.text);
    let commit = snapshot.commits().next().expect("one").expect("sound");
    let now_ms = rig.now.unix_us / 1_000;
    assert_eq!(
        (commit.started_unix_ms, commit.ended_unix_ms),
        (now_ms, now_ms)
    );
}

#[test]
fn a_start_a_start_again_and_a_drop_are_counted_as_what_they_are() {
    let mut rig = Rig::new(Setup::new("counted"));
    rig.run(Goal::Run);
    assert_eq!(
        [Row::StoppedRun, Row::FailedRun].map(|row| of(&rig, row)),
        [1, 0]
    );
    rig.answer(&Said::records(1, &[batch(0, &["{"])]));
    assert!(rig.failed().is_some());
    rig.goal(Goal::Run);
    assert_eq!(
        [Row::StoppedRun, Row::FailedRun].map(|row| of(&rig, row)),
        [1, 1]
    );
    rig.goal(Goal::Stop);
    assert_eq!(of(&rig, Row::GoalDrop), 0);
    rig.goal(Goal::Drop);
    assert_eq!(of(&rig, Row::GoalDrop), 1);
}

#[test]
fn the_reserve_of_the_disk_is_the_configurations() {
    let mut setup = Setup::new("reserve");
    setup.stores = StoreSettings {
        disk_reserve_bytes: u64::MAX,
        ..StoreSettings::default()
    };
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    rig.answer(&Said::records(4, &[rows(0, 4)]));
    rig.pass(200);
    assert_eq!((of(&rig, Row::Committed), of(&rig, Row::HeldSpace)), (1, 0));
}

/// A merge makes one of those before the newest so many.
#[test]
fn as_many_commits_stay_in_the_history_as_the_pipeline_says() {
    let stay = |batches_kept| {
        let mut setup = Setup::new("batches-kept");
        setup.settings.batches_kept = batches_kept;
        setup.stores = StoreSettings {
            segment_commits_max: 2,
            merge_rows_mean_min: 1_000,
            ..StoreSettings::default()
        };
        let mut rig = Rig::new(setup);
        rig.run(Goal::Run);
        for base in 0..12 {
            rig.answer(&Said::records(base + 1, &[rows(base, 1)]));
            rig.pass(200);
        }
        rig.goal(Goal::Stop);
        rig.pass(1_000);
        let snapshot = rig.attached().view.snapshot();
        assert_eq!(snapshot.rows(), 12);
        snapshot.commits().count()
    };
    assert_eq!(stay(1_000), 12);
    let few = stay(1);
    assert!(few < 12, "{few}");
}

/// It is not loaded again, so nothing else would bring its rows to the disk.
#[test]
fn what_is_visible_of_one_that_failed_is_durable_when_the_leaf_has_ended() {
    let setup = || Setup::new("failed-and-ended");
    let mut rig = Rig::new(setup());
    rig.run(Goal::Run);
    rig.hold_disk = true;
    rig.answer(&Said::records(5, &[rows(0, 4), batch(4, &["{"])]));
    assert!(rig.failed().is_some());
    assert_eq!(rig.visible(), 4);
    rig.on(Event::Order(Order::Shutdown));
    rig.settle();
    assert!(!rig.leaf.is_ended(), "its rows are not durable yet");
    rig.hold_disk = false;
    rig.settle();
    rig.pass(1);
    assert!(rig.leaf.is_ended());
    drop(rig);
    let rig = Rig::again(setup());
    assert_eq!(
        (rig.visible(), rig.attached().view.snapshot().rows()),
        (4, 4)
    );
}

#[test]
fn a_disk_that_fails_is_at_no_offset() {
    let mut rig = Rig::new(Setup::new("no-offset"));
    rig.run(Goal::Run);
    rig.hold_disk = true;
    // One failure is void, and what it took back is loaded again; the second within a minute is not.
    for _ in 0..2 {
        rig.answer(&Said::records(3, &[rows(0, 3)]));
        rig.pass(200);
        while rig.finish_disk_if(|op| !op.is_sync()) {}
        rig.pass(200);
        assert_eq!(rig.failed(), None);
        rig.fail_sync();
        while rig.finish_disk_if(|op| !op.is_sync()) {}
        rig.settle();
    }
    let failure = rig.failed().expect("the second failure");
    assert_eq!(
        (failure.kind, failure.offset, failure.alone),
        (FailureKind::Load, -1, true)
    );
}

#[test]
fn what_waits_for_room_on_the_disk_is_counted_and_what_waits_for_a_commit_is_not() {
    for full in [false, true] {
        let mut setup = Setup::new("held-space");
        setup.settings.max_offsets_per_batch_partition = 5;
        let mut rig = Rig::new(setup);
        rig.run(Goal::Run);
        rig.disk_full = full;
        rig.answer(&Said::records(30, &[rows(0, 5)]));
        rig.pass(200);
        rig.hold_disk = !full;
        rig.answer(&Said::records(30, &[rows(5, 5)]));
        rig.answer(&Said::records(30, &[rows(10, 10)]));
        // It is tried again, and finds none.
        rig.pass(2_000);
        // A block that is written and one that is filled; a segment is made first.
        assert_eq!(rig.visible(), if full { 10 } else { 15 });
        assert_eq!(of(&rig, Row::HeldSpace) > 0, full);
    }
}

/// It drains for the stop that was ordered first, and has caught up with nothing then.
#[test]
fn foreground_that_is_ordered_while_a_stop_drains_begins_behind_it() {
    let mut rig = Rig::new(Setup::new("foreground-behind-a-stop"));
    rig.run(Goal::Run);
    rig.hold_disk = true;
    rig.answer(&Said::records(9, &[rows(0, 4)]));
    rig.goal(Goal::Stop);
    rig.goal(Goal::Foreground { batches_max: None });
    rig.hold_disk = false;
    rig.settle();
    rig.pass(1_000);
    assert_eq!((rig.visible(), caught_up(&rig).len()), (4, 0));
    rig.answer(&Said::records(9, &[rows(4, 5)]));
    rig.pass(200);
    assert_eq!((rig.visible(), caught_up(&rig).len()), (9, 1));
}

/// Its tail is committed as ever, and that may be the last commit of a limit.
#[test]
fn foreground_that_failed_has_not_caught_up_though_its_commits_are_as_many_as_its_limit() {
    let mut rig = Rig::new(Setup::new("foreground-failed"));
    rig.run(Goal::Foreground {
        batches_max: Some(1),
    });
    rig.answer(&Said::records(9, &[rows(0, 4), batch(4, &["{"])]));
    rig.pass(200);
    rig.pass(200);
    assert_eq!((rig.visible(), caught_up(&rig).len()), (4, 0));
    let words = rig.words();
    assert!(words.starts_with("Failed: "), "{words}");
}

/// What was loaded from the topic before says nothing of the epochs of the log from now on.
#[test]
fn behind_another_beginning_an_epoch_is_checked_as_behind_the_first() {
    let mut rig = Rig::new(Setup::new("rewound-epochs"));
    rig.run(Goal::Run);
    rig.answer(&Said::records(4, &[rows(0, 4)]));
    rig.goal(Goal::Rewind {
        lineage: 2,
        live_lineage: 1,
        start_offset: 1,
        topic_id: [7; 16],
    });
    rig.run(Goal::Run);
    rig.pass(1_000);
    rig.answer(&Said::records(4, &[rows(1, 3)]));
    assert_eq!((rig.visible(), rig.failed()), (4, None));
    rig.reports.clear();
    led(&mut rig, 1);
    assert_eq!(epochs_asked(&rig), [1]);
}

/// Whoever asked for the stop is told that it waits; who then asks for it to run waits for nothing.
#[test]
fn no_room_is_said_of_a_stop_and_not_of_a_start_behind_it() {
    let mut rig = Rig::new(Setup::new("no-room-to-stop"));
    rig.run(Goal::Run);
    rig.disk_full = true;
    rig.answer(&Said::records(4, &[rows(0, 4)]));
    rig.pass(200);
    let said = |rig: &Rig| {
        let no_room = |report: &&Report| matches!(report, Report::NoRoom { .. });
        rig.reports.iter().filter(no_room).count()
    };
    // What cannot be committed yet is nothing to one that runs.
    assert_eq!(said(&rig), 0);
    rig.goal(Goal::Stop);
    assert_eq!(said(&rig), 1);
    rig.goal(Goal::Run);
    rig.pass(2_000);
    assert!(rig.words().starts_with("Draining; "));
    assert_eq!(said(&rig), 1);
}
