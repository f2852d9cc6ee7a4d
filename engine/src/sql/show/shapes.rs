//! The columns of SHOW's answers, and a column's row in SHOW COLUMNS.

use crate::catalog::ColumnDef;
use crate::sql::listing::{Cell, NAME, SECONDS, TEXT, UINT, WORDS};
use crate::sql::parse::show::Kind;
use crate::sql::schema_views;

pub(super) fn short_column(column: &ColumnDef) -> Vec<Cell> {
    vec![
        column.name.clone().into(),
        column.sql_type.to_string().into(),
        (if column.nullable { "YES" } else { "NO" }).into(),
        "".into(),
        schema_views::default_text(column).into(),
        "".into(),
    ]
}

pub(super) fn full_column(column: &ColumnDef) -> Vec<Cell> {
    let is_text = column.sql_type.physical() == storage::schema::Physical::Utf8
        && column.sql_type != ingest::pipeline::SqlType::Json;
    let mut row = short_column(column);
    row.insert(2, is_text.then_some("utf8mb4_bin").into());
    row.push("select".into());
    row.push(column.comment.clone().into());
    row
}

pub(super) type Columns = &'static [(&'static str, ingest::pipeline::SqlType)];

pub(super) const INDEX: Columns = &[
    ("Table", NAME),
    ("Non_unique", UINT),
    ("Key_name", NAME),
    ("Seq_in_index", UINT),
    ("Column_name", NAME),
    ("Collation", NAME),
    ("Cardinality", UINT),
    ("Sub_part", UINT),
    ("Packed", NAME),
    ("Null", NAME),
    ("Index_type", NAME),
    ("Comment", WORDS),
    ("Index_comment", WORDS),
    ("Visible", NAME),
    ("Expression", TEXT),
];

pub(super) fn columns_of(kind: Kind) -> Columns {
    match kind {
        Kind::Plugins => &[
            ("Name", NAME),
            ("Status", NAME),
            ("Type", NAME),
            ("Library", NAME),
            ("License", NAME),
        ],
        Kind::Triggers => &[
            ("Trigger", NAME),
            ("Event", NAME),
            ("Table", NAME),
            ("Statement", TEXT),
            ("Timing", NAME),
            ("Created", SECONDS),
            ("sql_mode", WORDS),
            ("Definer", NAME),
            ("character_set_client", NAME),
            ("collation_connection", NAME),
            ("Database Collation", NAME),
        ],
        Kind::Events => &[
            ("Db", NAME),
            ("Name", NAME),
            ("Definer", NAME),
            ("Time zone", NAME),
            ("Type", NAME),
            ("Execute at", SECONDS),
            ("Interval value", NAME),
            ("Interval field", NAME),
            ("Starts", SECONDS),
            ("Ends", SECONDS),
            ("Status", NAME),
            ("Originator", UINT),
            ("character_set_client", NAME),
            ("collation_connection", NAME),
            ("Database Collation", NAME),
        ],
        Kind::Routines => &[
            ("Db", NAME),
            ("Name", NAME),
            ("Type", NAME),
            ("Definer", NAME),
            ("Modified", SECONDS),
            ("Created", SECONDS),
            ("Security_type", NAME),
            ("Comment", TEXT),
            ("character_set_client", NAME),
            ("collation_connection", NAME),
            ("Database Collation", NAME),
        ],
    }
}
