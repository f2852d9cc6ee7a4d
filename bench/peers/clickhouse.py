#!/usr/bin/env python3
# engine: clickhouse
# what: ClickHouse inside a Python process: its Kafka engine, a materialised view, a MergeTree
# needs: chdb-core==26.1.0
# settings: defaults tuned
# does: ingest freshness queries beside
# stores: yes
#
# defaults: the Kafka table parses JSONEachRow by itself, at its default settings.
# tuned: the Kafka table hands raw messages on and the view takes a tuple out of each; a consumer for each
# partition up to the CPUs, each with a thread; large blocks for a load, short intervals where rows are to be fresh;
# short text as a dictionary, an index of least and most for times. Whether it loads or is to be fresh, the job tells: a
# topic that is empty at the start is one that rows are produced to.
import json
import os
import uuid

from chdb import session

TYPES = {"int": "Int64", "price": "Decimal(12, 2)", "time": "DateTime64(3, 'UTC')"}
# Text of at most so many characters takes few values: symbols, sides.
DICTIONARY_CHARACTERS = 8
LOAD = {
    "kafka_max_block_size": 524288,
    "kafka_poll_max_batch_size": 65536,
    "kafka_thread_per_consumer": 1,
}
FRESH = {
    "kafka_flush_interval_ms": 10,
    "kafka_poll_timeout_ms": 10,
    "kafka_consumer_reschedule_ms": 1,
}
QUERIES = {
    "count": "SELECT count() FROM bench.t",
    "group": "SELECT symbol, count(), sum(quantity) FROM bench.t GROUP BY symbol ORDER BY symbol",
    "lookup": "SELECT id, user_id, symbol FROM bench.t WHERE id = {id}",
    "top": "SELECT user_id, sum(quantity) AS q FROM bench.t GROUP BY user_id ORDER BY q DESC, user_id LIMIT 10",
    "like": "SELECT count() FROM bench.t WHERE note LIKE '%iceberg%dark%'",
    "hours": "SELECT formatDateTime(created_at, '%Y-%m-%d %H') AS h, count() FROM bench.t GROUP BY h ORDER BY h",
    "recent": "SELECT count(), sum(quantity) FROM bench.t WHERE created_at >= toDateTime64('{since}', 3, 'UTC')",
    "join": "SELECT t.symbol, count(), sum(u.v) FROM bench.t AS t JOIN bench.u AS u ON t.id = u.id"
    " GROUP BY t.symbol ORDER BY t.symbol",
}
# Inside a process ClickHouse has two threads for each of these, of which a Kafka table gets one in two: it may then
# stand still for long beside another. As a server has them:
SERVER = {
    "background_pool_size": 16,
    "background_schedule_pool_size": 512,
    "background_message_broker_schedule_pool_size": 16,
    "background_common_pool_size": 8,
}
# What its consumers say of themselves.
CONSUMERS = (
    "SELECT concat(table, ': read ', toString(num_messages_read), ', assigned ',"
    " toString(num_rebalance_assignments), ' times, now to ', toString(assignments.partition_id), ' at ',"
    " toString(assignments.current_offset), ', last poll ', toString(last_poll_time), ', in use ',"
    " toString(is_currently_used), ', exceptions ',"
    # Without the stack below each.
    r" toString(arrayMap((at, text) -> concat(toString(at), ' ', splitByChar('\n', text)[1]),"
    " exceptions.time, exceptions.text)))"
    " FROM system.kafka_consumers"
)
# Of the log, what is shown where it stands still.
LOG_LINES = 8
LOG_LINE_CHARACTERS = 400


def is_flat(columns):
    return all(len(c["path"]) == 1 for c in columns)


class Peer:
    def __init__(self, setting):
        self.tuned = setting == "tuned"
        self.beside = []

    def sql(self, text, form="TabSeparated"):
        return self.session.query(text, form).data()

    def rows_of(self, text):
        return json.loads(self.sql(text, "JSONCompactStrings"))["data"]

    def start(self, bootstrap, dir, tables):
        # Its standard output is ours: it says nothing there by itself.
        self.log = dir + "/clickhouse.log"
        pools = "".join(f"&{name}={threads}" for name, threads in SERVER.items())
        self.session = session.Session(f"{dir}/clickhouse?log-level=warning&logger.log={self.log}{pools}")
        self.tables, self.broker = tables, bootstrap
        self.sql("CREATE DATABASE bench ENGINE = Atomic")
        for table in self.tables:
            self.create(table)
        version = self.sql("SELECT version()").strip()
        fresh = not any(table["rows"] for table in self.tables)
        self.kafka = (FRESH if fresh else LOAD) if self.tuned else {}
        return {"version": f"ClickHouse {version} (chdb-core)", "settings": self.settings()}

    def settings(self):
        common = ["MergeTree ORDER BY id", *(f"{name}={threads}" for name, threads in SERVER.items())]
        if not self.tuned:
            return [*common, "JSONEachRow, date_time_input_format=best_effort"]
        lines = [*common, "a minmax index on times", "LowCardinality for text of 8 characters"]
        for when, some in ("to load", LOAD), ("to be fresh", FRESH):
            lines += [f"{key}={value} ({when})" for key, value in some.items()]
        lines.append("kafka_num_consumers: as many as partitions, at most as CPUs")
        return [*lines, "RawBLOB, JSONExtract of a tuple in the view"]

    def create(self, table):
        parts = [f"{c['name']} {self.type(c)}" for c in table["columns"]]
        times = [c["name"] for c in table["columns"] if c["kind"] == "time"]
        if self.tuned:
            parts += [f"INDEX {name}_range {name} TYPE minmax GRANULARITY 1" for name in times]
        # Stored in the order of the rows' ids: look-ups by id and, as they come, by time.
        self.sql(f"CREATE TABLE bench.{table['table']} ({', '.join(parts)}) ENGINE = MergeTree ORDER BY id")

    def type(self, column):
        kind = column["kind"]
        if not isinstance(kind, dict):
            return TYPES[kind]
        short = self.tuned and kind["text"] <= DICTIONARY_CHARACTERS
        return "LowCardinality(String)" if short else "String"

    def begin(self):
        for table in self.tables:
            self.load(table)
        return {}

    def begin_beside(self, table):
        self.create(table)
        self.load(table)
        self.beside.append(table)
        return {}

    def load(self, table):
        name, columns = table["table"], table["columns"]
        settings = {
            "kafka_broker_list": f"'{self.broker}'",
            "kafka_topic_list": f"'{table['topic']}'",
            # Another each time: a group that has read the topic before begins where it ended.
            "kafka_group_name": f"'bench-{uuid.uuid4()}'",
            "kafka_num_consumers": min(table["partitions"], os.cpu_count()) if self.tuned else 1,
            **self.kafka,
        }
        if is_flat(columns) and not self.tuned:
            # Integers, text and decimals as they are; times need the parser that knows ISO.
            shape = ", ".join(f"{c['name']} {self.type(c)}" for c in columns)
            settings["kafka_format"] = "'JSONEachRow'"
            settings["date_time_input_format"] = "'best_effort'"
            select = ", ".join(c["name"] for c in columns)
        else:
            shape = "message String"
            settings["kafka_format"] = "'RawBLOB'"
            select = self.extract(columns)
        said = ", ".join(f"{key} = {value}" for key, value in settings.items())
        self.sql(f"CREATE TABLE bench.kafka_{name} ({shape}) ENGINE = Kafka SETTINGS {said}")
        self.sql(
            f"CREATE MATERIALIZED VIEW bench.view_{name} TO bench.{name} AS SELECT {select} FROM bench.kafka_{name}"
        )

    def extract(self, columns):
        """One pass over a message: a tuple of the values, named as their columns are."""
        if not is_flat(columns):
            parts = []
            for c in columns:
                keys = ", ".join(f"'{key}'" for key in c["path"])
                parts.append(f"JSONExtract(message, {keys}, '{self.type(c)}') AS {c['name']}")
            return ", ".join(parts)
        inner = lambda c: "String" if c["kind"] == "time" else self.type(c)
        fields = ", ".join(f"{c['name']} {inner(c)}" for c in columns)
        parts = []
        for at, c in enumerate(columns):
            value = f"row.{at + 1}"
            if c["kind"] == "time":
                value = f"parseDateTime64BestEffort({value}, 3, 'UTC')"
            parts.append(f"{value} AS {c['name']}")
        quoted = fields.replace("'", "\\'")
        return ", ".join(parts).replace("row.", f"JSONExtract(message, 'Tuple({quoted})').")

    def rows(self):
        return {"rows": sum(self.count(table["table"]) for table in self.tables)}

    def rows_beside(self, table):
        return {"rows": self.count(table)}

    def count(self, table):
        return int(self.sql(f"SELECT count() FROM bench.{table}"))

    def tally(self, table):
        columns = next(one["columns"] for one in self.tables + self.beside if one["table"] == table)
        texts = []
        for c in columns:
            if c["kind"] == "price":
                texts.append(f"toDecimalString({c['name']}, 2)")
            else:
                texts.append(f"toString({c['name']})")
        text = texts[0] if len(texts) == 1 else f"concatWithSeparator('|', {', '.join(texts)})"
        (row,) = self.rows_of(f"SELECT count(), sum(id), sum(toUInt64(CRC32({text}))) FROM bench.{table}")
        return {"rows": int(row[0]), "ids": int(row[1]), "hash": int(row[2])}

    def query(self, name, id, since):
        return {"answer": self.rows_of(QUERIES[name].format(id=id, since=since))}

    def complaints(self):
        said = self.sql(CONSUMERS).splitlines() or ["no consumer was made"]
        with open(self.log, errors="replace") as log:
            # A line that begins with no date is of a stack.
            lines = [line.rstrip()[:LOG_LINE_CHARACTERS] for line in log if line.startswith("20")]
        return {"said": said + lines[-LOG_LINES:]}

    def stop(self):
        for table in self.tables + self.beside:
            self.sql(f"DROP TABLE IF EXISTS bench.view_{table['table']}")
            self.sql(f"DROP TABLE IF EXISTS bench.kafka_{table['table']}")
        self.session.close()
        return {}
