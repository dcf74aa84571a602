#!/usr/bin/env python3
"""Processes of several shards: each shard is a node, and each process one machine, which falls as a
whole; no partition has two replicas on one."""

import json
import os
import shutil
import subprocess
import tempfile
import threading
import unittest
import urllib.error
import urllib.request

import cluster
import rpc

LOAD = os.environ.get("SPATE_ROLLING_LOAD", "")
LIB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib")
RECORDS = 100_000
SHARDS = ["shards=2"]


def machine_of(node_id):
    return node_id % 100


class Numbers:
    """Sends the numbers from 0 on, one a line, until it has sent them all."""

    def __init__(self, nodes, topic):
        self.process = nodes.popen("produce", topic, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        self.half = threading.Event()  # half of them are with the producer
        self.killed = threading.Event()  # the other half may follow
        self.thread = threading.Thread(target=self.send)
        self.thread.start()

    def send(self):
        with self.process.stdin as pipe:
            for number in range(RECORDS):
                if number == RECORDS // 2:
                    pipe.flush()
                    self.half.set()
                    self.killed.wait()
                pipe.write(b"%d\n" % number)

    def finish(self):
        self.thread.join()
        words = self.process.stderr.read().decode()
        self.process.stderr.close()
        assert self.process.wait(120) == 0, words


class ShardsTest(unittest.TestCase):
    def rows(self, nodes):
        return {row["id"]: row for row in nodes.spate_json("cluster", "nodes")["nodes"]}

    def wait_for_nodes(self, nodes, *node_ids):
        """Until these are the members, all up and with a replica of the controller."""

        def ready():
            try:
                rows = self.rows(nodes)
            except AssertionError:
                return False  # nobody leads at the moment
            return sorted(rows) == sorted(node_ids) and all(
                row["alive"] and row["controller"] != "none" for row in rows.values()
            )

        cluster.wait_for(f"nodes {node_ids}", ready, 30)
        nodes.wait_healthy(30)

    def partitions(self, nodes, topic):
        return nodes.spate_json("topic", "describe", topic)["partitions"]

    def assert_apart(self, nodes, topic, replicas):
        for row in self.partitions(nodes, topic):
            machines = {machine_of(node_id) for node_id in row["replicas"]}
            self.assertEqual(len(machines), replicas, row)

    def assert_even(self, nodes):
        """With the coordinators of groups, which were there before other shards than the first."""
        counts = [row["replicas"] for row in self.rows(nodes).values()]
        self.assertLessEqual(max(counts) - min(counts), 1, counts)

    def ready(self, node, shard):
        url = f"http://127.0.0.1:{node.http_port + shard}/readyz"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status == 200
        except urllib.error.HTTPError:
            return False

    def why_not_ready(self, node):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{node.http_port}/readyz", timeout=5):
                return ""
        except urllib.error.HTTPError as refused:
            return refused.read().decode()
        except OSError:
            return "it is being started"

    def assert_all_there(self, nodes, topic):
        back = nodes.spate("consume", topic, "-o", "start", "-e").split()
        self.assertEqual(len(back), RECORDS)
        self.assertEqual(len(set(back)), RECORDS)

    # ---- one cluster after the other ------------------------------------------------------------

    def test_shards_are_nodes_and_a_process_is_a_machine(self):
        with cluster.Cluster(3, [*SHARDS, "rack=here"], shards=2) as nodes:
            self.wait_for_nodes(nodes, 1, 2, 3, 101, 102, 103)
            for node in nodes.nodes:
                for shard in range(2):
                    cluster.wait_for("ready", lambda n=node, s=shard: self.ready(n, s), 10)
            rows = self.rows(nodes)
            for node_id, row in rows.items():
                self.assertEqual(row["rack"], "here")
                self.assertEqual(row["machine"], machine_of(node_id))
            voters = [i for i, row in rows.items() if row["controller"] in ("leader", "voter")]
            self.assertEqual(sorted(voters), [1, 2, 3])
            nodes.spate("topic", "create", "many", "-p", "24")
            self.assert_apart(nodes, "many", 3)
            self.assert_even(nodes)
            refused = nodes.run("topic", "create", "four", "-r", "4")
            self.assertIn(b"the cluster has 3 machines", refused.stderr)
            refused = nodes.run("partition", "move", "many", "0", "2,101,1")
            self.assertIn(b"nodes 101 and 1 are shards of one process", refused.stderr)
            with rpc.Client(nodes.nodes[0].address) as client:
                racks = {row["rack"] for row in client.call("metadata")["nodes"]}
            self.assertEqual(racks, {"here"})
            for node_id in (102, 2):  # no replica can leave the machine: the others have theirs
                nodes.spate("cluster", "drain", str(node_id))

            def all_are_bound():
                rows = nodes.health()["draining"]
                return len(rows) == 2 and all(
                    row["replicas"] == row["without_place"] for row in rows
                )

            cluster.wait_for("replicas that cannot go", all_are_bound, 20)
            self.assert_apart(nodes, "many", 3)
            self.assertEqual(nodes.health()["voters"]["wanted"], 1)  # of two machines that stay

    def test_process_of_shards_is_killed_under_load_and_comes_back(self):
        with cluster.Cluster(3, SHARDS, shards=2) as nodes:
            self.wait_for_nodes(nodes, 1, 2, 3, 101, 102, 103)
            nodes.spate("topic", "create", "numbers", "-p", "12", "-r", "3")
            numbers = Numbers(nodes, "numbers")
            numbers.half.wait()
            victim = nodes.node(2)
            victim.kill()
            numbers.killed.set()
            numbers.finish()
            leaders = {machine_of(row["leader"]) for row in self.partitions(nodes, "numbers")}
            self.assertEqual(leaders, {1, 3})
            self.assert_all_there(nodes, "numbers")
            victim.start()
            self.wait_for_nodes(nodes, 1, 2, 3, 101, 102, 103)
            self.assert_all_there(nodes, "numbers")
            self.assert_apart(nodes, "numbers", 3)

    @unittest.skipUnless(LOAD, "SPATE_ROLLING_LOAD is not set")
    def test_sigterm_of_shards_under_load_fails_no_request(self):
        with cluster.Cluster(3, SHARDS, shards=2) as nodes:
            self.wait_for_nodes(nodes, 1, 2, 3, 101, 102, 103)
            users = subprocess.Popen(
                [LOAD, nodes.servers, "rolled"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                preexec_fn=cluster.die_with_parent,
            )
            self.addCleanup(users.kill)
            self.assertEqual(users.stdout.readline(), "running\n")
            for node in nodes.nodes:
                code, seconds = node.stop()
                self.assertEqual(code, 0)
                print(f"node {node.number}: both shards stopped in {seconds:.2f} s", flush=True)
                node.start()
                self.wait_for_nodes(nodes, 1, 2, 3, 101, 102, 103)
            users.stdin.close()
            counted = json.loads(users.stdout.read())
            users.stdout.close()
            self.assertEqual(users.wait(120), 0)
            print(json.dumps(counted), flush=True)
            self.assertEqual(counted["failed"], 0)
            self.assertEqual(counted["read"], counted["written"])
            self.assertEqual(counted["shared"], counted["written"])
            self.assertGreater(counted["written"], 1000)

    def test_number_of_shards_goes_up_and_down(self):
        with cluster.Cluster(3, [], shards=2) as nodes:
            nodes.spate("topic", "create", "numbers", "-p", "24", "-r", "3")
            numbers = Numbers(nodes, "numbers")
            for node in nodes.nodes:  # up: a restart of one after the other, under load
                numbers.half.wait()
                self.assertEqual(node.stop()[0], 0)
                node.settings = SHARDS
                numbers.killed.set()
                node.start()
                nodes.wait_healthy(30)
            numbers.finish()
            self.wait_for_nodes(nodes, 1, 2, 3, 101, 102, 103)
            nodes.spate("cluster", "rebalance")
            self.wait_for_moves(nodes)
            self.assert_apart(nodes, "numbers", 3)
            self.assert_even(nodes)

            first = nodes.nodes[0]  # down: not while there is data that nobody else has
            self.assertEqual(first.stop()[0], 0)
            first.settings = ["shards=1"]
            first.start()
            self.assertEqual(first.wait(), 2)  # a service is not started again and again
            self.assertIn("holds shard 1, node 101: start with shards=2", first.trace())
            first.settings = SHARDS
            first.start()
            self.wait_for_nodes(nodes, 1, 2, 3, 101, 102, 103)
            for node_id in (101, 102, 103):
                nodes.spate("cluster", "drain", str(node_id))
            self.wait_for_moves(nodes)
            self.assert_apart(nodes, "numbers", 3)
            for node_id in (101, 102, 103):
                cluster.wait_for(
                    f"node {node_id} to be empty",
                    lambda i=node_id: self.rows(nodes)[i]["replicas"] == 0,
                    30,
                )
                nodes.spate("cluster", "remove", str(node_id))
            for node in nodes.nodes:
                self.assertEqual(node.stop()[0], 0)
                shutil.rmtree(os.path.join(node.data, "shards", "1"))
                node.settings = ["shards=1"]
                node.start()
            self.wait_for_nodes(nodes, 1, 2, 3)
            self.assert_all_there(nodes, "numbers")

    def wait_for_moves(self, nodes):
        moves = lambda: nodes.spate_json("cluster", "moves")["moves"] == []
        cluster.wait_for("all moves to be done", moves, 60)

    def test_disk_of_one_shard_fails_and_the_process_ends(self):
        directory = tempfile.mkdtemp(prefix="spate-failing-")
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        shim = os.path.join(directory, "failing_disk.so")
        source = os.path.join(LIB, "failing_disk.c")
        options = ["-std=c11", "-D_GNU_SOURCE", "-shared", "-fPIC", "-O2"]
        subprocess.run(["cc", *options, "-o", shim, source, "-ldl"], check=True)
        nodes = cluster.Cluster(1, SHARDS, shards=2)
        node = nodes.nodes[0]
        failing = os.path.join(node.data, "shards", "1")
        node.environment = {"LD_PRELOAD": shim, "SPATE_FAILING_DISK": failing}
        with nodes:
            self.wait_for_nodes(nodes, 1, 101)
            nodes.spate("topic", "create", "t", "-p", "4", "-r", "1")
            with open(os.path.join(failing, "fails"), "wb"):
                pass
            lines = b"".join(b"%d\n" % number for number in range(99))
            nodes.run("--timeout", "2s", "produce", "t", input=lines)
            self.assertEqual(node.wait(), 1)
            self.assertRegex(node.trace(), "this node stops itself.*error=IO.* shard=1")

    def test_shard_with_the_id_of_another_node_stays_out_and_the_first_is_not_ready(self):
        with cluster.Cluster(1, shards=2) as nodes:
            other = nodes.add(101)
            self.wait_for_nodes(nodes, 1, 101)
            first = nodes.nodes[0]
            self.assertEqual(self.why_not_ready(first), "")
            self.assertEqual(first.stop()[0], 0)
            first.settings = SHARDS
            first.start()
            cluster.wait_for(
                "the second shard to be missed",
                lambda: "shard 1, node 101, is not ready" in self.why_not_ready(first),
                15,
            )
            with rpc.Client(first.address) as client:
                rows = {row["id"]: row for row in client.call("cluster.nodes")["nodes"]}
            self.assertEqual(rows[101]["address"], other.address)
            self.assertEqual(rows[101]["machine"], 101)

    def test_membership_is_forced_shard_by_shard(self):
        done = subprocess.run(
            [cluster.SPATED, "--shards", "2", "--force-membership", "1,101"],
            capture_output=True, check=False, cwd=tempfile.gettempdir(),
        )
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"run it for the shard that votes in the controller", done.stderr)

    def test_configuration_shows_its_shards(self):
        done = subprocess.run(
            [cluster.SPATED, "--shards", "3", "--check-config"], capture_output=True, check=True,
        )
        self.assertIn(b"shards: 3\n", done.stdout)
        self.assertIn(
            b"# shard 2: node 201, client 127.0.0.1:7704, peer 127.0.0.1:7705, "
            b"http 127.0.0.1:7782, data ./data/shards/2\n",
            done.stdout,
        )

    def test_configuration_with_too_few_shards_is_not_right(self):
        with tempfile.TemporaryDirectory() as data:
            os.makedirs(os.path.join(data, "shards", "1"))
            done = subprocess.run(
                [cluster.SPATED, "--set", f"data.dir={data}", "--check-config"],
                capture_output=True, check=False,
            )
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"start with shards=2", done.stderr)


if __name__ == "__main__":
    cluster.main()
