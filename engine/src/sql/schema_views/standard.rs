//! MySQL 8's views of what this server has one of, or none: engines, collations and character sets;
//! keys, constraints, routines, views, triggers and events. Clients' drivers ask all of them.

use ingest::pipeline::SqlType;

use super::{Sources, View};
use crate::sql::error::SqlError;
use crate::sql::listing::{Cell, INT, Listing, NAME, SECONDS, TEXT, UINT, WORDS};

type Columns = &'static [(&'static str, SqlType)];

/// The views, by name.
pub(super) const VIEWS: &[View] = &[
    filled("CHARACTER_SETS", CHARACTER_SETS, |_, listing| {
        for (name, about, collation, bytes) in CHARACTER_SETS_KNOWN {
            listing.push(vec![
                (*name).into(),
                (*collation).into(),
                (*about).into(),
                Cell::UInt(*bytes),
            ])?;
        }
        Ok(())
    }),
    empty("COLUMN_PRIVILEGES", COLUMN_PRIVILEGES),
    filled("COLLATIONS", COLLATIONS, |_, listing| {
        collation_rows().try_for_each(|row| listing.push(row))
    }),
    filled("ENGINES", ENGINES, |_, listing| listing.push(engine_row())),
    empty("EVENTS", EVENTS),
    filled("KEYWORDS", KEYWORDS, |_, listing| {
        let words = RESERVED.split_ascii_whitespace();
        words
            .map(|word| vec![word.into(), Cell::Int(1)])
            .try_for_each(|row| listing.push(row))
    }),
    empty("KEY_COLUMN_USAGE", KEY_COLUMN_USAGE),
    empty("PARAMETERS", PARAMETERS),
    empty("REFERENTIAL_CONSTRAINTS", REFERENTIAL_CONSTRAINTS),
    empty("ROUTINES", ROUTINES),
    empty("STATISTICS", STATISTICS),
    empty("TABLE_CONSTRAINTS", TABLE_CONSTRAINTS),
    empty("TABLE_PRIVILEGES", TABLE_PRIVILEGES),
    empty("TRIGGERS", TRIGGERS),
    empty("VIEWS", VIEWS_OF_USERS),
];

const fn empty(name: &'static str, columns: Columns) -> View {
    filled(name, columns, |_, _| Ok(()))
}

const fn filled(
    name: &'static str,
    columns: Columns,
    fill: fn(&Sources<'_>, &mut Listing) -> Result<(), SqlError>,
) -> View {
    View {
        name,
        columns,
        fill,
    }
}

/// Name, description, default collation, bytes of a character at most.
pub(in crate::sql) const CHARACTER_SETS_KNOWN: &[(&str, &str, &str, u64)] = &[
    ("binary", "Binary pseudo charset", "binary", 1),
    ("utf8mb4", "UTF-8 Unicode", "utf8mb4_bin", 4),
];

/// The rows of COLLATIONS and of SHOW COLLATION.
pub(in crate::sql) fn collation_rows() -> impl Iterator<Item = Vec<Cell>> {
    let known = [
        ("binary", "binary", 63, "NO PAD"),
        ("utf8mb4_bin", "utf8mb4", 46, "PAD SPACE"),
    ];
    known.into_iter().map(|(name, charset, id, pad)| {
        vec![
            name.into(),
            charset.into(),
            Cell::UInt(id),
            "Yes".into(),
            "Yes".into(),
            Cell::UInt(1),
            pad.into(),
        ]
    })
}

/// The row of ENGINES and of SHOW ENGINES.
pub(in crate::sql) fn engine_row() -> Vec<Cell> {
    let comment = "Columnar segments, loaded by pipelines exactly once";
    ["Pinleaf", "DEFAULT", comment, "NO", "NO", "NO"]
        .map(Cell::from)
        .to_vec()
}

const ENGINES: Columns = &[
    ("ENGINE", NAME),
    ("SUPPORT", NAME),
    ("COMMENT", WORDS),
    ("TRANSACTIONS", NAME),
    ("XA", NAME),
    ("SAVEPOINTS", NAME),
];

const COLLATIONS: Columns = &[
    ("COLLATION_NAME", NAME),
    ("CHARACTER_SET_NAME", NAME),
    ("ID", UINT),
    ("IS_DEFAULT", NAME),
    ("IS_COMPILED", NAME),
    ("SORTLEN", UINT),
    ("PAD_ATTRIBUTE", NAME),
];

const CHARACTER_SETS: Columns = &[
    ("CHARACTER_SET_NAME", NAME),
    ("DEFAULT_COLLATE_NAME", NAME),
    ("DESCRIPTION", WORDS),
    ("MAXLEN", UINT),
];

const KEYWORDS: Columns = &[("WORD", NAME), ("RESERVED", INT)];

/// MySQL 8's reserved words: a name that is one of them stands in backticks.
const RESERVED: &str = "\
    ACCESSIBLE ADD ALL ALTER ANALYZE AND AS ASC ASENSITIVE BEFORE BETWEEN BIGINT BINARY BLOB BOTH BY CALL \
    CASCADE CASE CHANGE CHAR CHARACTER CHECK COLLATE COLUMN CONDITION CONSTRAINT CONTINUE CONVERT CREATE CROSS \
    CUBE CUME_DIST CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP CURRENT_USER CURSOR DATABASE DATABASES DAY_HOUR \
    DAY_MICROSECOND DAY_MINUTE DAY_SECOND DEC DECIMAL DECLARE DEFAULT DELAYED DELETE DENSE_RANK DESC DESCRIBE \
    DETERMINISTIC DISTINCT DISTINCTROW DIV DOUBLE DROP DUAL EACH ELSE ELSEIF EMPTY ENCLOSED ESCAPED EXCEPT \
    EXISTS EXIT EXPLAIN FALSE FETCH FIRST_VALUE FLOAT FLOAT4 FLOAT8 FOR FORCE FOREIGN FROM FULLTEXT FUNCTION \
    GENERATED GET GRANT GROUP GROUPING GROUPS HAVING HIGH_PRIORITY HOUR_MICROSECOND HOUR_MINUTE HOUR_SECOND IF \
    IGNORE IN INDEX INFILE INNER INOUT INSENSITIVE INSERT INT INT1 INT2 INT3 INT4 INT8 INTEGER INTERSECT \
    INTERVAL INTO IO_AFTER_GTIDS IO_BEFORE_GTIDS IS ITERATE JOIN JSON_TABLE KEY KEYS KILL LAG LAST_VALUE LATERAL \
    LEAD LEADING LEAVE LEFT LIKE LIMIT LINEAR LINES LOAD LOCALTIME LOCALTIMESTAMP LOCK LONG LONGBLOB LONGTEXT \
    LOOP LOW_PRIORITY MASTER_BIND MASTER_SSL_VERIFY_SERVER_CERT MATCH MAXVALUE MEDIUMBLOB MEDIUMINT MEDIUMTEXT \
    MIDDLEINT MINUTE_MICROSECOND MINUTE_SECOND MOD MODIFIES NATURAL NOT NO_WRITE_TO_BINLOG NTH_VALUE NTILE NULL \
    NUMERIC OF ON OPTIMIZE OPTIMIZER_COSTS OPTION OPTIONALLY OR ORDER OUT OUTER OUTFILE OVER PARTITION \
    PERCENT_RANK PRECISION PRIMARY PROCEDURE PURGE RANGE RANK READ READS READ_WRITE REAL RECURSIVE REFERENCES \
    REGEXP RELEASE RENAME REPEAT REPLACE REQUIRE RESIGNAL RESTRICT RETURN REVOKE RIGHT RLIKE ROW ROWS ROW_NUMBER \
    SCHEMA SCHEMAS SECOND_MICROSECOND SELECT SENSITIVE SEPARATOR SET SHOW SIGNAL SMALLINT SPATIAL SPECIFIC SQL \
    SQLEXCEPTION SQLSTATE SQLWARNING SQL_BIG_RESULT SQL_CALC_FOUND_ROWS SQL_SMALL_RESULT SSL STARTING STORED \
    STRAIGHT_JOIN SYSTEM TABLE TERMINATED THEN TINYBLOB TINYINT TINYTEXT TO TRAILING TRIGGER TRUE UNDO UNION \
    UNIQUE UNLOCK UNSIGNED UPDATE USAGE USE USING UTC_DATE UTC_TIME UTC_TIMESTAMP VALUES VARBINARY VARCHAR \
    VARCHARACTER VARYING VIRTUAL WHEN WHERE WHILE WINDOW WITH WRITE XOR YEAR_MONTH ZEROFILL";

const COLUMN_PRIVILEGES: Columns = &[
    ("GRANTEE", WORDS),
    ("TABLE_CATALOG", NAME),
    ("TABLE_SCHEMA", NAME),
    ("TABLE_NAME", NAME),
    ("COLUMN_NAME", NAME),
    ("PRIVILEGE_TYPE", NAME),
    ("IS_GRANTABLE", NAME),
];

const TABLE_PRIVILEGES: Columns = &[
    ("GRANTEE", WORDS),
    ("TABLE_CATALOG", NAME),
    ("TABLE_SCHEMA", NAME),
    ("TABLE_NAME", NAME),
    ("PRIVILEGE_TYPE", NAME),
    ("IS_GRANTABLE", NAME),
];

const STATISTICS: Columns = &[
    ("TABLE_CATALOG", NAME),
    ("TABLE_SCHEMA", NAME),
    ("TABLE_NAME", NAME),
    ("NON_UNIQUE", INT),
    ("INDEX_SCHEMA", NAME),
    ("INDEX_NAME", NAME),
    ("SEQ_IN_INDEX", UINT),
    ("COLUMN_NAME", NAME),
    ("COLLATION", NAME),
    ("CARDINALITY", INT),
    ("SUB_PART", INT),
    ("PACKED", NAME),
    ("NULLABLE", NAME),
    ("INDEX_TYPE", NAME),
    ("COMMENT", WORDS),
    ("INDEX_COMMENT", TEXT),
    ("IS_VISIBLE", NAME),
    ("EXPRESSION", TEXT),
];

const KEY_COLUMN_USAGE: Columns = &[
    ("CONSTRAINT_CATALOG", NAME),
    ("CONSTRAINT_SCHEMA", NAME),
    ("CONSTRAINT_NAME", NAME),
    ("TABLE_CATALOG", NAME),
    ("TABLE_SCHEMA", NAME),
    ("TABLE_NAME", NAME),
    ("COLUMN_NAME", NAME),
    ("ORDINAL_POSITION", UINT),
    ("POSITION_IN_UNIQUE_CONSTRAINT", UINT),
    ("REFERENCED_TABLE_SCHEMA", NAME),
    ("REFERENCED_TABLE_NAME", NAME),
    ("REFERENCED_COLUMN_NAME", NAME),
];

const TABLE_CONSTRAINTS: Columns = &[
    ("CONSTRAINT_CATALOG", NAME),
    ("CONSTRAINT_SCHEMA", NAME),
    ("CONSTRAINT_NAME", NAME),
    ("TABLE_SCHEMA", NAME),
    ("TABLE_NAME", NAME),
    ("CONSTRAINT_TYPE", NAME),
    ("ENFORCED", NAME),
];

const REFERENTIAL_CONSTRAINTS: Columns = &[
    ("CONSTRAINT_CATALOG", NAME),
    ("CONSTRAINT_SCHEMA", NAME),
    ("CONSTRAINT_NAME", NAME),
    ("UNIQUE_CONSTRAINT_CATALOG", NAME),
    ("UNIQUE_CONSTRAINT_SCHEMA", NAME),
    ("UNIQUE_CONSTRAINT_NAME", NAME),
    ("MATCH_OPTION", NAME),
    ("UPDATE_RULE", NAME),
    ("DELETE_RULE", NAME),
    ("TABLE_NAME", NAME),
    ("REFERENCED_TABLE_NAME", NAME),
];

const ROUTINES: Columns = &[
    ("SPECIFIC_NAME", NAME),
    ("ROUTINE_CATALOG", NAME),
    ("ROUTINE_SCHEMA", NAME),
    ("ROUTINE_NAME", NAME),
    ("ROUTINE_TYPE", NAME),
    ("DATA_TYPE", TEXT),
    ("CHARACTER_MAXIMUM_LENGTH", INT),
    ("CHARACTER_OCTET_LENGTH", INT),
    ("NUMERIC_PRECISION", UINT),
    ("NUMERIC_SCALE", UINT),
    ("DATETIME_PRECISION", UINT),
    ("CHARACTER_SET_NAME", NAME),
    ("COLLATION_NAME", NAME),
    ("DTD_IDENTIFIER", TEXT),
    ("ROUTINE_BODY", NAME),
    ("ROUTINE_DEFINITION", TEXT),
    ("EXTERNAL_NAME", NAME),
    ("EXTERNAL_LANGUAGE", NAME),
    ("PARAMETER_STYLE", NAME),
    ("IS_DETERMINISTIC", NAME),
    ("SQL_DATA_ACCESS", NAME),
    ("SQL_PATH", NAME),
    ("SECURITY_TYPE", NAME),
    ("CREATED", SECONDS),
    ("LAST_ALTERED", SECONDS),
    ("SQL_MODE", WORDS),
    ("ROUTINE_COMMENT", TEXT),
    ("DEFINER", WORDS),
    ("CHARACTER_SET_CLIENT", NAME),
    ("COLLATION_CONNECTION", NAME),
    ("DATABASE_COLLATION", NAME),
];

const PARAMETERS: Columns = &[
    ("SPECIFIC_CATALOG", NAME),
    ("SPECIFIC_SCHEMA", NAME),
    ("SPECIFIC_NAME", NAME),
    ("ORDINAL_POSITION", UINT),
    ("PARAMETER_MODE", NAME),
    ("PARAMETER_NAME", NAME),
    ("DATA_TYPE", TEXT),
    ("CHARACTER_MAXIMUM_LENGTH", INT),
    ("CHARACTER_OCTET_LENGTH", INT),
    ("NUMERIC_PRECISION", UINT),
    ("NUMERIC_SCALE", INT),
    ("DATETIME_PRECISION", UINT),
    ("CHARACTER_SET_NAME", NAME),
    ("COLLATION_NAME", NAME),
    ("DTD_IDENTIFIER", TEXT),
    ("ROUTINE_TYPE", NAME),
];

const VIEWS_OF_USERS: Columns = &[
    ("TABLE_CATALOG", NAME),
    ("TABLE_SCHEMA", NAME),
    ("TABLE_NAME", NAME),
    ("VIEW_DEFINITION", TEXT),
    ("CHECK_OPTION", NAME),
    ("IS_UPDATABLE", NAME),
    ("DEFINER", WORDS),
    ("SECURITY_TYPE", NAME),
    ("CHARACTER_SET_CLIENT", NAME),
    ("COLLATION_CONNECTION", NAME),
];

const TRIGGERS: Columns = &[
    ("TRIGGER_CATALOG", NAME),
    ("TRIGGER_SCHEMA", NAME),
    ("TRIGGER_NAME", NAME),
    ("EVENT_MANIPULATION", NAME),
    ("EVENT_OBJECT_CATALOG", NAME),
    ("EVENT_OBJECT_SCHEMA", NAME),
    ("EVENT_OBJECT_TABLE", NAME),
    ("ACTION_ORDER", UINT),
    ("ACTION_CONDITION", TEXT),
    ("ACTION_STATEMENT", TEXT),
    ("ACTION_ORIENTATION", NAME),
    ("ACTION_TIMING", NAME),
    ("ACTION_REFERENCE_OLD_TABLE", NAME),
    ("ACTION_REFERENCE_NEW_TABLE", NAME),
    ("ACTION_REFERENCE_OLD_ROW", NAME),
    ("ACTION_REFERENCE_NEW_ROW", NAME),
    ("CREATED", SECONDS),
    ("SQL_MODE", WORDS),
    ("DEFINER", WORDS),
    ("CHARACTER_SET_CLIENT", NAME),
    ("COLLATION_CONNECTION", NAME),
    ("DATABASE_COLLATION", NAME),
];

const EVENTS: Columns = &[
    ("EVENT_CATALOG", NAME),
    ("EVENT_SCHEMA", NAME),
    ("EVENT_NAME", NAME),
    ("DEFINER", WORDS),
    ("TIME_ZONE", NAME),
    ("EVENT_BODY", NAME),
    ("EVENT_DEFINITION", TEXT),
    ("EVENT_TYPE", NAME),
    ("EXECUTE_AT", SECONDS),
    ("INTERVAL_VALUE", WORDS),
    ("INTERVAL_FIELD", NAME),
    ("SQL_MODE", WORDS),
    ("STARTS", SECONDS),
    ("ENDS", SECONDS),
    ("STATUS", NAME),
    ("ON_COMPLETION", NAME),
    ("CREATED", SECONDS),
    ("LAST_ALTERED", SECONDS),
    ("LAST_EXECUTED", SECONDS),
    ("EVENT_COMMENT", TEXT),
    ("ORIGINATOR", UINT),
    ("CHARACTER_SET_CLIENT", NAME),
    ("COLLATION_CONNECTION", NAME),
    ("DATABASE_COLLATION", NAME),
];
