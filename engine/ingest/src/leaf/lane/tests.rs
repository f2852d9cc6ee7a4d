//! Lanes, without a leaf around them.

use super::*;
use crate::kafka::ErrorCode;

fn sent(lane: &mut Lane, now_us: u64) {
    let correlation = lane.next_correlation();
    lane.sent(Sent {
        correlation,
        session: SessionPlace::NONE,
        sent_us: now_us,
        wait_ms: 500,
        version: 12,
    });
}

fn idle() -> Lane {
    let mut lane = Lane::new(1, "broker".to_owned(), 9092);
    assert!(lane.connect(0, 1));
    lane.connected(10);
    lane.negotiated(12);
    lane
}

#[test]
fn a_fetch_goes_round() {
    let mut lane = idle();
    assert!(lane.may_send(10, false));
    sent(&mut lane, 10);
    assert!(matches!(lane.state(), State::Parked { .. }));
    assert!(!lane.may_send(20, true));
    lane.received(30);
    assert!(!lane.may_send(30, false));
    assert!(lane.answered(40, 1_000).is_some());
    assert_eq!(*lane.state(), State::Idle);
    assert!(lane.may_send(40, false));
}

#[test]
fn the_next_fetch_leaves_while_a_response_is_read_and_no_third() {
    let mut lane = idle();
    sent(&mut lane, 10);
    lane.received(20);
    assert!(lane.may_send(20, true));
    sent(&mut lane, 20);
    assert!(!lane.may_send(20, true));
    assert_eq!(lane.answered(30, 1_000).map(|sent| sent.sent_us), Some(10));
    assert!(matches!(lane.state(), State::Parked { .. }));
    assert!(!lane.may_send(30, true));
}

#[test]
fn a_small_response_is_followed_by_a_pause_and_an_empty_one_is_not() {
    let mut lane = idle();
    sent(&mut lane, 100);
    lane.received(200);
    lane.answered(200, limits::FETCH_SMALL_ROWS - 1);
    assert!(!lane.may_send(1_099, false));
    assert_eq!(lane.deadline_us(200, true), Some(1_100));
    assert!(lane.may_send(1_100, false));
    sent(&mut lane, 1_100);
    lane.received(1_200);
    lane.answered(1_200, 0);
    assert!(lane.may_send(1_200, false));
}

#[test]
fn a_broker_that_never_answers_is_overdue_and_reconnected_with_growing_pauses() {
    let mut lane = Lane::new(1, "broker".to_owned(), 9092);
    let mut now_us = 0;
    let mut pauses_ms = Vec::new();
    for attempt in 1..=9 {
        assert!(lane.connect(now_us, attempt));
        assert_eq!(lane.closed_why().is_some(), attempt > 1);
        assert!(!lane.connect(now_us, attempt + 1));
        now_us = lane.deadline_us(now_us, true).expect("a deadline");
        assert!(lane.overdue(now_us - 1).is_none());
        let why = lane.overdue(now_us).expect("overdue");
        lane.lost(now_us, why.to_owned());
        assert_eq!(lane.closed_why(), Some(why));
        let again_us = lane.deadline_us(now_us, true).expect("a pause");
        assert!(!lane.connect(again_us - 1, attempt + 1));
        pauses_ms.push((again_us - now_us) / 1_000);
        now_us = again_us;
    }
    assert_eq!(
        pauses_ms,
        [50, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]
    );
    assert_eq!(lane.deadline_us(0, false), None);
}

#[test]
fn a_connection_that_is_cut_before_anything_came_whole_is_made_anew_with_growing_pauses() {
    let mut lane = Lane::new(1, "broker".to_owned(), 9092);
    let mut now_us = 0;
    let mut pauses_ms = Vec::new();
    for attempt in 1..=6 {
        assert!(lane.connect(now_us, attempt));
        lane.connected(now_us);
        lane.negotiated(12);
        sent(&mut lane, now_us);
        lane.received(now_us);
        if attempt == 4 {
            lane.came_whole();
        }
        if attempt == 6 {
            assert!(lane.answered(now_us, 1).is_some());
        }
        lane.lost(now_us, "cut".to_owned());
        let again_us = lane.deadline_us(now_us, true).expect("a pause");
        pauses_ms.push((again_us - now_us) / 1_000);
        now_us = again_us;
    }
    assert_eq!(pauses_ms, [50, 100, 200, 50, 100, 50]);
}

#[test]
fn a_loss_is_said_once_a_while_and_for_another_reason_at_once() {
    let mut lane = idle();
    let while_us = limits::LOST_SAID_MS * 1_000;
    assert_eq!(lane.say_lost(5, "cut"), Some(1));
    assert_eq!(lane.say_lost(6, "cut"), None);
    assert_eq!(lane.say_lost(4 + while_us, "cut"), None);
    assert_eq!(lane.say_lost(5 + while_us, "cut"), Some(3));
    assert_eq!(lane.say_lost(6 + while_us, "late"), Some(1));
    assert_eq!(lane.say_lost(7 + while_us, "cut"), Some(1));
}

#[test]
fn parked_and_reading_have_deadlines_of_their_own() {
    let mut lane = idle();
    sent(&mut lane, 1_000);
    let parked_us = 1_000 + (500 + limits::RESPONSE_TIMEOUT_MS) * 1_000;
    assert_eq!(lane.overdue(parked_us - 1), None);
    assert_eq!(
        lane.overdue(parked_us),
        Some("a fetch is not answered in time")
    );
    lane.received(parked_us);
    assert_eq!(lane.overdue(parked_us), None);
    let open = lane.lost(parked_us, "gone".to_owned());
    assert_eq!(open.len(), 1);
    assert_eq!(lane.closed_why(), Some("gone"));
    assert!(lane.open().is_empty());
}

/// A lane's part in a conversation, at any time but the first instant.
#[test]
fn each_wait_ends_at_its_own_time() {
    let mut lane = Lane::new(1, "broker".to_owned(), 9092);
    let answer_us = limits::RESPONSE_TIMEOUT_MS * 1_000;
    assert!(lane.connect(5_000_000, 1));
    let connect_us = 5_000_000 + limits::CONNECT_TIMEOUT_MS * 1_000;
    assert_eq!(lane.deadline_us(5_000_000, true), Some(connect_us));
    lane.connected(6_000_000);
    assert_eq!(
        lane.deadline_us(6_000_000, true),
        Some(6_000_000 + answer_us)
    );
    assert!(lane.overdue(6_000_000 + answer_us - 1).is_none());
    lane.negotiated(12);
    assert_eq!(lane.deadline_us(6_000_000, true), None);
    sent(&mut lane, 7_000_000);
    let parked_us = 7_000_000 + 500_000 + answer_us;
    assert_eq!(lane.deadline_us(7_000_000, true), Some(parked_us));
    lane.received(7_100_000);
    let reading_us = 7_100_000 + answer_us;
    assert_eq!(lane.deadline_us(7_100_000, true), Some(reading_us));
    lane.received(7_200_000);
    let reading_us = 7_200_000 + answer_us;
    assert_eq!(lane.deadline_us(7_200_000, true), Some(reading_us));
}

#[test]
fn no_number_of_a_request_comes_twice() {
    let mut lane = Lane::new(1, "broker".to_owned(), 9092);
    for attempt in 1..=3 {
        let now_us = attempt * 10_000_000;
        assert!(lane.connect(now_us, attempt));
        assert_eq!(lane.attempt(), attempt);
        assert_eq!(lane.connected(now_us), 2 * attempt as i32 - 1);
        assert_eq!(lane.next_correlation(), 2 * attempt as i32);
        lane.lost(now_us, "cut".to_owned());
    }
}

#[test]
fn a_response_of_just_enough_rows_is_followed_by_no_pause() {
    let mut lane = idle();
    sent(&mut lane, 100);
    lane.received(200);
    lane.answered(200, limits::FETCH_SMALL_ROWS);
    assert!(lane.may_send(200, false));
    assert_eq!(lane.deadline_us(200, true), None);
}

#[test]
fn a_silence_that_the_broker_asks_for_lasts_up_to_its_end() {
    let mut lane = idle();
    lane.throttle(1_000, 5);
    let end_us = 6_000;
    assert!(lane.is_throttled(end_us - 1) && !lane.may_send(end_us - 1, false));
    assert_eq!(lane.deadline_us(end_us - 1, true), Some(end_us));
    assert_eq!(lane.deadline_us(end_us - 1, false), None);
    assert!(!lane.is_throttled(end_us) && lane.may_send(end_us, false));
    // It was looked at when the silence was over: what it waits for since is an event.
    assert_eq!(lane.deadline_us(end_us, true), None);
}

/// The broker answers the oldest request, in this session.
fn answered_in(lane: &mut Lane, session_id: i32) -> SessionAnswer {
    let head = ResponseHead {
        throttle_ms: 0,
        error: ErrorCode::None,
        session_id,
    };
    let answer = lane.session_answered(&head).expect("of this session");
    lane.received(0);
    lane.answered(0, 0);
    answer
}

/// A request in this version, in the session that there is.
fn sent_in(lane: &mut Lane, version: i16) -> SessionPlace {
    lane.begin_request(version);
    let session = lane.session_place(true);
    let correlation = lane.next_correlation();
    lane.sent(Sent {
        correlation,
        session,
        sent_us: 0,
        wait_ms: 500,
        version,
    });
    session
}

/// Each kind of names, twice: the session goes on, and ends where topics go by other names.
#[test]
fn a_session_goes_on_as_long_as_topics_go_by_the_same_names() {
    let mut lane = idle();
    let (by_name, by_id) = (TOPIC_ID_FROM - 1, TOPIC_ID_FROM);
    for version in [by_name, by_id, by_name] {
        for epoch in [0, 1, 2] {
            let place = sent_in(&mut lane, version);
            assert_eq!(place.epoch, epoch, "version {version}");
            answered_in(&mut lane, 9);
            assert!(lane.is_in_session());
        }
    }
}

#[test]
fn a_lane_that_nobody_wants_is_as_a_new_one() {
    let mut lane = idle();
    sent_in(&mut lane, 12);
    answered_in(&mut lane, 9);
    sent_in(&mut lane, 12);
    assert!(lane.is_in_session() && !lane.is_closed() && lane.open().len() == 1);
    lane.close();
    assert_eq!(*lane.state(), State::Closed { until_us: 0 });
    assert_eq!((lane.open().len(), lane.version()), (0, None));
    assert_eq!((lane.closed_why(), lane.overdue(u64::MAX)), (None, None));
    assert!(!lane.is_in_session());
    assert_eq!(lane.session_place(false), SessionPlace::NONE);
    assert!(lane.connect(0, 2), "at once");
}
