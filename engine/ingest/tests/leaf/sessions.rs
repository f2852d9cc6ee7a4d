//! Fetch sessions: what a lane of many partitions tells its broker, and what it takes from an answer that
//! names only what is new.

use ingest::kafka::ErrorCode;
use ingest::leaf::order::Goal;
use ingest::leaf::rows::Row;

use crate::rig::{Part, Rig, Said, Setup, rows};
use crate::told::{attach, caught_up};

const GOOD: ErrorCode = ErrorCode::None;
const SESSION: i32 = 9;
const CAUGHT_UP: &str = "Running: caught up";

/// Three leaf partitions, enough for a session, that run.
fn three(name: &'static str) -> Rig {
    let mut setup = Setup::new(name);
    (setup.partitions, setup.session_partitions_min) = (3, 3);
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    rig
}

/// In a session: the first has four rows, the others' logs are empty.
fn in_session(name: &'static str) -> Rig {
    let mut rig = three(name);
    assert_eq!(asks(&rig), ((0, 0), vec![(0, 0), (1, 0), (2, 0)], vec![]));
    let (some, nothing) = (Said::records(4, &[rows(0, 4)]), Said::nothing(0));
    let parts: [Part<'_>; 3] = [(2, GOOD, &nothing), (0, GOOD, &some), (1, GOOD, &nothing)];
    rig.answer_in(SESSION, GOOD, 0, &parts);
    assert_eq!(rig.visible(), 4);
    rig
}

/// Session and epoch, what is named, what is forgotten.
type Asks = ((i32, i32), Vec<(i32, i64)>, Vec<i32>);

fn asks(rig: &Rig) -> Asks {
    let fetch = rig.fetches.front().expect("a fetch waits");
    let mut asked = fetch.asked.clone();
    asked.sort_unstable();
    (fetch.session, asked, fetch.forgotten.clone())
}

fn changes(rig: &mut Rig, parts: &[Part<'_>]) {
    rig.answer_in(SESSION, GOOD, 0, parts);
}

#[test]
fn a_session_names_what_changed_and_what_it_does_not_name_is_heard() {
    let mut rig = in_session("session");
    assert_eq!(asks(&rig), ((SESSION, 1), vec![(0, 4)], vec![]));
    // Nothing new, for seconds: every partition stands as it was said to.
    for epoch in 2..12 {
        rig.pass(450);
        changes(&mut rig, &[]);
        assert_eq!(asks(&rig), ((SESSION, epoch), vec![], vec![]));
        for id in 1..=3 {
            assert_eq!(
                (rig.words_of(id), rig.lag_of(id)),
                (CAUGHT_UP.into(), Some(0))
            );
        }
        assert_eq!(rig.fetches[0].wait_ms, 500, "all are in it");
    }
    let more = Said::records(7, &[rows(0, 7)]);
    changes(&mut rig, &[(2, GOOD, &more)]);
    assert_eq!(rig.visible_of(3), 7);
    assert_eq!(asks(&rig), ((SESSION, 12), vec![(2, 7)], vec![]));
    assert!(rig.leaf.rows().of(Row::Unchanged) >= 30);
    assert_eq!(rig.failed(), None);
}

#[test]
fn what_is_held_is_forgotten_and_told_again() {
    let mut rig = in_session("session-held");
    let nothing = Said::nothing(-1);
    changes(&mut rig, &[(1, ErrorCode::KafkaStorageError, &nothing)]);
    assert_eq!(asks(&rig), ((SESSION, 2), vec![], vec![1]));
    assert_eq!(rig.fetches[0].wait_ms, 10, "one is left out");
    changes(&mut rig, &[]);
    rig.pass(200);
    changes(&mut rig, &[]);
    assert_eq!(asks(&rig), ((SESSION, 4), vec![(1, 0)], vec![]));
    changes(&mut rig, &[(1, GOOD, &Said::nothing(0))]);
    assert_eq!(rig.words_of(2), CAUGHT_UP);
    // One that stops leaves, one that starts comes in.
    rig.goal_of(3, Goal::Stop);
    changes(&mut rig, &[]);
    assert_eq!(asks(&rig), ((SESSION, 6), vec![], vec![2]));
    rig.goal_of(3, Goal::Run);
    changes(&mut rig, &[]);
    assert_eq!(asks(&rig), ((SESSION, 7), vec![(2, 0)], vec![]));
}

#[test]
fn each_way_a_session_ends_asks_for_everything_anew_and_nothing_is_lost() {
    let mut rig = in_session("session-ends");
    let all = |rig: &Rig| asks(rig).1 == [(0, 4), (1, 0), (2, 0)];
    let (nothing, some) = (Said::nothing(4), Said::records(2, &[rows(0, 2)]));
    let parts: [Part<'_>; 3] = [
        (0, GOOD, &nothing),
        (1, GOOD, &nothing),
        (2, GOOD, &nothing),
    ];
    for (error, next) in [(70, (0, 0)), (71, (SESSION, 0)), (106, (SESSION, 0))] {
        assert!(rig.fetches[0].session.1 > 0);
        let words = rig.words();
        rig.answer_in(0, ErrorCode::from(error), 0, &[]);
        assert_eq!((asks(&rig).0, all(&rig)), (next, true), "after {error}");
        assert_eq!(rig.words(), words, "no hold, and no other connection");
        rig.answer_in(SESSION, GOOD, 0, &parts);
    }
    assert_eq!(rig.leaf.rows().of(Row::SessionLost), 3);
    assert_eq!(rig.leaf.rows().of(Row::SessionMade), 4, "one each time");
    // The broker closes it with its answer, which counts.
    rig.answer_in(0, GOOD, 0, &[(1, GOOD, &some)]);
    assert_eq!(rig.visible_of(2), 2);
    assert_eq!(asks(&rig), ((0, 0), vec![(0, 4), (1, 2), (2, 0)], vec![]));
    rig.answer_in(SESSION, GOOD, 0, &parts);
    // The connection breaks: what the broker got is not known.
    rig.break_connection("gone");
    rig.run(Goal::Run);
    rig.pass(200);
    assert_eq!(
        asks(&rig),
        ((SESSION, 0), vec![(0, 4), (1, 2), (2, 0)], vec![])
    );
    // Another session's answer is none.
    rig.answer_in(SESSION, GOOD, 0, &parts);
    rig.answer_in(SESSION + 1, GOOD, 0, &parts);
    assert!(rig.fetches.is_empty(), "the connection is closed");
    assert_eq!(rig.failed(), None);
}

#[test]
fn a_lane_of_few_partitions_and_a_broker_without_sessions_name_all_each_time() {
    let mut setup = Setup::new("session-few");
    (setup.partitions, setup.session_partitions_min) = (2, 3);
    let mut rig = Rig::new(setup);
    rig.run(Goal::Run);
    for _ in 0..3 {
        assert_eq!(asks(&rig), ((0, -1), vec![(0, 0), (1, 0)], vec![]));
        rig.answer(&Said::nothing(0));
    }
    let mut rig = three("session-none");
    for _ in 0..3 {
        assert_eq!(asks(&rig), ((0, 0), vec![(0, 0), (1, 0), (2, 0)], vec![]));
        rig.answer(&Said::nothing(0));
    }
    assert_eq!(rig.leaf.rows().of(Row::SessionMade), 0);
}

#[test]
fn a_throttled_answer_says_nothing_of_what_it_does_not_name() {
    let mut rig = in_session("session-throttled");
    rig.pass(1_500);
    let waits = "Running: waits for an answer of broker 1 (broker:9092)";
    assert_eq!(rig.words_of(2), waits);
    rig.answer_in(SESSION, GOOD, 5_000, &[]);
    assert_eq!(rig.words_of(2), "Held: broker 1 (broker:9092) throttles");
    assert_eq!(rig.lag_of(2), None);
    rig.pass(5_000);
    assert_eq!(asks(&rig).0, (SESSION, 2));
    changes(&mut rig, &[]);
    assert_eq!(
        (rig.words_of(2), rig.lag_of(2)),
        (CAUGHT_UP.into(), Some(0))
    );
}

#[test]
fn foreground_ends_by_answers_that_do_not_name_its_partition() {
    let mut rig = in_session("session-foreground");
    rig.goal(Goal::Stop);
    rig.pass(1_000);
    rig.reports.clear();
    rig.run(Goal::Foreground { batches_max: None });
    rig.pass(1_000);
    let ((id, epoch), ..) = asks(&rig);
    assert_eq!(
        (id, epoch),
        (0, 0),
        "the lane was closed: the session is the next connection's"
    );
    // The log ends at 9, and what lies between was compacted away.
    let nothing = Said::nothing(9);
    let parts = [0, 1, 2].map(|partition| (partition, GOOD, &nothing));
    rig.answer_in(SESSION, GOOD, 0, &parts);
    changes(&mut rig, &[]);
    rig.pass(200);
    assert_eq!(caught_up(&rig).len(), 0);
    // Another's records took the room: that says nothing of the others.
    let some = Said::records(9, &[rows(4, 2)]);
    changes(&mut rig, &[(0, GOOD, &some)]);
    rig.pass(200);
    assert_eq!(caught_up(&rig).len(), 0);
    changes(&mut rig, &[]);
    rig.pass(200);
    assert_eq!(caught_up(&rig).len(), 2, "three empty answers");
}

#[test]
fn a_kafka_partition_that_another_leaf_partition_takes_over_stays_in_the_session() {
    let mut rig = in_session("session-taken-over");
    rig.goal_of(3, Goal::Drop);
    rig.pass(100);
    attach(&mut rig, |_, pairing| {
        (pairing.leaf_partition, pairing.kafka_partition) = (77, 2);
    });
    rig.goal_of(77, Goal::Run);
    rig.run_one(77);
    // It is read from where the other one did: the broker is told nothing at all.
    changes(&mut rig, &[]);
    assert_eq!(asks(&rig), ((SESSION, 2), vec![], vec![]));
    let some = Said::records(3, &[rows(0, 3)]);
    changes(&mut rig, &[(2, GOOD, &some)]);
    assert_eq!(rig.visible_of(77), 3);
}
