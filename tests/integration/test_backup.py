#!/usr/bin/env python3
"""What docs/operations.md says of backups: topics as files, and a node's directory moved."""

import glob
import json
import os
import shutil
import subprocess
import unittest

import cluster

FORMAT = r"%p\t%T\t%k{json}\t%v{json}\t%h\n"
EVERY_FIELD = r"%p %o %T %k{json} %v{json} %h\n"


class BackupTest(unittest.TestCase):
    def fill(self, nodes):
        nodes.spate("topic", "create", "orders", "-p", "3")
        lines = b"".join(b"k%d:v%d\n" % (number, number) for number in range(3000))
        nodes.spate("produce", "orders", "-K", ":", input=lines)
        nodes.spate("produce", "orders", "-k", "gone", "--tombstone")
        value = b"\x00\xff\n\t,"
        nodes.spate("produce", "orders", "-H", "source:till-7", "-f", "%V{big32}%v",
                    input=len(value).to_bytes(4, "big") + value)

    def everything(self, nodes, topic):
        return sorted(
            nodes.spate("consume", topic, "-o", "start", "-e", "-f", EVERY_FIELD).splitlines()
        )

    def test_backup_exported_topic_comes_back_as_it_was(self):
        with cluster.Cluster(3) as nodes:
            self.fill(nodes)
            before = self.everything(nodes, "orders")
            text = nodes.spate("consume", "orders", "-o", "start", "-e", "-f", FORMAT)
            nodes.spate("topic", "delete", "orders", "--yes")
            nodes.spate("topic", "create", "orders", "-p", "3")

            # The first run is interrupted; the second goes on where it stopped.
            half = text[: text.index(b"\n", len(text) // 2) + 1]
            nodes.spate("produce", "orders", "-f", FORMAT, "--name", "restore", input=half)
            nodes.spate("produce", "orders", "-f", FORMAT, "--name", "restore", input=text)
            self.assertEqual(len(before), 3002)
            self.assertEqual(self.everything(nodes, "orders"), before)

    def test_backup_directory_of_a_stopped_node_moves(self):
        with cluster.Cluster(3) as nodes:
            self.fill(nodes)
            three = nodes.nodes[2]
            self.assertEqual(three.stop()[0], 0)
            shutil.copytree(three.data, three.data + ".moved")
            shutil.rmtree(three.data)
            os.rename(three.data + ".moved", three.data)
            three.start()
            nodes.wait_healthy()
            nodes.nodes[0].kill()  # now it counts
            nodes.spate("produce", "orders", input=b"later\n")
            self.assertEqual(len(self.everything(nodes, "orders")), 3003)

    def test_backup_of_all_directories_together_brings_that_moment_back(self):
        with cluster.Cluster(3) as nodes:
            self.fill(nodes)
            nodes.spate("consume", "orders", "-g", "billing", "-o", "start", "-e")
            group = ("group", "describe", "billing")
            committed = lambda: {(row["topic"], row["partition"]): row["committed"]
                                 for row in nodes.spate_json(*group)["partitions"]}
            before, offsets = self.everything(nodes, "orders"), committed()
            self.assertEqual(sum(offsets.values()), len(before))
            self.stop_all(nodes)
            for node in nodes.nodes:
                shutil.copytree(node.data, node.data + ".backup")

            self.start_all(nodes)
            nodes.spate("produce", "orders", input=b"after the backup\n")
            nodes.spate("topic", "create", "after")
            self.stop_all(nodes)
            for node in nodes.nodes:
                shutil.rmtree(node.data)
                os.rename(node.data + ".backup", node.data)

            self.start_all(nodes)
            self.assertEqual(self.everything(nodes, "orders"), before)
            self.assertEqual(committed(), offsets)
            topics = [topic["name"] for topic in nodes.spate_json("topic", "list")["topics"]]
            self.assertNotIn("after", topics)
            nodes.spate("produce", "orders", input=b"goes on\n")
            self.assertEqual(len(self.everything(nodes, "orders")), len(before) + 1)

    def stop_all(self, nodes):
        for node in nodes.nodes:
            self.assertEqual(node.stop()[0], 0)

    def start_all(self, nodes):
        for node in nodes.nodes:
            node.start()
        nodes.wait_healthy(30)

    def old_records(self, nodes, directory):
        """{(topic, partition): what an old directory holds of it, as `spate produce` takes it}"""
        report = nodes.spate_json("log", "verify", directory)
        found = {}
        for log in report["logs"]:
            files = sorted(glob.glob(os.path.join(log["directory"], "*.log")))
            dumped = nodes.spate("log", "dump", "--records", "--json", *files).splitlines()
            rows = [row for row in map(json.loads, dumped) if row["kind"] == "record"]
            found[log.get("topic"), log.get("partition")] = "".join(
                f"{row['timestamp']}\t{json.dumps(row['key'])}\t{json.dumps(row['value'])}\n"
                for row in rows
            ).encode()
        return found

    def test_backup_empty_start_by_mistake_is_read_back_from_the_old_directory(self):
        fields = r"%T %k{json} %v{json}\n"
        read = lambda: nodes.spate("consume", "one", "-o", "start", "-e", "-f", fields)
        with cluster.Cluster(3) as nodes:
            nodes.spate("topic", "create", "one", "-r", "1", "-c", "segment.bytes=65536")
            nodes.spate("topic", "create", "three", "-r", "3")
            nodes.spate("produce", "one", input=b"".join(b"%d\n" % n for n in range(20000)))
            nodes.spate("produce", "one", "-k", "gone", "--tombstone")
            nodes.spate("produce", "three", input=b"kept\n")
            before = read()
            partition = nodes.spate_json("topic", "describe", "one")["partitions"][0]
            node = nodes.node(partition["replicas"][0])
            node.stop()
            old = node.data + ".old"
            os.rename(node.data, old)
            node.start()
            nodes.wait_healthy(30)
            self.assertRegex(node.trace(), "partition begins anew: the disk of its only replica")
            self.assertEqual(read(), b"")
            self.assertEqual(nodes.spate("consume", "three", "-o", "start", "-e"), b"kept\n")

            # The old directory is not that node any more; trying costs nothing.
            node.stop()
            os.rename(node.data, node.data + ".new")
            os.rename(old, node.data)
            node.start()
            words = ("cluster", "health", "--node", str(node.number))
            alone = lambda: b"controller: it has no leader" in nodes.run(*words).stdout
            cluster.wait_for("what it says of itself", alone, 10)
            node.stop()
            os.rename(node.data, old)
            os.rename(node.data + ".new", node.data)
            node.start()
            nodes.wait_healthy(30)

            text = self.old_records(nodes, old)["one", 0]
            half = text[: text.index(b"\n", len(text) // 2) + 1]
            for part in (half, text):
                words = ("-p", "0", "-f", r"%T\t%k{json}\t%v{json}\n", "--name", "rescue")
                nodes.spate("produce", "one", *words, input=part)
            self.assertEqual(read(), before)

            # A path whose parent is missing, as without the disk on which it is, starts nothing.
            node.stop()
            os.makedirs(node.data + ".mount")
            node.data = os.path.join(node.data + ".mount", "spate", "data")
            done = subprocess.run([cluster.SPATED, "--config", node.config, "--set",
                                   f"data.dir={node.data}"], capture_output=True, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"cannot be made", done.stderr)

    def test_backup_older_copy_of_a_directory_is_refused(self):
        with cluster.Cluster(3) as nodes:
            self.fill(nodes)
            nodes.wait_healthy()
            three = nodes.nodes[2]
            three.stop()
            shutil.copytree(three.data, three.data + ".copy")
            three.start()
            nodes.wait_healthy()
            three.stop()  # nothing else has happened: even this copy is too old
            os.rename(three.data, three.data + ".right")
            os.rename(three.data + ".copy", three.data)
            three.start()
            text = "node 3 runs on an older copy of its data directory"
            cluster.wait_for("the node to hear of it", lambda: text in three.trace())
            cluster.wait_for("others to tell", lambda: text in nodes.nodes[0].trace())
            self.assertEqual(nodes.health()["nodes_down"], [3])
            three.kill()
            shutil.rmtree(three.data)
            os.rename(three.data + ".right", three.data)
            three.start()
            nodes.wait_healthy()


if __name__ == "__main__":
    cluster.main()
