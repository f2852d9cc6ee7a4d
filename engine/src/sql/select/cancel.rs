//! How a query is told to end: a flag that can be looked at and waited for.

use datafusion::common::Result;
use tokio::sync::watch;

use super::fault::wrap;
use crate::sql::error::SqlError;

/// The side that cancels. Dropping it cancels nothing.
#[derive(Clone, Debug)]
pub struct CancelHandle(watch::Sender<bool>);

/// Cancels when it is dropped: who takes a statement's answer no more has no use for its work.
#[derive(Debug)]
pub struct CancelGuard(CancelHandle);

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

    /// The error of a statement that was killed, once it was.
    ///
    /// # Errors
    /// 1317.
    pub(super) fn check(&self) -> Result<()> {
        match self.is_cancelled() {
            true => Err(wrap(SqlError::interrupted())),
            false => Ok(()),
        }
    }

    /// Returns once it is cancelled, and never if its handle was dropped before.
    pub async fn cancelled(&mut self) {
        if self.0.wait_for(|cancelled| *cancelled).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

tokio::task_local! {
    /// Of the statement that is planned.
    static PLANNED: Cancel;
}

/// Plans a statement: what it is made of finds its KILL by [`check_planned`].
pub(super) async fn planning<T>(cancel: Cancel, work: impl Future<Output = T>) -> T {
    PLANNED.scope(cancel, work).await
}

/// The error of the statement that is planned here, once it was killed.
///
/// # Errors
/// 1317.
pub(super) fn check_planned() -> Result<()> {
    PLANNED.try_with(Cancel::check).unwrap_or(Ok(()))
}

impl CancelGuard {
    /// Of that handle.
    #[must_use]
    pub fn new(handle: CancelHandle) -> CancelGuard {
        CancelGuard(handle)
    }

    /// Cancels, now and for good.
    pub fn cancel(&self) {
        self.0.cancel();
    }
}

impl Drop for CancelGuard {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl CancelHandle {
    /// Cancels, now and for good.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }
}
