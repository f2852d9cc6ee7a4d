//! What is planted beside the broker's log is named, by its offset.

use ingest::audit::Range;

use crate::rig::{BAD, Plan, TIMESTAMP_MS, message};

/// The records are sound; verifying finds this, in the range of that place.
fn finds(range: usize, change: impl Fn(&mut Plan), expected: &str) {
    let plan = Plan::with(change);
    let records = plan.records();
    assert!(records.ranges.iter().all(Range::is_ok), "{expected}");
    let outcome = plan.verify();
    let statuses = outcome.statuses();
    assert!(
        statuses[range].contains(expected),
        "{statuses:#?}\n{expected}"
    );
    assert!(!outcome.ranges[range].is_ok());
    let others = outcome.ranges.iter().enumerate();
    let wrong: Vec<_> = others
        .filter(|(at, one)| *at != range && !one.is_ok())
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_loaded_offset_is_a_message_at_the_broker() {
    finds(
        2,
        |plan| plan.batch(115).records[0].2 = None,
        "offset 115: it has rows, and is a tombstone at the broker",
    );
    finds(
        1,
        |plan| plan.batch(110).control = true,
        "offset 110: it has rows, and is a control record at the broker",
    );
    finds(
        3,
        |plan| {
            plan.batch(118).producer = Some(7);
            let mut again = plan.aborted[0];
            (again.0.first_offset.0, again.1) = (118, 200);
            plan.aborted.push(again);
        },
        "offset 118: it has rows, and is an aborted record at the broker",
    );
}

#[test]
fn a_transaction_is_aborted_up_to_its_own_marker_alone() {
    // Without the marker between them the second transaction would be aborted too.
    finds(
        1,
        |plan| plan.batch(105).producer = Some(8),
        "offset 106: it has rows, and is an aborted record at the broker",
    );
    finds(
        1,
        |plan| plan.batch(105).records[0].1 = Some(&[0, 0, 0, 1]),
        "offset 106: it has rows, and is an aborted record at the broker",
    );
    // One that is not named is none: its record was to be loaded.
    finds(
        1,
        |plan| plan.aborted.clear(),
        "offset 104: a message at the broker, neither loaded nor rejected",
    );
}

#[test]
fn a_rejected_offset_is_a_message_at_the_broker() {
    finds(
        1,
        |plan| plan.batch(103).records[0].2 = None,
        "offset 103: it has a reject, and is a tombstone at the broker",
    );
    finds(
        1,
        |plan| plan.batch(103).control = true,
        "offset 103: it has a reject, and is a control record at the broker",
    );
}

#[test]
fn a_message_at_the_broker_is_loaded_rejected_or_skipped() {
    // A loaded offset that is missing: the commit calls it a gap.
    finds(
        2,
        |plan| {
            let commit = plan.commit(2, 2);
            commit.rows.remove(0);
            commit.facts.rows = 1;
            (commit.facts.counts.loaded, commit.facts.counts.gap) = (1, 1);
        },
        "offset 115: a message at the broker, neither loaded nor rejected",
    );
    // The same in the tail, which counts nothing yet.
    finds(
        3,
        |plan| {
            plan.tail[1].rows.remove(0);
        },
        "offset 119: a message at the broker, neither loaded nor rejected",
    );
    // A skip that nothing hinders to load.
    finds(
        2,
        |plan| plan.batch(111).records[0].2 = Some(message(111)),
        "offset 111: a message that can be loaded was skipped",
    );
    // Skipped on behind its record batch.
    finds(
        2,
        |plan| {
            plan.batch(111).records.truncate(2);
            let mut own = plan.batch(115).clone();
            own.base = 113;
            own.records[0].2 = Some(message(113));
            let mut bad = own.clone();
            bad.base = 114;
            bad.records[0].2 = Some(BAD.to_vec());
            plan.log.extend([own, bad]);
            plan.log.sort_by_key(|batch| batch.base);
        },
        "offset 113: a message that can be loaded was skipped",
    );
    // More skipped than counted: another message of the batch was called a gap.
    finds(
        2,
        |plan| {
            let counts = &mut plan.commit(2, 0).facts.counts;
            (counts.skipped, counts.gap) = (3, 1);
        },
        "offset 114: a message at the broker, neither loaded nor rejected",
    );
}

#[test]
fn classes_are_those_of_the_broker() {
    let class = |offset: i64, kind: &str, range: &str, counted: u64| {
        format!(
            "offset {offset}: {kind} at the broker, of which the commit of {range} counts {counted}"
        )
    };
    // A control record that was counted as a gap.
    finds(
        1,
        |plan| {
            let commit = plan.commit(1, 0);
            for counts in [&mut commit.replaced[1].counts, &mut commit.facts.counts] {
                counts.control -= 1;
                counts.gap += 1;
            }
        },
        &class(107, "a control record", "104 to 108", 1),
    );
    // A tombstone likewise.
    finds(
        1,
        |plan| {
            let commit = plan.commit(1, 0);
            for counts in [&mut commit.replaced[0].counts, &mut commit.facts.counts] {
                counts.empty -= 1;
                counts.gap += 1;
            }
        },
        &class(102, "a tombstone", "100 to 104", 0),
    );
    // An aborted record that was counted as a tombstone: each class is short or long.
    finds(
        1,
        |plan| {
            let commit = plan.commit(1, 0);
            for counts in [&mut commit.replaced[1].counts, &mut commit.facts.counts] {
                counts.aborted -= 1;
                counts.empty += 1;
            }
        },
        &class(104, "an aborted record", "104 to 108", 0),
    );
    // Lost to retention, says the commit, and the broker still has it.
    finds(
        1,
        |plan| {
            let commit = plan.commit(1, 0);
            for counts in [&mut commit.replaced[2].counts, &mut commit.facts.counts] {
                counts.gap -= 1;
                counts.lost += 1;
            }
            let mut there = plan.batch(110).clone();
            there.base = 108;
            there.records[0].2 = Some(message(108));
            plan.log.push(there);
            plan.log.sort_by_key(|batch| batch.base);
        },
        "offset 108: a message at the broker, neither loaded nor rejected",
    );
    // Before the pipeline was replaced it may have read what is aborted; no more than it counted.
    finds(
        1,
        |plan| {
            plan.replaced_unix_ms = Some(i64::MAX - 1);
            plan.aborted.clear();
            let commit = plan.commit(1, 0);
            for counts in [&mut commit.replaced[1].counts, &mut commit.facts.counts] {
                counts.aborted -= 1;
                counts.gap += 1;
            }
        },
        &class(104, "a message", "104 to 108", 0),
    );
}

#[test]
fn a_log_that_ends_below_what_was_loaded_is_named() {
    finds(
        3,
        |plan| plan.log_end = Some(119),
        "offset 119: the broker's log ends there, and it was loaded up to 121",
    );
    let plan = Plan::with(|plan| plan.log_end = Some(119));
    let compared = plan.verify().ranges[3].compared.clone().expect("compared");
    assert_eq!((compared.checked, compared.unasked), (2, 2));
}

#[test]
fn a_row_altered_behind_a_right_checksum_is_named() {
    finds(
        2,
        |plan| plan.commit(2, 2).rows[1].id = 7,
        "offset 116: column 'id' holds 7, its message says 116",
    );
    finds(
        1,
        |plan| plan.commit(1, 0).rows[2].word = None,
        "offset 101: column 'word' holds NULL, its message says 'w2'",
    );
    finds(
        3,
        |plan| plan.tail[1].rows[1].word = Some("W120".to_owned()),
        "offset 120: column 'word' holds 'W120', its message says 'w120'",
    );
    finds(
        0,
        |plan| plan.commit(0, 1).rows[0].timestamp_ms += 1,
        &format!(
            "offset 93: _timestamp is {}, its message's {}",
            TIMESTAMP_MS + 94,
            TIMESTAMP_MS + 93
        ),
    );
    finds(
        1,
        |plan| {
            let commit = plan.commit(1, 0);
            commit.rows.remove(2);
            commit.replaced[0].rows -= 1;
            commit.facts.rows -= 1;
        },
        "offset 101: 1 rows, its message has 2",
    );
    finds(
        2,
        |plan| plan.batch(115).records[0].2 = Some(BAD.to_vec()),
        "offset 115: it has rows, and its message cannot become any",
    );
}

#[test]
fn a_reject_is_of_a_message_that_cannot_be_loaded_and_keeps_it_whole() {
    finds(
        1,
        |plan| plan.batch(103).records[0].2 = Some(message(103)),
        "offset 103: it has a reject, and its message can become a row",
    );
    let reject = |what: &str| format!("offset 103: its reject has another {what} than its message");
    let changed = |change: fn(&mut crate::rig::Bad), what: &str| {
        finds(
            1,
            |plan| change(&mut plan.commit(1, 0).rejects[0]),
            &reject(what),
        );
    };
    changed(|bad| bad.message[2] = b'I', "message");
    changed(|bad| bad.key = None, "key");
    changed(|bad| bad.timestamp_ms += 1, "timestamp");
    changed(
        |bad| bad.kind = storage::block::RejectKind::Constraint,
        "kind",
    );
    changed(|bad| bad.column = Some(1), "column");
    changed(|bad| bad.line = 2, "line");
    changed(|bad| bad.code = 1264, "code");
}

#[test]
fn what_a_broker_answers_and_cannot_be_read_ends_the_comparison_and_not_the_audit() {
    let plan = Plan::with(|plan| plan.spoiled = true);
    let outcome = plan.verify();
    let statuses = outcome.statuses();
    assert!(
        statuses[1].starts_with("ok, the broker was not asked: what it answers cannot be read: "),
        "{statuses:#?}"
    );
    assert!(outcome.ranges.iter().all(Range::is_ok));
}

#[test]
fn many_faults_are_counted_and_the_first_are_named() {
    let plan = Plan::with(|plan| {
        for row in &mut plan.commit(1, 0).rows {
            row.id += 1;
        }
    });
    let status = plan.verify().statuses().remove(1);
    assert_eq!(status.matches("column 'id'").count(), 3, "{status}");
    assert!(status.ends_with("; and 2 more"), "{status}");
}
