#!/usr/bin/env python3
# engine: duckdb
# what: DuckDB, which reads no Kafka: the same rows from a file of JSON lines into its own tables, for queries
# needs: duckdb==2.0.1 pytz==2026.6
# settings: defaults
# does: queries
# stores: yes
import duckdb

TYPES = {"int": "BIGINT", "price": "DECIMAL(12, 2)", "time": "TIMESTAMP"}
QUERIES = {
    "count": "SELECT count(*) FROM t",
    "group": "SELECT symbol, count(*), sum(quantity) FROM t GROUP BY symbol ORDER BY symbol",
    "lookup": "SELECT id, user_id, symbol FROM t WHERE id = {id}",
    "top": "SELECT user_id, sum(quantity) AS q FROM t GROUP BY user_id ORDER BY q DESC, user_id LIMIT 10",
    "like": "SELECT count(*) FROM t WHERE note LIKE '%iceberg%dark%'",
    "hours": "SELECT strftime(created_at, '%Y-%m-%d %H') AS h, count(*) FROM t GROUP BY h ORDER BY h",
    "recent": "SELECT count(*), sum(quantity) FROM t WHERE created_at >= TIMESTAMP '{since}'",
    "join": "SELECT t.symbol, count(*), sum(u.v) FROM t JOIN u ON t.id = u.id GROUP BY t.symbol ORDER BY t.symbol",
}


class Peer:
    def __init__(self, _setting):
        pass

    def start(self, bootstrap, dir, tables):
        self.database = duckdb.connect(dir + "/duck.db")
        self.tables = tables
        settings = ["a database file; threads and memory at their defaults", "rows from JSON lines by read_json"]
        return {"version": f"DuckDB {duckdb.__version__}", "settings": settings}

    def begin(self):
        for table in self.tables:
            kinds = {
                c["name"]: "VARCHAR" if isinstance(c["kind"], dict) else TYPES[c["kind"]] for c in table["columns"]
            }
            columns = "{" + ", ".join(f"{name}: '{kind}'" for name, kind in kinds.items()) + "}"
            self.database.execute(
                f"CREATE TABLE {table['table']} AS SELECT * FROM"
                f" read_json('{table['file']}', format = 'newline_delimited', columns = {columns},"
                " timestampformat = '%Y-%m-%dT%H:%M:%S.%gZ')"
            )
        return {}

    def rows(self):
        count = lambda table: self.database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        return {"rows": sum(count(t["table"]) for t in self.tables)}

    def tally(self, table):
        # It has no CRC-32: rows and ids, and the answers of the queries are compared.
        rows, ids = self.database.execute(f"SELECT count(*), sum(id) FROM {table}").fetchone()
        return {"rows": rows, "ids": int(ids or 0)}

    def query(self, name, id, since):
        text = QUERIES[name].format(id=id, since=since)
        rows = self.database.execute(text).fetchall()
        word = lambda value: "NULL" if value is None else str(value)
        return {"answer": [[word(value) for value in row] for row in rows]}

    def stop(self):
        self.database.close()
        return {}
