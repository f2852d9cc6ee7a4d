//! What the aggregator tells a leaf, and what the leaf has asked and told it.

use ingest::leaf::Event;
use ingest::leaf::order::{Leader, Order, Pairing, Report};

use crate::rig::{PARTITION, Rig, Setup};

/// Broker 1 leads the first one, in this epoch.
pub fn led(rig: &mut Rig, epoch: i32) {
    led_by(rig, ("broker", 9_092), epoch);
}

/// The same at another address.
pub fn led_by(rig: &mut Rig, (host, port): (&str, u16), epoch: i32) {
    rig.on(Event::Order(Order::Leader {
        leaf_partition: PARTITION,
        leader: Leader {
            broker: 1,
            host: host.to_owned(),
            port,
            epoch,
        },
    }));
    rig.settle();
}

/// Where epoch 0 ends in the first one's log, as this leader has it.
pub fn epoch_end(rig: &mut Rig, leader_epoch: i32, end_offset: i64) {
    rig.on(Event::Order(Order::EpochEnd {
        leaf_partition: PARTITION,
        leader_epoch,
        epoch: 0,
        end_offset,
    }));
    rig.settle();
}

/// What the first one's log holds; the question was of its cursor as it is.
pub fn log_range(rig: &mut Rig, log_start_offset: i64, log_end_offset: i64) {
    rig.on(Event::Order(Order::LogRange {
        leaf_partition: PARTITION,
        generation: rig.leaf.partition(PARTITION).unwrap().generation,
        offset: rig.visible(),
        log_start_offset,
        log_end_offset,
    }));
    rig.settle();
}

/// Attaches one as the rig attaches its first, but for what is changed of generation and pairing.
pub fn attach(rig: &mut Rig, change: impl FnOnce(&mut u64, &mut Pairing)) {
    let mut order = Rig::attach_order(&Setup::new("attached"));
    if let Order::Attach {
        generation,
        pairing,
        ..
    } = &mut order
    {
        change(generation, pairing);
        let directory = rig.directory(pairing.leaf_partition);
        std::fs::create_dir_all(directory).expect("writable");
    }
    rig.on(Event::Order(order));
    rig.settle();
}

/// Of which leaf partitions it was asked who leads, and what was known.
pub fn leaders_asked(rig: &Rig) -> Vec<(u64, i32)> {
    let asked = rig.reports.iter().filter_map(|report| match report {
        Report::LeaderUnknown {
            leaf_partition,
            epoch,
        } => Some((*leaf_partition, *epoch)),
        _ => None,
    });
    asked.collect()
}

/// The offsets for which it was asked what the log holds.
pub fn ranges_asked(rig: &Rig) -> Vec<i64> {
    let asked = rig.reports.iter().filter_map(|report| match report {
        Report::RangeUnknown { offset, .. } => Some(*offset),
        _ => None,
    });
    asked.collect()
}

/// The leader epochs that were asked of where epoch 0 ends.
pub fn epochs_asked(rig: &Rig) -> Vec<i32> {
    let asked = rig.reports.iter().filter_map(|report| match report {
        Report::EpochUnchecked { leader_epoch, .. } => Some(*leader_epoch),
        _ => None,
    });
    asked.collect()
}

/// Which loads in the foreground have ended: leaf partition, cursor, rows.
pub fn caught_up(rig: &Rig) -> Vec<(u64, i64, u64)> {
    let cursor = |report: &Report| match *report {
        Report::CaughtUp {
            leaf_partition,
            cursor,
            rows,
            ..
        } => Some((leaf_partition, cursor, rows)),
        _ => None,
    };
    rig.reports.iter().filter_map(cursor).collect()
}
