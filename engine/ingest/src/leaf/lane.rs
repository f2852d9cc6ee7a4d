//! One leaf's connection to one broker, for Fetch alone: a pure state machine.
//!
//! Closed → Connecting → Negotiating (ApiVersions) → Idle → Parked (a fetch is on its way, the broker
//! holds it) → Reading (its response arrives) → Idle. The next fetch may leave while a response is
//! still being read, as soon as its last record batch's header is in: then two are open, and the lane
//! goes from Reading straight to Parked.
//!
//! Invariants:
//! 1. At most [`OPEN_MAX`] requests are open, answered in the order they were sent.
//! 2. A connection's number is never used again; what comes of another than the last is not for us.
//! 3. Whatever the broker does not do, a deadline ends: connecting, negotiating, answering.
//! 4. What the broker was told is told anew on every connection, and whenever its session is lost.

use std::collections::VecDeque;

use storage::ids::Offset;

use super::backoff::{Backoff, Pauses};
use super::event::Slot;
use super::told::ToldList;
use crate::kafka::fetch::{
    FetchSession, ResponseHead, SessionAnswer, SessionFault, SessionPlace, TOPIC_ID_FROM,
};
use crate::limits;

/// Requests open on one connection.
pub const OPEN_MAX: usize = limits::FRAMES_PER_LANE_MAX;

/// What one leaf partition asks in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Which.
    pub slot: Slot,
    /// Its fetch's number; a response to an earlier one is dropped.
    pub fetch: u32,
    /// From where on.
    pub offset: Offset,
}

/// A request that is not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The number its response carries.
    pub correlation: i32,
    /// Its place in the fetch session.
    pub session: SessionPlace,
    /// When it left.
    pub sent_us: u64,
    /// How long the broker may hold it, ms.
    pub wait_ms: u32,
    /// The Fetch version it is written in.
    pub version: i16,
}

/// Where a lane stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// No connection; not before this time.
    Closed {
        /// The pause's end.
        until_us: u64,
    },
    /// Asked for; given up at this time.
    Connecting {
        /// The deadline.
        until_us: u64,
    },
    /// ApiVersions is open.
    Negotiating {
        /// The deadline.
        until_us: u64,
    },
    /// Nothing is open.
    Idle,
    /// The broker holds our fetch.
    Parked {
        /// The deadline of the response's first byte.
        until_us: u64,
    },
    /// A response is arriving.
    Reading {
        /// The deadline of its next byte.
        until_us: u64,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Lane {
    /// The broker's id in its cluster.
    pub broker: i32,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    state: State,
    /// Why the last connection ended or did not begin, in one line, until there is one again.
    why: Option<String>,
    /// The number of the connection now or last tried.
    attempt: u64,
    /// The Fetch version of this connection.
    version: Option<i16>,
    open: VecDeque<Sent>,
    session: FetchSession,
    /// What its requests ask.
    pub told: ToldList,
    correlation: i32,
    rotate: usize,
    pause_until_us: u64,
    throttled_until_us: u64,
    backoff: Backoff,
    /// The reason of a loss that was said last, when, and how many were not said since.
    lost_said: String,
    lost_said_us: u64,
    lost_unsaid: u64,
}

impl Lane {
    /// A closed lane.
    #[must_use]
    pub fn new(broker: i32, host: String, port: u16) -> Lane {
        Lane {
            broker,
            host,
            port,
            state: State::Closed { until_us: 0 },
            why: None,
            attempt: 0,
            version: None,
            open: VecDeque::with_capacity(OPEN_MAX),
            session: FetchSession::new(),
            told: ToldList::default(),
            correlation: 0,
            rotate: 0,
            pause_until_us: 0,
            throttled_until_us: 0,
            backoff: Backoff::new(Pauses {
                first_ms: limits::RECONNECT_FIRST_MS,
                max_ms: limits::RECONNECT_MAX_MS,
                doubling: true,
            }),
            lost_said: String::new(),
            lost_said_us: 0,
            lost_unsaid: 0,
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The connection's number.
    #[must_use]
    pub fn attempt(&self) -> u64 {
        self.attempt
    }

    /// The Fetch version that was negotiated; none before.
    #[must_use]
    pub fn version(&self) -> Option<i16> {
        self.version
    }

    /// Requests that are not answered in full.
    #[must_use]
    pub fn open(&self) -> &VecDeque<Sent> {
        &self.open
    }

    /// A partition wants it: whether to connect now, under this number.
    pub fn connect(&mut self, now_us: u64, attempt: u64) -> bool {
        match self.state {
            State::Closed { until_us, .. } if until_us <= now_us => {
                debug_assert!(attempt > self.attempt, "a connection's number comes once");
                self.attempt = attempt;
                self.state = State::Connecting {
                    until_us: now_us + limits::CONNECT_TIMEOUT_MS * 1_000,
                };
                true
            }
            _ => false,
        }
    }

    /// The connection is up; the number under which to ask ApiVersions.
    pub fn connected(&mut self, now_us: u64) -> i32 {
        debug_assert!(matches!(self.state, State::Connecting { .. }));
        self.state = State::Negotiating {
            until_us: now_us + limits::RESPONSE_TIMEOUT_MS * 1_000,
        };
        self.next_correlation()
    }

    /// ApiVersions is answered.
    pub fn negotiated(&mut self, version: i16) {
        debug_assert!(matches!(self.state, State::Negotiating { .. }));
        self.version = Some(version);
        self.state = State::Idle;
        self.why = None;
    }

    /// A record batch or a response came whole: the connection is of use. That it was up is not: what cuts
    /// each connection soon would be met by a connection every few milliseconds.
    pub fn came_whole(&mut self) {
        self.backoff.reset();
    }

    /// Whether the next fetch may leave. `headers_in`: of the response being read, if one is, the last
    /// record batch's header is there.
    #[must_use]
    pub fn may_send(&self, now_us: u64, headers_in: bool) -> bool {
        let turn = match self.state {
            State::Idle => true,
            State::Reading { .. } => headers_in && self.open.len() < OPEN_MAX,
            _ => false,
        };
        turn && self.pause_until_us <= now_us
    }

    /// Where the order of the next request's partitions begins: one further each time, so that none is
    /// always last.
    pub fn rotation(&mut self) -> usize {
        self.rotate = self.rotate.wrapping_add(1);
        self.rotate
    }

    /// A request is to be written in this version. Where topics go by other names than before the
    /// session cannot go on.
    pub fn begin_request(&mut self, version: i16) {
        let by_id = version >= TOPIC_ID_FROM;
        if self.told.is_by_id() != by_id {
            self.session.begin_anew();
        }
        self.told.begin(by_id);
    }

    /// The next request's place. `wanted`: a session is to be made; one that is open goes on.
    #[must_use]
    pub fn session_place(&self, wanted: bool) -> SessionPlace {
        self.session.next(wanted || self.session.is_open())
    }

    /// The head of the oldest open request's response.
    ///
    /// # Errors
    /// [`SessionFault`]: the connection is of no use.
    pub fn session_answered(&mut self, head: &ResponseHead) -> Result<SessionAnswer, SessionFault> {
        let asked = self
            .open
            .front()
            .map_or(SessionPlace::NONE, |sent| sent.session);
        self.session.answered(asked, head)
    }

    /// Whether the broker keeps what it is asked.
    #[must_use]
    pub fn is_in_session(&self) -> bool {
        self.session.is_open()
    }

    /// The number for the next request.
    pub fn next_correlation(&mut self) -> i32 {
        self.correlation = self.correlation.wrapping_add(1) & i32::MAX;
        self.correlation
    }

    /// A fetch left.
    pub fn sent(&mut self, sent: Sent) {
        debug_assert!(self.open.len() < OPEN_MAX);
        if self.state == State::Idle {
            self.state = parked(sent.sent_us, sent.wait_ms);
        }
        self.told.end();
        self.open.push_back(sent);
    }

    /// Bytes of the oldest open request's response arrived.
    pub fn received(&mut self, now_us: u64) {
        match self.state {
            State::Parked { .. } | State::Reading { .. } => {
                self.state = State::Reading {
                    until_us: now_us + limits::RESPONSE_TIMEOUT_MS * 1_000,
                };
            }
            State::Negotiating { .. } => {}
            _ => debug_assert!(false, "bytes while nothing is open"),
        }
    }

    /// The oldest open request is answered in full, with so many records: what it was. A small
    /// response is followed by a pause, so that a trickle is not a storm of requests.
    pub fn answered(&mut self, now_us: u64, records: u64) -> Option<Sent> {
        let sent = self.open.pop_front()?;
        self.came_whole();
        if records > 0 && records < limits::FETCH_SMALL_ROWS {
            let pause_us = sent.sent_us + limits::FETCH_PAUSE_MS * 1_000;
            self.pause_until_us = self.pause_until_us.max(pause_us);
        }
        self.state = match self.open.front() {
            Some(next) => parked(now_us, next.wait_ms),
            None => State::Idle,
        };
        Some(sent)
    }

    /// The broker asks for silence.
    pub fn throttle(&mut self, now_us: u64, throttle_ms: u64) {
        self.pause_until_us = self.pause_until_us.max(now_us + throttle_ms * 1_000);
        self.throttled_until_us = self.pause_until_us;
    }

    /// Whether the broker asked for silence, and it lasts.
    #[must_use]
    pub fn is_throttled(&self, now_us: u64) -> bool {
        self.throttled_until_us > now_us
    }

    /// The connection ended or did not begin. What was open, oldest first, was never answered.
    pub fn lost(&mut self, now_us: u64, why: String) -> VecDeque<Sent> {
        let pause_ms = self.backoff.fail();
        self.state = State::Closed {
            until_us: now_us + pause_ms * 1_000,
        };
        self.why = Some(why);
        self.version = None;
        self.session.begin_anew();
        self.told.clear();
        std::mem::take(&mut self.open)
    }

    /// How often it was lost since that was last said, where it is to be said now: for another reason at once,
    /// for the same once in [`limits::LOST_SAID_MS`].
    pub fn say_lost(&mut self, now_us: u64, why: &str) -> Option<u64> {
        self.lost_unsaid += 1;
        let due_us = self.lost_said_us + limits::LOST_SAID_MS * 1_000;
        if self.lost_said == why && now_us < due_us {
            return None;
        }
        why.clone_into(&mut self.lost_said);
        self.lost_said_us = now_us;
        Some(std::mem::take(&mut self.lost_unsaid))
    }

    /// No partition wants it any more: what is open is given up.
    pub fn close(&mut self) {
        self.open.clear();
        self.state = State::Closed { until_us: 0 };
        self.why = None;
        self.version = None;
        self.session = FetchSession::new();
        self.told.clear();
    }

    /// Whether there is a connection, or one on its way.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// Why there is no connection: also while the next one is tried.
    #[must_use]
    pub fn closed_why(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// What did not happen in time, if so.
    #[must_use]
    pub fn overdue(&self, now_us: u64) -> Option<&'static str> {
        let (until_us, what) = match self.state {
            State::Closed { .. } | State::Idle => return None,
            State::Connecting { until_us } => (until_us, "the connection is not up in time"),
            State::Negotiating { until_us } => (until_us, "ApiVersions is not answered in time"),
            State::Parked { until_us } => (until_us, "a fetch is not answered in time"),
            State::Reading { until_us } => (until_us, "a response does not go on in time"),
        };
        (until_us <= now_us).then_some(what)
    }

    /// When it next has something to do without a byte arriving. `wanted`: a fetch would leave, were
    /// it not for a pause. `settled_us`: when it last had the chance: a pause that was over then is not
    /// what it waits for.
    #[must_use]
    pub fn deadline_us(&self, settled_us: u64, wanted: bool) -> Option<u64> {
        let pause = |until_us: u64| (wanted && until_us > settled_us).then_some(until_us);
        match self.state {
            State::Closed { until_us, .. } => pause(until_us),
            State::Connecting { until_us }
            | State::Negotiating { until_us }
            | State::Parked { until_us } => Some(until_us),
            State::Idle => pause(self.pause_until_us),
            State::Reading { until_us } => {
                Some(pause(self.pause_until_us).map_or(until_us, |pause| pause.min(until_us)))
            }
        }
    }
}

fn parked(now_us: u64, wait_ms: u32) -> State {
    State::Parked {
        until_us: now_us + (u64::from(wait_ms) + limits::RESPONSE_TIMEOUT_MS) * 1_000,
    }
}

#[cfg(test)]
mod tests;
