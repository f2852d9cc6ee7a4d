"""Sums a sealed segment of orders up by symbol, once by pyarrow over a memory map and once by Polars.

usage: sum_segment.py SEALED.arrow

Prints a line a symbol, tab-separated, in the symbols' order: symbol, rows, sum of id, of user_id, of
quantity and of price, bytes of all notes, least and greatest created_at in ms since 1970, sum of _offset.
The two readings must agree; if not, exit code 1.
"""

import sys

import polars
import pyarrow
import pyarrow.compute

SUMS = ["id", "user_id", "quantity", "price"]


def by_pyarrow(path):
    with pyarrow.memory_map(path) as file:
        table = pyarrow.ipc.open_file(file).read_all()
    at = pyarrow.compute.cast(table["created_at"], pyarrow.int64())
    table = table.append_column("ms", at)
    table = table.append_column("note_bytes", pyarrow.compute.binary_length(table["note"]))
    grouped = table.group_by("symbol").aggregate(
        [("id", "count")]
        + [(name, "sum") for name in SUMS]
        + [("note_bytes", "sum"), ("ms", "min"), ("ms", "max"), ("_offset", "sum")]
    )
    return sorted(tuple(row.values()) for row in grouped.to_pylist())


def by_polars(path):
    found = polars.read_ipc(path).group_by("symbol").agg(
        [polars.len().alias("rows")]
        + [polars.col(name).sum().alias(name) for name in SUMS]
        + [
            polars.col("note").str.len_bytes().sum().alias("note_bytes"),
            polars.col("created_at").min().dt.epoch("ms").alias("least"),
            polars.col("created_at").max().dt.epoch("ms").alias("greatest"),
            polars.col("_offset").sum().alias("_offset"),
        ]
    )
    return sorted(found.rows())


ours, theirs = by_pyarrow(sys.argv[1]), by_polars(sys.argv[1])
for row in ours:
    print("\t".join(str(value) for value in row))
if ours != theirs:
    print(f"Polars reads otherwise: {theirs}", file=sys.stderr)
    sys.exit(1)
