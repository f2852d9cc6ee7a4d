//! The aggregator: learns topics from Kafka, pairs partitions, takes statements, supervises leaves.
//!
//! A statement commits in the catalog first, under a higher generation; leaves carry it out as redo,
//! and every step can be repeated. What a session holds is [`Aggregator`], a handle: dropping a call's
//! future does not undo what was committed.

pub mod client;
pub mod clock;
pub mod deal;
pub mod error;
pub mod lineages;
pub mod live;
pub mod orphans;
pub mod port;
pub mod run;
pub mod settings;
pub mod statement;
pub mod supervisor;
pub mod watch;

mod asked;
mod audit;
mod definitions;
mod failing;
mod log;
mod offsets;
mod pairing;
mod pipelines;
mod sample;
mod shared;
mod source;
mod tables;
mod topic;

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

pub use audit::{LogMessage, LogWanted};
pub use clock::Clock;
pub use error::{AggregatorError, Exists, Unknown, WrongState};
pub use live::{LiveView, Place};
pub use port::Port;
pub use run::{Drained, End, Ended, LeafLink};
pub use shared::{AggregatorConfig, SendOrder, effective};
pub use statement::{
    Changed, CreatePipeline, CreateTable, Foreground, Name, OffsetsTo, StartPipeline, Started,
    Tested,
};

use shared::Shared;

use crate::catalog::CatalogView;

/// The way to the aggregator, for every session.
#[derive(Clone)]
pub struct Aggregator {
    commands: mpsc::Sender<Command>,
    /// Beside the commands: a full queue of statements that wait must not hold up the end.
    ends: mpsc::Sender<Reply<Drained>>,
    attached: tokio::sync::watch::Receiver<bool>,
    catalog: Arc<ArcSwap<CatalogView>>,
    live: Arc<ArcSwap<LiveView>>,
}

type Reply<T> = oneshot::Sender<Result<T, AggregatorError>>;

/// What a session asks: carried out beside others, its answer goes where the session waits.
type Command = Box<dyn FnOnce(Arc<Shared>) -> BoxFuture<'static, ()> + Send>;

impl Aggregator {
    /// The catalog as it stands.
    #[must_use]
    pub fn catalog(&self) -> Arc<CatalogView> {
        self.catalog.load_full()
    }

    /// What is served where, and what is being tested.
    #[must_use]
    pub fn live(&self) -> Arc<LiveView> {
        self.live.load_full()
    }

    /// CREATE DATABASE.
    ///
    /// # Errors
    /// `Exists`, `Definition`, `Catalog`, `ShuttingDown`.
    pub async fn create_database(
        &self,
        name: &str,
        if_not_exists: bool,
    ) -> Result<Changed, AggregatorError> {
        let name = name.to_owned();
        self.ask(move |shared| async move { shared.create_database(name, if_not_exists).await })
            .await
    }

    /// DROP DATABASE, with its tables and pipelines; returns once their rows are unlinked.
    ///
    /// # Errors
    /// `Unknown`, `State` (a pipeline of it runs), `Catalog`, `Disk`, `ShuttingDown`.
    pub async fn drop_database(
        &self,
        name: &str,
        if_exists: bool,
    ) -> Result<Changed, AggregatorError> {
        let name = name.to_owned();
        self.ask(move |shared| async move { shared.drop_database(name, if_exists).await })
            .await
    }

    /// CREATE TABLE.
    ///
    /// # Errors
    /// `Unknown` (the database), `Exists`, `Definition`, `Catalog`, `ShuttingDown`.
    pub async fn create_table(&self, table: CreateTable) -> Result<Changed, AggregatorError> {
        self.ask(move |shared| async move { shared.create_table(table).await })
            .await
    }

    /// DROP TABLE; all of them or none. Returns once their rows are unlinked, with the names that IF
    /// EXISTS passed over.
    ///
    /// # Errors
    /// `Unknown`, `State` (a pipeline names it), `Catalog`, `Disk`, `ShuttingDown`.
    pub async fn drop_tables(
        &self,
        names: Vec<Name>,
        if_exists: bool,
    ) -> Result<Vec<Name>, AggregatorError> {
        self.ask(move |shared| async move { shared.drop_tables(names, if_exists).await })
            .await
    }

    /// TRUNCATE TABLE: its rows go, its pipelines' cursors stay. Refused while one of them runs.
    ///
    /// # Errors
    /// `Unknown`, `State`, `Catalog`, `ShuttingDown`.
    pub async fn truncate_table(&self, name: Name) -> Result<(), AggregatorError> {
        self.ask(move |shared| async move { shared.truncate_table(name).await })
            .await
    }

    /// CREATE [OR REPLACE] PIPELINE. Kafka is not asked: START does that.
    ///
    /// # Errors
    /// `Unknown` (database, table), `Exists`, `Setting` (CONFIG and the like), `State`, `Catalog`,
    /// `ShuttingDown`.
    pub async fn create_pipeline(
        &self,
        pipeline: CreatePipeline,
    ) -> Result<Changed, AggregatorError> {
        self.ask(move |shared| async move { shared.create_pipeline(pipeline).await })
            .await
    }

    /// START PIPELINE. Without FOREGROUND it returns once every partition is with a leaf; with it,
    /// once what it was started for is durable and the pipeline is stopped again.
    ///
    /// # Errors
    /// `Unknown`, `State` (it runs), `Broker`, `Failed` (FOREGROUND), `Full`, `Catalog`, `Disk`,
    /// `ShuttingDown`.
    pub async fn start_pipeline(&self, start: StartPipeline) -> Result<Started, AggregatorError> {
        self.ask(move |shared| async move { shared.start_pipeline(start).await })
            .await
    }

    /// STOP PIPELINE; returns once everything visible is durable.
    ///
    /// # Errors
    /// `Unknown`, `State` (it does not run), `Catalog`, `ShuttingDown`.
    pub async fn stop_pipeline(
        &self,
        name: Name,
        if_running: bool,
    ) -> Result<Changed, AggregatorError> {
        self.ask(move |shared| async move { shared.stop_pipeline(name, if_running).await })
            .await
    }

    /// DROP PIPELINE; a running one is stopped first. The rows stay.
    ///
    /// # Errors
    /// `Unknown`, `Catalog`, `ShuttingDown`.
    pub async fn drop_pipeline(
        &self,
        name: Name,
        if_exists: bool,
    ) -> Result<Changed, AggregatorError> {
        self.ask(move |shared| async move { shared.drop_pipeline(name, if_exists).await })
            .await
    }

    /// ALTER PIPELINE ... SET OFFSETS. A running pipeline goes on from there.
    ///
    /// # Errors
    /// `Unknown` (pipeline, partition), `Setting`, `Broker` (EARLIEST, LATEST), `Catalog`,
    /// `ShuttingDown`.
    pub async fn alter_offsets(&self, name: Name, to: OffsetsTo) -> Result<(), AggregatorError> {
        self.ask(move |shared| async move { shared.alter_offsets(name, to).await })
            .await
    }

    /// TEST PIPELINE [LIMIT n]: without a limit, one row.
    ///
    /// # Errors
    /// `Unknown`, `State` (it runs), `Broker`, `Full`, `ShuttingDown`.
    pub async fn test_pipeline(
        &self,
        name: Name,
        limit: Option<u64>,
    ) -> Result<Tested, AggregatorError> {
        self.ask(move |shared| async move { shared.test_pipeline(name, limit).await })
            .await
    }

    /// Has a partition's log read for AUDIT PIPELINE ... VERIFY: what there is goes to `out`, which takes
    /// one response at a time, until all of it was given or nobody listens.
    ///
    /// # Errors
    /// `ShuttingDown`. What brokers refuse comes through `out`.
    pub async fn read_log(
        &self,
        wanted: LogWanted,
        out: mpsc::Sender<LogMessage>,
    ) -> Result<(), AggregatorError> {
        let command: Command =
            Box::new(move |shared| async move { shared.read_log(wanted, out).await }.boxed());
        self.commands
            .send(command)
            .await
            .map_err(|_| AggregatorError::ShuttingDown)
    }

    /// SET GLOBAL name = value; `None`: DEFAULT, which is the configuration's value.
    /// Running pipelines take it at their next START.
    ///
    /// # Errors
    /// `Variable`, `Catalog`, `ShuttingDown`.
    pub async fn set_global(&self, name: &str, value: Option<&str>) -> Result<(), AggregatorError> {
        let (name, value) = (name.to_owned(), value.map(str::to_owned));
        self.ask(move |shared| async move { shared.set_global(name, value).await })
            .await
    }

    /// Waits until every leaf partition is attached or refused: queries may run then.
    ///
    /// # Errors
    /// `ShuttingDown`: it ended first.
    pub async fn attached(&self) -> Result<(), AggregatorError> {
        let mut attached = self.attached.clone();
        let seen = attached.wait_for(|attached| *attached).await;
        seen.map(|_| ()).map_err(|_| AggregatorError::ShuttingDown)
    }

    /// Drains every leaf, syncs, ends the aggregator; gives up after `DRAIN_MS_MAX`. Statements after it
    /// are `ShuttingDown`. It may be asked at any moment, also before everything is attached.
    ///
    /// # Errors
    /// `ShuttingDown`: it was asked before. `LeafLost`: a leaf ended by itself meanwhile.
    pub async fn shutdown(&self) -> Result<Drained, AggregatorError> {
        let (reply, answer) = oneshot::channel();
        self.ends
            .send(reply)
            .await
            .map_err(|_| AggregatorError::ShuttingDown)?;
        answer.await.map_err(|_| AggregatorError::ShuttingDown)?
    }

    async fn ask<T, Work>(
        &self,
        work: impl FnOnce(Arc<Shared>) -> Work + Send + 'static,
    ) -> Result<T, AggregatorError>
    where
        T: Send + 'static,
        Work: Future<Output = Result<T, AggregatorError>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let command: Command = Box::new(move |shared| {
            // A session that went away does not want the answer; what was begun is carried to its end.
            async move { drop(reply.send(work(shared).await)) }.boxed()
        });
        self.commands
            .send(command)
            .await
            .map_err(|_| AggregatorError::ShuttingDown)?;
        answer.await.map_err(|_| AggregatorError::ShuttingDown)?
    }
}

#[cfg(test)]
pub(crate) mod tests;
