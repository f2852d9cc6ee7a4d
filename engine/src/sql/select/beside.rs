//! Work that may hold its thread for long, beside the threads that queries share.
//!
//! A query thread that computes takes up no other query. What may compute for long in one piece (planning a long
//! statement, a join that finds nothing, SLEEP) hands its place to another thread first; the kernel then deals the CPU
//! between them. To hand it over takes some 10 us.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

/// Another thread takes this worker's tasks meanwhile. A runtime of one thread, as tests have it, has no
/// worker to give back.
pub(super) fn beside_the_workers<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => block_in_place(work),
        _ => work(),
    }
}

/// A future that computes beside the workers.
pub(super) struct Beside<F>(Pin<Box<F>>);

impl<F: Future> Beside<F> {
    /// Of `work`.
    pub(super) fn new(work: F) -> Beside<F> {
        Beside(Box::pin(work))
    }
}

impl<F: Future> Future for Beside<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        beside_the_workers(|| self.0.as_mut().poll(context))
    }
}
