//! What goes to quarantine, and the way there: a file is gone from where it lay only once it is found where
//! it went.

use std::fs;
use std::path::Path;

use storage::disk::{Disk, Failure};
use storage::format::{CommitRecord, Hole, parse_header};
use storage::recovery::{move_away, quarantine};
use storage::store::StoreSettings;

use crate::damage::commits;
use crate::rig::Rig;
use crate::watched::Watched;

fn hole(file: &Path) -> Hole {
    let bytes = fs::read(file).expect("it is there");
    let header = parse_header(&bytes).expect("a header");
    Hole::of(&header.header, "a test".to_owned())
}

#[test]
fn the_directory_that_a_file_is_moved_to_is_durable_before_it_is_moved() {
    let mut rig = Rig::new("moved", 1, StoreSettings::default());
    rig.commit(3, "a");
    let file = rig.segments()[0].clone();
    let data_dir = rig.directory().ancestors().nth(3).expect("data_dir");
    for to in ["quarantine", "orphans"] {
        let disk = Watched::default();
        let directory = data_dir.join(to);
        let moved_to = match to {
            "orphans" => move_away(&disk, &file, &directory),
            _ => quarantine(&disk, &file, &directory, hole(&file))
                .map(|hole| directory.join(hole.moved_to)),
        };
        // The hole is there, by a durable name, before the segment goes.
        let hole = (to == "quarantine").then(|| "sync 1".to_owned());
        let expected: Vec<String> = [format!("make {to}"), "sync moved".to_owned()]
            .into_iter()
            .chain(hole)
            .chain(["rename to 1-1-1.0.arrow".to_owned()])
            .chain([format!("sync {to}"), "sync 1".to_owned()])
            .collect();
        assert_eq!(disk.said(), expected);
        let back = disk.rename(&moved_to.expect("moved"), &file);
        back.expect("moved back");
    }
}

/// The only record that says that the first segment was durable is one whose body is cut off. With it goes
/// its word: damage in the first segment must be found before, or the next recovery would take the rows
/// there for some that were never durable.
#[test]
fn a_segment_is_looked_at_before_the_only_record_that_vouches_for_it_is_cut() {
    let settings = StoreSettings {
        segment_commits_max: 3,
        merge_rows_mean_min: 0,
        ..StoreSettings::default()
    };
    let torn_and_damaged = |name: &str, damaged: bool| {
        let mut rig = Rig::new(name, 1, settings.clone());
        for _ in 0..2 {
            rig.commit(3, "a");
        }
        // The second segment is made before the first is durable, and says nothing of it by itself.
        for _ in 0..2 {
            rig.load(3, "a");
            rig.pass_but(settings.flush_age_ms, |op| !op.is_sync());
        }
        rig.pass(settings.sync_age_ms);
        rig.commit(3, "a");
        let [first, second] = &rig.segments()[..] else {
            panic!("two segments");
        };
        let mut bytes = fs::read(second).expect("it is there");
        let [(_, one), (at, two)] = &commits(&bytes)[..] else {
            panic!("two commits");
        };
        assert!(one.durable_end == 0 && two.durable_end > 0);
        bytes.truncate(at + two.message_bytes() as usize - 64);
        fs::write(second, bytes).expect("written");
        if damaged {
            let mut bytes = fs::read(first).expect("it is there");
            let (at, last) = commits(&bytes).pop().expect("a commit");
            bytes[at + last.head_bytes as usize] ^= 1;
            fs::write(first, bytes).expect("written");
        }
        rig.again();
        rig
    };
    let torn = torn_and_damaged("torn", false);
    assert_eq!((torn.rows(), torn.failed()), (12, None));
    let damaged = torn_and_damaged("damaged", true);
    let failed = damaged.failed();
    assert!(
        matches!(failed, Some(Failure::Corrupt { .. })),
        "{failed:?}"
    );
}

/// A lineage begins when all before it is durable. Its first segment says so by being there, also where no
/// record of any other does: damage before it is never taken for what was not durable yet.
#[test]
fn what_a_new_lineage_was_begun_behind_was_durable() {
    let settings = StoreSettings {
        segment_commits_max: 1,
        merge_rows_mean_min: 0,
        ..StoreSettings::default()
    };
    let mut rig = Rig::new("new-lineage", 1, settings);
    rig.commit(3, "a");
    rig.commit(3, "a");
    rig.rewind(100, false);
    let [first, second, third] = &rig.segments()[..] else {
        panic!("three segments: {:?}", rig.names());
    };
    for path in [first, second, third] {
        let bytes = fs::read(path).expect("it is there");
        let vouching = |(_, record): &(usize, CommitRecord)| record.durable_end > 0;
        assert!(!commits(&bytes).iter().any(vouching));
    }
    let mut bytes = fs::read(first).expect("it is there");
    let (at, _) = commits(&bytes)[0];
    bytes[at + 20] ^= 1;
    fs::write(first, bytes).expect("written");
    rig.again();
    assert!(matches!(rig.failed(), Some(Failure::Corrupt { .. })));
    rig.again();
    assert_eq!((rig.failed(), rig.rows()), (None, 3));
    assert_eq!(rig.told(), ["offsets 0 to 2"]);
    assert_eq!(rig.store.cursors().durable.0, 100);
}
