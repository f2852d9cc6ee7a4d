//! Histories that went wrong once, each as it was.

use ingest::leaf::order::Goal;
use ingest::leaf::partition::Fetch;
use storage::ids::LeafPartitionId;

use super::drive::{Drive, NODE};
use crate::sim::case::Case;
use crate::sim::{Coverage, Trace};

/// Records wait in a frame for the disk, the next fetch is out of range: only what was never fetched is
/// lost.
#[test]
fn what_waits_in_a_frame_is_loaded_before_anything_is_given_up() {
    let mut lost_behind = 0;
    for seed in 0..SEEDS {
        let (mut coverage, mut trace) = (Coverage::default(), Trace::default());
        let case = Case::of(seed);
        let mut drive = Drive::new(&case, &mut coverage, &mut trace);
        if drive.partitions.len() > 1 {
            continue;
        }
        let (fetched, start, lost) = match lose_behind_a_frame(&mut drive) {
            Ok(Some(found)) => found,
            // Its responses are too many to all wait.
            Ok(None) => continue,
            Err(what) => panic!("seed {seed}: {what}"),
        };
        assert!(start > fetched, "{start} is above {fetched}");
        assert_eq!(lost, (start - fetched) as u64, "seed {seed}: to {start}");
        lost_behind += 1;
    }
    assert!(lost_behind >= 3, "in {lost_behind} seeds something waited");
}

const SEEDS: u64 = 40;
const STEPS_MAX: u32 = 10_000;

/// Where the fetch ended, where the log begins afterwards, and what was counted as lost.
fn lose_behind_a_frame(drive: &mut Drive<'_>) -> Result<Option<(i64, i64, u64)>, String> {
    drive.world.healed = true;
    drive.world.rules.stop_on_error = false;
    drive.world.rules.skips = true;
    drive.world.rules.offsets_max = 5;
    drive.world.cluster.faults = 0;
    drive.world.cluster.room_divisor = 8;
    let append = |drive: &mut Drive<'_>| (0..6).for_each(|_| drive.world.append(0));
    append(drive);
    drive.world.cluster.logs[0].settle();
    drive.attach_all()?;
    while !drive.partitions[0].attached {
        drive.progress()?;
    }
    let waits = |drive: &Drive<'_>| {
        let one = drive.world.nodes[NODE].leaf.partition(1);
        let mut wires = drive.world.cluster.wires.values();
        one.is_some_and(|one| one.visible() < one.fetched && one.fetch == Fetch::InFlight)
            && wires.all(|wire| wire.outbox.is_empty())
            && drive.world.cluster.logs[0].end() == one.map_or(0, |one| one.fetched.0)
    };
    if !without_disk(drive, waits)? {
        return Ok(None);
    }
    let fetched = drive.world.cluster.logs[0].end();
    append(drive);
    let log = &mut drive.world.cluster.logs[0];
    log.settle();
    log.batches.retain(|batch| batch.base > fetched);
    log.start = log.batches[0].base;
    let start = log.start;
    drive.run_until(Drive::is_caught_up, "the log's end")?;
    drive.partitions[0].stopping = true;
    drive.goal(0, Goal::Stop)?;
    drive.run_until(|drive| !drive.partitions[0].stopping, "a stop")?;
    drive.look_all()?;
    let view = drive.world.views.get(LeafPartitionId(1)).ok_or("no view")?;
    let snapshot = view.snapshot();
    let lost = snapshot
        .commits()
        .map(|commit| commit.map(|commit| commit.counts.lost));
    let lost: Result<u64, _> = lost.sum();
    let lost = lost.map_err(|error| error.to_string())?;
    Ok(Some((fetched, start, lost)))
}

/// Everything gets on but the disk, until so it is; whether it came to that.
fn without_disk(drive: &mut Drive<'_>, done: impl Fn(&Drive<'_>) -> bool) -> Result<bool, String> {
    for _ in 0..STEPS_MAX {
        if done(drive) {
            return Ok(true);
        }
        drive.world.connect_progress(NODE)?;
        drive.world.wire_progress(NODE)?;
        drive.report_progress()?;
        drive.answer_progress()?;
        drive.world.turn(NODE)?;
        drive.world.tick_if_due(NODE)?;
    }
    Ok(false)
}
