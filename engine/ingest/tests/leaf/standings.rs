//! How a leaf partition stands, and when that is shown: in time, and not more often than people can read.

use std::sync::atomic::Ordering;

use ingest::kafka::{BatchBuilder, Codec, ErrorCode};
use ingest::leaf::Event;
use ingest::leaf::order::{Goal, Order};
use ingest::limits;

use crate::rig::{PARTITION, Part, Rig, Said, Setup, batch, rows};

const CAUGHT_UP: &str = "Running: caught up";

/// What is shown of the first one now.
fn shown(rig: &Rig) -> String {
    rig.attached().standing.words()
}

#[test]
fn what_changes_is_shown_a_moment_after_what_was_shown_last() {
    let mut rig = Rig::new(Setup::new("shown-in-time"));
    rig.pass(1_000);
    assert_eq!(shown(&rig), "Stopped");
    // Nothing was shown for long: it is shown at once.
    rig.now.us += 1_000_000;
    rig.goal(Goal::Run);
    assert_eq!(shown(&rig), "Locating: asks who leads");
    for (goal, words) in [
        (Goal::Stop, "Stopped"),
        (Goal::Run, "Locating: asks who leads"),
    ] {
        let before = shown(&rig);
        rig.goal(goal);
        assert_eq!(shown(&rig), before, "{words} is shown in a moment");
        let passed_us = rig.wake_until(|rig| shown(rig) == words);
        assert_eq!(passed_us, limits::SHOW_AGE_MS * 1_000);
    }
}

#[test]
fn caught_up_is_said_no_microsecond_longer_than_it_was_heard_for() {
    let mut rig = Rig::new(Setup::new("heard-for"));
    rig.run(Goal::Run);
    let nothing = Said::nothing(0);
    rig.answer_at_once(0, &[(0, ErrorCode::None, &nothing)]);
    let heard_us = rig.now.us;
    rig.wake_until(|rig| shown(rig) == CAUGHT_UP);
    rig.wake_until(|rig| shown(rig) != CAUGHT_UP);
    assert_eq!(
        rig.now.us - heard_us,
        limits::HEARD_MS_MAX * 1_000 + 1,
        "{}",
        shown(&rig)
    );
}

/// Shown as running is what loads, and what recovers to do so.
#[test]
fn what_runs_is_told_from_what_does_not() {
    let name = "what-runs";
    let mut setup = Setup::new(name);
    setup.partitions = 0;
    let mut rig = Rig::new(setup);
    std::fs::create_dir_all(rig.directory(PARTITION)).expect("writable");
    let running = |rig: &mut Rig| {
        rig.pass(30);
        let partition = rig.leaf.partition(PARTITION).expect("attached");
        partition.standing.running.load(Ordering::Relaxed)
    };
    rig.hold_disk = true;
    rig.on(Event::Order(Rig::attach_order(&Setup::new(name))));
    assert!(!running(&mut rig), "it recovers and nothing else is wanted");
    rig.goal_of(PARTITION, Goal::Run);
    assert!(running(&mut rig), "it recovers to run");
    rig.goal_of(PARTITION, Goal::Stop);
    assert!(!running(&mut rig), "it recovers to stop");
    rig.hold_disk = false;
    rig.settle();
    assert!(!running(&mut rig), "it stands still");
    rig.goal_of(PARTITION, Goal::Run);
    assert!(running(&mut rig), "it runs");
    rig.on(Event::Order(Order::TopicLost {
        leaf_partition: PARTITION,
        text: "gone".to_owned(),
    }));
    assert!(!running(&mut rig), "it failed and should run");
}

/// Records of `texts` messages of 100 KB each.
fn large(texts: i64) -> Said {
    let message = format!("{{\"s0\":\"{}\"}}", "x".repeat(100_000));
    let messages: Vec<&str> = (0..texts).map(|_| message.as_str()).collect();
    Said::records(texts, &[batch(0, &messages)])
}

#[test]
fn a_response_that_waits_for_the_region_for_large_ones_says_so_and_one_that_has_it_does_not() {
    let mut setup = Setup::new("large-region");
    (setup.partitions, setup.brokers) = (3, 3);
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    // Two that are larger than usual, and one that is not; none of them is here to its end.
    let (some, large) = (Said::records(4, &[rows(0, 4)]), large(40));
    for _ in 0..3 {
        let partition = rig.fetches[0].asked[0].0;
        let said = if partition == 2 { &some } else { &large };
        let part: [Part<'_>; 1] = [(partition, ErrorCode::None, said)];
        let (connection, bytes) = rig.response(0, ErrorCode::None, 0, &part, None);
        rig.arrive(connection, &bytes[..150]);
    }
    let broker = |id: u64| format!("broker {id} (broker:{})", 9_091 + id);
    let waits = |id: u64| {
        format!(
            "Held: {} sends more than 2 MiB at once; goes on when the leaf's one region for that is free",
            broker(id)
        )
    };
    let words = [1, 2, 3].map(|id| rig.words_of(id));
    let first = usize::from(words[0] == waits(1));
    assert_eq!(words[1 - first], waits(2 - first as u64), "{words:?}");
    for at in [first, 2] {
        assert!(words[at].starts_with("Running"), "{words:?}");
    }
}

/// `count` rows of 1 KB from `base` on in one record batch by a codec.
fn texts(codec: Codec, base: i64, count: i64) -> Said {
    let mut builder = BatchBuilder::new(base);
    builder.codec = codec;
    let text = "x".repeat(1_000);
    for number in 0..count {
        let message = format!("{{\"v\":{number},\"s0\":\"{text}\"}}");
        builder.push(1_700_000_000_000, None, Some(message.as_bytes()));
    }
    Said::records(base + count, &[builder.build()])
}

/// 20 MiB in one record batch, and far less as it is sent.
const LARGE: i64 = 20_000;

fn packed() -> Said {
    texts(Codec::Zstd, 0, LARGE)
}

#[test]
fn whoever_waits_behind_a_large_record_batch_says_what_that_one_waits_for() {
    let mut setup = Setup::new("behind-a-large-one");
    setup.partitions = 2;
    setup.settings.max_offsets_per_batch_partition = 500;
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    (rig.hold_turns, rig.disk_full) = (true, true);
    rig.answer(&packed());
    for _ in 0..20 {
        rig.turn();
        rig.settle();
    }
    let full = "the disk is full; goes on when there is room";
    let behind = |id: u64| {
        format!(
            "Held: behind a large record batch of partition {} of topic 'orders': {full}",
            id - 1
        )
    };
    let words = [1, 2].map(|id| rig.words_of(id));
    let own = format!("Held: {full}");
    assert!(
        words == [own.clone(), behind(1)] || words == [behind(2), own],
        "{words:?}"
    );
}

#[test]
fn whoever_had_a_large_record_batch_holds_up_nobody_when_it_is_loaded() {
    let mut setup = Setup::new("had-a-large-one");
    setup.partitions = 2;
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    let (large, nothing) = (packed(), Said::nothing(0));
    rig.answer_each(
        0,
        |partition| if partition == 0 { &large } else { &nothing },
    );
    for _ in 0..100 {
        rig.pass(100);
    }
    assert_eq!((rig.visible_of(1), rig.leaf.unpackings()), (LARGE, 1));
    // One of many turns that is not packed, beside another's large one.
    rig.hold_turns = true;
    let plain = texts(Codec::None, LARGE, 1_500);
    rig.answer_each(0, |partition| if partition == 0 { &plain } else { &large });
    for _ in 0..6 {
        assert!(rig.turn());
        rig.settle();
    }
    let visible = [1, 2].map(|id| rig.visible_of(id));
    assert!(
        visible[0] > LARGE && visible[0] < LARGE + 1_500,
        "{visible:?}"
    );
    assert!(visible[1] > 0, "{visible:?}");
    assert!(!rig.words_of(2).contains("behind"));
    rig.hold_turns = false;
    for _ in 0..100 {
        rig.pass(100);
    }
    assert_eq!([1, 2].map(|id| rig.visible_of(id)), [LARGE + 1_500, LARGE]);
    assert_eq!(rig.leaf.unpackings(), 2, "one each");
}
