#!/usr/bin/env python3
"""Nodes that are started on a data directory of an earlier time: one that another has replaced, or
an older copy of their own. It is not let in, loses nothing that was acknowledged and does not put
the right one out."""

import os
import re
import shutil
import time
import unittest

import cluster
import rpc
from test_addresses import go_on, pause
from test_damage import flip, quarantined, replicas, segments
from test_membership import moves, node_rows, partition_of, wait_moved

REPLACED = r"node 3 has another data directory now"
REFUSED = "node 3 has another data directory now, and this is an earlier one: bring that one back"
OLD_COPY = r"node 3 runs on an older copy of its data directory"


def change_disk(node, aside, data):
    """Puts aside what the node, which does not run, has; it gets `data`, or an empty directory."""
    os.rename(node.data, aside)
    if data is not None:
        os.rename(data, node.data)


def damage_controller(node):
    """Flips a bit in the first frame of its replica of the controller's log."""
    (name,) = replicas(node, "0.")
    flip(segments(node, name)[0], 4150)


def incarnation(nodes, number=3):
    return node_rows(nodes).get(number, {}).get("incarnation")


def refused_row(node):
    """What its health says of node 3, which runs and is refused, or None."""
    with rpc.Client(node.address, timeout=5) as client:
        rows = [row for row in client.call("cluster.health")["down"] if row["node"] == 3]
    return rows[0] if rows and rows[0]["refused"] else None


def controller_leader(nodes):
    rows = node_rows(nodes)
    found = [number for number, row in rows.items() if row["controller"] == "leader"]
    return found and nodes.node(found[0]).alive and found[0]


def has_controller(node):
    """Does it say that it has heard from a controller that works?"""
    with rpc.Client(node.address, timeout=5) as client:
        return client.call("cluster.health")["controller"]


class OldDiskTest(unittest.TestCase):
    def write(self, nodes, names):
        nodes.spate("produce", "t", "-p", "0", input="".join(f"{n}\n" for n in names).encode())

    def assert_records(self, nodes, names):
        text = nodes.spate("consume", "t", "-p", "0", "-o", "start", "-e").decode()
        self.assertEqual(text.split(), names)

    def wait_written(self, node, topic):
        """Waits until it knows the topic and has what the controller said on its own disk."""
        with rpc.Client(node.address) as client:
            knows = lambda: any(
                row["name"] == topic for row in client.call("metadata")["topics"]
            )
            cluster.wait_for("it to know the topic", knows, 20)
        (name,) = replicas(node, "0.")
        size = lambda: sum(cluster.frames_end(path) for path in segments(node, name))
        cluster.wait_for("several frames on its disk", lambda: size() > 4800, 20)

    def replace_disk(self, nodes, node, aside):
        """Gives it an empty directory, with which it is let in and has everything again."""
        before = incarnation(nodes)
        node.kill()
        change_disk(node, aside, None)
        node.start()
        changed = lambda: incarnation(nodes) not in (None, before)
        cluster.wait_for("another incarnation", changed, 20)
        nodes.wait_healthy(40)
        self.assertEqual(moves(nodes), [])

    def wait_said(self, node, mark, words, count=1):
        """Waits until its trace says so that many times behind `mark`."""
        said = lambda: len(re.findall(words, node.trace()[mark:])) >= count
        cluster.wait_for(f"its trace to say {count} times: {words}", said, 20)

    def assert_stays(self, what, condition, seconds):
        """For what must not happen there is no event to wait for."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.assertTrue(condition(), what)
            time.sleep(0.05)

    def assert_not_led(self, nodes, topic):
        """No node that runs leads its partition 0, whoever is asked."""
        for node in nodes.nodes:
            if node.alive:
                with rpc.Client(node.address, timeout=5) as client:
                    topics = client.call("metadata", topics=[topic])["topics"]
                partitions = topics[0]["partitions"] if topics else []
                leader = partitions[0]["leader"] if partitions else -1
                self.assertFalse(leader > 0 and nodes.node(leader).alive, (node.number, leader))

    def assert_refused(self, nodes, three, words):
        """The others say so, and it says that they do."""
        for node in nodes.nodes:
            if node is not three:
                row = cluster.wait_for(f"node {node.number} to say", lambda: refused_row(node), 5)
                self.assertTrue(row["refused"].startswith(words), row)
                self.assertEqual(row["refused_by"], node.number)
        with rpc.Client(three.address, timeout=5) as client:
            rows = client.call("cluster.health")["refusals"]
        self.assertEqual([row["node"] for row in rows], [1, 2])
        self.assertTrue(all(row["reason"].startswith(words) for row in rows), rows)
        text = nodes.run("cluster", "health", "--node", "1").stdout.decode()
        told = rf"(?m)^node down: 3, .*\n  it runs and is refused by node 1: {words}"
        self.assertRegex(text, told)
        self.assertNotIn("start it: it catches up", text)

    def test_process_that_hung_while_another_took_its_place(self):
        settings = ["node.replace.after.ms=1000"]  # the other one stands elsewhere
        with cluster.Cluster(3, settings=settings) as nodes:
            one, two, hung = nodes.nodes
            nodes.spate("topic", "create", "t", "-r", "3")
            self.write(nodes, ["before"])
            before = incarnation(nodes)
            pause(hung)
            right = cluster.Node(3, os.path.join(nodes.directory, "right"))
            right.write_config([], [f"{node.host}:{node.peer_port}" for node in (one, two)])
            nodes.nodes = [one, two, right]
            nodes.servers = ",".join(node.address for node in nodes.nodes)
            try:
                right.start()
                changed = lambda: incarnation(nodes) not in (None, before)
                cluster.wait_for("another incarnation", changed, 20)
                nodes.wait_healthy(40)
                known = incarnation(nodes)
                right.kill()
                mark = len(hung.trace())
                go_on(hung)
                # refused, or it stops itself, if what it had been sent tells of the other one
                words = "another data directory now, and this is an earlier one"
                self.wait_said(hung, mark, words)
                right.start()  # while the other one may go on asking
                up = lambda: node_rows(nodes).get(3, {}).get("alive")
                cluster.wait_for("the right one", up, 30)
                self.assertEqual(incarnation(nodes), known)
                hung.kill()
                nodes.wait_healthy(30)  # nobody asks any more
                self.write(nodes, ["after"])
                one.kill()  # now it counts
                nodes.leader("t")
                self.assert_records(nodes, ["before", "after"])
            finally:
                if hung.process is not None:
                    hung.kill()

    def test_old_disk_that_is_damaged_does_not_run_the_replicas_of_the_new_one(self):
        with cluster.Cluster(5) as nodes:
            three = nodes.node(3)
            first, second = three.data + ".first", three.data + ".second"
            nodes.spate("topic", "create", "t", "-r", "3")
            self.wait_written(three, "t")
            self.replace_disk(nodes, three, first)
            if partition_of(nodes, "t")["replicas"] != [1, 2, 3]:
                nodes.spate("partition", "move", "t", "0", "1,2,3")
                wait_moved(nodes)
            names = [f"a{number}" for number in range(10)]
            self.write(nodes, names)
            nodes.wait_healthy(30)
            # node 1 is away, 2 and 3 acknowledge
            nodes.node(1).kill()
            nodes.leader("t")
            later = [f"b{number}" for number in range(100)]
            self.write(nodes, later)
            three.kill()
            nodes.node(2).kill()
            # the disk that was taken out comes back by mistake
            change_disk(three, second, first)
            damage_controller(three)
            before = replicas(three, "")
            nodes.node(1).start()
            cluster.wait_for("a controller", lambda: controller_leader(nodes), 20)
            known = incarnation(nodes)
            mark = len(three.trace())
            three.start()
            self.wait_said(three, mark, REPLACED, 3)
            self.assertEqual(replicas(three, ""), before, "nothing made anew, nothing retired")
            self.assertEqual(quarantined(three), [])
            self.assertEqual(incarnation(nodes), known)
            self.assert_not_led(nodes, "t")
            three.kill()
            change_disk(three, first, second)
            three.start()
            nodes.node(2).start()
            nodes.wait_healthy(40)
            self.assert_records(nodes, names + later)

    def test_old_disk_for_a_moment_changes_nothing(self):
        with cluster.Cluster(3) as nodes:
            three = nodes.node(3)
            first, second = three.data + ".first", three.data + ".second"
            nodes.spate("topic", "create", "t", "-p", "3", "-r", "3")
            names = [str(number) for number in range(300)]
            self.write(nodes, names)
            self.replace_disk(nodes, three, first)
            rows = node_rows(nodes)
            known = (rows[3]["incarnation"], rows[3]["controller"] != "none")
            self.assertTrue(known[1], "it has a voter")
            three.kill()
            change_disk(three, second, first)
            before = replicas(three, "")

            def unchanged():
                row = node_rows(nodes)[3]
                now = (row["incarnation"], row["controller"] != "none")
                return now == known and moves(nodes) == [] and replicas(three, "") == before

            mark = len(three.trace())
            three.start()
            self.wait_said(three, mark, f"refused by node.*{REPLACED}", 2)
            self.assert_refused(nodes, three, REFUSED)
            self.assert_stays("with its seeds it is not let in", unchanged, 3)
            self.assertTrue(three.alive, "nobody has told it more than a refusal")
            self.assertLess(len(re.findall(REPLACED, three.trace()[mark:])), 5)
            three.kill()
            seeds = [f"{node.number}@{node.host}:{node.peer_port}" for node in nodes.nodes]
            three.write_config([], [f"127.0.0.1:{nodes.node(n).peer_port}" for n in (1, 2)])
            mark = len(three.trace())
            three.start()
            self.wait_said(three, mark, f"not let in.*{REPLACED}|not told.*{REPLACED}")
            self.assertTrue(unchanged(), "it asked, and was not let in")
            self.assertTrue(three.alive)
            three.kill()
            three.write_config(seeds)
            change_disk(three, first, second)
            for _ in range(2):
                three.start()
                nodes.wait_healthy(30)
                three.kill()
            three.start()
            nodes.wait_healthy(30)
            nodes.node(1).kill()  # now it counts
            nodes.leader("t")
            self.assert_records(nodes, names)

    def test_old_copy_that_is_damaged_gets_no_voter(self):
        with cluster.Cluster(3) as nodes:
            three = nodes.node(3)
            copy, right = three.data + ".copy", three.data + ".right"
            nodes.spate("topic", "create", "t", "-r", "3")
            self.wait_written(three, "t")
            three.stop()
            shutil.copytree(three.data, copy)
            three.start()
            nodes.wait_healthy(30)
            three.stop()
            change_disk(three, right, copy)
            damage_controller(three)
            before = replicas(three, "")
            mark = len(three.trace())
            three.start()
            self.wait_said(three, mark, f"not let in.*{OLD_COPY}", 2)
            self.assertEqual(replicas(three, ""), before)
            self.assertEqual(quarantined(three), [])
            three.kill()
            change_disk(three, copy, right)
            three.start()
            nodes.wait_healthy(30)
            self.assertEqual(replicas(three, ""), before, "the right one has what it had")

    def test_old_copy_does_not_vote_after_all_have_stopped(self):
        with cluster.Cluster(3) as nodes:
            one, two, three = nodes.nodes
            copy, right = three.data + ".copy", three.data + ".right"
            three.stop()
            shutil.copytree(three.data, copy)
            three.start()
            nodes.wait_healthy(30)
            nodes.spate("topic", "create", "t", "-r", "3")
            nodes.wait_healthy(30)
            self.write(nodes, ["kept"])
            self.wait_written(one, "t")  # and what came before, the later run of node 3
            for node in nodes.nodes:
                node.stop()
            change_disk(three, right, copy)
            marks = {node.number: len(node.trace()) for node in nodes.nodes}
            one.start()
            three.start()
            self.wait_said(three, marks[3], OLD_COPY)
            confirmed = lambda: [
                node.number
                for node in (one, three)
                if "state confirmed" in node.trace()[marks[node.number]:]
            ]
            self.assert_stays("no vote of the copy", lambda: confirmed() == [], 3)
            self.assertFalse(has_controller(one))
            two.start()
            cluster.wait_for("a controller", lambda: has_controller(one), 20)
            cluster.wait_for("its leader", lambda: controller_leader(nodes) in (1, 2), 20)
            down = lambda: (nodes.health() or {}).get("nodes_down") == [3]
            cluster.wait_for("the copy to be left out", down, 20)
            row = cluster.wait_for("node 1 to say", lambda: refused_row(one), 5)
            self.assertRegex(row["refused"], OLD_COPY)
            self.assertNotIn("state confirmed", three.trace()[marks[3]:])
            three.kill()
            change_disk(three, copy, right)
            three.start()
            nodes.wait_healthy(30)
            self.assert_records(nodes, ["kept"])


if __name__ == "__main__":
    cluster.main()
