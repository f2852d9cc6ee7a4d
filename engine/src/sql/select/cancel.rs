//! How a query is told to end: a flag that can be looked at and waited for.

use tokio::sync::watch;

/// The side that cancels. Dropping it cancels nothing.
#[derive(Clone, Debug)]
pub struct CancelHandle(watch::Sender<bool>);

/// The side that is cancelled.
#[derive(Clone, Debug)]
pub struct Cancel(watch::Receiver<bool>);

impl Cancel {
    /// A fresh pair.
    #[must_use]
    pub fn new() -> (CancelHandle, Cancel) {
        let (sender, receiver) = watch::channel(false);
        (CancelHandle(sender), Cancel(receiver))
    }

    /// One that nobody ever cancels.
    #[must_use]
    pub fn never() -> Cancel {
        Cancel::new().1
    }

    /// Whether it was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns once it is cancelled, and never if its handle was dropped before.
    pub async fn cancelled(&mut self) {
        if self.0.wait_for(|cancelled| *cancelled).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl CancelHandle {
    /// Cancels, now and for good.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }
}
