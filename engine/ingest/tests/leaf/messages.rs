//! Messages that no block holds, and how parse errors are counted.

use std::sync::atomic::Ordering;

use ingest::leaf::order::{Goal, Report};
use ingest::pipeline::SkipErrors;

use crate::memory::all_held;
use crate::rig::{Rig, Said, Setup, batch, rows, settings};

#[test]
fn a_message_of_more_rows_than_memory_holds_is_named_and_does_not_wait() {
    let mut setup = Setup::new("many-rows");
    (setup.texts, setup.settings) = (40, settings(40));
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    let message = "{\"v\":1}".repeat(60_000);
    rig.answer(&Said::records(3, &[rows(0, 2), batch(2, &[&message])]));
    rig.pass(1_000);
    let failure = rig.failed().expect("named").clone();
    assert_eq!((rig.visible(), failure.offset), (2, 2));
    assert!(failure.deterministic);
    let text = "topic 'orders' partition 0 offset 2: the message needs ";
    assert!(failure.text.starts_with(text), "{}", failure.text);
    let mend = "more than the 25165824 there are: raise [memory] leaf_bytes, or ALTER PIPELINE ... SET OFFSETS past it";
    assert!(failure.text.ends_with(mend), "{}", failure.text);
}

#[test]
fn a_message_of_many_rows_that_memory_holds_is_loaded() {
    let mut setup = Setup::new("rows-that-fit");
    setup.memory_bytes = 64 << 20;
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    let message = "{\"v\":1}".repeat(65_536);
    rig.hold_turns = true;
    rig.answer(&Said::records(3, &[rows(0, 2), batch(2, &[&message])]));
    let shown = |rig: &Rig| rig.attached().view.snapshot().rows();
    let mut seen = vec![shown(&rig)];
    for _ in 0..20 {
        rig.turn();
        seen.push(shown(&rig));
        rig.pass(100);
    }
    seen.dedup();
    assert_eq!(seen, [0, 2, 2 + 65_536], "all or none");
    assert_eq!((rig.visible(), rig.failed()), (3, None));
}

#[test]
fn a_poison_message_larger_than_memory_is_kept_by_its_text_and_a_stop_ends() {
    let mut setup = Setup::new("large-poison");
    setup.memory_bytes = 16 << 20;
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    let message = format!("{{\"v\":{}", "9".repeat(13 << 20));
    rig.answer(&Said::records(3, &[rows(0, 2), batch(2, &[&message])]));
    rig.pass(1_000);
    assert_eq!(rig.failed().expect("poison").offset, 2);
    rig.goal(Goal::Stop);
    rig.pass(1_000);
    let stopped = |report: &Report| {
        matches!(
            report,
            Report::Reached {
                goal: Goal::Stop,
                ..
            }
        )
    };
    assert!(rig.reports.iter().any(stopped), "{:?}", rig.reports);
    let faults: Vec<_> = rig.attached().view.snapshot().rejects().collect();
    let fault = faults[0].as_ref().expect("sound");
    assert_eq!((fault.offset.0, fault.message.len()), (2, 0));
    assert!(
        fault.text.contains("offset 2: Invalid JSON text"),
        "{}",
        fault.text
    );
}

#[test]
fn parse_errors_count_for_the_commit_that_they_go_into() {
    let mut rig = Rig::new(Setup::skipping("threshold", 3));
    rig.run(Goal::Run);
    rig.hold_disk = true;
    rig.answer(&Said::records(20, &[batch(0, &["{", "{", "{}"])]));
    rig.pass(100);
    // The segment is made, the commit is being written, and the next one has two of its own.
    assert!(rig.finish_disk());
    rig.pass(1);
    assert_eq!(rig.disk.len(), 1);
    rig.answer(&Said::records(20, &[batch(3, &["{", "{", "{}"])]));
    assert_eq!((rig.visible(), rig.failed()), (6, None));
    // The first commit is written: that says nothing of the second.
    assert!(rig.finish_disk());
    rig.answer(&Said::records(20, &[batch(6, &["{", "{", "{}"])]));
    let failure = rig.failed().expect("the fourth of one commit").clone();
    assert_eq!((rig.visible(), failure.offset), (7, 7));
    let text = "this passes pipelines_parse_errors_threshold";
    assert!(failure.text.ends_with(text), "{}", failure.text);
}

#[test]
fn parse_errors_of_a_commit_that_is_void_do_not_count() {
    let mut rig = Rig::new(Setup::skipping("threshold-void", 2));
    rig.run(Goal::Run);
    rig.hold_disk = true;
    let two = Said::records(20, &[batch(0, &["{", "{", "{}"])]);
    rig.answer(&two);
    rig.void();
    assert_eq!((rig.visible(), rig.failed()), (0, None), "it is void");
    // The fetch that was on its way is void too.
    rig.answer(&Said::nothing(20));
    rig.answer(&two);
    rig.pass(200);
    assert_eq!((rig.visible(), rig.failed()), (3, None));
    assert_eq!(rig.counts().rejected, 2);
}

#[test]
fn rejects_count_what_was_committed_as_one_and_not_each_attempt_at_a_poison_message() {
    let rejects = |rig: &Rig| {
        let attached = rig.attached();
        attached.view.gauges.rejects.load(Ordering::Relaxed)
    };
    let poison = Said::records(3, &[batch(0, &["{\"v\":1}", "{", "{\"v\":2}"])]);
    let mut rig = Rig::new(Setup::new("poison-again"));
    rig.run(Goal::Run);
    for attempt in 1..=3 {
        rig.answer(&poison);
        rig.pass(200);
        assert_eq!(rig.failed().expect("poison").offset, 1);
        assert_eq!(rejects(&rig), 0, "attempt {attempt}: nothing was rejected");
        rig.run(Goal::Run);
        rig.pass(5_000);
    }
    let history = rig.attached().view.snapshot().rejects().count();
    assert_eq!(history, 3, "the history keeps each attempt");

    let mut setup = Setup::new("reject-once");
    setup.settings.skip_errors = SkipErrors::Parser;
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    rig.answer(&poison);
    rig.pass(200);
    assert_eq!(
        (rig.visible(), rejects(&rig), rig.counts().rejected),
        (3, 1, 1)
    );
}

#[test]
fn ingest_waits_for_what_queries_hold_and_says_so() {
    let (mut rig, mut held) = all_held(Setup::new("queries-hold"));
    let offset = held.len() as i64;
    assert!(
        (3..8).contains(&offset),
        "{offset} blocks of 1 MiB in 6 MiB"
    );
    rig.pass(30);
    let words = rig.words();
    let rest = words
        .strip_prefix("Held: the leaf's memory is in use, ")
        .expect(&words);
    assert!(
        rest.ends_with(" KiB of it by queries; goes on when a block is free"),
        "{words}"
    );
    rig.pass(1_000);
    assert_eq!(rig.visible(), offset - 1, "it waits");
    held.remove(0);
    rig.pass(10);
    assert_eq!(
        rig.visible(),
        offset,
        "and goes on without a word from the query"
    );
    assert_eq!(held[0].rows(), 2, "what is held stays what it was");
}

/// The byte that names a record batch's codec may have been turned on the way: it is fetched again, as any that is
/// corrupt, before the pipeline is in Error for good.
#[test]
fn a_codec_that_nobody_knows_is_fetched_again_before_it_is_believed() {
    const ATTRIBUTES_AT: usize = 22;
    let mut bent = rows(3, 2);
    bent[ATTRIBUTES_AT] = 5;
    let mut rig = Rig::new(Setup::new("codec"));
    rig.run(Goal::Run);
    rig.answer(&Said::records(5, &[rows(0, 3), bent.clone()]));
    rig.answer(&Said::records(5, &[rows(3, 2)]));
    assert_eq!((rig.visible(), rig.failed()), (5, None));
    bent[7] = 5;
    let mut answers = 0;
    while rig.failed().is_none() && answers < 4 {
        answers += 1;
        rig.answer(&Said::records(7, &[bent.clone()]));
        rig.pass(200);
    }
    assert_eq!(
        answers, 3,
        "the second is to a fetch that was on its way and is void"
    );
    let failure = rig.failed().expect("it is what the log holds");
    assert!(failure.deterministic && failure.text.contains("unknown compression codec 5"));
    assert_eq!(rig.visible(), 5);
}
