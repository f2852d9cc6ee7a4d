//! The way into quarantine: a file is gone from where it lay only once it is found where it went.

use std::path::Path;

use storage::disk::Disk;
use storage::format::{Hole, parse_header};
use storage::recovery::{move_away, quarantine};
use storage::store::StoreSettings;

use crate::rig::Rig;
use crate::watched::Watched;

fn hole(file: &Path) -> Hole {
    let bytes = std::fs::read(file).expect("it is there");
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
