"""The script of faults.

    # when   what   whom                  how
    3s       kill   2                     for 4s
    10s      pause  leader of orders/0    for 2s
    14s      cut    1                     for 3s
    18s      cut    clients               for 1s
    20s      slow   all                   by 100ms for 5s
    30s      stop   3
    35s      start  3

`for` undoes it after that time: start, resume, join, fast. Without it the fault stays until a line
undoes it, or until the program has ended.
"""

import random
import re

UNDO = {"kill": "start", "stop": "start", "pause": "resume", "cut": "join", "slow": "fast"}
ACTIONS = {*UNDO, *UNDO.values()}
TIME = re.compile(r"^([0-9]+(?:\.[0-9]+)?)(ms|s|m)$")
WHOM = re.compile(r"^(all|any|clients|leader of \S+/[0-9]+|[0-9]+(,[0-9]+)*)$")
UNITS = {"ms": 0.001, "s": 1, "m": 60}


class Wrong(Exception):
    """A script that cannot be followed."""


class Step:
    def __init__(self, at, action, whom, seconds=None, by=0.0):
        self.at, self.action, self.whom = at, action, whom
        self.seconds, self.by = seconds, by

    def __str__(self):
        by = f" by {self.by * 1000:g}ms" if self.action == "slow" else ""
        until = f" for {self.seconds:g}s" if self.seconds else ""
        return f"{self.at:g}s {self.action} {self.whom}{by}{until}"


def seconds(word):
    found = TIME.match(word)
    if not found:
        raise Wrong(f"{word} is no time: 500ms, 3s, 1m")
    return float(found[1]) * UNITS[found[2]]


def parse_line(line, nodes):
    words = line.split()
    if len(words) < 3:
        raise Wrong("a line is: WHEN WHAT WHOM [by TIME] [for TIME]")
    at, action, rest = seconds(words[0]), words[1], words[2:]
    if action not in ACTIONS:
        raise Wrong(f"{action} is none of {', '.join(sorted(ACTIONS))}")
    options = {}
    while len(rest) >= 3 and rest[-2] in ("by", "for"):
        if rest[-2] in options:
            raise Wrong(f"`{rest[-2]}` is there twice")
        options[rest[-2]] = seconds(rest[-1])
        if options[rest[-2]] == 0:
            raise Wrong(f"{rest[-2]} {rest[-1]} is nothing at all")
        rest = rest[:-2]
    whom = " ".join(rest)
    if not WHOM.match(whom):
        raise Wrong(f"{whom} is none of: 1, 1,2, all, any, leader of TOPIC/PARTITION, clients")
    if whom == "clients" and action not in ("cut", "join", "slow", "fast"):
        raise Wrong(f"{action} is done to nodes; clients can be cut or slow")
    if whom[0].isdigit() and not all(1 <= int(one) <= nodes for one in whom.split(",")):
        raise Wrong(f"there are nodes 1 to {nodes}")
    if "for" in options and action not in UNDO:
        raise Wrong(f"{action} undoes: it has no `for`")
    if (action == "slow") != ("by" in options):
        raise Wrong("slow, and only slow, says by how much: slow 2 by 100ms")
    return Step(at, action, whom, options.get("for"), options.get("by", 0.0))


def check_leader(step, topics):
    """`topics`: number of partitions of each, None: not known yet."""
    if not step.whom.startswith("leader of "):
        return
    topic, _, partition = step.whom.removeprefix("leader of ").rpartition("/")
    if topic not in topics:
        raise Wrong(f"{topic} is no topic of this run: name it with --topic")
    if topics[topic] is not None and int(partition) >= topics[topic]:
        raise Wrong(f"{topic} has partitions 0 to {topics[topic] - 1}")


def parse(text, nodes, topics):
    steps = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.partition("#")[0].strip()
        if line:
            try:
                steps.append(parse_line(line, nodes))
                check_leader(steps[-1], topics)
            except Wrong as wrong:
                raise Wrong(f"line {number}: {wrong}") from None
    return sorted(steps, key=lambda step: step.at)


def draw(seed, nodes, length):
    """One fault after the other, each of one node, which is well again before the next."""
    chance, steps, at = random.Random(seed), [], 2.0
    while at < length - 3:
        action = chance.choice(sorted(UNDO))
        lasts = round(chance.uniform(1, 4), 1)
        by = chance.choice((0.05, 0.2, 0.5)) if action == "slow" else 0.0
        steps.append(Step(round(at, 1), action, str(chance.randint(1, nodes)), lasts, by))
        at += lasts + chance.uniform(2, 5)
    return steps
