//! Every wait has its reason in SQL, and nothing is said of now that was heard long ago.

use ingest::kafka::ErrorCode;
use ingest::leaf::order::{Goal, Leader, Order, Report};
use ingest::leaf::{Event, LogEnd};
use ingest::limits;
use storage::disk::DiskOp;

use crate::log::lines_of;
use crate::rig::{Part, Rig, Said, Setup, rows};
use crate::told::attach;

const CAUGHT_UP: &str = "Running: caught up";
const WAITS: &str = "Running: waits for an answer of broker 1 (broker:9092)";

/// Two leaf partitions whose commits cover five offsets at most.
fn two(name: &'static str) -> Rig {
    let mut setup = Setup::new(name);
    setup.partitions = 2;
    setup.settings.max_offsets_per_batch_partition = 5;
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    rig
}

/// Rows for the first partition, nothing for the second.
fn rows_for_one(rig: &mut Rig, base: i64, count: i64) {
    let some = Said::records(base + count, &[rows(base, count)]);
    let nothing = Said::nothing(0);
    rig.answer_each(0, |partition| if partition == 0 { &some } else { &nothing });
}

#[test]
fn a_full_disk_holds_one_and_its_neighbour_says_behind_whom_it_waits() {
    let mut rig = two("full-disk");
    rig.answer(&Said::nothing(0));
    assert_eq!(
        (rig.words_of(1), rig.words_of(2)),
        (CAUGHT_UP.into(), CAUGHT_UP.into())
    );
    assert_eq!(rig.lag_of(2), Some(0));
    rig.disk_full = true;
    let lines = lines_of(|| {
        // Two responses are all that a lane holds: both keep records of the first partition.
        rows_for_one(&mut rig, 0, 20);
        rows_for_one(&mut rig, 20, 20);
        assert_eq!(
            rig.visible(),
            10,
            "a block that is written and one that is filled"
        );
        let held = "the disk is full; goes on when there is room";
        assert_eq!(rig.words_of(1), format!("Held: {held}"));
        let behind = format!("Held: behind partition 0 of topic 'orders': {held}");
        assert_eq!(rig.words_of(2), behind);
        // As it stood a moment ago, and then unknown: never frozen at 0.
        assert_eq!(rig.lag_of(2), Some(0));
        for _ in 0..20 {
            rig.pass(1_000);
            assert_eq!((rig.words_of(2), rig.lag_of(2)), (behind.clone(), None));
        }
        rig.hold_disk = true;
        rig.pass(1_000);
        assert_eq!(rig.disk.len(), 1, "an attempt is on its way");
        assert_eq!(
            rig.words_of(1),
            format!("Held: {held}"),
            "and the disk no less full"
        );
        rig.hold_disk = false;
        rig.settle();
        assert_eq!(rig.lag_of(1), Some(30), "what is known to wait waits");
        assert!(rig.fetches.is_empty(), "no response has room");
    });
    let full =
        "WARN: the disk is full: nothing is committed until there is room; what is visible stays";
    assert_eq!(lines, [full]);
    rig.disk_full = false;
    let lines = lines_of(|| {
        for _ in 0..20 {
            rig.pass(1_000);
        }
        rig.answer(&Said::nothing(40));
        rig.answer(&Said::nothing(40));
    });
    let (end, rest) = lines.split_first().expect("that it ends is said");
    assert_eq!(end, "INFO: nothing waits for room on the disk any more");
    assert!(rest.iter().all(|line| !line.contains("disk")), "{rest:?}");
    assert_eq!(rig.visible(), 40);
    assert_eq!(rig.words_of(1), CAUGHT_UP);
    assert_eq!(
        (rig.words_of(2), rig.lag_of(2)),
        ("Running".into(), Some(40))
    );
}

#[test]
fn a_full_disk_is_said_where_nothing_waits_to_be_loaded_and_while_it_drains() {
    let mut rig = two("full-disk-idle");
    rig.disk_full = true;
    rows_for_one(&mut rig, 0, 3);
    rig.pass(200);
    rig.answer(&Said::nothing(3));
    let full = "; the disk is full, nothing is committed until there is room";
    assert_eq!(rig.words_of(1), format!("{CAUGHT_UP}{full}"));
    assert_eq!(rig.words_of(2), "Running", "its log ends at 3");
    rig.goal(Goal::Stop);
    assert_eq!(rig.words_of(1), format!("Draining{full}"));
    assert_eq!(rig.words_of(2), "Stopped");
    let said = no_room(&rig);
    assert_eq!(said.len(), 1, "once: {said:?}");
    assert!(
        said[0].contains("visible from offset 0 on is not durable"),
        "{said:?}"
    );
    rig.goal(Goal::Stop);
    assert_eq!(no_room(&rig).len(), 2, "whoever asks again hears it again");
    // An attempt is on its way that finds none, and then there is some: who asks meanwhile hears of that.
    rig.hold_disk = true;
    rig.pass(1_000);
    assert_eq!(rig.disk.len(), 1, "an attempt is on its way");
    rig.goal(Goal::Stop);
    rig.finish_disk();
    rig.disk_full = false;
    rig.hold_disk = false;
    rig.settle();
    rig.pass(30);
    assert_eq!(no_room(&rig).len(), 2, "it was of before");
    assert_eq!(rig.words_of(1), "Stopped", "and no pause is waited for");
}

/// What is said to have no room, in order.
fn no_room(rig: &Rig) -> Vec<String> {
    let text = |report: &Report| match report {
        Report::NoRoom { failure, .. } => Some(failure.text.clone()),
        _ => None,
    };
    rig.reports.iter().filter_map(text).collect()
}

#[test]
fn whoever_asks_when_there_is_room_again_is_not_told_of_before() {
    let mut rig = two("full-disk-room");
    rig.disk_full = true;
    rows_for_one(&mut rig, 0, 3);
    rig.pass(200);
    rig.disk_full = false;
    rig.goal(Goal::Stop);
    assert_eq!(no_room(&rig), [""; 0]);
    assert_eq!(rig.words_of(1), "Stopped");
}

fn rewind(lineage: u64, start_offset: i64) -> Goal {
    Goal::Rewind {
        lineage,
        live_lineage: 1,
        start_offset,
        topic_id: [7; 16],
    }
}

/// Whether its last goal was said to be reached.
fn reaches(rig: &Rig, wanted: Goal) -> bool {
    let reached = |report: &Report| match report {
        Report::Reached { goal, .. } => Some(*goal),
        _ => None,
    };
    rig.reports.iter().rev().find_map(reached) == Some(wanted)
}

/// A lineage that cannot begin once held up all that followed it, for as long as there was no room.
#[test]
fn a_lineage_without_room_is_said_and_a_stop_and_a_drop_go_by() {
    let setup = || Setup::new("full-disk-lineage");
    let mut rig = Rig::new(setup());
    rig.run(Goal::Run);
    rig.answer(&Said::records(3, &[rows(0, 3)]));
    rig.goal(Goal::Stop);
    rig.pass(1_000);
    assert!(reaches(&rig, Goal::Stop));
    (rig.disk_full, rig.last_byte) = (true, true);
    rig.goal(rewind(2, 1));
    let lineage =
        "the disk is full: lineage 2 goes on at offset 1 with a new segment, which waits for room";
    let said = no_room(&rig);
    assert!(
        said.len() == 1 && said[0].starts_with(lineage),
        "{:?}",
        rig.reports
    );
    rig.goal(Goal::Stop);
    assert_eq!(no_room(&rig).len(), 2);
    assert!(!reaches(&rig, rewind(2, 1)));

    // Behind a kill it is opened to go on there, and nothing else is held up either.
    let mut attach = Setup::new("full-disk-lineage");
    (attach.lineage, attach.start_offset) = (2, 1);
    let mut rig = Rig::on_a_full_disk(attach);
    let said = no_room(&rig);
    assert!(
        said.len() == 1 && said[0].starts_with(lineage),
        "{:?}",
        rig.reports
    );
    rig.goal(Goal::Stop);
    assert_eq!(no_room(&rig).len(), 2);
    rig.goal(Goal::Drop);
    assert!(reaches(&rig, Goal::Drop), "{:?}", rig.reports);

    let mut rig = Rig::new(setup());
    rig.run(Goal::Run);
    rig.answer(&Said::records(3, &[rows(0, 3)]));
    rig.goal(Goal::Stop);
    rig.pass(1_000);
    (rig.disk_full, rig.last_byte) = (true, true);
    rig.goal(rewind(2, 1));
    rig.goal(Goal::Stop);
    rig.disk_full = false;
    rig.pass(1_000);
    rig.pass(30);
    let begun = |report: &Report| {
        matches!(
            report,
            Report::Durable {
                lineage: 2,
                offset: 1,
                ..
            }
        )
    };
    assert!(rig.reports.iter().any(begun), "{:?}", rig.reports);
    assert!(reaches(&rig, Goal::Stop), "and stops behind it");
    assert_eq!(rig.visible(), 1);
}

/// Whoever waits for a leaf partition that is attached once more hears of the disk as it is then, and once.
#[test]
fn an_attachment_once_more_asks_for_room_anew() {
    let name = "full-disk-attach";
    let mut rig = Rig::new(Setup::new(name));
    rig.run(Goal::Run);
    rig.answer(&Said::records(3, &[rows(0, 3)]));
    rig.goal(Goal::Stop);
    rig.pass(1_000);
    let setup = || {
        let mut setup = Setup::new(name);
        (setup.lineage, setup.start_offset) = (2, 1);
        setup
    };
    let attach = |of: u64| {
        let Order::Attach {
            pairing,
            schema_version,
            columns,
            settings,
            ..
        } = Rig::attach_order(&setup())
        else {
            panic!("an Attach");
        };
        Event::Order(Order::Attach {
            generation: of,
            pairing,
            schema_version,
            columns,
            settings,
        })
    };
    let told = |rig: &Rig| -> Vec<u64> {
        let told = |report: &Report| match report {
            Report::NoRoom { generation, .. } => Some(*generation),
            _ => None,
        };
        rig.reports.iter().filter_map(told).collect()
    };
    let mut rig = Rig::on_a_full_disk(setup());
    assert_eq!(told(&rig).len(), 1);
    rig.reports.clear();
    rig.on(attach(7));
    rig.settle();
    rig.pass(1_000);
    assert_eq!(told(&rig), [7], "{:?}", rig.reports);
    rig.disk_full = false;
    rig.on(attach(8));
    rig.settle();
    assert_eq!(told(&rig), [7], "it was of before: {:?}", rig.reports);
    let attached = |report: &Report| matches!(report, Report::Attached { generation: 8, .. });
    assert!(rig.reports.iter().any(attached), "{:?}", rig.reports);
}

/// A sealed segment gives back what was allocated behind it: that may be the room that is wanted.
#[test]
fn a_lineage_without_room_has_the_segment_before_it_sealed() {
    let mut rig = Rig::new(Setup::new("full-disk-seal"));
    rig.run(Goal::Run);
    rig.answer(&Said::records(3, &[rows(0, 3)]));
    rig.goal(Goal::Stop);
    rig.pass(1_000);
    rig.hold_disk = true;
    (rig.disk_full, rig.last_byte) = (true, true);
    rig.goal(rewind(2, 1));
    assert!(rig.finish_disk_if(|op| matches!(op, DiskOp::Create(_))));
    rig.disk_full = false;
    assert!(rig.finish_disk_if(|op| matches!(op, DiskOp::Seal { .. })));
    assert!(rig.finish_disk_if(|op| matches!(op, DiskOp::Create(_))));
    rig.hold_disk = false;
    rig.settle();
    rig.pass(30);
    assert_eq!(no_room(&rig), [""; 0]);
    assert!(reaches(&rig, rewind(2, 1)));
}

/// One that found no connection once waited for good, also where others were closed since, and FOREGROUND with it.
#[test]
fn who_finds_no_connection_left_waits_for_one_that_closes_and_foreground_is_refused() {
    let mut setup = Setup::new("lanes");
    let all = limits::LANES_MAX as u64 + 1;
    (setup.partitions, setup.brokers) = (all, all);
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    let none = format!(
        "Held: no connection to broker {all} (broker:{}): this leaf has its {} already",
        9_091 + all,
        limits::LANES_MAX
    );
    assert_eq!(rig.words_of(all), none);
    rig.goal_of(1, Goal::Stop);
    assert!(!rig.words_of(all).contains("no connection"));
    assert_eq!(rig.words_of(1), "Stopped");
    rig.goal_of(1, Goal::Foreground { batches_max: None });
    let failed = rig.failed().expect("it is refused").clone();
    assert!(
        failed
            .text
            .contains("has its 256 to brokers already: start it in the background"),
        "{}",
        failed.text
    );
    assert_eq!(failed.offset, -1, "at no offset");
    rig.goal_of(2, Goal::Stop);
    rig.goal_of(1, Goal::Foreground { batches_max: None });
    assert!(!rig.words_of(1).starts_with("Failed"));
}

/// FOREGROUND was refused though the connection that it left was about to close.
#[test]
fn foreground_takes_the_connection_that_closes_in_its_turn_before_who_can_wait() {
    let mut setup = Setup::new("lanes-foreground");
    let all = limits::LANES_MAX as u64 + 1;
    (setup.partitions, setup.brokers) = (all, all);
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    rig.goal_of(2, Goal::Stop);
    rig.goal_of(all, Goal::Stop);
    rig.goal_of(all, Goal::Foreground { batches_max: None });
    rig.goal_of(2, Goal::Run);
    let waits = "Held: no connection to broker 2 (broker:9093): this leaf has its 256 already";
    assert_eq!(rig.words_of(2), waits);
    let leads = |broker: i32| {
        Event::Order(Order::Leader {
            leaf_partition: all,
            leader: Leader {
                broker,
                host: "broker".to_owned(),
                port: 9_091 + broker as u16,
                epoch: broker,
            },
        })
    };
    for broker in [300, 301] {
        rig.on(leads(broker));
        rig.settle();
        assert_eq!(rig.failed(), None);
        let words = rig.words_of(all);
        assert!(!words.contains("no connection"), "{words}");
        assert_eq!(rig.words_of(2), waits);
    }
    rig.goal_of(all, Goal::Stop);
    assert!(!rig.words_of(2).contains("no connection"));
}

#[test]
fn caught_up_is_said_as_long_as_a_broker_said_so_and_no_longer() {
    let mut rig = Rig::new(Setup::new("heard"));
    assert_eq!(rig.words(), "Stopped");
    rig.goal(Goal::Run);
    assert_eq!(rig.words(), "Locating: asks who leads");
    rig.run(Goal::Run);
    assert_eq!(rig.words(), WAITS);
    rig.answer(&Said::records(4, &[rows(0, 4)]));
    assert_eq!(rig.words(), CAUGHT_UP);
    // Two answers in a fetch's own wait each, then the broker is silent.
    rig.pass(450);
    rig.answer(&Said::nothing(4));
    rig.pass(450);
    rig.answer(&Said::nothing(4));
    let heard_us = rig.now.us - 1_000;
    assert_eq!((rig.words(), rig.lag_of(1)), (CAUGHT_UP.into(), Some(0)));
    let due_us = loop {
        let due_us = rig.leaf.deadline_us().expect("it is thought over");
        let ms = due_us.saturating_sub(rig.now.us).div_ceil(1_000);
        rig.pass(ms);
        if rig.attached().standing.words() != CAUGHT_UP {
            break rig.now.us;
        }
    };
    let late_us = due_us - heard_us;
    let most_us = (limits::HEARD_MS_MAX + limits::SHOW_AGE_MS + 2) * 1_000;
    assert!(
        (1_000_000..most_us).contains(&late_us),
        "after {late_us} us"
    );
    assert_eq!((rig.words(), rig.lag_of(1)), (WAITS.into(), None));
    rig.answer(&Said::nothing(9));
    assert_eq!((rig.words(), rig.lag_of(1)), ("Running".into(), Some(5)));
    rig.goal(Goal::Stop);
    rig.pass(30_000);
    assert_eq!((rig.words(), rig.lag_of(1)), ("Stopped".into(), Some(5)));
}

#[test]
fn a_broker_that_throttles_refuses_or_is_away_is_named() {
    let mut rig = Rig::new(Setup::new("broker-waits"));
    rig.run(Goal::Run);
    rig.answer_each(5_000, |_| &EMPTY);
    assert_eq!(rig.words(), "Held: broker 1 (broker:9092) throttles");
    rig.pass(6_000);
    assert_eq!(rig.words(), WAITS);
    let refused = |code| -> [Part<'static>; 1] { [(0, code, &EMPTY)] };
    rig.answer_with(0, &refused(ErrorCode::KafkaStorageError));
    let storage = "Held: broker 1 (broker:9092) answers KAFKA_STORAGE_ERROR (56), 1 times in a row";
    assert_eq!(rig.words(), storage);
    rig.pass(1_000);
    rig.answer_with(0, &refused(ErrorCode::NotLeaderOrFollower));
    let moved =
        "Locating: broker 1 (broker:9092) answers NOT_LEADER_OR_FOLLOWER (6); asks who leads";
    assert_eq!(rig.words(), moved);
    rig.run(Goal::Run);
    rig.pass(3_000);
    assert_eq!(rig.words(), WAITS);
    rig.break_connection("reset by the broker");
    assert_eq!(
        rig.words(),
        "Held: no connection to broker 1 (broker:9092): reset by the broker"
    );
}

#[test]
fn brokers_that_are_more_than_regions_take_turns_and_none_is_left_behind() {
    let mut setup = Setup::new("regions");
    (setup.partitions, setup.brokers) = (5, 5);
    // A sixteenth of it is too little for one region: there are two at least.
    setup.memory_bytes = 16 << 20;
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    assert_eq!(rig.fetches.len(), 2);
    assert_eq!(
        rig.words_of(5),
        "Held: the leaf's memory for responses is in use"
    );
    let mut asked = Vec::new();
    for _ in 0..40 {
        let fetch = &rig.fetches[0];
        asked.push(fetch.asked[0].0);
        let short = fetch.wait_ms == limits::FETCH_WAIT_PARTIAL_MS as i32;
        assert!(short || asked.len() <= 2, "others wait for its region");
        rig.answer(&Said::nothing(0));
    }
    for partition in 0..5 {
        let times = asked.iter().filter(|one| **one == partition).count();
        assert!((7..=9).contains(&times), "{partition} of {asked:?}");
    }
}

#[test]
fn a_leaf_partition_under_another_pipeline_is_shown_as_it_stands() {
    let mut rig = Rig::new(Setup::new("restood"));
    rig.run(Goal::Run);
    rig.answer(&Said::nothing(0));
    rig.goal(Goal::Stop);
    assert_eq!(rig.words(), "Stopped");
    attach(&mut rig, |generation, pairing| {
        (*generation, pairing.pipeline) = (*generation + 10, 2);
    });
    assert_eq!(rig.words(), "Stopped");
    let standing = &rig.attached().standing;
    assert_eq!((standing.pipeline, standing.log_end()), (2, None::<LogEnd>));
    let leader = standing.leader.load_full().expect("known");
    assert_eq!(leader.host, "broker");
}

static EMPTY: Said = Said {
    high_watermark: 0,
    last_stable_offset: 0,
    records: Vec::new(),
};
