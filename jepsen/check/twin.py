"""A second checker, which looks at everything in the plainest way: every rule of docs/testing.md
with loops over all pairs. It is slow, shares no code with jepsen-check, and is right by looking at
it. `check(directory)` returns how many anomalies of each kind there are."""

import collections
import os

from twin_compact import KEYS_MAX, Compacted

FAR = 1 << 62


class Refused(Exception):
    """This is no history."""


class Send:
    """Records of one operation that were reported together, or never."""

    def __init__(self, client, key, first, count, invoked, operation):
        self.client, self.key, self.first, self.count = client, key, first, count
        self.invoked, self.done, self.offset = invoked, FAR, None
        self.operation, self.outcome = operation, "info"

    def values(self):
        return [(self.client, self.key, s) for s in range(self.first, self.first + self.count)]


class Poll:
    def __init__(self, client, key, time, pairs, hw, final, group):
        self.client, self.key, self.time, self.pairs = client, key, time, pairs
        self.hw, self.final, self.group = hw, final, group


class History:
    def __init__(self, directory):
        self.sends, self.polls, self.events = [], [], []
        self.sequence = []  # polls and events in the order of their files
        self.groups = {}
        self.keys = {}  # of a compacted topic's partition: how many a client has
        self.delete_ms = {}
        self.used = set()
        self.last = 0
        for name in sorted(os.listdir(directory)):
            if name.endswith(".log"):
                self.read(os.path.join(directory, name))

    def read(self, path):
        self.open, self.topic, self.keys_now = {}, None, 0
        with open(path, encoding="ascii") as handle:
            text = handle.read()
        for line in text.split("\n")[:-1]:
            time, client, operation, outcome, what, *rest = line.split(" ")
            fields = dict(field.split("=", 1) for field in rest)
            self.last = max(self.last, int(time))
            self.take(int(time), int(client), int(operation), outcome, what, fields)

    def take(self, time, client, operation, outcome, what, fields):
        if what == "start":
            self.topic = fields["topic"]
            self.groups[client] = fields.get("group", "-")
            self.keys_now = int(fields.get("keys", 0))
            self.delete_ms[client] = int(fields.get("delete_ms", 0))
            if self.keys_now > KEYS_MAX:
                raise Refused("too many keys")
            return
        key = (self.topic, int(fields["p"])) if "p" in fields else None
        if key and self.keys_now:
            self.keys[key] = self.keys_now
        if what == "send":
            self.take_send(time, client, operation, outcome, key, fields)
        elif what == "poll":
            pairs = []
            for run in fields["r"].split(","):
                offset, _, rest = run.partition("/")
                writer, _, rest = rest.partition(":")
                first, _, count = rest.partition("+")
                if int(count) == 0:
                    raise Refused("a run of nothing")
                for n in range(int(count)):
                    pairs.append((int(offset) + n, (int(writer), key, int(first) + n)))
                    self.used.add(key)
            hw = int(fields["hw"]) if "hw" in fields else None
            poll = Poll(client, key, time, pairs, hw, "final" in fields, "group" in fields)
            self.polls.append(poll)
            self.sequence.append(poll)
        elif what in EVENTS:
            self.take_event(time, client, operation, outcome, what, key, fields)

    def take_send(self, time, client, operation, outcome, key, fields):
        first, count = (int(number) for number in fields["v"].split("+"))
        if count == 0:
            raise Refused("a send of nothing")
        self.used.add(key)
        if outcome == "invoke":
            self.sends.append(Send(client, key, first, count, time, operation))
            self.open[(client, operation)] = True
            return
        for at, send in enumerate(self.sends):
            inside = send.first <= first and first + count <= send.first + send.count
            same = (send.client, send.key, send.operation) == (client, key, operation)
            if same and inside and send.done == FAR:
                break
        else:
            raise Refused(f"report of nothing: {client} {operation} {fields}")
        done = Send(client, key, first, count, send.invoked, operation)
        done.done, done.outcome = time, outcome
        done.offset = int(fields["o"]) if outcome == "ok" else None
        head, tail = first - send.first, send.first + send.count - first - count
        if tail:
            self.sends.append(Send(client, key, first + count, tail, send.invoked, operation))
        if head:
            send.count = head
            self.sends.append(done)
        else:
            self.sends[at] = done

    def take_event(self, time, client, operation, outcome, what, key, fields):
        number = EVENTS[what]
        a = int(fields[number]) if number in fields else -1
        if what in ("create", "delete"):
            key = fields["topic"]
        if outcome != "invoke" and (client, operation) in self.open:
            event = self.open.pop((client, operation))
            if event is True or event["what"] != what:
                raise Refused("another outcome")
            event.update(done=time, outcome=outcome)
            event["a"] = a if number in fields else event["a"]
            return
        event = {"what": what, "client": client, "key": key, "a": a, "invoked": time}
        event.update(b=int(fields.get("end", -1)), c=int(fields.get("keep", -1)), outcome=outcome)
        if what == "final" and not 0 <= a <= event["b"]:
            raise Refused("a final read of what?")
        event["done"] = FAR if outcome == "invoke" else time
        if outcome == "invoke":
            self.open[(client, operation)] = event
        self.events.append(event)
        self.sequence.append(event)


EVENTS = {
    "assign": "o", "unassign": "", "assigned": "", "revoked": "", "lost": "", "owns": "gen",
    "commit": "o", "committed": "o", "offsets": "end", "final": "from", "bad": "o",
    "skipped": "o", "truncate": "o", "create": "", "delete": "",
}  # fmt: skip


class Twin(Compacted):
    def __init__(self, directory):
        self.history = History(directory)
        self.found = collections.Counter()
        self.build()
        self.check_values()
        self.check_compact()
        self.check_starts()
        self.check_polls()
        self.check_sends()
        self.check_time()
        self.check_groups()
        self.check_admin()
        self.check_cycles()

    # ---- logs -----------------------------------------------------------------------------------

    def build(self):
        history = self.history
        self.log = collections.defaultdict(dict)  # key: offset: values in the order of evidence
        self.places = collections.defaultdict(set)
        self.send_of = {}
        evidence = []
        for send in history.sends:
            for n, value in enumerate(send.values()):
                self.send_of[value] = send
                if send.outcome == "ok":
                    evidence.append((send.offset + n, value))
        for poll in history.polls:
            evidence += poll.pairs
        for offset, value in evidence:
            seen = self.log[value[1]].setdefault(offset, [])
            if value not in seen:
                seen.append(value)
            self.places[value].add(offset)
        self.bad = collections.defaultdict(set)
        self.final, self.keep = {}, {}
        for event in history.events:
            if event["what"] == "bad":
                self.found["corrupt"] += 1
                if event["a"] >= 0:
                    self.bad[event["key"]].add(event["a"])
            if event["what"] == "final":
                self.final[event["key"]] = (event["a"], event["b"])
                self.keep[event["key"]] = event["c"]
        for offsets in self.log.values():
            self.found["inconsistent-offsets"] += sum(len(seen) > 1 for seen in offsets.values())

    def dense(self, key, offset):
        """How many offsets below have something."""
        there = set(self.log[key]) | self.bad[key]
        size = max(there) + 1 if there else 0
        return sum(at < offset for at in there) + max(0, offset - size)

    # ---- records --------------------------------------------------------------------------------

    def check_values(self):
        history, found = self.history, self.found
        reads = collections.defaultdict(list)
        for poll in history.polls:
            for _, value in poll.pairs:
                reads[value].append(poll)
        for value in set(self.send_of) | set(reads):
            send, key = self.send_of.get(value), value[1]
            found["duplicate"] += len(self.places[value]) > 1
            found["phantom"] += send is None
            if send is None:
                continue
            found["aborted-read"] += send.outcome == "fail" and bool(reads[value])
            found["early-read"] += any(poll.time < send.invoked for poll in reads[value])
            must = send.outcome == "ok" or (send.outcome == "info" and bool(reads[value]))
            if must and key in self.final and not any(poll.final for poll in reads[value]):
                finally_read = [
                    min(self.places[other])
                    for other, polls in reads.items()
                    if other[1] == key and any(poll.final for poll in polls)
                ]
                last = max(self.places[value])
                if last >= self.final[key][0] and not self.may_be_missing(value):
                    bound = max(finally_read, default=-1)
                    lost = last <= bound
                    found["lost" if lost else "unseen"] += 1
        for key, (start, _) in self.final.items():
            there = set(self.log[key]) | self.bad[key]
            if key in history.keys:
                continue
            for offset in range(start, max(there) + 1 if there else 0):
                found["gap"] += offset not in there

    # ---- starts ---------------------------------------------------------------------------------

    def given_up(self, key, time):
        """The offset below which records may be gone."""
        offsets = [0]
        for event in self.history.events:
            if event["what"] == "truncate" and event["key"] == key and event["outcome"] != "fail":
                offsets += [event["a"]] if event["invoked"] < time else []
        if self.keep.get(key, -1) >= 0:
            offsets.append(self.final[key][1] - self.keep[key])
        return max(offsets)

    def check_starts(self):
        for event in self.history.events:
            key = event["key"]
            if event["what"] in ("final", "skipped"):
                self.found["log-start"] += event["a"] > self.given_up(key, event["done"])
            if event["what"] == "truncate" and event["outcome"] == "ok" and key in self.final:
                self.found["log-start"] += event["a"] > self.final[key][0]

    # ---- readers --------------------------------------------------------------------------------

    def check_polls(self):
        expected, watermark = {}, {}
        for row in self.history.sequence:
            if isinstance(row, dict):
                reader = (row["client"], row["key"])
                if row["what"] == "assign":
                    expected[reader] = row["a"] if row["a"] >= 0 else None
                    if row["a"] == -2 and self.final.get(row["key"], (1, 0))[0] == 0:
                        expected[reader] = 0
                    watermark.pop(reader, None)
                elif row["what"] in ("unassign", "assigned", "revoked", "lost"):
                    expected.pop(reader, None)
                    watermark.pop(reader, None)
                elif row["what"] == "skipped" and expected.get(reader) is not None:
                    expected[reader] = max(expected[reader], row["a"])
                elif row["what"] == "bad" and expected.get(reader) == row["a"]:
                    expected[reader] = row["a"] + 1
                continue
            reader = (row.client, row.key)
            for n, (offset, value) in enumerate(row.pairs):
                if expected.get(reader) is not None:
                    by = self.off_by(row.key, expected[reader], offset, row.time)
                    kind = "poll-skip" if by > 0 else "nonmonotonic-poll"
                    self.found[("int-" if n else "") + kind] += by != 0
                expected[reader] = offset + 1
            if row.hw is not None:
                self.found["watermark-back"] += row.hw < watermark.get(reader, 0)
                watermark[reader] = max(row.hw, watermark.get(reader, 0))

    def off_by(self, key, expected, offset, time):
        if key not in self.history.keys:
            return self.dense(key, offset) - self.dense(key, expected)
        if offset < expected:
            return -1
        return any(self.must_be_given(key, at, time) for at in range(expected, offset))

    # ---- senders --------------------------------------------------------------------------------

    def check_sends(self):
        streams = collections.defaultdict(list)
        for value, send in self.send_of.items():
            if send.outcome == "ok":
                offset = send.offset + value[2] - send.first
                streams[value[:2]].append((value[2], offset, send.operation))
        for answers in streams.values():
            answers.sort()
            for (_, before, a), (_, after, b) in zip(answers, answers[1:]):
                kind = "int-nonmonotonic-send" if a == b else "nonmonotonic-send"
                self.found[kind] += after <= before
        for offsets in self.log.values():
            highest = {}
            for offset in sorted(offsets):
                client, _, sequence = value = offsets[offset][0]
                if value in self.send_of and self.send_of[value].outcome == "ok":
                    self.found["producer-order"] += sequence < highest.get(client, -1) + 1
                    highest[client] = max(sequence, highest.get(client, -1))

    # ---- time -----------------------------------------------------------------------------------

    def known(self, key, time):
        """The highest offset that somebody knew before."""
        offsets = [-1]
        for send in self.history.sends:
            if send.outcome == "ok" and send.key == key and send.done < time:
                offsets.append(send.offset + send.count - 1)
        for poll in self.history.polls:
            if poll.key == key and poll.time < time:
                offsets += [offset for offset, _ in poll.pairs]
        return max(offsets)

    def check_time(self):
        for send in self.history.sends:
            places = [min(self.places[v]) for v in send.values() if self.places[v]]
            if send.outcome == "ok":
                places = [send.offset]
            if send.outcome != "fail" and places:
                known = self.known(send.key, send.invoked)
                self.found["ack-order"] += min(places) <= known
        for event in self.history.events:
            if event["what"] == "offsets" and event["outcome"] == "ok":
                known = self.known(event["key"], event["invoked"])
                self.found["stale-read"] += event["a"] <= known

    # ---- groups ---------------------------------------------------------------------------------

    def check_groups(self):
        history = self.history
        ok = [e for e in history.events if e["outcome"] == "ok"]
        ok = [e for e in ok if history.groups.get(e["client"], "-") != "-"]

        def same(event, other):
            group = history.groups[other["client"]]
            return history.groups[event["client"]] == group and event["key"] == other["key"]

        def before(what, other, time):
            """The highest number of such an event that was over before."""
            over = [e for e in ok if e["what"] == what and e["done"] < time]
            return max([e["a"] for e in over if same(e, other)], default=-1)

        for event in ok:
            if event["what"] == "committed":
                observed = before("committed", event, event["invoked"])
                committed = before("commit", event, event["invoked"])
                self.found["commit-back"] += event["a"] < observed
                self.found["commit-lost"] += observed <= event["a"] < committed
            if event["what"] == "assigned":
                self.check_first(event, before("commit", event, event["done"]))
        owners = {}
        for event in sorted(ok, key=lambda event: event["done"]):
            if event["what"] == "owns":
                name = (history.groups[event["client"]], event["a"], event["key"])
                self.found["two-owners"] += owners.get(name, event["client"]) != event["client"]
                owners[name] = event["client"]

    def check_first(self, assigned, committed):
        """The first poll of this owner, unless it was given the partition again before it."""
        history, key = self.history, assigned["key"]
        mine = [p for p in history.polls if p.group and p.key == key]
        later = [p for p in mine if p.client == assigned["client"] and p.time > assigned["done"]]
        again = [
            e["done"]
            for e in history.events
            if e["what"] == "assigned" and e["key"] == key and e["client"] == assigned["client"]
        ]
        first = min(later, key=lambda poll: poll.time, default=None)
        if first is None or any(assigned["done"] < time < first.time for time in again):
            return
        group = history.groups[assigned["client"]]
        others = [p for p in mine if history.groups.get(p.client) == group and p.time < first.time]
        read = max([offset for p in others for offset, _ in p.pairs], default=-1)
        from_start = self.final.get(key, (1, 0))[0] == 0
        if read >= 0 or from_start:
            given_up = self.given_up(key, first.time)
            skips = first.pairs[0][0] > max(read + 1, given_up)
            if key in history.keys:
                skips = skips and self.off_by(key, read + 1, first.pairs[0][0], first.time) > 0
            self.found["group-skip"] += skips
        self.found["group-reread"] += first.pairs[0][0] < committed

    def check_admin(self):
        created = set()
        for event in self.history.events:
            if event["what"] == "create" and event["outcome"] == "ok":
                created.add(event["key"])
            elif event["what"] == "delete":
                self.found["admin-lost"] += event["outcome"] == "fail" and event["key"] in created
                created.discard(event["key"])

    # ---- cycles ---------------------------------------------------------------------------------

    def vertices(self):
        """Of each value its vertex: its send, or its run in the log when that is unknown."""
        vertex = {v: (id(s), 0) for v, s in self.send_of.items() if s.outcome == "ok"}
        for offsets in self.log.values():
            last, run = None, 0
            for offset in sorted(offsets):
                value = offsets[offset][0]
                send = self.send_of.get(value)
                run += send is not last
                last = send
                if send is not None and send.outcome != "ok":
                    vertex[value] = (id(send), (value[1], run))
        return vertex

    def check_cycles(self):
        vertex = self.vertices()
        edges = {"ww": set(), "wr": set(), "process": set(), "realtime": set()}
        for offsets in self.log.values():
            row = [vertex[offsets[o][0]] for o in sorted(offsets) if offsets[o][0] in vertex]
            edges["ww"] |= {(a, b) for a, b in zip(row, row[1:]) if a != b}
        over, begun = [], []
        for poll in self.history.polls:
            over.append((poll.time, poll.client, id(poll)))
            if poll.pairs[-1][1] in vertex:
                edges["wr"].add((vertex[poll.pairs[-1][1]], id(poll)))
        for name in set(vertex.values()) | {(id(s), 0) for s in self.history.sends}:
            send = next(s for s in self.history.sends if id(s) == name[0])
            if send.outcome != "fail":
                begun.append((send.invoked, send.client, name))
            if send.outcome == "ok":
                over.append((send.done, send.client, name))
        for done, client, a in over:
            for invoked, other, b in begun:
                if done < invoked and a != b:
                    edges["realtime"].add((a, b))
                    if client == other:
                        edges["process"].add((a, b))
        ww, wr = edges["ww"], edges["wr"]
        classes = [
            ("G0", ww), ("G1c", ww | wr), ("G1c-process", ww | wr | edges["process"]),
            ("G1c-realtime", ww | wr | edges["realtime"]),
        ]  # fmt: skip
        parts = [(name, components(some)) for name, some in classes]
        for component in parts[-1][1]:
            name = next(n for n, some in parts if any(c <= component for c in some))
            self.found[name] += 1


def components(edges):
    """Sets of two vertices or more that all reach each other."""
    after = collections.defaultdict(set)
    for a, b in edges:
        after[a].add(b)

    def reach(start):
        seen, todo = set(), [start]
        while todo:
            for b in after[todo.pop()]:
                if b not in seen:
                    seen.add(b)
                    todo.append(b)
        return seen

    reached = {a: reach(a) for a in list(after)}
    found = set()
    for a, some in reached.items():
        if a in some:
            found.add(frozenset(b for b in some if a in reached.get(b, ())))
    return [component for component in found if len(component) > 1]


def check(directory):
    return {kind: count for kind, count in Twin(directory).found.items() if count}
