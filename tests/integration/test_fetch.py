#!/usr/bin/env python3
"""What a fetch waits for, and what it does not wait for."""

import os
import signal
import socket
import time
import unittest

import msgpack

import cluster
import rpc

BATCH_BYTES = 700 * 1024
SMALL_BYTES = 400 * 1024  # one fits into an answer to a peer that is behind


def fetched(sock, offsets):
    """Asks from all of the offsets at once; the sizes of the answers."""
    ask = {"topic": "t", "partition": 0, "max_bytes": 4 * 1024 * 1024}
    sock.sendall(b"".join(msgpack.packb([0, number, "fetch", [{**ask, "offset": offset}]])
                          for number, offset in enumerate(offsets)))
    unpacker = msgpack.Unpacker(max_buffer_size=16 * 1024 * 1024)
    answers = 0
    while answers < len(offsets):
        unpacker.feed(sock.recv(65536))
        for _, number, error, result in unpacker:
            assert error is None and number == answers, (number, error)
            answers += 1
            yield len(result["records"])


class FetchTest(unittest.TestCase):
    def client(self, node):
        client = rpc.Client(node.address)
        self.addCleanup(client.close)
        return client

    def append(self, client, values, **fields):
        return client.call(
            "produce", topic="t", partition=0, records=rpc.encode_batch(values), **fields
        )["offset"]

    def test_fetch_does_not_wait_for_what_cannot_come_into_one_answer(self):
        with cluster.Cluster(1) as nodes:
            nodes.spate("topic", "create", "t", "-p", "1", "-r", "1")
            client = self.client(nodes.node(1))
            for _ in range(2):
                self.append(client, [b"x" * BATCH_BYTES])
            begin = time.monotonic()
            size = 1024 * 1024
            for offset in (0, 1):
                fields = {"max_wait_ms": 2000, "min_bytes": size, "max_bytes": size}
                answer = client.call("fetch", topic="t", partition=0, offset=offset, **fields)
                waited = time.monotonic() - begin
                self.assertGreater(len(answer["records"]), BATCH_BYTES)
                # the first cannot grow, the second could
                self.assertEqual(waited > 1.9, offset == 1, (offset, waited))

    def test_fetch_of_one_who_has_not_taken_the_last_answer_is_small(self):
        with cluster.Cluster(1) as nodes:
            nodes.spate("topic", "create", "t", "-p", "1", "-r", "1")
            client = self.client(nodes.node(1))
            for _ in range(8):
                self.append(client, [b"x" * SMALL_BYTES])
            host, port = nodes.node(1).address.rsplit(":", 1)
            with socket.socket() as slow:
                slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                slow.settimeout(30)
                slow.connect((host, int(port)))
                first = next(fetched(slow, [0]))
                self.assertLess(first, 2 * SMALL_BYTES)  # nobody knows whether it will be taken
                cluster.wait_for("it is known to take its answers",
                                 lambda: next(fetched(slow, [0])) > 7 * SMALL_BYTES, 20)
                sizes = list(fetched(slow, [0, 0, 0]))
                self.assertGreater(sizes[0], 7 * SMALL_BYTES)
                for size in sizes[1:]:  # asked for while the first one was on its way
                    self.assertTrue(SMALL_BYTES < size < 2 * SMALL_BYTES, sizes)
                cluster.wait_for("all was taken", lambda: next(fetched(slow, [0])) == sizes[0], 20)

    def refusal(self, node, offset):
        with self.assertRaises(rpc.Refused) as refused:
            self.client(node).call("fetch", topic="t", partition=0, offset=offset)
        return refused.exception.code

    def test_fetch_above_the_end_is_refused_only_by_who_surely_leads(self):
        with cluster.Cluster(3) as nodes:
            nodes.spate("topic", "create", "t", "-p", "1", "-r", "3")
            leader = nodes.leader("t")
            self.append(self.client(leader), [b"x"])
            others = [node.process.pid for node in nodes.nodes if node is not leader]
            for pid in others:
                os.kill(pid, signal.SIGSTOP)
            try:
                # for all that it knows the others may have elected one of them, and gone on
                self.assertIn(self.refusal(leader, 99), ("LEADER_UNKNOWN", "NOT_LEADER"))
            finally:
                for pid in others:
                    os.kill(pid, signal.SIGCONT)
            nodes.wait_healthy()
            deadline = time.monotonic() + 20
            code = "NOT_READY"  # a leader may yet have to commit in its own term
            while code in ("NOT_READY", "NOT_LEADER", "LEADER_UNKNOWN"):
                self.assertLess(time.monotonic(), deadline, code)
                code = self.refusal(nodes.leader("t"), 99)
            self.assertEqual(code, "OFFSET_OUT_OF_RANGE")


if __name__ == "__main__":
    cluster.main()
