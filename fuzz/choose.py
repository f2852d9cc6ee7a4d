#!/usr/bin/env python3
"""Chooses the inputs of a corpus: choose.py CONTROL-FILE FOLDER BYTES

CONTROL-FILE is what libFuzzer's -merge_control_file wrote: for each input its edges (COV) and features (FT).
Takes, as long as BYTES last and up to INPUTS_MAX, the input that brings most new edges for its size, then most new features; files in
FOLDER that bear a SHA-1 and are not chosen go; those that are chosen get theirs unless they were there already.
"""

import hashlib
import os
import re
import sys

# Some thousand files of a few bytes each would be slow to check out and tell little.
INPUTS_MAX = 500


def main():
    control, folder, budget = sys.argv[1], sys.argv[2], int(sys.argv[3])
    lines = open(control).read().splitlines()
    count = int(lines[0])
    paths = lines[2 : 2 + count]
    edges, features = {}, {}
    for line in lines[2 + count :]:
        kind, *numbers = line.split()
        if kind in ("COV", "FT"):
            index, *found = map(int, numbers)
            (edges if kind == "COV" else features).setdefault(index, set()).update(found)
    # The control file says for a later input only what is new in it.
    sizes = {index: os.path.getsize(paths[index]) for index in range(count)}
    chosen, left = [], budget
    for what in (edges, features):
        covered = set()
        for index in chosen:
            covered |= what.get(index, set())
        open_inputs = {index: new - covered for index, new in what.items() if index not in chosen}
        while open_inputs and len(chosen) < INPUTS_MAX:
            worth = lambda index: len(open_inputs[index]) / (sizes[index] + 128)
            best = max(open_inputs, key=worth)
            if not open_inputs[best]:
                break
            new = open_inputs.pop(best)
            if sizes[best] > left:
                continue
            chosen.append(best)
            left -= sizes[best]
            covered |= new
            open_inputs = {index: new - covered for index, new in open_inputs.items()}
    everything = set().union(*edges.values()) if edges else set()
    kept_edges = set().union(*(edges.get(index, set()) for index in chosen)) if chosen else set()
    keep = {}
    for index in chosen:
        data = open(paths[index], "rb").read()
        own = os.path.dirname(os.path.abspath(paths[index])) == os.path.abspath(folder)
        name = os.path.basename(paths[index]) if own else hashlib.sha1(data).hexdigest()
        keep[name] = data
    # What bears a name is kept for what it once broke.
    found = re.compile("[0-9a-f]{40}$")
    for name in os.listdir(folder):
        if name not in keep and found.match(name):
            os.remove(os.path.join(folder, name))
    for name, data in keep.items():
        with open(os.path.join(folder, name), "wb") as file:
            file.write(data)
    print(
        f"{os.path.basename(folder)}: {len(keep)} inputs of {count}, {budget - left} bytes, "
        f"{len(kept_edges)} edges of {len(everything)}"
    )


main()
