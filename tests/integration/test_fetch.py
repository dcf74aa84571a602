#!/usr/bin/env python3
"""What a fetch waits for, and what it does not wait for."""

import os
import signal
import time
import unittest

import cluster
import rpc

BATCH_BYTES = 700 * 1024


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
