#!/usr/bin/env python3
"""Requests that arrive long after their sender gave them up: they must not undo what came after.

What was written to a connection is delivered after the program has closed it, and even ended, when
the network was down in between. A proxy stands for that network here."""

import socket
import subprocess
import threading
import time
import unittest

import msgpack

import cluster
import rpc


class Network:
    """Passes bytes on between clients and a node. The connection on which `word` comes first after
    `hold` is held back from there on; `release` delivers what it had, as if nothing had been."""

    def __init__(self, node):
        self.node = node
        self.word = None
        self.held = threading.Event()
        self.gone = threading.Event()  # the client has closed that connection
        self.held_end = None  # the client's end of it
        self.free = threading.Event()
        self.delivered = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self):
        self.free.set()
        self.listener.close()

    def hold(self, word):
        self.word = word

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
                host, port = self.node.address.rsplit(":", 1)
                far = socket.create_connection((host, int(port)))
            except OSError:
                return
            for target, *ends in ((self.upwards, near, far), (self.copy, far, near)):
                threading.Thread(target=target, args=ends, daemon=True).start()

    @staticmethod
    def copy(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def upwards(self, near, far):
        try:
            while data := near.recv(65536):
                if self.word is not None and self.word in data:
                    self.word = None
                    self.keep(near, far, data)
                    return
                far.sendall(data)
            far.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def cut(self):
        """Closes the connection that is held back, for the client."""
        self.held_end.shutdown(socket.SHUT_RDWR)

    def keep(self, near, far, data):
        self.held_end = near
        self.held.set()
        kept = [data]
        try:
            while more := near.recv(65536):
                kept.append(more)
        except OSError:
            pass
        self.gone.set()
        self.free.wait()
        far.sendall(b"".join(kept))
        far.shutdown(socket.SHUT_WR)  # what stands before it is carried out all the same
        self.delivered.set()


class LateRequestsTest(unittest.TestCase):
    def start(self, size, through_network=False):
        nodes = cluster.Cluster(size)
        self.addCleanup(nodes.close)
        network = None
        if through_network:
            network = Network(nodes.nodes[0])
            self.addCleanup(network.close)
            nodes.nodes[0].settings = [f"advertise.client={network.address}"]
            nodes.servers = network.address
        nodes.__enter__()
        calls = rpc.Leaders([node.address for node in nodes.nodes])
        self.addCleanup(calls.close)
        calls.call("topic.create", name="t", partitions=2, replicas=size)
        nodes.wait_healthy()
        return nodes, calls, network

    def client(self, node):
        client = rpc.Client(node.address)
        self.addCleanup(client.close)
        return client

    @staticmethod
    def produce(calls, count, value=b"x"):
        records = [{"v": value} for _ in range(count)]
        calls.call("produce", topic="t", partition=0, records=records)

    @staticmethod
    def end(calls):
        return calls.call("offsets", topic="t", partition=0)["offset"]

    @staticmethod
    def committed(calls, group, partition=0):
        rows = calls.call("group.committed", group=group, topics=["t"])["offsets"]
        return {row["partition"]: row["offset"] for row in rows}.get(partition)

    @staticmethod
    def commit(calls, group, offset, partition=0, **fields):
        offsets = [{"topic": "t", "partition": partition, "offset": offset}]
        return calls.call("group.commit", group=group, offsets=offsets, **fields)

    def commit_until_stored(self, calls, group, offset, **fields):
        """As docs/protocol.md tells one to; what the answer named at last."""
        answer = self.commit(calls, group, offset, seen=0, **fields)
        while not answer["stored"]:
            answer = self.commit(calls, group, offset, seen=answer["seen"], **fields)
        return answer["seen"]

    # ---- commits --------------------------------------------------------------------------------

    def test_late_commit_is_not_stored_behind_a_newer_one(self):
        nodes, calls, _ = self.start(1)
        late = self.client(nodes.node(1))
        seen = self.commit_until_stored(calls, "g", 5)
        newer = self.commit(calls, "g", 50, seen=seen)
        self.assertTrue(newer["stored"])
        self.assertGreater(newer["seen"], seen)
        answer = self.commit(late, "g", 10, seen=seen)
        self.assertFalse(answer["stored"])
        self.assertEqual(self.committed(calls, "g"), 50)
        # another partition was not set since, and who does not compare is stored
        self.assertTrue(self.commit(late, "g", 7, 1, seen=seen)["stored"])
        self.assertEqual(self.commit(late, "g", 3), {})
        self.assertEqual(self.committed(calls, "g"), 3)
        # nor does it bring back what was deleted
        calls.call("group.delete", group="g")
        self.assertFalse(self.commit(late, "g", 50, seen=newer["seen"])["stored"])
        self.assertIsNone(self.committed(calls, "g"))

    def test_late_commit_is_not_stored_behind_one_on_its_way(self):
        nodes, calls, _ = self.start(1)
        client = self.client(nodes.node(1))
        seen = self.commit_until_stored(calls, "g", 5)
        fields = {"group": "g", "seen": seen}
        requests = []
        for number, offset in enumerate((50, 10)):  # both before the first one is in the log
            offsets = [{"topic": "t", "partition": 0, "offset": offset}]
            requests.append([0, number, "group.commit", [{**fields, "offsets": offsets}]])
        client.socket.sendall(b"".join(map(msgpack.packb, requests)))
        answers = {number: result for _, number, _, result in
                   (client.receive() for _ in requests)}
        self.assertEqual([answers[n]["stored"] for n in range(2)], [True, False])
        self.assertEqual(self.committed(calls, "g"), 50)

    def test_late_commit_meets_its_old_leader_again(self):
        nodes, calls, _ = self.start(3)
        nodes.wait_healthy()
        seen = self.commit_until_stored(calls, "g", 5)
        first = nodes.node(calls.call("group.find", group="g")["leader"])
        first.kill()
        newer = self.commit(calls, "g", 50, seen=seen)
        while not newer["stored"]:
            newer = self.commit(calls, "g", 50, seen=newer["seen"])
        first.start()
        nodes.wait_healthy()
        # Its place among the replicas is the first: the others hand over to it.
        leads_again = lambda: calls.call("group.find", group="g")["leader"] == first.number
        cluster.wait_for("the old leader again", leads_again, 60, 0.1)
        with rpc.Client(first.address) as late:
            answer = self.commit(late, "g", 10, seen=seen)
        self.assertFalse(answer["stored"])
        self.assertEqual(self.committed(calls, "g"), 50)
        self.assertTrue(self.commit(calls, "g", 60, seen=answer["seen"])["stored"])
        for node in nodes.nodes:  # what they know of indexes now comes from disks
            node.stop()
        for node in nodes.nodes:
            node.start()
        nodes.wait_healthy()
        self.assertFalse(self.commit(calls, "g", 50, seen=answer["seen"])["stored"])
        self.assertEqual(self.committed(calls, "g"), 60)

    def wait_committed(self, calls, offset):
        cluster.wait_for(f"{offset} committed", lambda: self.committed(calls, "g") == offset, 30)

    # ---- what people do to groups ---------------------------------------------------------------

    def late(self, network, nodes, *command):
        """Runs a command whose request is delivered when the next line of the test says so."""
        network.hold(b"group." + command[1].encode())
        done = nodes.run(*command, "--timeout", "3s")
        self.assertNotEqual(done.returncode, 0)
        self.assertTrue(network.gone.wait(10))

    def test_late_deletion_of_a_group_leaves_the_next_one_alone(self):
        nodes, calls, network = self.start(1, through_network=True)
        self.commit(calls, "g", 5)
        self.late(network, nodes, "group", "delete", "g", "--yes")
        nodes.spate("group", "delete", "g", "--yes")
        self.commit(calls, "g", 50)
        network.free.set()
        self.assertTrue(network.delivered.wait(10))
        self.commit(calls, "h", 1)  # behind it
        self.assertEqual(self.committed(calls, "g"), 50)

    def test_late_seek_does_not_undo_newer_commits(self):
        nodes, calls, network = self.start(1, through_network=True)
        self.commit(calls, "g", 5)
        self.late(network, nodes, "group", "seek", "g", "--to", "0", "-t", "t:0")
        nodes.spate("group", "seek", "g", "--to", "0", "-t", "t:0")
        self.assertEqual(self.committed(calls, "g"), 0)
        self.commit(calls, "g", 50)
        network.free.set()
        self.assertTrue(network.delivered.wait(10))
        self.commit(calls, "h", 1)  # behind it
        self.assertEqual(self.committed(calls, "g"), 50)

    # ---- topics of the same name ----------------------------------------------------------------

    def test_late_deletion_leaves_the_next_topic_alone(self):
        nodes, calls, network = self.start(1, through_network=True)
        network.hold(b"topic.delete")
        done = nodes.run("topic", "delete", "t", "--yes", "--timeout", "3s")
        self.assertNotEqual(done.returncode, 0)
        self.assertTrue(network.gone.wait(10))
        calls.call("topic.delete", name="t")
        calls.call("topic.create", name="t", partitions=2, replicas=1)
        nodes.wait_healthy()
        self.produce(calls, 100)
        end = self.end(calls)
        network.free.set()
        self.assertTrue(network.delivered.wait(10))
        # changes take a while: another one behind it shows that it is through
        calls.call("topic.create", name="u", partitions=1, replicas=1)
        self.assertGreaterEqual(end, 100)
        self.assertEqual(self.end(calls), end)

    def test_deletion_by_id(self):
        nodes, calls, _ = self.start(3)
        node = nodes.node(1)
        with rpc.Client(node.address) as client:
            old = client.call("metadata", topics=["t"])["topics"][0]["id"]
            client.call("topic.delete", name="t", topic_id=old)
            new = client.call("topic.create", name="t", partitions=1)["id"]
            self.assertNotEqual(new, old)
            with self.assertRaisesRegex(rpc.Refused, "UNKNOWN_TOPIC: .*made anew"):
                client.call("topic.delete", name="t", topic_id=old)
            self.assertEqual(client.call("metadata", topics=["t"])["topics"][0]["id"], new)
        nodes.spate("topic", "delete", "t", "--yes")
        self.assertNotIn("t", [row["name"] for row in calls.call("topic.list")["topics"]])

    def test_offsets_of_a_deleted_topic_are_not_those_of_its_namesake(self):
        nodes, calls, _ = self.start(1)
        old = calls.call("metadata", topics=["t"])["topics"][0]["id"]
        for _ in range(20):
            self.produce(calls, 20, b"old" * 1000)
        read = ("consume", "t", "-g", "g", "-o", "start")
        with nodes.popen(*read, stdout=subprocess.PIPE) as consumer:
            try:
                consumer.stdout.read(1000)  # then it waits: much has been fetched
                self.wait_full(consumer)
                calls.call("topic.delete", name="t")
                calls.call("topic.create", name="t", partitions=2, replicas=1)
                nodes.wait_healthy()
                self.produce(calls, 20, b"new")
                lines = []
                reader = threading.Thread(target=lambda: lines.extend(consumer.stdout))
                reader.start()  # the consumer goes on, and learns whose records it has
                self.wait_committed(calls, self.end(calls))
            finally:
                consumer.kill()
            reader.join()
        self.assertEqual(lines.count(b"new\n"), self.end(calls))
        offsets = [{"topic": "t", "topic_id": old, "partition": 1, "offset": 400}]
        with self.assertRaisesRegex(rpc.Refused, "UNKNOWN_TOPIC: "):
            calls.call("group.commit", group="other", offsets=offsets)
        self.assertIsNone(self.committed(calls, "other", 1))

    # ---- a producer that another one has followed -----------------------------------------------

    def test_fenced_producer_says_once_what_has_happened(self):
        """Also one that does not know whether its records are stored."""
        nodes, calls, network = self.start(1, through_network=True)
        lines = b"".join(b"line %d\n" % i for i in range(50))
        produce = ("produce", "t", "--name", "load", "-p", "0")
        network.hold(b"\xa7produce")
        older = nodes.popen(
            *produce, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        older.stdin.write(lines)
        older.stdin.close()
        self.assertTrue(network.held.wait(20))
        nodes.spate(*produce, input=lines)
        network.cut()
        words = older.stderr.read().decode().splitlines()
        self.assertEqual((older.wait(20), older.stdout.read()), (1, b""), words)
        older.stdout.close()
        older.stderr.close()
        self.assertEqual(len(words), 3, words)
        self.assertIn("nothing is stored under this name yet", words[0])
        self.assertIn("spate: PRODUCER_FENCED: producer `load` ended here: a process that began "
                      "later took over", words[1])
        self.assertIn("one process at a time", words[1])
        self.assertEqual(
            words[2], "spate: 50 of 50 records failed, 50 of these may be stored"
        )
        self.assertEqual(self.end(calls), 50)

    def wait_full(self, consumer):
        """Until it does not run any more: its output is full."""

        def waits():
            with open(f"/proc/{consumer.pid}/wchan", encoding="utf-8") as handle:
                return "pipe" in handle.read()

        cluster.wait_for("a full pipe", waits, 10)


if __name__ == "__main__":
    cluster.main()
