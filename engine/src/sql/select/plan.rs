//! From a bound query to a physical plan: DataFusion with our tables, our functions and nothing else.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DataFusionError, Result, TableReference};
use datafusion::datasource::MemTable;
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::planner::ContextProvider;
use datafusion::logical_expr::{
    AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, LogicalPlanBuilder, ScalarUDF, TableSource,
    WindowUDF,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use datafusion::sql::planner::{NullOrdering, ParserOptions, SqlToRel};
use sqlparser::ast::{Query, Statement};

use super::bind::{Bound, table_name};
use super::constants::Constants;
use super::fault::wrap;
use super::kept::reserve_windows;
use super::long_text::Texts;
use super::meet::meet;
use super::memory::{Held, Purse};
use super::scan::{Table, table};
use super::watch::{rules, watch_joins};
use super::{SelectContext, Source, functions, width};
use crate::limits::BATCH_ROWS;

/// A query that can be run.
pub struct Planned {
    /// What DataFusion calls the plan.
    pub physical: Arc<dyn ExecutionPlan>,
    /// The optimised logical plan.
    pub logical: LogicalPlan,
    /// The state it was planned with, which runs it.
    pub state: SessionState,
    /// What the plan and its batches may take.
    pub(super) held: [Held; 2],
    /// What its constants may.
    _constants: Arc<Constants>,
}

/// Plans a bound query.
///
/// # Errors
/// DataFusion's and ours; [`super::fault::unwrap`] gives them MySQL's numbers.
pub async fn plan(ctx: &SelectContext, bound: Bound) -> Result<Planned> {
    let mut state = state(ctx);
    let logical = logical(ctx, &state, bound.query, &bound.tables, &bound.texts)?;
    let constants = Arc::new(Constants::new(&ctx.memory)?);
    let purse = ctx.memory.purse(&ctx.cancel);
    set_purse(&mut state, purse.clone().while_planned(&constants));
    let logical = state.optimize(&logical)?;
    constants.check()?;
    set_purse(&mut state, purse);
    let batches = width::batches(&logical, &bound.tables, ctx.memory.bytes_max())?;
    let held = ctx.memory.hold(batches.bytes).map_err(wrap)?;
    if let Some(rows) = batches.rows {
        *state.config_mut() = state.config().clone().with_batch_size(rows);
    }
    // What reaches functions when they run.
    state.mark_start_execution();
    let physical = state
        .query_planner()
        .create_physical_plan(&logical, &state)
        .await?;
    Ok(Planned {
        physical: watch_joins(reserve_windows(physical)?, &ctx.cancel)?,
        logical,
        state,
        held: [bound.weight, held],
        _constants: constants,
    })
}

/// What functions find in the plan's options from now on.
fn set_purse(state: &mut SessionState, purse: Purse) {
    let options = state.config_mut().options_mut();
    options.extensions.insert(purse);
}

/// The logical plan, whose schema has the result's types; not optimised.
///
/// # Errors
/// As [`plan`].
pub fn logical(
    ctx: &SelectContext,
    state: &SessionState,
    query: Query,
    tables: &[Source],
    texts: &Texts,
) -> Result<LogicalPlan> {
    let provider = Provider::new(ctx, state, tables, texts)?;
    let options = ParserOptions::new()
        .with_parse_float_as_decimal(true)
        .with_enable_ident_normalization(false)
        .with_map_string_types_to_utf8view(false)
        .with_default_null_ordering(NullOrdering::NullsMin);
    let planner = SqlToRel::new_with_options(&provider, options);
    let plan = planner.sql_statement_to_plan(Statement::Query(Box::new(query)))?;
    results(meet(plan)?)
}

/// The session a statement is planned in.
#[must_use]
pub fn state(ctx: &SelectContext) -> SessionState {
    let rules = rules(&ctx.cancel);
    let mut config = SessionConfig::new()
        .with_target_partitions(ctx.threads.max(1))
        .with_batch_size(BATCH_ROWS)
        .with_collect_statistics(true)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(false);
    let options = config.options_mut();
    options.optimizer.skip_failed_rules = false;
    options.execution.skip_physical_aggregate_schema_check = true;
    options.sql_parser.default_null_ordering = "nulls_min".to_owned();
    SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(ctx.memory.environment())
        .with_default_features()
        .with_analyzer_rules(rules.analyzer)
        .with_optimizer_rules(rules.optimizer)
        .with_physical_optimizer_rules(rules.physical)
        .build()
}

/// Gives every column of the result a type that leaves a query.
fn results(plan: LogicalPlan) -> Result<LogicalPlan> {
    let schema = Arc::clone(plan.schema());
    let leaves = |data_type: &DataType| {
        !matches!(
            data_type,
            DataType::Boolean
                | DataType::Null
                | DataType::Utf8View
                | DataType::LargeUtf8
                | DataType::Decimal256(..)
        )
    };
    if schema
        .fields()
        .iter()
        .all(|field| leaves(field.data_type()))
    {
        return Ok(plan);
    }
    let exprs: Vec<Expr> = schema
        .iter()
        .map(|(qualifier, field)| {
            let column = Expr::from((qualifier, field));
            let to = match field.data_type() {
                DataType::Boolean => DataType::Int64,
                DataType::Decimal256(_, scale) => DataType::Decimal128(38, *scale),
                own if leaves(own) => return column,
                _ => DataType::Utf8,
            };
            functions::to(column, field.data_type(), &to)
                .alias_qualified(qualifier.cloned(), field.name())
        })
        .collect();
    LogicalPlanBuilder::from(plan).project(exprs)?.build()
}

/// What SQL may name: the statement's tables, our functions, MySQL's aggregates and windows.
struct Provider<'a> {
    texts: &'a Texts,
    tables: HashMap<String, Arc<dyn TableSource>>,
    sleep: Arc<ScalarUDF>,
    aggregates: HashMap<String, Arc<AggregateUDF>>,
    windows: HashMap<String, Arc<WindowUDF>>,
    options: ConfigOptions,
}

impl<'a> Provider<'a> {
    fn new(
        ctx: &SelectContext,
        state: &SessionState,
        tables: &[Source],
        texts: &'a Texts,
    ) -> Result<Provider<'a>> {
        let tables = tables
            .iter()
            .enumerate()
            .map(|(number, source)| Ok((table_name(number), source_of(ctx, source)?)))
            .collect::<Result<_>>()?;
        Ok(Provider {
            texts,
            tables,
            sleep: functions::sleep::sleep(&ctx.cancel),
            aggregates: state.aggregate_functions().clone(),
            windows: state.window_functions().clone(),
            options: state.config_options().as_ref().clone(),
        })
    }
}

fn source_of(ctx: &SelectContext, source: &Source) -> Result<Arc<dyn TableSource>> {
    Ok(match source {
        Source::Stored(stored) => provider_as_source(Arc::new(Table::new(
            stored.clone(),
            ctx.read_damaged.clone(),
        ))),
        Source::Virtual(made) => {
            let fields: Vec<_> = made.columns.iter().map(table::field).collect();
            let schema = Arc::new(Schema::new(fields));
            let batch = RecordBatch::try_new(Arc::clone(&schema), made.batch.columns().to_vec())?;
            provider_as_source(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
        }
    })
}

impl ContextProvider for Provider<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        self.tables
            .get(name.table())
            .cloned()
            .ok_or_else(|| DataFusionError::Internal(format!("no table {name}")))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        if name == "sleep" {
            return Some(Arc::clone(&self.sleep));
        }
        let long = || self.texts.udf(name);
        functions::numbered::udf(name)
            .or_else(long)
            .or_else(|| functions::udf(name))
    }

    fn get_higher_order_meta(&self, _: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.aggregates.get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.windows.get(name).cloned()
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.aggregates.keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.windows.keys().cloned().collect()
    }
}
