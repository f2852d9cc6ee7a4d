//! From a catalog and leaves to a running aggregator, and its end.
//!
//! Start: the data directory is mended, dropped tables are finished, pipelines that ran run again,
//! leaf partitions are dealt and attached. End, at any moment: every leaf drains and syncs within a
//! bound, sources publish once more, and statements are refused. A leaf that is lost and a catalog
//! whose COMMIT failed end it at once: recovery does the rest.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use ingest::leaf::order::{Order, Report};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::client::TopicAnswer;
use super::clock::Clock;
use super::error::AggregatorError;
use super::orphans::{expected, mend};
use super::port::{Port, TokioPort, within};
use super::settings::client_settings;
use super::shared::{AggregatorConfig, SendOrder, Shared, ordered, pairings_of};
use super::{Aggregator, Command, Reply, lineages};
use crate::catalog::{Catalog, CatalogError, Change, PipelineState};
use crate::limits::{
    AGGREGATOR_OPEN_COMMANDS_MAX, AGGREGATOR_QUEUE_COMMANDS_MAX, AGGREGATOR_TICK_MS, DRAIN_MS_MAX,
    DRAIN_WARN_MS, LAST_PUBLISH_MS, REPORTS_PER_TURN_MAX, START_METADATA_MS,
};
use crate::planted::{Rule, out};

/// A leaf, as the aggregator sees it.
pub struct LeafLink {
    /// Gives an order; false when the queue is full.
    pub send: SendOrder,
    /// What it says; closed when it ends.
    pub reports: mpsc::Receiver<Report>,
}

impl LeafLink {
    /// From a leaf's orders and reports.
    #[must_use]
    pub fn new(orders: ingest::leaf::LeafOrders, reports: mpsc::Receiver<Report>) -> LeafLink {
        LeafLink {
            send: Box::new(move |order| orders.try_send(order).is_ok()),
            reports,
        }
    }
}

/// Why the aggregator ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// It was asked to.
    #[error("shut down")]
    Shutdown,
    /// A COMMIT of the catalog failed: what it holds is known after the next start.
    #[error("{0}")]
    CatalogLost(CatalogError),
    /// A leaf ended without being asked: the process must end, recovery does the rest.
    #[error("leaf {leaf} ended by itself: the process must be started again")]
    LeafLost {
        /// Which one.
        leaf: usize,
    },
}

/// How far a shutdown came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every leaf has flushed and synced what it had.
    All,
    /// So many leaves had not within `DRAIN_MS_MAX`: what of them is not durable is fetched again.
    Late {
        /// How many.
        leaves: usize,
    },
}

/// What resolves when the aggregator has ended. Whoever runs the process waits for it.
pub type End = oneshot::Receiver<Ended>;

impl Aggregator {
    /// Starts the aggregator on the current tokio runtime, the control core's: its tasks live there.
    ///
    /// Returns once leaves were told to attach what the catalog knows: see [`Aggregator::attached`]. Until
    /// then no leaf does anything, so the call may be dropped.
    ///
    /// # Errors
    /// `Disk`: a leaf partition that the catalog knows is not there, or the kernel refused.
    /// `OlderCatalog`: a segment is ahead of the catalog. `Catalog`. `Full`: no leaf.
    pub async fn start(
        config: AggregatorConfig,
        catalog: Catalog,
        leaves: Vec<LeafLink>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Aggregator, End), AggregatorError> {
        Aggregator::start_on(Arc::new(TokioPort(clock)), config, catalog, leaves).await
    }

    /// As [`Aggregator::start`], in the world of another port.
    ///
    /// # Errors
    /// See there.
    pub async fn start_on(
        port: Arc<dyn Port>,
        config: AggregatorConfig,
        catalog: Catalog,
        leaves: Vec<LeafLink>,
    ) -> Result<(Aggregator, End), AggregatorError> {
        if leaves.is_empty() {
            return Err(AggregatorError::Full {
                what: "leaves on this node",
                max: 0,
            });
        }
        let (sends, reports): (Vec<_>, Vec<_>) = leaves
            .into_iter()
            .map(|leaf| (leaf.send, leaf.reports))
            .unzip();
        let shared = Shared::new(config, catalog, sends, port);
        shared.mend().await?;
        left_without_room(shared.finish_dropped().await)?;
        left_without_room(shared.revive().await)?;
        shared.learn_leaders().await;
        shared.warn_of_variables();
        let (ended, end) = oneshot::channel();
        let (commands, queue) = mpsc::channel(AGGREGATOR_QUEUE_COMMANDS_MAX);
        let (ends, asked_to_end) = mpsc::channel(1);
        let (told_attached, attached) = watch::channel(false);
        let (lost, losses) = mpsc::channel(reports.len());
        for (leaf, reports) in reports.into_iter().enumerate() {
            let heard = listen(shared.clone(), leaf, reports, lost.clone());
            shared.port.spawn(heard.boxed());
        }
        drop(lost);
        if !out(Rule::RedoAtStart) {
            shared.carry_out();
        }
        let aggregator = Aggregator {
            commands,
            ends,
            attached,
            catalog: shared.views.clone(),
            live: shared.live.clone(),
        };
        let heard = Hears {
            queue,
            ends: asked_to_end,
            losses,
        };
        let port = Arc::clone(&shared.port);
        port.spawn(serve(shared, heard, told_attached, ended).boxed());
        Ok((aggregator, end))
    }
}

/// What a start sees to and finds no room for is left to the next: what makes room is asked of a server that runs.
fn left_without_room(done: Result<(), AggregatorError>) -> Result<(), AggregatorError> {
    match done {
        Err(AggregatorError::Catalog(full @ CatalogError::NoRoom { .. })) => {
            tracing::warn!(error = %full, "what this start sees to is left to the next one");
            Ok(())
        }
        done => done,
    }
}

impl Shared {
    async fn mend(&self) -> Result<(), AggregatorError> {
        let view = self.view();
        let expected = expected(&view, self.config.node);
        let known = lineages::known(&view, self.config.node);
        let data_dir = self.config.data_dir.clone();
        let mended = self.on_disk(move |disk| {
            lineages::check(disk, &data_dir, &known)?;
            mend(disk, &data_dir, &expected)
        });
        for path in mended.await? {
            tracing::warn!(path = %path.display(),
                "the catalog does not know this leaf partition; it was moved to orphans/");
        }
        Ok(())
    }

    /// DROP TABLE that a crash cut short: `mend` has unlinked what was left.
    async fn finish_dropped(&self) -> Result<(), AggregatorError> {
        self.transact(|view| {
            let dropped = view
                .tables_dropping()
                .map(|table| Change::TableDropped { table: table.id.0 });
            Ok((dropped.collect(), ()))
        })
        .await
    }

    /// Pipelines that failed for a reason that time may mend run again, as those that ran do.
    async fn revive(&self) -> Result<(), AggregatorError> {
        self.transact(|view| {
            let mut changes = Vec::new();
            let mut revived = Vec::new();
            for pipeline in view.pipelines() {
                let failure = pipeline.failure.as_ref();
                let mendable = failure.is_some_and(|failure| !failure.failure.deterministic);
                let mended = pipeline.state == PipelineState::Error && mendable;
                let stopped = pipeline.state == PipelineState::Stopped;
                if mended || (stopped && out(Rule::StoppedStays)) {
                    revived.extend(pairings_of(view, pipeline.id));
                    changes.push(Change::PipelineState {
                        pipeline: pipeline.id,
                        state: PipelineState::Running,
                        failure: None,
                    });
                }
            }
            if !revived.is_empty() {
                changes.push(ordered(view, revived));
            }
            Ok((changes, ()))
        })
        .await
    }

    /// Who leads, so that leaves draw on every broker; nobody waits long for brokers that are away.
    async fn learn_leaders(self: &Arc<Shared>) {
        let view = self.view();
        let asking = view.pipelines().filter_map(|pipeline| {
            let client = self.port.brokers(client_settings(&pipeline.spec).ok()?);
            Some(async move {
                if let Ok(TopicAnswer::There(state)) = client.topic(&pipeline.spec.topic).await {
                    self.lead(pipeline.id, &state);
                }
            })
        });
        let learned = within(&*self.port, START_METADATA_MS, join_all(asking));
        if learned.await.is_none() {
            tracing::warn!("not every broker has answered; leaf partitions are dealt without it");
        }
    }

    fn warn_of_variables(&self) {
        let view = self.view();
        for (name, value) in view.global_variables() {
            let configured = self.config.variables.get(name).unwrap_or_default();
            if configured != value {
                tracing::info!(
                    name,
                    value,
                    configured,
                    "SET GLOBAL beats the configuration's variable"
                );
            }
        }
    }

    async fn all_attached(&self) -> Result<(), AggregatorError> {
        self.until(|state, _| {
            state
                .supervisor
                .all()
                .all(|(_, known)| known.attached)
                .then_some(())
        })
        .await
    }

    /// Drains every leaf, for so long; the first leaf that was lost meanwhile instead.
    async fn shut_down(
        self: &Arc<Shared>,
        losses: &mut mpsc::Receiver<usize>,
    ) -> Result<Drained, usize> {
        let sources = {
            let mut state = self.state();
            state.ending = true;
            std::mem::take(&mut state.sources)
        };
        self.bump();
        let drained = self.drain(losses).await?;
        let publishing = sources.into_values().filter_map(|mut one| one.stop());
        let published = within(&*self.port, LAST_PUBLISH_MS, join_all(publishing));
        if published.await.is_none() {
            tracing::debug!("not every source's last group offsets were published in time");
        }
        Ok(drained)
    }

    async fn drain(&self, losses: &mut mpsc::Receiver<usize>) -> Result<Drained, usize> {
        let started_ms = self.port.now_ms();
        let mut warned = false;
        let mut told = false;
        loop {
            if !told {
                told = self.tell_all(&Order::Shutdown);
            }
            let left = self.leaves().saturating_sub(self.state().leaves_ended);
            if left == 0 || out(Rule::EndBehindDrain) {
                return Ok(Drained::All);
            }
            let waited_ms = self.port.now_ms().saturating_sub(started_ms);
            if waited_ms >= DRAIN_MS_MAX {
                return Ok(Drained::Late { leaves: left });
            }
            if !warned && waited_ms > DRAIN_WARN_MS {
                warned = true;
                tracing::warn!(
                    leaves = left,
                    give_up_ms = DRAIN_MS_MAX,
                    "leaves are still draining: the disk is slow or full"
                );
            }
            tokio::select! {
                biased;
                Some(leaf) = losses.recv() => return Err(leaf),
                () = self.port.sleep(AGGREGATOR_TICK_MS / 10) => {}
            }
        }
    }
}

/// One leaf's reports, until it ends.
async fn listen(
    shared: Arc<Shared>,
    leaf: usize,
    mut reports: mpsc::Receiver<Report>,
    lost: mpsc::Sender<usize>,
) {
    let mut batch = Vec::new();
    let mut ended = false;
    while reports.recv_many(&mut batch, REPORTS_PER_TURN_MAX).await > 0 {
        ended |= batch.contains(&Report::Ended);
        shared.hear(&batch);
        batch.clear();
    }
    if !ended {
        // Err: the aggregator has ended before it.
        let _ = lost.send(leaf).await;
    }
}

/// What the aggregator is asked, and what it must hear of.
struct Hears {
    queue: mpsc::Receiver<Command>,
    ends: mpsc::Receiver<Reply<Drained>>,
    losses: mpsc::Receiver<usize>,
}

/// Takes statements until the end.
async fn serve(
    shared: Arc<Shared>,
    mut heard: Hears,
    attached: watch::Sender<bool>,
    ended: oneshot::Sender<Ended>,
) {
    let open = Arc::new(Semaphore::new(AGGREGATOR_OPEN_COMMANDS_MAX));
    // Dropped with this task: no statement outlives it.
    let (_serving, served) = watch::channel(());
    let mut tick = shared.port.sleep(AGGREGATOR_TICK_MS);
    let mut poison = shared.catalog.poison();
    let all = shared.clone();
    let attaching = async move {
        if all.all_attached().await.is_ok() {
            attached.send_replace(true);
        }
    };
    shared
        .port
        .spawn(while_served(attaching.boxed(), served.clone()));
    let end = loop {
        let asked_to_end = tokio::select! {
            biased;
            Some(leaf) = heard.losses.recv() => break Ended::LeafLost { leaf },
            Some(unknown) = lost(&mut poison) => break Ended::CatalogLost(unknown),
            Some(reply) = heard.ends.recv() => Some(reply),
            () = &mut tick => {
                tick = shared.port.sleep(AGGREGATOR_TICK_MS);
                shared.carry_out_rest();
                continue;
            }
            command = next_command(&mut heard.queue, &open) => match command {
                Some((command, room)) => {
                    let command = command(shared.clone()).map(move |()| drop(room));
                    shared.port.spawn(while_served(command.boxed(), served.clone()));
                    continue;
                }
                None => None,
            },
        };
        let drained = shared.shut_down(&mut heard.losses).await;
        if let Some(reply) = asked_to_end {
            let answer = drained.map_err(|leaf| AggregatorError::LeafLost { leaf });
            // Err: nobody waits for it.
            drop(reply.send(answer));
        }
        break match drained {
            Ok(_) => Ended::Shutdown,
            Err(leaf) => Ended::LeafLost { leaf },
        };
    };
    drop(ended.send(end));
}

/// The next statement, once there is room for it among those that are under way; `None`: no session is left.
async fn next_command(
    queue: &mut mpsc::Receiver<Command>,
    open: &Arc<Semaphore>,
) -> Option<(Command, OwnedSemaphorePermit)> {
    let room = Arc::clone(open).acquire_owned().await.ok()?;
    Some((queue.recv().await?, room))
}

/// A task that ends with the aggregator, wherever it is then.
fn while_served(
    task: BoxFuture<'static, ()>,
    mut served: watch::Receiver<()>,
) -> BoxFuture<'static, ()> {
    async move {
        tokio::select! {
            biased;
            _ = served.changed() => {}
            () = task => {}
        }
    }
    .boxed()
}

/// The COMMIT that failed, once one does; `None` when the catalog's thread has ended.
async fn lost(poison: &mut watch::Receiver<Option<CatalogError>>) -> Option<CatalogError> {
    let poisoned = poison.wait_for(Option::is_some).await;
    poisoned.ok().and_then(|unknown| unknown.clone())
}
