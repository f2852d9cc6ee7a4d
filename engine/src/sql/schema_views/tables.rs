//! SCHEMATA, TABLES, COLUMNS and PROCESSLIST, as MySQL has them.

use ingest::pipeline::SqlType;

use super::Sources;
use crate::catalog::ColumnDef;
use crate::sql::error::SqlError;
use crate::sql::listing::{Cell, INT, Listing, NAME, SECONDS, TEXT, UINT, WORDS};
use crate::sql::names::INFORMATION_SCHEMA;
use crate::sql::text;

pub(super) const SCHEMATA: &[(&str, SqlType)] = &[
    ("CATALOG_NAME", NAME),
    ("SCHEMA_NAME", NAME),
    ("DEFAULT_CHARACTER_SET_NAME", NAME),
    ("DEFAULT_COLLATION_NAME", NAME),
    ("SQL_PATH", WORDS),
    ("DEFAULT_ENCRYPTION", NAME),
];

pub(super) fn schemata(sources: &Sources<'_>, listing: &mut Listing) -> Result<(), SqlError> {
    let names = sources
        .catalog
        .databases()
        .map(|database| database.name.clone());
    for name in std::iter::once(INFORMATION_SCHEMA.to_owned()).chain(names) {
        listing.push(vec![
            "def".into(),
            name.into(),
            "utf8mb4".into(),
            "utf8mb4_bin".into(),
            Cell::Null,
            "NO".into(),
        ])?;
    }
    Ok(())
}

pub(super) const TABLES: &[(&str, SqlType)] = &[
    ("TABLE_CATALOG", NAME),
    ("TABLE_SCHEMA", NAME),
    ("TABLE_NAME", NAME),
    ("TABLE_TYPE", NAME),
    ("ENGINE", NAME),
    ("VERSION", INT),
    ("ROW_FORMAT", NAME),
    ("TABLE_ROWS", UINT),
    ("AVG_ROW_LENGTH", UINT),
    ("DATA_LENGTH", UINT),
    ("MAX_DATA_LENGTH", UINT),
    ("INDEX_LENGTH", UINT),
    ("DATA_FREE", UINT),
    ("AUTO_INCREMENT", UINT),
    ("CREATE_TIME", SECONDS),
    ("UPDATE_TIME", SECONDS),
    ("CHECK_TIME", SECONDS),
    ("TABLE_COLLATION", NAME),
    ("CHECKSUM", INT),
    ("CREATE_OPTIONS", WORDS),
    ("TABLE_COMMENT", TEXT),
];

pub(super) fn tables(sources: &Sources<'_>, listing: &mut Listing) -> Result<(), SqlError> {
    for name in super::names() {
        let mut row = vec![Cell::Null; TABLES.len()];
        row[0] = "def".into();
        row[1] = INFORMATION_SCHEMA.into();
        row[2] = name.into();
        row[3] = "SYSTEM VIEW".into();
        row[19] = "".into();
        row[20] = "".into();
        listing.push(row)?;
    }
    for table in sources.catalog.tables() {
        let Some(database) = sources.catalog.database_by_id(table.database) else {
            continue;
        };
        let (rows, bytes) = super::size_of(sources.engine, sources.catalog, table);
        listing.push(vec![
            "def".into(),
            database.name.clone().into(),
            table.name.clone().into(),
            "BASE TABLE".into(),
            "Pinleaf".into(),
            Cell::Int(10),
            "Columnar".into(),
            rows.into(),
            bytes.checked_div(rows).unwrap_or(0).into(),
            bytes.into(),
            Cell::UInt(0),
            Cell::UInt(0),
            Cell::UInt(0),
            Cell::Null,
            Cell::UnixMicros(table.create_unix_ms.saturating_mul(1000)),
            Cell::Null,
            Cell::Null,
            "utf8mb4_bin".into(),
            Cell::Null,
            "".into(),
            table.spec.comment.clone().into(),
        ])?;
    }
    Ok(())
}

pub(super) const COLUMNS: &[(&str, SqlType)] = &[
    ("TABLE_CATALOG", NAME),
    ("TABLE_SCHEMA", NAME),
    ("TABLE_NAME", NAME),
    ("COLUMN_NAME", NAME),
    ("ORDINAL_POSITION", UINT),
    ("COLUMN_DEFAULT", TEXT),
    ("IS_NULLABLE", NAME),
    ("DATA_TYPE", NAME),
    ("CHARACTER_MAXIMUM_LENGTH", INT),
    ("CHARACTER_OCTET_LENGTH", INT),
    ("NUMERIC_PRECISION", UINT),
    ("NUMERIC_SCALE", UINT),
    ("DATETIME_PRECISION", UINT),
    ("CHARACTER_SET_NAME", NAME),
    ("COLLATION_NAME", NAME),
    ("COLUMN_TYPE", WORDS),
    ("COLUMN_KEY", NAME),
    ("EXTRA", WORDS),
    ("PRIVILEGES", WORDS),
    ("COLUMN_COMMENT", TEXT),
    ("GENERATION_EXPRESSION", TEXT),
    ("SRS_ID", UINT),
];

pub(super) fn columns(sources: &Sources<'_>, listing: &mut Listing) -> Result<(), SqlError> {
    for view in super::names() {
        for (at, column) in super::columns(view).unwrap_or_default().iter().enumerate() {
            listing.push(column_row(INFORMATION_SCHEMA, view, at, column))?;
        }
    }
    for table in sources.catalog.tables() {
        let Some(database) = sources.catalog.database_by_id(table.database) else {
            continue;
        };
        for (at, column) in table.spec.columns.iter().enumerate() {
            listing.push(column_row(&database.name, &table.name, at, column))?;
        }
    }
    Ok(())
}

fn column_row(database: &str, table: &str, at: usize, column: &ColumnDef) -> Vec<Cell> {
    let shape = TypeShape::of(column.sql_type);
    let is_text = shape.octets.is_some();
    vec![
        "def".into(),
        database.into(),
        table.into(),
        column.name.clone().into(),
        Cell::UInt(at as u64 + 1),
        default_text(column).into(),
        (if column.nullable { "YES" } else { "NO" }).into(),
        shape.name.into(),
        shape.chars.into(),
        shape.octets.into(),
        shape.precision.into(),
        shape.scale.into(),
        shape.fraction.into(),
        is_text.then_some("utf8mb4").into(),
        is_text.then_some("utf8mb4_bin").into(),
        column.sql_type.to_string().into(),
        "".into(),
        "".into(),
        "select".into(),
        column.comment.clone().into(),
        "".into(),
        Cell::Null,
    ]
}

/// DEFAULT as MySQL's COLUMN_DEFAULT shows it: without quotes; `None` for NULL and for none.
pub(in crate::sql) fn default_text(column: &ColumnDef) -> Option<String> {
    use ingest::pipeline::Literal;
    match column.default.as_ref()? {
        Literal::Null => None,
        Literal::Text(text) => Some(text.clone()),
        Literal::Bool(true) => Some("1".to_owned()),
        Literal::Bool(false) => Some("0".to_owned()),
        number @ Literal::Number(_) => Some(text::literal(number)),
    }
}

/// What COLUMNS says of a type.
struct TypeShape {
    name: &'static str,
    chars: Option<i64>,
    octets: Option<i64>,
    precision: Option<u64>,
    scale: Option<u64>,
    fraction: Option<u64>,
}

impl TypeShape {
    fn of(sql_type: SqlType) -> TypeShape {
        let none = |name| TypeShape {
            name,
            chars: None,
            octets: None,
            precision: None,
            scale: None,
            fraction: None,
        };
        let int = |name, digits| TypeShape {
            precision: Some(digits),
            scale: Some(0),
            ..none(name)
        };
        let text = |name, chars: i64, octets: i64| TypeShape {
            chars: Some(chars),
            octets: Some(octets),
            ..none(name)
        };
        match sql_type {
            SqlType::TinyInt { .. } | SqlType::Bool => int("tinyint", 3),
            SqlType::SmallInt { .. } => int("smallint", 5),
            SqlType::MediumInt { .. } => int("mediumint", 7),
            SqlType::Int { .. } => int("int", 10),
            SqlType::BigInt { unsigned } => int("bigint", if unsigned { 20 } else { 19 }),
            SqlType::Float => TypeShape {
                precision: Some(12),
                ..none("float")
            },
            SqlType::Double => TypeShape {
                precision: Some(22),
                ..none("double")
            },
            SqlType::Decimal { precision, scale } => TypeShape {
                precision: Some(precision.into()),
                scale: Some(scale.into()),
                ..none("decimal")
            },
            SqlType::Char { chars } => text("char", chars.into(), i64::from(chars) * 4),
            SqlType::VarChar { chars } => text("varchar", chars.into(), i64::from(chars) * 4),
            SqlType::TinyText => text("tinytext", 255, 255),
            SqlType::Text => text("text", 65_535, 65_535),
            SqlType::MediumText => text("mediumtext", (1 << 24) - 1, (1 << 24) - 1),
            SqlType::LongText => text("longtext", u32::MAX.into(), u32::MAX.into()),
            SqlType::Json => none("json"),
            SqlType::Date => none("date"),
            SqlType::DateTime { fsp } => TypeShape {
                fraction: Some(fsp.into()),
                ..none("datetime")
            },
            SqlType::Timestamp { fsp } => TypeShape {
                fraction: Some(fsp.into()),
                ..none("timestamp")
            },
        }
    }
}

pub(super) const PROCESSLIST: &[(&str, SqlType)] = &[
    ("ID", UINT),
    ("USER", NAME),
    ("HOST", WORDS),
    ("DB", NAME),
    ("COMMAND", NAME),
    ("TIME", INT),
    ("STATE", NAME),
    ("INFO", TEXT),
];

pub(super) fn processlist(sources: &Sources<'_>, listing: &mut Listing) -> Result<(), SqlError> {
    for process in sources.engine.processes().list() {
        listing.push(vec![
            Cell::UInt(process.id.into()),
            process.user.into(),
            process.host.into(),
            process.database.into(),
            process.command.into(),
            Cell::Int((sources.now_unix_us - process.since_unix_us).max(0) / 1_000_000),
            process.state.into(),
            process.info.into(),
        ])?;
    }
    Ok(())
}
