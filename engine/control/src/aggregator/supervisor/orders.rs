//! What one leaf partition is told: the difference between its catalog's row and what it was told before.
//!
//! `send` gives an order to a leaf and says whether it was taken; one that was not is remembered as not told.

use ingest::leaf::order::{Goal, Leader, Order, Pairing, Settings, TableColumn};
use storage::ids::Lineage;

use super::{Held, Known};
use crate::aggregator::settings::resolve;
use crate::catalog::{CatalogView, EngineVariables, PairingDef, PipelineState, TableDef};
use crate::planted::{Rule, out};

/// The goal a pairing should have, but for a change of lineage.
pub(super) fn desired(view: &CatalogView, pairing: &PairingDef, held: Option<Held>) -> Goal {
    if view
        .table_by_id(pairing.table)
        .is_none_or(|table| table.dropping)
    {
        return Goal::Drop;
    }
    match held {
        Some(Held::Stopped) => return Goal::Stop,
        Some(Held::Foreground { batches_max }) => return Goal::Foreground { batches_max },
        None => {}
    }
    match view.pipeline_by_id(pairing.pipeline) {
        Some(pipeline) if pipeline.state == PipelineState::Running => Goal::Run,
        _ => Goal::Stop,
    }
}

pub(super) fn tell(
    known: &mut Known,
    pairing: &PairingDef,
    desired: Goal,
    view: &CatalogView,
    variables: &EngineVariables,
    send: &mut dyn FnMut(usize, Order) -> bool,
) {
    let rewinding = matches!(known.goal, Goal::Rewind { .. }) && !known.reached;
    // Who asks for a stop behind it does not wait for room on the disk with it, nor does what makes room.
    let passes = match desired {
        Goal::Drop => true,
        Goal::Stop => known.no_room.is_some() && pairing.generation > known.generation,
        Goal::Run | Goal::Foreground { .. } | Goal::Rewind { .. } => false,
    };
    let waits = rewinding && known.failed.is_none() && !passes;
    if waits {
        return;
    }
    let goal = if pairing.lineage > known.lineage && desired != Goal::Drop {
        Goal::Rewind {
            lineage: pairing.lineage.0,
            live_lineage: pairing.live_lineage.0,
            start_offset: pairing.start_offset.0,
            topic_id: pairing.topic_id.0,
        }
    } else {
        desired
    };
    let rested = matches!(known.goal, Goal::Rewind { .. }) && known.reached;
    let same = known.goal == goal || (rested && goal == Goal::Stop);
    if same && known.generation == pairing.generation {
        return;
    }
    if matches!(goal, Goal::Run | Goal::Foreground { .. })
        && let Some(pipeline) = view.pipeline_by_id(pairing.pipeline)
    {
        let settings = resolve(&pipeline.spec, variables);
        if known.settings.as_ref() != Some(&settings) {
            let order = Order::Configure {
                leaf_partition: pairing.leaf_partition.0,
                generation: pairing.generation.0,
                settings: settings.clone(),
            };
            if !send(known.leaf, order) {
                return;
            }
            known.settings = Some(settings);
        }
    }
    let order = Order::Goal {
        leaf_partition: pairing.leaf_partition.0,
        generation: pairing.generation.0,
        goal,
    };
    if !send(known.leaf, order) && !out(Rule::RefusedOrderAgain) {
        return;
    }
    known.generation = pairing.generation;
    known.goal = goal;
    known.reached = false;
    known.failed = None;
    known.no_room = None;
    known.caught_up = None;
    if let Goal::Rewind { lineage, .. } = goal {
        known.lineage = Lineage(lineage);
        known.refused = None;
        known.durable = None;
        known.durable_epoch = -1;
    }
}

pub(super) fn tell_leader(
    known: &mut Known,
    pairing: &PairingDef,
    leader: Option<&Leader>,
    send: &mut dyn FnMut(usize, Order) -> bool,
) {
    let Some(leader) = leader else {
        return;
    };
    let runs = matches!(known.goal, Goal::Run | Goal::Foreground { .. });
    if !runs || known.leader.as_ref() == Some(leader) {
        return;
    }
    let order = Order::Leader {
        leaf_partition: pairing.leaf_partition.0,
        leader: leader.clone(),
    };
    if send(known.leaf, order) {
        known.leader = Some(leader.clone());
    }
}

pub(super) fn attach(pairing: &PairingDef, table: &TableDef, settings: Option<Settings>) -> Order {
    Order::Attach {
        generation: pairing.generation.0,
        pairing: Pairing {
            leaf_partition: pairing.leaf_partition.0,
            table: pairing.table.0,
            pipeline: pairing.pipeline.0,
            kafka_partition: pairing.kafka_partition,
            topic: pairing.topic.clone(),
            topic_id: pairing.topic_id.0,
            lineage: pairing.lineage.0,
            live_lineage: match out(Rule::AttachUnlinksDead) {
                true => 1,
                false => pairing.live_lineage.0,
            },
            start_offset: pairing.start_offset.0,
            end_offset: pairing.end_offset.map(|offset| offset.0),
        },
        schema_version: table.schema_version,
        columns: table
            .spec
            .columns
            .iter()
            .map(|column| TableColumn {
                name: column.name.clone(),
                sql_type: column.sql_type,
                nullable: column.nullable,
            })
            .collect(),
        settings,
    }
}
