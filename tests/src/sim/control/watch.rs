//! What the catalog commits, looked at as it is committed: a lineage ends drained, and a table that goes has
//! left nothing behind.

use control::catalog::{CatalogView, PairingDef, PipelineDef, PipelineState};
use ingest::leaf::partition::Phase;
use storage::ids::LeafPartitionId;

use super::drive::Drive;
use super::statement::{Kind, Statement};
use super::user::LIMIT;
use crate::sim::law::{Wrong, seen};
use crate::sim::tracked::Tracked;
use crate::sim::world::Law;

impl Drive<'_> {
    /// A transaction went from one view to the other.
    pub(super) fn committed(&mut self, before: &CatalogView, after: &CatalogView) -> Law {
        for pairing in after.pairings() {
            match before.pairing(pairing.leaf_partition) {
                None => {
                    self.paired(pairing)?;
                    let pipeline = after.pipeline_by_id(pairing.pipeline);
                    let accepted = pipeline.and_then(|pipeline| pipeline.topic_id);
                    if accepted.is_some_and(|topic| topic != pairing.topic_id) {
                        self.ahead.insert(pairing.leaf_partition.0);
                    }
                }
                Some(was) if was.lineage != pairing.lineage => self.raised(was, pairing)?,
                Some(_) => {}
            }
        }
        self.stands(before, after)?;
        for was in before.pairings() {
            if after.pairing(was.leaf_partition).is_none() {
                self.unpaired(was.leaf_partition.0)?;
            }
        }
        Ok(())
    }

    /// What pipelines are and how they stand.
    fn stands(&mut self, before: &CatalogView, after: &CatalogView) -> Law {
        if !before.global_variables().eq(after.global_variables()) {
            self.set_at = after.change;
        }
        for pipeline in after.pipelines() {
            let was = before.pipeline_by_id(pipeline.id);
            if was.is_some_and(|was| was.spec != pipeline.spec) {
                let pairings = after.pairings_of(pipeline.id);
                let mut ids = pairings.map(|pairing| pairing.leaf_partition.0);
                if let Some(id) = ids.find(|id| !self.rests(*id)) {
                    return Err(format!(
                        "{} is another pipeline, and leaf partition {id} is not drained",
                        pipeline.name
                    ));
                }
            }
            let is = |state| {
                let so = |one: &PipelineDef| one.state == state;
                so(pipeline) && !was.is_some_and(|was| so(was))
            };
            if is(PipelineState::Running) {
                self.may_run(pipeline, after)?;
            }
            if is(PipelineState::Error) {
                self.has_failed(pipeline, before)?;
            }
        }
        Ok(())
    }

    /// START runs no more pipelines than SET GLOBAL had let run when it was given.
    fn may_run(&self, pipeline: &PipelineDef, after: &CatalogView) -> Law {
        let mut variables = after.global_variables();
        let most = variables.find_map(|(name, value)| (name == LIMIT).then(|| value.parse()));
        let Some(Ok(most)) = most else {
            return Ok(());
        };
        let runs = |one: &&std::sync::Arc<PipelineDef>| one.state == PipelineState::Running;
        let running: usize = after.pipelines().filter(runs).count();
        let name = |at: usize| format!("p{at}") == pipeline.name;
        // What ran when it was given runs on, whatever has failed of it meanwhile.
        let ran = |one: &Statement| {
            let pipeline = one.pipeline.as_ref();
            pipeline.is_some_and(|one| one.state == PipelineState::Running)
        };
        let mut starts = self.statements.iter().filter(|one| name(one.at));
        // What ran before runs again at a start.
        let since = self.process().aggregator.is_some()
            && starts.all(|one| {
                let is_new = one.change >= self.set_at && one.alone && !ran(one);
                one.kind != Kind::Start || is_new
            });
        match since && running > most {
            true => Err(format!(
                "{} runs as one of {running}, and {LIMIT} is {most}",
                pipeline.name
            )),
            false => Ok(()),
        }
    }

    /// A pipeline's failure is one of a leaf partition's last order, as the catalog had it before it was kept.
    fn has_failed(&self, pipeline: &PipelineDef, before: &CatalogView) -> Law {
        let Some(failure) = &pipeline.failure else {
            return Ok(());
        };
        let Some(partition) = failure.kafka_partition else {
            return Ok(());
        };
        let mut pairings = before.pairings_of(pipeline.id);
        let one = pairings.find(|pairing| pairing.kafka_partition == partition);
        let text = &failure.failure.text;
        let said = |one: &PairingDef| {
            let said = self.failures.get(&one.leaf_partition.0);
            said.and_then(|said| said.get(text))
        };
        // A failure under an order of before says nothing of the last one.
        let now = |one: &PairingDef| said(one).is_some_and(|of| *of >= one.generation.0);
        match one.is_some_and(|one| now(one)) {
            true => Ok(()),
            false => Err(format!(
                "{} has failed, and its partition {partition} never said so of its last order: {text}",
                pipeline.name
            )),
        }
    }

    /// Whether a leaf partition is stopped, or has failed, and all that is visible of it is durable.
    fn rests(&self, id: u64) -> bool {
        let mut leaves = self.world.nodes.iter().map(|node| &node.leaf);
        let one = leaves.find_map(|leaf| leaf.partition(id));
        // One that has failed since it was drained is opened again by what it is told next.
        let rests = |phase: &Phase| matches!(phase, Phase::Stopped | Phase::Failed(_));
        one.is_some_and(|one| rests(&one.phase)) && self.is_drained(id)
    }

    fn paired(&mut self, pairing: &PairingDef) -> Law {
        let (id, start) = (pairing.leaf_partition.0, pairing.start_offset.0);
        let log = pairing.kafka_partition as usize;
        let Some(end) = self.world.cluster.logs.get(log).map(|log| log.end()) else {
            return Err(format!("partition {log} is paired, and there is none"));
        };
        let mut tracked = Tracked::new(id, pairing.table.0, log, start);
        tracked.beyond = start > end;
        self.world
            .say(|| format!("leaf partition {id} is paired with partition {log} from {start} on"));
        self.world.tracked.insert(id, tracked);
        Ok(())
    }

    fn raised(&mut self, was: &PairingDef, pairing: &PairingDef) -> Law {
        let id = pairing.leaf_partition.0;
        let (lineage, live) = (pairing.lineage.0, pairing.live_lineage.0);
        let start = pairing.start_offset.0;
        self.world
            .say(|| format!("leaf partition {id}: lineage {lineage} from {start}, live {live}"));
        if !self.rests(id) {
            return Err(format!(
                "leaf partition {id}: lineage {lineage} begins, and the one before is not drained"
            ));
        }
        let mut leaves = self.world.nodes.iter().map(|node| &node.leaf);
        let one = leaves.find_map(|leaf| leaf.partition(id));
        let visible = one.map_or(0, |one| one.visible().0);
        if live == lineage && start != visible {
            return Err(format!(
                "leaf partition {id} is truncated at {start}, its cursor is {visible}"
            ));
        }
        let Some(attached) = self.world.views.attached(LeafPartitionId(id)) else {
            return Err(format!("leaf partition {id} is not shown"));
        };
        let before = match seen(&attached.view.snapshot(), was.lineage.0) {
            Ok(before) => before,
            Err(Wrong::Damage(what) | Wrong::Law(what)) => {
                return Err(format!("leaf partition {id}: {what}"));
            }
        };
        let Some(tracked) = self.world.tracked.get_mut(&id) else {
            return Err(format!("leaf partition {id} was never paired"));
        };
        let end = self.world.cluster.logs[tracked.log].end();
        self.ahead.remove(&id);
        tracked.begins(lineage, live, start, before);
        tracked.beyond = start > end;
        Ok(())
    }

    fn unpaired(&mut self, id: u64) -> Law {
        let Some(tracked) = self.world.tracked.remove(&id) else {
            return Ok(());
        };
        self.at_rest.remove(&id);
        if self.world.views.get(LeafPartitionId(id)).is_some() {
            return Err(format!("leaf partition {id} is dropped and shown"));
        }
        let directory = tracked.directory();
        match self.world.disk.names(directory.as_ref()).first() {
            Some(name) => Err(format!("{} is left of a dropped table", name.display())),
            None => Ok(()),
        }
    }

    /// Pipelines that were stopped load nothing.
    pub(super) fn look_at_rest(&self) -> Law {
        for (id, visible) in &self.at_rest {
            let now = self.world.tracked.get(id).map(|tracked| tracked.visible);
            if now.is_some_and(|now| now != *visible) {
                return Err(format!(
                    "leaf partition {id} was stopped at {visible} and is at {now:?}"
                ));
            }
        }
        Ok(())
    }

    /// A leaf partition that has failed is told, once everything was heard.
    pub(super) fn look_at_failures(&self) -> Law {
        let (process, view) = (self.process(), self.view());
        let nodes = &self.world.nodes;
        let heard = nodes.iter().all(|node| node.reports.is_empty());
        let Some(aggregator) = &process.aggregator else {
            return Ok(());
        };
        let ends = self.stopping.is_some() || self.lost_commit;
        if !heard || !process.is_idle() || !self.statements.is_empty() || ends {
            return Ok(());
        }
        let live = aggregator.live();
        if let Some(testing) = live.testing.first() {
            return Err(format!(
                "pipeline {testing} is being tested, and nobody tests it"
            ));
        }
        for (id, (_, failure)) in &live.failed {
            // An order that the leaf's queue refused leaves what failed before it.
            let told = self.failures.get(&id.0);
            if !told.is_some_and(|told| told.contains_key(&failure.text)) {
                return Err(format!(
                    "leaf partition {id} is shown as failed, and never said so of its last order: {}",
                    failure.text
                ));
            }
        }
        for pairing in view.pairings() {
            let id = pairing.leaf_partition;
            let mut leaves = nodes.iter().map(|node| &node.leaf);
            let one = leaves.find_map(|leaf| leaf.partition(id.0));
            let Some(Phase::Failed(failure)) = one.map(|one| &one.phase) else {
                continue;
            };
            let Some(pipeline) = view.pipeline_by_id(pairing.pipeline) else {
                continue;
            };
            let told = pipeline.state == PipelineState::Error && pipeline.failure.is_some();
            // What found no room is kept a second later.
            if !told && !self.was_refused && !live.failed.contains_key(&id) {
                return Err(format!(
                    "leaf partition {id} has failed, and nothing says so: {}",
                    failure.text
                ));
            }
        }
        for (id, place) in &live.places {
            if let Some(damage) = &place.damage {
                return Err(format!("leaf partition {id}: damage: {}", damage.text));
            }
        }
        Ok(())
    }
}
