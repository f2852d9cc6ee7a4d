//! The scan itself: parts left out by statistics, the next two read ahead, each given as one batch.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, RecordBatchOptions, StringArray};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{ColumnStatistics, Result, ScalarValue, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet,
};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use ingest::pipeline::SqlType;
use storage::error::StorageError;
use storage::format::StatisticValue;
use tokio::task::JoinHandle;

use super::cut::piece;
use super::{HIDDEN_COLUMNS, ScanPlan};
use crate::limits::{BATCH_ROWS, PREFETCH_PARTS, STATISTICS_COLUMNS_MAX};
use crate::sql::error::{Code, SqlError};
use crate::sql::left_out::{Late, Unread};
use crate::sql::select::fault::wrap;
use crate::sql::select::{ScanPart, StoredPartition, StoredTable};

/// A scan of a pinned table.
#[derive(Debug)]
pub struct ScanExec {
    plan: Arc<ScanPlan>,
    schema: SchemaRef,
    partitions: Vec<StoredPartition>,
    columns: Arc<Columns>,
    read_damaged: Option<Arc<Late>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// Where each column of the scan comes from.
#[derive(Debug)]
struct Columns {
    /// The table's own columns; the hidden ones follow.
    own: usize,
    /// CHARs, whose trailing blanks go.
    padded: Vec<bool>,
    /// The columns to ask a part for.
    stored: Vec<usize>,
}

impl std::fmt::Debug for StoredPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "leaf partition {}", self.leaf_partition)
    }
}

impl ScanExec {
    /// A scan by its plan over what the statement pinned.
    ///
    /// # Errors
    /// Arrow's, for columns that the schema does not have.
    pub fn new(
        plan: ScanPlan,
        schema: &Schema,
        table: &StoredTable,
        read_damaged: Option<Arc<Late>>,
    ) -> Result<ScanExec> {
        let schema: SchemaRef = Arc::new(schema.project(&plan.columns)?);
        let own = table.columns.len();
        let stored = plan
            .columns
            .iter()
            .filter_map(|column| place(own, *column))
            .collect();
        let padded = plan
            .columns
            .iter()
            .map(|column| {
                table
                    .columns
                    .get(*column)
                    .is_some_and(|column| matches!(column.sql_type, SqlType::Char { .. }))
            })
            .collect();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(table.partitions.len().max(1)),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(ScanExec {
            plan: Arc::new(plan),
            schema,
            partitions: table.partitions.clone(),
            columns: Arc::new(Columns {
                own,
                padded,
                stored,
            }),
            read_damaged,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// Whether a part may hold a wanted row.
    fn wanted(&self, kafka_partition: i32, part: &dyn ScanPart) -> bool {
        let own = self.columns.own;
        let statistics = |column: usize| {
            if column == own {
                Some(constant(kafka_partition))
            } else {
                part.statistics(place(own, column)?)
            }
        };
        part.rows() > 0
            && self
                .plan
                .filters
                .iter()
                .all(|filter| filter.may_match(part.rows(), &statistics))
    }

    fn known(&self, partition: Option<usize>) -> Statistics {
        let partitions: Vec<&StoredPartition> = match partition {
            Some(partition) => self.partitions.get(partition).into_iter().collect(),
            None => self.partitions.iter().collect(),
        };
        let rows: usize = partitions
            .iter()
            .flat_map(|partition| partition.parts.iter())
            .map(|part| part.rows() as usize)
            .sum();
        let filtered = !self.plan.filters.is_empty() || self.plan.rows_max.is_some();
        let exact = !filtered && self.read_damaged.is_none();
        let column_statistics = if exact && self.plan.columns.len() <= STATISTICS_COLUMNS_MAX {
            self.plan
                .columns
                .iter()
                .enumerate()
                .map(|(at, column)| self.known_column(at, *column, &partitions))
                .collect()
        } else {
            vec![ColumnStatistics::new_unknown(); self.plan.columns.len()]
        };
        Statistics {
            num_rows: if exact {
                Precision::Exact(rows)
            } else {
                Precision::Inexact(rows)
            },
            total_byte_size: Precision::Absent,
            column_statistics,
        }
    }

    fn known_column(
        &self,
        at: usize,
        column: usize,
        partitions: &[&StoredPartition],
    ) -> ColumnStatistics {
        let mut known = ColumnStatistics::new_unknown();
        let data_type = self.schema.field(at).data_type();
        let mut nulls = 0usize;
        let mut bounds: [Option<Option<ScalarValue>>; 2] = [Some(None), Some(None)];
        for partition in partitions {
            for part in partition.parts.iter().filter(|part| part.rows() > 0) {
                let own = if column == self.columns.own {
                    Some(constant(partition.kafka_partition))
                } else {
                    place(self.columns.own, column).and_then(|place| part.statistics(place))
                };
                let Some(own) = own else {
                    return known;
                };
                nulls += own.null_count as usize;
                if own.null_count >= part.rows() {
                    continue;
                }
                for (side, bound) in [(0, own.min), (1, own.max)] {
                    let value = bound
                        .filter(|bound| bound.exact && !self.columns.padded[at])
                        .and_then(|bound| scalar(&bound.value, data_type));
                    bounds[side] = match (bounds[side].take(), value) {
                        (Some(None), Some(value)) => Some(Some(value)),
                        (Some(Some(best)), Some(value)) => {
                            let keep = match value.partial_cmp(&best) {
                                Some(order) if side == 0 => order.is_ge(),
                                Some(order) => order.is_le(),
                                None => true,
                            };
                            Some(Some(if keep { best } else { value }))
                        }
                        _ => None,
                    };
                }
            }
        }
        let [min, max] = bounds.map(|bound| match bound.flatten() {
            Some(value) => Precision::Exact(value),
            None => Precision::Absent,
        });
        known.null_count = Precision::Exact(nulls);
        known.min_value = min;
        known.max_value = max;
        known
    }
}

/// A table's column's place in a part; `None` for `_partition`, which is in none.
fn place(own: usize, column: usize) -> Option<usize> {
    match column.cmp(&own) {
        std::cmp::Ordering::Less => Some(column),
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Greater => Some(column - 1),
    }
}

fn constant(kafka_partition: i32) -> storage::format::ColumnStatistics {
    let bound = Some(storage::format::StatisticBound {
        value: StatisticValue::Int(kafka_partition.into()),
        exact: true,
    });
    storage::format::ColumnStatistics {
        min: bound.clone(),
        max: bound,
        null_count: 0,
    }
}

fn scalar(value: &StatisticValue, data_type: &DataType) -> Option<ScalarValue> {
    let plain = match value {
        StatisticValue::Int(value) => match data_type {
            DataType::Timestamp(..) | DataType::Date32 => {
                let wide = ScalarValue::Int64(Some(*value));
                let narrow = match data_type {
                    DataType::Date32 => wide.cast_to(&DataType::Int32).ok()?,
                    _ => wide,
                };
                return narrow.cast_to(data_type).ok();
            }
            _ => ScalarValue::Int64(Some(*value)),
        },
        StatisticValue::UInt(value) => ScalarValue::UInt64(Some(*value)),
        StatisticValue::Float(value) => ScalarValue::Float64(Some(*value)),
        StatisticValue::Decimal(value) => match data_type {
            DataType::Decimal128(precision, scale) => {
                return Some(ScalarValue::Decimal128(Some(*value), *precision, *scale));
            }
            _ => return None,
        },
        StatisticValue::Text(value) => ScalarValue::Utf8(Some(value.to_string())),
    };
    plain.cast_to(data_type).ok()
}

impl DisplayAs for ScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns: Vec<&str> = self
            .schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        let parts: usize = self.partitions.iter().map(|own| own.parts.len()).sum();
        write!(
            f,
            "Scan: {}.{}, columns=[{}], partitions={}, parts={parts}",
            self.plan.database,
            self.plan.table,
            columns.join(", "),
            self.partitions.len(),
        )?;
        if !self.plan.filters.is_empty() {
            write!(f, ", filters={}", self.plan.filters.len())?;
        }
        if let Some(rows) = self.plan.rows_max {
            write!(f, ", limit={rows}")?;
        }
        Ok(())
    }
}

impl ExecutionPlan for ScanExec {
    fn name(&self) -> &'static str {
        "ScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        Ok(Arc::new(self.known(args.partition())))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let counter =
            |name: &'static str| MetricBuilder::new(&self.metrics).counter(name, partition);
        let (total, pruned) = (counter("parts"), counter("parts_pruned"));
        let mut kafka_partition = 0;
        let mut waiting = VecDeque::new();
        if let Some(own) = self.partitions.get(partition) {
            kafka_partition = own.kafka_partition;
            total.add(own.parts.len());
            waiting.extend(
                own.parts
                    .iter()
                    .filter(|part| self.wanted(kafka_partition, part.as_ref()))
                    .cloned(),
            );
            pruned.add(own.parts.len() - waiting.len());
        }
        let reader = Reader {
            plan: Arc::clone(&self.plan),
            schema: Arc::clone(&self.schema),
            columns: Arc::clone(&self.columns),
            kafka_partition,
            waiting,
            ahead: VecDeque::new(),
            cut: None,
            at: 0,
            rows_max: Some(context.session_config().batch_size()).filter(|max| *max < BATCH_ROWS),
            rows: 0,
            read_damaged: self.read_damaged.clone(),
            damaged: counter("parts_damaged"),
            baseline: BaselineMetrics::new(&self.metrics, partition),
        };
        let stream = futures::stream::try_unfold(reader, |mut reader| async move {
            Ok(reader.next().await?.map(|batch| (batch, reader)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            stream,
        )))
    }
}

type Prefetching = JoinHandle<Result<(), StorageError>>;

/// One partition being read.
struct Reader {
    plan: Arc<ScanPlan>,
    schema: SchemaRef,
    columns: Arc<Columns>,
    kafka_partition: i32,
    waiting: VecDeque<Arc<dyn ScanPart>>,
    /// Parts being brought into memory, in order.
    ahead: VecDeque<(Arc<dyn ScanPart>, Prefetching)>,
    /// A part that is handed out in pieces, and how many rows of it are gone.
    cut: Option<RecordBatch>,
    at: usize,
    /// Rows of a piece. `None`: a part is one batch.
    rows_max: Option<usize>,
    rows: usize,
    read_damaged: Option<Arc<Late>>,
    damaged: Count,
    baseline: BaselineMetrics,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if self.plan.rows_max.is_some_and(|enough| self.rows >= enough) {
                return Ok(None);
            }
            if let Some(batch) = self.cut.take() {
                // What is made of a piece may take long: others are let in between two of them.
                if self.rows > 0 {
                    tokio::task::yield_now().await;
                }
                let rows = self.piece(batch.num_rows() - self.at);
                let piece = piece(&batch, self.at, rows)?;
                self.at += rows;
                if self.at < batch.num_rows() {
                    self.cut = Some(batch);
                } else {
                    self.at = 0;
                }
                self.rows += piece.num_rows();
                self.baseline.record_output(piece.num_rows());
                return Ok(Some(piece));
            }
            while self.ahead.len() <= PREFETCH_PARTS
                && let Some(part) = self.waiting.pop_front()
            {
                let own = Arc::clone(&part);
                let columns = Arc::clone(&self.columns);
                let task = tokio::task::spawn_blocking(move || own.prefetch(&columns.stored));
                self.ahead.push_back((part, task));
            }
            let Some((part, task)) = self.ahead.pop_front() else {
                return Ok(None);
            };
            let fetched = task.await.map_err(|join| {
                datafusion::common::DataFusionError::ExecutionJoin(Box::new(join))
            })?;
            let read = {
                let _timer = self.baseline.elapsed_compute().timer();
                fetched.and_then(|()| part.read(&self.columns.stored))
            };
            match read {
                Ok(arrays) => {
                    self.cut = Some(self.batch(part.rows() as usize, arrays)?);
                }
                Err(fault) => {
                    self.leave_out(part.as_ref(), &fault)?;
                    self.damaged.add(1);
                }
            }
        }
    }

    /// A part that cannot be read: left out where the session wants that, else the query's error.
    fn leave_out(&self, part: &dyn ScanPart, fault: &StorageError) -> Result<()> {
        match (&self.read_damaged, fault) {
            (Some(late), StorageError::Corrupt { path, .. } | StorageError::Disk { path, .. }) => {
                late.unread(Unread {
                    table: self.plan.table.clone(),
                    file: path.clone(),
                    kafka_partition: self.kafka_partition,
                    offsets: part.offsets(),
                    rows: part.rows().into(),
                    why: fault.to_string(),
                })
            }
            _ => return Err(wrap(storage_fault(fault))),
        }
        Ok(())
    }

    fn piece(&self, rows: usize) -> usize {
        self.rows_max.map_or(rows, |max| rows.min(max))
    }

    fn batch(&self, rows: usize, arrays: Vec<ArrayRef>) -> Result<RecordBatch> {
        let mut arrays = arrays.into_iter();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.plan.columns.len());
        for (at, column) in self.plan.columns.iter().enumerate() {
            columns.push(if *column == self.columns.own {
                Arc::new(Int32Array::from(vec![self.kafka_partition; rows]))
            } else {
                match arrays.next() {
                    Some(array) if self.columns.padded[at] => without_padding(&array),
                    Some(array) => array,
                    None => {
                        return datafusion::common::internal_err!(
                            "a part gave fewer columns than asked for"
                        );
                    }
                }
            });
        }
        Ok(RecordBatch::try_new_with_options(
            Arc::clone(&self.schema),
            columns,
            &RecordBatchOptions::new().with_row_count(Some(rows)),
        )?)
    }
}

/// CHAR as MySQL reads it: without its trailing blanks.
fn without_padding(array: &ArrayRef) -> ArrayRef {
    let texts = array.as_string::<i32>();
    if texts.iter().flatten().all(|text| !text.ends_with(' ')) {
        return Arc::clone(array);
    }
    let trimmed: StringArray = texts
        .iter()
        .map(|text| text.map(|text| text.trim_end_matches(' ')))
        .collect();
    debug_assert_eq!(trimmed.len(), array.len());
    Arc::new(trimmed)
}

/// What a client is told of a part that cannot be read.
fn storage_fault(fault: &StorageError) -> SqlError {
    match fault {
        StorageError::Corrupt { .. } => SqlError::new(
            Code::Corrupt,
            format!(
                "{fault}; while its pipeline runs, the segment goes to quarantine, and DAMAGE in information_schema.PIPELINES_PARTITIONS says what is missing then and what to do; SET pinleaf_read_damaged = ON reads around it"
            ),
        ),
        StorageError::Disk { .. } => SqlError::new(
            Code::DiskError,
            format!("{fault}; SET pinleaf_read_damaged = ON reads around it"),
        ),
        StorageError::Full(_) => SqlError::new(Code::OutOfMemory, fault.to_string()),
    }
}

const _: () = assert!(HIDDEN_COLUMNS.len() == 3);
