#!/usr/bin/env python3
"""A full disk: the node waits and says why, the others go on, nothing is lost."""

import os
import re
import shutil
import subprocess
import time
import unittest
import urllib.request

import cluster
import rpc

DISK_MIB = 24
BATCH = 200 * 1024
BATCHES = 200  # 40 MB, well above the disk


class DiskFullTest(unittest.TestCase):
    def mount(self, path, mib):
        os.makedirs(path, exist_ok=True)
        arguments = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", path]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            cluster.missing(f"the right to mount ({done.stderr.strip()})")
        self.addCleanup(subprocess.run, ["umount", "-l", path], check=True)

    def on_a_small_disk(self, size, mib, reserve, segment_bytes=1048576, every=False):
        """Nodes, not started, and the last of them, which has (or all have) so small a disk."""
        if os.geteuid() != 0:
            cluster.missing("root, to mount a small disk")
        settings = [f"storage.min.free.bytes={reserve}"]
        if segment_bytes is not None:
            settings.append(f"storage.segment.bytes={segment_bytes}")
        nodes = cluster.Cluster(size, settings=settings)
        # The mount goes after the nodes, and only then can the rest of the directory go.
        self.addCleanup(shutil.rmtree, nodes.directory, ignore_errors=True)
        for node in nodes.nodes if every else nodes.nodes[-1:]:
            self.mount(node.data, mib)
        return nodes, nodes.nodes[-1]

    def produce(self, leaders, number):
        value = number.to_bytes(4, "big") * (BATCH // 4)
        answer = leaders.call("produce", topic="t", partition=0, records=[{"v": value}])
        return answer["offset"]

    def takes_again(self, leaders):
        try:
            self.produce(leaders, 0)
        except rpc.Refused:
            return False
        return True

    def test_writes_on_a_disk_that_stays_full_wait_and_go_on_by_themselves(self):
        # without a reserve, so that writes really fail, and again with the ballast's room
        nodes, victim = self.on_a_small_disk(3, DISK_MIB, 0)
        told = "no space for a write: it waits until there is some"
        with nodes:
            nodes.spate("topic", "create", "other", "-p", "1", "-r", "3")
            nodes.spate("topic", "create", "t", "-p", "1", "-r", "3")
            acknowledged = {}
            leaders = rpc.Leaders([node.address for node in nodes.nodes[:2]])
            self.addCleanup(leaders.close)
            while len(acknowledged) < BATCHES:
                try:  # once it has found its disk full, another one leads
                    number = len(acknowledged)
                    acknowledged[self.produce(leaders, number)] = number
                except rpc.Refused as refused:
                    self.assertIn(refused.code, ("NO_SPACE", "TIMEOUT", "NOT_LEADER"))
            cluster.wait_for("a write that waits", lambda: told in victim.trace(), 15)
            # elections and metadata go on meanwhile, and so does the node
            nodes.spate("topic", "create", "u", "-p", "1", "-r", "1")
            time.sleep(3)
            acknowledged[self.produce(leaders, BATCHES)] = BATCHES
            self.assertTrue(all(node.alive for node in nodes.nodes))
            self.assertEqual(victim.trace().count(told), 1)

            # a crash meanwhile: what stands behind the last sync is the end of an unfinished write
            victim.kill()
            grow = ["mount", "-o", "remount,size=32m", victim.data]
            subprocess.run(grow, check=True)
            victim.start()
            waits = lambda: victim.trace().count(told) == 2
            cluster.wait_for("a write that waits again", waits, 20)
            self.assertNotIn("damage", victim.trace())
            grow = ["mount", "-o", "remount,size=256m", victim.data]
            subprocess.run(grow, check=True)
            nodes.wait_healthy(30)
            self.assertTrue(victim.alive)
            self.check(nodes, acknowledged)
            # What this node holds counts: without another one it makes the majority.
            nodes.nodes[0].kill()
            self.check(nodes, acknowledged)
            self.assertNotIn("this node stops itself", victim.trace())

    def ballast(self, node):
        """Bytes that it really has on the disk."""
        try:
            return os.stat(os.path.join(node.data, "ballast")).st_blocks * 512
        except FileNotFoundError:
            return 0

    def wait_ballast(self, nodes, reserve):
        made = lambda: all(self.ballast(node) == reserve // 8 for node in nodes)
        cluster.wait_for("the ballast", made, 10)

    def fill(self, node, left=0):
        """Another program takes all that is free but for so many bytes. Returns its file."""
        junk = os.path.join(node.data, "junk")
        place = os.statvfs(node.data)
        with open(junk, "wb") as handle:
            os.posix_fallocate(handle.fileno(), 0, place.f_bavail * place.f_frsize - left)
        return junk

    def refusal(self, client, number):
        value = number.to_bytes(4, "big") * (BATCH // 4)
        with self.assertRaises(rpc.Refused) as refused:
            client.call("produce", topic="t", partition=0, records=[{"v": value}])
        return refused.exception

    def test_a_node_short_of_space_hands_its_leaders_over_until_it_has_space(self):
        reserve = 32 * 1024 * 1024
        nodes, victim = self.on_a_small_disk(3, 128, reserve)

        def leaders():
            rows = nodes.spate_json("topic", "describe", "t")["partitions"]
            return [row["leader"] for row in rows]

        def write():
            nodes.spate("produce", "t", input=b"".join(b"%d\n" % n for n in range(600)))

        with nodes:
            nodes.spate("topic", "create", "t", "-p", "6", "-r", "3")
            led = lambda: leaders().count(3) == 2
            cluster.wait_for("each node to lead two partitions", led, 20)
            self.wait_ballast([victim], reserve)
            junk = self.fill(victim, left=reserve // 2)  # LOW, not the last of it
            cluster.wait_for("others to lead", lambda: not {3, -1} & set(leaders()), 20)
            write()
            self.assertNotIn(3, leaders(), "nothing goes back")
            os.unlink(junk)
            cluster.wait_for("its own leaders back", led, 20)
            text = nodes.spate("consume", "t", "-o", "start", "-e", "-f", "%v\\n").decode()
            self.assertEqual(sorted(map(int, text.split())), list(range(600)))

    def test_a_partition_that_takes_no_records_is_unhealthy_and_named(self):
        reserve = 48 * 1024 * 1024  # more than a fresh node of 64 MiB has free, once there is junk
        nodes, node = self.on_a_small_disk(1, 64, reserve, segment_bytes=None)

        def health(code):
            done = nodes.run("cluster", "health")
            return done.stdout.decode() if done.returncode == code else None

        with nodes:
            junk = os.path.join(node.data, "junk")
            with open(junk, "wb") as handle:
                os.posix_fallocate(handle.fileno(), 0, 32 * 1024 * 1024)
            low = lambda: "no space: the disk of node 1 is below its reserve" in (health(0) or "")
            cluster.wait_for("a note, as nobody has anything to write to", low, 20)
            nodes.spate("topic", "create", "t", "-r", "1")
            refused = nodes.run("produce", "t", "--timeout", "1s", input=b"1\n")
            self.assertNotEqual(refused.returncode, 0)
            words = cluster.wait_for("the refusal", lambda: health(5), 20)
            told = r"refuses records: t/0, led by node 1 whose disk is below its reserve, since 20"
            self.assertRegex(words, told)
            self.assertIn("spate topic truncate", words)
            self.assertNotIn("__groups", words, "what belongs to the cluster goes on")
            self.assertNotIn("other replica", node.trace())
            os.unlink(junk)
            nodes.wait_healthy(20)
            nodes.spate("produce", "t", input=b"1\n")

    def free_bytes(self, node):
        """As the node says."""
        url = f"http://127.0.0.1:{node.http_port}/metrics"
        with urllib.request.urlopen(url, timeout=5) as page:
            for line in page.read().decode().splitlines():
                if line.startswith("spate_storage_disk_free_bytes "):
                    return int(float(line.split()[1]))
        return None

    def test_an_idle_node_sees_that_others_fill_its_disk(self):
        reserve = 8 * 1024 * 1024
        nodes, node = self.on_a_small_disk(1, 64, reserve, segment_bytes=None)
        full = lambda: nodes.run("cluster", "health").stdout.decode()
        with nodes:
            nodes.spate("topic", "create", "t", "-p", "1", "-r", "1")
            client = rpc.Client(node.address)
            self.addCleanup(client.close)
            client.call("produce", topic="t", partition=0, records=[{"v": b"before"}])
            self.wait_ballast([node], reserve)
            junk = self.fill(node)  # to the last block; nothing is written meanwhile
            cluster.wait_for("its ballast", lambda: self.ballast(node) == 0, 10)
            less = lambda: (self.free_bytes(node) or reserve) <= reserve // 8
            cluster.wait_for("its metric", less, 10)
            told = lambda: "no space: the disk of node 1 is all but full" in full()
            cluster.wait_for("its health", told, 10)
            for number in range(3):
                self.assertEqual(self.refusal(client, number).code, "NO_SPACE")
            # a producer is told, of all that it had: also of what waited behind the first batches
            lines = b"".join(b"%d\n" % number * 100 for number in range(2000))
            done = nodes.run("produce", "t", "--timeout", "5s", input=lines)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn(b"NO_SPACE", done.stderr)
            self.assertNotIn(b"UNREACHABLE", done.stderr)
            self.assertTrue(node.alive)
            os.unlink(junk)
            nodes.wait_healthy(20)
            cluster.wait_for("its health", lambda: "no space" not in full(), 10)
            nodes.spate("produce", "t", input=b"after\n")
            text = nodes.spate("consume", "t", "-o", "start", "-e", "-f", "%v\\n")
            self.assertEqual(text, b"before\nafter\n")

    def test_a_disk_filled_between_two_looks_stops_nobody(self):
        reserve = 16 * 1024 * 1024
        nodes, node = self.on_a_small_disk(1, 96, reserve)
        acknowledged = {}
        taken = "a write has found no space: the ballast is given back"
        with nodes:
            nodes.spate("topic", "create", "t", "-p", "1", "-r", "1")
            leaders = rpc.Leaders([node.address])
            self.addCleanup(leaders.close)
            self.produce(leaders, 0)
            for number in range(1, 31):  # the node may look first now and then
                self.wait_ballast([node], reserve)
                junk = self.fill(node)
                try:
                    acknowledged[self.produce(leaders, number)] = number
                    # what came before it was known is stored, what comes later is refused
                    self.assertEqual(self.refusal(leaders, 0).code, "NO_SPACE")
                except rpc.Refused as refused:
                    self.assertEqual(refused.code, "NO_SPACE")
                os.unlink(junk)
                if len(re.findall(taken, node.trace())) == 3:
                    break
                cluster.wait_for("space", lambda: self.takes_again(leaders), 10)
            self.assertEqual(len(re.findall(taken, node.trace())), 3)
            self.assertTrue(node.alive)
            self.wait_ballast([node], reserve)
            node.kill()
            node.start()
            nodes.wait_healthy(20)
            text = nodes.spate("consume", "t", "-o", "start", "-e", "-f", "%o %v{hex}\\n").decode()
            stored = dict(line.split(" ") for line in text.splitlines())
            for offset, number in acknowledged.items():
                self.assertEqual(stored[str(offset)][:8], f"{number:08x}")
            self.assertNotRegex(node.trace(), r"error node: this node stops itself")

    def test_a_topic_made_on_a_full_disk_leaves_nothing_behind(self):
        # so small a reserve has no ballast, which would be room enough for it
        nodes, victim = self.on_a_small_disk(3, 64, 65536, segment_bytes=None)
        with nodes:
            junk = self.fill(victim)
            nodes.spate("topic", "create", "t", "-p", "1", "-r", "3")
            told = r"replica cannot be opened yet .* error=NO_SPACE"
            cluster.wait_for("the cause", lambda: re.search(told, victim.trace()), 10)
            time.sleep(3)  # it is tried again meanwhile
            self.assertEqual(os.listdir(os.path.join(victim.data, "quarantine")), [])
            self.assertTrue(victim.alive)
            self.assertLess(len(re.findall(told, victim.trace())), 3)
            nodes.spate("produce", "t", input=b"1\n")  # the others are a majority
            os.unlink(junk)
            nodes.wait_healthy(20)
            self.assertEqual(os.listdir(os.path.join(victim.data, "quarantine")), [])

    def test_a_node_that_is_stopped_while_a_mark_of_damage_waits_ends_in_good_order(self):
        nodes, node = self.on_a_small_disk(1, 64, 0)
        with nodes:
            nodes.spate("topic", "create", "t", "-p", "1", "-r", "1")
            leaders = rpc.Leaders([node.address])
            self.addCleanup(leaders.close)
            for number in range(20):
                self.produce(leaders, number)
            node.stop()
            replicas = os.path.join(node.data, "replicas")
            size = lambda name: os.path.getsize(os.path.join(replicas, name, f"{1:020}.log"))
            replica = os.path.join(replicas, max(os.listdir(replicas), key=size))
            with open(os.path.join(replica, f"{1:020}.log"), "r+b") as handle:
                handle.seek(300_000)
                handle.write(b"another byte")
            node.start()
            nodes.wait_healthy()
            junk = self.fill(node)
            read = ("consume", "t", "-o", "start", "-e", "-f", "%o\\n", "--timeout", "1s")
            self.assertNotEqual(nodes.run(*read).returncode, 0)
            waits = "no space for a write: it waits until there is some step=marking a damaged"
            cluster.wait_for("the mark", lambda: waits in node.trace(), 15)
            mark = os.path.join(replica, "damaged")
            self.assertFalse(os.path.exists(mark))
            self.assertEqual(node.stop()[0], 0)
            self.assertIn("damaged replica not marked", node.trace())
            os.unlink(junk)
            node.start()
            self.assertNotEqual(nodes.run(*read).returncode, 0)
            cluster.wait_for("the mark", lambda: os.path.exists(mark), 20)
            self.assertTrue(node.alive)

    def sent_bytes(self, nodes):
        """Frames that all nodes together have sent to other replicas."""
        total = 0
        for node in nodes.nodes:
            url = f"http://127.0.0.1:{node.http_port}/metrics"
            with urllib.request.urlopen(url, timeout=5) as page:
                for line in page.read().decode().splitlines():
                    if line.startswith("spate_replication_sent_bytes_total "):
                        total += int(float(line.split()[1]))
        return total

    def test_a_follower_without_any_space_is_not_sent_its_backlog_again_and_again(self):
        reserve = 32 * 1024 * 1024
        nodes, victim = self.on_a_small_disk(3, 128, reserve)
        with nodes:
            nodes.spate("topic", "create", "t", "-p", "1", "-r", "3")
            leaders = rpc.Leaders([node.address for node in nodes.nodes])
            self.addCleanup(leaders.close)
            self.produce(leaders, 0)
            self.wait_ballast([victim], reserve)
            junk = self.fill(victim, left=reserve // 8)

            def stored():  # at once, unless the full node leads and has seen it already
                try:
                    self.produce(leaders, 1)
                    return True
                except rpc.Refused as refused:
                    self.assertEqual(refused.code, "NO_SPACE")
                    return False

            cluster.wait_for("a leader with space", stored, 10)
            told = lambda: nodes.leader("t").number != 3
            cluster.wait_for("another leader", told, 20)
            time.sleep(1.5)  # until the others know: a greeting a second
            for number in range(2, 42):  # 8 MB that the full node lacks
                self.produce(leaders, number)
            time.sleep(1)
            before = self.sent_bytes(nodes)
            time.sleep(3)
            again = self.sent_bytes(nodes) - before
            print(f"{again} bytes sent in 3 s", end=" ", flush=True)
            self.assertLess(again, 8 * 1024 * 1024)
            os.unlink(junk)
            nodes.wait_healthy(30)

    def test_a_reserve_keeps_the_node_alive_until_there_is_space(self):
        nodes, _ = self.on_a_small_disk(3, DISK_MIB, 8 * 1024 * 1024, every=True)
        with nodes:
            nodes.spate("topic", "create", "t", "-p", "1", "-r", "3")
            leader = nodes.leader("t")
            client = rpc.Client(leader.address)
            self.addCleanup(client.close)
            stored = 0
            refusal = None
            while refusal is None and stored < BATCHES:
                value = stored.to_bytes(4, "big") * (BATCH // 4)
                try:
                    client.call("produce", topic="t", partition=0, records=[{"v": value}])
                    stored += 1
                except rpc.Refused as refused:
                    refusal = refused
            self.assertEqual(refusal.code, "NO_SPACE")
            self.assertIn("below storage.min.free.bytes", refusal.text)
            self.assertGreater(stored, 30)

            # metadata, votes and consumer groups go on within the reserve
            nodes.spate("topic", "create", "u", "-p", "1", "-r", "3")
            nodes.spate("topic", "alter", "t", "--set", "retention.ms=86400000")
            count = nodes.spate("consume", "t", "-g", "g", "-n", "5", "-f", "x\\n", "-o", "start")
            self.assertEqual(count, b"x\n" * 5)
            self.assertEqual(self.refusal(client, 0).code, "NO_SPACE")
            self.assertTrue(all(node.alive for node in nodes.nodes))

            # truncation makes room, and nobody has to be told
            nodes.spate("topic", "truncate", "t", "--before", "end", "--yes")

            def taken():
                try:
                    self.produce(leaders, 7)
                    return True
                except rpc.Refused as refused:
                    self.assertEqual(refused.code, "NO_SPACE")
                    return False

            leaders = rpc.Leaders([node.address for node in nodes.nodes])
            self.addCleanup(leaders.close)
            cluster.wait_for("records are taken again", taken)
            nodes.wait_healthy()
            self.assertTrue(all(node.alive for node in nodes.nodes))
            for node in nodes.nodes:
                self.assertNotRegex(node.trace(), r"error node: this node stops itself")

    def use_groups(self, nodes, names):
        """A join and a commit of each."""
        for name in names:
            text = nodes.spate("consume", "t", "-g", name, "-n", "3", "-f", "x\\n", "-o", "start")
            self.assertEqual(text, b"x\n" * 3)

    def test_nodes_without_a_free_byte_live_start_and_make_room(self):
        reserve = 16 * 1024 * 1024
        nodes, _ = self.on_a_small_disk(3, 72, reserve, every=True)
        with nodes:
            for topic in ("t", "u"):
                nodes.spate("topic", "create", topic, "-p", "1", "-r", "3")
            leaders = rpc.Leaders([node.address for node in nodes.nodes])
            self.addCleanup(leaders.close)
            for number in range(150):
                self.produce(leaders, number)
            self.use_groups(nodes, ["g"])
            self.wait_ballast(nodes.nodes, reserve)

            # Two disks beside nodes that run: until these look again they may write some blocks.
            files = [self.fill(node, left=16384) for node in nodes.nodes[:2]]
            running = lambda: [self.ballast(node) for node in nodes.nodes[:2]] == [0, 0]
            cluster.wait_for("the room of those that run", running, 10)
            self.use_groups(nodes, [f"two{number}" for number in range(10)])

            # the third one while its node is down
            down = nodes.nodes[2]
            down.stop()
            self.assertEqual(self.ballast(down), reserve // 8)
            files.append(self.fill(down))
            down.start()
            cluster.wait_for("the room of the third", lambda: self.ballast(down) == 0, 10)

            # elections, and starts on disks whose ballast is gone already
            up = lambda: (nodes.health() or {}).get("nodes_down") == []
            for node in nodes.nodes:
                cluster.wait_for("the node of the last round", up, 20)
                node.kill()
                self.use_groups(nodes, [f"without{node.number}", f"again{node.number}"])
                node.start()
            cluster.wait_for("all of them", up, 20)
            self.assertEqual(self.refusal(leaders, 0).code, "NO_SPACE")

            # what the documentation advises is possible, and enough
            nodes.spate("topic", "delete", "u", "--yes")
            nodes.spate("topic", "truncate", "t", "--before", "end", "--yes")
            write = lambda: nodes.run("produce", "t", "--timeout", "1s", input=b"1\n").returncode
            cluster.wait_for("records are taken again", lambda: write() == 0, 20)
            for file in files:
                os.unlink(file)
            self.wait_ballast(nodes.nodes, reserve)
            nodes.wait_healthy()
            for node in nodes.nodes:
                self.assertTrue(node.alive)
                self.assertNotRegex(node.trace(), r"error node: this node stops itself")

    def check(self, nodes, acknowledged):
        text = nodes.spate("consume", "t", "-o", "start", "-e", "-f", "%o %V %v{hex}\\n").decode()
        stored = {}
        for line in text.splitlines():
            offset, size, value = line.split(" ")
            self.assertEqual(int(size), BATCH)
            self.assertEqual(value, value[:8] * (BATCH // 4))
            stored[int(offset)] = int(value[:8], 16)
        self.assertEqual(sorted(stored), list(range(len(stored))))
        lost = {o: n for o, n in acknowledged.items() if stored.get(o) != n}
        self.assertEqual(lost, {}, "acknowledged but not there")


if __name__ == "__main__":
    cluster.main()
