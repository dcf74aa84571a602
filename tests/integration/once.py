"""What test_exactly_once.py demands, apart from clusters and processes, so that it can be shown to
fail: each function reads what was recorded and tells a Report what is wrong.

    log      partition -> the records in it, by offset, each as a number: producer << 32 | sequence
    acks     what a producer was told (struct once_ack)
    lives    what each life of each member has processed (struct once_row)
    watch    what was seen of the committed offsets
"""

import array
import struct
import threading
import time

KEYS = 64  # of each producer, once_record.h
ACK = struct.Struct("<IiqII")
ROW = struct.Struct("<qqIIII")
NEVER_NS = 1 << 62
TEXTS_MAX = 5  # of each kind; all are counted


def record_id(producer, sequence):
    return producer << 32 | sequence


def name(number):
    return f"record {number & 0xFFFFFFFF} of producer {number >> 32}"


def value_of(producer, sequence):
    """The value that once_value in once_record.h makes, written a second time."""
    filler = (producer * 2654435761 + sequence * 2246822507) & 0xFFFFFFFF
    words = "".join([f"{filler ^ number:08x}" for number in range(6)])
    return f"{producer:02d} {sequence:09d}{words}"


def key_of(producer, sequence):
    return f"k{producer:02d}-{sequence % KEYS:03d}"


class Report:
    """What is wrong: how often, by kind, with a few examples."""

    def __init__(self):
        self.counts = {}
        self.texts = []

    def wrong(self, kind, text, count=1):
        if self.counts.get(kind, 0) < TEXTS_MAX:
            self.texts.append(f"{kind}: {text}")
        self.counts[kind] = self.counts.get(kind, 0) + count

    def count(self, kind):
        return self.counts.get(kind, 0)


# ---- the log ------------------------------------------------------------------------------------


def read_log(lines, report):
    """Of lines `PARTITION OFFSET KEY VALUE`."""
    log = {}
    for line in lines:
        partition, offset, key, value = line.rstrip("\n").split(" ", 3)
        rows = log.setdefault(int(partition), array.array("Q"))
        producer, sequence = int(value[:2]), int(value[3:12])
        if value != value_of(producer, sequence) or key != key_of(producer, sequence):
            report.wrong("altered", line)
        if int(offset) != len(rows):
            report.wrong("gap", f"offset {offset} of partition {partition}, not {len(rows)}")
        rows.append(record_id(producer, sequence))
    return log


def check_log(log, producers, count, report):
    """Each record once, those of a producer in order, and a key in one partition."""
    seen = {producer: bytearray(count) for producer in producers}
    homes = {}
    for partition, rows in log.items():
        last = dict.fromkeys(producers, -1)
        for offset, number in enumerate(rows):
            producer, sequence = number >> 32, number & 0xFFFFFFFF
            if producer not in seen or sequence >= count:
                report.wrong("altered", f"{name(number)}, which nobody wrote")
                continue
            if seen[producer][sequence]:
                report.wrong("duplicated", f"{name(number)} at {partition}/{offset}")
            elif sequence < last[producer]:
                report.wrong("disordered", f"{name(number)} at {partition}/{offset}")
            seen[producer][sequence] = 1
            last[producer] = sequence
            if homes.setdefault((producer, sequence % KEYS), partition) != partition:
                report.wrong("scattered", f"{name(number)} at {partition}/{offset}")
    return seen


def check_acks(producer, content, log, seen, report):
    """Every record was acknowledged once, and is where that said; returns how many were."""
    count = len(seen)
    told = bytearray(count)
    acknowledged = 0
    for sequence, status, offset, partition, _ in ACK.iter_unpack(content):
        number = record_id(producer, sequence)
        if sequence >= count or told[sequence]:
            report.wrong("acknowledged twice", name(number))
            continue
        told[sequence] = 1
        if status != 0:
            report.wrong("failed", f"{name(number)}: status {status}")
            continue
        acknowledged += 1
        rows = log.get(partition, ())
        if not seen[sequence]:
            report.wrong("lost", f"{name(number)}, acknowledged at {partition}/{offset}")
        elif not 0 <= offset < len(rows) or rows[offset] != number:
            report.wrong("acknowledged elsewhere", f"{name(number)} at {partition}/{offset}")
    missing = count - sum(told)
    if missing:
        example = name(record_id(producer, told.index(0)))
        report.wrong("never reported", f"{missing}, as {example}", missing)
    return acknowledged


# ---- the group ----------------------------------------------------------------------------------


class Life:
    """A process of the group. `killed_ns`: when it was sent SIGKILL; None: it ended in order."""

    def __init__(self, label, content, killed_ns=None):
        self.label = label
        self.content = content
        self.killed_ns = killed_ns


class Processed:
    """What the group has done with a partition: by offset, when first and last and by which life;
    0 and -1: never."""

    def __init__(self, size):
        self.first_ns = array.array("q", [0]) * size
        self.last_ns = array.array("q", [0]) * size
        self.life = array.array("h", [-1]) * size


def check_again(lives, earlier, later, later_ns, where, report):
    """A record was processed by two lives: the first of them must have died in between."""
    killed_ns = lives[earlier].killed_ns
    if earlier == later or killed_ns is None or later_ns < killed_ns:
        labels = f"{lives[earlier].label} and {lives[later].label}"
        report.wrong("again without a death", f"{where} by {labels}")


def check_lives(lives, log, report):
    """Every record was processed, and again only after a death. Returns how many times again, and
    the partitions' Processed."""
    processed = {partition: Processed(len(rows)) for partition, rows in log.items()}
    again = 0
    for index, life in enumerate(lives):
        whole = len(life.content) // ROW.size * ROW.size
        for now, offset, partition, producer, sequence, _ in ROW.iter_unpack(life.content[:whole]):
            rows, state = log.get(partition, ()), processed.get(partition)
            where = f"{partition}/{offset}"
            if offset >= len(rows) or rows[offset] != record_id(producer, sequence):
                report.wrong("delivered wrongly", f"{where} to {life.label}")
                continue
            if state.life[offset] < 0:
                state.first_ns[offset] = now
            else:
                again += 1
                state.first_ns[offset] = min(now, state.first_ns[offset])
                if now < state.last_ns[offset]:
                    before = state.last_ns[offset]
                    check_again(lives, index, state.life[offset], before, where, report)
                    continue
                check_again(lives, state.life[offset], index, now, where, report)
            state.last_ns[offset] = now
            state.life[offset] = index
    for partition, state in processed.items():
        missing = state.life.count(-1)
        if missing:
            example = f"{missing} of partition {partition}, as offset {state.life.index(-1)}"
            report.wrong("unprocessed", example, missing)
    return again, processed


# ---- committed offsets --------------------------------------------------------------------------


class Watch:
    """Committed offsets as several observers see them, at the same time: an answer must not be
    below what had been answered when its question was sent."""

    def __init__(self, report):
        self.report = report
        self.lock = threading.Lock()
        self.highest = {}  # partition -> the highest offset answered so far
        self.seen = []  # (when it was answered, partition, offset), whenever one is new
        self.answers = 0

    def question(self):
        """To be called before a question is sent, for `answer`."""
        with self.lock:
            return dict(self.highest)

    def answer(self, known, committed, now_ns=None):
        """`committed` is partition -> offset; partitions without one are left out."""
        now_ns = time.monotonic_ns() if now_ns is None else now_ns
        with self.lock:
            self.answers += 1
            for partition, offset in known.items():
                if committed.get(partition, -1) < offset:
                    text = f"partition {partition}: {committed.get(partition)} after {offset}"
                    self.report.wrong("back", text)
            for partition, offset in committed.items():
                if offset > self.highest.get(partition, -1):
                    self.highest[partition] = offset
                    self.seen.append((now_ns, partition, offset))


def check_watch(watch, processed, report):
    """Nothing was committed before it was processed."""
    complete_ns = {}  # partition -> when all below an offset + 1 had been processed
    for partition, state in processed.items():
        times, latest = array.array("q"), 0
        for first_ns, life in zip(state.first_ns, state.life):
            latest = max(latest, first_ns if life >= 0 else NEVER_NS)
            times.append(latest)
        complete_ns[partition] = times
    for now_ns, partition, offset in watch.seen:
        times = complete_ns.get(partition, ())
        if offset > len(times) or (offset > 0 and times[offset - 1] > now_ns):
            report.wrong("committed ahead", f"offset {offset} of partition {partition}")
