//! START ... FOREGROUND LIMIT n BATCHES: n commits that are durable, and not one that a failed disk took back.

use ingest::kafka::ErrorCode;
use ingest::leaf::order::Goal;
use storage::disk::DiskOp;

use crate::rig::{Rig, Said, Setup, rows};
use crate::told::{caught_up, log_range};

fn limited(batches: u64) -> Goal {
    Goal::Foreground {
        batches_max: Some(batches),
    }
}

/// Rows up to `end`, of a log that goes on; then their commit is due.
fn commit(rig: &mut Rig, from: i64, end: i64) {
    assert_eq!(rig.fetches[0].asked, [(0, from)]);
    rig.answer(&Said::records(1_000, &[rows(from, end - from)]));
    rig.pass(200);
}

fn is_no_sync(op: &DiskOp) -> bool {
    !op.is_sync()
}

/// Writes what waits and leaves its sync on its way.
fn write(rig: &mut Rig) {
    while rig.finish_disk_if(is_no_sync) {}
    rig.pass(200);
}

#[test]
fn a_limit_of_commits_ends_it_also_where_they_are_small() {
    let mut rig = Rig::new(Setup::new("limit"));
    rig.run(limited(2));
    commit(&mut rig, 0, 3);
    assert_eq!(caught_up(&rig), []);
    commit(&mut rig, 3, 7);
    assert_eq!(caught_up(&rig), [(1, 7, 7)]);
    assert_eq!(rig.words(), "Stopped");
    // Behind it another limit counts anew.
    rig.reports.clear();
    rig.run(limited(1));
    rig.pass(200);
    commit(&mut rig, 7, 9);
    assert_eq!(caught_up(&rig), [(1, 9, 2)]);
}

#[test]
fn a_commit_that_is_void_is_made_again_and_a_durable_one_is_not() {
    for (name, durable) in [("limit-void", false), ("limit-void-behind", true)] {
        let mut rig = Rig::new(Setup::new(name));
        rig.hold_disk = true;
        rig.run(limited(2));
        commit(&mut rig, 0, 3);
        write(&mut rig);
        if durable {
            while rig.finish_disk() {}
            rig.pass(1);
        }
        commit(&mut rig, 3, 5);
        write(&mut rig);
        assert_eq!(caught_up(&rig), [], "{name}: nothing is durable of it");
        rig.fail_sync();
        while rig.finish_disk_if(is_no_sync) {}
        rig.hold_disk = false;
        rig.settle();
        rig.pass(2_000);
        assert_eq!((caught_up(&rig), rig.failed()), (vec![], None), "{name}");
        let from = if durable { 3 } else { 0 };
        assert_eq!(rig.visible(), from, "{name}");
        commit(&mut rig, from, from + 1);
        if !durable {
            assert_eq!(caught_up(&rig), [], "{name}: both were void");
            commit(&mut rig, 1, 4);
        }
        assert_eq!(caught_up(&rig), [(1, 4, 4)], "{name}");
    }
}

/// What retention took ends the load as rows do, and nothing is fetched behind it.
#[test]
fn a_load_that_ends_with_what_retention_took_stands_still() {
    let mut setup = Setup::new("limit-lost");
    setup.settings.stop_on_error = false;
    setup.settings.max_offsets_per_batch_partition = 9;
    let mut rig = Rig::new(setup);
    rig.run(limited(1));
    rig.answer(&Said::records(1_000, &[rows(0, 4)]));
    let nothing = Said::nothing(1_000);
    rig.answer_with(0, &[(0, ErrorCode::OffsetOutOfRange, &nothing)]);
    log_range(&mut rig, 9, 1_000);
    rig.pass(200);
    rig.pass(200);
    assert_eq!((caught_up(&rig), rig.counts().lost), (vec![(1, 9, 4)], 5));
    assert_eq!((rig.fetches.len(), rig.words()), (0, "Stopped".to_owned()));
}
