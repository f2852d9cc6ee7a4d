//! What a query stands on: a table of every type, another, and a runtime of this thread alone.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array, Int16Array,
    Int32Array, Int64Array, StringArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    TimestampSecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::datatypes::{Field, Schema};
use arrow::record_batch::RecordBatch;
use engine::sql::select::types::arrow_of;
use engine::sql::select::{
    Cancel, Names, QueryMemory, SelectContext, Source, TableColumn, VariableScope, Variables,
    VirtualTable,
};
use engine::sql::{Code, SqlError, Value};
use ingest::pipeline::SqlType;
use tokio::runtime::Runtime;

/// What all queries share.
const MEMORY_BYTES: usize = 64 << 20;

struct World {
    t: VirtualTable,
    u: VirtualTable,
}

impl Names for World {
    fn resolve(&self, database: Option<&str>, table: &str) -> Result<Option<Source>, SqlError> {
        Ok(match (database, table) {
            (None, _) => return Err(SqlError::new(Code::NoDatabase, "No database selected")),
            (Some("d"), "t") => Some(Source::Virtual(self.t.clone())),
            (Some("d"), "u") => Some(Source::Virtual(self.u.clone())),
            _ => None,
        })
    }
}

impl Variables for World {
    fn system(&self, _: VariableScope, name: &str) -> Result<Value, SqlError> {
        match name {
            "a" => Ok(Value::Int(1)),
            "b" => Ok(Value::Bytes(b"b".to_vec())),
            _ => Err(SqlError::new(
                Code::UnknownSystemVariable,
                format!("Unknown system variable '{name}'"),
            )),
        }
    }

    fn user(&self, name: &str) -> Value {
        match name {
            "a" => Value::Double(0.5),
            _ => Value::Null,
        }
    }
}

thread_local! {
    static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    static CONTEXT: SelectContext = made();
}

/// A context over the tables `t` and `u` of database `d`.
pub fn context() -> SelectContext {
    CONTEXT.with(Clone::clone)
}

/// Runs on this thread's runtime, where the context's queries run too.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    RUNTIME.with(|runtime| runtime.block_on(work))
}

fn made() -> SelectContext {
    let world = Arc::new(World {
        t: table("t", every_type()),
        u: table("u", few()),
    });
    SelectContext {
        names: Arc::clone(&world) as Arc<dyn Names>,
        database: Some("d".to_owned()),
        connection_id: 7,
        user: "root@localhost".to_owned(),
        version: "8.0.36".to_owned(),
        now_unix_us: 1_706_703_123_456_789,
        variables: world,
        memory: QueryMemory::new(MEMORY_BYTES).expect("a pool"),
        runtime: RUNTIME.with(|runtime| runtime.handle().clone()),
        threads: 1,
        cancel: Cancel::never(),
        text: None,
        read_damaged: None,
    }
}

fn table(name: &str, columns: Vec<(&str, SqlType, ArrayRef)>) -> VirtualTable {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, sql_type, _)| Field::new(*name, arrow_of(*sql_type), true))
        .collect();
    let told = columns.iter().map(|(name, sql_type, _)| TableColumn {
        name: (*name).to_owned(),
        sql_type: *sql_type,
        nullable: true,
    });
    VirtualTable {
        database: "d".to_owned(),
        name: name.to_owned(),
        columns: told.collect(),
        batch: RecordBatch::try_new(
            Arc::new(Schema::new(fields)),
            columns.into_iter().map(|(_, _, array)| array).collect(),
        )
        .expect("arrays of these types"),
    }
}

fn few() -> Vec<(&'static str, SqlType, ArrayRef)> {
    let int = SqlType::BigInt { unsigned: false };
    vec![
        ("a", int, Arc::new(Int64Array::from(vec![1, 2, 2]))),
        (
            "b",
            SqlType::VarChar { chars: 10 },
            Arc::new(StringArray::from(vec![Some("x"), None, Some("Ä")])),
        ),
    ]
}

/// Least, most, nothing, and something between.
fn every_type() -> Vec<(&'static str, SqlType, ArrayRef)> {
    macro_rules! numbers {
        ($array:ident, $type:ty) => {
            Arc::new($array::from(vec![
                Some(<$type>::MIN),
                Some(<$type>::MAX),
                None,
                Some(7 as $type),
            ])) as ArrayRef
        };
    }
    let texts = |texts: [Option<&str>; 4]| Arc::new(StringArray::from(texts.to_vec())) as ArrayRef;
    let int = |unsigned| SqlType::BigInt { unsigned };
    // 0000-01-01 and 9999-12-31.
    let days = [Some(-719_528), Some(2_932_896), None, Some(19_782)];
    let seconds = days.map(|day| day.map(|day| i64::from(day) * 86_400));
    let (precision, scale) = (20, 4);
    let decimal = Decimal128Array::from(vec![
        Some(-(10_i128.pow(20) - 1)),
        Some(10_i128.pow(20) - 1),
        None,
        Some(12_345),
    ]);
    let decimal = decimal.with_precision_and_scale(precision, scale as i8);
    vec![
        (
            "i8",
            SqlType::TinyInt { unsigned: false },
            numbers!(Int8Array, i8),
        ),
        (
            "u8",
            SqlType::TinyInt { unsigned: true },
            numbers!(UInt8Array, u8),
        ),
        (
            "i16",
            SqlType::SmallInt { unsigned: false },
            numbers!(Int16Array, i16),
        ),
        (
            "u16",
            SqlType::SmallInt { unsigned: true },
            numbers!(UInt16Array, u16),
        ),
        (
            "i32",
            SqlType::Int { unsigned: false },
            numbers!(Int32Array, i32),
        ),
        (
            "u32",
            SqlType::Int { unsigned: true },
            numbers!(UInt32Array, u32),
        ),
        ("i64", int(false), numbers!(Int64Array, i64)),
        ("u64", int(true), numbers!(UInt64Array, u64)),
        ("f", SqlType::Float, numbers!(Float32Array, f32)),
        ("d", SqlType::Double, numbers!(Float64Array, f64)),
        (
            "m",
            SqlType::Decimal { precision, scale },
            Arc::new(decimal.expect("a decimal")),
        ),
        (
            "s",
            SqlType::VarChar { chars: 20 },
            texts([Some(""), Some("1e3 Zürich 🦀"), None, Some("2024-02-29")]),
        ),
        (
            "j",
            SqlType::Json,
            texts([Some("{\"a\":[1]}"), Some("1"), None, Some("\"x\"")]),
        ),
        (
            "day",
            SqlType::Date,
            Arc::new(Date32Array::from(days.to_vec())),
        ),
        (
            "at0",
            SqlType::DateTime { fsp: 0 },
            Arc::new(TimestampSecondArray::from(seconds.to_vec())),
        ),
        (
            "at3",
            SqlType::DateTime { fsp: 3 },
            Arc::new(TimestampMillisecondArray::from(
                seconds.map(|s| s.map(|s| s * 1_000 + 999)).to_vec(),
            )),
        ),
        (
            "at6",
            SqlType::Timestamp { fsp: 6 },
            Arc::new(TimestampMicrosecondArray::from(
                seconds.map(|s| s.map(|s| s * 1_000_000 + 1)).to_vec(),
            )),
        ),
    ]
}
