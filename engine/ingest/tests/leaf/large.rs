//! Record batches of many turns: unpacked once, the memory for that bounded, and nobody starved by one.

use ingest::kafka::{BatchBuilder, Codec, ErrorCode};
use ingest::leaf::order::Goal;
use ingest::limits;

use crate::rig::{Part, Rig, Said, Setup};

const CODECS: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
/// The text of one message.
const TEXT_BYTES: usize = 1_000;
/// 20 MiB, and far less when it is packed.
const LARGE: i64 = 20_000;

/// `count` rows from 0 on by a codec.
fn packed(codec: Codec, count: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(0);
    builder.codec = codec;
    let text = "x".repeat(TEXT_BYTES);
    for number in 0..count {
        let message = format!("{{\"v\":{number},\"s0\":\"{text}\"}}");
        builder.push(1_700_000_000_000, None, Some(message.as_bytes()));
    }
    builder.build()
}

/// So many leaf partitions that are being loaded turn by turn.
fn begun(name: &'static str, partitions: u64) -> Rig {
    let mut setup = Setup::new(name);
    setup.partitions = partitions;
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    rig.hold_turns = true;
    rig
}

/// One answer, for each partition its record batch.
fn answer(rig: &mut Rig, batches: Vec<(i64, Vec<u8>)>) {
    let said = batches
        .iter()
        .map(|(count, batch)| Said::records(*count, std::slice::from_ref(batch)));
    let said: Vec<Said> = said.collect();
    let parts: Vec<Part<'_>> = (0..)
        .zip(&said)
        .map(|(at, said)| (at, ErrorCode::None, said))
        .collect();
    rig.answer_with(0, &parts);
}

/// What is unpacked and not loaded, of each partition.
fn unpacked(rig: &Rig, partitions: u64) -> Vec<usize> {
    let open = |id| {
        let partition = rig.leaf.partition(id)?;
        Some(partition.open.as_ref()?.memory_bytes())
    };
    (1..=partitions)
        .filter_map(open)
        .filter(|bytes| *bytes > 0)
        .collect()
}

/// One turn, and what the disk makes of it.
fn turn(rig: &mut Rig) -> bool {
    let loaded = rig.turn();
    rig.settle();
    loaded
}

fn finish(rig: &mut Rig) {
    rig.hold_turns = false;
    for _ in 0..200 {
        rig.pass(100);
    }
}

#[test]
fn a_large_record_batch_is_unpacked_once_and_its_neighbours_have_their_turns() {
    for codec in CODECS {
        let mut rig = begun("large-once", 3);
        let batches = [LARGE, 300, 300].map(|count| (count, packed(codec, count)));
        answer(&mut rig, batches.to_vec());
        // A turn is at most 256 messages of 1 KB.
        while [2, 3].map(|id| rig.visible_of(id)) != [300, 300] {
            assert!(turn(&mut rig));
        }
        let visible = rig.visible();
        assert!((200..900).contains(&visible), "{codec:?}: {visible}");
        finish(&mut rig);
        assert_eq!(rig.visible(), LARGE);
        assert_eq!(rig.leaf.unpackings(), 3, "{codec:?}: one each");
        assert_eq!(rig.counts().loaded, LARGE as u64);
        assert_eq!(rig.attached().view.snapshot().rows(), LARGE as u64);
        assert!(unpacked(&rig, 3).is_empty(), "it is given back");
    }
}

#[test]
fn two_large_record_batches_take_turns_at_the_memory_and_the_one_that_waits_says_so() {
    let mut rig = begun("large-two", 2);
    let batch = packed(Codec::Zstd, LARGE);
    answer(&mut rig, vec![(LARGE, batch.clone()), (LARGE, batch)]);
    // The second finds no memory for what its first turn unpacked.
    for _ in 0..6 {
        assert!(turn(&mut rig));
    }
    let begun = [1, 2].map(|id| rig.visible_of(id));
    assert_eq!(unpacked(&rig, 2).len(), 1);
    let (first, second) = if begun[0] > begun[1] { (1, 2) } else { (2, 1) };
    let behind = format!(
        "Running: behind a large record batch of partition {} of topic 'orders'",
        first - 1
    );
    assert_eq!(rig.words_of(second), behind);
    let visible = rig.visible_of(second);
    for _ in 0..20 {
        assert!(turn(&mut rig));
        assert_eq!(rig.visible_of(second), visible, "it waits");
        assert_eq!(unpacked(&rig, 2).len(), 1);
    }
    finish(&mut rig);
    assert_eq!([1, 2].map(|id| rig.visible_of(id)), [LARGE, LARGE]);
    assert_eq!(rig.leaf.unpackings(), 3, "the second was begun anew once");
}

#[test]
fn small_record_batches_share_what_there_is_and_what_is_kept_stays_within_it() {
    const PARTITIONS: u64 = 12;
    let mut rig = begun("large-share", PARTITIONS);
    // 1 MiB each, of which four fit; one more is the large one, and the others wait.
    let batch = packed(Codec::Lz4, 1_000);
    answer(&mut rig, vec![(1_000, batch); PARTITIONS as usize]);
    let share = crate::rig::MEMORY_BYTES / limits::UNPACKED_SHARE_DIVISOR;
    let mut most = 0;
    while turn(&mut rig) {
        let mut kept = unpacked(&rig, PARTITIONS);
        most = most.max(kept.len());
        kept.sort_unstable();
        let large = kept.pop().unwrap_or(0);
        let in_share: usize = kept.iter().sum();
        assert!(in_share as u64 <= share, "{kept:?} and {large}");
    }
    assert!((3..=5).contains(&most), "{most} at once");
    finish(&mut rig);
    for id in 1..=PARTITIONS {
        assert_eq!(rig.visible_of(id), 1_000);
    }
    assert!(rig.leaf.unpackings() <= 2 * PARTITIONS);
}

#[test]
fn what_is_unpacked_goes_with_its_fetch_and_whoever_waits_goes_on() {
    let mut rig = begun("large-stop", 2);
    let batch = packed(Codec::Zstd, LARGE);
    answer(&mut rig, vec![(LARGE, batch.clone()), (LARGE, batch)]);
    for _ in 0..6 {
        assert!(turn(&mut rig));
    }
    let first = if rig.visible_of(1) > rig.visible_of(2) {
        1
    } else {
        2
    };
    rig.goal_of(first, Goal::Stop);
    assert!(unpacked(&rig, 2).is_empty());
    let second = 3 - first;
    finish(&mut rig);
    assert_eq!(rig.visible_of(second), LARGE);
    assert!(rig.visible_of(first) < LARGE);
    assert_eq!(rig.words_of(first), "Stopped");
    assert_eq!(rig.leaf.unpackings(), 3);
}
