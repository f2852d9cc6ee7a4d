"""Runs a Python peer: `serve.py PEER.py SETTING`.

A request is a line of JSON on standard input: its `do` names a method of the peer's class `Peer`, the rest are the
arguments. What the method returns is answered as a line of JSON, an exception as `{"error": "..."}`. Which
requests there are: src/engines/program.rs.
"""
import json
import runpy
import sys


def main():
    file, setting = sys.argv[1:]
    peer = runpy.run_path(file)["Peer"](setting)
    for line in sys.stdin:
        request = json.loads(line)
        do = request.pop("do")
        try:
            answer = getattr(peer, do)(**request)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {str(error)[:2000]}"}
        print(json.dumps(answer), flush=True)
        if do == "stop":
            break


main()
