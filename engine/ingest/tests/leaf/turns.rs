//! Whose records are loaded next: each lane and each partition in its turn, and nobody behind one that waits.

use std::sync::atomic::Ordering;

use ingest::kafka::ErrorCode;
use ingest::leaf::Event;
use ingest::leaf::order::{Goal, Order};
use ingest::leaf::rows::Row;
use ingest::limits;
use ingest::pipeline::SkipErrors;

use crate::rig::{Rig, Said, Setup, batch, rows};
use crate::told::{log_range, ranges_asked};

/// Messages of some 100 KB, one a record batch: a turn is three of them.
fn large(count: i64) -> Vec<Vec<u8>> {
    let message = format!("{{\"s0\":\"{}\"}}", "x".repeat(100_000));
    (0..count).map(|base| batch(base, &[&message])).collect()
}

/// Each of three brokers has sent several turns' worth.
#[test]
fn lanes_take_turns() {
    let mut setup = Setup::new("lanes-take-turns");
    (setup.partitions, setup.brokers) = (3, 3);
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    rig.hold_turns = true;
    let said = Said::records(9, &large(9));
    for _ in 0..3 {
        rig.answer(&said);
    }
    let visible = |rig: &Rig| [1, 2, 3].map(|id| rig.visible_of(id));
    let mut rounds = Vec::new();
    while visible(&rig) != [9; 3] && rounds.len() < 40 {
        for _ in 0..3 {
            rig.turn();
        }
        // What is full is written.
        rig.settle();
        let [first, second, third] = visible(&rig);
        assert!(first == second && second == third, "{:?}", visible(&rig));
        rounds.push(first);
    }
    assert_eq!(rounds.last(), Some(&9));
    rounds.dedup();
    assert!(rounds.len() >= 3, "in several turns each: {rounds:?}");
}

/// The disk is full, and the first partition's records wait in the older of two responses.
#[test]
fn records_of_one_partition_do_not_wait_behind_anothers_in_an_older_response() {
    let mut setup = Setup::new("behind-nobody");
    setup.partitions = 2;
    setup.settings.max_offsets_per_batch_partition = 5;
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    rig.disk_full = true;
    let (some, nothing) = (Said::records(20, &[rows(0, 20)]), Said::nothing(20));
    rig.answer_each(0, |partition| if partition == 0 { &some } else { &nothing });
    assert_eq!((rig.visible_of(1), rig.visible_of(2)), (10, 0));
    assert_eq!(rig.leaf.rows().of(Row::BlockedBlocks), 1);
    let some = Said::records(20, &[rows(0, 4)]);
    rig.answer_each(0, |partition| if partition == 1 { &some } else { &nothing });
    assert_eq!((rig.visible_of(1), rig.visible_of(2)), (10, 4));
    rig.pass(30);
    rig.pass(30);
    assert_eq!(rig.leaf.rows().of(Row::BlockedBlocks), 1, "it waits on");
}

#[test]
fn bytes_are_counted_and_the_end_closes_every_connection() {
    let mut setup = Setup::new("counted-and-closed");
    (setup.partitions, setup.brokers) = (2, 2);
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    assert_eq!(rig.connected(), 2);
    let received = |rig: &Rig| {
        let leaves = rig.views.leaves();
        leaves[0].received_bytes.load(Ordering::Relaxed)
    };
    let before = received(&rig);
    let said = Said::records(4, &[rows(0, 4)]);
    let partition = rig.fetches[0].asked[0].0;
    let good = ingest::kafka::ErrorCode::None;
    let (connection, bytes) = rig.response(0, good, 0, &[(partition, good, &said)], None);
    rig.arrive(connection, &bytes);
    assert_eq!(received(&rig) - before, bytes.len() as u64);
    rig.on(Event::Order(Order::Shutdown));
    rig.settle();
    rig.pass(200);
    assert!(rig.leaf.is_ended());
    assert_eq!(rig.connected(), 0);
}

/// Of two record batches of small messages the first is most of a turn: the second gets what is left of it.
#[test]
fn a_turn_is_as_large_for_many_record_batches_as_for_one() {
    const TEXT_BYTES: usize = 4_000;
    // Of no column: a block's first one has little room for text.
    let message = format!("{{\"v\":1,\"of\":\"{}\"}}", "x".repeat(TEXT_BYTES));
    let of = |base, count| batch(base, &vec![message.as_str(); count]);
    let mut rig = Rig::new(Setup::new("turn-of-two"));
    rig.run(Goal::Run);
    rig.hold_turns = true;
    rig.answer(&Said::records(200, &[of(0, 50), of(50, 150)]));
    assert!(rig.turn());
    let in_a_turn = (limits::TURN_BYTES / TEXT_BYTES) as i64;
    let visible = rig.visible();
    assert!((50..=in_a_turn + 1).contains(&visible), "{visible}");
}

#[test]
fn a_turn_takes_every_record_batch_that_it_has_room_for() {
    let mut rig = Rig::new(Setup::new("turn-of-many"));
    rig.run(Goal::Run);
    rig.hold_turns = true;
    rig.answer(&Said::records(9, &[rows(0, 3), rows(3, 3), rows(6, 3)]));
    assert!(rig.turn());
    assert_eq!(rig.visible(), 9);
    assert_eq!(rig.leaf.rows().of(Row::CutAtMax), 0);
}

/// Parse errors of one commit are spread over the record batches of one turn.
#[test]
fn a_threshold_counts_over_the_record_batches_of_a_turn() {
    let mut rig = Rig::new(Setup::skipping("turn-threshold", 2));
    rig.run(Goal::Run);
    let each = |base| batch(base, &["{}", "{"]);
    rig.answer(&Said::records(6, &[each(0), each(2), each(4)]));
    let failure = rig.failed().expect("the third of one commit").clone();
    assert_eq!((rig.visible(), failure.offset), (5, 5));
    assert_eq!(rig.leaf.rows().of(Row::Rejected), 1, "in one step");
    rig.pass(200);
    assert_eq!(rig.counts().rejected, 2);
}

/// How fresh rows are is counted for each row, and for nothing that is none.
#[test]
fn freshness_counts_rows_and_not_what_is_rejected() {
    let mut setup = Setup::new("turn-freshness");
    setup.settings.skip_errors = SkipErrors::All;
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    let shown = |rig: &mut Rig| {
        rig.pass(limits::GAUGES_AGE_MS);
        rig.views.freshness().len()
    };
    rig.answer(&Said::records(9, &[batch(0, &["{", "{"])]));
    assert_eq!((rig.visible(), shown(&mut rig)), (2, 0));
    assert_eq!(rig.leaf.rows().of(Row::Rejected), 1);
    rig.answer(&Said::records(9, &[rows(2, 3)]));
    assert_eq!((rig.visible(), shown(&mut rig)), (5, 3));
    assert_eq!(rig.leaf.rows().of(Row::Rejected), 1);
}

/// A record batch was corrupt once, came whole, and its commit was void: it is met again, corrupt once more.
#[test]
fn a_corrupt_record_batch_counts_anew_behind_one_that_was_whole() {
    let mut bent = rows(0, 4);
    *bent.last_mut().expect("bytes") ^= 1;
    let (bent, whole) = (Said::records(4, &[bent]), Said::records(4, &[rows(0, 4)]));
    let mut rig = Rig::new(Setup::new("corrupt-anew"));
    rig.hold_disk = true;
    rig.run(Goal::Run);
    rig.answer(&bent);
    assert_eq!(rig.leaf.rows().of(Row::CorruptFirst), 1);
    rig.answer(&whole);
    assert_eq!((rig.visible(), rig.failed()), (4, None));
    rig.void();
    assert_eq!(rig.visible(), 0, "it is void");
    rig.answer(&Said::nothing(4));
    rig.answer(&bent);
    assert_eq!(rig.leaf.rows().of(Row::CorruptFirst), 2);
    // To the fetch that was on its way, which is void.
    assert_eq!(rig.fetches[0].asked, [(0, 4)]);
    rig.answer(&Said::nothing(4));
    rig.answer(&whole);
    assert_eq!((rig.visible(), rig.failed()), (4, None));
}

/// What retention took.
fn losing(name: &'static str, change: impl FnOnce(&mut Setup)) -> Rig {
    let mut setup = Setup::new(name);
    setup.settings.stop_on_error = false;
    change(&mut setup);
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    rig.answer(&Said::records(100, &[rows(0, 4)]));
    let nothing = Said::nothing(100);
    rig.answer_with(0, &[(0, ErrorCode::OffsetOutOfRange, &nothing)]);
    rig
}

#[test]
fn what_retention_took_is_given_up_commit_by_commit_and_asked_for_once() {
    let mut rig = losing("lost-in-commits", |setup| {
        setup.settings.max_offsets_per_batch_partition = 5;
    });
    log_range(&mut rig, 17, 100);
    rig.pass(200);
    assert_eq!((rig.visible(), rig.fetches[0].asked[0].1), (17, 17));
    assert_eq!(ranges_asked(&rig), [4]);
    rig.pass(200);
    let commits = rig.attached().view.snapshot().commits().count();
    assert_eq!((rig.counts().lost, commits), (13, 4));
}

/// Its lineage ends at an offset that retention took, with more behind it.
#[test]
fn what_retention_took_is_given_up_to_the_lineages_end_and_no_further() {
    let mut rig = losing("lost-to-the-end", |setup| setup.end_offset = Some(7));
    log_range(&mut rig, 9, 100);
    rig.pass(200);
    assert_eq!((rig.visible(), rig.fetches.len()), (7, 0));
    assert_eq!((rig.counts().loaded, rig.counts().lost), (4, 3));
    assert_eq!(rig.failed(), None);
}
