"""PyMySQL against a running Pinleaf: logins, typed results, long ones, parameters, errors.

usage: pymysql_client.py PORT ROWS

Expects the users root (empty password) and ann (password "Grüße 7"), and database shop with table
types (two rows of every type, the second all NULL but its id) and table numbers (ROWS rows: id, text).
Exits with 1 and a traceback at the first thing that is not as it should be.
"""

import datetime
import decimal
import sys
import time

import pymysql
import pymysql.cursors

PORT = int(sys.argv[1])
ROWS = int(sys.argv[2])
PASSWORD = "Grüße 7"

TYPES = {
    "id": 1,
    "tiny": -128,
    "tiny_u": 255,
    "small": -32768,
    "small_u": 65535,
    "medium": -8388608,
    "medium_u": 16777215,
    "whole": -2147483648,
    "whole_u": 4294967295,
    "big": -9223372036854775808,
    "big_u": 18446744073709551615,
    "single": 1.5,
    "duple": -1.25e100,
    "exact": decimal.Decimal("-12345678901234567890123456.789012345678"),
    "money": decimal.Decimal("0.10"),
    "flag": 1,
    "fixed": "fünf",
    "varied": "tab\t quote' \" backslash\\ nul-free Zürich 🦀",
    "longer": "long " * 5000,
    "day": datetime.date(2024, 2, 29),
    "at0": datetime.datetime(2024, 2, 29, 23, 59, 59),
    "at3": datetime.datetime(2024, 2, 29, 23, 59, 59, 123000),
    "at6": datetime.datetime(2024, 2, 29, 23, 59, 59, 123456),
    "stamp": datetime.datetime(1970, 1, 1, 0, 0, 1),
    "doc": '{"a": [1, null, "ü"]}',
}


def connect(user="root", password="", **more):
    # PyMySQL takes text for Latin-1; the server knows passwords as UTF-8.
    password = password.encode()
    return pymysql.connect(host="127.0.0.1", port=PORT, user=user, password=password, charset="utf8mb4", **more)


def fails(number, run, *arguments):
    try:
        run(*arguments)
    except pymysql.err.MySQLError as error:
        assert error.args[0] == number, f"{error.args}, and not {number}"
        return
    raise AssertionError(f"no error {number} from {arguments}")


def logins():
    for user, password in [("root", ""), ("ann", PASSWORD)]:
        with connect(user, password) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT USER(), DATABASE()")
            found, database = cursor.fetchone()
            assert found.split("@")[0] == user and database is None, (found, database)
            assert connection.get_server_info().startswith("8.0."), connection.get_server_info()
    fails(1045, connect, "ann", "wrong")
    fails(1045, connect, "ann", "")
    fails(1045, connect, "nobody", "x")
    fails(1049, lambda: connect(database="nope"))


def native_login():
    """As a client that knows mysql_native_password alone: the server is asked to switch to it."""
    from pymysql import connections

    kept = connections.Connection._request_authentication

    def native(self):
        # What the server proposes is passed over, so that the answer is in the old way.
        self._auth_plugin_name = "mysql_native_password"
        kept(self)

    connections.Connection._request_authentication = native
    try:
        with connect("ann", PASSWORD) as connection:
            connection.ping(reconnect=False)
        fails(1045, connect, "ann", "wrong")
    finally:
        connections.Connection._request_authentication = kept


def types():
    with connect(database="shop", cursorclass=pymysql.cursors.DictCursor) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT * FROM types ORDER BY id")
        full, empty = cursor.fetchall()
        assert list(full) == list(TYPES), list(full)
        for name, value in TYPES.items():
            found = full[name]
            if name == "doc":
                import json

                found, value = json.loads(found), json.loads(value)
            assert found == value and type(found) is type(value), f"{name}: {found!r}, and not {value!r}"
        assert empty.pop("id") == 2
        assert set(empty.values()) == {None}, empty
        # The same values as parameters, which PyMySQL writes into the statement.
        for name in ["tiny", "big", "big_u", "duple", "exact", "money", "fixed", "varied", "longer", "day", "at0", "at6"]:
            cursor.execute(f"SELECT id FROM types WHERE {name} = %s", (TYPES[name],))
            assert cursor.fetchall() == [{"id": 1}], name


def long_results():
    with connect(database="shop", cursorclass=pymysql.cursors.SSCursor) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT id, text FROM numbers")
        seen = set()
        for number, text in cursor:
            assert text == f"row {number}", (number, text)
            seen.add(number)
        assert seen == set(range(ROWS)), len(seen)
        cursor.close()
        # One that is not read to its end is given up, and the connection goes on.
        cursor = connection.cursor()
        cursor.execute("SELECT id FROM numbers")
        cursor.fetchmany(10)
        cursor.close()
        cursor = connection.cursor()
        cursor.execute("SELECT COUNT(*) FROM numbers")
        assert cursor.fetchone() == (ROWS,)
        cursor.close()


def rows_as_they_are_known():
    """What is known is sent before the rest is waited for: an audit may take long."""
    with connect(cursorclass=pymysql.cursors.SSCursor) as connection:
        cursor = connection.cursor()
        began = time.monotonic()
        cursor.execute("SELECT 1 UNION ALL SELECT 2 + SLEEP(4)")
        assert cursor.fetchone() == (1,)
        first = time.monotonic() - began
        assert cursor.fetchone() == (2,)
        last = time.monotonic() - began
        assert first < 3 < last, (first, last)
        cursor.close()


def long_statement():
    """More than one packet of 16 MiB, both ways."""
    text = "x" * (17 << 20)
    with connect() as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT LENGTH(%s)", (text,))
        assert cursor.fetchone() == (len(text),)
        cursor.execute("SELECT %s", (text,))
        assert cursor.fetchone() == (text,)
        # Exactly a packet, whose end is an empty one more.
        cursor.execute("SELECT '" + "y" * ((1 << 24) - 1 - len("\x03SELECT ''")) + "'")
        assert len(cursor.fetchone()[0]) == (1 << 24) - 1 - len("\x03SELECT ''")


def errors():
    with connect(database="shop") as connection:
        cursor = connection.cursor()
        for number, sql in [
            (1064, "SELEC 1"),
            (1054, "SELECT nope FROM types"),
            (1146, "SELECT * FROM nope"),
            (1049, "USE nope"),
            (1235, "INSERT INTO numbers VALUES (1, 'x')"),
            (1690, "SELECT big - 1 FROM types WHERE id = 1"),
        ]:
            fails(number, cursor.execute, sql)
            cursor.execute("SELECT 1")
            assert cursor.fetchone() == (1,), sql


def several_statements():
    """What stands before a fault is answered; the fault is the last."""
    several = pymysql.constants.CLIENT.MULTI_STATEMENTS
    with connect(client_flag=several) as connection:
        cursor = connection.cursor()
        for text, number in [("SELECT 1; SELECT 2; SELEC 3; SELECT 4", 1064), ("SELECT 1; SELECT 2; SELECT '3", 1064)]:
            cursor.execute(text)
            assert cursor.fetchall() == ((1,),), text
            assert cursor.nextset() and cursor.fetchall() == ((2,),), text
            fails(number, cursor.nextset)
            cursor.execute("SHOW WARNINGS")
            level, shown, message = cursor.fetchone()
            assert (level, shown) == ("Error", number) and "syntax" in message, (text, message)
        cursor.execute("SELECT 5;; -- nothing")
        assert cursor.fetchall() == ((5,),) and cursor.nextset() is None
        fails(1065, cursor.execute, " ; ")


def reconnects():
    connection = connect()
    first = connection.thread_id()
    connection.close()
    connection.ping(reconnect=True)
    assert connection.thread_id() != first
    # KILL ends the connection; a ping makes another.
    with connect() as other:
        fails(0, lambda: kill(other, connection))
    connection.ping(reconnect=True)
    cursor = connection.cursor()
    cursor.execute("SELECT 1")
    assert cursor.fetchone() == (1,)
    connection.close()


def kill(other, connection):
    other.cursor().execute(f"KILL {connection.thread_id()}")
    raise pymysql.err.OperationalError(0, "killed")


def main():
    for check in [logins, native_login, types, long_results, rows_as_they_are_known, long_statement, errors, several_statements, reconnects]:
        check()
        print(check.__name__, flush=True)


if __name__ == "__main__":
    main()
