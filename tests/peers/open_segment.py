"""Opens a sealed Pinleaf segment with pyarrow and Polars, no Pinleaf running, and prints its rows.

usage: open_segment.py SEALED.arrow [--open OPEN.arrow] [--check]

Prints each row as one JSON line, in pyarrow's reading. Then compares: pyarrow reading the file,
pyarrow over a memory map (which must allocate nothing), Polars, and with --open an open segment read as
an Arrow stream from byte 8. Any difference is an error and exit code 1. With --check no row is printed.
"""

import argparse
import base64
import datetime
import decimal
import json
import math
import sys

import polars
import pyarrow


def plain(value):
    """A value as JSON has it; what JSON has no word for becomes text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value


def lines(rows):
    """Rows (dicts) as JSON lines."""
    for row in rows:
        yield json.dumps({name: plain(value) for name, value in row.items()}, ensure_ascii=False)


def read_stream(path):
    """An open segment: the stream from byte 8 on, to the end of the file or of the stream."""
    with open(path, "rb") as file:
        file.seek(8)
        return pyarrow.ipc.open_stream(file).read_all()


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("sealed")
    arguments.add_argument("--open")
    arguments.add_argument("--check", action="store_true")
    arguments = arguments.parse_args()

    with open(arguments.sealed, "rb") as file:
        table = pyarrow.ipc.open_file(file).read_all()
    table.validate(full=True)
    rows = list(lines(table.to_pylist()))
    if not arguments.check:
        print("\n".join(rows))

    before = pyarrow.total_allocated_bytes()
    with pyarrow.memory_map(arguments.sealed) as file:
        mapped = pyarrow.ipc.open_file(file).read_all()
        allocated = pyarrow.total_allocated_bytes() - before
        mapped_rows = list(lines(mapped.to_pylist()))
    peers = {
        "pyarrow, mapped": mapped_rows,
        "pyarrow, sealed as a stream": list(lines(read_stream(arguments.sealed).to_pylist())),
        "polars": list(lines(polars.read_ipc(arguments.sealed).to_dicts())),
        "polars, lazy": list(lines(polars.scan_ipc(arguments.sealed).collect().to_dicts())),
    }
    if arguments.open:
        peers["pyarrow, open as a stream"] = list(lines(read_stream(arguments.open).to_pylist()))

    failed = 0
    for peer, found in peers.items():
        if found != rows:
            failed += 1
            print(f"{peer}: {len(found)} rows differ from {len(rows)}", file=sys.stderr)
            for ours, theirs in zip(rows, found):
                if ours != theirs:
                    print(f"  {ours}\n  {theirs}", file=sys.stderr)
                    break
    if allocated:
        failed += 1
        print(f"pyarrow allocated {allocated} bytes to map the file", file=sys.stderr)
    print(f"{len(rows)} rows, {len(peers) + 1} readings, {failed} failed", file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
