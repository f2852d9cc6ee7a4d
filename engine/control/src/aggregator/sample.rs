//! TEST PIPELINE: fetch and decode as a leaf would, into blocks of its own that nobody keeps.
//!
//! It begins at each partition's cursor (a partition that was never paired: at the earliest offset),
//! takes partitions in order until it has its rows or each log's end, and writes nothing: no pairing,
//! no cursor, no reject.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{Field, Schema as ArrowSchema};
use arrow_select::concat::concat_batches;
use ingest::audit::Response;
use ingest::kafka::fetch::{FrameEvent, FrameReader};
use ingest::kafka::requests::OffsetSpec;
use ingest::kafka::{AbortedFilter, BatchFate, BatchHeader, Decompressor, Marker};
use ingest::pipeline::{BlockNeed, Decode, Ended, JsonDecoder, LoadLimits, Loaded};
use storage::block::{BlockLayout, BlockWriter};
use storage::format::rejects::Rejects;
use storage::ids::Offset;
use storage::limits::{BLOCK_REGION_BYTES_MAX, BLOCK_ROWS_MAX, BLOCK_ROWS_MIN};
use storage::schema::{Physical, Schema};

use super::client::{Brokers, ClientFault, TopicState};
use super::error::{AggregatorError, WrongState};
use super::log::{LogFault, LogReader};
use super::pipelines::known_pipeline;
use super::settings::client_settings;
use super::shared::Shared;
use super::statement::{Name, Tested};
use super::topic::is_replaced;
use crate::catalog::{CatalogView, PipelineDef, PipelineId, PipelineState, TableDef};
use crate::limits::{TEST_BLOCK_STRING_BYTES, TEST_BYTES_MAX, TEST_ROWS_DEFAULT, TEST_ROWS_MAX};

impl Shared {
    /// TEST PIPELINE.
    pub async fn test_pipeline(
        self: &Arc<Shared>,
        name: Name,
        limit: Option<u64>,
    ) -> Result<Tested, AggregatorError> {
        let id = known_pipeline(&self.view(), &name)?.id;
        let _turn = self.pipeline_turn(id).await;
        let view = self.view();
        let pipeline = known_pipeline(&view, &name)?;
        if pipeline.state == PipelineState::Running || self.is_foreground(id) {
            return Err(AggregatorError::State(WrongState::MustBeStopped {
                pipeline: name.name,
                statement: "TEST it",
            }));
        }
        let rows_max = limit.unwrap_or(TEST_ROWS_DEFAULT);
        if rows_max > TEST_ROWS_MAX {
            return Err(AggregatorError::Full {
                what: "rows of one TEST PIPELINE",
                max: TEST_ROWS_MAX,
            });
        }
        self.testing(id, true);
        let tested = self.sample(&view, pipeline, rows_max).await;
        self.testing(id, false);
        tested
    }

    fn testing(&self, id: PipelineId, begins: bool) {
        {
            let mut state = self.state();
            if begins {
                state.testing.insert(id);
            } else {
                state.testing.remove(&id);
            }
        }
        self.publish_live();
    }

    async fn sample(
        self: &Arc<Shared>,
        view: &CatalogView,
        pipeline: &PipelineDef,
        rows_max: u64,
    ) -> Result<Tested, AggregatorError> {
        let Some(table) = view.table_by_id(pipeline.table) else {
            return Err(AggregatorError::Definition("the table is gone".to_owned()));
        };
        let decoder = JsonDecoder::new(&pipeline.spec.mapping)
            .map_err(|error| AggregatorError::Definition(error.to_string()))?;
        let client = self.port.brokers(client_settings(&pipeline.spec)?);
        let state = self.topic_state(pipeline, &*client).await?;
        if is_replaced(pipeline, &state) {
            let fault = ClientFault::Replaced {
                topic: pipeline.spec.topic.clone(),
                id: state.id,
            };
            return Err(client.error("TEST", &fault));
        }
        let cursors = self.cursors(view, pipeline, &*client, &state).await?;
        let indices: Vec<i32> = state.partitions.keys().copied().collect();
        let ends = client
            .offsets(&pipeline.spec.topic, &state, &indices, OffsetSpec::Latest)
            .await
            .map_err(|fault| client.error("asking for the latest offsets", &fault))?;
        let mut sample = Sample::new(table, pipeline, decoder, rows_max, self.port.unix_ms());
        for (index, end) in ends {
            if let Some(cursor) = cursors.get(&index) {
                sample
                    .partition(&*client, &pipeline.spec.topic, &state, index, *cursor..end)
                    .await?;
            }
        }
        sample.finish()
    }

    async fn cursors(
        &self,
        view: &CatalogView,
        pipeline: &PipelineDef,
        client: &dyn Brokers,
        state: &TopicState,
    ) -> Result<BTreeMap<i32, Offset>, AggregatorError> {
        let mut cursors = BTreeMap::new();
        {
            let shared = self.state();
            for pairing in view.pairings_of(pipeline.id) {
                let known = shared.supervisor.known(pairing.leaf_partition);
                let durable = known.and_then(|known| known.durable);
                cursors.insert(
                    pairing.kafka_partition,
                    durable.unwrap_or(pairing.start_offset),
                );
            }
        }
        let new: Vec<i32> = state
            .partitions
            .keys()
            .copied()
            .filter(|index| !cursors.contains_key(index))
            .collect();
        let earliest = client
            .offsets(&pipeline.spec.topic, state, &new, OffsetSpec::Earliest)
            .await
            .map_err(|fault| client.error("asking for the earliest offsets", &fault))?;
        cursors.extend(earliest);
        Ok(cursors)
    }
}

/// What was found so far.
struct Sample {
    schema: Arc<Schema>,
    arrow: Arc<ArrowSchema>,
    columns: Vec<String>,
    skip: ingest::pipeline::SkipErrors,
    decoder: JsonDecoder,
    decompressor: Decompressor,
    rows_max: u64,
    rows: u64,
    bytes: u64,
    unix_ms: i64,
    batches: Vec<RecordBatch>,
    rejects: Vec<String>,
}

/// How a partition goes on.
enum Next {
    /// At this offset.
    From(Offset),
    /// No further: enough rows, or a message that stops the pipeline.
    Stop,
}

impl Sample {
    fn new(
        table: &TableDef,
        pipeline: &PipelineDef,
        decoder: JsonDecoder,
        rows_max: u64,
        unix_ms: i64,
    ) -> Sample {
        let fields: Vec<Field> = empty_columns(&table.schema)
            .iter()
            .zip(table.schema.columns.iter())
            .map(|(array, column)| {
                Field::new(&column.name, array.data_type().clone(), column.nullable)
            })
            .collect();
        Sample {
            schema: table.schema.clone(),
            arrow: Arc::new(ArrowSchema::new(fields)),
            columns: table.spec.columns.iter().map(|c| c.name.clone()).collect(),
            skip: pipeline.spec.skip_errors,
            decoder,
            decompressor: Decompressor::default(),
            rows_max,
            rows: 0,
            bytes: 0,
            unix_ms,
            batches: Vec::new(),
            rejects: Vec::new(),
        }
    }

    /// One partition, from its cursor to the log's end as it stands.
    async fn partition(
        &mut self,
        client: &dyn Brokers,
        topic: &str,
        state: &TopicState,
        index: i32,
        range: std::ops::Range<Offset>,
    ) -> Result<(), AggregatorError> {
        let broker = |fault: &ClientFault| client.error("fetching", fault);
        let Some(Some(leader)) = state.partitions.get(&index) else {
            return Err(broker(&ClientFault::NoLeader { partition: index }));
        };
        let mut reader = LogReader::new(client, topic, state.id, index, leader.clone());
        let mut cursor = range.start;
        while cursor < range.end && self.rows < self.rows_max {
            let fetched = match reader.fetch(cursor).await {
                Ok(fetched) if fetched.error.is_error() => {
                    Err(format!("the broker answers {}", fetched.error))
                }
                Ok(fetched) => Ok(fetched),
                Err(LogFault::Client(fault)) => return Err(broker(&fault)),
                Err(fault) => Err(fault.to_string()),
            };
            let next = fetched.and_then(|fetched| self.response(&fetched.response, index, cursor));
            match next.map_err(|what| AggregatorError::Broker {
                brokers: reader.address(),
                what: format!("partition {index}, offset {cursor}: {what}"),
            })? {
                Next::From(next) if next > cursor => cursor = next,
                // Nothing more came, or nothing more is wanted.
                Next::From(_) | Next::Stop => break,
            }
        }
        Ok(())
    }

    /// One response: every batch in it that is still wanted.
    fn response(&mut self, response: &Response, index: i32, from: Offset) -> Result<Next, String> {
        let frame = response.frame.as_slice();
        let mut reader = FrameReader::new(response.version, response.correlation_id, frame.len());
        let mut aborted = AbortedFilter::default();
        let mut cursor = from;
        while let Some(event) = reader.next(frame).map_err(|fault| fault.to_string())? {
            match event {
                FrameEvent::Partition(head) => aborted.begin(head.aborted.read(frame)),
                FrameEvent::Batch(range) => {
                    let batch = frame.get(range.range()).unwrap_or_default();
                    match self.batch(&range.header, batch, &mut aborted, index, cursor)? {
                        Next::From(next) => cursor = next,
                        Next::Stop => return Ok(Next::Stop),
                    }
                }
                FrameEvent::Oversize {
                    base_offset,
                    size_bytes,
                } => {
                    return Err(format!(
                        "the record batch at offset {base_offset} has {size_bytes} bytes, too many"
                    ));
                }
                FrameEvent::Spoiled(fault) => return Err(fault.to_string()),
                FrameEvent::End => break,
                FrameEvent::Response(_)
                | FrameEvent::BatchBegun(_)
                | FrameEvent::CutOff { .. }
                | FrameEvent::PartitionEnd(_)
                | FrameEvent::Endpoint(_) => {}
            }
        }
        Ok(Next::From(cursor))
    }

    /// One record batch.
    fn batch(
        &mut self,
        header: &BatchHeader,
        batch: &[u8],
        aborted: &mut AbortedFilter,
        index: i32,
        from: Offset,
    ) -> Result<Next, String> {
        let end = header.next_offset();
        if end <= from {
            return Ok(Next::From(from));
        }
        header.check_crc(batch).map_err(|fault| fault.to_string())?;
        let body = header.body(batch).map_err(|fault| fault.to_string())?;
        let mut decompressor = std::mem::take(&mut self.decompressor);
        let outcome = match aborted.fate(header) {
            BatchFate::Aborted => Ok(Next::From(end)),
            BatchFate::Control => decompressor
                .open(header, body)
                .and_then(|mut records| Marker::of(&mut records))
                .map(|marker| {
                    if let Some(marker) = marker {
                        aborted.marker(header, marker);
                    }
                    Next::From(end)
                })
                .map_err(|fault| fault.to_string()),
            BatchFate::Data => match decompressor.open(header, body) {
                Ok(mut records) => self.load(&mut records, index, from, end),
                Err(fault) => Err(fault.to_string()),
            },
        };
        self.decompressor = decompressor;
        outcome
    }

    /// The records of one batch, through as many blocks as they need.
    fn load(
        &mut self,
        records: &mut ingest::kafka::Records<'_>,
        index: i32,
        from: Offset,
        end: Offset,
    ) -> Result<Next, String> {
        let mut cursor = from;
        let mut need = None;
        while cursor < end {
            let wanted = self.rows_max - self.rows;
            if wanted == 0 {
                return Ok(Next::Stop);
            }
            let layout = self.layout(wanted, need.take());
            let mut writer = BlockWriter::new(&layout, cursor);
            let limits = LoadLimits {
                from: cursor,
                // A message is a row at least, so no more messages than rows are wanted.
                offsets_end: Offset(cursor.0.saturating_add(wanted as i64)).min(end),
                batch_next_offset: end,
                bytes_max: u64::MAX,
                skip: self.skip,
                parse_errors_max: u64::MAX,
                now_unix_ms: self.unix_ms,
            };
            let loaded = self.decoder.load(records, &limits, &mut writer.tail());
            cursor = loaded.next_offset;
            self.take(&mut writer, &loaded, index)?;
            match loaded.ended {
                Ended::Batch | Ended::OffsetsMax | Ended::Turn | Ended::BlockFull => {}
                Ended::BlockTooSmall(larger) => need = Some(larger),
                Ended::Poison(poison) => {
                    self.rejects.push(format!(
                        "partition {index}, offset {}{}: {}",
                        poison.offset,
                        self.column(poison.failure.column),
                        poison.failure.text
                    ));
                    return Ok(Next::Stop);
                }
                Ended::Malformed(fault) => return Err(fault.to_string()),
            }
        }
        Ok(Next::From(cursor))
    }

    /// What a load put into its block.
    fn take(
        &mut self,
        writer: &mut BlockWriter,
        loaded: &Loaded,
        index: i32,
    ) -> Result<(), String> {
        let mark = writer.publish(loaded.next_offset);
        let block = writer.shared();
        for reject in Rejects::new(block.rejects(mark)) {
            let reject = reject.map_err(|fault| fault.to_string())?;
            self.rejects.push(format!(
                "partition {index}, offset {}{}: {}",
                reject.offset,
                self.column(reject.column),
                reject.text
            ));
        }
        self.bytes += loaded.bytes;
        if self.bytes > TEST_BYTES_MAX || self.rejects.len() as u64 > TEST_ROWS_MAX {
            return Err(format!(
                "more than {TEST_BYTES_MAX} bytes or {TEST_ROWS_MAX} rejects before the LIMIT was reached"
            ));
        }
        if loaded.rows > 0 {
            let columns: Vec<ArrayRef> = (0..self.columns.len())
                .map(|column| block.array(column, mark))
                .collect();
            let batch = RecordBatch::try_new(self.arrow.clone(), columns)
                .map_err(|error| error.to_string())?;
            let rows = (self.rows_max - self.rows).min(batch.num_rows() as u64);
            self.rows += rows;
            self.batches.push(batch.slice(0, rows as usize));
        }
        Ok(())
    }

    fn layout(&self, wanted: u64, need: Option<Box<BlockNeed>>) -> BlockLayout {
        let rows = u32::try_from(wanted).unwrap_or(BLOCK_ROWS_MAX);
        let mut rows = rows.clamp(BLOCK_ROWS_MIN, BLOCK_ROWS_MAX);
        let strings = self
            .schema
            .columns
            .iter()
            .filter(|column| column.physical == Physical::Utf8)
            .count();
        let mut string_bytes = vec![TEST_BLOCK_STRING_BYTES; strings];
        let mut rejects_bytes = TEST_BLOCK_STRING_BYTES;
        let bounded = |bytes: u64| {
            u32::try_from(bytes)
                .unwrap_or(u32::MAX)
                .min(BLOCK_REGION_BYTES_MAX)
        };
        if let Some(need) = need {
            rows = rows.max(need.rows.min(BLOCK_ROWS_MAX));
            for (bytes, needed) in string_bytes.iter_mut().zip(&need.string_bytes) {
                *bytes = (*bytes).max(bounded(*needed));
            }
            rejects_bytes = rejects_bytes.max(bounded(need.reject_bytes));
        }
        BlockLayout {
            schema: self.schema.clone(),
            rows,
            string_bytes,
            rejects_bytes,
        }
    }

    fn column(&self, index: Option<u16>) -> String {
        index
            .and_then(|index| self.columns.get(usize::from(index)))
            .map_or_else(String::new, |name| format!(", column '{name}'"))
    }

    fn finish(self) -> Result<Tested, AggregatorError> {
        let rows = concat_batches(&self.arrow, &self.batches)
            .map_err(|error| AggregatorError::Definition(error.to_string()))?;
        Ok(Tested {
            rows,
            rejects: self.rejects,
        })
    }
}

/// A column of no rows each: what says how a column's type looks to Arrow.
fn empty_columns(schema: &Arc<Schema>) -> Vec<ArrayRef> {
    let strings = schema
        .columns
        .iter()
        .filter(|column| column.physical == Physical::Utf8)
        .count();
    let layout = BlockLayout {
        schema: schema.clone(),
        rows: 1,
        string_bytes: vec![0; strings],
        rejects_bytes: 0,
    };
    let mut writer = BlockWriter::new(&layout, Offset(0));
    let mark = writer.publish(Offset(0));
    let block = writer.shared();
    (0..schema.columns.len())
        .map(|column| block.array(column, mark))
        .collect()
}
