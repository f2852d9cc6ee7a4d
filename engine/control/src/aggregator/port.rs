//! The world around the aggregator: time, tasks, the data directory's disk and the brokers, each behind a
//! call whose outcome comes back.
//!
//! Everything the aggregator waits for but a leaf's report and the catalog's answer comes from here, so
//! that the simulation can stand in: it runs the tasks in one thread in an order of its own, answers when
//! it likes, and ends the process between any two of them. [`TokioPort`] is the one of a running node; it and
//! what it gives, the [`Client`], alone know tokio's tasks, timers and sockets. Channels and locks need no
//! runtime, and stand anywhere.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use storage::disk::{Disk, RealDisk};

use super::client::{Brokers, Client};
use super::clock::Clock;
use super::settings::ClientSettings;

/// Work on the data directory that waits for the disk.
pub type DiskWork = Box<dyn FnOnce(&dyn Disk) + Send>;

/// See the module.
pub trait Port: Clock {
    /// Runs a task beside the others, to its end.
    fn spawn(&self, task: BoxFuture<'static, ()>);

    /// Resolves so much later.
    fn sleep(&self, ms: u64) -> BoxFuture<'static, ()>;

    /// Has this done beside the aggregator's thread; resolves when it is.
    fn disk(&self, work: DiskWork) -> BoxFuture<'static, ()>;

    /// The way to a cluster. Connects to nothing yet.
    fn brokers(&self, settings: ClientSettings) -> Box<dyn Brokers>;
}

/// What `work` comes to; `None` where it takes longer.
pub(super) async fn within<T>(
    port: &dyn Port,
    ms: u64,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = port.sleep(ms) => None,
    }
}

/// The kernel's disk, brokers over TCP, tasks on the tokio runtime that it is called on.
pub(super) struct TokioPort(pub Arc<dyn Clock>);

impl Clock for TokioPort {
    fn now_ms(&self) -> u64 {
        self.0.now_ms()
    }

    fn unix_ms(&self) -> i64 {
        self.0.unix_ms()
    }
}

impl Port for TokioPort {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        // Detached: a panic ends the process, see `node`.
        drop(tokio::spawn(task));
    }

    fn sleep(&self, ms: u64) -> BoxFuture<'static, ()> {
        tokio::time::sleep(Duration::from_millis(ms)).boxed()
    }

    fn disk(&self, work: DiskWork) -> BoxFuture<'static, ()> {
        let done = tokio::task::spawn_blocking(move || work(&RealDisk));
        async move {
            if let Err(error) = done.await
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        .boxed()
    }

    fn brokers(&self, settings: ClientSettings) -> Box<dyn Brokers> {
        Box::new(Client::new(settings))
    }
}
