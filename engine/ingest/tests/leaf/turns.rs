//! Whose records are loaded next: each lane and each partition in its turn, and nobody behind one that waits.

use std::sync::atomic::Ordering;

use ingest::leaf::Event;
use ingest::leaf::order::{Goal, Order};
use ingest::leaf::rows::Row;

use crate::rig::{Rig, Said, Setup, batch, rows};

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
