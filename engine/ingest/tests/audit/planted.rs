//! What is planted in records, files, rows and rejects is named, by its offset.

use storage::block::RejectKind;
use storage::format::{ColumnRecord, CommitFacts, StatisticValue};
use storage::ids::{Lineage, Offset, Sequence, TableId};
use storage::segment::SealState;

use crate::rig::{Outcome, Plan};

/// The first range's status that is not ok.
fn said(outcome: &Outcome) -> String {
    let wrong = outcome.ranges.iter().find(|range| !range.is_ok());
    wrong.map_or("ok".to_owned(), |range| range.status())
}

/// Both ways of looking find it.
fn both(change: impl Fn(&mut Plan), expected: &str) {
    let plan = Plan::with(change);
    for outcome in [plan.records(), plan.verify()] {
        let said = said(&outcome);
        assert!(said.contains(expected), "{said}\n{expected}");
    }
}

/// Only the one that reads finds it.
fn verified(change: impl Fn(&mut Plan), expected: &str) {
    let plan = Plan::with(change);
    assert_eq!(said(&plan.records()), "ok", "{expected}");
    let said = said(&plan.verify());
    assert!(said.contains(expected), "{said}\n{expected}");
}

/// Queries are shown other facts of segment 2's last commit than its file has: both say so.
fn shown(change: impl Fn(&mut CommitFacts) + 'static, expected: &str) {
    let plan = Plan::with(|plan| {
        plan.shown = Some(Box::new(move |(segment, commit, record)| {
            if (*segment, *commit) == (2, 2) {
                change(&mut record.facts);
            }
        }));
    });
    let by_records = said(&plan.records());
    assert!(by_records.contains(expected), "{by_records}\n{expected}");
    let by_file = said(&plan.verify());
    let other = "offset 115: /5.0.arrow: a commit record is not what queries are shown";
    assert!(by_file.contains(other), "{by_file}");
}

#[test]
fn a_lineage_begins_where_its_pairing_says() {
    both(
        |plan| plan.subject.start_offset = Offset(99),
        "offset 99: lineage 2 begins at 100, its pairing there",
    );
}

#[test]
fn the_chain_has_no_hole_and_no_overlap() {
    both(
        |plan| {
            plan.segments[2].header.first_offset = Offset(112);
            let commit = plan.commit(2, 0);
            commit.facts.first_offset = Offset(112);
            commit.facts.counts.skipped = 3;
        },
        "offset 111: no commit covers it, the next begins at 112",
    );
    both(
        |plan| {
            plan.segments[2].header.first_offset = Offset(110);
            let commit = plan.commit(2, 0);
            commit.facts.first_offset = Offset(110);
            commit.facts.counts.skipped = 5;
        },
        "offset 110: two commits cover it, the one before ends at 111",
    );
    // Each is compared with the log for itself.
    let twice = Plan::with(|plan| {
        plan.segments[2].header.first_offset = Offset(110);
        let commit = plan.commit(2, 0);
        commit.facts.first_offset = Offset(110);
        commit.facts.counts.skipped = 5;
    });
    assert_eq!(twice.verify().asks, [(90, 95), (100, 111), (110, 121)]);
    // Within a merged commit.
    both(
        |plan| {
            let merged = plan.commit(1, 0);
            merged.replaced[1].first_offset = Offset(105);
            merged.replaced[1].counts.aborted = 0;
            merged.facts.counts.aborted = 0;
            merged.facts.counts.gap += 1;
        },
        "offset 104: no commit covers it, the next begins at 105",
    );
    shown(
        |facts| facts.next_offset = Offset(114),
        "offset 115: its commit ends at 114, before it begins",
    );
}

#[test]
fn lineages_never_fall_or_pass_the_catalogs() {
    both(
        |plan| {
            plan.segments[0].header.lineage = Lineage(3);
            for commit in &mut plan.segments[0].commits {
                commit.facts.lineage = Lineage(3);
            }
            plan.subject.lineage = Lineage(3);
            plan.subject.start_offset = Offset(90);
        },
        "offset 100: lineage 2 follows lineage 3",
    );
    both(
        |plan| {
            plan.subject.lineage = Lineage(1);
            plan.subject.start_offset = Offset(90);
        },
        "offset 100: lineage 2, the catalog knows up to 1",
    );
    shown(
        |facts| facts.lineage = Lineage(1),
        "offset 115: a commit of lineage 1 in a segment of lineage 2",
    );
}

#[test]
fn commit_numbers_count_on() {
    shown(
        |facts| facts.commit_number = 11,
        "offset 115: commit number 11, 10 should follow",
    );
    both(
        |plan| {
            plan.segments[2].header.first_commit_number = 5;
            for (number, commit) in (5..).zip(&mut plan.segments[2].commits) {
                commit.facts.commit_number = number;
            }
        },
        "offset 111: commit number 5, 6 should follow",
    );
    both(
        |plan| plan.commit(1, 0).replaced[2].commit_number = 4,
        "offset 108: commit number 4, 5 should follow",
    );
}

#[test]
fn segments_follow_one_another_and_are_of_this_partition() {
    let names = |change: fn(&mut storage::format::Predecessor)| {
        both(
            |plan| change(plan.segments[2].header.prev.as_mut().expect("one")),
            "offset 111: segment 5 follows another one than it names",
        );
    };
    names(|prev| prev.sequence = Sequence(2));
    names(|prev| prev.lineage = Lineage(1));
    names(|prev| prev.next_offset = Offset(110));
    names(|prev| prev.next_commit_number = 7);
    both(
        |plan| plan.segments[2].header.id.sequence = Sequence(3),
        "offset 111: segment 3 follows another one than it names",
    );
    both(
        |plan| plan.segments[1].header.table = TableId(3),
        "offset 100: segment 3 is of another partition",
    );
    both(
        |plan| plan.segments[1].header.kafka_partition = 8,
        "offset 100: segment 3 is of another partition",
    );
}

#[test]
fn counts_rows_and_rejects_are_what_the_range_is() {
    shown(
        |facts| facts.counts.loaded = 3,
        "offset 115: the counts of its commit add up to 3 offsets, it covers 2",
    );
    shown(
        |facts| facts.rows = 1,
        "offset 115: its commit has 1 rows of 2 loaded offsets",
    );
    shown(
        |facts| (facts.counts.loaded, facts.counts.gap) = (0, 2),
        "offset 115: its commit has 2 rows of 0 loaded offsets",
    );
    shown(
        |facts| (facts.counts.loaded, facts.counts.rejected) = (1, 1),
        "offset 115: its commit counts 1 rejects and keeps 0",
    );
    shown(
        |facts| facts.counts.loaded = u64::MAX,
        "offset 115: the counts of its commit add up to 18446744073709551615 offsets, it covers 2",
    );
}

#[test]
fn a_merged_commit_is_the_sum_of_what_it_stands_for() {
    let what = |what: &str| {
        format!("offset 100: a merged commit's {what} are not those of the 3 that it stands for")
    };
    both(
        |plan| {
            let counts = &mut plan.commit(1, 0).facts.counts;
            (counts.gap, counts.empty) = (1, 2);
        },
        &what("counts"),
    );
    both(|plan| plan.commit(1, 0).replaced[0].rows = 4, &what("rows"));
    both(
        |plan| plan.commit(1, 0).replaced[1].rejects = 1,
        &what("rejects"),
    );
    both(
        |plan| plan.commit(1, 0).facts.commit_number = 6,
        &what("number"),
    );
    both(
        |plan| {
            let commit = plan.commit(1, 0);
            commit.facts.next_offset = Offset(112);
            commit.facts.counts.gap += 1;
        },
        &what("offsets"),
    );
}

#[test]
fn batches_that_history_keeps_as_one_are_a_range_like_any_other() {
    let whole = Plan::with(|_| {});
    let folded = Plan::with(|plan| {
        let replaced = &mut plan.commit(1, 0).replaced;
        let sum = CommitFacts::sum(&replaced[..2]);
        replaced.splice(..2, [sum]);
    });
    assert_eq!(said(&folded.records()), "ok");
    assert_eq!(said(&folded.verify()), said(&whole.verify()));
    // And what the sum does not add up to is met as in any batch.
    both(
        |plan| {
            let replaced = &mut plan.commit(1, 0).replaced;
            let mut sum = CommitFacts::sum(&replaced[..2]);
            (sum.counts.loaded, sum.counts.gap) = (sum.counts.loaded - 1, sum.counts.gap + 1);
            replaced.splice(..2, [sum]);
        },
        "offset 100: a merged commit's counts are not those of the 2 that it stands for",
    );
}

#[test]
fn a_commit_that_stands_for_one_is_that_one() {
    both(
        |plan| {
            let commit = plan.commit(2, 2);
            commit.replaced = vec![commit.facts];
            commit.replaced[0].leader_epoch += 1;
        },
        "offset 115: a merged commit's facts are not those of the 1 that it stands for",
    );
}

#[test]
fn the_tail_goes_on_where_the_commits_end() {
    both(
        |plan| plan.tail[0].facts.first_offset = Offset(116),
        "offset 117: committed up to there, and the tail begins at 116",
    );
    let again = Plan::with(|plan| plan.tail[0].facts.first_offset = Offset(116));
    assert_eq!(again.verify().asks, [(90, 95), (100, 117), (116, 121)]);
    both(
        |plan| plan.tail[1].facts.first_offset = Offset(118),
        "offset 119: committed up to there, and the tail begins at 118",
    );
    both(
        |plan| plan.tail[1].rows[0].offset = 121,
        "offset 121: a row of it in the commit of 119 to 121",
    );
}

#[test]
fn the_cursors_are_in_order() {
    both(
        |plan| plan.fetched = Some(120),
        "offset 120: fetched is behind visible, which is at 121",
    );
    both(
        |plan| {
            plan.tail[1].rows.clear();
            plan.tail[1].facts.first_offset = Offset(115);
            plan.tail[1].facts.next_offset = Offset(116);
        },
        "offset 116: visible is behind committed, which is at 117",
    );
    both(
        |plan| plan.durable.commits = 4,
        "offset 117: what is durable is not the beginning of what is shown",
    );
    both(
        |plan| plan.durable.sequence = Sequence(6),
        "offset 117: what is durable is not the beginning of what is shown",
    );
    // A segment that is not shown, between two that are.
    both(
        |plan| plan.durable.sequence = Sequence(2),
        "offset 90: what is durable is not the beginning of what is shown",
    );
    // A session that reads what is durable would miss segments that are.
    let plan = Plan::with(|plan| plan.segments[0].header.id.sequence = Sequence(9));
    for outcome in [plan.records(), plan.verify()] {
        let tail = outcome.statuses().pop();
        let expected = "offset 90: what is durable is not the beginning of what is shown";
        assert_eq!(tail.as_deref(), Some(expected));
    }
}

#[test]
fn every_byte_of_a_file_is_read_again() {
    let sound = Plan::new();
    let bytes = |segment: usize| {
        let lengths = std::cell::RefCell::new(Vec::new());
        let lengths = std::rc::Rc::new(lengths);
        let own = std::rc::Rc::clone(&lengths);
        let plan = Plan::with(move |plan| {
            plan.bytes = Some(Box::new(move |(_, bytes)| {
                own.borrow_mut().push(bytes.len());
            }));
        });
        assert_eq!(said(&plan.records()), "ok");
        lengths.borrow()[segment]
    };
    assert_eq!(said(&sound.verify()), "ok");
    for segment in 0..3 {
        let file = ["/1.0.arrow", "/3.1.arrow", "/5.0.arrow"][segment];
        // Every byte of the smallest, each 7th of the others.
        let step = if segment == 0 { 1 } else { 7 };
        for at in (0..bytes(segment)).step_by(step) {
            let plan = Plan::with(|plan| {
                plan.bytes = Some(Box::new(move |(which, bytes)| {
                    if *which == segment {
                        bytes[at] ^= 0x10;
                    }
                }));
            });
            let said = said(&plan.verify());
            assert!(said.contains(file), "byte {at} of {file}: {said}");
        }
    }
}

#[test]
fn a_file_that_is_gone_or_another_is_named() {
    verified(
        |plan| {
            plan.bytes = Some(Box::new(|(segment, bytes)| {
                if *segment == 2 {
                    bytes.truncate(bytes.len() - 64);
                }
            }));
        },
        "offset 115: /5.0.arrow: cut off",
    );
    let other = Plan::with(|plan| plan.segments[0].header.created_unix_ms += 1);
    let theirs = other.file(0);
    verified(
        move |plan| {
            let theirs = theirs.clone();
            plan.bytes = Some(Box::new(move |(segment, bytes)| {
                if *segment == 0 {
                    bytes.clone_from(&theirs);
                }
            }));
        },
        "offset 90: /1.0.arrow: the header is not what queries are shown",
    );
    let plan = Plan::with(|plan| plan.missing = Some(0));
    let verified = plan.verify();
    assert!(
        verified.statuses()[0].starts_with("offset 90: /1.0.arrow: it is not there"),
        "{:?}",
        verified.statuses()
    );
    // A merge took its name meanwhile: the snapshot still holds what it was.
    let plan = Plan::with(|plan| {
        plan.missing = Some(0);
        plan.merged_meanwhile = true;
    });
    assert_eq!(said(&plan.verify()), "ok");
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_read() {
    let place = |commit: usize| Plan::new().place(2, commit);
    let (commit_at, body_at) = place(2);
    let seal_at = Plan::with(|plan| plan.segments[0].sealed = false)
        .file(0)
        .len() as u64;
    for (segment, bytes, expected) in [
        (0, 0..1, "offset 90: /1.0.arrow: read failed: a bad sector"),
        (
            0,
            seal_at..seal_at + 1,
            "offset 90: /1.0.arrow: read failed: a bad sector",
        ),
        (
            2,
            commit_at..commit_at + 1,
            "offset 115: /5.0.arrow: read failed: a bad sector",
        ),
        (
            2,
            body_at..body_at + 1,
            "offset 115: /5.0.arrow: read failed: a bad sector",
        ),
    ] {
        let plan = Plan::with(|plan| plan.bad_sector = Some((segment, bytes.clone())));
        let outcome = plan.verify();
        assert_eq!(outcome.ended, Ok(()));
        assert!(
            outcome.statuses()[segment].starts_with(expected),
            "{bytes:?}: {:?}",
            outcome.statuses()
        );
        let others = outcome.ranges.iter().enumerate();
        assert!(
            others
                .filter(|(at, _)| *at != segment)
                .all(|(_, one)| one.is_ok())
        );
    }
    let end_of_stream = move |at: u64| {
        verified(
            move |plan| {
                plan.bytes = Some(Box::new(move |(segment, bytes)| {
                    if *segment == 2 {
                        let at = at as usize;
                        bytes[at..at + 8].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
                    }
                }));
            },
            &format!("offset 115: /5.0.arrow: the stream ends at byte {at}"),
        );
    };
    end_of_stream(commit_at);
    // A record that is no commit of this table.
    let plan = Plan::with(|plan| plan.forged = Some(|column| column.statistics.null_count = 1));
    let found = said(&plan.verify());
    assert!(
        found.contains("offset 115: /5.0.arrow: the columns are not the table's at byte"),
        "{found}"
    );
    // Rejects that the body does not have.
    let plan = Plan::with(|plan| plan.forged_facts = Some(|facts| facts.rejects = 1));
    let found = said(&plan.verify());
    assert!(
        found.contains("offset 115: its commit counts 1 rejects and keeps 0"),
        "{found}"
    );
}

/// A footer that is not known to be synced is no fault of a row, and is told; of one that is, it is damage.
#[test]
fn a_footer_that_is_torn_or_of_other_commits_is_named() {
    let first = |seal: SealState, change: fn(&mut Plan)| {
        let outcome = Plan::with(|plan| {
            plan.seal = seal;
            change(plan);
        })
        .verify();
        (outcome.ranges[0].is_ok(), outcome.ranges[0].status())
    };
    for (change, what) in [
        (
            (|plan| plan.index_of = Some(0)) as fn(&mut Plan),
            "its index is not of these commits",
        ),
        (|plan| plan.unsealed = Some(0), "no end of stream at byte"),
        (
            |plan| {
                plan.bytes = Some(Box::new(|(segment, bytes)| {
                    if let (0, Some(last)) = (*segment, bytes.last_mut()) {
                        *last ^= 1;
                    }
                }));
            },
            "not an Arrow file: the magic is wrong at byte",
        ),
    ] {
        let (ok, said) = first(SealState::Written, change);
        let footer = format!("ok, its footer, which the next start makes anew: {what}");
        assert!(ok && said.starts_with(&footer), "{said}");
        let (ok, said) = first(SealState::Durable, change);
        let damage = format!("offset 90: /1.0.arrow: {what}");
        assert!(!ok && said.starts_with(&damage), "{said}");
    }
    let sound = |seal| first(seal, |_| {});
    assert_eq!(sound(SealState::Written), sound(SealState::Durable));
    assert!(sound(SealState::Written).0);
}

#[test]
fn statistics_hold_for_the_rows() {
    let forged = |change: fn(&mut ColumnRecord)| {
        let plan = Plan::with(|plan| plan.forged = Some(change));
        assert_eq!(said(&plan.records()), "ok");
        said(&plan.verify())
    };
    assert_eq!(forged(|_| {}), "ok");
    fn min(column: &mut ColumnRecord, value: i64) {
        let bound = column.statistics.min.as_mut().expect("a bound");
        bound.value = StatisticValue::Int(value);
    }
    fn max(column: &mut ColumnRecord, value: i64) {
        let bound = column.statistics.max.as_mut().expect("a bound");
        bound.value = StatisticValue::Int(value);
    }
    // The rows are 115 and 116; a bound that holds and is called exact must be a row's.
    for change in [
        (|column| min(column, 116)) as fn(&mut ColumnRecord),
        |column| max(column, 115),
        |column| min(column, 114),
        |column| max(column, 117),
    ] {
        let found = forged(change);
        let expected = "offset 115: the statistics of column 'id' do not hold for its commit";
        assert!(found.contains(expected), "{found}");
    }
    assert_eq!(
        forged(|column| {
            min(column, 114);
            column.statistics.min.as_mut().expect("a bound").exact = false;
        }),
        "ok"
    );
    // One word is NULL, and two are said to be.
    let plan = Plan::with(|plan| {
        plan.broker = Some("not now".to_owned());
        plan.commit(2, 2).rows[0].word = None;
        plan.forged_column = 1;
        plan.forged = Some(|column| column.statistics.null_count = 2);
    });
    let status = plan.verify().statuses().remove(2);
    assert!(status.contains("statistics of column 'word'"), "{status}");
}

#[test]
fn rows_are_in_order_inside_and_of_as_many_offsets_as_counted() {
    verified(
        |plan| plan.commit(2, 2).rows[1].offset = 117,
        "offset 117: a row of it in the commit of 115 to 117",
    );
    verified(
        |plan| plan.commit(2, 2).rows.swap(0, 1),
        "offset 115: a row of it stands behind one of 116",
    );
    verified(
        |plan| plan.commit(2, 2).rows[1].offset = 115,
        "offset 115: its commit counts 2 loaded offsets, and rows are of 1",
    );
    // A row of another batch of the same merged commit.
    verified(
        |plan| plan.commit(1, 0).rows[3].offset = 103,
        "offset 103: a row of it in the commit of 104 to 108",
    );
}

#[test]
fn rejects_are_in_order_inside_each_once_and_no_rows() {
    let reject = |offset: i64| {
        move |plan: &mut Plan| {
            let commit = plan.commit(1, 0);
            commit.rejects[0].offset = offset;
        }
    };
    verified(
        reject(104),
        "offset 104: a reject of it in the commit of 100 to 104",
    );
    verified(reject(101), "offset 101: it has both a row and a reject");
    verified(
        |plan| {
            let commit = plan.commit(1, 0);
            commit.replaced[0].counts.rejected = 2;
            commit.replaced[0].counts.empty = 0;
            commit.facts.counts.rejected = 2;
            commit.facts.counts.empty = 0;
            commit.replaced[0].rejects = 2;
            commit.facts.rejects = 2;
            let again = commit.rejects[0].clone();
            commit.rejects.push(again);
        },
        "offset 103: a reject of it stands behind one of 103",
    );
    // What is kept is a fault of the partition and no message.
    verified(
        |plan| {
            plan.commit(1, 0).rejects[0].kind = RejectKind::Fault(storage::block::FaultKind::Load)
        },
        "offset 100: its commit counts 1 rejects, and keeps them of 0 offsets",
    );
}
