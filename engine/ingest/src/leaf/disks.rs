//! The leaf's disk threads: where blocking is allowed.
//!
//! One writes, two sync, one recovers and merges behind them: a merge of seconds holds up no commit.
//! They are started by whoever starts the leaf, before it is pinned, and so are pinned to nothing.
//! A completion goes into a bounded queue that wakes the leaf from any thread.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use storage::disk::{Disk, DiskDone, DiskOp, perform};
use tokio::sync::mpsc::Sender;

use super::event::Slot;
use crate::limits;

type Job = (Slot, Box<DiskOp>);

/// See the module.
#[derive(Debug)]
pub struct DiskThreads {
    write: SyncSender<Job>,
    sync: SyncSender<Job>,
    background: SyncSender<Job>,
    threads: Vec<JoinHandle<()>>,
}

impl DiskThreads {
    /// Starts them; completions go to `done`.
    ///
    /// # Errors
    /// No thread.
    pub fn start(
        index: u32,
        disk: &Arc<dyn Disk>,
        done: &Sender<(Slot, DiskDone)>,
    ) -> std::io::Result<DiskThreads> {
        let mut threads = Vec::new();
        let mut queue = |name: &str, count: usize| {
            let (send, receive) = sync_channel(limits::DISK_OPS_QUEUED_MAX);
            let receive = Arc::new(Mutex::new(receive));
            for number in 0..count {
                let (disk, done, receive) = (Arc::clone(disk), done.clone(), Arc::clone(&receive));
                let thread = std::thread::Builder::new()
                    .name(format!("leaf-{index}-{name}{number}"))
                    .spawn(move || work(&*disk, &receive, &done))?;
                threads.push(thread);
            }
            Ok::<_, std::io::Error>(send)
        };
        let write = queue("write", 1)?;
        let sync = queue("sync", limits::SYNC_THREADS)?;
        let background = queue("merge", 1)?;
        Ok(DiskThreads {
            write,
            sync,
            background,
            threads,
        })
    }

    /// Hands an operation on. The store has at most one of a kind on its way, so the queues hold all
    /// that a leaf can have.
    ///
    /// # Panics
    /// If a thread is gone: it panicked, and the process ends.
    pub fn submit(&self, slot: Slot, op: Box<DiskOp>) {
        let queue = if op.is_sync() {
            &self.sync
        } else if op.is_background() || matches!(*op, DiskOp::Recover(_)) {
            &self.background
        } else {
            &self.write
        };
        if queue.try_send((slot, op)).is_err() {
            panic!("a disk thread is gone, or a store broke its bound of operations");
        }
    }

    /// Lets them end, and waits for it.
    pub fn end(self) {
        let DiskThreads {
            write,
            sync,
            background,
            threads,
        } = self;
        drop((write, sync, background));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a disk thread panicked");
            }
        }
    }
}

fn work(disk: &dyn Disk, jobs: &Mutex<Receiver<Job>>, done: &Sender<(Slot, DiskDone)>) {
    let _guard = super::port::EndOnPanic;
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((slot, op)) = job else {
            return;
        };
        if done.blocking_send((slot, perform(disk, *op))).is_err() {
            return;
        }
    }
}
