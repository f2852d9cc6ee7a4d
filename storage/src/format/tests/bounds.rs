//! Every bound of the format at its edge: the largest value is read, one more is refused, and for that reason
//! alone. What is refused is forged behind a right checksum, as only a bug of ours or a stranger would.

use super::*;
use crate::error::Damage;
use crate::format::bytes::{CONTINUATION, PutFields, open_message, seal_message};
use crate::format::commit::encode_record;
use crate::limits::{
    ALIGN_BYTES, BLOCK_ROWS_MAX, BODY_BYTES_MAX, COMMIT_NUMBER_MAX, FOOTER_BYTES_MAX,
    HOLE_BYTES_MAX, HOLE_REASON_BYTES_MAX, SEGMENT_COMMITS_MAX,
};

/// A record that holds together and says as little as can be.
fn record() -> CommitRecord {
    CommitRecord {
        segment: SegmentId {
            leaf_partition: LeafPartitionId(1),
            sequence: Sequence(1),
            rewrite: Rewrite(0),
        },
        header_crc: 7,
        facts: CommitFacts {
            commit_number: 1,
            lineage: Lineage(1),
            ..CommitFacts::default()
        },
        head_bytes: 0,
        body_bytes: 0,
        durable_end: 0,
        columns: Box::new([]),
        rejects: BufferRecord::default(),
        row_deletes: BufferRecord::default(),
        leader: None,
        replaced: Replaced::default(),
    }
}

fn column_record() -> ColumnRecord {
    ColumnRecord {
        buffers: [BufferRecord::default(); 3],
        statistics: ColumnStatistics::default(),
    }
}

/// What a parser says of a record and what it stands for, written as they are.
fn read(record: &CommitRecord, replaced: &[CommitFacts]) -> Result<(), Corruption> {
    let mut bytes = Vec::new();
    seal_message(&mut bytes, &[], &encode_record(record, replaced));
    parse_commit(&bytes).map(drop).map_err(|damage| damage.what)
}

const TOO_LONG: Result<(), Corruption> = Err(Corruption::Length);

#[test]
fn a_record_has_so_many_columns_commits_and_bytes() {
    assert_eq!(read(&record(), &[]), Ok(()));
    let columns = |count: usize| CommitRecord {
        columns: (0..count).map(|_| column_record()).collect(),
        ..record()
    };
    assert_eq!(read(&columns(COLUMNS_MAX + 2), &[]), Ok(()));
    assert_eq!(read(&columns(COLUMNS_MAX + 3), &[]), TOO_LONG);
    let replaced = |count: usize| vec![record().facts; count];
    assert_eq!(read(&record(), &replaced(REPLACED_MAX)), Ok(()));
    assert_eq!(read(&record(), &replaced(REPLACED_MAX + 1)), TOO_LONG);
    let mut large = columns(1);
    large.columns[0].buffers[1].bytes = BODY_BYTES_MAX as u32;
    large.body_bytes = BODY_BYTES_MAX;
    assert_eq!(read(&large, &[]), Ok(()));
    large.rejects.bytes = 1;
    large.body_bytes = BODY_BYTES_MAX + ALIGN_BYTES as u64;
    assert_eq!(read(&large, &[]), TOO_LONG);
}

#[test]
fn facts_hold_together() {
    let facts = |change: fn(&mut CommitFacts)| {
        let mut record = record();
        change(&mut record.facts);
        read(&record, &[])
    };
    assert_eq!(facts(|facts| facts.rows = BLOCK_ROWS_MAX), Ok(()));
    assert_eq!(facts(|facts| facts.rows = BLOCK_ROWS_MAX + 1), TOO_LONG);
    let last = |facts: &mut CommitFacts| facts.commit_number = COMMIT_NUMBER_MAX;
    assert_eq!(facts(last), Ok(()));
    let beyond = Err(Corruption::Field("commit number"));
    let one_more = |facts: &mut CommitFacts| facts.commit_number = COMMIT_NUMBER_MAX + 1;
    assert_eq!(facts(one_more), beyond);
    let counts = Err(Corruption::Counts);
    // Offsets without a count, a count without an offset, and offsets that fall: as many as are counted.
    assert_eq!(facts(|facts| facts.next_offset = Offset(1)), counts);
    assert_eq!(facts(|facts| facts.counts.loaded = 1), counts);
    assert_eq!(facts(|facts| facts.first_offset = Offset(1)), counts);
    let both = |facts: &mut CommitFacts| {
        (facts.counts.loaded, facts.counts.lost) = (u64::MAX, 1);
    };
    assert_eq!(facts(both), counts, "their sum is beyond what can be said");
}

#[test]
fn a_message_is_no_longer_than_metadata_may_be() {
    let prefix = |marker: [u8; 4], length: usize| {
        let bytes = [marker, (length as u32).to_le_bytes()].concat();
        parse_prefix(&bytes).map_err(|damage| damage.what)
    };
    let most = METADATA_BYTES_MAX - PREFIX_BYTES;
    assert_eq!(
        prefix(CONTINUATION, most),
        Ok(Prefix::Head(METADATA_BYTES_MAX))
    );
    let more = most + ALIGN_BYTES;
    assert_eq!(prefix(CONTINUATION, more), Err(Corruption::Length));
    // Zeros that something stands behind were never allocated ahead alone.
    assert_eq!(prefix([0; 4], 1), Err(Corruption::NoMessage));
}

#[test]
fn a_message_holds_its_own_tail() {
    // Shorter than the tail, and the tail alone.
    for bytes in [&[][..], &[8, 0, 0, 0, 1, 2, 3]] {
        assert_eq!(
            open_message(bytes),
            Err(Damage::at(0, Corruption::Truncated))
        );
    }
    let message = |before: usize, own_bytes: u32| {
        let mut bytes = vec![1; before];
        bytes.put(own_bytes.to_le_bytes());
        let crc = crc32fast::hash(&bytes);
        bytes.put(crc.to_le_bytes());
        (open_message(&bytes), crc)
    };
    let (opened, crc) = message(0, 8);
    assert_eq!(opened, Ok((0, 0, crc)));
    let (opened, crc) = message(24, 20);
    assert_eq!(opened, Ok((12, 24, crc)));
    // It says that it is shorter than its tail, or longer than there is.
    for own_bytes in [0, 7, 33] {
        let (opened, _) = message(24, own_bytes);
        assert_eq!(opened, Err(Damage::at(24, Corruption::Length)));
    }
}

#[test]
fn a_record_is_named_by_segment_and_header() {
    let own_bytes = |bytes: u32| {
        let mut tail = [0xee; TAIL_BYTES];
        tail[..4].copy_from_slice(&bytes.to_le_bytes());
        tail
    };
    let least = (NAME_BYTES + TAIL_BYTES) as u32;
    assert_eq!(
        record_start(64, own_bytes(least)),
        Some(64 - least as usize)
    );
    assert_eq!(record_start(64, own_bytes(64)), Some(0));
    assert_eq!(record_start(64, own_bytes(least - 1)), None);
    assert_eq!(record_start(64, own_bytes(65)), None);
    let record = record();
    let encoded = encode_record(&record, &[]);
    let name = *encoded.first_chunk::<NAME_BYTES>().expect("a name");
    let other = SegmentId {
        rewrite: Rewrite(1),
        ..record.segment
    };
    assert!(is_named(name, record.segment, None));
    assert!(is_named(name, record.segment, Some(7)));
    assert!(!is_named(name, record.segment, Some(8)));
    assert!(!is_named(name, other, None) && !is_named(name, other, Some(7)));
    let mut strange = name;
    strange[0] ^= 1;
    assert!(!is_named(strange, record.segment, None));
}

fn header_with(change: impl FnOnce(&mut SegmentHeader)) -> Result<ParsedHeader, Corruption> {
    let (parsed, _) = header(&schema(Vec::new()));
    let mut header = parsed.header;
    change(&mut header);
    let (_, bytes) = encode_header(&header);
    parse_header(&bytes).map_err(|damage| damage.what)
}

fn before(next_commit_number: u64) -> Predecessor {
    Predecessor {
        sequence: Sequence(1),
        lineage: Lineage(1),
        next_offset: Offset(0),
        next_commit_number,
    }
}

#[test]
fn a_header_begins_at_a_number_that_can_be() {
    let first = |number| header_with(|header| header.first_commit_number = number).map(drop);
    let beyond = Err(Corruption::Field("commit number"));
    assert_eq!(first(COMMIT_NUMBER_MAX + 1), Ok(()));
    assert_eq!(first(COMMIT_NUMBER_MAX + 2), beyond);
    let prev = |number| header_with(|header| header.prev = Some(before(number))).map(drop);
    assert_eq!(prev(COMMIT_NUMBER_MAX + 1), Ok(()));
    assert_eq!(prev(COMMIT_NUMBER_MAX + 2), beyond);
    assert_eq!(prev(u64::MAX), beyond);
    let mut prefix = b"ARROW1\0\0\xff\xff\xff\xff".to_vec();
    prefix.put(((HEADER_BYTES_MAX - HEADER_PREFIX_BYTES) as u32).to_le_bytes());
    assert_eq!(header_bytes(&prefix), Ok(HEADER_BYTES_MAX));
    prefix[12..].copy_from_slice(&(HEADER_BYTES_MAX as u32).to_le_bytes());
    let longer = Err(Damage::at(12, Corruption::Length));
    assert_eq!(header_bytes(&prefix), longer);
}

fn hole() -> Hole {
    let (parsed, _) = header(&schema(Vec::new()));
    Hole {
        next_commit_number: 1,
        ..Hole::of(&parsed.header, "why".to_owned())
    }
}

#[test]
fn a_hole_holds_together() {
    let parsed = |hole: &Hole| parse_hole(&encode_hole(hole)).map_err(|damage| damage.what);
    let strange = Err(Corruption::Field("hole"));
    let good = Hole {
        next_commit_number: COMMIT_NUMBER_MAX + 1,
        ..hole()
    };
    assert_eq!(parsed(&good).as_ref(), Ok(&good));
    let number = Hole {
        next_commit_number: COMMIT_NUMBER_MAX + 2,
        ..hole()
    };
    assert_eq!(parsed(&number), strange);
    let falls = Hole {
        first_offset: Offset(1),
        ..hole()
    };
    assert_eq!(parsed(&falls), strange);
    let itself = Hole {
        before: Before::Segment(before(1)),
        ..hole()
    };
    assert_eq!(parsed(&itself), strange, "it follows itself");
    // A file of the bound is looked at, a longer one is not.
    let said = |bytes| parse_hole(&vec![0; bytes]).map_err(|damage| damage.what);
    assert_eq!(said(HOLE_BYTES_MAX), Err(Corruption::MetadataChecksum));
    assert_eq!(said(HOLE_BYTES_MAX + 1), Err(Corruption::Length));
    assert_eq!(said(HOLE_BYTES_MAX + 2), Err(Corruption::Length));
    // A reason with the bound in the midst of a character loses it.
    let reason = format!("a{}", "ä".repeat(HOLE_REASON_BYTES_MAX));
    let read = parsed(&Hole { reason, ..hole() }).expect("within its bounds");
    let kept = format!("a{}", "ä".repeat(HOLE_REASON_BYTES_MAX / 2 - 1));
    assert_eq!(read.reason, kept);
}

/// A file without content that ends in this seal: index entries as they are, then this footer.
fn sealed(content: u64, commits: u32, entries: &[u8], footer: u64) -> Result<Seal, Damage> {
    let mut file = vec![0; content as usize];
    file.put(CONTINUATION);
    file.put([0; 4]);
    let index_at = file.len();
    let mut tail = vec![0; footer as usize - 10];
    tail.put((footer as u32 - 10).to_le_bytes());
    tail.extend(b"ARROW1");
    file.extend(b"PLINDEX1");
    file.put(content.to_le_bytes());
    file.put(commits.to_le_bytes());
    file.put(crc32fast::hash(&tail).to_le_bytes());
    file.extend(entries);
    file.put(((file.len() - index_at + 8) as u32).to_le_bytes());
    let crc = crc32fast::hash(&file[index_at..]);
    file.put(crc.to_le_bytes());
    file.extend(tail);
    parsed_seal(&file)
}

fn parsed_seal(file: &[u8]) -> Result<Seal, Damage> {
    let read = |at: u64, len: usize| Ok::<_, ()>(file[at as usize..at as usize + len].to_vec());
    parse_seal(file.len() as u64, read).expect("read")
}

fn entry(at: u64, head_bytes: u32, record: &CommitRecord) -> Vec<u8> {
    let encoded = encode_record(record, &[]);
    let mut entry = at.to_le_bytes().to_vec();
    entry.put(head_bytes.to_le_bytes());
    entry.put((encoded.len() as u32).to_le_bytes());
    entry.extend(encoded);
    entry
}

#[test]
fn an_index_says_where_every_commit_stands() {
    let what = |read: Result<Seal, Damage>| {
        read.map(|seal| seal.commits.len())
            .map_err(|damage| damage.what)
    };
    let too_long = Err(Corruption::Length);
    let one = |at, head_bytes| entry(at, head_bytes, &record());
    assert_eq!(what(sealed(64, 0, &[], 64)), Ok(0));
    let two = [one(0, 64), one(64, 128)].concat();
    assert_eq!(what(sealed(192, 2, &two, 64)), Ok(2));
    // One behind a gap, one over another, one beyond the content, and content that nobody has.
    let gap = [one(0, 64), one(128, 64)].concat();
    assert_eq!(what(sealed(192, 2, &gap, 64)), too_long);
    let over = [one(0, 64), one(32, 160)].concat();
    assert_eq!(what(sealed(192, 2, &over, 64)), too_long);
    assert_eq!(what(sealed(128, 2, &two, 64)), too_long);
    assert_eq!(what(sealed(256, 2, &two, 64)), too_long);
    let most = METADATA_BYTES_MAX as u32;
    assert_eq!(what(sealed(most.into(), 1, &one(0, most), 64)), Ok(1));
    let more = most + 64;
    assert_eq!(what(sealed(more.into(), 1, &one(0, more), 64)), too_long);
    let many = |commits: u32| {
        let entries: Vec<u8> = (0..commits)
            .flat_map(|number| one(u64::from(number) * 64, 64))
            .collect();
        what(sealed(u64::from(commits) * 64, commits, &entries, 64))
    };
    let commits = SEGMENT_COMMITS_MAX;
    assert_eq!(many(commits), Ok(commits as usize));
    assert_eq!(many(commits + 1), too_long);
    // The end of the content is where the end of stream says.
    let mut file = vec![0; 64];
    file.extend(encode_seal(&header(&schema(Vec::new())).0.header, &[], 64));
    assert_eq!(what(parsed_seal(&file)), Ok(0));
    file.splice(0..0, [0; 64]);
    assert_eq!(what(parsed_seal(&file)), too_long);
}

#[test]
fn a_footer_and_an_index_are_within_their_bounds() {
    let what = |read: Result<Seal, Damage>| read.map(drop).map_err(|damage| damage.what);
    assert_eq!(what(sealed(0, 0, &[], FOOTER_BYTES_MAX)), Ok(()));
    let more = what(sealed(0, 0, &[], FOOTER_BYTES_MAX + 1));
    assert_eq!(more, TOO_LONG);
    // An index shorter than its magic and its tail is none; as long as them it is looked at.
    let own_bytes = |own_bytes: u32| {
        let mut file = vec![0; 64];
        file.extend(b"PLINDEX1");
        file.put(own_bytes.to_le_bytes());
        file.put([0; 4]);
        file.put(0u32.to_le_bytes());
        file.extend(b"ARROW1");
        parsed_seal(&file)
    };
    let checksum = Damage {
        bytes: 64..80,
        what: Corruption::MetadataChecksum,
    };
    assert_eq!(own_bytes(16), Err(checksum));
    for short in [0, 8, 15] {
        assert_eq!(own_bytes(short), Err(Damage::at(72, Corruption::Length)));
    }
    // What is no footer is said at its magic.
    let open = vec![1; 100];
    assert_eq!(parsed_seal(&open), Err(Damage::at(94, Corruption::Magic)));
}
