//! A sound leaf partition: ok, and what each range says of itself.

use ingest::audit::Stopped;
use ingest::limits::AUDIT_BASE_BYTES;
use storage::counts::Counts;
use storage::ids::{Lineage, Offset, TopicId};

use crate::rig::{BAD, Plan, STARTED_MS};

#[test]
fn records_alone_are_ok_and_every_range_is_shown() {
    let outcome = Plan::new().records();
    assert_eq!(outcome.ended, Ok(()));
    assert_eq!(outcome.statuses(), ["ok"; 4]);
    let shown: Vec<_> = outcome
        .ranges
        .iter()
        .map(|range| {
            let file = range.file.as_ref().map(|file| file.display().to_string());
            (
                range.lineage.0,
                range.first.0,
                range.next.0,
                range.commits,
                range.rows,
                file,
            )
        })
        .collect();
    let file = |name: &str| Some(name.to_owned());
    assert_eq!(
        shown,
        [
            (1, 90, 95, 2, 5, file("/1.0.arrow")),
            (2, 100, 111, 3, 5, file("/3.1.arrow")),
            (2, 111, 117, 3, 2, file("/5.0.arrow")),
            (2, 117, 121, 0, 4, None),
        ]
    );
    assert_eq!(
        outcome.ranges[1].counts,
        Counts {
            loaded: 4,
            rejected: 1,
            empty: 1,
            control: 2,
            aborted: 1,
            gap: 2,
            ..Counts::default()
        }
    );
    assert_eq!(outcome.ranges[2].counts.skipped, 4);
    assert_eq!(outcome.ranges[3].counts.loaded, 4);
    assert!(outcome.ranges.iter().all(|range| range.compared.is_none()));
    assert_eq!((outcome.reserved, outcome.asks.len()), (0, 0));
}

#[test]
fn verified_it_is_ok_and_says_what_the_broker_no_longer_holds() {
    let outcome = Plan::new().verify();
    assert_eq!(outcome.ended, Ok(()));
    assert_eq!(
        outcome.statuses(),
        ["ok, 2 offsets no longer at the broker", "ok", "ok", "ok"]
    );
    let checked: Vec<u64> = outcome
        .ranges
        .iter()
        .map(|range| range.compared.as_ref().expect("compared").checked)
        .collect();
    assert_eq!(checked, [3, 11, 6, 4]);
    // Each run of segments once, the tail with the last.
    assert_eq!(outcome.asks, [(90, 95), (100, 121)]);
    assert!(outcome.reserved > AUDIT_BASE_BYTES);
    let records = Plan::new().records();
    for (verified, looked_at) in outcome.ranges.iter().zip(&records.ranges) {
        assert_eq!(verified.counts, looked_at.counts);
        assert_eq!(verified.rows, looked_at.rows);
    }
}

#[test]
fn without_a_broker_the_segments_are_verified_and_the_status_says_so() {
    let outcome = Plan::with(|plan| plan.broker = Some("nobody answers".to_owned())).verify();
    assert_eq!(
        outcome.statuses(),
        ["ok, the broker was not asked: nobody answers"; 4]
    );
    let compared = outcome.ranges.iter().map(|range| range.compared.clone());
    assert!(compared.flatten().all(|compared| compared.checked == 0));
    let damaged = Plan::with(|plan| {
        plan.broker = Some("nobody answers".to_owned());
        plan.bytes = Some(Box::new(|(segment, bytes)| {
            if *segment == 0 {
                let at = bytes.len() - 1;
                bytes[at] ^= 1;
            }
        }));
    });
    let status = damaged.verify().statuses().remove(0);
    assert!(
        status.contains("/1.0.arrow") && status.ends_with("not asked: nobody answers"),
        "{status}"
    );
}

#[test]
fn a_broker_that_fails_on_the_way_leaves_the_rest_not_asked() {
    let outcome = Plan::with(|plan| plan.responses_max = Some(2)).verify();
    assert_eq!(
        outcome.statuses(),
        [
            "ok, 2 offsets no longer at the broker",
            "ok",
            "ok, the broker was not asked from offset 115 on: the connection ended",
            "ok, the broker was not asked: the connection ended",
        ]
    );
    let checked: Vec<u64> = outcome
        .ranges
        .iter()
        .map(|range| range.compared.as_ref().expect("compared").checked)
        .collect();
    assert_eq!(checked, [3, 11, 4, 0]);
}

#[test]
fn another_topics_offsets_are_not_compared_with_this_ones() {
    let outcome = Plan::with(|plan| plan.segments[0].header.topic_id = TopicId([1; 16])).verify();
    let because = "the topic was replaced since, its id was 01010101010101010101010101010101";
    assert_eq!(
        outcome.statuses(),
        [
            &format!("ok, the broker was not asked: {because}"),
            "ok",
            "ok",
            "ok"
        ]
    );
    assert_eq!(outcome.asks, [(100, 121)]);
    // Nor where the one's happen to end where the other's begin.
    let touching = |topic_id: TopicId| {
        Plan::with(|plan| {
            plan.segments[0].header.topic_id = topic_id;
            plan.segments[0].header.first_offset = Offset(95);
            for commit in &mut plan.segments[0].commits {
                commit.facts.first_offset.0 += 5;
                commit.facts.next_offset.0 += 5;
                for row in &mut commit.rows {
                    row.offset += 5;
                    row.timestamp_ms += 5;
                    row.id += 5;
                    row.word = Some(format!("w{}", row.id));
                }
            }
            let prev = plan.segments[1].header.prev.as_mut();
            prev.expect("one").next_offset = Offset(100);
        })
    };
    let outcome = touching(TopicId([1; 16])).verify();
    assert!(outcome.statuses()[0].ends_with(because));
    assert_eq!(outcome.asks, [(100, 121)]);
    let outcome = touching(TopicId([9; 16])).verify();
    assert_eq!(outcome.statuses(), ["ok"; 4]);
    assert_eq!(outcome.asks, [(95, 121)], "read along once");
}

#[test]
fn rows_from_before_the_pipeline_was_replaced_are_compared_by_class() {
    // The commits 3 to 5 were begun before; their values and their aborted record may be another's.
    let outcome = Plan::with(|plan| {
        plan.replaced_unix_ms = Some(STARTED_MS + 5);
        for row in &mut plan.commit(1, 0).rows {
            row.id += 1_000;
        }
        // It read uncommitted records then: one that it loaded is aborted.
        plan.batch(110).producer = Some(8);
        plan.aborted[0].0.producer_id = 8;
        plan.aborted[0].1 = 200;
    })
    .verify();
    let unread = |offsets: u64| {
        format!(", {offsets} offsets from before the pipeline was replaced compared by class alone")
    };
    assert_eq!(
        outcome.statuses(),
        [
            &format!("ok, 2 offsets no longer at the broker{}", unread(3)),
            &format!("ok{}", unread(5)),
            "ok",
            "ok"
        ]
    );
    let changed_behind = Plan::with(|plan| {
        plan.replaced_unix_ms = Some(STARTED_MS + 5);
        plan.commit(2, 2).rows[0].id += 1_000;
    });
    let status = changed_behind.verify().statuses().remove(2);
    assert!(status.contains("column 'id' holds 1115"), "{status}");
}

#[test]
fn compaction_since_is_counted_and_is_no_fault() {
    let outcome = Plan::with(|plan| {
        // A loaded message, a tombstone, an aborted record, a marker, and the poison that a skip began at.
        plan.log
            .retain(|batch| ![100, 102, 104, 107, 116].contains(&batch.base));
        plan.batch(111).records.remove(0);
    })
    .verify();
    assert_eq!(
        outcome.statuses(),
        [
            "ok, 2 offsets no longer at the broker",
            "ok, 4 offsets no longer at the broker",
            "ok, 2 offsets no longer at the broker",
            "ok"
        ]
    );
    // A gap in the record batch that was skipped was skipped with it.
    let outcome = Plan::with(|plan| {
        plan.batch(111).records.remove(2);
    });
    assert_eq!(outcome.verify().statuses()[2], "ok");
}

#[test]
fn a_partition_with_nothing_loaded_has_a_row() {
    // Neither a segment nor a block.
    let empty = Plan::with(|plan| {
        plan.segments.clear();
        plan.tail.clear();
        plan.durable = Default::default();
    });
    for outcome in [empty.records(), empty.verify()] {
        assert_eq!(outcome.statuses(), ["ok"]);
        let range = &outcome.ranges[0];
        assert_eq!((range.lineage, range.first), (Lineage(2), Offset(100)));
        assert_eq!((range.next, range.commits, range.rows), (Offset(100), 0, 0));
        assert!(outcome.asks.is_empty(), "nothing to compare");
    }
    // Its segment is made, and has no commit yet.
    let begun = Plan::with(|plan| {
        plan.segments.drain(..2);
        plan.segments[0].commits.clear();
        plan.segments[0].header.first_offset = Offset(100);
        plan.segments[0].header.prev = None;
        plan.tail.clear();
        plan.durable = Default::default();
    });
    for outcome in [begun.records(), begun.verify()] {
        assert_eq!(outcome.statuses(), ["ok"]);
        assert_eq!(outcome.ranges[0].next, Offset(100));
    }
    // A lineage that begins is not there yet: the one before has ended, without a commit.
    let between = Plan::with(|plan| {
        plan.segments.remove(2);
        plan.segments[1].commits.clear();
        plan.tail.clear();
        plan.subject.lineage = Lineage(3);
        plan.subject.start_offset = Offset(500);
        plan.durable = Default::default();
    });
    for outcome in [between.records(), between.verify()] {
        assert!(outcome.ranges.iter().all(|range| range.is_ok()));
        assert_eq!(outcome.ranges.len(), 2);
        let tail = &outcome.ranges[1];
        assert_eq!((tail.lineage, tail.first), (Lineage(2), Offset(100)));
    }
    let tail_alone = Plan::with(|plan| {
        plan.segments.clear();
        plan.tail.remove(0);
        plan.subject.start_offset = Offset(119);
        plan.durable = Default::default();
    });
    let outcome = tail_alone.verify();
    assert_eq!(outcome.statuses(), ["ok"]);
    assert_eq!(outcome.asks, [(119, 121)]);
}

#[test]
fn a_long_key_is_kept_cut_and_is_the_messages() {
    static LONG: [u8; 5_000] = [b'k'; 5_000];
    let outcome = Plan::with(|plan| {
        plan.batch(103).records[0].1 = Some(&LONG);
        plan.commit(1, 0).rejects[0].key = Some(&LONG);
    });
    assert_eq!(outcome.verify().statuses()[1], "ok");
}

#[test]
fn where_it_stands_still_the_tail_says_why() {
    let words = "Failed: topic 'orders' partition 7 offset 121: not JSON";
    let failed = Plan::with(|plan| plan.subject.stands = Some(words.to_owned()));
    for outcome in [failed.records(), failed.verify()] {
        let last = outcome.statuses().pop();
        assert_eq!(last.as_deref(), Some(words));
        assert!(!outcome.ranges[3].is_ok());
        assert!(outcome.ranges[..3].iter().all(|range| range.is_ok()));
    }
}

#[test]
fn memory_is_asked_for_first_and_without_it_the_audit_ends() {
    let outcome = Plan::with(|plan| plan.memory_bytes_max = AUDIT_BASE_BYTES + 10).verify();
    assert_eq!(outcome.ended, Err(Stopped::Memory));
    // One commit and one response at a time: never a whole segment.
    let small = Plan::new().verify().reserved - AUDIT_BASE_BYTES;
    assert!(small < 64 << 10, "{small}");
    // A large message: in its commit, in the response, and while it is read. The rig looks that each
    // read comes behind its reservation.
    let large = Plan::with(|plan| {
        let message = [BAD, &vec![b' '; 100 << 10]].concat();
        plan.batch(103).records[0].2 = Some(message.clone());
        plan.commit(1, 0).rejects[0].message = message;
    });
    let outcome = large.verify();
    assert_eq!(outcome.statuses()[1], "ok");
    let large = outcome.reserved - AUDIT_BASE_BYTES;
    assert!((500 << 10..600 << 10).contains(&large), "{large}");
}
