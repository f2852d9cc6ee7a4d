//! The catalog's own thread: SQLite waits for the disk, and nobody else may wait with it.
//!
//! A bounded queue in, an answer each; the view is published before the answer goes out. A COMMIT that
//! failed is told to its statement and to whoever watches [`Catalog::poison`], who ends the process.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};

use super::change::Change;
use super::error::CatalogError;
use super::store::Store;
use super::view::CatalogView;
use crate::limits::CATALOG_QUEUE_REQUESTS_MAX;

/// The way to the catalog. Dropping the last one ends its thread.
#[derive(Debug)]
pub struct Catalog {
    requests: mpsc::Sender<Request>,
    view: Arc<ArcSwap<CatalogView>>,
    poison: watch::Receiver<Option<CatalogError>>,
    thread: Option<JoinHandle<()>>,
}

enum Request {
    Commit {
        changes: Vec<Change>,
        unix_ms: i64,
        reply: oneshot::Sender<Result<Arc<CatalogView>, CatalogError>>,
    },
    ChangesAfter {
        number: u64,
        changes_max: usize,
        reply: oneshot::Sender<Result<Vec<(u64, Change)>, CatalogError>>,
    },
}

impl Catalog {
    /// Opens or makes the catalog at `path` and starts its thread.
    ///
    /// # Errors
    /// See [`Store::open`]; `Disk` also when no thread can be started.
    pub fn open(path: &Path) -> Result<Catalog, CatalogError> {
        Catalog::start(Store::open(path)?)
    }

    /// A catalog in memory: for tests.
    ///
    /// # Errors
    /// `Disk`.
    pub fn in_memory() -> Result<Catalog, CatalogError> {
        Catalog::start(Store::in_memory()?)
    }

    /// Where each view is published: what sessions read.
    #[must_use]
    pub fn views(&self) -> Arc<ArcSwap<CatalogView>> {
        self.view.clone()
    }

    /// The COMMIT that failed, once one did: the process must end then.
    #[must_use]
    pub fn poison(&self) -> watch::Receiver<Option<CatalogError>> {
        self.poison.clone()
    }

    /// The catalog as it stands.
    #[must_use]
    pub fn view(&self) -> Arc<CatalogView> {
        self.view.load_full()
    }

    /// Commits a statement's changes, all or none. The view it returns is published and on disk.
    ///
    /// # Errors
    /// See [`Store::commit`]; `Closed`.
    pub async fn commit(
        &self,
        changes: Vec<Change>,
        unix_ms: i64,
    ) -> Result<Arc<CatalogView>, CatalogError> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(Request::Commit {
                changes,
                unix_ms,
                reply,
            })
            .await
            .map_err(|_| CatalogError::Closed)?;
        answer.await.map_err(|_| CatalogError::Closed)?
    }

    /// See [`Store::changes_after`].
    ///
    /// # Errors
    /// `Corrupt`, `Disk`, `Closed`.
    pub async fn changes_after(
        &self,
        number: u64,
        changes_max: usize,
    ) -> Result<Vec<(u64, Change)>, CatalogError> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(Request::ChangesAfter {
                number,
                changes_max,
                reply,
            })
            .await
            .map_err(|_| CatalogError::Closed)?;
        answer.await.map_err(|_| CatalogError::Closed)?
    }

    /// Serves an opened store on a thread of its own.
    ///
    /// # Errors
    /// `Disk`: no thread can be started.
    pub fn start(store: Store) -> Result<Catalog, CatalogError> {
        let (requests, queue) = mpsc::channel(CATALOG_QUEUE_REQUESTS_MAX);
        let view = Arc::new(ArcSwap::from_pointee(store.view().clone()));
        let published = view.clone();
        let (told, poison) = watch::channel(None);
        let thread = std::thread::Builder::new()
            .name("catalog".to_owned())
            .spawn(move || serve(store, queue, &published, &told))
            .map_err(|error| CatalogError::Disk {
                path: "catalog.db".into(),
                doing: "starting its thread",
                what: error.to_string(),
            })?;
        Ok(Catalog {
            requests,
            view,
            poison,
            thread: Some(thread),
        })
    }
}

impl Drop for Catalog {
    /// Waits for the thread: what was asked is on disk or answered with an error.
    fn drop(&mut self) {
        let (closed, _) = mpsc::channel(1);
        self.requests = closed;
        if let Some(thread) = self.thread.take()
            && let Err(panic) = thread.join()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

fn serve(
    mut store: Store,
    mut queue: mpsc::Receiver<Request>,
    view: &ArcSwap<CatalogView>,
    poison: &watch::Sender<Option<CatalogError>>,
) {
    while let Some(request) = queue.blocking_recv() {
        match request {
            Request::Commit {
                changes,
                unix_ms,
                reply,
            } => {
                let outcome = store.commit(&changes, unix_ms).map(|()| {
                    let now = Arc::new(store.view().clone());
                    view.store(now.clone());
                    now
                });
                // A session that went away does not want the answer; the commit stands.
                drop(reply.send(outcome));
                // Behind the answer, so that its statement hears it before the process ends.
                if let Some(unknown) = store.poison() {
                    poison.send_replace(Some(unknown.clone()));
                }
            }
            Request::ChangesAfter {
                number,
                changes_max,
                reply,
            } => drop(reply.send(store.changes_after(number, changes_max))),
        }
    }
}
