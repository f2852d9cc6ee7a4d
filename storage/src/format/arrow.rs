//! The part of a segment that other readers of Arrow see: its types, and the flatbuffers.
//!
//! Pinleaf itself reads none of it back: all it needs stands in its own records, under a CRC.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_ipc::convert::IpcSchemaEncoder;
use arrow_ipc::{
    Block, Buffer, FieldNode, FooterBuilder, MessageBuilder, MessageHeader, MetadataVersion,
    RecordBatchBuilder,
};
use arrow_schema::{DataType, Field, Schema as ArrowSchema, SchemaRef};
use flatbuffers::FlatBufferBuilder;

use crate::format::header::SegmentHeader;
use crate::format::record::CommitRecord;
use crate::schema::{OFFSET_COLUMN, Physical, Schema, TIMESTAMP_COLUMN, TimeUnit};

/// The key of a field's metadata under which the SQL type's text stands.
pub const ANNOTATION_KEY: &str = "pinleaf.type";

/// Arrow's type of a column.
#[must_use]
pub fn data_type(physical: Physical) -> DataType {
    match physical {
        Physical::Int8 => DataType::Int8,
        Physical::Int16 => DataType::Int16,
        Physical::Int32 => DataType::Int32,
        Physical::Int64 => DataType::Int64,
        Physical::UInt8 => DataType::UInt8,
        Physical::UInt16 => DataType::UInt16,
        Physical::UInt32 => DataType::UInt32,
        Physical::UInt64 => DataType::UInt64,
        Physical::Float32 => DataType::Float32,
        Physical::Float64 => DataType::Float64,
        Physical::Decimal128 { precision, scale } => DataType::Decimal128(precision, scale as i8),
        Physical::Date32 => DataType::Date32,
        Physical::Timestamp(unit) => DataType::Timestamp(
            match unit {
                TimeUnit::Second => arrow_schema::TimeUnit::Second,
                TimeUnit::Millisecond => arrow_schema::TimeUnit::Millisecond,
                TimeUnit::Microsecond => arrow_schema::TimeUnit::Microsecond,
            },
            None,
        ),
        Physical::Utf8 => DataType::Utf8,
    }
}

/// Arrow's schema of a segment: the user's columns, then `_offset`, then `_timestamp`.
#[must_use]
pub fn arrow_schema(schema: &Schema) -> SchemaRef {
    Arc::new(ArrowSchema::new(fields(schema)))
}

fn fields(schema: &Schema) -> Vec<Field> {
    let user = schema.columns.iter().map(|column| {
        let field = Field::new(&column.name, data_type(column.physical), column.nullable);
        let metadata = (ANNOTATION_KEY.to_owned(), column.annotation.clone());
        field.with_metadata(HashMap::from([metadata]))
    });
    let hidden = [OFFSET_COLUMN, TIMESTAMP_COLUMN];
    let hidden = hidden.map(|name| Field::new(name, DataType::Int64, false));
    user.chain(hidden).collect()
}

/// The schema with what a person who opens the file elsewhere wants to know of it.
fn described(header: &SegmentHeader) -> ArrowSchema {
    let metadata = [
        ("pinleaf.table", header.table.to_string()),
        (
            "pinleaf.leaf_partition",
            header.id.leaf_partition.to_string(),
        ),
        (
            "pinleaf.kafka_partition",
            header.kafka_partition.to_string(),
        ),
        ("pinleaf.topic_id", header.topic_id.to_string()),
        ("pinleaf.lineage", header.lineage.to_string()),
        ("pinleaf.sequence", header.id.sequence.to_string()),
    ];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value));
    ArrowSchema::new(fields(&header.schema)).with_metadata(HashMap::from(metadata))
}

/// The schema message's flatbuffer.
pub(super) fn schema_message(header: &SegmentHeader) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::new();
    let schema = described(header);
    let schema = IpcSchemaEncoder::new().schema_to_fb_offset(&mut builder, &schema);
    let mut message = MessageBuilder::new(&mut builder);
    message.add_version(MetadataVersion::V5);
    message.add_header_type(MessageHeader::Schema);
    message.add_bodyLength(0);
    message.add_header(schema.as_union_value());
    let root = message.finish();
    builder.finish(root, None);
    builder.finished_data().to_vec()
}

/// A record-batch message's flatbuffer.
pub(super) fn batch_message(record: &CommitRecord, schema: &Schema) -> Vec<u8> {
    let rows = i64::from(record.facts.rows);
    let mut nodes = Vec::with_capacity(record.columns.len());
    let mut buffers = Vec::with_capacity(record.columns.len() * 3);
    for (index, column) in record.columns.iter().enumerate() {
        nodes.push(FieldNode::new(
            rows,
            i64::from(column.statistics.null_count),
        ));
        let strings = schema
            .columns
            .get(index)
            .is_some_and(|c| c.physical == Physical::Utf8);
        for buffer in &column.buffers[..if strings { 3 } else { 2 }] {
            buffers.push(Buffer::new(buffer.at as i64, i64::from(buffer.bytes)));
        }
    }
    let mut builder = FlatBufferBuilder::with_capacity(256 + 64 * record.columns.len());
    let nodes = builder.create_vector(&nodes);
    let buffers = builder.create_vector(&buffers);
    let mut batch = RecordBatchBuilder::new(&mut builder);
    batch.add_length(rows);
    batch.add_nodes(nodes);
    batch.add_buffers(buffers);
    let batch = batch.finish();
    let mut message = MessageBuilder::new(&mut builder);
    message.add_version(MetadataVersion::V5);
    message.add_header_type(MessageHeader::RecordBatch);
    message.add_bodyLength(record.body_bytes as i64);
    message.add_header(batch.as_union_value());
    let root = message.finish();
    builder.finish(root, None);
    builder.finished_data().to_vec()
}

/// The footer's flatbuffer.
pub(super) fn footer(header: &SegmentHeader, commits: &[(u64, &CommitRecord)]) -> Vec<u8> {
    let blocks: Vec<Block> = commits
        .iter()
        .map(|(at, record)| {
            Block::new(
                *at as i64,
                record.head_bytes as i32,
                record.body_bytes as i64,
            )
        })
        .collect();
    let mut builder = FlatBufferBuilder::with_capacity(4_096 + 24 * commits.len());
    let blocks = builder.create_vector(&blocks);
    let dictionaries = builder.create_vector::<Block>(&[]);
    let schema = described(header);
    let schema = IpcSchemaEncoder::new().schema_to_fb_offset(&mut builder, &schema);
    let mut footer = FooterBuilder::new(&mut builder);
    footer.add_version(MetadataVersion::V5);
    footer.add_schema(schema);
    footer.add_dictionaries(dictionaries);
    footer.add_recordBatches(blocks);
    let root = footer.finish();
    builder.finish(root, None);
    builder.finished_data().to_vec()
}
