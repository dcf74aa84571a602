#!/usr/bin/env python3
"""What docs/operations.md says of backups: topics as files, and a node's directory moved."""

import os
import shutil
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
