#!/usr/bin/env python3
"""Consumer groups against three real nodes: members come and go, partitions move one by one."""

import re
import threading
import time
import unittest
import urllib.request

import cluster
import rpc
from members import Member, pairs, parts, settle

TOPIC = "t"


class GroupsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.nodes = cluster.Cluster(3)
        cls.nodes.__enter__()
        cls.servers = [node.address for node in cls.nodes.nodes]
        cls.calls = rpc.Leaders(cls.servers)
        cls.calls.call("topic.create", name=TOPIC, partitions=100)
        cls.nodes.wait_healthy()

    @classmethod
    def tearDownClass(cls):
        cls.calls.close()
        cls.nodes.__exit__(None, None, None)

    def setUp(self):
        self.addCleanup(self.report)

    def report(self):
        for _, error in getattr(self._outcome, "errors", []):
            if error is not None:
                self.nodes.report()

    def member(self, group, **fields):
        member = Member(self.servers, group, **{"topics": [TOPIC], **fields})
        self.addCleanup(member.close)
        return member

    def refused(self, code, call, *arguments, **fields):
        with self.assertRaises(rpc.Refused) as caught:
            call(*arguments, **fields)
        self.assertEqual(caught.exception.code, code, str(caught.exception))
        return str(caught.exception)

    def assert_shared_out(self, members, count):
        """Every partition has one owner, and nobody has two more than another."""
        owned = [pair for member in members for pair in member.owned]
        self.assertEqual(len(owned), count)
        self.assertEqual(len(set(owned)), count)
        loads = [len(member.owned) for member in members]
        self.assertLessEqual(max(loads) - min(loads), 1, loads)

    def coordinator(self, group):
        found = self.calls.call("group.find", group=group)
        return self.nodes.node(found["leader"])

    # ---- members --------------------------------------------------------------------------------

    def test_groups_eleventh_member_pauses_only_what_it_gets(self):
        members = [self.member("ten") for _ in range(10)]
        settle(members)
        self.assert_shared_out(members, 100)
        times = []
        for _ in range(5):
            for member in members:
                member.lost = []
            before = {pair: member for member in members for pair in member.owned}
            started = time.monotonic()
            eleventh = self.member("ten")
            self.assertEqual(len(eleventh.owned), 0, "they are still owned by others")
            self.assertEqual(len(eleventh.pending), 9)
            settle([*members, eleventh])
            times.append(time.monotonic() - started)
            moved = [pair for member in members for pair in member.lost]
            self.assertEqual(set(moved), eleventh.owned, "nothing else was taken away")
            self.assertEqual(len(moved), 9)
            self.assert_shared_out([*members, eleventh], 100)
            for pair, member in before.items():
                self.assertTrue(pair in member.owned or pair in eleventh.owned)
            eleventh.leave()
            settle(members)
        median = sorted(times)[2] * 1000
        print(f"9 of 100 partitions paused for {median:.0f} ms", end=" ", flush=True)
        self.assertLess(median, 500)

    def test_groups_partition_moves_only_when_it_is_released(self):
        first = self.member("two")
        self.assertEqual(len(first.owned), 100)
        second = self.member("two")
        self.assertEqual((len(second.owned), len(second.pending)), (0, 50))
        had = set(first.owned)
        answer = first.beat()
        revoked = pairs(answer["revoke"])
        self.assertEqual(len(revoked), 50)
        second.beat()
        self.assertEqual(second.owned, set(), "the first still reads them")
        first.commit(7)  # what does not move goes on
        first.commit(8, sorted(revoked))  # and so does what is not released yet
        first.owned = had - set(sorted(revoked)[:1])  # lets go of one alone
        first.beat()
        second.beat()
        self.assertEqual(second.owned, set(sorted(revoked)[:1]))
        first.owned = had - revoked
        first.beat()
        second.beat()
        self.assertEqual(second.owned, revoked)
        self.refused("GROUP_FENCED", first.commit, 9, sorted(revoked))

    def test_groups_long_poll_is_answered_by_news(self):
        first = self.member("poll", session_ms=20000)
        started = time.monotonic()
        first.beat(max_wait_ms=300)
        self.assertGreater(time.monotonic() - started, 0.25, "nothing has changed")
        got = []
        thread = threading.Thread(target=lambda: got.append(first.beat(max_wait_ms=9000)))
        thread.start()
        time.sleep(0.2)
        started = time.monotonic()
        self.member("poll")
        thread.join(5)
        self.assertLess(time.monotonic() - started, 1.0)
        self.assertEqual(len(pairs(got[0]["revoke"])), 50)

    def test_groups_heartbeats_end_with_their_connection(self):
        """Whoever hangs up takes nobody's place among those who wait."""
        member = self.member("gone", session_ms=60000)
        address = self.coordinator("gone").address
        beat = dict(group="gone", member=member.id, generation=member.generation)
        for _ in range(40):  # 255 each are more than may wait at one coordinator
            with rpc.Client(address) as client:
                for _ in range(255):
                    client.send("group.heartbeat", {**beat, "max_wait_ms": 30000})
                ping = client.send("ping", {})
                while client.receive()[1] != ping:
                    pass
        with rpc.Client(address) as client:
            self.assertEqual(client.call("group.heartbeat", **beat, max_wait_ms=100)["member"],
                             member.id)

    def lost_and_regained(self, group):
        """A member that has not noticed that half of what it has was another's for a while, what
        it has, and that half."""
        slow = self.member(group, rebalance_ms=1000, session_ms=20000)
        had = set(slow.owned)
        other = self.member(group, session_ms=20000)
        revoked = pairs(slow.beat()["revoke"])

        def released():
            other.beat()
            return other.owned == revoked

        cluster.wait_for("the other has what was revoked", released, 5)
        other.commit(9)
        other.leave()

        def regained():
            described = self.calls.call("group.describe", group=group)
            return pairs(described["members"][0]["owned"]) == had

        cluster.wait_for("all is back at the first", regained, 5)
        return slow, had, revoked

    def test_groups_partition_lost_and_regained_unnoticed_is_begun_anew(self):
        slow, had, revoked = self.lost_and_regained("regain")
        seen = {"member": slow.id, "generation": slow.generation, "owned": parts(had)}
        again = {"group": "regain", "topics": [TOPIC], "rebalance_ms": 1000, "session_ms": 20000}
        for method, fields in (("group.heartbeat", {"group": "regain"}), ("group.join", again)):
            answer = self.calls.call(method, **fields, **seen)
            self.assertEqual(pairs(answer["revoke"]), revoked, "it would go on where it was")
            self.assertEqual(pairs(answer["assigned"]), had - revoked)
        slow.generation = answer["generation"]
        seen["generation"] = slow.generation
        answer = self.calls.call("group.heartbeat", group="regain", **seen)
        self.assertEqual(pairs(answer["revoke"]), revoked, "until it has given it up, once")
        self.refused("GROUP_FENCED", slow.commit, 5, sorted(revoked)[:1])
        slow.commit(5, sorted(had - revoked))
        slow.owned = had - revoked
        slow.beat()
        self.assertEqual(slow.owned, had)
        slow.commit(10)

    def test_groups_only_partition_lost_and_regained_keeps_the_generation_back(self):
        for topic in ("only", "only-later"):
            self.calls.call("topic.create", name=topic, partitions=1)
        slow = self.member("only", topics=["only"], session_ms=20000)
        self.assertEqual(slow.owned, {("only", 0)})
        asked = {"group": "only", "member": slow.id, "owned": [], "session_ms": 20000}
        for topics in (["only-later"], ["only"]):  # of which it hears nothing
            answer = self.calls.call("group.join", topics=topics, **asked)
        self.assertEqual(pairs(answer["assigned"]), {("only", 0)})
        self.assertGreater(answer["generation"], slow.generation)
        seen = {"member": slow.id, "generation": slow.generation, "owned": parts({("only", 0)})}
        answer = self.calls.call("group.heartbeat", group="only", **seen)
        self.assertIn(("only", 0), pairs(answer["revoke"]), "it would go on where it was")
        self.assertEqual(answer["generation"], slow.generation, "until it has given it up")

    def test_groups_what_members_own_counts_as_memory_of_clients(self):
        member = self.member("weight", session_ms=20000)
        node = self.coordinator("weight")
        beat = {"group": "weight", "member": member.id, "generation": member.generation}

        def held():
            page = urllib.request.urlopen(f"http://127.0.0.1:{node.http_port}/metrics", timeout=5)
            words = re.search(rb"^spate_client_memory_bytes ([0-9]+)$", page.read(), re.M)
            return int(words[1])

        many = [{"topic": TOPIC, "partitions": list(range(40000))}]  # 120 KB, kept as 640
        with rpc.Client(node.address) as client:
            client.send("group.heartbeat", {**beat, "owned": many, "max_wait_ms": 10000})
            cluster.wait_for("they are counted", lambda: held() > 600000, 5)
        cluster.wait_for("they are given back", lambda: held() < 100000, 5)

    def test_groups_member_that_leaves_frees_its_partitions(self):
        members = [self.member("leave") for _ in range(2)]
        settle(members)
        members[0].leave()
        settle(members[1:])
        self.assert_shared_out(members[1:], 100)
        self.refused("UNKNOWN_MEMBER", members[0].beat)
        self.refused("UNKNOWN_MEMBER", members[0].commit, 1)

    def test_groups_silent_member_is_expired(self):
        silent = self.member("silent", session_ms=1000)
        other = self.member("silent")
        settle([silent, other])

        def alone():
            other.beat()
            return len(other.owned) == 100

        started = time.monotonic()
        cluster.wait_for("the other has everything", alone, 5)
        took = time.monotonic() - started
        self.assertGreater(took, 0.5)
        self.refused("UNKNOWN_MEMBER", silent.beat)

    def test_groups_member_that_does_not_release_loses_that_alone(self):
        stuck = self.member("stuck", rebalance_ms=1000)
        had = set(stuck.owned)
        third = self.member("stuck", topics=["none"])  # not concerned by any of it
        other = self.member("stuck")
        revoked = pairs(stuck.beat()["revoke"])
        self.assertEqual(len(revoked), 50)
        stuck.commit(3, sorted(had))
        started = time.monotonic()

        def released():
            stuck.owned = had  # alive, but it goes on reading
            stuck.commit(4, sorted(had - revoked))
            stuck.beat()
            other.beat()
            return other.owned == revoked

        cluster.wait_for("the other has what was revoked", released, 5)
        took = time.monotonic() - started
        self.assertGreater(took, 0.7)
        self.assertLess(took, 2.0)
        stuck.owned = had
        answer = stuck.beat()
        self.assertEqual(pairs(answer["revoke"]), revoked, "it is told what it must not read")
        self.assertEqual(pairs(answer["assigned"]), had - revoked, "and keeps the rest")
        self.refused("GROUP_FENCED", stuck.commit, 5, sorted(revoked)[:1])
        stuck.commit(5)
        other.commit(6)
        third.beat()
        self.assertEqual(third.generation, stuck.generation, "nobody was assigned anew for it")
        waiting = self.member("stuck2", rebalance_ms=1000, session_ms=20000)
        had = set(waiting.owned)
        self.member("stuck2", session_ms=20000)
        waiting.beat()
        waiting.owned = had
        started = time.monotonic()
        answer = waiting.beat(max_wait_ms=9000)
        self.assertLess(time.monotonic() - started, 3.0, "a long poll learns of it at once")
        self.assertEqual(len(pairs(answer["revoke"])), 50)

    def test_groups_static_member_takes_its_place_back(self):
        before = self.member("static", instance="one", session_ms=20000)
        other = self.member("static", instance="two", session_ms=20000)
        settle([before, other])
        owned, generation = set(before.owned), before.generation
        after = self.member("static", instance="one", session_ms=20000)
        self.assertNotEqual(after.id, before.id)
        self.assertEqual((after.owned, after.generation), (owned, generation))
        other.beat()
        self.assertEqual((other.generation, other.lost), (generation, []))
        self.refused("UNKNOWN_MEMBER", before.commit, 1)
        fields = {"group": "static", "member": before.id, "instance": "one", "topics": [TOPIC]}
        self.refused("GROUP_FENCED", self.calls.call, "group.join", **fields)

    def test_groups_topics_come_and_go(self):
        member = self.member("topics", topics=["later", "gone"])
        self.assertEqual(member.owned, set())
        self.calls.call("topic.create", name="gone", partitions=2)
        self.calls.call("topic.create", name="later", partitions=3)

        def has(count):
            member.beat()
            return len(member.owned) == count

        cluster.wait_for("both topics", lambda: has(5), 5)
        member.commit(3)
        self.calls.call("topic.delete", name="gone")
        cluster.wait_for("one topic", lambda: has(3), 5)
        rows = self.calls.call("group.committed", group="topics")["offsets"]
        self.assertEqual({row["topic"] for row in rows}, {"later"})

    # ---- offsets --------------------------------------------------------------------------------

    def test_groups_commits_are_fenced_by_ownership_and_generation(self):
        first = self.member("fence")
        first.commit(5, metadata=None)
        stale = first.generation
        second = self.member("fence")
        settle([first, second])
        first.commit(6)
        self.refused("GROUP_FENCED", first.commit, 7, sorted(second.owned)[:1])
        self.refused("GROUP_FENCED", second.commit, 7, sorted(second.owned)[:1], generation=stale)
        self.refused("GROUP_FENCED", second.commit, 7, generation=second.generation + 1)
        self.refused("UNKNOWN_MEMBER", second.commit, 7, member="somebody")
        self.refused("GROUP_FENCED", second.commit, 7, member=None, generation=None)
        self.refused("UNKNOWN_TOPIC", second.commit, 7, [("nowhere", 0)])
        self.refused("UNKNOWN_PARTITION", second.commit, 7, [(TOPIC, 100)])
        fields = {"group": "fence", "topic": TOPIC, "partition": 0, "to": "earliest"}
        self.refused("GROUP_FENCED", self.calls.call, "group.seek", **fields)
        rows = self.calls.call("group.committed", group="fence", topics=[TOPIC])["offsets"]
        self.assertEqual(len(rows), 100)
        by_partition = {(row["topic"], row["partition"]): row["offset"] for row in rows}
        self.assertEqual({by_partition[pair] for pair in first.owned}, {6})
        self.assertEqual({by_partition[pair] for pair in second.owned}, {5})

    def test_groups_offsets_without_members(self):
        offsets = [{"topic": TOPIC, "partition": 3, "offset": 17, "metadata": "here"}]
        self.calls.call("group.commit", group="simple", offsets=offsets)
        rows = self.calls.call("group.committed", group="simple")["offsets"]
        self.assertEqual([(r["offset"], r["metadata"]) for r in rows], [(17, "here")])
        self.assertEqual(self.calls.call("group.committed", group="nobody")["offsets"], [])
        for topic in (TOPIC,):
            sought = self.calls.call("group.seek", group="simple", topic=topic, to=4)["offsets"]
        self.assertEqual({row["offset"] for row in sought}, {4})
        self.calls.call("group.seek", group="simple", topic=TOPIC, partition=3, to="latest")
        rows = self.calls.call("group.committed", group="simple")["offsets"]
        self.assertEqual((len(rows), rows[3]["offset"], rows[4]["offset"]), (100, 0, 4))
        self.calls.call("group.delete", group="simple")
        self.refused("NOT_FOUND", self.calls.call, "group.describe", group="simple")

    # ---- looking --------------------------------------------------------------------------------

    def test_groups_describe_shows_who_does_not_progress(self):
        self.calls.call("produce", topic=TOPIC, partition=0, records=[{"v": b"x"}] * 10)
        member = self.member("look", client="till-7")
        member.commit(4, [(TOPIC, 0)])
        group = self.calls.call("group.describe", group="look")
        self.assertEqual((group["state"], len(group["members"])), ("stable", 1))
        self.assertEqual(group["members"][0]["client"], "till-7")
        self.assertEqual(len(pairs(group["members"][0]["owned"])), 100)
        rows = {row["partition"]: row for row in group["partitions"]}
        self.assertEqual(len(rows), 100)
        self.assertEqual((rows[0]["committed"], rows[0]["owner"]), (4, member.id))
        self.assertEqual((rows[1]["committed"], rows[1]["committed_ms"]), (-1, -1))

        def lag():
            partitions = self.calls.call("group.describe", group="look")["partitions"]
            return (partitions[0]["end_offset"], partitions[0]["lag"]) == (10, 6)

        cluster.wait_for("the end as the coordinator's node knows it", lag, 5)
        self.refused("INVALID", self.calls.call, "group.delete", group="look")
        listed = {row["group"]: row for row in self.calls.call("group.list")["groups"]}
        self.assertEqual(listed["look"]["members"], 1)

    def test_groups_internal_topic_is_hidden_and_closed(self):
        shown = [topic["name"] for topic in self.calls.call("topic.list")["topics"]]
        self.assertNotIn("__groups", shown)
        topics = self.calls.call("topic.list", internal=True)["topics"]
        found = {topic["name"]: topic for topic in topics}["__groups"]
        self.assertEqual((found["partitions"], found["replicas"]), (8, 3))
        names = [topic["name"] for topic in self.calls.call("metadata")["topics"]]
        self.assertNotIn("__groups", names)
        where = {"topic": "__groups", "partition": 0}
        self.refused("INVALID", self.calls.call, "produce", **where, records=[{"v": b"x"}])
        self.refused("INVALID", self.calls.call, "fetch", **where, offset=0)
        self.refused("INVALID", self.calls.call, "offsets", **where)
        self.refused("INVALID", self.calls.call, "topic.create", name="__mine")
        self.refused("INVALID", self.calls.call, "topic.delete", name="__groups")
        self.refused("INVALID", self.calls.call, "group.join", group="", topics=[TOPIC])
        self.refused("INVALID", self.calls.call, "group.join", group="a\nb", topics=[TOPIC])

    def test_groups_other_nodes_name_the_coordinator(self):
        leader = self.coordinator("where")
        other = next(node for node in self.nodes.nodes if node is not leader)
        with rpc.Client(other.address) as client:
            text = self.refused("NOT_LEADER", client.call, "group.describe", group="where")
        self.assertIn(leader.address, text)

    def test_groups_join_that_no_machine_could_take_is_refused(self):
        for fields in (
            {"instance": "a\0b"},
            {"client": "\0"},
            {"rack": "a\0"},
            {"rack": "r" * 65},
            {"topics": [TOPIC, "t" * 250]},
            {"topics": [TOPIC] * 257},
        ):
            fields = {"group": "hostile", "topics": [TOPIC], **fields}
            self.refused("INVALID", self.calls.call, "group.join", **fields)
        self.member("hostile", rack="r" * 64, topics=[TOPIC] * 256)

    # ---- failures -------------------------------------------------------------------------------

    def test_groups_z_coordinator_killed_moves_no_partition(self):
        members = [self.member("failover", session_ms=6000) for _ in range(10)]
        settle(members)
        self.assert_shared_out(members, 100)
        for member in members:
            member.lost = []
            member.commit(11)
        had = [set(member.owned) for member in members]
        generation = members[0].generation
        victim = self.coordinator("failover")
        victim.kill()
        started = time.monotonic()
        for member in members:
            member.beat()
        took = time.monotonic() - started
        for member in members:
            member.commit(12)
        victim.start()
        self.nodes.wait_healthy()
        settle(members)
        moves = sum(len(member.lost) for member in members)
        print(f"{moves} moves, all heard again after {took * 1000:.0f} ms", end=" ", flush=True)
        self.assertEqual(moves, 0)
        self.assertEqual([member.owned for member in members], had)
        self.assertEqual({member.generation for member in members}, {generation})
        group = self.calls.call("group.describe", group="failover")
        self.assertEqual((group["generation"], group["state"]), (generation, "stable"))
        self.assertEqual({row["committed"] for row in group["partitions"]}, {12})

    def test_groups_z_new_coordinator_knows_what_was_lost_and_regained_unnoticed(self):
        slow, had, revoked = self.lost_and_regained("regain-failover")
        slow.owned = had
        self.assertEqual(pairs(slow.beat()["revoke"]), revoked)
        victim = self.coordinator("regain-failover")
        victim.kill()
        slow.owned = had  # it has not given it up yet
        self.assertEqual(pairs(slow.beat()["revoke"]), revoked, "it would go on where it was")
        self.refused("GROUP_FENCED", slow.commit, 5, sorted(revoked)[:1])
        fields = {"member": slow.id, "generation": slow.generation}  # without `owned`: given up
        slow.take(self.calls.call("group.heartbeat", group="regain-failover", **fields))
        self.assertEqual(slow.owned, had)
        slow.commit(10)
        victim.start()
        self.nodes.wait_healthy()

    def test_groups_z_new_coordinator_gives_the_whole_time_to_release_again(self):
        stuck = self.member("again", rebalance_ms=3000, session_ms=10000)
        had = set(stuck.owned)
        other = self.member("again", session_ms=10000)
        stuck.beat()
        time.sleep(2)
        stuck.owned = had
        victim = self.coordinator("again")
        victim.kill()
        started = time.monotonic()
        stuck.beat()  # as soon as there is another one

        def released():
            stuck.owned = had
            stuck.beat()
            other.beat()
            return len(other.owned) == 50

        cluster.wait_for("the other has its half", released, 8)
        took = time.monotonic() - started
        print(f"taken away {took:.1f} s after the failure", end=" ", flush=True)
        self.assertGreater(took, 2.5, "not the rest of the time")
        victim.start()
        self.nodes.wait_healthy()

    def test_groups_zz_everything_survives_a_full_restart(self):
        members = [self.member("restart", session_ms=20000) for _ in range(3)]
        settle(members)
        for member in members:
            member.lost = []
            member.commit(21)
        fields = {"group": "restart", "member": members[0].id, "generation": members[0].generation}
        for halt in (lambda node: node.kill(), lambda node: self.assertEqual(node.stop()[0], 0)):
            waiting = rpc.Client(self.coordinator("restart").address)
            waiting.send("group.heartbeat", {**fields, "max_wait_ms": 10000})
            for node in self.nodes.nodes:
                halt(node)
            waiting.close()
            for node in self.nodes.nodes:
                node.start()
            self.nodes.wait_healthy()
            settle(members)
            self.assertEqual([member.lost for member in members], [[], [], []])
        rows = self.calls.call("group.committed", group="restart")["offsets"]
        self.assertEqual({row["offset"] for row in rows}, {21})
        self.assertEqual(len(rows), 100)


if __name__ == "__main__":
    cluster.main()
