//! The door: what all connections of a server share before they are sessions. Whoever comes in is taken in,
//! and bounded here: those that are not logged in ([`super::half_open`]), their failures
//! ([`super::failures`]), the sessions, and what the log says of those that do not become one
//! ([`super::bursts`]).
//!
//! Nothing here waits or holds a lock across an await; every guard gives back what it took when it is
//! dropped, however its connection ends.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::bursts::{Bursts, Refusal};
use super::failures::{Failures, Place, Turn};
use super::half_open::{HalfOpen, Ticket};
use super::source::Source;
use crate::limits::{logins_open_max, sockets_beside_sessions_max};
use crate::sql::{Code, Processes, SqlError};

/// One server's door.
#[derive(Debug)]
pub struct Door {
    processes: Arc<Processes>,
    connections_max: usize,
    sessions: AtomicUsize,
    half_open: Mutex<HalfOpen<oneshot::Sender<()>>>,
    failures: Mutex<Failures>,
    bursts: Mutex<Bursts>,
    began: Instant,
}

impl Door {
    /// A door to `connections_max` sessions, which counts in `processes`.
    #[must_use]
    pub fn new(connections_max: usize, processes: Arc<Processes>) -> Arc<Door> {
        Arc::new(Door {
            processes,
            connections_max,
            sessions: AtomicUsize::new(0),
            half_open: Mutex::new(HalfOpen::new(logins_open_max(connections_max))),
            failures: Mutex::default(),
            bursts: Mutex::default(),
            began: Instant::now(),
        })
    }

    /// Sockets that may be open at once: sessions, half-open ones and those that are being told why they
    /// end.
    #[must_use]
    pub fn sockets_max(&self) -> usize {
        self.connections_max + sockets_beside_sessions_max(self.connections_max)
    }

    /// Takes a connection in; another may have to go for it.
    pub fn enter(self: &Arc<Door>, source: Source) -> (Entered, MustGo) {
        let (held, must_go) = oneshot::channel();
        let counts = self.processes.counts();
        counts.accepted.add_one();
        let mut half_open = lock(&self.half_open);
        let (ticket, goes) = half_open.enter(source, held);
        counts.logins_open.set(half_open.len() as u64);
        if goes.is_some_and(|goes| goes.send(()).is_ok()) {
            counts.logins_dropped.add_one();
        }
        drop(half_open);
        let entered = Entered {
            door: Arc::clone(self),
            source,
            ticket,
        };
        (entered, MustGo(must_go))
    }

    /// Makes a session of a login, unless there are as many as there may be.
    ///
    /// # Errors
    /// 1040.
    pub fn admit(self: &Arc<Door>) -> Result<Admitted, SqlError> {
        let before = self.sessions.fetch_add(1, Ordering::Relaxed);
        // From here on its drop takes it back.
        let admitted = Admitted(Arc::clone(self));
        let counts = self.processes.counts();
        if before >= self.connections_max {
            counts.over_max_connections.add_one();
            return Err(SqlError::new(
                Code::TooManyConnections,
                format!(
                    "Too many connections: {} are logged in; try again, or raise [server] max_connections",
                    self.connections_max
                ),
            ));
        }
        counts.max_used.raise_to(before as u64 + 1);
        Ok(admitted)
    }

    /// When the password of a user who logs in from a source is looked at.
    ///
    /// # Errors
    /// 1129: too many wait there already.
    pub fn turn(self: &Arc<Door>, source: Source, user: &str) -> Result<Attempt, Duration> {
        let now_ms = self.now_ms();
        let mut failures = lock(&self.failures);
        let place = failures.place(source, user);
        let delay = match failures.begin(now_ms, place) {
            Turn::Now => None,
            Turn::AfterMs(delay_ms) => Some(Duration::from_millis(delay_ms)),
            Turn::NotNow { retry_ms } => return Err(Duration::from_millis(retry_ms)),
        };
        drop(failures);
        if delay.is_some() {
            self.processes.counts().delays.add_one();
        }
        Ok(Attempt {
            door: Arc::clone(self),
            place,
            delay,
        })
    }

    /// A connection did not become a session. Whether the log is to say it.
    pub fn refused(&self, refusal: Refusal) -> bool {
        let counts = self.processes.counts();
        match refusal {
            Refusal::NotAccepted => counts.accept_errors.add_one(),
            _ => counts.aborted_connects.add_one(),
        }
        self.is_news(refusal)
    }

    /// Whether the log is to say it: it is the first of a burst.
    pub fn is_news(&self, refusal: Refusal) -> bool {
        lock(&self.bursts).is_first(self.now_ms(), refusal)
    }

    /// A connection was closed by its client before it had logged in: a probe, most likely, and no news.
    pub fn closed(&self) {
        self.processes.counts().aborted_connects.add_one();
    }

    /// Says how many more there were of what the log said once.
    pub fn say_bursts(&self) {
        for (refusal, more) in lock(&self.bursts).due(self.now_ms()) {
            tracing::warn!("{more} more {}", refusal.shown());
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Tells a connection that it has to go, to make room for another.
#[derive(Debug)]
pub struct MustGo(oneshot::Receiver<()>);

impl MustGo {
    /// Completes when it has to; never, once it is logged in.
    pub async fn told(self) {
        if self.0.await.is_err() {
            // It left by itself: nobody tells it any more.
            std::future::pending::<()>().await;
        }
    }
}

/// A connection that is not logged in.
#[derive(Debug)]
pub struct Entered {
    door: Arc<Door>,
    source: Source,
    ticket: Ticket,
}

impl Entered {
    /// Whether it waits now, because of earlier failures.
    pub fn set_waits(&self, waits: bool) {
        lock(&self.door.half_open).set_waits(self.ticket, waits);
    }

    /// Where it comes from.
    #[must_use]
    pub fn source(&self) -> Source {
        self.source
    }

    /// Its door.
    #[must_use]
    pub fn door(&self) -> &Arc<Door> {
        &self.door
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut half_open = lock(&self.door.half_open);
        half_open.leave(self.ticket);
        let counts = self.door.processes.counts();
        counts.logins_open.set(half_open.len() as u64);
    }
}

/// A session, as long as it is held.
#[derive(Debug)]
pub struct Admitted(Arc<Door>);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A password that is going to be looked at.
#[derive(Debug)]
pub struct Attempt {
    door: Arc<Door>,
    place: Place,
    delay: Option<Duration>,
}

impl Attempt {
    /// Whether it has to wait for its turn.
    #[must_use]
    pub fn has_to_wait(&self) -> bool {
        self.delay.is_some()
    }

    /// Waits for its turn; answers how long that was.
    pub async fn wait(&mut self) -> Duration {
        let Some(delay) = self.delay else {
            return Duration::ZERO;
        };
        tokio::time::sleep(delay).await;
        self.end();
        delay
    }

    /// It was wrong, or its user is not known.
    pub fn failed(mut self) {
        self.end();
        let now_ms = self.door.now_ms();
        lock(&self.door.failures).failed(now_ms, self.place);
    }

    /// It was right.
    pub fn succeeded(mut self) {
        self.end();
        lock(&self.door.failures).succeeded(self.place);
    }

    fn end(&mut self) {
        if self.delay.take().is_some() {
            lock(&self.door.failures).waited(self.place);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.end();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while it was held leaves what is whole: each change is one insert, removal or number.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use futures::FutureExt;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn door(connections_max: usize) -> (Arc<Door>, Arc<Processes>) {
        let processes = Processes::new();
        (
            Door::new(connections_max, Arc::clone(&processes)),
            processes,
        )
    }

    #[tokio::test]
    async fn half_open_ones_take_no_sessions_place_and_the_oldest_goes() {
        let (door, processes) = door(1);
        let most = logins_open_max(1);
        let (mut held, told): (Vec<Entered>, Vec<MustGo>) =
            (0..=most).map(|_| door.enter(Source::of(HERE))).unzip();
        let must_go: Vec<bool> = told
            .into_iter()
            .map(|told| told.told().now_or_never().is_some())
            .collect();
        assert!(must_go[0], "the oldest goes");
        assert!(must_go[1..].iter().all(|must| !must), "and no other");
        let counts = processes.counts();
        assert_eq!(counts.logins_open.get(), most as u64);
        assert_eq!(counts.logins_dropped.get(), 1);
        let session = door.admit().expect("there is none yet");
        assert_eq!(door.admit().expect_err("one is all").code, 1040);
        drop(session);
        drop(door.admit().expect("it is gone"));
        assert_eq!(counts.max_used.get(), 1);
        assert_eq!(counts.over_max_connections.get(), 1);
        held.clear();
        assert_eq!(counts.logins_open.get(), 0);
    }

    #[test]
    fn an_attempt_that_is_given_up_waits_no_more() {
        let (door, processes) = door(1);
        let source = Source::of(HERE);
        for _ in 0..crate::limits::FAILURES_FREE {
            door.turn(source, "ann").expect("free").failed();
        }
        let most = crate::limits::FAILURE_WAITING_MAX;
        let mut waiting: Vec<Attempt> = (0..most)
            .map(|_| door.turn(source, "ann").expect("there is room"))
            .collect();
        door.turn(source, "ann").expect_err("one too many");
        drop(waiting.pop());
        waiting.push(door.turn(source, "ann").expect("room again"));
        assert_eq!(processes.counts().delays.get(), u64::from(most) + 1);
        waiting.remove(0).succeeded();
        let free = door.turn(source, "ann").expect("it is cleared");
        assert_eq!(free.delay, None);
    }
}
