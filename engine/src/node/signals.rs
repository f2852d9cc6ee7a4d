//! SIGTERM and SIGINT: the first asks for a stop, a second one ends the process at once.
//!
//! Heard on a thread of their own from before anything is looked at until the process has ended: a
//! start that waits for a disk, a drain, a thread that is joined hold up neither. What a second signal
//! cuts off is like a kill: what is durable is there at the next start, the rest is fetched again.
//!
//! A signal counts as the second from [`SECOND_SIGNAL_AFTER_MS`] after the first on. What comes sooner is
//! the same wish: a terminal's Ctrl-C reaches a whole group of processes, and whoever supervises one of
//! them passes on what it heard itself.

use std::io;
use std::process::exit;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};

use crate::limits::{LAST_WORDS_MS_MAX, SECOND_SIGNAL_AFTER_MS};

/// Added to a signal's number: the exit code of a process that a second signal ended, as shells have it.
pub const EXIT_BY_SIGNAL: i32 = 128;

const SIGTERM: Heard = Heard {
    name: "SIGTERM",
    number: 15,
};
const SIGINT: Heard = Heard {
    name: "SIGINT",
    number: 2,
};

/// A signal that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Its name.
    pub name: &'static str,
    number: i32,
}

/// What a signal behind the first is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    /// Too soon to be another wish.
    Same,
    /// The second.
    Second,
}

/// Says it on a thread of its own: a log that nobody reads any more holds up whoever writes to it. The
/// channel's end tells that it is said.
fn beside(say: impl FnOnce() + Send + 'static) -> mpsc::Receiver<()> {
    let (done, said) = mpsc::channel::<()>();
    // Err: there is no thread to be had, and nothing is said.
    let _ = std::thread::Builder::new()
        .name("signals' words".into())
        .spawn(move || {
            say();
            drop(done);
        });
    said
}

/// Hears signals until it is dropped.
#[derive(Debug)]
pub struct Signals {
    asked: watch::Receiver<Option<Heard>>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Signals {
    /// Hears from now on.
    ///
    /// # Errors
    /// No thread, or no signal handler could be had.
    pub fn hear() -> io::Result<Signals> {
        let after = Duration::from_millis(SECOND_SIGNAL_AFTER_MS);
        Signals::start(after, |heard, again| match again {
            Again::Same => {
                beside(move || {
                    tracing::info!(
                        "{} again, within {SECOND_SIGNAL_AFTER_MS} ms of the first signal: taken for the same; a \
                         later one ends at once",
                        heard.name
                    );
                });
            }
            Again::Second => {
                let said = beside(move || {
                    tracing::error!(
                        "{} a second time: ended at once; what is not durable is fetched again",
                        heard.name
                    );
                });
                // Disconnected: it was said. Timed out: nobody reads the log.
                let _ = said.recv_timeout(Duration::from_millis(LAST_WORDS_MS_MAX));
                exit(EXIT_BY_SIGNAL + heard.number)
            }
        })
    }

    /// The signal that asked for a stop, once one did.
    #[must_use]
    pub fn asked(&self) -> watch::Receiver<Option<Heard>> {
        self.asked.clone()
    }

    /// `again` is told of every signal behind the first, up to the second that counts.
    fn start(
        after: Duration,
        mut again: impl FnMut(Heard, Again) + Send + 'static,
    ) -> io::Result<Signals> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        let (mut terminate, mut interrupt) = {
            let _within = runtime.enter();
            (
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
            )
        };
        let (ask, asked) = watch::channel(None);
        let (end, ended) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                runtime.block_on(async move {
                    let both = async {
                        let first = next(&mut terminate, &mut interrupt).await;
                        ask.send_replace(Some(first));
                        let began = Instant::now();
                        loop {
                            let heard = next(&mut terminate, &mut interrupt).await;
                            if began.elapsed() >= after {
                                return again(heard, Again::Second);
                            }
                            again(heard, Again::Same);
                        }
                    };
                    tokio::select! {
                        () = both => {}
                        _ = ended => {}
                    }
                });
            })?;
        Ok(Signals {
            asked,
            end: Some(end),
            thread: Some(thread),
        })
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take()
            && let Err(panic) = thread.join()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> Heard {
    tokio::select! {
        _ = terminate.recv() => SIGTERM,
        _ = interrupt.recv() => SIGINT,
    }
}

#[cfg(test)]
mod tests {
    use std::process::{self, Command};
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// As a person would: by the command of that name.
    fn kill(signal: &str) {
        let own = process::id().to_string();
        let sent = Command::new("kill").args([signal, &own]).status();
        assert!(sent.expect("the command kill").success());
    }

    /// A signal reaches all that hear in this process: one test after the other.
    #[test]
    fn the_first_signal_asks_a_double_is_the_same_and_the_second_ends_at_once() {
        for (after, expected) in [
            (Duration::ZERO, Again::Second),
            (Duration::MAX, Again::Same),
        ] {
            let (told, again) = mpsc::channel();
            let signals = Signals::start(after, move |heard, again| {
                told.send((heard, again)).unwrap()
            })
            .unwrap();
            let mut asked = signals.asked();
            assert_eq!(*asked.borrow(), None);
            kill("-TERM");
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            runtime.block_on(async {
                let first = asked.wait_for(Option::is_some).await.unwrap();
                assert_eq!(*first, Some(SIGTERM));
            });
            assert!(again.try_recv().is_err(), "one signal is not two");
            kill("-INT");
            let heard = again.recv_timeout(Duration::from_secs(30));
            assert_eq!(heard, Ok((SIGINT, expected)));
            assert_eq!(*asked.borrow(), Some(SIGTERM), "the first stays the first");
        }
        assert_eq!(EXIT_BY_SIGNAL + SIGINT.number, 130);
    }

    #[test]
    fn it_ends_without_a_signal() {
        drop(Signals::start(Duration::ZERO, |_, _| ()).unwrap());
    }
}
