#!/usr/bin/env python3
"""`spate cluster health` says what is wrong, since when, what heals by itself and what to type."""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
import unittest

import cluster
import rpc
from test_cli_alone import FakeServer

REPLACE_MS = 60000
SETTINGS = [f"node.replace.after.ms={REPLACE_MS}"]
SLACK_MS = 1500  # a killed process is noticed at once; the rest is how busy the machine is


def wall_ms():
    return time.time() * 1000


def ask(node):
    with rpc.Client(node.address, timeout=5) as client:
        return client.call("cluster.health")


def ask_when_up(node):
    """The same of one that starts; an empty map while it does not answer."""
    try:
        return ask(node)
    except OSError:
        return {}


class AloneTest(unittest.TestCase):
    """Nodes that have nobody to follow."""

    def test_one_of_three_after_a_restart_knows_the_voters(self):
        with cluster.Cluster(3) as nodes:
            nodes.wait_healthy()
            for node in nodes.nodes:
                node.stop()
            first = nodes.nodes[0]
            first.start()
            known = lambda: ask_when_up(first).get("voters", {}).get("nodes") == [1, 2, 3]
            cluster.wait_for("the voters", known)
            health = ask(first)
            self.assertEqual(health["voters"]["down"], [2, 3])
            self.assertFalse(health["current"])
            words = nodes.run("cluster", "health").stdout.decode()
            self.assertIn("controller: 1 of 3 voters run, down: node 2,3", words)
            done = nodes.run("cluster", "nodes", "--json")
            self.assertIn("no node that answered follows the controller", done.stderr.decode())
            rows = json.loads(done.stdout)
            self.assertFalse(rows["current"])
            for words in (("topic", "list"), ("cluster", "info")):
                done = nodes.run(*words, "--json")
                self.assertIn("no node that answered follows", done.stderr.decode())
                self.assertFalse(json.loads(done.stdout)["current"])
            done = nodes.run("group", "list")
            self.assertEqual(done.returncode, 1, done.stdout)
            self.assertIn("no node that answered follows", done.stderr.decode())
            self.assertEqual(
                [(row["id"], row["alive"], row["controller"]) for row in rows["nodes"]],
                [(1, True, "voter"), (2, False, "voter"), (3, False, "voter")],
            )
            self.assertIn(":", rows["nodes"][1]["peer_address"])
            for node in nodes.nodes[1:]:
                node.start()
            nodes.wait_healthy()
            self.assertTrue(json.loads(nodes.spate("cluster", "nodes", "--json"))["current"])


    def test_reader_says_why_nothing_comes(self):
        with cluster.Cluster(3) as nodes:
            nodes.spate("topic", "create", "t", "-r", "3")
            nodes.wait_healthy()
            for node in nodes.nodes[1:]:
                node.kill()
            nodes.servers = nodes.nodes[0].address
            counted = nodes.run(
                "consume", "t", "-n", "1", "--linearizable", "--timeout", "4s", seconds=20
            )
            words = counted.stderr.decode()
            self.assertEqual(counted.returncode, 6, words)
            self.assertIn("waiting: partitions without a leader: t/0", words)
            self.assertRegex(words, r"TIMEOUT: .* no majority of the replicas has answered")
            reader = nodes.popen(
                "consume", "t", "--linearizable", "--timeout", "4s",
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            )
            limit = threading.Timer(20, reader.kill)  # silence fails the test
            limit.start()
            try:
                self.assertIn(
                    b"waiting: partitions without a leader: t/0", reader.stderr.readline()
                )
            finally:
                limit.cancel()
                reader.kill()
                reader.wait()
                reader.stderr.close()

    def test_reader_does_not_believe_a_node_that_is_cut_off(self):
        with cluster.Cluster(1) as nodes:
            nodes.spate("topic", "create", "t", "-r", "1")
            with rpc.Client(nodes.nodes[0].address) as client:
                metadata = client.call("metadata", topics=["t"])
                info = client.call("cluster.info")
            for row in metadata["topics"][0]["partitions"]:
                row["leader"] = -1
                del row["leader_address"]
            alone = FakeServer({
                "metadata": {**metadata, "controller": -1},
                "cluster.info": {**info, "controller": -1, "current": False},
                "group.find": {"partition": 0, "leader": -1},
            })
            self.addCleanup(alone.close)
            real = nodes.servers
            nodes.servers = f"{alone.address},{real}"
            self.assertEqual(nodes.spate("offsets", "t", "--timeout", "10s"), b"0\t0\t0\n")
            readers = [
                nodes.popen("consume", "t", "-n", "1", "--timeout", "4s", *options,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                for options in ([], ["-g", "g", "-o", "start"])
            ]
            for reader in readers:
                try:  # silence is right, for longer than --timeout
                    reader.wait(5)
                except subprocess.TimeoutExpired:
                    pass
            nodes.servers = real
            nodes.spate("produce", "t", input=b"x\n")
            for reader in readers:
                output, errors = reader.communicate(timeout=20)
                self.assertEqual((reader.returncode, output), (0, b"x\n"), errors)
                self.assertNotIn(b"waiting:", errors)

    def test_join_address_that_is_dead_is_told(self):
        with cluster.Cluster(1) as nodes:
            dead = f"127.0.0.1:{cluster.free_port()}"
            node = nodes.add(2, start=False)
            node.write_config([], [dead])
            node.start()
            look = lambda: "no member answers" in ask_when_up(node).get("joining", "")
            cluster.wait_for("the reason", look, 20)
            nodes.servers = node.address
            words = nodes.run("cluster", "health").stdout.decode()
            self.assertIn(f"joining: node 2 is no member yet: no member answers at {dead}", words)
            with open(node.log, encoding="utf-8") as log:
                traces = log.read()
            self.assertIn(f"join: no member answers, tried again address={dead}", traces)
            node.kill()

    def test_node_at_another_address_is_told(self):
        with cluster.Cluster(3) as nodes:
            one, _, three = nodes.nodes
            three.stop()
            three.peer_port = cluster.free_port()
            row = lambda: next((row for row in ask(one)["down"] if row["node"] == 3), {})
            cluster.wait_for("node 3 to be down", row)
            self.assertEqual(row()["not_found_at"], "")
            three.write_config([f"{n.number}@127.0.0.1:{n.peer_port}" for n in nodes.nodes])
            three.start()
            address = cluster.wait_for("the line", lambda: row().get("not_found_at"), 20)
            self.assertNotIn(str(three.peer_port), address)
            words = nodes.run("cluster", "health").stdout.decode()
            self.assertIn(f"is not found at {address}", words)

            def traced():
                with open(one.log, encoding="utf-8") as log:
                    return f"but is not found at its address node=3 address={address}" in log.read()

            cluster.wait_for("the trace", traced, 20)


class HealthTest(unittest.TestCase):
    """Each test starts and ends with four healthy nodes."""

    @classmethod
    def setUpClass(cls):
        cls.nodes = cluster.Cluster(4, settings=SETTINGS)
        cls.addClassCleanup(cls.nodes.close)
        cls.nodes.__enter__()
        cls.nodes.spate("topic", "create", "t", "-p", "2", "-r", "3")
        cls.nodes.wait_healthy()

    def tearDown(self):
        for node in self.nodes.nodes:
            if not node.alive:
                node.start()
        self.nodes.wait_healthy()

    def words(self, code, *arguments):
        done = self.nodes.run("cluster", "health", *arguments)
        self.assertEqual(done.returncode, code, done.stdout.decode() + done.stderr.decode())
        return done.stdout.decode()

    def await_row(self, node, section, condition=bool):
        """The rows of a section of the node's answer, once they are as they should be."""

        def look():
            rows = ask(node)[section]
            return rows if condition(rows) else None

        return cluster.wait_for(f"{section} of node {node.number}", look)

    def test_healthy_cluster_says_so_and_nothing_else(self):
        says_so = lambda: self.nodes.run("cluster", "health").stdout == b"healthy\n"
        cluster.wait_for("leaders that go back after the test before to be there", says_so, 20)
        health = json.loads(self.words(0, "--json"))
        for section in ("down", "leaderless", "under_replicated", "refilling", "damaged"):
            self.assertEqual(health[section], [], section)
        for section in ("stalled", "draining", "conditions", "stuck", "misplaced"):
            self.assertEqual(health[section], [], section)
        voters = health["voters"]
        self.assertEqual((voters["down"], voters["since_ms"]), ([], -1))
        self.assertLessEqual(voters["wanted"], len(voters["nodes"]))
        self.assertEqual(health["features"]["level"], health["features"]["newest"])
        self.assertEqual((health["controller_since_ms"], health["opening_since_ms"]), (-1, -1))
        self.assertLess(abs(health["now_ms"] - wall_ms()), SLACK_MS)

    def test_node_down_tells_since_when_and_what_becomes_of_its_replicas(self):
        victim = self.nodes.leader("t")
        time.sleep(1)  # a leader of less than a second does not know yet that nobody lags
        others = [node for node in self.nodes.nodes if node is not victim]
        killed_ms = wall_ms()
        victim.kill()
        for node in others:
            counted = lambda rows: rows and rows[0]["rebuild"] == "waiting"  # there is a controller
            (row,) = self.await_row(node, "down", counted)
            self.assertEqual(row["node"], victim.number)
            self.assertLess(abs(row["since_ms"] - killed_ms), SLACK_MS)
            self.assertGreater(row["replicas"], 0)
            self.assertEqual(row["without_place"], 0, "there are three other nodes")
        self.nodes.leader("t")
        time.sleep(1.2)  # for times that must not move, and one that must
        for node in others:
            health = ask(node)
            again = health["down"][0]
            self.assertLess(abs(again["since_ms"] - killed_ms), SLACK_MS, "asking changes nothing")
            rest_ms = REPLACE_MS - (health["now_ms"] - killed_ms)
            self.assertLess(abs(again["rebuild_in_ms"] - rest_ms), 3 * SLACK_MS)
            self.assertLess(again["rebuild_in_ms"], REPLACE_MS - 600, "the time runs")
            lacking = [place for place in health["under_replicated"] if place["topic"] == "t"]
            self.assertTrue(lacking)
            for place in lacking:
                self.assertEqual(place["missing"], [victim.number])
                self.assertLess(abs(place["since_ms"] - killed_ms), SLACK_MS)
        words = self.words(5)
        self.assertRegex(words, rf"node down: {victim.number}, since 20\S+Z \(\d s\)\n")
        self.assertRegex(words, r"start it: it catches up by itself; in 5\d s its \d+ replicas")
        self.assertIn(f"spate cluster remove {victim.number}\n", words)
        self.assertRegex(words, rf"t/\d missing on node {victim.number}, since 20\S+Z \(\d s\)\n")

    def test_voter_down_is_named(self):
        voters = ask(self.nodes.nodes[0])["voters"]
        self.assertEqual(voters["nodes"], sorted(voters["nodes"]))
        victim = self.nodes.node(voters["nodes"][-1])
        killed_ms = wall_ms()
        victim.kill()
        node = next(node for node in self.nodes.nodes if node is not victim)
        cluster.wait_for("a missing voter", lambda: ask(node)["voters"]["down"])
        told = ask(node)["voters"]
        self.assertEqual(told["down"], [victim.number])
        self.assertEqual(told["nodes"], voters["nodes"], "it is not replaced yet")
        self.assertLess(abs(told["since_ms"] - killed_ms), SLACK_MS)
        count = len(voters["nodes"])
        self.assertRegex(
            self.words(5),
            rf"controller: {count - 1} of {count} voters run, down: node {victim.number}, since",
        )
        victim.start()
        whole = lambda: ask(node)["voters"]
        cluster.wait_for("all voters", lambda: whole()["down"] == [] and whole()["since_ms"] == -1)

    def await_no_leaders(self, drained):
        """While they are handed over, their partitions have none for a moment."""

        def led():
            rows = self.nodes.spate_json("cluster", "nodes")["nodes"]
            return sum(row["leaders"] for row in rows if row["id"] == drained.number)

        cluster.wait_for("its leaders to be elsewhere", lambda: led() == 0, 20)

    def test_drain_is_shown_and_told_to_be_complete(self):
        drained = self.nodes.nodes[2]
        began_ms = wall_ms()
        self.nodes.spate("cluster", "drain", str(drained.number))
        for node in self.nodes.nodes:
            (row,) = self.await_row(node, "draining", lambda rows: rows and not rows[0]["replicas"])
            self.assertEqual((row["node"], row["removing"]), (drained.number, False))
            self.assertLess(abs(row["since_ms"] - began_ms), SLACK_MS)
        cluster.wait_for("the last move to end", lambda: ask(drained)["moves"] == 0)
        self.await_no_leaders(drained)
        self.nodes.wait_healthy()  # leaders change; the drain itself makes nothing unhealthy
        words = self.words(0)
        self.assertRegex(words, rf"^healthy\ndrained: node {drained.number}, .*none, since 20\S+Z")
        self.assertIn(f"spate cluster remove {drained.number}, then stop it", words)

        # three nodes are left for three replicas each: a second one cannot be emptied
        bound = self.nodes.nodes[1]
        self.nodes.spate("cluster", "drain", str(bound.number))
        rows = self.await_row(drained, "draining", lambda rows: len(rows) == 2)
        (row,) = [row for row in rows if row["node"] == bound.number]
        self.assertGreater(row["replicas"], 0)
        self.assertEqual(row["without_place"], row["replicas"])
        self.await_no_leaders(bound)
        self.nodes.wait_healthy()
        words = self.words(0)
        self.assertRegex(words, rf"node {bound.number}, replicas still to move: \d+, since")
        self.assertIn("no other node can take: start a further node, or spate cluster", words)
        refused = self.nodes.run("cluster", "remove", str(bound.number)).stderr.decode()
        self.assertRegex(refused, rf"BUSY: node {bound.number} drains and has \d+ replicas left")
        self.assertIn("none will move by itself: no other node can take", refused)
        self.assertNotIn("moves -w", refused, "there is nothing to wait for")
        for node in (bound, drained):
            self.nodes.spate("cluster", "undrain", str(node.number))
        cluster.wait_for("no drain", lambda: ask(drained)["draining"] == [])
        cluster.wait_for("all moves", lambda: ask(drained)["moves"] == 0)
        self.nodes.wait_healthy()
        self.assertEqual(self.words(0), "healthy\n")

    def test_move_to_a_dead_node_is_told_with_its_cause(self):
        self.nodes.spate("topic", "create", "alone", "-r", "1")
        (there,) = self.nodes.spate_json("topic", "describe", "alone")["partitions"][0]["replicas"]
        home = self.nodes.leader("alone")
        self.assertEqual(home.number, there)
        target = next(node for node in self.nodes.nodes if node is not home)
        other = next(node for node in self.nodes.nodes if node not in (home, target))
        target.kill()
        self.await_row(other, "down")
        self.nodes.spate("partition", "move", "alone", "0", str(target.number))
        cluster.wait_for("the move", lambda: ask(home)["moves"] == 1)
        self.assertRegex(self.words(5), r"\nmoves under way: 1, see")
        began_ms = wall_ms()
        (row,) = self.await_row(home, "stuck")
        self.assertGreater(wall_ms() - began_ms, 3000, "a restart is no reason to speak")
        self.assertEqual((row["topic"], row["node"]), ("alone", target.number))
        self.assertEqual(row["reason"], f"node {target.number} is down")
        self.assertLess(abs(row["since_ms"] - began_ms), SLACK_MS)
        # whoever is asked: the command asks the leader, which knows the step
        for node in (home, other):
            words = self.words(5, "--servers", node.address)
            self.assertRegex(words, r"without progress: alone/0, (adding|filling) node \d: node")
            told = json.loads(self.words(5, "--servers", node.address, "--json"))["stuck"]
            self.assertEqual([row["step"] != "" for row in told], [True])
        target.start()
        cluster.wait_for("the move to end", lambda: ask(home)["moves"] == 0)
        self.assertEqual(ask(home)["stuck"], [])
        self.nodes.spate("topic", "delete", "alone", "--yes")


class SeveralNodesTest(unittest.TestCase):
    def test_a_node_that_says_nothing_is_told_and_is_no_fault(self):
        with cluster.Cluster(3) as nodes:
            silent = nodes.node(3)
            first = nodes.node(1).address
            nodes.wait_healthy()
            os.kill(silent.process.pid, signal.SIGSTOP)  # its connections stay, for some seconds
            try:
                started = time.monotonic()
                done = nodes.run("-s", first, "cluster", "health", "--json")
                took = time.monotonic() - started
                one = ["--node", "3", "--timeout", "1s"]
                alone = nodes.run("-s", first, "cluster", "health", *one)
            finally:
                os.kill(silent.process.pid, signal.SIGCONT)
            health = json.loads(done.stdout)
            self.assertEqual(health["silent"], [{"node": 3, "address": silent.address}])
            self.assertEqual(health["unhealthy_on"], [])
            self.assertLess(took, 8, "it waits for 2 s")
            self.assertEqual(done.returncode, 0 if health["healthy"] else 5)
            self.assertIn(b"node 3: ", alone.stderr)
            self.assertNotEqual(alone.returncode, 0)
            nodes.wait_healthy()
            unknown = nodes.run("cluster", "health", "--node", "9")
            self.assertEqual(unknown.returncode, 3)
            self.assertIn(b"there is no such node", unknown.stderr)


class LostDiskTest(unittest.TestCase):
    def test_only_replica_that_is_lost_while_it_moves_says_what_is_left(self):
        """Its new node has a part of it, which does not vote: it can be read by hand."""
        with cluster.Cluster(3, settings=["moves.bytes.per.second=1048576"]) as nodes:
            nodes.spate("topic", "create", "t", "-r", "1")
            nodes.wait_healthy()
            home = nodes.spate_json("topic", "describe", "t")["partitions"][0]["replicas"][0]
            heir = next(node for node in nodes.nodes if node.number != home)
            lines = [f"{number:06}" + "x" * 1000 for number in range(30000)]
            for first in range(0, len(lines), 1000):
                text = "\n".join(lines[first : first + 1000]) + "\n"
                nodes.spate("produce", "t", input=text.encode())
            nodes.spate("partition", "move", "t", "0", str(heir.number))

            def stored():
                rows = nodes.spate_json("cluster", "moves")["moves"]
                return rows and rows[0]["step"] == "filling" and rows[0]["stored"] > 5

            cluster.wait_for("a part to be moved", stored, 30)
            victim = nodes.node(home)
            victim.kill()
            shutil.rmtree(victim.data)
            victim.start()
            told = lambda: [row for row in ask(heir)["lost"] if row["topic"] == "t"]
            (row,) = cluster.wait_for("the loss to be told", told, 30)
            self.assertIn(f"it was moving to node {heir.number}, which has", row["reason"])
            kept = re.search(r"in (replicas/\d+\.\d+) what was copied", row["reason"]).group(1)
            cluster.wait_for("no leader", lambda: ask(heir)["leaderless"], 30)
            words = nodes.run("cluster", "health").stdout.decode()
            self.assertIn("its only replica is lost: it begins anew by itself", words)
            self.assertIn("if it does not, since it was being moved: read the topic's", words)
            self.assertNotIn("forced membership", words)
            folder = os.path.join(heir.data, kept)
            files = [os.path.join(folder, n) for n in sorted(os.listdir(folder)) if "log" in n]
            dump = nodes.run("log", "dump", "--records", *files).stdout.decode()
            self.assertIn(lines[0], dump)
            nodes.spate("topic", "delete", "t", "--yes")
            nodes.spate("topic", "create", "t", "-r", "1")
            nodes.wait_healthy(40)
            nodes.spate("produce", "t", input=b"again\n")

    def test_of_two_replicas_the_one_whose_disk_was_replaced_is_named(self):
        with cluster.Cluster(3) as nodes:
            nodes.spate("topic", "create", "t", "-r", "2")
            nodes.wait_healthy()
            homes = nodes.spate_json("topic", "describe", "t")["partitions"][0]["replicas"]
            victim = nodes.node(homes[1])
            victim.kill()
            shutil.rmtree(victim.data)
            victim.start()
            told = lambda: [row for row in ask(nodes.node(homes[0]))["lost"] if row["topic"] == "t"]
            (row,) = cluster.wait_for("the loss to be told", told, 30)
            self.assertEqual(row["node"], victim.number)
            traced = lambda: "replica does not run, its disk was replaced" in victim.trace()
            cluster.wait_for("its trace", traced, 20)
            # what is made anew by itself is over: of the groups' topic, of the controller
            only = lambda: (
                len(ask(victim)["lost"]) == 1
                and ask(victim)["replicas_opening"] == 1
                and not ask(victim)["refilling"]
            )
            cluster.wait_for("the rest to be made anew", only, 40)
            time.sleep(1)  # for a line that must not come
            said = victim.trace().count("topic=t partition=0 group=")
            self.assertEqual(said, 1, "it is told once")
            done = nodes.run("cluster", "health")
            words = done.stdout.decode()
            self.assertEqual(done.returncode, 5)
            self.assertRegex(words, rf"lost with the disk: node {victim.number}, since 20\S+Z")
            self.assertIn("too few are left to elect, a person has to decide", words)
            lost = victim.number
            self.assertRegex(words, rf"under-replicated: t/0 missing on node {lost}, since")
            self.assertRegex(words, rf"lost on node {lost}: t/0, replica \d+: its disk was")
            self.assertNotIn("still opening", words)


class NoPlaceTest(unittest.TestCase):
    def test_replicas_that_nobody_can_take_and_never_replaced(self):
        with cluster.Cluster(2, settings=["node.replace.after.ms=0"]) as nodes:
            nodes.spate("topic", "create", "t", "-r", "1", "-p", "4")
            nodes.wait_healthy()
            killed_ms = wall_ms()
            nodes.nodes[1].kill()
            left = nodes.nodes[0]
            cluster.wait_for("the loss to be told", lambda: ask(left)["leaderless"])
            health = ask(left)
            (row,) = health["down"]
            self.assertEqual((row["rebuild"], row["rebuild_in_ms"]), ("off", -1))
            for lost in health["leaderless"]:
                self.assertLess(abs(lost["since_ms"] - killed_ms), SLACK_MS)
            words = nodes.run("cluster", "health").stdout.decode()
            row = r"leaderless: t/\d, replicas on node 2, down: node 2, since 20\S+Z \(\d s\)\n"
            self.assertRegex(words, row)
            self.assertIn("elects by itself when 1 of its replicas runs: start node 2;", words)
            self.assertRegex(words, r"as node.replace.after.ms is 0|no other node can take its")


if __name__ == "__main__":
    cluster.main()
