"""Asks a server of MySQL's protocol for every row of expressions.tsv and shows where its answer differs.

usage: expressions.py expressions.tsv PORT [USER [PASSWORD]]

Not part of the test command: the committed rows are. It is how they are compared with a running MySQL or
MariaDB, whichever is at hand; a row's third cell names a server that is known to differ, and why.
Exits with 1 where a row differs that names none.
"""

import sys

import pymysql

NOW = "1706703123.456789"  # 2024-01-31 12:12:03.456789 UTC


def rows(path):
    section = ""
    for line in open(path, encoding="utf-8"):
        line = line.rstrip("\n")
        if line.startswith("#"):
            section = line[2:]
        elif line and section != "the session":
            sql, expected, *known = line.split("\t")
            yield sql, expected, known[0] if known else ""


def shown(cell):
    if cell is None:
        return "NULL"
    return cell.decode() if isinstance(cell, bytes) else cell


def answer(connection, sql):
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT " + sql)
            return "\t".join(shown(cell) for cell in cursor.fetchone())
    except pymysql.MySQLError as error:
        return f"ERROR {error.args[0]}"


def main():
    path, port, user, password = (sys.argv[1:] + ["root", ""])[:4]
    connection = pymysql.connect(
        host="127.0.0.1",
        port=int(port),
        user=user,
        password=password,
        charset="utf8mb4",
        # Cells as the server writes them.
        conv=pymysql.converters.encoders,
    )
    version = answer(connection, "VERSION()")
    name = "MariaDB" if "MariaDB" in version else "MySQL"
    with connection.cursor() as cursor:
        cursor.execute("SET NAMES utf8mb4 COLLATE utf8mb4_bin")
        cursor.execute("SET time_zone = '+00:00'")
        cursor.execute("SET timestamp = " + NOW)
    asked = differ = explained = 0
    for sql, expected, known in rows(path):
        asked += 1
        found = answer(connection, sql)
        if found == expected:
            continue
        if known.startswith(name + ":"):
            explained += 1
            continue
        differ += 1
        print(f"{sql}\n    the table {expected}\n    {name:9} {found}")
    print(f"{version}: {asked} rows, {explained} differ as the table says, {differ} differ")
    sys.exit(1 if differ else 0)


main()
