#!/usr/bin/env python3
"""A majority is lost for good, and the nodes that are left go on by a forced membership."""

import contextlib
import os
import shutil
import subprocess
import unittest

import cluster
import rpc

RECORDS = "".join(f"record {number}\n" for number in range(2000)).encode()

MISSED = "".join(f"missed {number}\n" for number in range(300)).encode()


class ForceMembershipTest(unittest.TestCase):
    @contextlib.contextmanager
    def running(self, size=3, partitions=2):
        """Nodes with records in topic `t` on all of them, and a group that has read half of it."""
        with cluster.Cluster(size) as nodes:
            nodes.spate("topic", "create", "t", "-p", str(partitions), "-r", str(size))
            nodes.spate("produce", "t", input=RECORDS)
            nodes.spate("consume", "t", "-g", "billing", "-n", "1000")
            nodes.wait_healthy()
            yield nodes

    def force(self, node, kept, *options, data=None):
        """Runs it to its end; (code, what it printed)."""
        arguments = [cluster.SPATED, "--config", node.config, "--force-membership", kept]
        if data is not None:
            arguments += ["--set", f"data.dir={data}"]
        done = subprocess.run(
            [*arguments, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout

    def refused(self, node, kept, text, *options, **where):
        code, words = self.force(node, kept, *options, **where)
        self.assertEqual(code, 1, words)
        self.assertIn(text, words)

    def forced(self, node, kept):
        code, words = self.force(node, kept, "--yes-lose-data")
        self.assertEqual(code, 0, words)
        self.assertIn("the nodes that were left out must come back empty or not at all", words)

    def lose(self, nodes, *numbers):
        """The nodes and their disks are gone; what was on them stays beside, as a ghost."""
        for number in numbers:
            node = nodes.node(number)
            node.kill()
            os.rename(node.data, node.data + ".lost")

    def look_only_at(self, nodes, *numbers):
        nodes.servers = ",".join(nodes.node(number).address for number in numbers)

    def records(self, nodes):
        lines = nodes.spate("consume", "t", "-o", "start", "-e").splitlines(keepends=True)
        return sorted(lines)

    def committed(self, nodes):
        group = nodes.spate_json("group", "describe", "billing")
        return sum(part["committed"] for part in group["partitions"])

    def assert_goes_on(self, nodes, *kept, stored=RECORDS):
        """All that was stored is there, and the cluster is one of these nodes alone."""
        self.look_only_at(nodes, *kept)
        nodes.wait_healthy()
        self.assertEqual(self.records(nodes), sorted(stored.splitlines(keepends=True)))
        info = nodes.spate_json("cluster", "info")
        self.assertEqual(sorted(node["id"] for node in info["nodes"]), list(kept))
        self.assertEqual(self.committed(nodes), 1000)
        nodes.spate("produce", "t", input=b"later\n")
        nodes.spate("topic", "create", "new", "-r", str(len(kept)))
        self.assertIn(b"later\n", self.records(nodes))

    # ---- one is left ----------------------------------------------------------------------------

    def test_force_last_node_of_three_goes_on_alone(self):
        with self.running() as nodes:
            three = nodes.nodes[2]
            before = nodes.spate_json("cluster", "info")["cluster_id"]
            self.lose(nodes, 1, 2)
            self.refused(three, "3", "another process uses the data directory", "--yes-lose-data")
            three.kill()

            code, words = self.force(three, "3")
            self.assertEqual(code, 0, words)
            self.assertIn("What only the lost nodes had is lost", words)
            self.assertIn("raft group 0: members 1, 2, 3 -> 3; last index", words)
            self.assertIn("nothing was changed", words)
            code, again = self.force(three, "3")
            self.assertEqual(again, words)

            self.forced(three, "3")
            three.start()
            self.assert_goes_on(nodes, 3)
            after = nodes.spate_json("cluster", "info")["cluster_id"]
            self.assertEqual(after[:24], before[:24])
            self.assertNotEqual(after, before)
            three.stop()
            self.refused(three, "3", "nothing is to be forced", "--yes-lose-data")
            three.start()
            nodes.wait_healthy()
            self.ghost_is_refused(nodes)

    def ghost_is_refused(self, nodes):
        """A lost node comes back with its old directory."""
        one, three = nodes.nodes[0], nodes.nodes[2]
        os.rename(one.data + ".lost", one.data)
        one.start()
        text = "on the other side of a forced membership: the node that was left out must come back"
        cluster.wait_for("the ghost to hear of it", lambda: text in one.trace())
        cluster.wait_for("the node to tell of it", lambda: text in three.trace())
        with rpc.Client(one.address) as client:
            with self.assertRaisesRegex(rpc.Refused, "LEADER_UNKNOWN|NOT_READY|TIMEOUT"):
                client.call("produce", topic="t", partition=0, records=[{"v": b"ghost"}])
        one.kill()
        nodes.wait_healthy()
        self.assertNotIn(b"ghost\n", self.records(nodes))

    # ---- some are left --------------------------------------------------------------------------

    def test_force_keeps_a_node_whose_replica_was_not_made_yet(self):
        with cluster.Cluster(3) as nodes:
            first, second = nodes.node(1), nodes.node(2)
            second.kill()
            nodes.spate("topic", "create", "t", "-r", "3")
            nodes.spate("produce", "t", input=RECORDS)
            self.lose(nodes, 3)
            first.kill()
            self.forced(first, "1,2")
            self.forced(second, "1,2")
            first.start()
            second.start()
            self.look_only_at(nodes, 1, 2)
            nodes.wait_healthy(60)
            self.assertEqual(self.records(nodes), sorted(RECORDS.splitlines(keepends=True)))
            nodes.spate("produce", "t", input=b"later\n")  # both have to store it

    def test_force_goes_on_with_a_replica_to_which_nothing_was_sent_yet(self):
        """Of two replicas one is left, and a move to another node waits for a leader."""
        with cluster.Cluster(3) as nodes:
            nodes.spate("topic", "create", "t", "-r", "2")
            nodes.spate("produce", "t", input=RECORDS)
            homes = nodes.spate_json("topic", "describe", "t")["partitions"][0]["replicas"]
            (third,) = {1, 2, 3} - set(homes)
            nodes.wait_healthy()
            self.lose(nodes, homes[0])
            kept = sorted([homes[1], third])
            self.look_only_at(nodes, *kept)
            nodes.spate("partition", "move", "t", "0", f"{homes[1]},{third}")
            group = nodes.spate_json("topic", "describe", "t")["partitions"][0]["raft_group"]
            made = lambda: [
                name
                for name in os.listdir(os.path.join(nodes.node(third).data, "replicas"))
                if name.startswith(f"{group}.")
            ]
            cluster.wait_for("the new replica to be made", made)
            for number in kept:
                nodes.node(number).stop()
            names = ",".join(map(str, kept))
            code, words = self.force(nodes.node(third), names)
            self.assertEqual(code, 0, words)
            self.assertIn(f"raft group {group}: nothing is stored here yet", words)
            for number in kept:
                self.forced(nodes.node(number), names)
            for number in kept:
                nodes.node(number).start()
            nodes.wait_healthy(60)
            rows = lambda: nodes.spate_json("topic", "describe", "t")["partitions"]
            filled = lambda: sorted(rows()[0]["replicas"]) == kept
            cluster.wait_for("the move to go on", filled, 30)
            self.assertEqual(self.records(nodes), sorted(RECORDS.splitlines(keepends=True)))
            nodes.spate("produce", "t", input=b"later\n")

    def test_force_two_of_five_go_on_together(self):
        with self.running(size=5, partitions=4) as nodes:
            # What node 5 has missed was acknowledged, and node 4 has it: node 5 must not win.
            four, five = nodes.nodes[3:]
            five.kill()
            nodes.spate("produce", "t", input=MISSED)
            # The controller's logs differ by one frame: forced frames must not mean two things.
            nodes.spate("cluster", "features", "hold")
            self.lose(nodes, 1, 2, 3)
            four.kill()
            self.forced(four, "5,4")
            self.forced(five, "4,5")
            four.start()
            five.start()
            # A coordinator has three replicas: those of `billing` may all be gone.
            self.look_only_at(nodes, 4, 5)
            nodes.wait_healthy()
            groups = nodes.spate_json("group", "list")["groups"]
            if not groups:
                nodes.spate("consume", "t", "-g", "billing", "-n", "1000")
            self.assert_goes_on(nodes, 4, 5, stored=RECORDS + MISSED)

    def test_force_unlike_lists_make_two_clusters(self):
        with self.running(size=5) as nodes:
            four, five = nodes.nodes[3:]
            self.lose(nodes, 1, 2, 3)
            four.kill()
            five.kill()
            self.forced(four, "4")
            self.forced(five, "4,5")
            four.start()
            five.start()
            self.look_only_at(nodes, 4)
            cluster.wait_for("a refusal", lambda: "forced membership" in five.trace())
            self.assertEqual(self.records(nodes), sorted(RECORDS.splitlines(keepends=True)))

    # ---- guards ---------------------------------------------------------------------------------

    def test_force_refuses_what_is_not_right(self):
        with self.running() as nodes:
            three = nodes.nodes[2]
            three.stop()
            yes = "--yes-lose-data"
            self.refused(three, "1,2", "this is node 3, which is not among the nodes to keep", yes)
            self.refused(three, "3,9", "node 9 is no member: the members are 1, 2, 3", yes)
            self.refused(three, "1,2,3", "nothing is to be forced", yes)
            missing = os.path.join(nodes.directory, "missing")
            self.refused(three, "3", f"there is no data directory {missing}", yes, data=missing)
            self.assertFalse(os.path.exists(missing))
            for kept in ("", "0", "3,", "3,3", "x", "1024", "3;2"):
                code, words = self.force(three, kept, yes)
                self.assertEqual(code, 2, f"{kept}: {words}")
            done = subprocess.run([cluster.SPATED, yes], capture_output=True, check=False)
            self.assertEqual(done.returncode, 2)
            three.start()  # none of it has changed anything
            nodes.wait_healthy()
            self.assertEqual(self.records(nodes), sorted(RECORDS.splitlines(keepends=True)))

    def test_force_refuses_to_keep_a_node_that_could_not_be_kept_there(self):
        with self.running() as nodes:
            four = nodes.add(4)
            rows = lambda: nodes.spate_json("cluster", "nodes")["nodes"]
            roles = lambda: {row["id"]: row["controller"] for row in rows()}
            cluster.wait_for("a fourth one", lambda: roles().get(4) == "standby", 20, 0.1)
            three = nodes.nodes[2]
            three.stop()
            four.stop()
            why = "node 4 does not vote in the controller's group, and cannot be kept"
            self.refused(three, "3,4", why, "--yes-lose-data")
            why = "this node does not vote in the controller's group: keep a node that does"
            self.refused(four, "3,4", why, "--yes-lose-data")
            three.start()  # nothing was changed
            four.start()
            nodes.wait_healthy()

    # ---- crashes --------------------------------------------------------------------------------

    def kill_after(self, node, lines):
        """Begins it and kills it when it has told of so many groups."""
        arguments = ["--force-membership", "3", "--yes-lose-data"]
        process = subprocess.Popen(
            [cluster.SPATED, "--config", node.config, *arguments],
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=cluster.die_with_parent,
        )
        with process.stdout:
            while lines > 0:
                line = process.stdout.readline()
                self.assertTrue(line, "it has ended")
                lines -= line.startswith("raft group")
            process.kill()
            process.wait()

    def test_force_killed_in_the_middle_is_finished_by_running_it_again(self):
        with self.running(partitions=80) as nodes:
            three = nodes.nodes[2]
            self.lose(nodes, 1, 2)
            three.kill()
            for lines in (1, 2, 9):
                self.kill_after(three, lines)
                three.start()
                self.assertEqual(three.wait(), 1)
                last = three.trace().splitlines()[-1]
                self.assertIn("was begun and not finished: run `spated --force-membership`", last)
                self.refused(three, "2,3", "begun here with other nodes", "--yes-lose-data")
            self.forced(three, "3")
            three.start()
            self.assert_goes_on(nodes, 3)

    def test_force_partition_without_kept_replica_is_named(self):
        with self.running() as nodes:
            nodes.spate("topic", "create", "alone", "-r", "1")
            described = nodes.spate_json("topic", "describe", "alone")
            (there,) = described["partitions"][0]["replicas"]
            kept = next(node for node in nodes.nodes if node.number != there)
            self.lose(nodes, *(node.number for node in nodes.nodes if node is not kept))
            kept.kill()
            self.forced(kept, str(kept.number))
            kept.start()
            self.look_only_at(nodes, kept.number)

            def named():
                health = nodes.health()
                rows = health["leaderless"] if health is not None else []
                lost = [(row["topic"], row["partition"]) for row in rows]
                return lost == [("alone", 0)] and health

            health = cluster.wait_for("the lost partition to be named", named)
            self.assertEqual(health["nodes_down"], [there])
            nodes.spate("topic", "delete", "alone", "--yes")
            self.assertEqual(self.records(nodes), sorted(RECORDS.splitlines(keepends=True)))


if __name__ == "__main__":
    cluster.main()
