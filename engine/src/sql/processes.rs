//! Who is connected and what each runs: SHOW PROCESSLIST reads it, KILL acts through it.
//!
//! A session registers when it begins and is gone when it is dropped. KILL does not end anything
//! itself: it raises a mark that the statement's future and its stream of rows watch, so that a
//! query ends at its next await and frees what it holds, and that the server watches to close the
//! connection.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::connections::ConnectionCounts;
use super::error::{Code, SqlError};
use crate::limits::PROCESS_INFO_BYTES_MAX;

/// Who a session is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user's name, as logged in.
    pub user: String,
    /// The client's host and port, as SHOW PROCESSLIST prints it.
    pub host: String,
    /// The connection's id, from [`Processes::next_id`].
    pub connection_id: u32,
}

/// One row of SHOW FULL PROCESSLIST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The connection's id.
    pub id: u32,
    /// The user.
    pub user: String,
    /// The client's host and port.
    pub host: String,
    /// The database in use.
    pub database: Option<String>,
    /// `Query`, `Sleep`, `Execute`, `Prepare`, ...
    pub command: &'static str,
    /// Since when it is in this state, µs since 1970.
    pub since_unix_us: i64,
    /// `executing`, `sending`, or empty.
    pub state: &'static str,
    /// The statement's text, cut at `PROCESS_INFO_BYTES_MAX`.
    pub info: Option<String>,
}

/// The registry; one a node.
#[derive(Debug, Default)]
pub struct Processes {
    entries: Mutex<BTreeMap<u32, Entry>>,
    last_id: AtomicU32,
    counts: ConnectionCounts,
}

#[derive(Debug)]
struct Entry {
    process: Process,
    kills: watch::Sender<Kills>,
}

/// What was asked of a connection so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Kills {
    /// The number of the last statement that was killed; 0: none.
    statement: u64,
    /// Whether the connection itself is to end.
    connection: bool,
    /// The number of the statement that runs or ran last; 0: none yet.
    current: u64,
    /// Whether `current` still runs.
    running: bool,
}

impl Processes {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Arc<Processes> {
        Arc::new(Processes::default())
    }

    /// What is counted of connections.
    #[must_use]
    pub fn counts(&self) -> &ConnectionCounts {
        &self.counts
    }

    /// A connection id that no other connection of this process had (short of 2^32 of them).
    pub fn next_id(&self) -> u32 {
        loop {
            let id = self.last_id.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            if id != 0 && !self.lock().contains_key(&id) {
                return id;
            }
        }
    }

    /// Every connection, by id.
    #[must_use]
    pub fn list(&self) -> Vec<Process> {
        self.lock()
            .values()
            .map(|entry| entry.process.clone())
            .collect()
    }

    /// Ends connection `id`, or with `query_only` the statement that it runs now, if any.
    ///
    /// # Errors
    /// 1094 where there is no such connection.
    pub fn kill(&self, id: u32, query_only: bool) -> Result<(), SqlError> {
        let entries = self.lock();
        let entry = entries
            .get(&id)
            .ok_or_else(|| SqlError::new(Code::NoSuchThread, format!("Unknown thread id: {id}")))?;
        entry.kills.send_modify(|kills| {
            // A KILL QUERY that comes late must not hit the next statement.
            if kills.running {
                kills.statement = kills.current;
            }
            kills.connection |= !query_only;
        });
        Ok(())
    }

    /// Registers a connection; it leaves the registry when the answer is dropped.
    #[must_use]
    pub fn register(self: &Arc<Processes>, who: &Identity, now_unix_us: i64) -> Registered {
        let (kills, watched) = watch::channel(Kills::default());
        let process = Process {
            id: who.connection_id,
            user: who.user.clone(),
            host: who.host.clone(),
            database: None,
            command: "Sleep",
            since_unix_us: now_unix_us,
            state: "",
            info: None,
        };
        self.lock()
            .insert(who.connection_id, Entry { process, kills });
        Registered {
            processes: Arc::clone(self),
            id: who.connection_id,
            watched,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Entry>> {
        // A panic while it was held leaves a map that is whole: each change is one insert or field.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with(&self, id: u32, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.lock().get_mut(&id) {
            change(entry);
        }
    }
}

/// A connection's place in the registry.
#[derive(Debug)]
pub struct Registered {
    processes: Arc<Processes>,
    id: u32,
    watched: watch::Receiver<Kills>,
}

impl Registered {
    /// Says that a statement begins; KILL QUERY reaches it through the answer until that is dropped.
    #[must_use]
    pub fn begin(&self, command: &'static str, sql: &str, now_unix_us: i64) -> Running {
        let mut number = 0;
        self.processes.with(self.id, |entry| {
            entry.process.command = command;
            entry.process.state = "executing";
            entry.process.since_unix_us = now_unix_us;
            entry.process.info = Some(cut(sql, PROCESS_INFO_BYTES_MAX).to_owned());
            entry.kills.send_modify(|kills| {
                kills.current += 1;
                kills.running = true;
                number = kills.current;
            });
        });
        Running {
            processes: Arc::clone(&self.processes),
            id: self.id,
            number,
            since_unix_us: now_unix_us,
            watch: self.watch(),
        }
    }

    /// The database that SHOW PROCESSLIST shows.
    pub fn set_database(&self, database: Option<&str>) {
        self.processes.with(self.id, |entry| {
            entry.process.database = database.map(str::to_owned)
        });
    }

    /// What the server watches to close a connection that was killed.
    #[must_use]
    pub fn watch(&self) -> KillWatch {
        KillWatch {
            watched: self.watched.clone(),
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.processes.lock().remove(&self.id);
    }
}

/// A statement that runs; dropping it says that the connection sleeps again.
#[derive(Debug)]
pub struct Running {
    processes: Arc<Processes>,
    id: u32,
    number: u64,
    since_unix_us: i64,
    watch: KillWatch,
}

impl Running {
    /// Completes when this statement or its connection was killed; never, otherwise.
    pub async fn killed(&mut self) {
        let number = self.number;
        self.watch
            .until(|kills| kills.connection || kills.statement == number)
            .await;
    }

    /// Whether this statement or its connection was killed.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        let kills = *self.watch.watched.borrow();
        kills.connection || kills.statement == self.number
    }

    /// What the statement does now, for SHOW PROCESSLIST.
    pub fn set_state(&self, state: &'static str) {
        self.processes
            .with(self.id, |entry| entry.process.state = state);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let (number, since_unix_us) = (self.number, self.since_unix_us);
        self.processes.with(self.id, |entry| {
            let mut last = false;
            entry.kills.send_modify(|kills| {
                last = kills.current == number;
                if last {
                    kills.running = false;
                }
            });
            // A stream that outlives its statement must not put a later one to sleep.
            if last {
                entry.process.command = "Sleep";
                entry.process.state = "";
                entry.process.info = None;
                entry.process.since_unix_us = since_unix_us;
            }
        });
    }
}

/// Watches for the end of a connection.
#[derive(Clone, Debug)]
pub struct KillWatch {
    watched: watch::Receiver<Kills>,
}

impl KillWatch {
    /// Completes when the connection was killed; never, otherwise.
    pub async fn connection_killed(&mut self) {
        self.until(|kills| kills.connection).await;
    }

    /// Whether the connection was killed.
    #[must_use]
    pub fn is_connection_killed(&self) -> bool {
        self.watched.borrow().connection
    }

    async fn until(&mut self, wanted: impl FnMut(&Kills) -> bool) {
        if self.watched.wait_for(wanted).await.is_err() {
            // The connection left the registry: nobody can kill it any more.
            std::future::pending::<()>().await;
        }
    }
}

/// The first `bytes_max` bytes of `text`, fewer where that would cut a character.
pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn who(processes: &Processes) -> Identity {
        Identity {
            user: "root".into(),
            host: "localhost:1".into(),
            connection_id: processes.next_id(),
        }
    }

    #[test]
    fn kill_query_ends_the_running_statement_and_not_the_next() {
        let processes = Processes::new();
        let me = processes.register(&who(&processes), 0);
        let mut first = me.begin("Query", "select 1", 0);
        assert!(first.killed().now_or_never().is_none());
        processes.kill(1, true).expect("there is one");
        assert!(first.killed().now_or_never().is_some() && first.is_killed());
        drop(first);
        let mut second = me.begin("Query", "select 2", 0);
        assert!(second.killed().now_or_never().is_none());
        drop(second);
        processes.kill(1, true).expect("there is one");
        let mut third = me.begin("Query", "select 3", 0);
        assert!(
            third.killed().now_or_never().is_none(),
            "a KILL between statements hits none"
        );
        assert!(!me.watch().is_connection_killed());
        processes.kill(1, false).expect("there is one");
        assert!(third.killed().now_or_never().is_some());
        assert!(me.watch().connection_killed().now_or_never().is_some());
    }

    #[test]
    fn a_session_is_listed_from_register_to_drop() {
        let processes = Processes::new();
        let me = processes.register(&who(&processes), 5);
        let running = me.begin("Query", "select 'é'", 7);
        let listed = processes.list();
        assert_eq!(listed[0].info.as_deref(), Some("select 'é'"));
        assert_eq!((listed[0].command, listed[0].since_unix_us), ("Query", 7));
        drop(running);
        assert_eq!(processes.list()[0].command, "Sleep");
        drop(me);
        assert_eq!(processes.list(), []);
        assert_eq!(processes.kill(1, false).expect_err("gone").code, 1094);
    }

    #[test]
    fn a_cut_never_splits_a_character() {
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("aé", 3), "aé");
    }
}
