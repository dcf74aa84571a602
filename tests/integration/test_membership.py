#!/usr/bin/env python3
"""Replicas move, nodes come and go, while records are written: nothing is lost or stored twice."""

import json
import os
import re
import shutil
import signal
import sys
import time
import unittest

import cluster
import rpc


def partition_of(nodes, topic, partition=0):
    return nodes.spate_json("topic", "describe", topic)["partitions"][partition]


def ask(nodes, method, **params):
    """The answer of the first node that gives one, or None."""
    for node in nodes.nodes:
        try:
            with rpc.Client(node.address, timeout=2) as client:
                return client.call(method, **params)
        except (OSError, EOFError, rpc.Refused):
            continue
    return None


def moves(nodes):
    answer = ask(nodes, "cluster.moves")
    return None if answer is None else answer["moves"]


def wait_moved(nodes, seconds=30):
    cluster.wait_for("all moves done", lambda: moves(nodes) == [], seconds, 0.05)


def replica_directories(node, group=None):
    """The directories of replicas of partitions on the node's disk."""
    names = os.listdir(os.path.join(node.data, "replicas"))
    return {name for name in names if not name.startswith("0.")}


class MoveTest(unittest.TestCase):
    def fill(self, nodes, topic, count, first=0):
        text = "".join(f"{number}\n" for number in range(first, first + count))
        nodes.spate("produce", topic, input=text.encode())

    def assert_records(self, nodes, topic, count):
        text = nodes.spate("consume", topic, "-o", "start", "-e", "-f", "%v\\n").decode()
        self.assertEqual([int(line) for line in text.split()], list(range(count)))

    def test_move_one_replica_and_back(self):
        with cluster.Cluster(3) as nodes:
            nodes.spate("topic", "create", "t", "-r", "1")
            self.fill(nodes, "t", 1000)
            home = partition_of(nodes, "t")["replicas"][0]
            away = home % 3 + 1
            before = {node.number: replica_directories(node) for node in nodes.nodes}
            nodes.spate("partition", "move", "t", "0", str(away))
            wait_moved(nodes)
            self.assertEqual(partition_of(nodes, "t")["replicas"], [away])
            nodes.leader("t")
            self.fill(nodes, "t", 500, 1000)
            self.assert_records(nodes, "t", 1500)
            gone = lambda: len(replica_directories(nodes.node(home))) == len(before[home]) - 1
            cluster.wait_for("the old replica's data to go", gone)
            nodes.spate("partition", "move", "t", "0", str(home))
            wait_moved(nodes)
            self.assert_records(nodes, "t", 1500)
            nodes.wait_healthy()

    def test_move_is_no_faster_than_allowed(self):
        settings = ["moves.bytes.per.second=4000000"]
        with cluster.Cluster(2, settings=settings) as nodes:
            nodes.spate("topic", "create", "t", "-r", "1")
            line = b"x" * 999 + b"\n"
            nodes.spate("produce", "t", input=line * 24000)
            home = partition_of(nodes, "t")["replicas"][0]
            began = time.monotonic()
            nodes.spate("partition", "move", "t", "0", str(3 - home))
            wait_moved(nodes, 60)
            # 24 MB at 4 MB/s, of which a second's worth is saved up, and a window is sent ahead
            self.assertGreater(time.monotonic() - began, 2.5)

    def test_move_all_replicas_under_load_while_nodes_die(self):
        with cluster.Cluster(5) as nodes:
            nodes.spate("topic", "create", "t", "-r", "3")
            stored = 0
            replicas = partition_of(nodes, "t")["replicas"]
            for turn in range(4):
                others = [node.number for node in nodes.nodes if node.number not in replicas]
                target = [replicas[2], others[0], others[1]]
                nodes.spate("partition", "move", "t", "0", ",".join(map(str, target)))
                self.fill(nodes, "t", 2000, stored)
                stored += 2000
                victim = nodes.node(target[turn % 3])
                victim.kill()
                time.sleep(0.3)
                victim.start()
                cluster.wait_for(  # a node that has just started may know an older state
                    "the move to be done",
                    lambda: moves(nodes) == [] and partition_of(nodes, "t")["replicas"] == target,
                    60,
                    0.1,
                )
                replicas = target
            nodes.wait_healthy(30)
            self.assert_records(nodes, "t", stored)

    def test_topic_is_not_placed_on_a_node_that_is_down(self):
        with cluster.Cluster(4) as nodes:
            nodes.spate("topic", "create", "before", "-p", "4", "-r", "3")
            nodes.node(4).kill()
            nodes.spate("topic", "create", "all", "-p", "1", "-r", "4")  # three of four suffice
            self.assertIn(4, partition_of(nodes, "all")["replicas"])
            self.assertNotEqual(partition_of(nodes, "all")["replicas"][0], 4)
            made = []

            def placed_without_it():
                made.append(f"t{len(made)}")
                nodes.spate("topic", "create", made[-1], "-p", "4", "-r", "3")
                partitions = nodes.spate_json("topic", "describe", made[-1])["partitions"]
                return all(4 not in partition["replicas"] for partition in partitions)

            cluster.wait_for("a topic to be placed without the node", placed_without_it, 10, 0.3)
            nodes.node(4).start()
            nodes.wait_healthy(30)

    def test_refused_moves_say_why(self):
        with cluster.Cluster(1) as nodes:
            nodes.spate("topic", "create", "t")
            for arguments, words in (
                (["t", "0", "9"], "there is no node 9"),
                (["t", "0", "1,1"], "named twice"),
                (["t", "7", "1"], "partitions"),
                (["u", "0", "1"], "u"),
            ):
                done = nodes.run("partition", "move", *arguments)
                self.assertNotEqual(done.returncode, 0, arguments)
                self.assertIn(words, done.stderr.decode())


def node_rows(nodes):
    answer = ask(nodes, "cluster.nodes")
    return {} if answer is None else {row["id"]: row for row in answer["nodes"]}


class JoinTest(unittest.TestCase):
    def roles(self, nodes):
        return sorted(row["controller"] for row in node_rows(nodes).values())

    def test_join_grows_one_node_to_five(self):
        with cluster.Cluster(1) as nodes:
            nodes.spate("topic", "create", "before", "-r", "1")
            nodes.spate("produce", "before", input=b"kept\n")
            for number in range(2, 6):
                nodes.add(number)
            cluster.wait_for("five nodes", lambda: len(node_rows(nodes)) == 5, 20)
            voters = ["leader"] + 4 * ["voter"]
            cluster.wait_for("five voters", lambda: self.roles(nodes) == voters, 30)
            nodes.spate("topic", "create", "t", "-p", "5", "-r", "3")
            used = {
                node
                for partition in nodes.spate_json("topic", "describe", "t")["partitions"]
                for node in partition["replicas"]
            }
            self.assertLessEqual({2, 3, 4, 5}, used, "new topics use new nodes")
            nodes.wait_healthy(20)
            for node in nodes.nodes:
                node.kill()
            for node in nodes.nodes:
                node.start()
            nodes.wait_healthy(30)
            text = nodes.spate("consume", "before", "-o", "start", "-e").decode()
            self.assertEqual(text, "kept\n")

    def test_join_while_a_seed_is_away_and_lead_the_controller_when_it_is_back(self):
        """The seed knows none of those that came, and they alone can tell it of themselves."""
        with cluster.Cluster(3) as nodes:
            nodes.wait_healthy(20)
            away = nodes.node(3)
            away.kill()
            for number in 4, 5:
                nodes.add(number)
            cluster.wait_for("five voters", lambda: self.roles(nodes).count("voter") == 4, 30)
            leader = self.leader(nodes)
            for _ in range(20):
                if leader > 3:
                    break
                nodes.node(leader).kill()
                leader = self.leader(nodes, but=leader)
                for node in nodes.nodes:
                    if node is not away and not node.alive:
                        node.start()
            self.assertGreater(leader, 3, "neither of those that came was elected")
            away.start()
            nodes.wait_healthy(30)

    def leader(self, nodes, but=0):
        def find():
            found = [number for number, row in node_rows(nodes).items()
                     if row["controller"] == "leader"]
            return found and found[0] != but and found[0]
        return cluster.wait_for("a leader of the controller", find, 20)

    def test_join_of_another_cluster_is_refused_on_both_sides(self):
        with cluster.Cluster(1) as nodes, cluster.Cluster(1, first=2) as others:
            stranger = others.nodes[0]
            stranger.kill()
            stranger.write_config([], [f"127.0.0.1:{nodes.nodes[0].peer_port}"])
            stranger.start()
            words = "belongs to another cluster"
            cluster.wait_for("the refusal", lambda: words in stranger.trace(), 15)
            self.assertEqual(list(node_rows(nodes)), [1])
            met = nodes.spate_json("cluster", "info")["cluster_id"]
            told = lambda: f"and this one is {met}" in stranger.trace()
            cluster.wait_for("it to be told which cluster it met", told, 15)
            where = rf"asks to be let in, refused address=\S+:{stranger.peer_port} why="
            traced = lambda: re.search(where, nodes.nodes[0].trace())
            cluster.wait_for("the trace of who refuses", traced, 15)

    def test_join_with_a_node_id_in_use_is_refused(self):
        with cluster.Cluster(1) as nodes:
            node = nodes.add(2)
            cluster.wait_for("two nodes", lambda: len(node_rows(nodes)) == 2, 15)
            twin = cluster.Node(2, os.path.join(nodes.directory, "twin"))
            twin.write_config([], [f"127.0.0.1:{nodes.nodes[0].peer_port}"])
            twin.start()
            try:
                words = "another process with node id 2 is connected"
                cluster.wait_for("the refusal", lambda: words in twin.trace(), 15)
            finally:
                twin.kill()
            self.assertTrue(node.alive)


class LifeTest(unittest.TestCase):
    """Draining, removing, losing and replacing nodes; balance."""

    def partitions(self, nodes, topic):
        return nodes.spate_json("topic", "describe", topic)["partitions"]

    def write(self, nodes, topic, count):
        text = "".join(f"{number}\n" for number in range(count))
        nodes.spate("produce", topic, "-p", "0", input=text.encode())

    def assert_records(self, nodes, topic, count):
        text = nodes.spate("consume", topic, "-p", "0", "-o", "start", "-e").decode()
        self.assertEqual([int(line) for line in text.split()], list(range(count)))

    def settled(self, nodes, topic, check):
        def look():
            answer = moves(nodes)
            return answer == [] and check(self.partitions(nodes, topic))

        cluster.wait_for("the replicas where they belong", look, 60, 0.1)

    def test_drain_moves_everything_away_and_remove_forgets_the_node(self):
        with cluster.Cluster(3) as nodes:
            nodes.add(4)
            cluster.wait_for("four nodes", lambda: len(node_rows(nodes)) == 4, 15)
            nodes.spate("topic", "create", "t", "-p", "6", "-r", "3")
            self.write(nodes, "t", 1000)
            refused = nodes.run("cluster", "remove", "2", "--timeout", "5m", seconds=20)
            self.assertNotEqual(refused.returncode, 0)
            self.assertRegex(refused.stderr.decode(),
                             r"2: BUSY: node 2 has \d+ replicas: drain it first")
            with rpc.Client(nodes.nodes[0].address) as client:
                with self.assertRaisesRegex(rpc.Refused, "BUSY: node 2 has .*: drain it first"):
                    client.call("node.remove", node=2)
            nodes.spate("cluster", "drain", "2")
            watched = nodes.run("cluster", "moves", "-w")  # also before the first move begins
            self.assertEqual(watched.returncode, 0, watched.stderr.decode())
            self.assertEqual(node_rows(nodes)[2]["replicas"], 0)
            self.settled(
                nodes, "t", lambda rows: all(2 not in row["replicas"] for row in rows)
            )

            def empty():
                row = node_rows(nodes)[2]
                return row["replicas"] == 0 and row["leaders"] == 0

            cluster.wait_for("nothing left on node 2", empty, 30, 0.1)
            cluster.wait_for(
                "the disk of node 2 to be empty",
                lambda: not replica_directories(nodes.node(2)),
                15,
            )
            nodes.spate("cluster", "remove", "2")
            cluster.wait_for("node 2 to be forgotten", lambda: 2 not in node_rows(nodes), 20)
            nodes.node(2).kill()
            nodes.nodes = [node for node in nodes.nodes if node.number != 2]
            nodes.wait_healthy(20)
            self.assert_records(nodes, "t", 1000)

    def test_a_seed_that_was_removed_comes_back_with_an_empty_directory(self):
        with cluster.Cluster(3) as nodes:
            nodes.add(4)
            cluster.wait_for("four nodes", lambda: len(node_rows(nodes)) == 4, 15)
            seed = nodes.node(2)
            nodes.spate("cluster", "drain", "2")
            cluster.wait_for("nothing left", lambda: node_rows(nodes)[2]["replicas"] == 0, 60, 0.1)
            nodes.spate("cluster", "remove", "2")
            cluster.wait_for("node 2 to be forgotten", lambda: 2 not in node_rows(nodes), 20)
            seed.stop()
            seed.start()  # it still has its data: refused, and told why

            def told():
                done = nodes.run("-s", seed.address, "cluster", "health")
                return done.stdout.decode()

            why = "if it was removed it has to come back with an empty directory"
            cluster.wait_for("the reason", lambda: why in told(), 20, 0.1)
            self.assertIn("the others may have one: why they refuse", told())
            seed.stop()
            shutil.rmtree(seed.data)
            seed.start()
            up = lambda: node_rows(nodes).get(2, {}).get("alive")
            cluster.wait_for("node 2 to be a member again", up, 30, 0.1)
            nodes.wait_healthy(30)

    def test_seeds_that_all_lost_their_disks_form_no_second_cluster(self):
        with cluster.Cluster(3) as nodes:
            four = nodes.add(4)
            cluster.wait_for("four nodes", lambda: len(node_rows(nodes)) == 4, 15)
            seeds = nodes.nodes[:3]
            for seed in seeds:
                seed.kill()
                shutil.rmtree(seed.data)
            marks = {seed.number: len(seed.trace()) for seed in seeds}
            traced = lambda seed: seed.trace()[marks[seed.number] :]
            why = "a node that is no seed knows it as a member of its cluster: it forms none"
            for seed in seeds:  # one after the other, as by hand
                seed.start()
                cluster.wait_for("what the fourth one says", lambda: why in traced(seed), 20)
            said = lambda seed: nodes.run("-s", seed.address, "cluster", "health").stdout.decode()
            for seed in seeds:
                told = lambda: f"joining: node {seed.number} is no member yet" in said(seed)
                cluster.wait_for("that it waits", told, 20, 0.1)
                self.assertNotIn("cluster formed", traced(seed))
            self.assertTrue(four.alive)

    def test_remove_of_a_node_that_drains_says_at_once_what_is_left(self):
        with cluster.Cluster(3) as nodes:
            nodes.spate("topic", "create", "t", "-r", "3")
            nodes.spate("cluster", "drain", "2")  # which nobody can take
            refused = nodes.run("cluster", "remove", "2", "--timeout", "5m", seconds=20)
            self.assertNotEqual(refused.returncode, 0)
            self.assertRegex(
                refused.stderr.decode(), r"2: BUSY: node 2 drains and has \d+ replicas left"
            )
            watched = nodes.run("cluster", "moves", "-w", seconds=20)
            self.assertRegex(watched.stderr.decode(), r"no other node can take")

    def test_a_removed_node_is_not_believed_though_it_is_asked_first(self):
        with cluster.Cluster(3) as nodes:
            nodes.add(4)
            cluster.wait_for("four nodes", lambda: len(node_rows(nodes)) == 4, 15)
            nodes.spate("topic", "create", "t", "-p", "4", "-r", "3")
            leading = lambda: [
                node for node in nodes.nodes
                if node_rows(nodes)[node.number]["controller"] == "leader"
            ]
            gone = cluster.wait_for("a leader of the controller", leading, 20)[0]
            number = str(gone.number)
            nodes.spate("cluster", "drain", number)

            empty = lambda: node_rows(nodes)[gone.number]["replicas"] == 0
            cluster.wait_for("nothing left on it", empty, 60, 0.1)
            nodes.spate("cluster", "remove", number)
            others = [node for node in nodes.nodes if node is not gone]
            nodes.servers = ",".join(node.address for node in [gone] + others)

            def forgotten():
                with rpc.Client(others[0].address) as client:
                    return all(row["id"] != gone.number
                               for row in client.call("cluster.nodes")["nodes"])

            def alone():
                with rpc.Client(gone.address) as client:
                    return not client.call("cluster.health")["current"]

            cluster.wait_for("the others to forget it", forgotten, 20)
            cluster.wait_for("the removed node to notice", alone, 20)
            doubted = f"not believed: node {number} does not follow"

            def words_when_well():
                """Leaders still go back to the first replicas; a busy server is passed over."""
                health = nodes.run("cluster", "health")
                words = health.stdout.decode()
                if health.returncode == 0 and doubted in words:
                    return words
                print(words, end="", file=sys.stderr)
                return None

            words = cluster.wait_for("the others to be healthy", words_when_well, 20, 0.2)
            self.assertNotIn("node down", words)
            rows = json.loads(nodes.spate("cluster", "nodes", "--json"))
            self.assertTrue(rows["current"])
            self.assertEqual(
                [(row["id"], row["alive"]) for row in rows["nodes"]],
                [(node.number, True) for node in others],
            )
            nodes.servers = ",".join(node.address for node in others)
            nodes.spate("topic", "create", "later", "-r", "3")
            nodes.spate("topic", "delete", "t", "--yes")
            nodes.servers = ",".join(node.address for node in [gone] + others)
            topics = nodes.spate_json("topic", "list")
            self.assertTrue(topics["current"])
            self.assertEqual([row["name"] for row in topics["topics"]], ["later"])
            info = nodes.spate_json("cluster", "info")
            self.assertTrue(info["current"])
            ids = sorted(row["id"] for row in info["nodes"])
            self.assertEqual(ids, [node.number for node in others])
            nodes.servers = gone.address  # it knows where the others are
            words = nodes.run("cluster", "health").stdout.decode()
            self.assertIn(doubted, words)
            self.assertNotIn("node down", words)

    def test_undrain_lets_a_node_have_replicas_again(self):
        with cluster.Cluster(2) as nodes:
            nodes.spate("cluster", "drain", "2")
            nodes.spate("topic", "create", "a", "-p", "4", "-r", "1")
            self.assertTrue(all(row["replicas"] == [1] for row in self.partitions(nodes, "a")))
            nodes.spate("cluster", "undrain", "2")
            nodes.spate("topic", "create", "b", "-p", "4", "-r", "1")
            self.assertIn([2], [row["replicas"] for row in self.partitions(nodes, "b")])

    def test_a_node_that_stays_away_is_replaced(self):
        settings = ["node.replace.after.ms=3000"]
        with cluster.Cluster(3, settings=settings) as nodes:
            nodes.add(4, settings)
            cluster.wait_for("four nodes", lambda: len(node_rows(nodes)) == 4, 15)
            nodes.spate("topic", "create", "t", "-p", "4", "-r", "3")
            self.write(nodes, "t", 500)
            nodes.node(2).kill()
            time.sleep(1)
            self.assertEqual(moves(nodes), [], "too early")
            health = nodes.spate_json_of(5, "cluster", "health")
            self.assertEqual(health["voters"]["down"], [2])
            self.assertEqual(health["refilling"], [], "another voter is not on its way yet")
            self.settled(
                nodes, "t", lambda rows: all(2 not in row["replicas"] for row in rows)
            )
            self.assert_records(nodes, "t", 500)
            nodes.node(2).start()
            gone = lambda: not replica_directories(nodes.node(2))
            cluster.wait_for("what it had to go", gone, 20)
            nodes.wait_healthy(20)

    def voters(self, nodes):
        """{node: its part in the controller}, or nothing while nobody answers."""
        answer = ask(nodes, "cluster.nodes")
        return {} if answer is None else {n["id"]: n["controller"] for n in answer["nodes"]}

    def test_a_voter_that_stays_away_is_replaced_and_another_may_die(self):
        settings = ["node.replace.after.ms=2000"]
        with cluster.Cluster(3, settings=settings) as nodes:
            nodes.add(4, settings)
            cluster.wait_for("a standby", lambda: self.voters(nodes).get(4) == "standby", 20)
            parts = self.voters(nodes)
            dead = next(number for number, part in parts.items() if part == "voter")
            nodes.spate("topic", "create", "t", "-p", "1", "-r", "3")
            nodes.node(dead).kill()
            replaced = lambda: (
                self.voters(nodes).get(4) == "voter" and self.voters(nodes).get(dead) == "none"
            )
            cluster.wait_for("another voter in its place", replaced, 20)
            parts = self.voters(nodes)
            self.assertEqual(sum(part in ("leader", "voter") for part in parts.values()), 3)
            second = next(n for n, part in parts.items() if part == "leader")
            nodes.node(second).kill()  # two of three voters are left, one of them the new one
            nodes.spate("topic", "alter", "t", "--set", "retention.ms=86400000")
            nodes.node(second).start()
            nodes.node(dead).start()
            back = lambda: self.voters(nodes).get(dead) == "standby"
            cluster.wait_for("it comes back as a standby", back, 20)
            nodes.wait_healthy(30)

    def test_of_five_voters_three_are_left_when_a_node_is_removed(self):
        settings = ["node.replace.after.ms=2000"]
        with cluster.Cluster(5, settings=settings) as nodes:
            count = lambda: sum(part in ("leader", "voter") for part in self.voters(nodes).values())
            cluster.wait_for("five voters", lambda: count() == 5, 30)
            leader = next(n for n, part in self.voters(nodes).items() if part == "leader")
            out, *others = [number for number in range(1, 6) if number != leader]
            nodes.spate("cluster", "drain", str(out))
            nodes.spate("cluster", "moves", "-w", "-q")  # until the node has nothing left
            nodes.spate("cluster", "remove", str(out))
            nodes.node(out).kill()
            settled = lambda: count() == 3 and out not in self.voters(nodes)
            cluster.wait_for("three voters", settled, 30)
            voter = next(n for n, part in self.voters(nodes).items() if part == "voter")
            standby = next(n for n, part in self.voters(nodes).items() if part == "standby")
            self.assertIn(standby, others)  # the fourth one stays a member
            nodes.node(voter).kill()
            nodes.spate("topic", "create", "t", "-p", "1", "-r", "3")
            nodes.node(voter).start()
            nodes.wait_healthy(30)

    def four(self, nodes):
        """{node: its part in the controller} of four nodes, once three of them vote."""
        parts = lambda: self.voters(nodes)
        wanted = ["leader", "standby", "voter", "voter"]
        cluster.wait_for("three voters", lambda: sorted(parts().values()) == wanted, 30)
        return parts()

    def test_a_leader_of_the_controller_that_drains_is_no_voter_any_more(self):
        with cluster.Cluster(4) as nodes:
            leader = next(n for n, part in self.four(nodes).items() if part == "leader")
            nodes.spate("cluster", "drain", str(leader))
            settled = lambda: self.four(nodes)[leader] == "standby"
            cluster.wait_for("the others to vote", settled, 30)
            nodes.spate("cluster", "moves", "-w", "-q")
            nodes.spate("cluster", "remove", str(leader))
            nodes.node(leader).kill()  # it does not know that it is out
            gone = lambda: leader not in self.voters(nodes)
            cluster.wait_for("the node to be out", gone, 30)

    def test_a_standby_that_is_cut_off_does_not_say_what_does_not_exist(self):
        def code(node):
            with rpc.Client(node.address, timeout=5) as client:
                return client.call("metadata", topics=["nothing"])["topics"][0]["error"]

        with cluster.Cluster(4) as nodes:
            parts = self.four(nodes)
            standby = nodes.node(next(n for n, part in parts.items() if part == "standby"))
            cluster.wait_for("it to know", lambda: code(standby) == "UNKNOWN_TOPIC", 10)
            others = [node for node in nodes.nodes if node is not standby]
            try:
                for node in others:
                    node.process.send_signal(signal.SIGSTOP)
                cluster.wait_for("it to doubt", lambda: code(standby) == "NOT_READY", 10)
            finally:
                for node in others:
                    node.process.send_signal(signal.SIGCONT)
            nodes.wait_healthy(30)

    def leads(self, nodes):
        """How many partitions each node is to lead, over all topics."""
        first = {node.number: 0 for node in nodes.nodes}
        for topic in ("t", "__groups"):
            for row in nodes.spate_json("topic", "describe", topic)["partitions"]:
                first[row["replicas"][0]] += 1
        return first

    def test_rebalance_evens_out_leaders(self):
        with cluster.Cluster(1) as nodes:
            nodes.spate("topic", "create", "t", "-p", "9", "-r", "1")
            self.write(nodes, "t", 300)
            for number in (2, 3):
                nodes.add(number)
            up = lambda: [row["alive"] for row in node_rows(nodes).values()] == 3 * [True]
            cluster.wait_for("three nodes", up, 30)
            nodes.spate("topic", "alter", "t", "--replicas", "3")
            wait_moved(nodes, 60)
            coordinators = lambda: nodes.spate_json("topic", "describe", "__groups")["partitions"]
            spread = lambda: all(len(row["replicas"]) == 3 for row in coordinators())
            cluster.wait_for("coordinators on three nodes", spread, 60, 0.2)
            nodes.spate("cluster", "rebalance")
            wait_moved(nodes, 60)
            first = self.leads(nodes)
            self.assertLessEqual(max(first.values()) - min(first.values()), 1, first)
            even = lambda: all(
                row["leader"] == row["replicas"][0]
                for row in nodes.spate_json("topic", "describe", "t")["partitions"])
            cluster.wait_for("the first replicas to lead", even, 30, 0.2)
            self.assert_records(nodes, "t", 300)

    def test_a_replaced_disk_comes_back_and_is_refilled(self):
        with cluster.Cluster(3) as nodes:
            nodes.spate("topic", "create", "t", "-p", "3", "-r", "3")
            self.write(nodes, "t", 500)
            before = node_rows(nodes)[3]["incarnation"]
            victim = nodes.node(3)
            victim.kill()
            shutil.rmtree(victim.data)
            victim.start()
            changed = lambda: node_rows(nodes).get(3, {}).get("incarnation", before) != before
            cluster.wait_for("another incarnation", changed, 20)
            full = lambda: len(replica_directories(victim)) == 3 + 8
            cluster.wait_for("all replicas made anew", full, 60)
            cluster.wait_for("no moves", lambda: moves(nodes) == [], 60)
            voters = lambda: [row["controller"] for row in node_rows(nodes).values()].count(
                "voter"
            ) == 2
            cluster.wait_for("three voters again", voters, 20)
            nodes.wait_healthy(30)
            nodes.node(1).kill()
            nodes.leader("t")
            self.assert_records(nodes, "t", 500)

    def begun_anew(self, nodes):
        """A topic with one replica, whose disk was replaced: (its node, another one)."""
        nodes.spate("topic", "create", "t", "-r", "1")
        self.write(nodes, "t", 10)
        home = partition_of(nodes, "t")["replicas"][0]
        before = node_rows(nodes)[home]["incarnation"]
        nodes.node(home).kill()
        shutil.rmtree(nodes.node(home).data)
        nodes.node(home).start()
        changed = lambda: node_rows(nodes).get(home, {}).get("incarnation", before) != before
        cluster.wait_for("another incarnation", changed, 20)
        nodes.wait_healthy(40)
        self.assert_records(nodes, "t", 0)
        return nodes.node(home), nodes.node(home % 3 + 1)

    def test_what_began_anew_is_moved_while_its_node_restarts(self):
        with cluster.Cluster(3, settings=["moves.bytes.per.second=2000000"]) as nodes:
            home, away = self.begun_anew(nodes)
            lines = [f"{number:06}" + "x" * 1000 for number in range(10000)]
            for first in range(0, len(lines), 500):
                text = "\n".join(lines[first : first + 500]) + "\n"
                nodes.spate("produce", "t", input=text.encode())
            nodes.spate("partition", "move", "t", "0", str(away.number))

            def filling():
                rows = nodes.spate_json("cluster", "moves")["moves"]  # of whoever leads it
                return rows and rows[0]["step"] == "filling" and rows[0]["stored"] > 1

            cluster.wait_for("a part to be moved", filling, 30, 0.05)
            with rpc.Client(away.address) as client:
                health = client.call("cluster.health")
            self.assertEqual(health["lost"], [])
            home.kill()
            home.start()
            wait_moved(nodes, 60)
            self.assertEqual(partition_of(nodes, "t")["replicas"], [away.number])
            text = nodes.spate("consume", "t", "-o", "start", "-e", "-f", "%v\\n").decode()
            self.assertEqual(text.split(), lines)

    def test_what_began_anew_gets_more_replicas_once_it_has_left_its_node(self):
        with cluster.Cluster(3) as nodes:
            home, away = self.begun_anew(nodes)
            self.write(nodes, "t", 100)
            refused = nodes.run("topic", "alter", "t", "--replicas", "3")
            self.assertNotEqual(refused.returncode, 0)
            words = refused.stderr.decode()
            self.assertIn(f"partition 0 began anew on node {home.number}, whose disk was", words)
            self.assertIn("first spate partition move t 0 NODE", words)
            self.assert_records(nodes, "t", 100)
            nodes.spate("partition", "move", "t", "0", str(away.number))
            self.settled(nodes, "t", lambda rows: rows[0]["replicas"] == [away.number])
            nodes.spate("topic", "alter", "t", "--replicas", "3")
            self.settled(nodes, "t", lambda rows: len(rows[0]["replicas"]) == 3)
            self.assert_records(nodes, "t", 100)

    def test_a_damaged_replica_is_rebuilt_at_once(self):
        with cluster.Cluster(3) as nodes:
            nodes.spate("topic", "create", "t", "-r", "3")
            self.write(nodes, "t", 500)
            victim = nodes.node(partition_of(nodes, "t")["replicas"][2])
            victim.kill()
            damaged = 0
            for name in replica_directories(victim):
                folder = os.path.join(victim.data, "replicas", name)
                for file in os.listdir(folder):
                    path = os.path.join(folder, file)
                    if file.endswith(".log") and os.path.getsize(path) > 5000:
                        with open(path, "r+b") as handle:
                            handle.seek(4200)
                            handle.write(b"damage")
                        damaged += 1
            self.assertGreater(damaged, 0)
            victim.start()
            said = lambda: "stays closed" in victim.trace()
            cluster.wait_for("the damage to be seen", said, 20)
            nodes.wait_healthy(40)
            self.assert_records(nodes, "t", 500)

    def test_rebalance_spreads_replicas_and_leaders(self):
        with cluster.Cluster(3) as nodes:
            nodes.spate("topic", "create", "t", "-p", "12", "-r", "2")
            nodes.add(4)
            cluster.wait_for("four nodes", lambda: len(node_rows(nodes)) == 4, 15)
            nodes.wait_healthy()  # all have a link to it: a node that is down is given nothing
            plan = nodes.spate_json("cluster", "rebalance", "--dry-run")["moves"]
            self.assertEqual(moves(nodes), [], "a dry run moves nothing")
            total = sum(row["replicas"] for row in node_rows(nodes).values())
            self.assertEqual(len(plan), total // 4, "only what is needed")
            nodes.spate("cluster", "rebalance")
            counts = lambda: [row["replicas"] for row in node_rows(nodes).values()]
            balanced = lambda: moves(nodes) == [] and max(counts()) - min(counts()) <= 1
            cluster.wait_for("balance", balanced, 60, 0.1)
            nodes.wait_healthy(20)

    def test_leaders_return_to_where_they_belong(self):
        with cluster.Cluster(3) as nodes:
            nodes.spate("topic", "create", "t", "-p", "30", "-r", "3")
            nodes.node(1).kill()
            nodes.node(1).start()
            preferred = lambda: all(
                row["leader"] == row["replicas"][0] for row in self.partitions(nodes, "t")
            )
            cluster.wait_for("every first replica to lead", preferred, 20, 0.1)

    def test_alter_replicas_grows_and_shrinks(self):
        with cluster.Cluster(3) as nodes:
            nodes.spate("topic", "create", "t", "-p", "3", "-r", "1")
            self.write(nodes, "t", 300)
            for replicas in (3, 2, 1):
                nodes.spate("topic", "alter", "t", "--replicas", str(replicas))
                right = lambda rows: all(len(row["replicas"]) == replicas for row in rows)
                self.settled(nodes, "t", right)
            self.assert_records(nodes, "t", 300)
            done = nodes.run("topic", "alter", "t", "--replicas", "4")
            self.assertIn("not enough nodes", done.stderr.decode())


if __name__ == "__main__":
    cluster.main()
