#!/usr/bin/env python3
"""Groups whose topics are gone, groups that are gone, and requests that come too late."""

import unittest

import msgpack

import cluster
import rpc


class GoneTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = cluster.Cluster(1)
        cls.cluster.__enter__()
        cls.address = cls.cluster.nodes[0].address
        calls = rpc.Leaders([cls.address])
        calls.call("topic.create", name="t", partitions=2, replicas=1)
        calls.call("topic.create", name="wide", partitions=300, replicas=1)
        cls.cluster.wait_healthy()
        calls.close()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__(None, None, None)

    def setUp(self):
        self.client = rpc.Client(self.address)
        self.addCleanup(self.client.close)
        self.group = self.id().rsplit(".", 1)[-1]
        self.until_led()

    def until_led(self):
        """Waits for the group's coordinator, without making the group."""
        calls = rpc.Leaders([self.address])
        self.addCleanup(calls.close)
        self.assertEqual(calls.call("group.committed", group=self.group), {"offsets": []})

    def call(self, method, **fields):
        return self.client.call(method, group=self.group, **fields)

    def refused(self, code, method, **fields):
        with self.assertRaises(rpc.Refused) as caught:
            self.call(method, **fields)
        self.assertEqual(caught.exception.code, code)

    def committed(self):
        rows = self.call("group.committed")["offsets"]
        return {(row["topic"], row["partition"]): row["offset"] for row in rows}

    def exists(self):
        names = [row["group"] for row in self.client.call("group.list")["groups"]]
        return self.group in names

    def together(self, *requests):
        """The results of requests that are on their way at once, an error where there is one."""
        messages = []
        for number, (method, fields) in enumerate(requests):
            messages.append([0, number, method, [{"group": self.group, **fields}]])
        self.client.socket.sendall(b"".join(map(msgpack.packb, messages)))
        answers = {}
        for _ in messages:
            _, number, error, result = self.client.receive()
            answers[number] = result if error is None else error.partition(": ")[0]
        return [answers[number] for number in range(len(messages))]

    # ---- topics that are gone -------------------------------------------------------------------

    def test_commit_that_names_a_deleted_topic_stores_the_others(self):
        gone = self.client.call("topic.create", name="gone", partitions=1, replicas=1)["id"]
        self.client.call("topic.delete", name="gone")
        kept = {"topic": "t", "partition": 1, "offset": 7}
        lost = {"topic": "gone", "topic_id": gone, "partition": 0, "offset": 9}
        beyond = {"topic": "t", "partition": 2, "offset": 3}
        self.refused("UNKNOWN_TOPIC", "group.commit", offsets=[kept, lost])
        self.assertEqual(self.committed(), {})
        answer = self.call("group.commit", offsets=[lost, kept, beyond], partly=True, seen=2**40)
        self.assertTrue(answer["stored"])
        self.assertEqual(
            answer["refused"],
            [{**lost, "error": "UNKNOWN_TOPIC"}, {**beyond, "error": "UNKNOWN_PARTITION"}],
        )
        self.assertEqual(self.committed(), {("t", 1): 7})
        # One that this node has not heard of yet may exist: nothing is said of it.
        unheard = {**lost, "topic": "t", "topic_id": 2**40}
        self.refused("NOT_READY", "group.commit", offsets=[kept, unheard], partly=True)
        unheard["topic"] = "unheard"
        self.refused("NOT_READY", "group.commit", offsets=[kept, unheard], partly=True)
        # A namesake is another topic.
        self.client.call("topic.create", name="gone", partitions=1, replicas=1)
        answer = self.call("group.commit", offsets=[lost], partly=True)
        self.assertEqual(answer, {"refused": [{**lost, "error": "UNKNOWN_TOPIC"}]})
        self.assertEqual(self.committed(), {("t", 1): 7})

    # ---- wide commits ---------------------------------------------------------------------------

    @staticmethod
    def wide(partitions, offset, seen):
        offsets = [{"topic": "wide", "partition": p, "offset": offset} for p in partitions]
        return "group.commit", {"offsets": offsets, "seen": seen}

    def test_commits_of_many_partitions_refuse_only_what_they_share(self):
        seen = 2**40
        down = range(149, -1, -1)  # in any order
        one, two, three = self.together(
            self.wide(down, 1, seen),
            self.wide(range(150, 300), 1, seen),
            self.wide([299, 0], 2, seen),
        )
        self.assertEqual([a["stored"] for a in (one, two, three)], [True, True, False])
        self.assertEqual(set(self.committed().values()), {1})
        # Of two for one partition in a commit the last one counts.
        self.call("group.commit", offsets=[
            {"topic": "wide", "partition": p, "offset": o} for p, o in ((5, 30), (4, 1), (5, 20))
        ])
        self.assertEqual(self.committed()["wide", 5], 20)

    # ---- groups that are gone -------------------------------------------------------------------

    def test_nothing_but_offsets_and_members_makes_a_group(self):
        offsets = [{"topic": "t", "partition": 0, "offset": 1}]
        lost = [{"topic": "never", "partition": 0, "offset": 1}]
        beat = {"member": "m", "generation": 1}
        for make in (False, True):
            if make:
                self.call("group.commit", offsets=offsets)
                self.assertEqual(self.call("group.commit", offsets=[]), {})
                self.call("group.delete")
            self.refused("NOT_FOUND", "group.commit", offsets=[])
            self.refused("UNKNOWN_MEMBER", "group.commit", offsets=[], **beat)
            self.refused("UNKNOWN_MEMBER", "group.heartbeat", **beat)
            self.assertEqual(len(self.call("group.commit", offsets=lost, partly=True)), 1)
            self.assertFalse(self.exists())

    def test_renewal_behind_a_deletion_on_its_way_makes_no_group(self):
        offsets = [{"topic": "t", "partition": 0, "offset": 1}]
        self.call("group.commit", offsets=offsets)
        answers = self.together(("group.delete", {}), ("group.commit", {"offsets": []}))
        self.assertEqual(answers, [{}, "NOT_FOUND"])
        self.assertFalse(self.exists())
        answers = self.together(
            ("group.commit", {"offsets": offsets}), ("group.commit", {"offsets": []})
        )
        self.assertEqual(answers, [{}, {}])
        self.assertTrue(self.exists())

    # ---- requests that come too late ------------------------------------------------------------

    def test_late_deletion_leaves_a_group_that_was_used_since(self):
        offsets = [{"topic": "t", "partition": 0, "offset": 1}]
        self.call("group.commit", offsets=offsets)
        answer = self.call("group.delete", seen=0)
        self.assertFalse(answer["deleted"])
        seen = answer["seen"]
        self.call("group.commit", offsets=offsets)
        self.assertFalse(self.call("group.delete", seen=seen)["deleted"])
        self.assertEqual(self.call("group.delete"), {})  # who does not compare
        self.refused("NOT_FOUND", "group.delete", seen=seen)
        member = self.call("group.join", topics=["t"])["member"]
        self.call("group.leave", member=member)  # a group without offsets, another one by now
        self.assertFalse(self.call("group.delete", seen=seen)["deleted"])
        seen = self.call("group.delete", seen=0)["seen"]
        answer = self.call("group.delete", seen=seen)
        self.assertTrue(answer["deleted"])
        self.assertGreater(answer["seen"], seen)
        self.assertFalse(self.exists())
        # nor one that is about to be used
        self.call("group.commit", offsets=offsets)
        answers = self.together(
            ("group.commit", {"offsets": offsets}), ("group.delete", {"seen": 2**40})
        )
        self.assertEqual([answers[0], answers[1]["deleted"]], [{}, False])
        self.assertTrue(self.exists())

    def test_late_seek_leaves_newer_offsets(self):
        offsets = [{"topic": "t", "partition": 0, "offset": 5}]
        seek = {"topic": "t", "partition": 0, "to": 1}
        self.call("group.commit", offsets=offsets + [{**offsets[0], "partition": 1}])
        answer = self.call("group.seek", **seek, seen=0)
        self.assertEqual(set(answer), {"stored", "seen"})
        self.assertFalse(answer["stored"])
        self.assertEqual(self.committed(), {("t", 0): 5, ("t", 1): 5})
        answer = self.call("group.seek", **seek, seen=answer["seen"])
        self.assertTrue(answer["stored"])
        self.assertEqual(answer["offsets"], [{"topic": "t", "partition": 0, "offset": 1}])
        seen = answer["seen"]
        self.call("group.commit", offsets=offsets)
        self.assertFalse(self.call("group.seek", **seek, seen=seen)["stored"])
        self.assertEqual(self.committed(), {("t", 0): 5, ("t", 1): 5})
        seek["partition"] = 1  # was not set since
        self.assertTrue(self.call("group.seek", **seek, seen=seen)["stored"])
        self.assertEqual(self.committed(), {("t", 0): 5, ("t", 1): 1})
        seek["partition"] = 0
        answers = self.together(
            ("group.commit", {"offsets": offsets}), ("group.seek", {**seek, "seen": 2**40})
        )
        self.assertEqual([answers[0], answers[1]["stored"]], [{}, False])
        self.assertEqual(len(self.call("group.seek", **seek)), 1)  # who does not compare
        self.assertEqual(self.committed(), {("t", 0): 1, ("t", 1): 1})


if __name__ == "__main__":
    cluster.main()
