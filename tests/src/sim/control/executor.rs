//! Tasks in one thread: of those that are woken, a seed chooses which gets on next. A process that ends is an
//! executor that is dropped, with every task where it stands.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::future::BoxFuture;

use crate::sim::Random;

/// See the module.
#[derive(Default)]
pub struct Executor {
    tasks: BTreeMap<u64, Task>,
    next: u64,
}

struct Task {
    future: BoxFuture<'static, ()>,
    woken: Arc<Woken>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Executor {
    /// One task more; it begins when it is chosen.
    pub fn spawn(&mut self, future: BoxFuture<'static, ()>) {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        self.tasks.insert(self.next, Task { future, woken });
        self.next += 1;
    }

    /// Whether a task could get on.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let mut tasks = self.tasks.values();
        tasks.all(|task| !task.woken.0.load(Ordering::Relaxed))
    }

    /// One of the woken tasks gets on, as far as it comes.
    pub fn poll_one(&mut self, random: &mut Random) {
        let woken = |task: &Task| task.woken.0.load(Ordering::Relaxed);
        let woken: Vec<u64> = self
            .tasks
            .iter()
            .filter(|(_, task)| woken(task))
            .map(|(id, _)| *id)
            .collect();
        if woken.is_empty() {
            return;
        }
        let id = woken[random.below(woken.len() as u64) as usize];
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        task.woken.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&task.woken));
        if let Poll::Ready(()) = task.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            self.tasks.remove(&id);
        }
    }
}
