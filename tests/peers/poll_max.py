"""One connection that asks for the newest row again and again, as fast as it is answered.

usage: poll_max.py PORT TABLE LAST

Writes a line `microseconds-since-1970 MAX(id)` whenever the answer changed, with the time at which the
answer was there, and ends when the id is LAST.
"""

import sys
import time

import pymysql

PORT, TABLE, LAST = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])

connection = pymysql.connect(host="127.0.0.1", port=PORT, user="root", password="")
seen, lines, polls = None, [], 0
with connection.cursor() as cursor:
    print("ready", flush=True)
    while seen is None or seen < LAST:
        cursor.execute(f"SELECT MAX(id) FROM {TABLE}")
        found = cursor.fetchone()[0]
        at = time.time_ns() // 1_000
        polls += 1
        if found != seen:
            seen = found
            lines.append(f"{at} {seen}")
print("\n".join(lines))
print(f"{polls} polls", file=sys.stderr)
