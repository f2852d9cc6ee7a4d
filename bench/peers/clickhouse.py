#!/usr/bin/env python3
# engine: clickhouse
# what: ClickHouse inside a Python process: its Kafka engine, a materialised view, a MergeTree
# needs: chdb-core==26.1.0
# settings: defaults tuned
# does: ingest freshness queries beside
# stores: yes
#
# defaults: the Kafka table parses JSONEachRow by itself, at its default settings.
# tuned: the Kafka table hands raw messages on and the view takes a tuple out of each; large blocks for a
# load, short intervals where rows are to be fresh. Which of the two it is, the job tells: a topic that is
# empty at the start is one that rows are produced to.
import json
import sys
import uuid

from chdb import session

TYPES = {"int": "Int64", "price": "Decimal(12, 2)", "time": "DateTime64(3, 'UTC')"}
LOAD = {
    "kafka_max_block_size": 524288,
    "kafka_poll_max_batch_size": 65536,
    "kafka_thread_per_consumer": 1,
}
FRESH = {
    "kafka_flush_interval_ms": 100,
    "kafka_poll_timeout_ms": 50,
    "kafka_consumer_reschedule_ms": 10,
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


class ClickHouse:
    def __init__(self, setting):
        self.tuned = setting == "tuned"
        self.tables_beside = []

    def sql(self, text, form="TabSeparated"):
        return self.session.query(text, form).data()

    def rows_of(self, text):
        data = json.loads(self.sql(text, "JSONCompactStrings"))
        return data["data"]

    def start(self, job):
        # Its standard output is ours: it says nothing there by itself.
        self.session = session.Session(job["dir"] + "/clickhouse")
        self.tables = job["tables"]
        self.broker = job["bootstrap"]
        self.sql("CREATE DATABASE bench ENGINE = Atomic")
        for table in self.tables:
            self.create(table)
        version = self.sql("SELECT version()").strip()
        lines = ["MergeTree ORDER BY id", "date_time_input_format=best_effort"]
        fresh = not any(table["rows"] for table in self.tables)
        self.kafka = (FRESH if fresh else LOAD) if self.tuned else {}
        for when, some in [("to load", LOAD), ("to be fresh", FRESH)] if self.tuned else []:
            lines += [f"{key}={value} ({when})" for key, value in some.items()]
        lines.append("RawBLOB, JSONExtract of a tuple in the view" if self.tuned else "JSONEachRow")
        return {"version": f"ClickHouse {version} (chdb-core)", "settings": lines}

    def create(self, table):
        columns = ", ".join(f"{c['name']} {self.type(c)}" for c in table["columns"])
        # Stored in the order of the rows' ids: look-ups by id and, as they come, by time.
        self.sql(f"CREATE TABLE bench.{table['table']} ({columns}) ENGINE = MergeTree ORDER BY id")

    def type(self, column):
        kind = column["kind"]
        return "String" if isinstance(kind, dict) else TYPES[kind]

    def begin(self):
        for table in self.tables:
            self.load(table)
        return {}

    def begin_beside(self, table):
        self.create(table)
        self.load(table)
        self.tables_beside = [table]
        return {}

    def load(self, table):
        name, columns = table["table"], table["columns"]
        flat = all(len(c["path"]) == 1 for c in columns)
        settings = {
            "kafka_broker_list": f"'{self.broker}'",
            "kafka_topic_list": f"'{table['topic']}'",
            # Another each time: a group that has read the topic before begins where it ended.
            "kafka_group_name": f"'bench-{uuid.uuid4()}'",
            "kafka_num_consumers": 1,
            **self.kafka,
        }
        if flat and not self.tuned:
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
        flat = all(len(c["path"]) == 1 for c in columns)
        if not flat:
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
        return self.count(self.tables)

    def rows_beside(self):
        return self.count(self.tables_beside)

    def count(self, tables):
        return {"rows": sum(int(self.sql(f"SELECT count() FROM bench.{t['table']}")) for t in tables)}

    def tally(self, name):
        columns = next(t["columns"] for t in self.tables + self.tables_beside if t["table"] == name)
        texts = []
        for c in columns:
            if c["kind"] == "price":
                texts.append(f"toDecimalString({c['name']}, 2)")
            else:
                texts.append(f"toString({c['name']})")
        text = texts[0] if len(texts) == 1 else f"concatWithSeparator('|', {', '.join(texts)})"
        (row,) = self.rows_of(f"SELECT count(), sum(id), sum(toUInt64(CRC32({text}))) FROM bench.{name}")
        return {"rows": int(row[0]), "ids": int(row[1]), "hash": int(row[2])}

    def query(self, request):
        text = QUERIES[request["name"]].format(id=request["id"], since=request["since"])
        return {"answer": self.rows_of(text)}

    def stop(self):
        for table in self.tables + self.tables_beside:
            self.sql(f"DROP TABLE IF EXISTS bench.view_{table['table']}")
            self.sql(f"DROP TABLE IF EXISTS bench.kafka_{table['table']}")
        self.session.close()
        return {}


def main():
    engine = ClickHouse(sys.argv[1])
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {
                "start": lambda: engine.start(request),
                "begin": engine.begin,
                "rows": engine.rows,
                "begin_beside": lambda: engine.begin_beside(request["table"]),
                "rows_beside": engine.rows_beside,
                "tally": lambda: engine.tally(request["table"]),
                "query": lambda: engine.query(request),
                "stop": engine.stop,
            }[request["do"]]()
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {str(error)[:2000]}"}
        print(json.dumps(answer), flush=True)
        if request["do"] == "stop":
            break


main()
