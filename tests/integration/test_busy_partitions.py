#!/usr/bin/env python3
"""Many partitions that are all written to as fast as it goes: each record travels once to each
follower, and no partition stands still. Counts, no times: a slow machine writes less."""

import unittest

import cluster
import exposition

PARTITIONS = 10
# Two followers, and a quarter more for a follower that is begun anew with. When answers that were
# late took back what was under way, it was some 140 times over.
SENT_PER_PRODUCED_MAX = 2.5


class BusyPartitionsTest(unittest.TestCase):
    def total(self, nodes, name):
        return sum(int(exposition.scrape(node)[name].sum()) for node in nodes.nodes)

    def test_every_record_is_sent_once_to_each_follower(self):
        # Elections have reasons of their own on a busy machine; they are not what is counted here.
        with cluster.Cluster(3, ["raft.election.timeout.ms=5000"]) as nodes:
            nodes.spate("topic", "create", "t", "-p", str(PARTITIONS), "-r", "3")
            nodes.wait_healthy(60)
            sent = self.total(nodes, "spate_replication_sent_bytes_total")
            produced = self.total(nodes, "spate_produced_bytes_total")
            report = nodes.spate_json(
                "bench", "produce", "-q", "-s", "1k", "-d", "4s", "-c", "4", "-t", "t")
            sent = self.total(nodes, "spate_replication_sent_bytes_total") - sent
            produced = self.total(nodes, "spate_produced_bytes_total") - produced
            self.assertEqual(report["failed"], 0)
            self.assertGreater(produced, 1024 * 1024)
            self.assertLess(sent / produced, SENT_PER_PRODUCED_MAX)
            self.assertEqual(self.empty_partitions(nodes), [])

    def empty_partitions(self, nodes):
        rows = nodes.spate_json("offsets", "t")["partitions"]
        return [row["partition"] for row in rows if row["end"] == row["start"]]


if __name__ == "__main__":
    unittest.main(verbosity=2)
