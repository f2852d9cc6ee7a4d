//! What the aggregator's tasks share: the catalog, what leaves were told, and the sources.
//!
//! No decision is made here: a statement commits through [`Shared::transact`], and
//! [`Shared::carry_out`] gives leaves and sources what the catalog then says. Locks are held for
//! moments and never over an await, but for the commit's turn and a pipeline's own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use futures::FutureExt;
use ingest::leaf::order::{Failure, Order, Report};
use storage::disk::Disk;
use storage::ids::{Generation, LeafPartitionId};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, oneshot, watch};

use super::asked::Ask;
use super::error::AggregatorError;
use super::live::{LiveView, Place};
use super::port::Port;
use super::settings::client_settings;
use super::source::Source;
use super::supervisor::{Heard, Supervisor};
use crate::catalog::{
    Catalog, CatalogView, Change, EngineVariables, NodeId, PipelineId, PipelineState,
};
use crate::planted::{Rule, out};

/// What the aggregator is started with.
pub struct AggregatorConfig {
    /// Holds `tables/` and `orphans/`.
    pub data_dir: PathBuf,
    /// This node.
    pub node: NodeId,
    /// The configuration's `[variables]` over the defaults.
    pub variables: EngineVariables,
}

/// How an order gets to a leaf; false when its queue is full.
pub type SendOrder = Box<dyn Fn(Order) -> bool + Send + Sync>;

/// What all tasks of the aggregator share.
pub(super) struct Shared {
    pub config: AggregatorConfig,
    pub catalog: Catalog,
    pub views: Arc<ArcSwap<CatalogView>>,
    pub live: Arc<ArcSwap<LiveView>>,
    pub port: Arc<dyn Port>,
    /// CREATE and DROP of databases, tables and pipelines, one at a time.
    pub definitions: AsyncMutex<()>,
    leaves: Vec<SendOrder>,
    commit: AsyncMutex<()>,
    pipelines: Mutex<BTreeMap<PipelineId, Arc<AsyncMutex<()>>>>,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    unsent: AtomicBool,
}

/// What changes.
pub(super) struct State {
    pub supervisor: Supervisor,
    pub sources: BTreeMap<PipelineId, Source>,
    /// START ... FOREGROUND that somebody waits for, each with its run's number.
    pub foreground: BTreeMap<PipelineId, u64>,
    /// Runs in the foreground so far.
    pub foreground_runs: u64,
    /// Pipelines in the middle of START: they count as running.
    pub starting: BTreeSet<PipelineId>,
    pub testing: BTreeSet<PipelineId>,
    pub places: BTreeMap<LeafPartitionId, Place>,
    pub unreachable: BTreeMap<PipelineId, String>,
    /// Pipelines with a partition that has failed, which could not be kept yet: it is tried again.
    pub unkept: BTreeSet<PipelineId>,
    pub leaves_ended: usize,
    pub ending: bool,
}

impl Shared {
    pub fn new(
        config: AggregatorConfig,
        catalog: Catalog,
        leaves: Vec<SendOrder>,
        port: Arc<dyn Port>,
    ) -> Arc<Shared> {
        let supervisor = Supervisor::new(config.node, leaves.len());
        Arc::new(Shared {
            views: catalog.views(),
            config,
            catalog,
            live: Arc::default(),
            port,
            definitions: AsyncMutex::new(()),
            leaves,
            commit: AsyncMutex::new(()),
            pipelines: Mutex::default(),
            state: Mutex::new(State {
                supervisor,
                sources: BTreeMap::new(),
                foreground: BTreeMap::new(),
                foreground_runs: 0,
                starting: BTreeSet::new(),
                testing: BTreeSet::new(),
                places: BTreeMap::new(),
                unreachable: BTreeMap::new(),
                unkept: BTreeSet::new(),
                leaves_ended: 0,
                ending: false,
            }),
            changed: watch::channel(0).0,
            unsent: AtomicBool::new(false),
        })
    }

    /// The catalog as it stands.
    pub fn view(&self) -> Arc<CatalogView> {
        self.views.load_full()
    }

    /// What changes, for a moment.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many leaves there are.
    pub fn leaves(&self) -> usize {
        self.leaves.len()
    }

    /// The engine's variables: SET GLOBAL beats the configuration.
    pub fn variables(&self, view: &CatalogView) -> EngineVariables {
        effective(&self.config.variables, view)
    }

    /// A statement's own turn on a pipeline: waits for another's end.
    pub async fn pipeline_turn(&self, id: PipelineId) -> OwnedMutexGuard<()> {
        let turn = {
            let mut pipelines = self
                .pipelines
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let view = self.view();
            pipelines.retain(|id, turn| {
                Arc::strong_count(turn) > 1 || view.pipeline_by_id(*id).is_some()
            });
            pipelines.entry(id).or_default().clone()
        };
        turn.lock_owned().await
    }

    /// Reads the catalog, decides, commits: nothing comes between.
    pub async fn transact<T>(
        &self,
        decide: impl FnOnce(&CatalogView) -> Result<(Vec<Change>, T), AggregatorError>,
    ) -> Result<T, AggregatorError> {
        let _turn = self.commit.lock().await;
        let (changes, value) = decide(&self.view())?;
        let unix_ms = self.port.unix_ms();
        if out(Rule::StatementInOneTransaction) {
            for change in changes {
                self.catalog.commit(vec![change], unix_ms).await?;
            }
        } else if !changes.is_empty() {
            self.catalog.commit(changes, unix_ms).await?;
        }
        Ok(value)
    }

    /// The commit's turn, for what must be made on disk between reading and committing.
    pub async fn commit_turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.commit.lock().await
    }

    /// Has `work` done on the data directory, beside the control core's thread.
    pub async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Disk) -> Result<T, AggregatorError> + Send + 'static,
    ) -> Result<T, AggregatorError> {
        let (done, outcome) = oneshot::channel();
        let work = move |disk: &dyn Disk| drop(done.send(work(disk)));
        self.port.disk(Box::new(work)).await;
        // Err: it was never done, which only the process's end can be the reason of.
        outcome.await.map_err(|_| AggregatorError::ShuttingDown)?
    }

    /// Gives leaves what they do not know yet, starts and stops sources, publishes the live view.
    pub fn carry_out(self: &Arc<Shared>) {
        let view = self.view();
        let variables = self.variables(&view);
        let mut state = self.state();
        if state.ending {
            return;
        }
        let mut refused = false;
        state.supervisor.forget(&view);
        state
            .supervisor
            .plan(&view, &variables, &mut |leaf, order| {
                let sent = self.leaves[leaf](order);
                refused |= !sent;
                sent
            });
        self.unsent.store(refused, Ordering::Relaxed);
        self.tend_sources(&view, &mut state);
        self.publish(&view, &mut state);
        drop(state);
        self.bump();
    }

    /// Tries again what a full queue refused.
    pub fn carry_out_rest(self: &Arc<Shared>) {
        if self.unsent.load(Ordering::Relaxed) {
            self.carry_out();
        }
    }

    /// An order that is an answer: lost when the queue is full, the leaf asks again.
    pub fn answer(&self, id: LeafPartitionId, order: Order) {
        let leaf = self.state().supervisor.known(id).map(|known| known.leaf);
        if let Some(leaf) = leaf {
            self.leaves[leaf](order);
        }
    }

    /// An order to every leaf; false when a queue was full.
    pub fn tell_all(&self, order: &Order) -> bool {
        self.leaves
            .iter()
            .map(|send| send(order.clone()))
            .fold(true, |all, sent| all & sent)
    }

    /// Takes reports, then carries out what follows from them.
    pub fn hear(self: &Arc<Shared>, reports: &[Report]) {
        let view = self.view();
        let unix_ms = self.port.unix_ms();
        let mut failed = Vec::new();
        let (mut moved, mut repaired) = (false, false);
        {
            let mut state = self.state();
            for report in reports {
                moved |= !matches!(report, Report::Durable { .. });
                let heard = state.supervisor.hear(&view, report, unix_ms);
                let of = report.leaf_partition().map(LeafPartitionId);
                repaired |= of.is_some_and(|of| state.is_repaired(of));
                match heard {
                    Heard::Noted | Heard::Late => {}
                    Heard::LeafEnded => state.leaves_ended += 1,
                    Heard::Unreadable {
                        leaf_partition,
                        failure,
                    } => {
                        tracing::error!(%leaf_partition, failure = failure.text, "unreadable");
                    }
                    Heard::PartitionFailed {
                        pipeline,
                        kafka_partition,
                        failure,
                    } => {
                        let name = view.pipeline_by_id(pipeline).map(|one| one.name.as_str());
                        tracing::error!(
                            pipeline = name,
                            kafka_partition,
                            "the partition stands still, the pipeline's others load on; START PIPELINE tries it again: {}",
                            failure.text
                        );
                    }
                    Heard::PipelineFailed {
                        pipeline,
                        kafka_partition,
                        failure,
                    } => failed.push((pipeline, kafka_partition, failure)),
                    Heard::Ask {
                        pipeline,
                        kafka_partition,
                        leaf_partition,
                        question,
                    } => {
                        if let Some(source) = state.sources.get(&pipeline) {
                            source.ask(Ask {
                                leaf_partition,
                                kafka_partition,
                                question,
                            });
                        }
                    }
                }
            }
        }
        for (pipeline, kafka_partition, failure) in failed {
            let shared = self.clone();
            let failed = async move {
                shared
                    .partition_failed(pipeline, kafka_partition, failure)
                    .await;
            };
            self.port.spawn(failed.boxed());
        }
        if moved {
            self.carry_out();
        } else {
            self.bump();
        }
        if repaired && !moved {
            self.publish_live();
        }
    }

    /// Waits until `probe` finds what it looks for; it is tried whenever anything was heard.
    pub async fn until<T>(
        &self,
        mut probe: impl FnMut(&State, &CatalogView) -> Option<T>,
    ) -> Result<T, AggregatorError> {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            {
                let (view, state) = (self.view(), self.state());
                if let Some(found) = probe(&state, &view) {
                    return Ok(found);
                }
                if state.ending {
                    return Err(AggregatorError::ShuttingDown);
                }
            }
            if changed.changed().await.is_err() {
                return Err(AggregatorError::ShuttingDown);
            }
        }
    }

    /// Somebody waits for what just changed.
    pub fn bump(&self) {
        self.changed
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    fn tend_sources(self: &Arc<Shared>, view: &CatalogView, state: &mut State) {
        let mut wanted = BTreeMap::new();
        for pipeline in view.pipelines() {
            let runs = pipeline.state == PipelineState::Running
                || state.foreground.contains_key(&pipeline.id);
            if runs && let Ok(settings) = client_settings(&pipeline.spec) {
                wanted.insert(pipeline.id, settings);
            }
        }
        state.sources.retain(|id, source| {
            let keep = wanted
                .get(id)
                .is_some_and(|settings| source.serves(settings));
            if !keep {
                source.stop();
            }
            keep
        });
        state.unreachable.retain(|id, _| wanted.contains_key(id));
        for (id, settings) in wanted {
            let sources = &mut state.sources;
            sources
                .entry(id)
                .or_insert_with(|| Source::start(self, id, settings));
        }
    }

    fn publish(&self, view: &CatalogView, state: &mut State) {
        state.places.retain(|id, _| view.pairing(*id).is_some());
        let State {
            supervisor, places, ..
        } = state;
        let mut failed = BTreeMap::new();
        for (id, known) in supervisor.all() {
            places.entry(id).or_insert_with(|| Place::on(known.leaf));
            if let Some((unix_ms, failure)) = known.failed_alone() {
                failed.insert(id, (unix_ms, failure.clone()));
            }
        }
        self.live.store(Arc::new(LiveView {
            testing: state.testing.clone(),
            foreground: state.foreground.keys().copied().collect(),
            places: state.places.clone(),
            failed,
            unreachable: state.unreachable.clone(),
        }));
    }

    /// Publishes the live view after a change of it alone.
    pub fn publish_live(&self) {
        let view = self.view();
        self.publish(&view, &mut self.state());
    }
}

/// The configuration's variables under those of SET GLOBAL.
#[must_use]
pub fn effective(configured: &EngineVariables, view: &CatalogView) -> EngineVariables {
    let mut variables = configured.clone();
    for (name, value) in view.global_variables() {
        if out(Rule::GlobalBeatsConfigured) {
            break;
        }
        if let Err(error) = variables.set(name, value) {
            // Set by a release that took it; this one does not, and goes by the configuration.
            tracing::warn!(name, value, %error, "a variable of the catalog is not taken");
        }
    }
    variables
}

/// A pipeline's leaf partitions.
pub(super) fn pairings_of(view: &CatalogView, pipeline: PipelineId) -> Vec<LeafPartitionId> {
    view.pairings_of(pipeline)
        .map(|pairing| pairing.leaf_partition)
        .collect()
}

/// The change that raises these leaf partitions' generation.
pub(super) fn ordered(view: &CatalogView, leaf_partitions: Vec<LeafPartitionId>) -> Change {
    Change::Ordered {
        leaf_partitions: leaf_partitions.iter().map(|id| id.0).collect(),
        generation: view.next_generation(),
    }
}

impl State {
    /// Whether what was lost of a leaf partition is loaded again and durable, or given up by a lineage that has
    /// begun since: as was just heard, it is damage no more.
    fn is_repaired(&mut self, id: LeafPartitionId) -> bool {
        let State {
            supervisor, places, ..
        } = self;
        let (Some(known), Some(place)) = (supervisor.known(id), places.get_mut(&id)) else {
            return false;
        };
        place.damage.take_if(|of| of.is_over(known)).is_some()
    }
}

/// A leaf partition that could not be drained.
#[derive(Debug)]
pub(super) struct Undrained {
    pub leaf_partition: LeafPartitionId,
    pub failure: Failure,
    /// It has not failed: it is when there is room on the disk.
    pub waits: bool,
}

/// Whether all of these rest at their catalog's generation; the first that could not be drained instead.
pub(super) fn resting(
    state: &State,
    view: &CatalogView,
    ids: &[LeafPartitionId],
) -> Option<Option<Undrained>> {
    let mut undrained = None;
    for id in ids {
        let generation = view
            .pairing(*id)
            .map_or(Generation(0), |pairing| pairing.generation);
        let known = state.supervisor.known(*id)?;
        if !known.rests(generation) {
            return None;
        }
        if let Some(failure) = known.undrained() {
            undrained.get_or_insert(Undrained {
                leaf_partition: *id,
                failure: failure.clone(),
                waits: known.failed.is_none(),
            });
        }
    }
    Some(undrained)
}
