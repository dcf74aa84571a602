#!/usr/bin/env python3
"""Exactly once, as a user would put it to the test: four producers, a consumer group of three, and
three nodes that are killed one after the other, again and again, as are the members.

    4 x once_producer -> 12 partitions, 3 replicas -> 3 x once_member -> a file for each life
          `acks`               SIGKILL                  SIGKILL, SIGTERM

Afterwards everything is read back by `spate consume` and compared with what producers were told,
what members have processed, and what was seen of committed offsets meanwhile (once.py).

SPATE_ONCE_RECORDS: how many records, 1,000,000 when it is not set; more take longer in proportion.
"""

import collections
import json
import os
import struct
import subprocess
import threading
import time
import unittest

import cluster
import once
import rpc

PRODUCER = os.environ.get("SPATE_ONCE_PRODUCER", "")
MEMBER = os.environ.get("SPATE_ONCE_MEMBER", "")
TOPIC, GROUP, PARTITIONS = "once", "once", 12
PRODUCERS = 4
COUNT = max(int(os.environ.get("SPATE_ONCE_RECORDS", "1000000")) // PRODUCERS, 1000)
TOTAL = COUNT * PRODUCERS
SCALE = max(TOTAL / 1000000, 1.0)
PRODUCE_SECONDS = 30 * SCALE  # the producers are held back to this
RUN_SECONDS_MAX = 150 * SCALE
NODE_KILLS_MIN = 6  # two rounds
MEMBER_KILLS_MIN = 6
CLOSE_EVERY = 4  # of so many members that end, one does in order
STEP = TOTAL // 40  # records between one kill of a member and the next
LATE_STEP = TOTAL // 1000
SESSION_MS = 5000
QUESTION_SECONDS = 0.02  # between two questions for the committed offsets
MEMBERS = [("one", "auto"), ("two", "hand"), ("-", "both")]  # group.instance and who commits


def size_of(path):
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return 0


def content_of(path):
    try:
        with open(path, "rb") as handle:
            return handle.read()
    except FileNotFoundError:
        return b""


def start(*arguments, **options):
    """Of the thread that lives longest: the process dies with the thread that started it."""
    return subprocess.Popen(
        arguments,
        preexec_fn=lambda: cluster._libc.prctl(cluster.PR_SET_PDEATHSIG, 9),
        **options,
    )


class Producer:
    def __init__(self, nodes, number):
        self.number = number
        self.acks = os.path.join(nodes.directory, f"acks-{number}")
        arguments = [nodes.servers, TOPIC, str(number), str(COUNT), self.acks]
        self.process = start(PRODUCER, *arguments, stdin=subprocess.PIPE, bufsize=0)

    def allow(self, count):
        self.process.stdin.write(struct.pack("=Q", count))

    @property
    def told(self):
        return size_of(self.acks) // once.ACK.size


class Member:
    """A place in the group, with one process after the other."""

    def __init__(self, nodes, number):
        self.nodes = nodes
        self.number = number
        self.lives = []  # (path of its rows, killed_ns)
        self.past = 0  # rows of those before this one
        self.begin()

    def begin(self):
        self.path = os.path.join(self.nodes.directory, f"rows-{self.number}-{len(self.lives)}")
        instance, commits = MEMBERS[self.number]
        self.process = start(
            MEMBER, self.nodes.servers, TOPIC, GROUP, instance, commits, str(SESSION_MS), self.path
        )

    @property
    def rows(self):
        return size_of(self.path) // once.ROW.size

    def end(self, killed_ns=None):
        code = self.process.wait()
        self.past += self.rows
        self.lives.append((self.path, killed_ns))
        return code

    def kill(self):
        killed_ns = time.monotonic_ns()
        self.process.kill()
        self.end(killed_ns)


class Run:
    """The cluster, its users, and what happens to them. Each `..._again` is a task: a generator
    that yields while it waits, and is called again and again by `work`."""

    def __init__(self, nodes):
        self.nodes = nodes
        self.report = once.Report()
        self.watch = once.Watch(self.report)
        self.producers = [Producer(nodes, number) for number in range(PRODUCERS)]
        self.members = [Member(nodes, number) for number in range(len(MEMBERS))]
        self.started = time.monotonic()
        self.events = collections.Counter()
        self.describing = None
        self.ended = threading.Event()
        self.questions = threading.Thread(target=self.ask_again)

    def close(self):
        self.ended.set()
        for producer in self.producers:
            producer.process.stdin.close()
        processes = [user.process for user in self.producers + self.members]
        for process in [*processes, *([self.describing] if self.describing else [])]:
            if process.poll() is None:
                process.kill()
            process.wait()
        self.questions.join()

    # ---- how far it is --------------------------------------------------------------------------

    @property
    def told(self):
        return sum(producer.told for producer in self.producers)

    @property
    def late(self):
        """There should have been enough kills by now, but the machine is slow."""
        share = (time.monotonic() - self.started) / PRODUCE_SECONDS
        enough = self.events["node kills"] >= NODE_KILLS_MIN and self.killed >= MEMBER_KILLS_MIN
        return share > 0.9 and not enough

    @property
    def allowed(self):
        """What each producer may have written by now: the last of it when the kills are done, so
        until then it becomes ever less."""
        share = (time.monotonic() - self.started) / PRODUCE_SECONDS
        return int(COUNT * (1 - 0.09 / share if self.late else min(share, 1.0)))

    @property
    def killed(self):
        return self.events["member kills"]

    @property
    def in_flight(self):
        told = self.told
        return 0 < told < min(self.allowed * PRODUCERS, TOTAL)

    @property
    def rows(self):
        return sum(member.past + member.rows for member in self.members)

    # ---- tasks ----------------------------------------------------------------------------------

    def until(self, what, condition, seconds=30.0):
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds} s: {what}")
            yield

    def kill_nodes_again(self):
        while True:
            for node in self.nodes.nodes:
                before = self.told + LATE_STEP
                yield from self.until("records after a kill", lambda: self.told >= before)
                yield from self.until("records in flight", lambda: self.in_flight)
                before = self.told
                node.kill()
                node.start()
                yield from self.until("health after a kill", self.nodes.is_healthy)
                yield from self.until("records after a kill", lambda: self.told > before)
                self.events["node kills"] += 1

    def end_members_again(self):
        for turn in range(10000):
            member = self.members[turn % len(self.members)]
            before = self.rows
            yield from self.until(
                "progress of the group",
                lambda: self.rows >= before + (LATE_STEP if self.late else STEP),
            )
            yield from self.until("a record for the member", lambda: member.rows > 0)
            if turn % CLOSE_EVERY == CLOSE_EVERY - 2:
                member.process.terminate()
                yield from self.until("its end", lambda: member.process.poll() is not None)
                assert member.end() == 0, f"member {member.number} did not end in order"
                self.events["member closes"] += 1
            else:
                member.kill()
                self.events["member kills"] += 1
            member.begin()

    def describe_again(self):
        """Looks at the committed offsets as a user does."""
        while True:
            known = self.watch.question()
            self.describing = self.nodes.popen(
                "group", "describe", GROUP, "--json",
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )
            yield from self.until("an answer", lambda: self.describing.poll() is not None, 60)
            output = self.describing.stdout.read()
            self.describing.stdout.close()
            if self.describing.returncode == 0:
                rows = json.loads(output)["partitions"]
                self.watch.answer(known, {row["partition"]: row["committed"] for row in rows})
                self.events["descriptions"] += 1
            then = time.monotonic() + 25 * QUESTION_SECONDS
            yield from self.until("a pause", lambda: time.monotonic() >= then)

    def ask_again(self):
        """A thread: asks for the committed offsets all the time."""
        calls = rpc.Leaders([node.address for node in self.nodes.nodes])
        try:
            while not self.ended.wait(QUESTION_SECONDS):
                known = self.watch.question()
                self.watch.answer(known, self.committed(calls))
        except (AssertionError, rpc.Refused) as failure:
            self.report.wrong("question failed", str(failure))
        calls.close()

    @staticmethod
    def committed(calls):
        offsets = calls.call("group.committed", group=GROUP)["offsets"]
        return {row["partition"]: row["offset"] for row in offsets}

    def work(self):
        """Production under fire."""
        tasks = [self.kill_nodes_again(), self.end_members_again(), self.describe_again()]
        self.questions.start()
        while any(producer.process.poll() is None for producer in self.producers):
            assert time.monotonic() < self.started + RUN_SECONDS_MAX, f"{self.told} records told"
            for producer in self.producers:
                if producer.process.poll() is None and producer.told < COUNT:
                    producer.allow(self.allowed)
            for member in self.members:
                assert member.process.poll() in (None, 0), f"member {member.number} has ended"
            for task in tasks:
                next(task)
            time.sleep(0.01)
        self.seconds_of_production = time.monotonic() - self.started


class CheckerTest(unittest.TestCase):
    """A small run that is right, and each way in which it could be wrong."""

    COUNT, PARTITIONS = 40, 3

    def setUp(self):
        self.report = once.Report()
        self.log = {partition: [] for partition in range(self.PARTITIONS)}
        self.acks = {producer: [] for producer in range(2)}
        self.lives = [once.Life("A", [], 1500), once.Life("B", [])]
        for sequence in range(self.COUNT):
            for producer in range(2):
                self.write(producer, sequence)
        self.watch = once.Watch(self.report)

    def write(self, producer, sequence):
        """Everything about a record: 20 of a partition are processed by A, all others by B."""
        partition = sequence % self.PARTITIONS
        offset = len(self.log[partition])
        self.log[partition].append((producer, sequence))
        self.acks[producer].append([sequence, 0, offset, partition, 0])
        life = self.lives[offset >= 20]
        time_ns = (1000 if offset < 20 else 2000) + offset
        life.content.append([time_ns, offset, partition, producer, sequence, 0])

    def check(self):
        lines = [
            f"{partition} {offset} {once.key_of(*row)} {once.value_of(*row)}\n"
            for partition, rows in self.log.items()
            for offset, row in enumerate(rows)
        ]
        return self.check_lines(lines)

    def check_lines(self, lines):
        log = once.read_log(lines, self.report)
        seen = once.check_log(log, range(2), self.COUNT, self.report)
        for producer, rows in self.acks.items():
            content = b"".join(once.ACK.pack(*row) for row in rows)
            once.check_acks(producer, content, log, seen[producer], self.report)
        lives = [
            once.Life(life.label, b"".join(once.ROW.pack(*row) for row in life.content),
                      life.killed_ns)
            for life in self.lives
        ]
        again, processed = once.check_lives(lives, log, self.report)
        once.check_watch(self.watch, processed, self.report)
        return again

    def wrong(self, *kinds):
        again = self.check()
        self.assertEqual(sorted(self.report.counts), sorted(kinds), self.report.texts)
        return again

    def test_checker_finds_nothing_in_a_run_that_is_right(self):
        self.watch.answer(self.watch.question(), {0: 0, 1: 20}, 1019)
        self.watch.answer(self.watch.question(), {0: 20, 1: 20}, 1500)
        self.watch.answer(self.watch.question(), {0: 28, 1: 26, 2: 26}, 2027)
        self.assertEqual(self.wrong(), 0)

    def test_checker_finds_a_record_twice_in_the_log(self):
        self.log[1].append(self.log[1][3])
        self.wrong("duplicated", "unprocessed")

    def test_checker_finds_a_lost_record(self):
        self.log[0].pop()
        self.wrong("lost", "delivered wrongly")

    def test_checker_finds_records_in_the_wrong_order(self):
        rows = self.log[2]
        rows[4], rows[6] = rows[6], rows[4]  # of the same producer
        self.wrong("disordered", "acknowledged elsewhere", "delivered wrongly", "unprocessed")

    def test_checker_finds_other_bytes(self):
        lines = [
            f"0 0 {once.key_of(0, 0)} {once.value_of(0, 0)[:-1]}x",
            f"0 2 {once.key_of(0, 2)} {once.value_of(0, 1)}",
        ]
        self.acks, self.lives, self.COUNT = {}, [], 2
        self.check_lines(lines)
        self.assertEqual(self.report.count("altered"), 2)
        self.assertEqual(self.report.count("gap"), 1)

    def test_checker_finds_a_key_in_two_partitions(self):
        self.COUNT = once.KEYS + 1
        self.log[1].append((0, once.KEYS))  # its key is that of record 0, in partition 0
        self.check()
        self.assertEqual(self.report.count("scattered"), 1)

    def test_checker_finds_wrong_acknowledgements(self):
        self.acks[0][5][2] += 1
        self.acks[0][6][1] = -5
        self.acks[1].append(self.acks[1][7])
        del self.acks[1][8]
        kinds = ("acknowledged elsewhere", "failed", "acknowledged twice", "never reported")
        self.wrong(*kinds)

    def test_checker_finds_a_record_that_nobody_processed(self):
        del self.lives[0].content[9]
        self.wrong("unprocessed")

    def test_checker_allows_reading_again_after_a_death_alone(self):
        row = list(self.lives[0].content[9])
        row[0] = 1600
        self.lives[1].content.append(row)
        self.assertEqual(self.wrong(), 1)
        self.lives[0].killed_ns = 1700  # it was alive yet
        self.wrong("again without a death")

    def test_checker_finds_reading_again_by_those_who_live(self):
        row = list(self.lives[1].content[9])
        for life, time_ns in ((0, 1400), (1, 3000)):  # B before A; B once more
            with self.subTest(life=life):
                self.setUp()
                row[0] = time_ns
                self.lives[life].content.append(list(row))
                if life == 0:
                    self.lives[0].killed_ns, self.lives[1].content[9][0] = 1500, 1300
                self.wrong("again without a death")

    def test_checker_finds_commits_that_run_ahead(self):
        self.watch.answer({}, {0: 20}, 1018)  # the last of them was processed at 1019
        self.wrong("committed ahead")

    def test_checker_finds_commits_of_what_nobody_processed(self):
        self.watch.answer({}, {0: 29}, 9000)
        self.wrong("committed ahead")

    def test_checker_finds_offsets_that_go_back(self):
        self.watch.answer(self.watch.question(), {0: 10}, 1500)
        old = self.watch.question()
        self.watch.answer(self.watch.question(), {0: 12}, 1500)
        self.watch.answer(old, {0: 11}, 1500)  # asked before 12 was known
        self.assertEqual(self.report.counts, {})
        self.watch.answer(self.watch.question(), {0: 11}, 1500)
        self.watch.answer(self.watch.question(), {}, 1500)
        self.assertEqual(self.report.counts, {"back": 2})


@unittest.skipUnless(PRODUCER and MEMBER, "needs SPATE_ONCE_PRODUCER and SPATE_ONCE_MEMBER")
class ExactlyOnceTest(unittest.TestCase):
    maxDiff = None

    def read_back(self, run):
        """By a reader that has nothing to do with the group."""
        arguments = ["consume", TOPIC, "-o", "start", "-e", "-f", "%p %o %k %v\\n"]
        reader = run.nodes.popen(*arguments, stdout=subprocess.PIPE, text=True)
        log = once.read_log(reader.stdout, run.report)
        reader.stdout.close()
        self.assertEqual(reader.wait(), 0, "spate consume")
        self.assertEqual(len(log), PARTITIONS, "partitions that have records")
        return log

    def end_members(self, run, ends):
        """When all is processed and committed the members end in order, and nothing changes."""
        cluster.wait_for("all is committed", lambda: run.watch.highest == ends, 60)
        for member in run.members:
            member.process.terminate()
        for member in run.members:
            self.assertEqual(member.end(), 0, f"member {member.number} ends in order")
        calls = rpc.Leaders([node.address for node in run.nodes.nodes])
        known = run.watch.question()
        committed = run.committed(calls)
        calls.close()
        run.watch.answer(known, committed)
        self.assertEqual(committed, ends, "committed offsets at the end")

    def check_log(self, run, log):
        seen = once.check_log(log, range(PRODUCERS), COUNT, run.report)
        return sum(
            once.check_acks(
                producer.number, content_of(producer.acks), log, seen[producer.number], run.report
            )
            for producer in run.producers
        )

    def check_group(self, run, log):
        lives = [
            once.Life(f"life {turn} of member {member.number}", content_of(path), killed_ns)
            for member in run.members
            for turn, (path, killed_ns) in enumerate(member.lives)
        ]
        again, processed = once.check_lives(lives, log, run.report)
        once.check_watch(run.watch, processed, run.report)
        return again

    def tell(self, run, again, seconds):
        events, count = run.events, run.report.count
        print(
            f"\n{TOTAL} records, {events['node kills']} kills of nodes, "
            f"{events['member kills']} kills of members: lost {count('lost')}, "
            f"duplicated {count('duplicated')}, read again {again}, "
            f"offsets back {count('back')}, {seconds:.0f} s"
        )
        print(
            f"{run.seconds_of_production:.0f} s of production, {events['member closes']} members "
            f"closed, {run.watch.answers} looks at the committed offsets, "
            f"{events['descriptions']} of them by group describe",
            flush=True,
        )

    def test_exactly_once_while_nodes_and_members_are_killed(self):
        started = time.monotonic()
        with cluster.Cluster(3) as nodes:
            nodes.spate("topic", "create", TOPIC, "-p", str(PARTITIONS), "-r", "3")
            nodes.wait_healthy()
            run = Run(nodes)
            self.addCleanup(run.close)
            run.work()
            self.assertEqual([producer.process.wait() for producer in run.producers], [0] * 4)
            log = self.read_back(run)
            self.end_members(run, {partition: len(rows) for partition, rows in log.items()})
            run.close()
            acknowledged = self.check_log(run, log)
            again = self.check_group(run, log)
            self.tell(run, again, time.monotonic() - started)
            self.assertEqual(run.report.counts, {}, "\n".join(run.report.texts))
            self.assertEqual(acknowledged, TOTAL, "records acknowledged")
            self.assertGreaterEqual(run.events["node kills"], NODE_KILLS_MIN)
            self.assertGreaterEqual(run.events["member kills"], MEMBER_KILLS_MIN)
            self.assertGreaterEqual(run.events["member closes"], 1)
            self.assertGreaterEqual(run.events["descriptions"], 1)
            self.assertGreaterEqual(run.watch.answers, 10 * NODE_KILLS_MIN)


if __name__ == "__main__":
    cluster.main()
