#!/usr/bin/env python3
"""Disks that give back other bytes than were written: what is damaged stays out, is rebuilt from
the others, and nothing that a majority has is lost or altered.

SPATE_FLIP_ROUNDS and SPATE_FLIP_SEED: how many rounds of flipped bytes, and which."""

import os
import random
import re
import shutil
import signal
import unittest

import cluster
import rpc

ROUNDS = int(os.environ.get("SPATE_FLIP_ROUNDS", "3"))
SEED = int(os.environ.get("SPATE_FLIP_SEED", "1"))
RECORDS = 400
LINE = "x" * 1000 + "\n"


def replicas(node, start):
    """Names of the replicas' directories that begin so."""
    return sorted(
        name for name in os.listdir(os.path.join(node.data, "replicas")) if name.startswith(start)
    )


def quarantined(node, word="damaged"):
    folder = os.path.join(node.data, "quarantine")
    return sorted(name for name in os.listdir(folder) if f".{word}-" in name)


def segments(node, name):
    """Paths of the replica's segments that hold frames, oldest first."""
    folder = os.path.join(node.data, "replicas", name)
    paths = [os.path.join(folder, file) for file in sorted(os.listdir(folder))]
    return [path for path in paths if path.endswith(".log") and cluster.frames_end(path) > 4200]


def flip(path, position, bit=0):
    with open(path, "r+b") as handle:
        handle.seek(position)
        byte = handle.read(1)[0]
        handle.seek(position)
        handle.write(bytes([byte ^ (1 << bit)]))


def group_of(nodes, topic, node):
    """Makes a topic of one partition; the number of its group, by the node's new directory."""
    before = set(replicas(node, ""))
    nodes.spate("topic", "create", topic, "-r", "3")
    nodes.wait_healthy(20)
    (name,) = set(replicas(node, "")) - before
    return name.split(".")[0]


def fill_segments(nodes):
    """Several segments, 4000 lines, in a topic `t`: its group, and its first node."""
    group = group_of(nodes, "t", nodes.node(1))
    first = nodes.spate_json("topic", "describe", "t")["partitions"][0]["replicas"][0]
    for _ in range(4):
        nodes.spate("produce", "t", input=(LINE * 1000).encode())
    nodes.wait_healthy(20)
    return group, nodes.node(first)


class DamageTest(unittest.TestCase):
    def write(self, nodes, topic, count, first=0):
        # several writes, so that later markers prove the earlier ones
        for start in range(first, first + count, count // 4):
            text = "".join(f"{number}\n" for number in range(start, start + count // 4))
            nodes.spate("produce", topic, input=text.encode())

    def assert_records(self, nodes, topic, count):
        text = nodes.spate("consume", topic, "-o", "start", "-e", "-f", "%v\\n").decode()
        self.assertEqual([int(line) for line in text.split()], list(range(count)))

    def damaged(self, node):
        """What the node says of its own damage, or None."""
        try:
            with rpc.Client(node.address, timeout=2) as client:
                return client.call("cluster.health")["damaged"]
        except (OSError, EOFError, rpc.Refused):
            return None

    def test_end_of_a_log_that_is_lost_is_filled_under_the_same_leader(self):
        with cluster.Cluster(3) as nodes:
            group = group_of(nodes, "t", nodes.nodes[0])
            self.write(nodes, "t", 8)
            leader = nodes.leader("t")
            lost = next(node for node in nodes.nodes if node is not leader)
            nodes.wait_healthy(20)  # it has all of it
            (name,) = replicas(lost, f"{group}.")
            lost.kill()
            path = segments(lost, name)[-1]
            with open(path, "rb") as handle:
                end = len(handle.read().rstrip(b"\0"))
            flip(path, end - 20)  # in the last write: taken for one that was never acknowledged
            mark = len(lost.trace())
            lost.start()
            cluster.wait_for(
                "a cut", lambda: "cut where the log ends" in lost.trace()[mark:]
                or "torn tail cut" in lost.trace()[mark:], 20)
            self.write(nodes, "t", 4, 8)
            nodes.wait_healthy(20)  # it lacks nothing
            self.assertEqual(quarantined(lost), [])
            other = next(
                node for node in nodes.nodes if node not in (leader, lost))
            other.kill()
            self.write(nodes, "t", 4, 12)  # counts on it
            self.assert_records(nodes, "t", 16)

    def test_a_damaged_replica_is_rebuilt_and_kept(self):
        with cluster.Cluster(3) as nodes:
            victim = nodes.node(2)
            group = group_of(nodes, "t", victim)
            self.write(nodes, "t", RECORDS)
            victim.kill()
            (old,) = replicas(victim, f"{group}.")
            flip(segments(victim, old)[0], 4200)
            victim.start()
            renewed = lambda: replicas(victim, f"{group}.") not in ([old], [])
            cluster.wait_for("another replica", renewed, 20)
            nodes.wait_healthy(30)
            cluster.wait_for("the old one's rename", lambda: quarantined(victim), 10)
            self.assertEqual(len(quarantined(victim)), 1)
            kept = os.path.join(victim.data, "quarantine", quarantined(victim)[0])
            self.assertIn("damaged at byte", open(os.path.join(kept, "damaged")).read())
            self.assertTrue(quarantined(victim)[0].startswith(f"{old}.damaged-"))
            # the new one counts: with it alone beside one other the partition goes on
            nodes.node(1).kill()
            nodes.leader("t")
            self.write(nodes, "t", RECORDS, RECORDS)
            self.assert_records(nodes, "t", 2 * RECORDS)

    def test_damage_that_a_read_finds_is_not_forgotten_by_a_restart(self):
        with cluster.Cluster(3, ["storage.segment.bytes=1048576"]) as nodes:
            group, victim = fill_segments(nodes)
            cluster.wait_for("it to lead", lambda: nodes.leader("t") == victim, 20)
            victim.stop()
            (old,) = replicas(victim, f"{group}.")
            paths = segments(victim, old)
            self.assertGreater(len(paths), 1, "an older segment, which opening does not read")
            flip(paths[0], 300_000)
            victim.start()
            nodes.wait_healthy(30)
            cluster.wait_for("it to lead", lambda: nodes.leader("t") == victim, 20)
            text = nodes.spate("consume", "t", "-o", "start", "-e", "-f", "%v\\n").decode()
            self.assertEqual(text, LINE * 4000, "another replica answers")
            self.assertIn("replica stopped itself", victim.trace())
            cluster.wait_for("the old one's rename", lambda: quarantined(victim), 30)
            nodes.wait_healthy(30)

    def test_a_first_segment_that_is_missing_is_found_and_filled(self):
        """Where the next one has a checkpoint, the files look as if retention had let it go."""
        with cluster.Cluster(3, ["storage.segment.bytes=1048576"]) as nodes:
            group, victim = fill_segments(nodes)
            (old,) = replicas(victim, f"{group}.")
            checkpointed = lambda: os.path.exists(
                segments(victim, old)[1].replace(".log", ".checkpoint"))
            cluster.wait_for("a checkpoint of the second one", checkpointed, 20)
            victim.stop()
            os.remove(segments(victim, old)[0])
            victim.start()
            renewed = lambda: replicas(victim, f"{group}.") not in ([old], [])
            cluster.wait_for("another replica", renewed, 30)
            nodes.wait_healthy(30)
            cluster.wait_for("the old one's rename", lambda: quarantined(victim), 10)
            kept = os.path.join(victim.data, "quarantine", quarantined(victim)[0])
            with open(os.path.join(kept, "damaged"), encoding="utf-8") as handle:
                self.assertIn("its first segment is missing", handle.read())
            cluster.wait_for("it to lead", lambda: nodes.leader("t") == victim, 20)
            self.assertEqual(len(nodes.spate("consume", "t", "-e").splitlines()), 4000)

    def test_damage_that_compaction_meets_is_repaired(self):
        with cluster.Cluster(3, ["storage.compaction.bytes.per.s=0"]) as nodes:
            before = set(replicas(nodes.node(1), ""))
            settings = ["cleanup.policy=compact", "segment.bytes=65536", "segment.ms=1000"]
            words = [word for setting in settings for word in ("-c", setting)]
            nodes.spate("topic", "create", "t", "-r", "3", *words)
            nodes.wait_healthy(20)
            (name,) = set(replicas(nodes.node(1), "")) - before
            group = name.split(".")[0]
            # no key comes twice: nothing is rewritten, nothing was read by anybody but the pass
            lines = [f"k{number}\t{'x' * 400}{number}\n" for number in range(2 * RECORDS)]
            for first in range(0, len(lines), 100):
                text = "".join(lines[first : first + 100])
                nodes.spate("produce", "t", "-K", "\t", input=text.encode())
            partition = nodes.spate_json("topic", "describe", "t")["partitions"][0]
            victim = nodes.node(next(n for n in partition["replicas"] if n != partition["leader"]))
            victim.stop()
            (old,) = replicas(victim, f"{group}.")
            paths = segments(victim, old)
            self.assertGreater(len(paths), 1, "an older segment, which opening does not read")
            flip(paths[0], 20_000)
            damaged = open(paths[0], "rb").read()
            victim.start()
            cluster.wait_for("the old one's rename", lambda: quarantined(victim), 30)
            self.assertIn("compaction of a partition given up", victim.trace())
            kept = os.path.join(victim.data, "quarantine", quarantined(victim)[0])
            self.assertIn("could not be read", open(os.path.join(kept, "damaged")).read())
            file = os.path.join(kept, os.path.basename(paths[0]))
            self.assertEqual(open(file, "rb").read(), damaged, "evidence is left as it is")
            nodes.wait_healthy(30)
            # the new one counts: with it alone beside one other the partition goes on
            other = next(n for n in partition["replicas"] if n != victim.number)
            nodes.node(other).kill()
            nodes.leader("t")
            text = nodes.spate("consume", "t", "-o", "start", "-e", "-f", "%k %v\\n").decode()
            found = dict(line.split() for line in text.splitlines())
            self.assertEqual(found, dict(line.split() for line in lines))

    def test_the_controllers_replica_is_renewed_and_partitions_stay(self):
        with cluster.Cluster(3) as nodes:
            self.write_topic(nodes)
            for number in (1, 2, 3):
                victim = nodes.node(number)
                victim.kill()
                partitions = [name for name in replicas(victim, "") if not name.startswith("0.")]
                (old,) = replicas(victim, "0.")
                flip(segments(victim, old)[0], 4150)
                victim.start()
                renewed = lambda: replicas(victim, "0.") not in ([old], []) and quarantined(victim)
                cluster.wait_for("another replica of the controller", renewed, 30)
                nodes.wait_healthy(30)
                self.assertTrue(victim.alive)
                self.assertTrue(quarantined(victim)[0].startswith(f"{old}.damaged-"))
                now = [name for name in replicas(victim, "") if not name.startswith("0.")]
                self.assertEqual(now, partitions, "what was whole stays")
            voters = [row["controller"] for row in nodes.spate_json("cluster", "nodes")["nodes"]]
            self.assertEqual(voters.count("leader") + voters.count("voter"), 3)
            victim.stop()
            victim.start()
            nodes.wait_healthy(30)
            self.assert_records(nodes, "t", RECORDS)

    def end_before_it_registers(self, nodes):
        """Lets a cluster form and stops node 3 before the controller has a leader with which it
        could register. False: it was too late."""
        victim = nodes.node(3)
        for node in nodes.nodes:
            node.start()
        has_log = lambda: os.path.isdir(os.path.join(victim.data, "replicas")) and (
            replicas(victim, "0.") and segments(victim, "0.3")
        )
        cluster.wait_for("its replica of the controller", has_log, 20, 0.001)
        for node in nodes.nodes[:2]:
            os.kill(node.process.pid, signal.SIGSTOP)
        victim.stop()  # which ends what it is writing
        for node in nodes.nodes[:2]:
            os.kill(node.process.pid, signal.SIGCONT)
        return self.known(nodes) == [1, 2]

    def known(self, nodes):
        """The nodes that have registered, once nodes 1 and 2 have."""

        def find():
            with rpc.Client(nodes.node(1).address, timeout=5) as client:
                info = client.call("cluster.info")
            ids = sorted(row["id"] for row in info["nodes"])
            return info["current"] and ids[:2] == [1, 2] and ids

        return cluster.wait_for("nodes 1 and 2 to register", find, 20)

    def test_a_founder_that_never_registered_gets_another_replica_of_the_controller(self):
        for _ in range(5):
            nodes = cluster.Cluster(3)
            self.addCleanup(nodes.close)
            if self.end_before_it_registers(nodes):
                break
            nodes.close()
        else:
            self.fail("it had registered each time")
        victim = nodes.node(3)
        flip(segments(victim, "0.3")[0], 20)  # of its header: one frame alone would count as torn
        victim.start()
        try:
            nodes.wait_healthy(40)
        except AssertionError:
            nodes.report()
            raise
        self.assertEqual(self.known(nodes), [1, 2, 3])
        self.assertIn("replica of the controller is damaged: it asks the others", victim.trace())
        (name,) = replicas(victim, "0.")
        self.assertGreater(int(name.split(".")[1]), 1023, "one that no founder has")
        # it counts: with it alone beside one other the cluster goes on, and keeps what it took
        self.write_topic(nodes)
        nodes.node(1).kill()
        nodes.leader("t")
        self.write(nodes, "t", RECORDS, RECORDS)
        self.assert_records(nodes, "t", 2 * RECORDS)
        nodes.spate("topic", "alter", "t", "-c", "retention.ms=86400000")

    def write_topic(self, nodes):
        nodes.spate("topic", "create", "t", "-r", "3")
        self.write(nodes, "t", RECORDS)

    def test_without_a_majority_nothing_is_given_up_and_any_can_be_mended(self):
        with cluster.Cluster(3) as nodes:
            group = group_of(nodes, "t", nodes.node(1))
            self.write(nodes, "t", RECORDS)
            harmed = [nodes.node(2), nodes.node(3)]
            for node in nodes.nodes:
                node.kill()
            names = {node.number: replicas(node, f"{group}.")[0] for node in harmed}
            for node in harmed:
                flip(segments(node, names[node.number])[0], 4200)
            for node in nodes.nodes:
                node.start()
            for node in harmed:
                # the controller runs, and whoever asks for a replacement has had the time to
                traced = lambda: "damaged replica is not refilled" in node.trace()
                cluster.wait_for("its trace", traced, 30)
                (row,) = self.damaged(node)
                self.assertEqual((row["topic"], row["partition"]), ("t", 0))
                self.assertIn("as soon as the partition has a leader", row["reason"])
                self.assertIn("mended by hand", row["reason"])
                self.assertEqual(replicas(node, f"{group}."), [names[node.number]])
                self.assertEqual(quarantined(node), [])
                self.assertEqual(node.trace().count("damaged replica is not refilled"), 1)
            self.assertEqual(nodes.spate_json("cluster", "moves")["moves"], [])
            self.assert_told(nodes, group, names)
            # mended by hand, one brings the partition back and the other is then replaced
            first, second = harmed
            first.kill()
            flip(segments(first, names[first.number])[0], 4200)
            os.remove(os.path.join(first.data, "replicas", names[first.number], "damaged"))
            first.start()
            nodes.wait_healthy(40)
            self.assertEqual(replicas(first, f"{group}."), [names[first.number]])
            cluster.wait_for("the other's replacement", lambda: quarantined(second), 20)
            self.assertTrue(quarantined(second)[0].startswith(f"{names[second.number]}."))
            self.assert_records(nodes, "t", RECORDS)

    def assert_told(self, nodes, group, names):
        """Whoever is asked, the health names what is damaged on nodes 2 and 3, and what helps."""
        done = nodes.run("-s", nodes.node(1).address, "cluster", "health")
        words = done.stdout.decode()
        self.assertEqual(done.returncode, 5)
        self.assertRegex(words, r"leaderless: t/0, replicas on node [123,]+, damaged: node [23,]+,")
        self.assertIn("when 2 of its replicas are whole and run: mend by hand", words)
        for number, name in names.items():
            replica = name.split(".")[1]
            line = rf"damaged on node {number}: t/0, replica {replica} \(replicas/{name}\): it is"
            self.assertRegex(words, line)
        self.assertNotIn("still opening", words, "they are told as damaged")
        self.assertNotIn("ends by itself", words)
        rows = nodes.spate_json_of(5, "cluster", "health")["damaged"]
        self.assertEqual(sorted(row["node"] for row in rows), [2, 3])
        alone = nodes.spate_json_of(5, "cluster", "health", "--node", "1")
        self.assertEqual(alone["damaged"], [], "node 1 has nothing that is damaged")
        shown = nodes.spate("topic", "describe", "t", "-v").decode()
        for number, name in names.items():
            row = rf"0\s+{number}\s+{name.split('.')[1]}\s+replicas/{name}\b"
            self.assertRegex(shown, row)
        described = nodes.spate_json("topic", "describe", "t")["partitions"][0]
        self.assertEqual(described["raft_group"], int(group))
        moved = nodes.run("partition", "move", "t", "0", "3,2,1")
        self.assertEqual(moved.returncode, 0)
        self.assertIn(b"begins only when the partition has a leader", moved.stderr)

    def test_an_only_replica_stays_out_and_the_rest_serves(self):
        with cluster.Cluster(1) as nodes:
            nodes.spate("topic", "create", "sound", "-r", "1")
            nodes.spate("topic", "create", "t", "-r", "1")
            self.write(nodes, "t", RECORDS)
            self.write(nodes, "sound", RECORDS)
            node = nodes.nodes[0]
            node.kill()
            found = [name for name in replicas(node, "") if name[0] != "0" and segments(node, name)]
            name = max(found, key=lambda name: cluster.frames_end(segments(node, name)[0]))
            flip(segments(node, name)[0], cluster.frames_end(segments(node, name)[0]) - 1500)
            node.start()
            only = lambda: [r for r in self.damaged(node) or [] if "only replica" in r["reason"]]
            row = cluster.wait_for("its refusal", only, 20)[0]
            other = "sound" if row["topic"] == "t" else "t"
            self.assert_records(nodes, other, RECORDS)
            self.assertTrue(os.path.exists(os.path.join(node.data, "replicas", name)))
            shown = nodes.run("log", "verify", os.path.join(node.data, "replicas", name))
            self.assertEqual(shown.returncode, 1)
            self.assertRegex(shown.stdout.decode(), r"DAMAGED")

    def test_an_only_replica_gives_no_byte_that_it_cannot_vouch_for(self):
        with cluster.Cluster(1, ["storage.segment.bytes=1048576"]) as nodes:
            node = nodes.nodes[0]
            before = set(replicas(node, ""))
            nodes.spate("topic", "create", "t", "-r", "1")
            (name,) = set(replicas(node, "")) - before
            lines = [f"{number} {'x' * 1000}\n" for number in range(4000)]
            for first in range(0, len(lines), 1000):
                nodes.spate("produce", "t", input="".join(lines[first : first + 1000]).encode())
            node.stop()
            folder = os.path.join(node.data, "replicas", name)
            path = segments(node, name)[0]
            flip(path, 300_000)
            node.start()
            nodes.wait_healthy(20)
            read = ("consume", "t", "-o", "start", "-e", "-f", "%v\\n", "--timeout", "2s")
            done = nodes.run(*read)  # what stands before is given out, what is wrong is not
            found = done.stdout.decode()
            self.assertEqual(done.returncode, 6)
            self.assertIn(b"t/0: are most of their replicas running? (spate cluster", done.stderr)
            self.assertEqual(found, "".join(lines[: found.count("\n")]))
            self.assertLess(len(found), 300_000)
            again = nodes.run(*read)  # it stays closed: where else could it be wrong?
            self.assertEqual((again.returncode, again.stdout), (6, b""))
            self.assert_only_one_is_told(nodes, name)
            node.stop()
            node.start()  # which does not forget it
            cluster.wait_for("its damage", lambda: self.damaged(node), 20)
            self.assert_only_one_is_told(nodes, name)
            node.stop()
            place = rf"read back log=\S*/{name} segment={1:020}.log index=(\d+) error=CORRUPT"
            index = re.search(place, node.trace())[1]
            shown = nodes.run("log", "verify", folder).stdout.decode()
            self.assertIn(f"the frame with index {index} ", shown)
            flip(path, 300_000)
            os.remove(os.path.join(folder, "damaged"))
            node.start()
            nodes.wait_healthy(20)
            self.assertEqual(nodes.spate(*read).decode(), "".join(lines))

    def assert_only_one_is_told(self, nodes, name):
        """By health, with its place: the only replica of t/0, which is damaged."""
        row = rf"damaged on node 1: t/0, replica \d+ \(replicas/{name}\): it was the only replica"
        words = lambda: nodes.run("cluster", "health").stdout.decode()
        cluster.wait_for("its row", lambda: re.search(row, words()), 20)
        self.assertIn("leaderless: t/0, replicas on node 1, damaged: node 1, since", words())
        self.assertEqual(nodes.run("cluster", "health").returncode, 5)

    def flip_some(self, node, chance):
        """Flips a byte of one copy of the metadata and of about half of the replicas' files."""
        count = 1
        meta = os.path.join(node.data, chance.choice(["meta.a", "meta.b"]))
        flip(meta, chance.randrange(os.path.getsize(meta)), chance.randrange(8))
        for name in replicas(node, ""):
            folder = os.path.join(node.data, "replicas", name)
            for file in sorted(os.listdir(folder)):
                path = os.path.join(folder, file)
                size = os.path.getsize(path)
                if size == 0 or chance.random() < 0.5:
                    continue
                # headers as often as frames
                end = size if chance.random() < 0.5 else min(size, 4300)
                flip(path, chance.randrange(end), chance.randrange(8))
                count += 1
        return count

    def mark_what_verify_names(self, nodes, node):
        """What an operator does about damage where nobody has read yet."""
        marked = 0
        for name in replicas(node, ""):
            folder = os.path.join(node.data, "replicas", name)
            if b"DAMAGED" in nodes.run("log", "verify", folder).stdout:
                open(os.path.join(folder, "damaged"), "a").close()
                marked += 1
        return marked

    def test_flipped_bytes_on_one_node_after_the_other_are_found_and_mended(self):
        chance = random.Random(SEED)
        flips = marked = 0
        with cluster.Cluster(3, ["storage.segment.bytes=1048576"]) as nodes:
            self.write_topic(nodes)
            for number in range(ROUNDS):
                node = nodes.nodes[number % 3]
                node.kill()
                flips += self.flip_some(node, chance)
                node.start()
                nodes.wait_healthy(40)
                self.assert_records(nodes, "t", RECORDS)
                self.assertTrue(node.alive, "it does not end")
                node.stop()
                marked += self.mark_what_verify_names(nodes, node)
                node.start()
                nodes.wait_healthy(40)
                for entry in os.listdir(os.path.join(node.data, "quarantine")):
                    shutil.rmtree(os.path.join(node.data, "quarantine", entry))
            said = sum(
                len(re.findall("is replaced by a new one|in place of the damaged one", n.trace()))
                for n in nodes.nodes
            )
            for node in nodes.nodes:
                node.stop()
            for node in nodes.nodes:
                done = nodes.run("log", "verify", node.data)
                self.assertEqual(done.returncode, 0, done.stdout.decode())
        print(
            f"{flips} bytes flipped in {ROUNDS} rounds: {said} replicas rebuilt, "
            f"{marked} of them found by `spate log verify`, the others mended or harmless"
        )
        self.assertGreater(said, 0)


if __name__ == "__main__":
    cluster.main()
