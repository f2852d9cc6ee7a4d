//! A running pipeline's source: asks its brokers for its leaves, finds new partitions, publishes the
//! group's offsets.
//!
//! One task a running pipeline. It decides nothing that [`super::watch`] does not say, and what it
//! learns goes to the shared core. Group offsets follow durable cursors alone; they are read once,
//! to name damage, and are never a cursor.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::FutureExt;
use ingest::kafka::requests::OffsetSpec;
use ingest::leaf::order::{Failure, FailureKind, Order};
use storage::ids::{LeafPartitionId, Lineage, Offset, TopicId};
use tokio::sync::{mpsc, oneshot};

use super::asked::{Ask, Open};
use super::client::{Brokers, TopicAnswer, TopicState};
use super::failing::Failed;
use super::live::Damage;
use super::settings::ClientSettings;
use super::shared::Shared;
use super::watch::{Seen, Watch};
use crate::catalog::{PipelineDef, PipelineId};
use crate::limits::{
    FAILURE_AGAIN_MS, GROUP_OFFSET_INTERVAL_MS, GROUP_OFFSET_REFRESH_MS,
    SOURCE_QUEUE_QUESTIONS_MAX, UNREACHABLE_PAUSE_MS,
};
use crate::planted::{Rule, out};

/// The way to a pipeline's source.
pub(super) struct Source {
    settings: ClientSettings,
    asks: mpsc::Sender<Ask>,
    stop: Option<oneshot::Sender<()>>,
    /// Resolves when the task has ended.
    ended: Option<oneshot::Receiver<()>>,
}

impl Source {
    /// Starts the task.
    pub fn start(shared: &Arc<Shared>, pipeline: PipelineId, settings: ClientSettings) -> Source {
        let (asks, questions) = mpsc::channel(SOURCE_QUEUE_QUESTIONS_MAX);
        let (stop, stopped) = oneshot::channel();
        let running = Running {
            shared: shared.clone(),
            pipeline,
            client: shared.port.brokers(settings.clone()),
            published: BTreeMap::new(),
            published_ms: None,
            checked_ms: shared.port.now_ms(),
            compared: BTreeSet::new(),
            unreachable: false,
        };
        let (ends, ended) = oneshot::channel();
        let task = async move {
            running.run(questions, stopped).await;
            // Err: nobody waits for it.
            let _ = ends.send(());
        };
        shared.port.spawn(task.boxed());
        Source {
            settings,
            asks,
            stop: Some(stop),
            ended: Some(ended),
        }
    }

    /// Whether it was started with these settings.
    pub fn serves(&self, settings: &ClientSettings) -> bool {
        self.settings == *settings
    }

    /// Passes a question on; a full queue drops it, the leaf asks again.
    pub fn ask(&self, ask: Ask) {
        // Err: full, or the task has ended; both are mended by the leaf's next question.
        let _ = self.asks.try_send(ask);
    }

    /// Lets the task publish once more and end.
    pub fn stop(&mut self) -> Option<oneshot::Receiver<()>> {
        if let Some(stop) = self.stop.take() {
            // Err: it has ended already.
            let _ = stop.send(());
        }
        self.ended.take()
    }
}

/// What was last published of a partition.
type Published = (Lineage, Offset);

struct Running {
    shared: Arc<Shared>,
    pipeline: PipelineId,
    client: Box<dyn Brokers>,
    published: BTreeMap<i32, Published>,
    /// When all of it was last published.
    published_ms: Option<u64>,
    /// When it was last looked whether there is something to publish.
    checked_ms: u64,
    compared: BTreeSet<LeafPartitionId>,
    unreachable: bool,
}

impl Running {
    async fn run(mut self, mut questions: mpsc::Receiver<Ask>, mut stopped: oneshot::Receiver<()>) {
        let Some((topic, id, paired)) = self.topic() else {
            return;
        };
        let interval_ms = self.client.settings().metadata_interval_ms;
        let mut watch = Watch::new(id, paired, interval_ms);
        let mut open = Open::default();
        let mut state: Option<TopicState> = None;
        loop {
            let now_ms = self.shared.port.now_ms();
            let due_ms = watch
                .due_ms()
                .min(self.checked_ms + GROUP_OFFSET_INTERVAL_MS);
            let wait_ms = due_ms.saturating_sub(now_ms);
            tokio::select! {
                biased;
                _ = &mut stopped => break,
                ask = questions.recv() => match ask {
                    Some(ask) => {
                        open.take(ask, &mut watch);
                        while let Ok(ask) = questions.try_recv() {
                            open.take(ask, &mut watch);
                        }
                    }
                    None => break,
                },
                () = self.shared.port.sleep(wait_ms) => {}
            }
            if state.as_ref().is_some_and(|state| open.is_ahead_of(state)) {
                watch.want();
            }
            let now_ms = self.shared.port.now_ms();
            if watch.due_ms() <= now_ms {
                watch.asked(now_ms);
                let known = &mut state;
                if !(self.look(&topic, &mut watch, &mut open, known, &mut stopped)).await {
                    break;
                }
            }
            if let Some(state) = &state {
                self.answer(&topic, state, &mut open).await;
                if !self.unreachable {
                    self.compare(&topic).await;
                }
            }
            if self.checked_ms + GROUP_OFFSET_INTERVAL_MS <= now_ms {
                self.publish(&topic).await;
            }
        }
        // What STOP made durable since is published as well.
        self.publish(&topic).await;
        self.client.close();
    }

    /// The topic, its id and its paired partitions, as the catalog has them.
    fn topic(&self) -> Option<(String, TopicId, BTreeSet<i32>)> {
        let view = self.shared.view();
        let pipeline = view.pipeline_by_id(self.pipeline)?;
        let paired = view.pairings_of(self.pipeline);
        Some((
            pipeline.spec.topic.clone(),
            pipeline.topic_id.unwrap_or_default(),
            paired.map(|pairing| pairing.kafka_partition).collect(),
        ))
    }

    /// The topic's id as the catalog has it; zero where it has none.
    fn topic_id(&self) -> TopicId {
        let view = self.shared.view();
        let pipeline = view.pipeline_by_id(self.pipeline);
        let known = pipeline.and_then(|pipeline| pipeline.topic_id);
        known.unwrap_or_default()
    }

    /// Asks who leads and carries out what that means. False: the topic is lost, or the pipeline was stopped
    /// meanwhile, and what was answered says nothing of a run that has begun since.
    async fn look(
        &mut self,
        topic: &str,
        watch: &mut Watch,
        open: &mut Open,
        known: &mut Option<TopicState>,
        stopped: &mut oneshot::Receiver<()>,
    ) -> bool {
        let asked_of = self.topic_id();
        let answer = match self.client.topic(topic).await {
            Ok(answer) => {
                self.reached();
                answer
            }
            Err(fault) => {
                watch.unanswered();
                self.not_reached(&fault.to_string());
                return true;
            }
        };
        if has_come(stopped) {
            return false;
        }
        let now_of = self.topic_id();
        if asked_of != now_of {
            // SET OFFSETS accepted another topic meanwhile: what was answered may be said of the one before.
            watch.accepted(now_of);
            watch.want();
            return true;
        }
        watch.accepted(now_of);
        let lost = match watch.answered(self.shared.port.now_ms(), &answer) {
            Seen::Missing => return true,
            Seen::There { new } => {
                if let TopicAnswer::There(state) = answer {
                    self.lead(&state, std::mem::take(&mut open.leaders));
                    self.shared.show_surplus(self.pipeline, &state);
                    if !new.is_empty() {
                        self.pair(&state, &new, watch).await;
                    }
                    self.ends(topic, &state).await;
                    *known = Some(state);
                }
                return true;
            }
            Seen::Replaced { id } => format!(
                "topic '{topic}' was replaced: Kafka now gives that name the id {id}; ALTER PIPELINE ... SET OFFSETS EARLIEST accepts the new one, then START PIPELINE"
            ),
            Seen::Deleted => format!(
                "topic '{topic}' was deleted: no broker has known it for a minute; its rows stay. Make the topic again, then ALTER PIPELINE ... SET OFFSETS EARLIEST and START PIPELINE"
            ),
        };
        let view = self.shared.view();
        for pairing in view.pairings_of(self.pipeline) {
            self.shared.answer(
                pairing.leaf_partition,
                Order::TopicLost {
                    leaf_partition: pairing.leaf_partition.0,
                    text: lost.clone(),
                },
            );
        }
        let failure = Failure {
            kind: FailureKind::Extract,
            offset: -1,
            column: None,
            text: lost,
            deterministic: true,
            alone: false,
        };
        // While the disk is full, or another holds the catalog, the pipeline runs on.
        let unix_ms = self.shared.port.unix_ms();
        let of = Failed::Topic(now_of);
        let mut attempts = 0;
        while (self.shared)
            .fail_pipeline(self.pipeline, of, &failure, unix_ms, attempts)
            .await
        {
            attempts += 1;
            tokio::select! {
                biased;
                _ = &mut *stopped => return false,
                () = self.shared.port.sleep(FAILURE_AGAIN_MS) => {}
            }
        }
        let now_of_another = self.topic_id() != now_of;
        if now_of_another {
            // Accepted while that was being kept, so it was not: the new one is watched.
            watch.accepted(self.topic_id());
            watch.want();
        }
        now_of_another
    }

    fn lead(&self, state: &TopicState, askers: BTreeSet<LeafPartitionId>) {
        {
            self.shared.lead(self.pipeline, state);
            let mut shared = self.shared.state();
            for id in askers {
                shared.supervisor.tell_leader_again(id);
            }
        }
        self.shared.carry_out();
    }

    async fn pair(&self, state: &TopicState, new: &[i32], watch: &mut Watch) {
        match self
            .shared
            .pair(self.pipeline, &*self.client, state, new)
            .await
        {
            Ok(()) => {
                tracing::info!(pipeline = %self.pipeline, partitions = ?new, "new partitions");
                watch.paired(new);
                self.shared.carry_out();
            }
            Err(error) => {
                tracing::warn!(pipeline = %self.pipeline, partitions = ?new, %error,
                    "new partitions wait: they could not be paired");
            }
        }
    }

    /// The log's ends, for PIPELINES_CURSORS.
    async fn ends(&self, topic: &str, state: &TopicState) {
        let partitions: Vec<i32> = state
            .partitions
            .iter()
            .filter_map(|(index, leader)| leader.as_ref().map(|_| *index))
            .collect();
        let earliest = self
            .client
            .offsets(topic, state, &partitions, OffsetSpec::Earliest);
        let Ok(earliest) = earliest.await else {
            // The next look tries again; what is shown carries its own time.
            return;
        };
        let latest = self
            .client
            .offsets(topic, state, &partitions, OffsetSpec::Latest);
        if let Ok(latest) = latest.await {
            self.shared.show_ends(self.pipeline, &earliest, &latest);
        }
    }

    async fn answer(&self, topic: &str, state: &TopicState, open: &mut Open) {
        let ranges = std::mem::take(&mut open.ranges);
        if !ranges.is_empty() {
            let indices: Vec<i32> = ranges.keys().copied().collect();
            let first = self
                .client
                .offsets(topic, state, &indices, OffsetSpec::Earliest);
            let end = self
                .client
                .offsets(topic, state, &indices, OffsetSpec::Latest);
            // An error leaves the question open: the leaf asks again, by then with another leader.
            if let (Ok(first), Ok(end)) = (first.await, end.await) {
                for (index, (id, generation, offset)) in ranges {
                    self.shared.answer(
                        id,
                        Order::LogRange {
                            leaf_partition: id.0,
                            generation,
                            offset,
                            log_start_offset: first.get(&index).map_or(-1, |offset| offset.0),
                            log_end_offset: end.get(&index).map_or(-1, |offset| offset.0),
                        },
                    );
                }
            }
        }
        for (index, (id, epoch, leader_epoch)) in std::mem::take(&mut open.epochs) {
            let Some(Some(leader)) = state.partitions.get(&index) else {
                continue;
            };
            if leader.epoch < leader_epoch {
                // It would answer for a log that is none any more; Metadata is asked first.
                open.epochs.insert(index, (id, epoch, leader_epoch));
                continue;
            }
            if let Ok(end_offset) = self.client.epoch_end(topic, index, leader, epoch).await {
                self.shared.answer(
                    id,
                    Order::EpochEnd {
                        leaf_partition: id.0,
                        leader_epoch: leader.epoch,
                        epoch,
                        end_offset,
                    },
                );
            }
        }
    }

    /// The durable cursors: (leaf partition, Kafka partition, lineage, cursor, leader epoch).
    fn durable(&self) -> Vec<(LeafPartitionId, i32, Lineage, Offset, i32)> {
        let view = self.shared.view();
        let state = self.shared.state();
        view.pairings_of(self.pipeline)
            .filter_map(|pairing| {
                let known = state.supervisor.known(pairing.leaf_partition)?;
                Some((
                    pairing.leaf_partition,
                    pairing.kafka_partition,
                    known.lineage,
                    known.durable?,
                    known.durable_epoch,
                ))
            })
            .collect()
    }

    /// How far a leaf may have loaded, for all that is known here.
    fn loaded_at_most(&self, id: LeafPartitionId) -> Offset {
        let state = self.shared.state();
        Offset(state.places.get(&id).map_or(0, |place| place.latest_offset))
    }

    /// The group's name, and whose it is.
    fn group(&self) -> Option<(String, Arc<PipelineDef>)> {
        let view = self.shared.view();
        let pipeline = view.pipeline_by_id(self.pipeline)?;
        let database = view.database_by_id(pipeline.database)?;
        let group = format!("pinleaf-{}-{}", database.name, pipeline.name);
        Some((group, Arc::clone(pipeline)))
    }

    /// Once, when a leaf partition is recovered: a cursor below what this lineage published is damage.
    async fn compare(&mut self, topic: &str) {
        let fresh: Vec<_> = self
            .durable()
            .into_iter()
            .filter(|(id, ..)| !self.compared.contains(id))
            .collect();
        let Some((group, pipeline)) = self.group().filter(|_| !fresh.is_empty()) else {
            return;
        };
        let indices: Vec<i32> = fresh.iter().map(|(_, index, ..)| *index).collect();
        let published = match self.client.published(&group, topic, &indices).await {
            Ok(published) => published,
            // A broker that has no such question cannot say what was lost; publishing goes on.
            Err(fault) if fault.is_unsupported() => Vec::new(),
            Err(fault) => {
                tracing::debug!(group, %fault, "group offsets could not be read yet");
                return;
            }
        };
        for (id, index, lineage, cursor, _) in fresh {
            self.compared.insert(id);
            let said = published.iter().find(|said| said.partition == index);
            let Some(offset) = said.and_then(|said| {
                said.offset
                    .filter(|_| said.metadata == owner_text(&pipeline, id, lineage))
            }) else {
                continue;
            };
            if offset > cursor {
                let text = format!(
                    "partition {index}: recovered up to offset {cursor}, and the group {group} says {offset} was durable in the same lineage: rows of {cursor} to {} were lost on this disk and are loaded again",
                    offset.0 - 1
                );
                tracing::error!(pipeline = %self.pipeline, damage = text, "damage");
                self.shared.show_damage(
                    id,
                    Damage {
                        lineage,
                        until: offset,
                        text,
                    },
                );
            }
        }
    }

    async fn publish(&mut self, topic: &str) {
        let now_ms = self.shared.port.now_ms();
        self.checked_ms = now_ms;
        let stale = self
            .published_ms
            .is_none_or(|published_ms| now_ms >= published_ms + GROUP_OFFSET_REFRESH_MS);
        let mut durable = self.durable();
        if out(Rule::PublishedIsDurable) {
            for (id, _, _, cursor, _) in &mut durable {
                *cursor = self.loaded_at_most(*id).max(*cursor);
            }
        }
        let durable: Vec<_> = durable
            .into_iter()
            // What was not compared yet would cover the damage that it shows.
            .filter(|(id, ..)| self.compared.contains(id))
            .filter(|(_, index, lineage, cursor, _)| {
                stale || self.published.get(index) != Some(&(*lineage, *cursor))
            })
            .collect();
        let Some((group, pipeline)) = self.group().filter(|_| !durable.is_empty()) else {
            return;
        };
        let offsets: Vec<(i32, Offset, i32, String)> = durable
            .iter()
            .map(|(id, index, lineage, cursor, epoch)| {
                (
                    *index,
                    *cursor,
                    *epoch,
                    owner_text(&pipeline, *id, *lineage),
                )
            })
            .collect();
        match self.client.publish(&group, topic, &offsets).await {
            Ok(()) => {
                if stale {
                    self.published_ms = Some(now_ms);
                }
                for (id, index, lineage, cursor, _) in durable {
                    self.published.insert(index, (lineage, cursor));
                    self.shared.show_group_offset(id, cursor);
                }
                self.shared.publish_live();
            }
            Err(fault) => tracing::debug!(group, %fault, "group offsets were not published"),
        }
    }

    fn reached(&mut self) {
        if std::mem::take(&mut self.unreachable) {
            tracing::info!(pipeline = %self.pipeline, "the brokers answer again");
            self.shared.state().unreachable.remove(&self.pipeline);
            self.shared.publish_live();
        }
    }

    fn not_reached(&mut self, why: &str) {
        if !std::mem::replace(&mut self.unreachable, true) {
            tracing::warn!(pipeline = %self.pipeline, why, retry_ms = UNREACHABLE_PAUSE_MS,
                "no broker answers; asking on");
            let mut state = self.shared.state();
            state.unreachable.insert(self.pipeline, why.to_owned());
            drop(state);
            self.shared.publish_live();
        }
    }
}

/// Whether it was said, or whoever would have said it is gone.
fn has_come(stopped: &mut oneshot::Receiver<()>) -> bool {
    !matches!(stopped.try_recv(), Err(oneshot::error::TryRecvError::Empty))
}

/// What stands beside a published offset, so that another's is not compared with ours: another lineage's,
/// and that of a pipeline of the same name that was dropped or was of another data directory.
fn owner_text(pipeline: &PipelineDef, id: LeafPartitionId, lineage: Lineage) -> String {
    let lineage = match out(Rule::GroupOffsetOfLineage) {
        true => Lineage(1),
        false => lineage,
    };
    format!(
        "pinleaf pipeline created {}, leaf partition {id}, lineage {lineage}",
        pipeline.create_unix_ms
    )
}
