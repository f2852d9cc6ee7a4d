//! A pinned table, as DataFusion plans with it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use ingest::pipeline::SqlType;

use super::{Filter, HIDDEN_COLUMNS, ScanExec, ScanPlan};
use crate::sql::left_out::Late;
use crate::sql::select::types::arrow_of;
use crate::sql::select::{StoredTable, TableColumn};

/// The key of a field's metadata that holds its SQL type.
const TYPE_KEY: &str = "pinleaf.type";

/// A stored table with its snapshots.
pub struct Table {
    stored: StoredTable,
    schema: SchemaRef,
    read_damaged: Option<Arc<Late>>,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.stored.database, self.stored.name)
    }
}

impl Table {
    /// The table; with `read_damaged`, parts that cannot be read are left out and said there.
    #[must_use]
    pub fn new(stored: StoredTable, read_damaged: Option<Arc<Late>>) -> Table {
        let mut fields: Vec<Field> = stored.columns.iter().map(field).collect();
        fields.push(Field::new(HIDDEN_COLUMNS[0], DataType::Int32, false));
        fields.push(Field::new(HIDDEN_COLUMNS[1], DataType::Int64, false));
        fields.push(Field::new(HIDDEN_COLUMNS[2], DataType::Int64, false));
        Table {
            stored,
            schema: Arc::new(Schema::new(fields)),
            read_damaged,
        }
    }

    fn place(&self, name: &str) -> Option<(usize, DataType)> {
        let (at, field) = self.schema.column_with_name(name)?;
        // CHAR's trailing blanks are taken off when it is read: its statistics are of what was written.
        let padded = self
            .stored
            .columns
            .get(at)
            .is_some_and(|column| matches!(column.sql_type, SqlType::Char { .. }));
        (!padded).then(|| (at, field.data_type().clone()))
    }
}

/// A column as a field that knows its SQL type.
#[must_use]
pub fn field(column: &TableColumn) -> Field {
    let text = serde_json::to_string(&column.sql_type).unwrap_or_default();
    Field::new(&column.name, arrow_of(column.sql_type), column.nullable)
        .with_metadata(HashMap::from([(TYPE_KEY.to_owned(), text)]))
}

/// The SQL type of a field that is a table's column. A cast keeps what is said of what it was.
#[must_use]
pub fn type_of_field(field: &Field) -> Option<SqlType> {
    let own = serde_json::from_str(field.metadata().get(TYPE_KEY)?).ok()?;
    (arrow_of(own) == *field.data_type()).then_some(own)
}

#[async_trait]
impl TableProvider for Table {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns = match projection {
            Some(projection) => projection.clone(),
            None => (0..self.schema.fields().len()).collect(),
        };
        let plan = ScanPlan {
            database: self.stored.database.clone(),
            table: self.stored.name.clone(),
            columns,
            filters: filters
                .iter()
                .filter_map(|filter| Filter::of(filter, &|name| self.place(name)))
                .collect(),
            rows_max: limit,
        };
        Ok(Arc::new(ScanExec::new(
            plan,
            &self.schema,
            &self.stored,
            self.read_damaged.clone(),
        )?))
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(filters
            .iter()
            .map(|filter| {
                if Filter::of(filter, &|name| self.place(name)).is_some() {
                    TableProviderFilterPushDown::Inexact
                } else {
                    TableProviderFilterPushDown::Unsupported
                }
            })
            .collect())
    }
}
