-- The catalog's tables, version 1. `change` is the list; the others are what it adds up to.
-- Nested values (columns, mappings, failures) are JSON of the types in defs.rs.
CREATE TABLE change (
    number  INTEGER PRIMARY KEY,
    unix_ms INTEGER NOT NULL,
    change  TEXT NOT NULL
) STRICT;
CREATE TABLE counter (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE database (
    id             INTEGER PRIMARY KEY,
    name           TEXT NOT NULL UNIQUE,
    create_unix_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE "table" (
    id             INTEGER PRIMARY KEY,
    database       INTEGER NOT NULL REFERENCES database (id),
    name           TEXT NOT NULL,
    spec           TEXT NOT NULL,
    schema_version INTEGER NOT NULL,
    create_unix_ms INTEGER NOT NULL,
    dropping       INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX table_name ON "table" (database, name) WHERE dropping = 0;
CREATE TABLE pipeline (
    id             INTEGER PRIMARY KEY,
    database       INTEGER NOT NULL REFERENCES database (id),
    name           TEXT NOT NULL,
    "table"        INTEGER NOT NULL REFERENCES "table" (id),
    spec           TEXT NOT NULL,
    topic_id       BLOB,
    state          TEXT NOT NULL,
    failure        TEXT,
    create_unix_ms INTEGER NOT NULL,
    alter_unix_ms  INTEGER NOT NULL,
    UNIQUE (database, name)
) STRICT;
CREATE TABLE pairing (
    leaf_partition  INTEGER PRIMARY KEY,
    "table"         INTEGER NOT NULL REFERENCES "table" (id),
    pipeline        INTEGER NOT NULL,
    kafka_partition INTEGER NOT NULL,
    topic           TEXT NOT NULL,
    topic_id        BLOB NOT NULL,
    owner           INTEGER NOT NULL,
    generation      INTEGER NOT NULL,
    lineage         INTEGER NOT NULL,
    live_lineage    INTEGER NOT NULL,
    start_offset    INTEGER NOT NULL,
    end_offset      INTEGER,
    UNIQUE (pipeline, kafka_partition)
) STRICT;
CREATE TABLE variable (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
