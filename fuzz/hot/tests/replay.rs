//! Every kept input again, on stable Rust and without a fuzzer; segments over real files and maps too.

#[path = "../../../storage/tests/hasty/mod.rs"]
mod hasty;

use std::fs;
use std::path::Path;

use fuzz_hot::TARGETS;
use fuzz_hot::corpus::Target;
use fuzz_hot::segments::Directory;
use hasty::Hasty;

#[test]
fn every_kept_input_keeps_its_promises() {
    for target in TARGETS {
        let inputs = target.replay();
        assert!(inputs > 0, "{} has no corpus", target.name);
    }
}

/// A read beyond a file's end is an error over a disk in memory; here it would end the process.
#[test]
fn every_kept_directory_of_segments_is_recovered_and_read_over_maps() {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("segments");
    let target = Target::named(TARGETS, "segments");
    let mut met = 0;
    for entry in fs::read_dir(target.folder()).expect("its corpus") {
        let bytes = fs::read(entry.expect("readable").path()).expect("readable");
        let _ = fs::remove_dir_all(&root);
        let directory = Directory::of(&bytes);
        fs::create_dir_all(root.join("5/7")).expect("the target directory can be written");
        for (path, bytes) in directory.paths(&root) {
            fs::write(path, bytes).expect("written");
        }
        directory.meet(&Hasty, &root, || ());
        met += 1;
    }
    assert!(met > 0);
}
