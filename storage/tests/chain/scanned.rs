//! What recovery reads in a segment's file, byte by byte: where its content ends, what stands there, and what
//! records behind damage still say.

use std::fs;
use std::sync::Arc;

use storage::format::{Before, CommitFacts, Hole};
use storage::ids::{Lineage, Offset, Rewrite, Sequence};
use storage::limits::{REPLACED_MAX, SEARCH_BYTES};
use storage::recovery::decide::Row;
use storage::schema::{Column, Physical, Schema};

use crate::forged::{Commit, Forged, Place, commit, end, header, rows_of};

/// A segment that begins behind what is known durable of this one, at offset 3; its header is torn.
fn torn(sequence: u64, first_number: u64, before: u64, before_next: u64) -> Forged {
    let prev = Some(end(before, 3, before_next));
    let mut torn = Forged::new(&header(sequence, (3, first_number), prev));
    torn.push(commit(first_number, 5, 0));
    torn.push(commit(first_number + 1, 6, torn.end_byte()));
    torn.flip(40);
    torn
}

/// No record of it says that its first commit was durable: the second was written before the first was synced,
/// and was taken back. The boundary between them counts all the same, and not the segment's beginning.
#[test]
fn what_stood_before_a_torn_header_ends_where_that_began_also_where_no_record_says_it_was_durable()
{
    let place = Place::new("boundary");
    let mut older = Forged::new(&header(1, (0, 1), None));
    older.push(commit(1, 3, 0));
    older.push(commit(2, 5, 0));
    place.put(&older);
    place.put(&torn(2, 3, 1, 2));
    let hole = place.corrupt();
    assert_eq!(
        (hole.first_offset, hole.next_offset),
        (Offset(3), Offset(6))
    );
    assert_eq!(hole.before, Before::Segment(end(1, 3, 2)));
    let recovered = place.recover();
    let kept = recovered.segments.iter().map(|one| one.commits.len());
    assert_eq!(kept.collect::<Vec<_>>(), [1]);
}

/// Commits that carry only errors end at one offset: the last of them that was durable is what stood before.
#[test]
fn of_commits_that_end_at_one_offset_the_last_durable_one_stood_before_a_torn_header() {
    let place = Place::new("boundaries");
    let mut older = Forged::new(&header(1, (0, 1), None));
    older.push(commit(1, 3, 0));
    older.push(commit(2, 3, 0));
    let durable_end = older.end_byte();
    older.push(commit(3, 3, durable_end));
    older.push(commit(4, 5, durable_end));
    place.put(&older);
    place.put(&torn(2, 5, 1, 3));
    assert_eq!(place.corrupt().before, Before::Segment(end(1, 3, 3)));
}

/// All that a segment held was taken back, and a kill came before it was unlinked: what stood before it is what
/// stood before the next one.
#[test]
fn what_was_taken_back_whole_stood_before_no_torn_header() {
    let place = Place::new("taken-back-whole");
    let mut first = Forged::new(&header(1, (0, 1), None));
    first.push(commit(1, 3, 0));
    let mut second = Forged::new(&header(2, (3, 2), Some(end(1, 3, 2))));
    second.push(commit(2, 5, 0));
    place.put(&first);
    place.put(&second);
    place.put(&torn(3, 3, 1, 2));
    assert_eq!(place.corrupt().before, Before::Segment(end(1, 3, 2)));
}

/// The only record that says that more was durable stands further behind the damage than is read at a time.
#[test]
fn a_record_far_behind_damage_is_found() {
    let place = Place::new("far");
    let mut segment = Forged::new(&header(1, (0, 1), None));
    segment.push(Commit {
        text_bytes: SEARCH_BYTES + 200_000,
        ..commit(1, 3, 0)
    });
    let (at, durable_end) = (segment.commits[0].0, segment.end_byte());
    segment.push(commit(2, 5, durable_end));
    segment.flip(at + 20);
    place.put(&segment);
    let hole = place.corrupt();
    assert_eq!(
        (hole.first_offset, hole.next_offset),
        (Offset(0), Offset(5))
    );
    // Its number does not come again.
    assert_eq!(hole.next_commit_number, 3);
    assert_eq!(place.recover().next_commit_number, 3);
}

/// A write went to the place of another, and what it should have followed never came: nothing else says any more that
/// both were durable.
#[test]
fn a_record_that_went_astray_to_where_the_content_ends_is_heard() {
    let place = Place::new("astray");
    let mut segment = Forged::new(&header(1, (0, 1), None));
    segment.push(commit(1, 3, 0));
    let content = segment.end_byte() as usize;
    segment.push(commit(2, 5, 0));
    segment.push(commit(3, 6, 0));
    let durable_end = segment.end_byte();
    segment.push(commit(4, 9, durable_end));
    let astray = segment.bytes[durable_end as usize..].to_vec();
    segment.bytes.truncate(content);
    segment.bytes.extend(astray);
    place.put(&segment);
    assert_eq!(place.corrupt().offsets(), "offsets 0 to 8");
}

/// What a merge wrote first stands for so many batches that its metadata is longer than what is left of the bytes
/// that were read where the search met it: it is read by itself.
#[test]
fn a_record_that_is_longer_than_what_is_read_at_a_time_is_found() {
    let place = Place::new("long");
    let mut of = header(2, (0, 1), None);
    of.id.rewrite = Rewrite(1);
    let column = |number: usize| Column {
        name: format!("text_{number}"),
        physical: Physical::Utf8,
        nullable: false,
        annotation: "a".repeat(1_000),
    };
    of.schema = Arc::new(Schema {
        version: 1,
        columns: (0..480).map(column).collect(),
    });
    let mut merged = Forged::new(&of);
    let facts = |number: usize| CommitFacts {
        commit_number: number as u64 + 1,
        lineage: Lineage(1),
        ..CommitFacts::default()
    };
    merged.push(Commit {
        replaced: (0..REPLACED_MAX).map(facts).collect(),
        ..commit(REPLACED_MAX as u64, 3, 0)
    });
    let (at, record) = merged.commits[0].clone();
    let read = 2 * SEARCH_BYTES as u64;
    assert!(
        at < SEARCH_BYTES as u64 && at + u64::from(record.head_bytes) > read,
        "{at}, {}",
        record.head_bytes
    );
    merged.seal();
    merged.flip(40);
    place.put(&merged);
    assert_eq!(place.corrupt().offsets(), "offsets 0 to 2");
}

/// What is told of a cut is what was found there.
#[test]
fn what_stands_behind_the_content_is_named_for_what_it_is() {
    let mut segment = Forged::new(&header(1, (0, 1), None));
    segment.push(commit(1, 3, 0));
    let content = segment.end_byte();
    let mut other = Forged::new(&header(7, (3, 2), None));
    let other_header = other.bytes.len();
    other.push(commit(2, 5, 0));
    let mut body = segment.clone();
    body.push(Commit {
        text_bytes: 100,
        ..commit(2, 5, 0)
    });
    let record = &body.commits[1].1;
    body.flip(content + u64::from(record.head_bytes) + record.columns[0].buffers[2].at);
    for (name, behind, row) in [
        ("zeros", vec![0; 4_096], Row::CutAtZeros),
        ("garbage", vec![7; 4_096], Row::CutAtMetadata),
        (
            "other",
            other.bytes[other_header..].to_vec(),
            Row::CutAtForeign,
        ),
        (
            "body",
            body.bytes[content as usize..].to_vec(),
            Row::CutAtBody,
        ),
    ] {
        let place = Place::new(&format!("behind-{name}"));
        place.put(&segment);
        let path = place.segment(segment.header.header.id);
        fs::write(&path, [&segment.bytes[..], &behind].concat()).expect("writable");
        let recovered = place.recover();
        assert_eq!(recovered.segments[0].end_byte, content, "{name}");
        let notes = rows_of(&recovered, "1.0.arrow");
        assert!(notes.contains(&row), "{name}: {notes:?}");
        assert_eq!(fs::read(&path).expect("readable"), segment.bytes, "{name}");
    }
}

/// The content was cut and written again as long as it was; the disk lost the cut of what was behind it, and kept
/// the rest: a footer that speaks of commits that were there before.
#[test]
fn a_footer_that_says_other_commits_is_none() {
    let place = Place::new("other-footer");
    let mut before = Forged::new(&header(1, (0, 1), None));
    before.push(commit(1, 3, 0));
    let mut segment = before.clone();
    before.push(commit(2, 5, 0));
    before.seal();
    segment.push(Commit {
        extracted_bytes: 7,
        ..commit(2, 5, 0)
    });
    let content = segment.bytes.len();
    place.put(&Forged {
        bytes: [&segment.bytes[..], &before.bytes[content..]].concat(),
        ..segment.clone()
    });
    let recovered = place.recover();
    let [one] = &recovered.segments[..] else {
        panic!("one segment");
    };
    assert_eq!((one.sealed, one.commits.clone()), (false, segment.commits));
    let notes = rows_of(&recovered, "1.0.arrow");
    assert!(notes.contains(&Row::NewestFooterTorn), "{notes:?}");
    let left = fs::read(place.segment(one.id)).expect("readable");
    assert_eq!(left, segment.bytes);
}

/// Segments of one commit each. The second was taken back: the third follows the first.
fn three() -> [Forged; 3] {
    let first = (header(1, (0, 1), None), commit(1, 3, 0));
    let second = (header(2, (3, 2), Some(end(1, 3, 2))), commit(2, 6, 0));
    let third = (header(3, (3, 3), Some(end(1, 3, 2))), commit(3, 6, 0));
    [first, second, third].map(|(header, commit)| {
        let mut segment = Forged::new(&header);
        segment.push(commit);
        segment
    })
}

/// What is unlinked is told by its reason.
#[test]
fn what_is_below_the_live_lineage_is_told_from_what_is_off_the_chain() {
    let off = |place: &Place, name: &str| {
        let recovered = place.recover();
        assert_eq!(rows_of(&recovered, "2.0.arrow"), [Row::OffChain], "{name}");
        recovered
    };
    let place = Place::new("off-chain");
    three().iter().for_each(|one| place.put(one));
    assert_eq!(off(&place, "none before").segments.len(), 2);
    // The same where 1 is in quarantine.
    let place = Place::new("off-chain-hole");
    let [first, second, third] = three();
    place.put(&second);
    place.put(&third);
    place.put_hole(&Hole {
        next_offset: Offset(3),
        next_commit_number: 2,
        vouches: true,
        ..Hole::of(&first.header.header, "a test".to_owned())
    });
    let recovered = off(&place, "a hole before");
    assert_eq!((recovered.segments.len(), recovered.holes.len()), (1, 1));
    // Below: the newest of them keeps the numbers.
    let mut place = Place::new("below-live");
    three().iter().for_each(|one| place.put(one));
    place.start.lineage = Lineage(2);
    place.start.live_lineage = Lineage(2);
    let recovered = place.recover();
    for name in ["1.0.arrow", "2.0.arrow"] {
        assert_eq!(rows_of(&recovered, name), [Row::BelowLiveLineage], "{name}");
    }
    let left = recovered.leftover.as_deref();
    assert_eq!(left, Some(&*place.directory.join("3.0.arrow")));
    // Below, and the live one has begun.
    let mut of = header(4, (6, 4), Some(end(3, 6, 4)));
    of.lineage = Lineage(2);
    place.put(&Forged::new(&of));
    let recovered = place.recover();
    assert_eq!(rows_of(&recovered, "3.0.arrow"), [Row::BelowLiveLineage]);
    assert_eq!(recovered.segments[0].id.sequence, Sequence(4));
    assert_eq!(recovered.leftover, None);
}
