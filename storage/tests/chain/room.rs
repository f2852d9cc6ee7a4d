//! Room: on the disk, of which whoever waits is told as it is; and in memory, for errors whose message is long.

use storage::block::{BlockFull, FaultKind, Reject, RejectKind};
use storage::disk::DiskOp;
use storage::ids::{Lineage, Offset};
use storage::limits::{BLOCK_MARKS_MIN, FULL_RETRY_MS};
use storage::pool::BlockPool;
use storage::store::{Blocked, FaultRecord, StoreEffect, StoreEvent, StoreSettings};

use crate::rig::Rig;

const ENOSPC: i32 = 28;

/// Whether it is full, and was since somebody asked.
fn full(rig: &Rig) -> (bool, bool) {
    (rig.store.is_disk_full(), rig.store.is_refused())
}

#[test]
fn a_full_disk_is_full_until_something_was_written() {
    let mut rig = Rig::new("room", 1, StoreSettings::default());
    rig.commit(3, "a");
    assert_eq!(full(&rig), (false, false));
    rig.load(1, "a");
    rig.now_ms += rig.settings.flush_age_ms;
    rig.on(StoreEvent::Tick);
    assert_eq!(full(&rig), (false, false));
    rig.fail(|_| true, ENOSPC);
    assert_eq!((full(&rig), rig.disk.len()), ((true, true), 0));
    rig.now_ms += FULL_RETRY_MS - 1;
    rig.on(StoreEvent::Tick);
    assert_eq!(rig.disk.len(), 0);
    // Whoever asks is not told of what was before: it is tried again at once.
    rig.store.ask_for_room();
    assert_eq!(full(&rig), (true, false));
    rig.on(StoreEvent::Tick);
    assert_eq!(rig.disk.len(), 1);
    // And who asks meanwhile is not told of what was begun before.
    rig.store.ask_for_room();
    rig.fail(|_| true, ENOSPC);
    assert_eq!((full(&rig), rig.disk.len()), ((true, false), 1));
    rig.fail(|_| true, ENOSPC);
    assert_eq!((full(&rig), rig.disk.len()), ((true, true), 0));
    rig.now_ms += FULL_RETRY_MS;
    rig.on(StoreEvent::Tick);
    rig.settle();
    assert_eq!((full(&rig), rig.rows()), ((false, false), 4));
    assert_eq!(rig.history().len(), 2);
}

/// Loading waits, for room and for nothing else.
#[test]
fn a_block_that_waits_for_room_says_so() {
    let settings = StoreSettings {
        offsets_max: 4,
        ..StoreSettings::default()
    };
    let mut rig = Rig::new("room-blocked", 1, settings);
    rig.commit(1, "a");
    rig.load(4, "a");
    rig.fail(|_| true, ENOSPC);
    rig.load(4, "a");
    assert_eq!(rig.store.blocked(), Some(Blocked::Space));
    rig.now_ms += FULL_RETRY_MS;
    rig.on(StoreEvent::Tick);
    assert!(rig.finish(|op| matches!(op, DiskOp::Write(_))));
    assert_eq!((rig.store.blocked(), full(&rig)), (None, (false, false)));
    // A partition that stands still has nothing to write.
    rig.settle();
    rig.load(4, "a");
    rig.fail(|_| true, ENOSPC);
    assert_eq!(full(&rig), (true, true));
    rig.on(StoreEvent::Drop);
    assert_eq!(full(&rig), (false, false));
}

#[test]
fn a_segment_is_to_be_made_where_a_lineage_begins_or_a_void_is_followed() {
    let mut rig = Rig::new("room-begins", 1, StoreSettings::default());
    rig.commit(3, "a");
    assert!(!rig.store.begins_segment());
    rig.start.lineage = Lineage(2);
    rig.start.start_offset = Offset(9);
    rig.on(StoreEvent::Rewind(rig.start));
    assert!(rig.store.begins_segment());
    assert!(rig.finish(|op| matches!(op, DiskOp::Create(_))));
    assert!(!rig.store.begins_segment());
    rig.settle();
    assert!(!rig.store.begins_segment());
    rig.load(1, "a");
    rig.now_ms += rig.settings.flush_age_ms;
    rig.on(StoreEvent::Tick);
    rig.fail(|op| matches!(op, DiskOp::Write(_)), 5);
    assert_eq!(rig.store.blocked(), Some(Blocked::Voiding));
    assert!(rig.store.begins_segment());
    rig.settle();
    assert!(!rig.store.begins_segment());
}

/// What is on its way may still write into the directory.
#[test]
fn a_directory_is_dropped_when_nothing_is_on_its_way() {
    let mut rig = Rig::new("room-dropped", 1, StoreSettings::default());
    rig.commit(3, "a");
    rig.load(1, "a");
    rig.now_ms += rig.settings.flush_age_ms;
    rig.on(StoreEvent::Tick);
    rig.on(StoreEvent::Drop);
    assert!(matches!(rig.disk.front(), Some(DiskOp::Write(_))));
    assert_eq!(rig.disk.len(), 1);
    rig.settle();
    let dropped = |said: &StoreEffect| matches!(said, StoreEffect::Dropped);
    assert!(rig.said.iter().any(dropped) && !rig.directory().exists());
}

fn fault(text: &str, message_bytes: usize) -> StoreEvent {
    StoreEvent::Fault(Box::new(FaultRecord {
        offset: Offset(3),
        timestamp_ms: 0,
        unix_ms: 1_700_000_000_000,
        code: 1,
        kind: RejectKind::Fault(FaultKind::Load),
        line: 1,
        column: None,
        text: text.to_owned(),
        message: vec![b'm'; message_bytes],
    }))
}

/// A block of a message's size may take half of what blocks may take together: the text is kept, whatever it is.
#[test]
fn a_fault_whose_message_no_block_has_room_for_keeps_its_text() {
    const MESSAGE_BYTES: usize = 1 << 20;
    let mut rig = Rig::new("room-message", 1, StoreSettings::default());
    let message = vec![b'm'; MESSAGE_BYTES];
    let mut tail = rig.store.tail(&mut rig.pool).expect("a tail");
    let full = tail.reject(&Reject {
        offset: Offset(3),
        timestamp_ms: 0,
        unix_ms: 1_700_000_000_000,
        code: 1,
        kind: RejectKind::Fault(FaultKind::Load),
        line: 1,
        column: None,
        text: "long",
        key: None,
        message: &message,
    });
    let full = full.expect_err("no room");
    let block_bytes = |needed: &[BlockFull], pool: &BlockPool| {
        let bytes = rig.store.block_bytes(needed, pool);
        bytes.expect("a block") as usize
    };
    let small = block_bytes(&[], &rig.pool);
    let mut bytes = block_bytes(&[full], &rig.pool);
    assert!(
        small > 10_000 && bytes > small + 900_000,
        "{small}, {bytes}"
    );
    // Of a small budget a block takes less beside the message.
    for _ in 0..4 {
        bytes = block_bytes(&[full], &BlockPool::new(2 * bytes));
    }
    assert_eq!(bytes, block_bytes(&[full], &BlockPool::new(2 * bytes)));
    for (budget_bytes, kept) in [
        (4 * bytes, MESSAGE_BYTES),
        (2 * bytes, MESSAGE_BYTES),
        (2 * bytes - 2, 0),
        (bytes, 0),
    ] {
        let mut rig = Rig::new("room-message-kept", 1, StoreSettings::default());
        rig.pool = BlockPool::new(budget_bytes);
        rig.on(fault("long", MESSAGE_BYTES));
        rig.pass(rig.settings.flush_age_ms);
        rig.pass(rig.settings.sync_age_ms);
        let faults = rig.rejects();
        let [fault] = &faults[..] else {
            panic!("one: {faults:?}");
        };
        let found = (fault.text.as_str(), fault.message.len());
        assert_eq!(found, ("long", kept), "{budget_bytes} of {bytes}");
    }
}

/// Several go into one commit, and more than a block has marks for into the next.
#[test]
fn faults_are_committed_together_as_far_as_a_block_has_marks() {
    let mut rig = Rig::new("room-marks", 1, StoreSettings::default());
    let marks = BLOCK_MARKS_MIN as usize;
    let texts: Vec<String> = (0..marks + 5)
        .map(|number| format!("fault {number}"))
        .collect();
    for (number, text) in texts.iter().enumerate() {
        assert_eq!(rig.history().len(), number / marks, "{number}");
        rig.on(fault(text, 0));
        rig.settle();
    }
    rig.pass(rig.settings.flush_age_ms);
    assert_eq!(rig.history().len(), 2);
    let kept: Vec<String> = rig.rejects().into_iter().map(|one| one.text).collect();
    assert_eq!(kept, texts);
}
