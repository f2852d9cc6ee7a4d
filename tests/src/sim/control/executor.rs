//! Tasks in one thread: of those that are woken, a seed chooses which gets on next. A process that ends is an
//! executor that is dropped, with every task where it stands.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::future::BoxFuture;

use crate::sim::Random;

/// See the module.
#[derive(Default)]
pub struct Executor {
    /// In the order in which they began.
    tasks: Vec<Task>,
}

struct Task {
    future: BoxFuture<'static, ()>,
    woken: Arc<Woken>,
}

impl Task {
    fn is_woken(&self) -> bool {
        self.woken.0.load(Ordering::Relaxed)
    }
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
        self.tasks.push(Task { future, woken });
    }

    /// Whether a task could get on.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        !self.tasks.iter().any(Task::is_woken)
    }

    /// One of the woken tasks gets on, as far as it comes.
    pub fn poll_one(&mut self, random: &mut Random) {
        let woken = self.tasks.iter().filter(|task| task.is_woken()).count();
        if woken == 0 {
            return;
        }
        let chosen = random.below(woken as u64) as usize;
        let tasks = self.tasks.iter_mut().enumerate();
        let mut woken = tasks.filter(|(_, task)| task.is_woken());
        let Some((at, task)) = woken.nth(chosen) else {
            return;
        };
        task.woken.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&task.woken));
        if let Poll::Ready(()) = task.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            drop(self.tasks.remove(at));
        }
    }
}
