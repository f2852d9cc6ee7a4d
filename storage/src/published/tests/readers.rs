//! Readers over a segment: what they are given without a copy, what damage they name, and whom they wake.

use std::sync::atomic::AtomicUsize;

use super::*;

/// A file in memory whose bytes are handed out as they lie, moved by so many.
#[derive(Debug)]
struct Lying {
    bytes: Buffer,
    moved: usize,
}

impl Lying {
    fn new(bytes: &[u8], moved: usize) -> Arc<Lying> {
        let bytes = [&vec![0; moved], bytes].concat();
        Arc::new(Lying {
            bytes: Buffer::from_slice_ref(&bytes),
            moved,
        })
    }
}

impl Pages for Lying {
    fn buffer(&self, at_byte: u64, len: usize) -> Result<Buffer, StorageError> {
        Ok(self
            .bytes
            .slice_with_length(at_byte as usize + self.moved, len))
    }

    fn prefetch(&self, _: u64, _: usize) -> Result<(), StorageError> {
        Ok(())
    }
}

/// A segment of one commit of seven rows and a reject: its header, its bytes, and the commit's record and place.
fn segment() -> (ParsedHeader, Vec<u8>, crate::format::CommitRecord, u64) {
    let mut writing = Writing::new();
    writing.step(7);
    writing.flush(0);
    let commit = writing.open.commit(0);
    let bytes = writing
        .held
        .bytes
        .lock()
        .expect("no panic while it is held");
    let record = commit.record().clone();
    (
        writing.header.clone(),
        bytes.clone(),
        record,
        commit.at_byte(),
    )
}

fn file(pages: Arc<dyn Pages>, alarm: Arc<Alarm>) -> SegmentFile {
    SegmentFile::new(segment().0, PathBuf::from("held"), pages, alarm)
}

#[test]
fn a_column_is_read_where_it_lies_and_copied_only_where_it_must_be() {
    let (_, bytes, record, at) = segment();
    let values = at + u64::from(record.head_bytes) + record.columns[0].buffers[1].at;
    for moved in [0, 1] {
        let pages = Lying::new(&bytes, moved);
        let lies_at = pages.buffer(values, 1).expect("there").as_ptr();
        let file = file(pages, Arc::default());
        let commit = Commit::new(record.clone(), at);
        let read = commit.read(&file, 0).expect("sound");
        assert_eq!(
            read.as_primitive::<Int32Type>().values(),
            &[0, 1, 2, 3, 4, 5, 6]
        );
        let data = read.to_data();
        assert_eq!(data.buffers()[0].as_ptr() == lies_at, moved == 0);
        assert!(commit.check_anew(&file).is_ok());
    }
}

#[test]
fn damage_of_rejects_is_named_by_their_bytes() {
    let (_, mut bytes, record, at) = segment();
    let from = at + u64::from(record.head_bytes) + record.rejects.at;
    bytes[from as usize + 20] ^= 1;
    let file = file(Lying::new(&bytes, 0), Arc::default());
    let place = from..from + u64::from(record.rejects.bytes);
    match Commit::new(record, at).rejects(&file) {
        Err(StorageError::Corrupt { bytes, what, .. }) => {
            assert_eq!((bytes, what), (place, Corruption::RejectsChecksum));
        }
        other => panic!("{other:?}"),
    }
}

/// What a merged commit stands for is read from its file, and only believed where the rest of it is the same.
#[test]
fn batches_of_another_commit_are_not_believed() {
    let (header, bytes, record, at) = segment();
    let replaced = [record.facts];
    let (merged, head) = crate::format::encode_copy(&header, &record, &replaced);
    let alarm = Arc::new(Alarm::default());
    let pages = Lying::new(&[&bytes[..at as usize], &head].concat(), 0);
    let file = file(pages, Arc::clone(&alarm));
    let batches = |record: crate::format::CommitRecord| {
        let read = Commit::new(record, at).batches_quietly(&file);
        read.expect("it can be read")
    };
    assert_eq!(batches(merged.clone()), Ok(replaced.to_vec()));
    let mut other = merged;
    other.durable_end += 64;
    let damage = Damage::at(at, Corruption::OtherSegment);
    assert_eq!(batches(other), Err(damage));
    assert!(alarm.damage().is_none(), "quietly");
}

#[test]
fn the_first_damage_rings_until_it_is_silenced_or_the_alarm_is_another() {
    let rung = Arc::new(AtomicUsize::new(0));
    let writing = Writing::new();
    let view = &writing.view;
    let counting = Arc::clone(&rung);
    view.set_bell(Bell::new(move || {
        counting.fetch_add(1, Ordering::Relaxed);
    }));
    let (_, mut bytes, record, at) = segment();
    bytes[(at + u64::from(record.head_bytes)) as usize] ^= 1;
    let pages = Lying::new(&bytes, 0);
    let damaged = || file(Arc::<Lying>::clone(&pages), view.alarm());
    let meet = |file: &SegmentFile| {
        let read = Commit::new(record.clone(), at).read(file, 0);
        assert!(read.is_err());
        rung.load(Ordering::Relaxed)
    };
    // The alarm of before a recovery had no bell yet.
    assert_eq!(meet(&damaged()), 0);
    let before = view.alarm();
    assert!(before.damage().is_some());
    view.renew_alarm();
    assert!(view.alarm().damage().is_none() && !Arc::ptr_eq(&before, &view.alarm()));
    let file = damaged();
    assert_eq!((meet(&file), meet(&file)), (1, 1));
    assert!(view.alarm().damage().is_some());
    view.alarm().silence();
    assert!(view.alarm().damage().is_none());
    assert_eq!(meet(&file), 2);
}

#[test]
fn a_seal_is_there_once_it_is_said_and_until_it_is_taken_back() {
    let file = file(Lying::new(&[], 0), Arc::default());
    assert_eq!(file.seal(), SealState::Unknown);
    for state in [SealState::Written, SealState::Durable, SealState::Unknown] {
        file.say_seal(state);
        assert_eq!(file.seal(), state);
    }
}
