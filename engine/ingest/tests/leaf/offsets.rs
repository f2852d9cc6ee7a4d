//! Offsets are not under a record batch's checksum: what a broker's answer contradicts is named, and
//! nothing is counted for it.

use ingest::leaf::order::{FailureKind, Goal};

use crate::rig::{Rig, Said, Setup, batch, rows};

fn running(name: &'static str) -> Rig {
    let mut rig = Rig::new(Setup::new(name));
    rig.run(Goal::Run);
    assert_eq!(rig.fetches[0].asked, [(0, 0)]);
    rig
}

/// The same answer twice: fetched again the first time, Failed the second.
fn refused(name: &'static str, said: &Said, text: &str) {
    let mut rig = running(name);
    rig.answer(&Said::records(4, &[rows(0, 4)]));
    assert_eq!((rig.visible(), rig.fetches[0].asked[0].1), (4, 4));
    rig.answer(said);
    assert_eq!((rig.visible(), rig.failed()), (4, None), "{name}");
    assert_eq!(
        rig.fetches[0].asked[0].1, 4,
        "fetched again from the cursor"
    );
    rig.answer(said);
    let failure = rig.failed().expect("named").clone();
    assert_eq!((rig.visible(), failure.offset), (4, 4));
    assert_eq!(
        (failure.kind, failure.deterministic),
        (FailureKind::Extract, false)
    );
    assert_eq!(
        failure.text,
        format!("topic 'orders' partition 0 at offset 4: {text}")
    );
    rig.pass(200);
    assert_eq!(rig.counts().gap, 0, "nothing is counted");
    assert_eq!(rig.attached().view.snapshot().rows(), 4);
}

#[test]
fn a_record_batch_beyond_the_log_is_named_and_nothing_is_counted() {
    // A flipped bit of the base offset, which no checksum covers: 5 became 1029.
    refused(
        "beyond",
        &Said::records(9, &[rows(4 + 1024, 5)]),
        "the record batch of offsets 1028 to 1032 lies beyond offset 9, where the log ends by the \
         broker's own answer",
    );
    // Its end is beyond, its beginning not.
    refused(
        "beyond-end",
        &Said::records(9, &[rows(5, 5)]),
        "the record batch of offsets 5 to 9 lies beyond offset 9, where the log ends by the broker's \
         own answer",
    );
    // What read_committed gets ends at the last stable offset.
    refused(
        "beyond-stable",
        &Said {
            high_watermark: 30,
            ..Said::records(9, &[rows(9, 5)])
        },
        "the record batch of offsets 9 to 13 lies beyond offset 9, where the log ends by the broker's \
         own answer",
    );
}

#[test]
fn a_record_batch_below_the_one_before_it_is_named_and_nothing_is_counted() {
    refused(
        "below",
        &Said::records(40, &[rows(0, 4), rows(20, 5)]),
        "the record batch of offsets 0 to 3 stands where offset 4 or a later one should",
    );
}

#[test]
fn what_stands_before_a_lying_record_batch_is_loaded() {
    let mut rig = running("before");
    let lying = Said::records(12, &[rows(0, 4), rows(2, 4), rows(8, 4)]);
    rig.answer(&lying);
    assert_eq!((rig.visible(), rig.failed()), (4, None));
    let again = Said::records(12, &[rows(4, 4), rows(8 + 64, 4)]);
    rig.answer(&again);
    assert_eq!((rig.visible(), rig.failed()), (8, None));
    rig.answer(&Said::records(12, &[rows(8, 4)]));
    assert_eq!((rig.visible(), rig.failed()), (12, None));
    rig.pass(200);
    assert_eq!((rig.counts().loaded, rig.counts().gap), (12, 0));
}

#[test]
fn a_gap_within_the_log_is_compactions_and_a_read_uncommitted_one_ends_at_the_high_watermark() {
    let mut setup = Setup::new("uncommitted");
    setup.settings.read_committed = false;
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    let said = Said {
        last_stable_offset: 2,
        ..Said::records(40, &[rows(3, 4), batch(30, &["{\"v\":1}"])])
    };
    rig.answer(&said);
    assert_eq!((rig.visible(), rig.failed()), (31, None));
    rig.pass(200);
    assert_eq!((rig.counts().loaded, rig.counts().gap), (5, 26));
}
