//! Responses as they arrive: in pieces, two in one read, and larger than any may be.

use ingest::kafka::ErrorCode;
use ingest::kafka::fetch::CurrentLeader;
use ingest::leaf::Connection;
use ingest::leaf::order::Goal;
use ingest::leaf::rows::Row;
use ingest::limits;

use crate::rig::{Rig, Said, Setup, batch, rows};
use crate::told::{caught_up, epoch_end, led};

const GOOD: ErrorCode = ErrorCode::None;

fn running(name: &'static str) -> Rig {
    let mut rig = Rig::new(Setup::new(name));
    rig.run(Goal::Run);
    rig
}

/// The answer to the oldest fetch, for its one partition.
fn response(rig: &mut Rig, said: &Said) -> (Connection, Vec<u8>) {
    rig.response(0, GOOD, 0, &[(0, GOOD, said)], None)
}

/// The next fetch leaves while a response is read: both answers may come in one read.
#[test]
fn two_responses_in_one_read_are_both_read() {
    let mut rig = running("two-in-one");
    let (connection, first) = response(
        &mut rig,
        &Said::records(9, &[rows(0, 1), rows(1, 1), rows(2, 1), rows(3, 1)]),
    );
    // But for the last byte it is here, its record batch's header as well: what follows is asked for.
    rig.arrive(connection, &first[..first.len() - 1]);
    rig.pass(1);
    assert_eq!((rig.visible(), rig.fetches.len()), (3, 1));
    assert_eq!(rig.fetches[0].asked, [(0, 4)]);
    let (same, second) = response(&mut rig, &Said::records(9, &[rows(4, 5)]));
    assert_eq!(same, connection);
    let rest = [&first[first.len() - 1..], &second].concat();
    rig.arrive(connection, &rest);
    rig.pass(1);
    assert_eq!((rig.visible(), rig.failed()), (9, None));
    assert_eq!(rig.fetches[0].asked, [(0, 9)]);
    let of = |row| rig.leaf.rows().of(row);
    assert_eq!((of(Row::Fetched), of(Row::FetchedNothing)), (2, 0));
}

/// Its length and its records' length say that so many bytes more follow.
fn longer(bytes: &mut [u8], records_bytes: usize, more: usize) {
    let records_at = bytes.len() - records_bytes;
    for at in [0, records_at - 4] {
        let length: [u8; 4] = bytes[at..at + 4].try_into().expect("four bytes");
        let longer = i32::from_be_bytes(length) + more as i32;
        bytes[at..at + 4].copy_from_slice(&longer.to_be_bytes());
    }
}

/// The length that a response gives itself is beyond what the leaf may hold. What stands at its beginning is
/// loaded, and it is given up where it would need more than a usual response.
#[test]
fn a_response_that_is_too_large_is_read_as_far_as_a_usual_one_and_given_up() {
    let bound = limits::BATCH_BYTES_MAX + limits::FRAME_OVERHEAD_BYTES;
    for (name, beyond) in [("as-large-as-may-be", 0), ("too-large", 1)] {
        let mut rig = running(name);
        let message = format!("{{\"s0\":\"{}\"}}", "x".repeat(100_000));
        let batches: Vec<Vec<u8>> = (0..30).map(|at| batch(at, &[&message])).collect();
        let (connection, mut bytes) = response(&mut rig, &Said::records(30, &batches));
        let more = bound + beyond - bytes.len();
        longer(&mut bytes, batches.concat().len(), more);
        let mut arrived = 0;
        for piece in bytes.chunks(limits::RECEIVE_BYTES) {
            let at = rig.visible();
            rig.arrive(connection, piece);
            arrived += piece.len();
            if arrived > limits::FETCH_RESPONSE_BYTES_MAX + limits::FRAME_OVERHEAD_BYTES {
                break;
            }
            assert!(rig.visible() > at, "it is loaded while it arrives");
            assert!(!rig.words().contains("no connection"), "at {arrived}");
        }
        let words = rig.words();
        let why = format!("a response of {} bytes, more than {bound}", bound + 1);
        assert_eq!(words.ends_with(&why), beyond > 0, "{name}: {words}");
        assert_eq!(
            words.contains("no connection"),
            beyond > 0,
            "{name}: {words}"
        );
        assert_eq!(rig.failed(), None);
    }
}

/// Two brokers, and of each the response to the first fetch, of one record batch that no usual response holds.
fn two_large(name: &'static str) -> (Rig, [(Connection, Vec<u8>); 2], usize) {
    let mut setup = Setup::new(name);
    (setup.partitions, setup.brokers) = (2, 2);
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    let message = format!("{{\"s0\":\"{}\"}}", "x".repeat(3 << 20));
    let said = Said::records(1, &[batch(0, &[&message])]);
    let mut of = |partition| {
        assert_eq!(rig.fetches[0].asked, [(partition, 0)]);
        rig.response(0, GOOD, 0, &[(partition, GOOD, &said)], None)
    };
    let both = [of(0), of(1)];
    (rig, both, said.records.len())
}

/// There is memory for one response that is larger than usual: the second waits for it, also where it is as large as
/// any may be.
#[test]
fn a_response_that_is_larger_than_usual_waits_for_another_one() {
    let (mut rig, [(first, first_bytes), (second, mut bytes)], records) = two_large("one-large");
    let more = limits::BATCH_BYTES_MAX + limits::FRAME_OVERHEAD_BYTES - bytes.len();
    longer(&mut bytes, records, more);
    let usual = limits::FETCH_RESPONSE_BYTES_MAX;
    assert_eq!(rig.arrive(first, &first_bytes[..usual]), usual);
    let taken = rig.arrive(second, &bytes);
    assert!((usual..bytes.len()).contains(&taken), "{taken}");
    rig.arrive(first, &first_bytes[usual..]);
    assert_eq!([1, 2].map(|id| rig.visible_of(id)), [1, 0]);
    assert_eq!(rig.arrive(second, &bytes[taken..]), bytes.len() - taken);
    assert_eq!([1, 2].map(|id| rig.visible_of(id)), [1, 1]);
}

#[test]
fn a_response_of_a_usual_size_leaves_the_memory_to_one_that_is_larger() {
    let (mut rig, [(first, _), (second, bytes)], _) = two_large("none-large");
    // Its length alone.
    rig.arrive(first, &1_000_i32.to_be_bytes());
    assert_eq!(rig.arrive(second, &bytes), bytes.len());
    assert_eq!(rig.visible_of(2), 1);
}

/// A partition that is refused has not been said to be empty: FOREGROUND waits for it.
#[test]
fn refusals_are_no_answers_without_a_record() {
    let mut rig = Rig::new(Setup::new("refused-not-empty"));
    rig.run(Goal::Foreground { batches_max: None });
    rig.answer(&Said::records(9, &[rows(0, 4)]));
    for _ in 0..limits::EMPTY_ANSWERS_MAX + 1 {
        let refused = [(0, ErrorCode::KafkaStorageError, &Said::nothing(9))];
        rig.answer_with(0, &refused);
        rig.pass(2_000);
        assert_eq!(caught_up(&rig), []);
    }
    rig.answer(&Said::records(9, &[rows(4, 5)]));
    rig.pass(200);
    assert_eq!(caught_up(&rig), [(1, 9, 9)]);
    assert_eq!(rig.visible(), 9);
}

#[test]
fn a_record_batch_of_more_than_may_be_is_named_by_its_offset() {
    let mut rig = running("oversize");
    let some = Said::records(9, &[rows(3, 4)]);
    let (connection, mut bytes) = response(&mut rig, &some);
    longer(&mut bytes, some.records.len(), limits::BATCH_BYTES_MAX);
    // The record batch's own length stands behind its base offset, and counts neither.
    let length_at = bytes.len() - some.records.len() + 8;
    let length = limits::BATCH_BYTES_MAX as i32 + 1 - 12;
    bytes[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
    rig.arrive(connection, &bytes);
    let failure = rig.failed().expect("it is refused");
    let text = format!(
        "the record batch at offset 3 has {} bytes, more than {}",
        limits::BATCH_BYTES_MAX + 1,
        limits::BATCH_BYTES_MAX
    );
    assert!(failure.text.starts_with(&text), "{}", failure.text);
    assert_eq!((failure.offset, failure.deterministic), (3, true));
}

/// The rest of it would take the cursor past what is given up with its beginning.
#[test]
fn the_rest_of_a_response_is_void_when_another_leader_is_known() {
    let mut rig = running("void-within");
    rig.hold_turns = true;
    let both = Said::records(8, &[rows(0, 4), rows(4, 4)]);
    let (connection, bytes) = response(&mut rig, &both);
    let second = rows(4, 4).len();
    rig.arrive(connection, &bytes[..bytes.len() - second]);
    led(&mut rig, 1);
    rig.arrive(connection, &bytes[bytes.len() - second..]);
    rig.hold_turns = false;
    rig.settle();
    rig.pass(1);
    assert_eq!((rig.visible(), rig.fetches.len()), (0, 1));
    assert_eq!(rig.fetches[0].asked, [(0, 0)]);
    rig.answer(&both);
    rig.pass(200);
    assert_eq!((rig.visible(), rig.failed()), (8, None));
    assert_eq!((rig.counts().loaded, rig.counts().gap), (8, 0));
}

/// From version 12 on fields follow a partition's records: they may come when the records are loaded.
#[test]
fn what_was_loaded_before_its_partitions_end_is_loaded() {
    let mut setup = Setup::new("loaded-before-its-end");
    setup.fetch_version = 17;
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    let (connection, bytes) = response(&mut rig, &Said::records(4, &[rows(0, 4)]));
    let (records, rest) = bytes.split_at(bytes.len() - 3);
    rig.arrive(connection, records);
    assert_eq!(rig.visible(), 4);
    rig.arrive(connection, rest);
    assert_eq!(rig.words(), "Running: caught up");
}

#[test]
fn a_topic_without_an_id_goes_by_its_name_also_where_the_broker_knows_better() {
    for (name, topic_id, version) in [("named", [0; 16], 12), ("by-id", [7; 16], 17)] {
        let mut setup = Setup::new(name);
        (setup.fetch_version, setup.topic_id) = (17, topic_id);
        let mut rig = Rig::new(setup);
        rig.run(Goal::Run);
        assert_eq!(rig.fetches[0].version, version);
        rig.answer(&Said::records(4, &[rows(0, 4)]));
        assert_eq!((rig.visible(), rig.failed()), (4, None));
    }
}

/// What was fetched before an answer without a record is loaded first: nothing is said of where the cursor stands.
#[test]
fn an_answer_without_a_record_says_nothing_while_what_was_fetched_before_it_waits() {
    let mut rig = Rig::new(Setup::new("empty-behind-records"));
    rig.run(Goal::Foreground { batches_max: None });
    rig.hold_turns = true;
    rig.answer(&Said::records(9, &[rows(0, 4)]));
    for _ in 0..2 * limits::EMPTY_ANSWERS_MAX {
        assert_eq!(rig.fetches[0].asked, [(0, 4)]);
        rig.answer(&Said::nothing(9));
    }
    rig.hold_turns = false;
    rig.settle();
    assert_eq!((rig.visible(), caught_up(&rig)), (4, vec![]));
    for _ in 0..limits::EMPTY_ANSWERS_MAX {
        assert_eq!(caught_up(&rig), []);
        rig.answer(&Said::nothing(9));
    }
    rig.pass(200);
    assert_eq!(caught_up(&rig), [(1, 4, 4)]);
}

/// From version 16 on the broker that is no leader says who is, and where.
#[test]
fn who_leads_instead_is_asked_where_the_answer_says_without_asking_anybody_else() {
    let mut setup = Setup::new("moved-there");
    setup.fetch_version = 17;
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    rig.answer(&Said::records(9, &[rows(0, 4)]));
    assert_eq!(rig.visible(), 4);
    let leader = CurrentLeader {
        leader_id: 2,
        leader_epoch: 1,
    };
    let moved = [(0, ErrorCode::NotLeaderOrFollower, &Said::nothing(-1))];
    let there = Some((leader, ("elsewhere", 9_999)));
    let (connection, bytes) = rig.response(0, GOOD, 0, &moved, there);
    rig.arrive(connection, &bytes);
    rig.pass(1);
    let known = rig.attached().standing.leader.load_full();
    let known = known.expect("it was said");
    assert_eq!(
        (known.broker, known.host.as_str(), known.port, known.epoch),
        (2, "elsewhere", 9_999, 1)
    );
    epoch_end(&mut rig, 1, 4);
    assert_eq!(rig.addresses.last(), Some(&("elsewhere".to_owned(), 9_999)));
    rig.answer(&Said::records(9, &[rows(4, 5)]));
    assert_eq!((rig.visible(), rig.failed()), (9, None));
}
