//! The catalog's own thread: SQLite waits for the disk, and nobody else may wait with it.
//!
//! What the thread does is [`Desk`]'s, a request at a time, so that the simulation can do it in its own.
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
        let (mut catalog, mut desk) = Catalog::with_desk(store);
        let thread = std::thread::Builder::new()
            .name("catalog".to_owned())
            .spawn(move || while desk.serve() {})
            .map_err(|error| CatalogError::Disk {
                path: "catalog.db".into(),
                doing: "starting its thread",
                what: error.to_string(),
            })?;
        catalog.thread = Some(thread);
        Ok(catalog)
    }

    /// An opened store and the desk at which its requests are served.
    #[must_use]
    pub fn with_desk(store: Store) -> (Catalog, Desk) {
        let (requests, queue) = mpsc::channel(CATALOG_QUEUE_REQUESTS_MAX);
        let view = Arc::new(ArcSwap::from_pointee(store.view().clone()));
        let (told, poison) = watch::channel(None);
        let desk = Desk {
            store,
            queue,
            view: view.clone(),
            poison: told,
        };
        let catalog = Catalog {
            requests,
            view,
            poison,
            thread: None,
        };
        (catalog, desk)
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

/// Where requests are served, one after the other.
pub struct Desk {
    store: Store,
    queue: mpsc::Receiver<Request>,
    view: Arc<ArcSwap<CatalogView>>,
    poison: watch::Sender<Option<CatalogError>>,
}

impl Desk {
    /// Waits for a request and serves it; `false`: nobody is left who could ask.
    pub fn serve(&mut self) -> bool {
        match self.queue.blocking_recv() {
            Some(request) => self.answer(request, Store::commit),
            None => return false,
        }
        true
    }

    /// Serves a request that waits; `false`: none does.
    pub fn serve_waiting(&mut self) -> bool {
        match self.queue.try_recv() {
            Ok(request) => self.answer(request, Store::commit),
            Err(_) => return false,
        }
        true
    }

    /// As [`Desk::serve_waiting`] with a disk on which a COMMIT fails; whether one did. `kept`: all the same it is
    /// what the next process finds.
    pub fn serve_failing(&mut self, kept: bool) -> bool {
        let mut failed = false;
        let commit = |store: &mut Store, changes: &[Change], unix_ms| {
            let outcome = store.commit_failing(changes, unix_ms, kept);
            failed = matches!(outcome, Err(CatalogError::Unknown { .. }));
            outcome
        };
        if let Ok(request) = self.queue.try_recv() {
            self.answer(request, commit);
        }
        failed
    }

    /// As [`Desk::serve_waiting`] with a disk on which a COMMIT finds no room; whether one was refused.
    pub fn serve_without_room(&mut self) -> bool {
        let mut refused = false;
        let commit = |store: &mut Store, changes: &[Change], unix_ms| {
            let outcome = store.commit_without_room(changes, unix_ms);
            refused = matches!(outcome, Err(CatalogError::NoRoom { .. }));
            outcome
        };
        if let Ok(request) = self.queue.try_recv() {
            self.answer(request, commit);
        }
        refused
    }

    /// See [`Store::on_disk`].
    ///
    /// # Errors
    /// `Corrupt`, `Disk`.
    pub fn on_disk(&self) -> Result<CatalogView, CatalogError> {
        self.store.on_disk()
    }

    /// The catalog as it stands.
    #[must_use]
    pub fn view(&self) -> Arc<CatalogView> {
        self.view.load_full()
    }

    /// How many requests wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// The process ends: what waits is never served.
    #[must_use]
    pub fn into_store(self) -> Store {
        self.store
    }

    fn answer(
        &mut self,
        request: Request,
        commit: impl FnOnce(&mut Store, &[Change], i64) -> Result<(), CatalogError>,
    ) {
        match request {
            Request::Commit {
                changes,
                unix_ms,
                reply,
            } => {
                let outcome = commit(&mut self.store, &changes, unix_ms).map(|()| {
                    let now = Arc::new(self.store.view().clone());
                    self.view.store(now.clone());
                    now
                });
                // A session that went away does not want the answer; the commit stands.
                drop(reply.send(outcome));
                // Behind the answer, so that its statement hears it before the process ends.
                if let Some(unknown) = self.store.poison() {
                    self.poison.send_replace(Some(unknown.clone()));
                }
            }
            Request::ChangesAfter {
                number,
                changes_max,
                reply,
            } => drop(reply.send(self.store.changes_after(number, changes_max))),
        }
    }
}
