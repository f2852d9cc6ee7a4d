//! A fetch session (KIP-227): the broker keeps what it was asked, so that a request names only what
//! changed and a response only what is new. The client's half, pure.
//!
//! A request carries the session's id and its own number in it, the epoch:
//!
//! | id | epoch | the request | the response |
//! |---|---|---|---|
//! | 0 | -1 | names every partition; no session | names every partition |
//! | 0 | 0 | names every partition; asks for a session | the same; the session's id, or 0: none was made |
//! | n | 0 | the same, and session n is given up | as above |
//! | n | -1 | names every partition, and session n is given up | names every partition; id 0 |
//! | n | 1, 2, ... | names what is new or asked otherwise, and what is forgotten | names what has records, an error, or another log start or end than it was said last; id n |
//!
//! Invariants:
//! 1. The epoch of a session's requests counts up by one, and after the largest comes 1. So a session's
//!    next request is written when the head of the last one's response was read, not before.
//! 2. After anything else than an answer in the session the next request names every partition: what the
//!    broker keeps is not known. [`FETCH_SESSION_ID_NOT_FOUND`](ErrorCode::FetchSessionIdNotFound) (70),
//!    `INVALID_FETCH_SESSION_EPOCH` (71), `FETCH_SESSION_TOPIC_ID_ERROR` (106), a lost connection.
//! 3. A partition that an answer in the session does not name stands as it was said last in it, unless
//!    the broker throttles: then nothing was fetched.

use super::super::error::ErrorCode;
use super::event::ResponseHead;

/// The first version that has sessions.
pub const SESSION_FROM: i16 = 7;

const NO_SESSION_ID: i32 = 0;
const FINAL_EPOCH: i32 = -1;
const INITIAL_EPOCH: i32 = 0;

/// A request's place in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionPlace {
    /// The session; 0 none.
    pub id: i32,
    /// The request's number in it.
    pub epoch: i32,
}

impl SessionPlace {
    /// Of a request without a session.
    pub const NONE: SessionPlace = SessionPlace {
        id: NO_SESSION_ID,
        epoch: FINAL_EPOCH,
    };

    /// Whether the request names only what changed.
    #[must_use]
    pub fn is_incremental(self) -> bool {
        self.epoch > INITIAL_EPOCH
    }
}

/// What a response's head means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionAnswer {
    /// It names every partition that was asked for.
    Full,
    /// What it does not name is unchanged.
    Changes,
    /// The session is not the broker's any more: nothing was fetched, and the next request names all.
    Lost(ErrorCode),
}

/// Why a response cannot be read on: the connection is of no use afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionFault {
    /// An error of the request as a whole that is not the session's.
    #[error("the broker answers {0} to the fetch")]
    Refused(ErrorCode),
    /// An answer of another session.
    #[error("the broker answers a fetch of session {asked} in session {said}")]
    OtherSession {
        /// As asked.
        asked: i32,
        /// As read.
        said: i32,
    },
}

/// The session of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchSession {
    id: i32,
    /// The next request's.
    epoch: i32,
}

impl FetchSession {
    /// None yet.
    #[must_use]
    pub const fn new() -> FetchSession {
        FetchSession {
            id: NO_SESSION_ID,
            epoch: INITIAL_EPOCH,
        }
    }

    /// Whether the next request names only what changed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.epoch > INITIAL_EPOCH
    }

    /// The next request's place. `wanted`: a session is to be, or to go on.
    #[must_use]
    pub fn next(&self, wanted: bool) -> SessionPlace {
        SessionPlace {
            id: self.id,
            epoch: if wanted { self.epoch } else { FINAL_EPOCH },
        }
    }

    /// What the broker keeps is not known, or is not wanted: the next request names every partition and
    /// gives the session up.
    pub fn begin_anew(&mut self) {
        self.epoch = INITIAL_EPOCH;
    }

    /// Takes the head of a request's response.
    ///
    /// # Errors
    /// [`SessionFault`]: close the connection.
    pub fn answered(
        &mut self,
        asked: SessionPlace,
        head: &ResponseHead,
    ) -> Result<SessionAnswer, SessionFault> {
        match head.error {
            ErrorCode::None => {}
            ErrorCode::FetchSessionIdNotFound if asked.is_incremental() => {
                *self = FetchSession::new();
                return Ok(SessionAnswer::Lost(head.error));
            }
            ErrorCode::InvalidFetchSessionEpoch | ErrorCode::FetchSessionTopicIdError
                if asked.is_incremental() =>
            {
                self.begin_anew();
                return Ok(SessionAnswer::Lost(head.error));
            }
            error => return Err(SessionFault::Refused(error)),
        }
        if asked.is_incremental() {
            return match head.session_id {
                // It closes the session with its answer.
                NO_SESSION_ID => {
                    *self = FetchSession::new();
                    Ok(SessionAnswer::Changes)
                }
                id if id == asked.id => {
                    self.epoch = asked.epoch.checked_add(1).unwrap_or(1);
                    Ok(SessionAnswer::Changes)
                }
                said => Err(SessionFault::OtherSession {
                    asked: asked.id,
                    said,
                }),
            };
        }
        *self = match (asked.epoch, head.session_id) {
            (INITIAL_EPOCH, id @ 1..) => FetchSession { id, epoch: 1 },
            // None was asked for, or the broker has room for no more.
            _ => FetchSession::new(),
        };
        Ok(SessionAnswer::Full)
    }
}

impl Default for FetchSession {
    fn default() -> Self {
        FetchSession::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(error: i16, session_id: i32) -> ResponseHead {
        ResponseHead {
            throttle_ms: 0,
            error: error.into(),
            session_id,
        }
    }

    fn place(id: i32, epoch: i32) -> SessionPlace {
        SessionPlace { id, epoch }
    }

    /// One with the id 9, whose next request has this epoch.
    fn open(epoch: i32) -> FetchSession {
        let mut session = FetchSession::new();
        session.answered(place(0, 0), &head(0, 9)).expect("made");
        session.epoch = epoch;
        session
    }

    #[test]
    fn a_session_is_made_goes_on_and_is_given_up() {
        let mut session = FetchSession::new();
        assert_eq!(session.next(false), SessionPlace::NONE);
        assert_eq!(session.next(true), place(0, 0));
        let made = session.answered(session.next(true), &head(0, 9));
        assert_eq!(made, Ok(SessionAnswer::Full));
        for epoch in 1..4 {
            let next = session.next(true);
            assert_eq!((next, next.is_incremental()), (place(9, epoch), true));
            let answer = session.answered(next, &head(0, 9));
            assert_eq!(answer, Ok(SessionAnswer::Changes));
        }
        assert_eq!(session.next(false), place(9, -1), "it is given up");
        let full = session.answered(session.next(false), &head(0, 0));
        assert_eq!(
            (full, session),
            (Ok(SessionAnswer::Full), FetchSession::new())
        );
    }

    #[test]
    fn a_broker_that_makes_none_is_asked_again_with_every_partition() {
        let mut session = FetchSession::new();
        for said in [0, 0, -7] {
            let full = session.answered(session.next(true), &head(0, said));
            assert_eq!(full, Ok(SessionAnswer::Full));
            assert_eq!(session.next(true), place(0, 0));
        }
        // An id that was not asked for is not taken.
        let full = session.answered(session.next(false), &head(0, 5));
        assert_eq!((full, session.is_open()), (Ok(SessionAnswer::Full), false));
    }

    #[test]
    fn each_error_of_a_session_begins_anew_and_gives_up_what_the_broker_may_still_have() {
        for (error, next) in [(70, place(0, 0)), (71, place(9, 0)), (106, place(9, 0))] {
            let mut session = open(5);
            let lost = session.answered(session.next(true), &head(error, 0));
            assert_eq!(lost, Ok(SessionAnswer::Lost(error.into())));
            assert_eq!(session.next(true), next, "after {error}");
            assert!(!session.is_open());
            // The same of a request that names every partition would go round for ever.
            let refused = session.answered(session.next(true), &head(error, 0));
            assert_eq!(refused, Err(SessionFault::Refused(error.into())));
        }
        let refused = open(5).answered(place(9, 5), &head(-1, 0));
        assert!(matches!(refused, Err(SessionFault::Refused(_))));
    }

    #[test]
    fn epochs_come_round_at_the_largest_and_an_answer_of_another_session_is_none() {
        let mut session = open(i32::MAX);
        session
            .answered(session.next(true), &head(0, 9))
            .expect("its own");
        assert_eq!(session.next(true), place(9, 1));
        let other = session.answered(session.next(true), &head(0, 8));
        assert_eq!(other, Err(SessionFault::OtherSession { asked: 9, said: 8 }));
        let text = other.expect_err("named").to_string();
        assert_eq!(text, "the broker answers a fetch of session 9 in session 8");
        let closed = session.answered(session.next(true), &head(0, 0));
        assert_eq!(
            closed,
            Ok(SessionAnswer::Changes),
            "what it names is fetched"
        );
        assert_eq!(session.next(true), place(0, 0));
        let mut session = open(3);
        session.begin_anew();
        assert_eq!(session.next(true), place(9, 0));
    }
}
