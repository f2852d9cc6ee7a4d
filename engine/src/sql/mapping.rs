//! A pipeline's mapping resolved against its table: a path or a constant for every column.
//!
//! | the statement | the column | where its value comes from |
//! |---|---|---|
//! | no mapping | any | the key of its name; where that is missing its DEFAULT, if one is written |
//! | a mapping | named in it | the path; where that is missing the mapping's DEFAULT |
//! | a mapping | not named in it | the column's DEFAULT, else NULL; NOT NULL without DEFAULT is refused |
//!
//! A path that is missing and has no DEFAULT makes the message a PARSER error, as in the reference.

use ingest::pipeline::{JsonDecoder, JsonMapping, Literal, MappedColumn, MappingError, Path};

use super::error::{Code, SqlError};
use super::parse::MappingElement;
use crate::catalog::{ColumnDef, TableDef};

/// The mapping of `elements` (`None`: the statement has none) for `table`.
///
/// # Errors
/// 1054 for a column that is not there, 1110 for one named twice, 1364 for a NOT NULL column without
/// a value, 1067 for a DEFAULT that its column does not take.
pub fn resolve(
    table: &TableDef,
    elements: Option<&[MappingElement]>,
) -> Result<JsonMapping, SqlError> {
    if let Some(elements) = elements {
        check_names(table, elements)?;
    }
    let columns = table
        .spec
        .columns
        .iter()
        .map(|column| mapped(column, elements))
        .collect();
    let mapping = JsonMapping { columns };
    JsonDecoder::new(&mapping).map_err(|fault| refused(&fault))?;
    Ok(mapping)
}

fn check_names(table: &TableDef, elements: &[MappingElement]) -> Result<(), SqlError> {
    for (at, element) in elements.iter().enumerate() {
        let name = &element.column.name;
        let other_table = element
            .column
            .database
            .as_ref()
            .filter(|written| **written != table.name);
        if let Some(other) = other_table {
            return Err(SqlError::new(
                Code::UnknownColumn,
                format!(
                    "Unknown column '{other}.{name}' in the mapping: the table is '{}'",
                    table.name
                ),
            ));
        }
        if table.column(name).is_none() {
            return Err(SqlError::new(
                Code::UnknownColumn,
                format!(
                    "Unknown column '{name}' in the mapping of table '{}'",
                    table.name
                ),
            ));
        }
        if elements[..at]
            .iter()
            .any(|before| before.column.name.eq_ignore_ascii_case(name))
        {
            return Err(SqlError::new(
                Code::ColumnTwice,
                format!("Column '{name}' specified twice"),
            ));
        }
    }
    Ok(())
}

fn mapped(column: &ColumnDef, elements: Option<&[MappingElement]>) -> MappedColumn {
    let element = elements.map(|elements| {
        elements
            .iter()
            .find(|element| element.column.name.eq_ignore_ascii_case(&column.name))
    });
    let (path, default) = match element {
        None => (
            Some(Path(vec![column.name.clone()])),
            column.default.clone(),
        ),
        Some(Some(element)) => (Some(element.path.clone()), element.default.clone()),
        Some(None) => {
            let default = column
                .default
                .clone()
                .or_else(|| column.nullable.then_some(Literal::Null));
            (None, default)
        }
    };
    MappedColumn {
        name: column.name.clone(),
        sql_type: column.sql_type,
        nullable: column.nullable,
        path,
        default,
    }
}

fn refused(fault: &MappingError) -> SqlError {
    let (code, message) = match fault {
        MappingError::Default { column, .. } => (
            Code::InvalidDefault,
            format!("Invalid default value for '{column}'"),
        ),
        MappingError::NoValue { column } => (
            Code::NoDefault,
            format!(
                "Field '{column}' doesn't have a default value: it is NOT NULL and not in the mapping"
            ),
        ),
        MappingError::Type { .. }
        | MappingError::PathTooLong { .. }
        | MappingError::TooManyColumns { .. } => (Code::PipelineFault, fault.to_string()),
    };
    SqlError::new(code, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{DatabaseId, TableSpec};
    use crate::sql::parse::{Statement, parse};

    fn table(sql: &str) -> TableDef {
        let Ok(Statement::CreateTable(text)) = parse(sql) else {
            panic!("{sql}")
        };
        let spec: TableSpec = text.spec;
        TableDef {
            id: storage::ids::TableId(1),
            database: DatabaseId(1),
            name: text.name.name,
            schema: TableDef::storage_schema(&spec, 1),
            spec,
            schema_version: 1,
            create_unix_ms: 0,
            dropping: false,
        }
    }

    fn resolved(mapping: &str) -> Result<JsonMapping, SqlError> {
        let table = table("create table t (id bigint not null, s varchar(3) default 'abc', n int)");
        let sql = format!(
            "create pipeline p as load data kafka 'h/t' into table t format json {mapping}"
        );
        let Statement::CreatePipeline(text) = parse(&sql)? else {
            panic!("{sql}")
        };
        resolve(&table, text.mapping.as_deref())
    }

    fn shown(mapping: &JsonMapping) -> String {
        let path = |path: &Option<Path>| {
            path.as_ref()
                .map_or("-".to_owned(), |path| path.0.join("::"))
        };
        mapping
            .columns
            .iter()
            .map(|column| {
                format!(
                    "{}={}/{:?}",
                    column.name,
                    path(&column.path),
                    column.default
                )
            })
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn every_column_gets_a_path_or_a_constant() {
        for (mapping, expected) in [
            ("", "id=id/None s=s/Some(Text(\"abc\")) n=n/None"),
            (
                "(ID <- %::a::b, n <- `x y` default -1)",
                "id=a::b/None s=-/Some(Text(\"abc\")) n=x y/Some(Number(\"-1\"))",
            ),
            (
                "(`t`.`id` <- id)",
                "id=id/None s=-/Some(Text(\"abc\")) n=-/Some(Null)",
            ),
            (
                "(id <- %)",
                "id=/None s=-/Some(Text(\"abc\")) n=-/Some(Null)",
            ),
        ] {
            assert_eq!(
                resolved(mapping).as_ref().map(shown),
                Ok(expected.to_owned()),
                "{mapping}"
            );
        }
    }

    #[test]
    fn a_mapping_that_cannot_be_is_refused() {
        for (mapping, code, message) in [
            (
                "(id <- a, zz <- b)",
                1054,
                "Unknown column 'zz' in the mapping of table 't'",
            ),
            (
                "(u.id <- a)",
                1054,
                "Unknown column 'u.id' in the mapping: the table is 't'",
            ),
            ("(id <- a, ID <- b)", 1110, "Column 'ID' specified twice"),
            (
                "(s <- a)",
                1364,
                "Field 'id' doesn't have a default value: it is NOT NULL and not in the mapping",
            ),
            (
                "(id <- a default null)",
                1067,
                "Invalid default value for 'id'",
            ),
            (
                "(id <- a default 'x')",
                1067,
                "Invalid default value for 'id'",
            ),
            (
                "(id <- a, s <- b default 'long')",
                1067,
                "Invalid default value for 's'",
            ),
        ] {
            let error = resolved(mapping).expect_err(mapping);
            assert_eq!((error.code, error.message.as_str()), (code, message));
        }
    }
}
