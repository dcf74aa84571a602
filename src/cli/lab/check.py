"""What became of the records: all that lies in the topics in the end, against all that went by.

The result has the form that report.py shows.
"""

import collections
import hashlib
from time import monotonic, sleep

import rpc
from tap import HEADER

EXAMPLES = 5
FETCH_BYTES = 4 * 1024 * 1024
READ_SECONDS = 60  # that reading one partition may go without an answer
AGAIN_SECONDS = 0.1
SEEN_LATELY_S = 2  # a partition acknowledged so shortly before a fault may be hit by it

MEANINGS = {
    "lost": "acknowledged, and not at its offset with the same bytes",
    "stored-twice": "one batch of a producer at two offsets",
    "duplicate": "one key and value at several offsets of a topic named with --unique",
    "gap": "an offset without a record",
    "producer-order": "batches of one producer in another order than it numbered them",
    "ack-order": "sent after others were acknowledged, and stored before them",
    "commit-ahead": "a committed offset behind the end of its partition",
    "not-drained": "records that a group named with --drained has not committed",
    "copy-missing": "a record of IN of --each IN:OUT whose key is not in OUT",
    "copy-extra": "a key more often in OUT than in IN",
}


class Batch:
    def __init__(self, data):
        def number(at, size):
            return int.from_bytes(data[at : at + size], "big", signed=True)

        self.offset, self.count = number(0, 8), number(57, 4)
        self.producer = (number(43, 8), number(51, 2))
        self.sequence = number(53, 4)
        self.identity = hashlib.sha1(data[HEADER:]).digest()


def cut(data):
    at = 0
    while at + 12 <= len(data):
        size = 12 + int.from_bytes(data[at + 8 : at + 12], "big")
        yield Batch(data[at : at + size])
        at += size


class Reader:
    """Reads partitions whole, at their leaders, past the proxies."""

    def __init__(self, addresses, backs):
        self.addresses, self.backs = addresses, backs  # address that is told: where it is

    def ask(self, method, **fields):
        """Any node."""
        last = None
        for address in self.addresses:
            try:
                with rpc.Client(self.backs[address]) as client:
                    return client.call(method, **fields)
            except (OSError, EOFError) as gone:
                last = gone
        raise last

    def partitions(self, topic):
        """{partition: address of its leader, None while nobody leads it}"""
        found = (self.ask("metadata", topics=[topic])["topics"] or [{"error": "UNKNOWN_TOPIC"}])[0]
        if found.get("error"):
            raise rpc.Refused(f"{found['error']}: no topic {topic}")
        return {row["partition"]: row.get("leader_address") for row in found["partitions"]}

    def read(self, topic, partition, leader, form):
        """Batches, or (offset, key, value), and the end. Leaders may change meanwhile."""
        rows, state = [], {"at": 0, "end": None}
        deadline = monotonic() + READ_SECONDS
        while state["at"] != state["end"]:
            before = state["at"]
            try:
                self.read_on(topic, partition, leader, form, rows, state)
            except (OSError, EOFError, KeyError, rpc.Refused) as wrong:
                if state["at"] > before:
                    deadline = monotonic() + READ_SECONDS
                if monotonic() > deadline:
                    raise TimeoutError(f"{topic}/{partition} cannot be read: {wrong!r}") from None
                sleep(AGAIN_SECONDS)
                leader = self.partitions(topic).get(partition)
        return rows, state["end"]

    def read_on(self, topic, partition, leader, form, rows, state):
        """As far as this leader goes."""
        where = {"topic": topic, "partition": partition}
        with rpc.Client(self.backs[leader]) as client:
            if state["end"] is None:
                state["end"] = client.call("offsets", **where, at="latest")["offset"]
            while state["at"] < state["end"]:
                answer = client.call("fetch", **where, offset=state["at"], format=form,
                                     max_bytes=FETCH_BYTES, max_wait_ms=1000)  # fmt: skip
                if form == "batch":
                    some = list(cut(answer["records"]))
                    state["at"] = some[-1].offset + some[-1].count if some else state["at"]
                else:
                    some = [(row["o"], row["k"], row["v"]) for row in answer["records"]]
                    state["at"] = some[-1][0] + 1 if some else state["at"]
                rows += some


class Checks:
    def __init__(self, journal, reader, options):
        self.journal, self.reader, self.options = journal, reader, options
        self.found = {kind: [0, []] for kind in MEANINGS}
        self.counts = collections.Counter()
        self.ends = {}

    def tell(self, kind, text, count=1, time=None):
        row = self.found[kind]
        row[0] += count
        if len(row[1]) < EXAMPLES:
            row[1].append({"time_ns": int((time or 0) * 1e9), "text": text})

    def run(self):
        keys = {}
        for topic in self.options.topics:
            keys[topic] = self.check_topic(topic)
        for pair in self.options.each:
            self.check_copies(keys, *pair)
        self.check_commits()
        return self

    # ---- one topic ------------------------------------------------------------------------------

    def check_topic(self, topic):
        """Returns how often each key is in it."""
        keys, same = collections.Counter(), collections.defaultdict(list)
        for partition, leader in sorted(self.reader.partitions(topic).items()):
            where = f"{topic}/{partition}"
            batches, end = self.reader.read(topic, partition, leader, "batch")
            records, _ = self.reader.read(topic, partition, leader, "records")
            self.ends[topic, partition] = end
            self.counts["stored"] += end
            self.check_batches(where, batches)
            self.check_gaps(where, records, end)
            self.check_sent(topic, partition, batches, records)
            for offset, key, value in records:
                keys[key] += 1
                same[key, value].append(f"{where} offset {offset}")
        if topic in self.options.unique:
            for (key, _), places in same.items():
                if len(places) > 1:
                    words = f"key {key!r} with one value: {', '.join(places[:4])}"
                    self.tell("duplicate", words, len(places) - 1)
        return keys

    def check_batches(self, where, batches):
        seen, last = {}, {}
        for batch in batches:
            if batch.producer[0] < 0:
                continue
            if batch.identity in seen:
                words = f"{where}: one batch at offsets {seen[batch.identity]} and {batch.offset}"
                self.tell("stored-twice", words, batch.count)
            seen[batch.identity] = batch.offset
            if batch.sequence <= last.get(batch.producer, -1):
                words = f"{where} offset {batch.offset}: sequence {batch.sequence} of producer "
                words += f"{batch.producer[0]} behind {last[batch.producer]}"
                self.tell("producer-order", words, batch.count)
            last[batch.producer] = batch.sequence

    def check_gaps(self, where, records, end):
        expected = 0
        for offset, _, _ in records:
            if offset > expected:
                self.tell("gap", f"{where}: offsets {expected} to {offset - 1}", offset - expected)
            expected = max(expected, offset + 1)
        if expected < end:
            self.tell("gap", f"{where}: offsets {expected} to {end - 1}", end - expected)

    def check_sent(self, topic, partition, batches, records):
        by_offset = {batch.offset: batch for batch in batches}
        plain = {offset: (key, value) for offset, key, value in records}
        sent = [s for s in self.journal.sent if (s.topic, s.partition) == (topic, partition)]
        acked = [s for s in sent if s.offset is not None]
        for one in acked:
            if one.plain is None:
                batch = by_offset.get(one.offset)
                fine = batch is not None and batch.identity == one.identity
            else:
                fine = all(plain.get(one.offset + n) == r for n, r in enumerate(one.plain))
            if not fine:
                words = f"{topic}/{partition}: {one.count} records acknowledged at {one.offset}"
                self.tell("lost", words, one.count, one.done)
        acked_by_time = sorted(acked, key=lambda s: s.done)
        highest, at = -1, 0
        for one in sorted(acked, key=lambda s: s.sent):
            while at < len(acked_by_time) and acked_by_time[at].done < one.sent:
                other = acked_by_time[at]
                if not self.is_repeated(other):
                    highest = max(highest, other.offset + other.count - 1)
                at += 1
            if one.offset <= highest and not self.is_repeated(one):
                words = f"{topic}/{partition}: sent when offset {highest} was acknowledged, "
                self.tell("ack-order", words + f"stored at {one.offset}", one.count, one.sent)

    def is_repeated(self, one):
        """A batch that was sent again is answered with its first place."""
        if not hasattr(self, "times"):
            self.times = collections.Counter(s.identity for s in self.journal.sent if s.identity)
        return one.identity is not None and self.times[one.identity] > 1

    # ---- across topics --------------------------------------------------------------------------

    def check_copies(self, keys, source, target):
        for key, count in keys[source].items():
            if keys[target][key] < count:
                missing = count - keys[target][key]
                self.tell("copy-missing", f"key {key!r} of {source} in {target}", missing)
        for key, count in keys[target].items():
            if count > keys[source][key]:
                words = f"key {key!r}: {count} in {target}, {keys[source][key]} in {source}"
                self.tell("copy-extra", words, count - keys[source][key])

    def check_commits(self):
        for time, group, topic, partition, offset in self.journal.commits:
            end = self.ends.get((topic, partition))
            if end is not None and offset > end:
                words = f"group {group}: {topic}/{partition}: {offset}, the end is {end}"
                self.tell("commit-ahead", words, 1, time)
        for group in self.options.drained:
            committed = {
                (row["topic"], row["partition"]): row["offset"] for row in self.committed(group)
            }
            topics = {topic for _, name, topic, _, _ in self.journal.commits if name == group}
            for (topic, partition), end in self.ends.items():
                left = end - committed.get((topic, partition), 0)
                if left > 0 and (topic in topics or not topics):
                    words = f"group {group}: {left} records of {topic}/{partition}"
                    self.tell("not-drained", words, left)

    def committed(self, group):
        leader = self.reader.ask("group.find", group=group)["leader_address"]
        with rpc.Client(self.reader.backs[leader]) as client:
            return client.call("group.committed", group=group)["offsets"]


# ---- what the report shows ----------------------------------------------------------------------


def quantile(numbers, part):
    return numbers[min(len(numbers) - 1, int(part * len(numbers)))] if numbers else 0.0


def figures(latencies):
    latencies = sorted(latencies)
    return {
        "p50_ms": quantile(latencies, 0.5),
        "p99_ms": quantile(latencies, 0.99),
        "max_ms": latencies[-1] if latencies else 0.0,
    }


def series(sent, begin, end):
    width = int((end - begin) // 600) + 1
    points = [([], collections.Counter()) for _ in range(int((end - begin) // width) + 1)]
    for one in sent:
        at = int(((one.done or one.sent) - begin) // width)
        latencies, counts = points[min(max(at, 0), len(points) - 1)]
        if one.offset is not None:
            counts["acknowledged"] += one.count
            latencies.append((one.done - one.sent) * 1000)
        elif one.error is None:
            counts["unknown"] += one.count
    rows = [
        {**{kind: counts[kind] for kind in ("acknowledged", "failed", "unknown", "read")},
         **figures(latencies)}
        for latencies, counts in points
    ]  # fmt: skip
    return width, rows


def next_acks(fault, acked):
    """Of each partition that it may have hit: ms until something sent after it was acknowledged."""
    begin = fault["begin_ns"] / 1e9
    hit = {
        (one.topic, one.partition) for one in acked if begin - SEEN_LATELY_S <= one.done < begin
    }
    first = {}
    for one in acked:
        where = (one.topic, one.partition)
        if where in hit and one.sent >= begin:
            first[where] = min(first.get(where, one.done), one.done)
    return [(done - begin) * 1000 for done in first.values()], len(hit)


def gaps(acked):
    last, found = {}, []
    for one in sorted(acked, key=lambda s: s.done):
        where = f"{one.topic}/{one.partition}"
        if where in last:
            ms = (one.done - last[where]) * 1000
            found.append({"partition": where, "from_ns": int(last[where] * 1e9), "ms": ms})
        last[where] = one.done
    return sorted(found, key=lambda gap: -gap["ms"])[:20]


def verdict(checks):
    """Topics without a record show nothing."""
    if any(count for count, _ in checks.found.values()):
        return "anomalies"
    return "valid" if checks.counts["stored"] else "unknown"


def outcomes(sent):
    """Records by what became of them; a batch that was sent again counts once."""
    groups = collections.defaultdict(list)
    for one in sent:
        groups[(one.topic, one.partition, one.identity or id(one))].append(one)
    counts = dict.fromkeys(("sent", "acknowledged", "failed", "unknown"), 0)
    for some in groups.values():
        acked = any(one.offset is not None for one in some)
        outcome = "acknowledged" if acked else "failed" if some[-1].error else "unknown"
        counts["sent"] += some[0].count
        counts[outcome] += some[0].count
    counts["sent_again"] = sum(len(some) - 1 for some in groups.values())
    return counts


def result(checks, faults, begin, end):
    journal = checks.journal
    sent = [one for one in journal.sent if one.topic in checks.options.topics]
    acked = [one for one in sent if one.offset is not None]
    width, points = series(sent, begin, end)
    for fault in faults:
        fault["next_ack_ms"], fault["partitions"] = next_acks(fault, acked)
        fault["without_ack"] = fault["partitions"] - len(fault["next_ack_ms"])
    return {
        "verdict": verdict(checks),
        "first_ns": int(begin * 1e9),
        "last_ns": int(end * 1e9),
        "counts": {
            **outcomes(sent),
            "stored": checks.counts["stored"],
            "requests": journal.requests,
            "commits": len(journal.commits),
            "connections_not_followed": journal.given_up,
        },
        "latency": figures([(one.done - one.sent) * 1000 for one in acked]),
        "anomalies": [
            {"kind": kind, "meaning": MEANINGS[kind], "count": count, "examples": examples}
            for kind, (count, examples) in checks.found.items()
        ],
        "gaps": gaps(acked),
        "faults": faults,
        "point_s": width,
        "series": points,
    }
