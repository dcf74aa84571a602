#!/usr/bin/env python3
"""`spate group` against four real nodes, of which none has a replica of every coordinator."""

import json
import os
import signal
import subprocess
import time
import unittest

import cluster
import rpc

TOPIC = "orders"
RECORDS = 10


class CliGroupsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.nodes = cluster.Cluster(4)
        cls.nodes.__enter__()
        cls.calls = rpc.Leaders([node.address for node in cls.nodes.nodes])
        for topic in (TOPIC, "lines"):
            cls.nodes.spate("topic", "create", topic, "-p", "2", "-r", "3")
        for partition in ("0", "1"):
            lines = "".join(f"line {i}\n" for i in range(RECORDS)).encode()
            cls.nodes.spate("produce", TOPIC, "-p", partition, input=lines)

    @classmethod
    def tearDownClass(cls):
        cls.calls.close()
        cls.nodes.__exit__(None, None, None)

    # ---- helpers --------------------------------------------------------------------------------

    def run_spate(self, code, *arguments, **options):
        done = self.nodes.run(*arguments, **options)
        self.assertEqual(done.returncode, code, done.stderr.decode())
        return done.stdout.decode(), done.stderr.decode()

    def rows(self, *arguments):
        return [line.split("\t") for line in self.nodes.spate(*arguments).decode().splitlines()]

    def commit(self, group, offset, topic=TOPIC, partitions=(0, 1), **fields):
        offsets = [{"topic": topic, "partition": p, "offset": offset} for p in partitions]
        self.calls.call("group.commit", group=group, offsets=offsets, **fields)

    def committed(self, group):
        offsets = self.calls.call("group.committed", group=group)["offsets"]
        return {(row["topic"], row["partition"]): row["offset"] for row in offsets}

    def join(self, group):
        """A member that owns all of the topic."""
        fields = {"group": group, "topics": [TOPIC], "client": "till", "session_ms": 10000}
        return self.calls.call("group.join", **fields)

    # ---- list -----------------------------------------------------------------------------------

    def test_list_names_the_groups_of_every_coordinator(self):
        names = [f"listed-{i:02}" for i in range(40)]
        for name in names:
            self.commit(name, 1)
        for node in self.nodes.nodes:
            with rpc.Client(node.address) as client:
                missing = client.call("group.list")["missing"]
            if missing:
                break
        self.assertTrue(missing, "a node that knows all groups tests nothing")

        def listed():
            answer = self.nodes.spate_json("group", "list", "-s", node.address)
            self.assertEqual(answer["missing"], [])
            found = [entry["group"] for entry in answer["groups"]]
            return [name for name in found if name in names]

        # A replica that does not lead hears of the newest groups a heartbeat later.
        cluster.wait_for("all groups in order", lambda: listed() == names, 5)
        rows = self.rows("group", "ls", "-s", node.address)
        self.assertIn(["listed-00", "empty", "0", "0"], [row[:4] for row in rows])

    # ---- describe -------------------------------------------------------------------------------

    def test_describe_shows_members_and_what_they_own(self):
        member = self.join("described")["member"]
        self.assertEqual(
            self.rows("group", "describe", "described"), [[member, "till", "-", "orders:0,1"]]
        )
        answer = self.nodes.spate_json("group", "desc", "described")
        self.assertEqual(answer["members"][0]["client"], "till")
        self.assertNotIn("total_lag", answer)
        self.calls.call("group.leave", group="described", member=member)

    def test_describe_lag_knows_every_end_and_sums(self):
        groups = [f"lag-{i}" for i in range(8)]  # on several coordinators
        for group in groups:
            self.commit(group, 3, partitions=(0,))
            self.commit(group, 4, partitions=(1,))
            self.commit(group, 0, topic="lines", partitions=(1,))
            self.assertEqual(
                self.rows("group", "describe", group, "--lag"),
                [
                    [TOPIC, "0", "3", "10", "7", "-"],
                    [TOPIC, "1", "4", "10", "6", "-"],
                    [TOPIC, "all", "7", "20", "13", "-"],
                    ["lines", "1", "0", "0", "0", "-"],
                    ["lines", "all", "0", "0", "0", "-"],
                    ["all", "all", "7", "20", "13", "-"],
                ],
            )
        self.assertEqual(self.nodes.spate_json("group", "desc", "lag-0", "--lag")["total_lag"], 13)

    def test_describe_of_nothing_is_not_found(self):
        out, errors = self.run_spate(3, "group", "describe", "nobody", "--json")
        self.assertEqual(out, "")
        self.assertIn("NOT_FOUND", errors)
        self.assertIn("`spate group list` lists the groups that there are\n", errors)
        self.run_spate(3, "group", "describe", "nobody", "--watch")

    def watch(self, *arguments):
        return self.nodes.popen(
            "group", "describe", *arguments, "--watch",
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )

    def test_watch_tells_changes_only(self):
        self.commit("watched", 2)
        watcher = self.watch("watched", "--lag")
        first = [watcher.stdout.readline().split(b"\t") for _ in range(3)]
        self.assertEqual([row[2] for row in first], [b"2", b"2", b"4"])
        self.commit("watched", 5, partitions=(1,))
        changed = [watcher.stdout.readline().split(b"\t") for _ in range(2)]
        self.assertEqual([row[1:3] for row in changed], [[b"1", b"5"], [b"all", b"7"]])
        watcher.send_signal(signal.SIGINT)
        rest, errors = watcher.communicate(timeout=10)
        self.assertEqual((watcher.returncode, rest), (130, b""), errors)

    def test_watch_json_is_one_line_per_change(self):
        self.commit("watched-json", 2)
        watcher = self.watch("watched-json", "--lag", "--json")
        self.assertEqual(json.loads(watcher.stdout.readline())["total_lag"], 16)
        self.commit("watched-json", 10)
        self.assertEqual(json.loads(watcher.stdout.readline())["total_lag"], 0)
        watcher.send_signal(signal.SIGTERM)
        self.assertEqual(watcher.communicate(timeout=10)[0], b"")

    def test_watch_ends_when_its_reader_goes(self):
        self.commit("watched-piped", 2)
        watcher = self.watch("watched-piped", "--lag")
        watcher.stdout.readline()
        watcher.stdout.close()
        self.assertEqual(watcher.wait(10), 0)
        self.assertEqual(watcher.stderr.read().count(b"\n"), 1)
        watcher.stderr.close()

    def test_watch_redraws_on_a_terminal(self):
        self.commit("watched-terminal", 2)
        master, slave = os.openpty()
        watcher = self.nodes.popen(
            "group", "desc", "watched-terminal", "-lw", stdout=slave, stderr=subprocess.DEVNULL
        )
        os.close(slave)
        text = b""
        deadline = time.monotonic() + 10
        while text.count(b"\x1b[H\x1b[J") < 2 and time.monotonic() < deadline:
            text += os.read(master, 65536)
        watcher.send_signal(signal.SIGINT)
        self.assertEqual(watcher.wait(10), 130)
        os.close(master)
        self.assertGreaterEqual(text.count(b"\x1b[H\x1b[J"), 2)
        self.assertIn(b"COMMITTED", text)

    # ---- seek -----------------------------------------------------------------------------------

    def seek(self, group, *arguments):
        rows = self.rows("group", "seek", group, *arguments)
        return {(row[0], int(row[1])): (row[2], row[3]) for row in rows}

    def test_seek_moves_what_the_group_has(self):
        self.commit("sought", 4)
        self.assertEqual(
            self.seek("sought", "--to", "start"),
            {(TOPIC, 0): ("4", "0"), (TOPIC, 1): ("4", "0")},
        )
        self.assertEqual(self.committed("sought"), {(TOPIC, 0): 0, (TOPIC, 1): 0})
        self.seek("sought", "--to", "end", "-t", f"{TOPIC}:1")
        self.assertEqual(self.committed("sought"), {(TOPIC, 0): 0, (TOPIC, 1): 10})
        self.seek("sought", "--to", "7", "-t", TOPIC)
        self.assertEqual(self.committed("sought"), {(TOPIC, 0): 7, (TOPIC, 1): 7})
        self.seek("sought", "--to", "99", "-t", f"{TOPIC}:0")
        self.assertEqual(self.committed("sought")[(TOPIC, 0)], 10, "no further than the end")
        self.seek("sought", "--to", "@-1h")
        self.assertEqual(self.committed("sought"), {(TOPIC, 0): 0, (TOPIC, 1): 0})

    def test_seek_dry_run_changes_nothing(self):
        self.commit("dry", 4)
        answer = self.nodes.spate_json("group", "seek", "dry", "--to", "end", "--dry-run")
        self.assertEqual(
            answer,
            {
                "group": "dry",
                "dry_run": True,
                "offsets": [
                    {"topic": TOPIC, "partition": p, "before": 4, "after": 10} for p in (0, 1)
                ],
            },
        )
        self.assertEqual(self.committed("dry"), {(TOPIC, 0): 4, (TOPIC, 1): 4})

    def test_seek_of_a_new_group_needs_a_topic(self):
        self.run_spate(3, "group", "seek", "fresh", "--to", "start")
        self.assertEqual(
            self.seek("fresh", "--to", "end", "-t", f"{TOPIC}:0"), {(TOPIC, 0): ("-", "10")}
        )
        self.assertEqual(self.committed("fresh"), {(TOPIC, 0): 10})

    def test_seek_under_a_member_is_refused(self):
        member = self.join("busy")["member"]
        out, errors = self.run_spate(1, "group", "seek", "busy", "--to", "end")
        self.assertEqual(out, "")
        self.assertIn("stop its members first", errors)
        out, errors = self.run_spate(0, "group", "seek", "busy", "--to", "end", "--dry-run")
        self.assertEqual(out, "".join(f"{TOPIC}\t{p}\t-\t10\n" for p in (0, 1)))
        self.assertIn("members read 2 of these partitions: without --dry-run that is refused",
                      errors)
        self.assertEqual(self.committed("busy"), {})
        self.calls.call("group.leave", group="busy", member=member)

    def test_seek_says_what_it_does_not_understand(self):
        self.run_spate(2, "group", "seek", "g")
        self.run_spate(2, "group", "seek", "g", "--to", "yesterday")
        self.run_spate(2, "group", "seek", "g", "--to", "start", "-t", "orders:x")
        self.run_spate(3, "group", "seek", "g", "--to", "start", "-t", "orders:7")
        self.run_spate(3, "group", "seek", "g", "--to", "start", "-t", "nothing")

    # ---- delete ---------------------------------------------------------------------------------

    def test_delete_asks_and_counts(self):
        self.commit("gone-1", 1)
        self.commit("gone-2", 1)
        self.run_spate(2, "group", "rm", "gone-1")
        self.assertEqual(len(self.committed("gone-1")), 2)
        self.run_spate(0, "group", "delete", "gone-1", "--yes")
        self.assertEqual(self.committed("gone-1"), {})
        out, _ = self.run_spate(7, "group", "rm", "gone-1", "gone-2", "-y", "--json")
        self.assertEqual(
            json.loads(out),
            {"groups": [{"name": "gone-1", "error": "NOT_FOUND"}, {"name": "gone-2"}]},
        )
        _, errors = self.run_spate(3, "group", "rm", "gone-1", "-y")
        self.assertIn("group `gone-1`: there is no such group: look at the list of groups", errors)

    def test_delete_of_a_group_with_members_is_refused(self):
        member = self.join("alive")["member"]
        _, errors = self.run_spate(1, "group", "rm", "alive", "-y")
        self.assertIn("members", errors)
        self.calls.call("group.leave", group="alive", member=member)

    # ---- consume -g -----------------------------------------------------------------------------

    def test_member_whose_reader_goes_away_leaves_the_group(self):
        for wait in (False, True):  # while it has more to print, and while it waits for more
            reader = self.nodes.popen(
                "consume", TOPIC, "-g", "left-alone", stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            self.assertTrue(reader.stdout.readline().startswith(b"line "))
            if wait:
                for _ in range(2 * RECORDS - 1):
                    reader.stdout.readline()
            reader.stdout.close()
            self.assertEqual(reader.wait(10), 0)
            self.assertEqual(reader.stderr.read(), b"")
            reader.stderr.close()
            told = self.nodes.spate_json("group", "describe", "left-alone")
            self.assertEqual((told["state"], told["members"]), ("empty", []))
            self.nodes.spate("group", "seek", "left-alone", "--to", "start", "-t", TOPIC)

    def test_consume_reads_on_where_the_group_has_got_to(self):
        """Exactly what was printed is committed: with -n, after ^C, and not with --no-commit."""
        first, _ = self.run_spate(0, "consume", TOPIC, "-g", "reads-on", "-n", "7")
        self.assertEqual(len(first.splitlines()), 7)
        self.assertEqual(sum(self.committed("reads-on").values()), 7)
        looked, _ = self.run_spate(0, "consume", TOPIC, "-g", "reads-on", "-e", "--no-commit")
        self.assertEqual(sum(self.committed("reads-on").values()), 7)
        reader = self.nodes.popen(
            "consume", TOPIC, "-g", "reads-on", stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        rest = [reader.stdout.readline().decode() for _ in range(2 * RECORDS - 7)]
        reader.send_signal(signal.SIGINT)
        more, errors = reader.communicate(timeout=10)
        self.assertEqual((reader.returncode, more), (130, b""), errors)
        self.assertEqual(sorted(looked.splitlines(True)), sorted(rest))
        lines = [f"line {i}\n" for i in range(RECORDS)] * 2
        self.assertEqual(sorted(first.splitlines(True) + rest), sorted(lines))
        self.assertEqual(
            self.committed("reads-on"), {(TOPIC, 0): RECORDS, (TOPIC, 1): RECORDS}
        )
        self.assertEqual(self.rows("consume", TOPIC, "-g", "reads-on", "-e"), [])

    def test_hangup_commits_and_leaves_the_group(self):
        """As when a terminal is closed; not where it is ignored, as by nohup."""
        for ignored in (False, True):
            group = f"hung-up-{ignored}"
            if ignored:
                self.addCleanup(signal.signal, signal.SIGHUP, signal.getsignal(signal.SIGHUP))
                signal.signal(signal.SIGHUP, signal.SIG_IGN)
            reader = self.nodes.popen(
                "consume", TOPIC, "-g", group, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            for _ in range(2 * RECORDS):
                reader.stdout.readline()
            reader.send_signal(signal.SIGHUP)
            if ignored:
                cluster.wait_for(
                    "commits that go on",
                    lambda: sum(self.committed(group).values()) == 2 * RECORDS,
                )
                self.assertIsNone(reader.poll())
                reader.send_signal(signal.SIGTERM)
            _, errors = reader.communicate(timeout=10)
            self.assertEqual((reader.returncode, errors), (130, b""))
            told = self.nodes.spate_json("group", "describe", group)
            self.assertEqual((told["state"], told["members"]), ("empty", []))
            self.assertEqual(sum(self.committed(group).values()), 2 * RECORDS)

    def test_member_whose_place_was_taken_says_by_whom(self):
        words = ["consume", TOPIC, "-g", "twice", "-X", "group.instance=till-7"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        first = self.nodes.popen(*words, **pipes)
        self.assertTrue(first.stdout.readline().startswith(b"line "))
        second = self.nodes.popen(*words, **pipes)
        for reader in (first, second):
            self.addCleanup(lambda reader=reader: reader.poll() is None and reader.kill())
        _, errors = first.communicate(timeout=20)
        self.assertEqual(first.returncode, 1)
        self.assertIn(b"another process runs as group.instance=till-7", errors)
        self.assertNotIn(b"heartbeat", errors, "that is for programs")
        second.send_signal(signal.SIGTERM)
        second.communicate(timeout=20)
        self.assertEqual(second.returncode, 130)

    def test_full_disk_leaves_the_group_and_commits_nothing(self):
        with open("/dev/full", "wb") as full:
            done = self.nodes.run(
                "consume", TOPIC, "-g", "full", stdout=full
            )
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"cannot write to standard output: No space left", done.stderr)
        told = self.nodes.spate_json("group", "describe", "full")
        self.assertEqual((told["state"], told["members"]), ("empty", []))
        self.assertEqual(self.committed("full"), {})

    def test_two_interrupts_leave_the_group_as_well(self):
        for attempt in range(3):  # the second one may come when all is over
            reader = self.nodes.popen(
                "consume", TOPIC, "-g", f"hasty-{attempt}", stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            for _ in range(2 * RECORDS):
                reader.stdout.readline()
            self.interrupt(reader)
            self.interrupt(reader)
            reader.communicate(timeout=10)
            self.assertEqual(reader.returncode, 130)
            told = self.nodes.spate_json("group", "describe", f"hasty-{attempt}")
            self.assertEqual((told["state"], told["members"]), ("empty", []))

    @staticmethod
    def interrupt(process):
        """Sends ^C, and waits until it is taken: two that wait would be one."""
        process.send_signal(signal.SIGINT)
        bit = 1 << (signal.SIGINT - 1)
        while process.poll() is None:
            with open(f"/proc/{process.pid}/status", encoding="ascii") as handle:
                fields = dict(line.rstrip("\n").split(":\t", 1) for line in handle if ":\t" in line)
            pending = int(fields.get("SigPnd", "0"), 16) | int(fields.get("ShdPnd", "0"), 16)
            if pending & bit == 0:
                return

    def test_consume_shares_with_other_members(self):
        """Each record is read by one of two members, and one that leaves leaves nothing unread."""
        self.nodes.spate("topic", "create", "shared", "-p", "4", "-r", "3")
        readers = [
            self.nodes.popen(
                "consume", "shared", "-g", "sharers", "-v", "-f", "%p %v\\n",
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
            for _ in range(2)
        ]
        for reader in readers:  # both have two partitions
            seen = set()
            while len(seen) != 2:
                word, place = reader.stderr.readline().decode().split()[-2:]
                (seen.add if word == "assigned" else seen.discard)(place)
        for partition in range(4):
            self.nodes.spate("produce", "shared", "-p", str(partition), input=b"one\ntwo\n")
        got = [[reader.stdout.readline().decode().split() for _ in range(4)] for reader in readers]
        self.assertEqual(sorted(got[0] + got[1]), sorted(
            [str(p), v] for p in range(4) for v in ("one", "two")
        ))
        readers[0].send_signal(signal.SIGTERM)
        self.assertEqual(readers[0].wait(10), 130)
        for partition in range(4):
            self.nodes.spate("produce", "shared", "-p", str(partition), input=b"three\n")
        rest = [readers[1].stdout.readline().decode().split() for _ in range(4)]
        self.assertEqual(sorted(rest), [[str(p), "three"] for p in range(4)])
        readers[1].send_signal(signal.SIGINT)
        self.assertEqual(readers[1].wait(10), 130)
        for reader in readers:
            reader.stdout.close()
            reader.stderr.close()

    def test_consume_commits_before_a_partition_goes(self):
        """What was printed just before another member comes is not printed again by that one."""
        self.nodes.spate("topic", "create", "handed", "-p", "4", "-r", "3")
        first = self.nodes.popen(
            "consume", "handed", "-g", "handed", stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        seen = []
        for turn in range(3):
            for partition in range(4):
                lines = b"".join(b"%d %d %d\n" % (turn, partition, i) for i in range(50))
                self.nodes.spate("produce", "handed", "-p", str(partition), input=lines)
            seen += [first.stdout.readline() for _ in range(4 * 50)]
            second, _ = self.run_spate(0, "consume", "handed", "-g", "handed", "-e")
            seen += [line.encode() for line in second.splitlines(True)]
        first.send_signal(signal.SIGINT)
        rest, errors = first.communicate(timeout=10)
        self.assertEqual((first.returncode, rest), (130, b""), errors)
        self.assertEqual(len(seen), len(set(seen)), "printed twice")
        self.assertEqual(len(seen), 3 * 4 * 50)

    def test_consume_stays_a_member_while_its_reader_is_slow(self):
        """A pager, say: the group hears of it for longer than session.ms, and of what was read."""
        count = 600  # several times what waits in the pipe and in the program
        lines = [b"%06d" % i + b"." * 993 + b"\n" for i in range(count)]
        self.nodes.spate("topic", "create", "paged", "-p", "1", "-r", "3")
        self.nodes.spate("produce", "paged", input=b"".join(lines))
        reader = self.nodes.popen(
            "consume", "paged", "-g", "paged", "-n", str(count),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        seen = [reader.stdout.readline()]

        def members():
            told = self.calls.call("group.describe", group="paged")["members"]
            return [member["member"] for member in told]

        first = members()
        self.assertEqual(len(first), 1)
        end = time.monotonic() + 12  # session.ms is 10 s
        while time.monotonic() < end:
            self.assertEqual(members(), first)
            time.sleep(0.2)
        while not self.committed("paged"):
            seen.append(reader.stdout.readline())
            self.assertLess(len(seen), count, "committed before all was read")
            time.sleep(0.01)  # it stays slow: a commit takes its time, too
        seen += reader.stdout
        self.assertEqual((reader.wait(20), reader.stderr.read()), (0, b""))
        self.assertEqual(seen, lines)
        reader.stdout.close()
        reader.stderr.close()
        self.assertEqual(self.committed("paged"), {("paged", 0): count})

    def test_consume_commits_what_a_slow_reader_has_taken(self):
        """Not a whole block later: a reader of a few lines a second would need minutes for it."""
        count = 1000
        lines = [b"%06d" % i + b"." * 993 + b"\n" for i in range(count)]
        self.nodes.spate("topic", "create", "sipped", "-p", "1", "-r", "3")
        self.nodes.spate("produce", "sipped", input=b"".join(lines))
        reader = self.nodes.popen(
            "consume", "sipped", "-g", "sipped", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        seen = [reader.stdout.readline() for _ in range(400)]
        commits = set()
        for _ in range(195):  # the first blocks may be whole ones, as long as it reads fast
            seen += [reader.stdout.readline() for _ in range(3)]
            commits |= set(self.committed("sipped").values())
            if len(commits) > 3:
                break
            time.sleep(0.05)
        self.assertGreater(len(commits), 3, commits)
        reader.send_signal(signal.SIGINT)
        got = b"".join(seen) + reader.stdout.read()
        self.assertEqual((reader.wait(10), reader.stderr.read()), (130, b""))
        reader.stdout.close()
        reader.stderr.close()
        self.assertEqual(got, b"".join(lines)[:len(got)], "records twice or out of order")
        self.assertLessEqual(self.committed("sipped")[("sipped", 0)], len(got) // 1000)

    def test_consume_group_begins_where_it_is_told(self):
        self.nodes.spate("topic", "create", "begins", "-p", "1", "-r", "3")
        self.nodes.spate("produce", "begins", input=b"before\n")
        reader = self.nodes.popen(
            "consume", "begins", "-g", "late", "-o", "end", "-n", "1", "-v",
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        self.assertIn(b"assigned begins/0", reader.stderr.readline())
        while self.calls.call("group.committed", group="late")["offsets"] == []:
            self.nodes.spate("produce", "begins", input=b"after\n")
            if reader.poll() is not None:
                break
        out, errors = reader.communicate(timeout=20)
        self.assertEqual((reader.returncode, out), (0, b"after\n"), errors)

    def test_consume_group_says_what_does_not_go_together(self):
        for arguments in (("-p", "0"), ("--until", "5"), ("-o", "5"), ("-o", "@-1h")):
            _, errors = self.run_spate(2, "consume", TOPIC, "-g", "none", *arguments)
            self.assertIn("-g", errors)
        self.run_spate(2, "consume", TOPIC, "--no-commit")
        self.run_spate(2, "consume", TOPIC, "-g", "")


if __name__ == "__main__":
    cluster.main()
