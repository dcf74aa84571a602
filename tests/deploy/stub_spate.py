#!/usr/bin/env python3
"""Stands in for `spate` when deploy/quickstart itself is tested: a cluster made of files.

Node 1 leads until its process is gone, then node 2. QUICKSTART_STUB names what goes wrong: `none`,
`lose`, `repeat`, `alter` (a record), `no-failover`, `nothing-in-flight`.
"""

import json
import os
import pathlib
import sys
import time

HOME = pathlib.Path(__file__).resolve().parents[2] / ".quickstart"
TOPIC = HOME / "stub-topic"
FAULT = os.environ["QUICKSTART_STUB"]


def state(node):
    """The state letter of a node's process; X once it is gone."""
    try:
        pid = (HOME / f"node{node}" / "pid").read_text().strip()
        return pathlib.Path(f"/proc/{pid}/stat").read_text().split()[2]
    except OSError:
        return "X"


def leader():
    return 1 if FAULT == "no-failover" or state(1) not in "XZ" else 2


def write_statistics(path, acked, in_flight):
    scratch = pathlib.Path(path + ".new")
    numbers = {"acked": acked, "in_flight": in_flight, "seconds": 1.5, "longest_gap_ms": 120}
    scratch.write_text(json.dumps(numbers, indent=2))
    scratch.rename(path)


def produce(arguments):
    statistics = arguments[arguments.index("--stats-json") + 1]
    lines = [line + b"\n" for line in sys.stdin.buffer.read().split(b"\n") if line]
    died, deadline = False, time.monotonic() + 20
    while not (died and state(1) in "SR") and time.monotonic() < deadline:
        frozen = state(1) == "T" and FAULT != "nothing-in-flight"
        died = died or state(1) in "XZ"
        write_statistics(statistics, len(lines) // 2, 9 if frozen else 1)
        time.sleep(0.02)
    if FAULT == "lose":
        del lines[7]
    elif FAULT == "repeat":
        lines.append(lines[7])
    elif FAULT == "alter":
        lines[7] = lines[7].rstrip(b"\n") + b"!\n"
    TOPIC.write_bytes(b"".join(reversed(lines)))
    write_statistics(statistics, len(lines), 0)


def main(arguments):
    if arguments[:2] == ["topic", "describe"]:
        if not TOPIC.exists():
            return 3
        print(json.dumps({"partitions": [{"partition": 0, "leader": leader()}]}, indent=2))
    elif arguments[:2] == ["topic", "create"]:
        TOPIC.write_bytes(b"")
    elif arguments[:2] == ["topic", "delete"]:
        TOPIC.unlink()
    elif arguments[0] == "produce":
        produce(arguments)
    elif arguments[0] == "consume":
        sys.stdout.buffer.write(TOPIC.read_bytes())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
