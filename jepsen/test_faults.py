#!/usr/bin/env python3
"""The tools of fault injection do what they say: a disk that forgets, a switch that harms frames, a
clock that lies, limits of control groups. Needs root; run by ctest, label `jepsen`."""

import concurrent.futures
import errno
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from harness import cgroup, clock, control, network, sandbox  # noqa: E402

BIN = os.environ["SPATE_BIN"]
HERE = os.path.abspath(__file__)
SEEDS = 30


class DiskTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="spate-jepsen-disk-")
        self.addCleanup(subprocess.run, ["rm", "-rf", self.folder], check=True)
        self.mounted = os.path.join(self.folder, "m")
        os.mkdir(self.mounted)
        path = f"{sandbox.RUNTIME}/disk"
        words = [f"{BIN}/jepsen-disk", f"{self.folder}/backing", self.mounted, path]
        self.disk = control.Control(words, path, f"{self.folder}/log")
        self.addCleanup(self.disk.close)
        deadline = time.monotonic() + 10
        while not os.path.ismount(self.mounted):
            self.assertLess(time.monotonic(), deadline, "not mounted")
            time.sleep(0.01)
        self.addCleanup(sandbox.command, "umount", "-l", self.mounted)

    def path(self, name):
        return os.path.join(self.mounted, name)

    def write(self, name, data, position=0, flags=0, sync=False):
        fd = os.open(self.path(name), os.O_RDWR | os.O_CREAT | flags, 0o640)
        os.pwrite(fd, data, position)
        if sync:
            os.fdatasync(fd)
        os.close(fd)

    def read(self, name):
        with open(self.path(name), "rb") as handle:
            return handle.read()

    def sync_names(self, name=""):
        fd = os.open(self.path(name), os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(fd)
        os.close(fd)

    def cut(self, seed):
        counts = self.disk.numbers("cut", seed=seed)
        with self.assertRaises(OSError):
            self.write("dead", b"x")
        self.disk.ask("on")
        return counts

    def test_what_was_synced_survives_every_cut(self):
        for seed in range(SEEDS):
            self.write("kept", bytes([seed]) * 5000, sync=True)
            self.sync_names()
            self.write("kept", b"new" * 1000, position=5000)
            self.cut(seed)
            self.assertEqual(self.read("kept")[:5000], bytes([seed]) * 5000)
            os.truncate(self.path("kept"), 0)

    def test_what_was_not_synced_is_kept_lost_or_torn(self):
        fates = {"kept": 0, "lost": 0, "torn": 0}
        self.write("file", b"o" * 8192, sync=True)
        self.sync_names()
        for seed in range(SEEDS):
            self.write("file", b"n" * 8192)
            counts = self.cut(seed)
            self.assertEqual(counts["sectors"], 16)
            data = self.read("file")
            self.assertEqual(len(data), 8192)
            sectors = [data[i : i + 512] for i in range(0, 8192, 512)]
            self.assertEqual(counts["kept"], sum(s == b"n" * 512 for s in sectors))
            for sector in sectors:  # torn: the beginning is new, the rest old
                self.assertEqual(sector, b"n" * sector.count(b"n") + b"o" * sector.count(b"o"))
            for fate in fates:
                fates[fate] += counts[fate]
            self.write("file", b"o" * 8192, sync=True)
        self.assertTrue(all(fates.values()), fates)

    def test_a_file_that_grew_may_have_any_size_between(self):
        sizes = set()
        self.write("file", b"o" * 100, sync=True)
        self.sync_names()
        for seed in range(SEEDS):
            self.write("file", b"n" * 4000, position=100)
            self.cut(seed)
            data = self.read("file")
            self.assertEqual(data[:100], b"o" * 100)
            sizes.add(len(data))
            os.truncate(self.path("file"), 100)
            self.write("file", b"", sync=True)
        self.assertIn(100, sizes)
        self.assertIn(4100, sizes)
        self.assertGreater(len(sizes), 3, sizes)

    def test_what_was_cut_off_comes_back_or_not(self):
        sizes = set()
        self.write("file", bytes(range(250)) * 16, sync=True)
        self.sync_names()
        for seed in range(SEEDS):
            os.truncate(self.path("file"), 100)
            self.cut(seed)
            data = self.read("file")
            self.assertEqual(data, (bytes(range(250)) * 16)[: len(data)])
            sizes.add(len(data))
            self.write("file", bytes(range(250)) * 16, sync=True)
        self.assertEqual(sizes, {100, 4000})

    def test_o_dsync_is_honoured(self):
        for seed in range(SEEDS):
            self.write("file", bytes([seed]) * 3000, flags=os.O_DSYNC)
            self.sync_names()
            self.assertEqual(self.cut(seed)["sectors"], 0)
            self.assertEqual(self.read("file"), bytes([seed]) * 3000)

    def test_names_are_durable_only_after_their_directory_was_synced(self):
        lost = {"created": 0, "removed": 0, "renamed": 0}
        for seed in range(SEEDS):
            os.mkdir(self.path("d"))
            self.write("d/old", b"old", sync=True)
            self.write("d/tmp", b"tmp", sync=True)
            self.sync_names()
            self.sync_names("d")
            self.write("d/new", b"new", sync=True)
            os.unlink(self.path("d/old"))
            os.rename(self.path("d/tmp"), self.path("d/final"))
            self.assertEqual(self.cut(seed)["names"], 3)
            names = set(os.listdir(self.path("d")))
            lost["created"] += "new" not in names
            lost["removed"] += "old" in names
            lost["renamed"] += "tmp" in names
            self.assertEqual(len(names & {"tmp", "final"}), 1, names)
            moved = "final" if "final" in names else "tmp"
            self.assertEqual(self.read(f"d/{moved}"), b"tmp")
            # A prefix is kept: who has the newest change has all of them.
            if "final" in names:
                self.assertEqual(names, {"new", "final"})
            if "old" in names:
                self.assertEqual(self.read("d/old"), b"old")
                self.assertIn("tmp", names)
            for name in names:
                os.unlink(self.path(f"d/{name}"))
            os.rmdir(self.path("d"))
            self.sync_names()
        self.assertTrue(all(lost.values()), lost)

    def test_a_directory_that_was_renamed_takes_its_names_along(self):
        for seed in range(SEEDS):
            os.mkdir(self.path("a"))
            self.sync_names()
            self.write("a/file", b"content", sync=True)
            os.rename(self.path("a"), self.path("b"))
            self.cut(seed)
            here = "a" if os.path.isdir(self.path("a")) else "b"
            self.assertEqual([here], [n for n in os.listdir(self.mounted) if n in "ab"])
            for name in os.listdir(self.path(here)):
                self.assertEqual(self.read(f"{here}/{name}"), b"content")
                os.unlink(self.path(f"{here}/{name}"))
            os.rmdir(self.path(here))
            self.sync_names()

    def test_a_rename_onto_a_name_that_a_cut_took_away(self):
        """The kernel then forgets what was below that name, while the rename goes on."""
        pairs = [(self.path(f"a{i}"), self.path(f"b{i}")) for i in range(4)]
        names = ["one", "two"]
        for i in range(len(pairs)):
            os.mkdir(self.path(f"a{i}"))
            for name in names:
                self.write(f"a{i}/{name}", b"content", sync=True)
            self.sync_names(f"a{i}")
        self.sync_names()

        def rename(pair):
            os.rename(*pair)
            for name in names:
                os.stat(os.path.join(pair[1], name))

        with concurrent.futures.ThreadPoolExecutor(len(pairs)) as pool:
            for seed in range(50 * SEEDS):
                list(pool.map(rename, pairs))
                self.disk.ask("cut", seed=seed, all=1)
                self.disk.ask("on")
        self.assertEqual(self.read("a0/one"), b"content")

    def test_a_directory_that_is_gone_takes_its_names_along(self):
        os.mkdir(self.path("d"))
        self.write("d/file", b"content", sync=True)
        self.sync_names("d")
        self.sync_names()
        os.unlink(self.path("d/file"))
        os.rmdir(self.path("d"))
        self.sync_names()
        self.assertEqual(self.cut(1)["names"], 0)
        self.assertEqual([name for name in os.listdir(self.mounted) if name == "d"], [])

    def test_a_directory_that_comes_back_may_bring_its_names(self):
        seen = set()
        for seed in range(SEEDS):
            os.mkdir(self.path("d"))
            self.write("d/file", b"content", sync=True)
            self.sync_names("d")
            self.sync_names()
            os.unlink(self.path("d/file"))
            os.rmdir(self.path("d"))
            self.cut(seed)
            if not os.path.isdir(self.path("d")):
                seen.add("gone")
                continue
            names = os.listdir(self.path("d"))
            seen.add("full" if names else "empty")
            for name in names:
                self.assertEqual(self.read(f"d/{name}"), b"content")
                os.unlink(self.path(f"d/{name}"))
            os.rmdir(self.path("d"))
            self.sync_names()
        self.assertEqual(seen, {"gone", "empty", "full"})

    def test_a_replaced_file_comes_back(self):
        back = 0
        for seed in range(SEEDS):
            self.write("file", b"old", sync=True)
            self.sync_names()
            self.write("next", b"new", sync=True)
            os.rename(self.path("next"), self.path("file"))
            self.cut(seed)
            self.assertIn(self.read("file"), (b"old", b"new"))
            back += self.read("file") == b"old"
            self.sync_names()
        self.assertTrue(0 < back < SEEDS, back)

    def test_errors_come_as_often_as_ordered(self):
        self.disk.ask("fault", op="sync", errno=errno.EIO, count=1)
        fd = os.open(self.path("file"), os.O_RDWR | os.O_CREAT, 0o640)
        os.write(fd, b"x")
        with self.assertRaises(OSError) as failed:
            os.fdatasync(fd)
        self.assertEqual(failed.exception.errno, errno.EIO)
        os.fdatasync(fd)
        self.disk.ask("fault", op="write", errno=errno.ENOSPC)
        for _ in range(3):
            with self.assertRaises(OSError) as failed:
                os.write(fd, b"x")
            self.assertEqual(failed.exception.errno, errno.ENOSPC)
        self.disk.ask("heal")
        os.write(fd, b"x")
        os.close(fd)
        stat = self.disk.numbers("stat")
        self.assertEqual((stat["sync_failed"], stat["write_failed"]), (1, 3))

    def test_space_runs_out_and_comes_back(self):
        self.write("file", b"x" * 1000)
        self.disk.ask("space", bytes=8192)
        self.write("file", b"y" * 1000)  # needs none
        self.write("more", b"z" * 8000)
        with self.assertRaises(OSError) as failed:
            self.write("more", b"z" * 8000, position=8000)
        self.assertEqual(failed.exception.errno, errno.ENOSPC)
        self.assertEqual(os.statvfs(self.mounted).f_bavail, 0)
        os.unlink(self.path("more"))
        self.write("again", b"z" * 8000)
        self.assertEqual(self.disk.numbers("stat")["space_refused"], 1)

    def test_a_slow_disk_takes_its_time(self):
        self.disk.ask("slow", op="sync", delay_us=200_000)
        started = time.monotonic()
        self.write("file", b"x", sync=True)
        self.assertGreaterEqual(time.monotonic() - started, 0.2)
        self.disk.ask("heal")
        self.assertEqual(self.disk.numbers("stat")["sync_delayed"], 1)

    def test_a_flipped_bit_is_read_counted_and_put_back(self):
        self.write("file", bytes(1000), sync=True)
        self.disk.ask("flip", path="/file", position=300, bit=4, mark=3)
        self.assertEqual(self.read("file"), bytes(300) + b"\x10" + bytes(699))
        stat = self.disk.numbers("stat")
        self.assertEqual((stat["flips_read_3"], stat["flips_read_0"]), (1, 0))
        self.assertEqual(self.disk.numbers("unflip"), {"mended": 1})
        self.assertEqual(self.read("file"), bytes(1000))
        self.disk.ask("flip", path="/file", position=300, bit=4)
        self.write("file", b"\0", position=300)
        self.assertEqual(self.disk.numbers("unflip"), {"mended": 0})
        self.assertEqual(self.read("file"), bytes(1000))
        self.write("file", b"\0", position=300, sync=True)
        self.disk.ask("flip", path="/file", position=300, bit=4, mark=3)
        self.disk.ask("forget")
        self.assertEqual(self.read("file")[300], 16)
        stat = self.disk.numbers("stat")
        self.assertEqual((stat["flips"], stat["flips_read_3"]), (0, 1))
        self.write("file", b"\1", position=300)
        with self.assertRaises(RuntimeError):  # what is not synced may be lost anyway
            self.disk.ask("flip", path="/file", position=300, bit=4)


class SwitchTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="spate-jepsen-switch-")
        cls.net = network.Network(BIN, 3, 7, cls.folder)

    @classmethod
    def tearDownClass(cls):
        cls.net.close()
        subprocess.run(["rm", "-rf", cls.folder], check=True)

    def tearDown(self):
        self.net.heal()

    def datagram(self, port):
        with self.net.namespaces[port]:
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.bind((network.address_of(port), 9000))
        one.settimeout(0.3)
        self.addCleanup(one.close)
        return one

    def pair(self):
        one, two = self.datagram(1), self.datagram(2)
        one.sendto(b"warm", (network.address_of(2), 9000))
        self.assertEqual(two.recv(64), b"warm")
        return one, two

    def send(self, one, to, count):
        for number in range(count):
            one.sendto(number.to_bytes(4, "big"), (network.address_of(to), 9000))

    def receive(self, one):
        got = []
        try:
            while True:
                got.append(int.from_bytes(one.recv(64), "big"))
        except socket.timeout:
            return got

    def stream(self):
        """(the end at port 1, the end at port 2) of a TCP connection."""
        with self.net.namespaces[2]:
            server = socket.create_server((network.address_of(2), 9100))
        with self.net.namespaces[1]:
            one = socket.create_connection((network.address_of(2), 9100), timeout=5)
        two, _ = server.accept()
        two.settimeout(5)
        for each in (one, two, server):
            self.addCleanup(each.close)
        return one, two

    def test_a_cut_is_one_way(self):
        one, two = self.pair()
        self.net.put(1, {(1, 2): {"cut": 1}})
        self.send(one, 2, 10)
        self.send(two, 1, 10)
        self.assertEqual(self.receive(two), [])
        self.assertEqual(self.receive(one), list(range(10)))
        self.assertGreaterEqual(self.net.counts({(1, 2): None})["dropped"], 10)
        self.net.remove(1)
        self.send(one, 2, 10)
        self.assertEqual(self.receive(two), list(range(10)))

    def test_of_two_faults_on_a_link_the_worse_holds(self):
        one, two = self.pair()
        self.net.put(1, {(1, 2): {"loss_ppm": 1_000_000}})
        self.net.put(2, {(1, 2): {"loss_ppm": 1}})
        self.send(one, 2, 5)
        self.assertEqual(self.receive(two), [])
        self.net.remove(1)
        self.send(one, 2, 5)
        self.assertEqual(self.receive(two), list(range(5)))

    def test_loss_duplicates_and_order(self):
        one, two = self.pair()
        everything = list(range(100))  # a socket holds 256 of them unread
        self.net.put(1, {(1, 2): {"loss_ppm": 300_000}})
        self.send(one, 2, 100)
        self.assertTrue(40 < len(self.receive(two)) < 95)
        self.net.put(1, {(1, 2): {"dup_ppm": 300_000}})
        self.send(one, 2, 100)
        got = self.receive(two)
        self.assertEqual(sorted(set(got)), everything)
        self.assertTrue(105 < len(got) < 160, len(got))
        self.net.put(1, {(1, 2): {"delay_us": 5000, "reorder_ppm": 200_000}})
        self.send(one, 2, 100)
        got = self.receive(two)
        self.assertEqual(sorted(got), everything)
        self.assertNotEqual(got, everything)

    def test_delay(self):
        one, two = self.pair()
        self.net.put(1, {(1, 2): {"delay_us": 80_000}})
        started = time.monotonic()
        self.send(one, 2, 1)
        two.recv(64)
        self.assertGreaterEqual(time.monotonic() - started, 0.08)

    def test_corruption_passes_the_checksum_of_tcp(self):
        one, two = self.stream()
        self.net.put(1, {(1, 2): {"corrupt_ppm": 1_000_000}})
        sent = bytes(20_001)
        threading.Thread(target=one.sendall, args=(sent,), daemon=True).start()
        got = b""
        while len(got) < len(sent):
            got += two.recv(65536)
        flipped = sum(byte.bit_count() for byte in got)
        self.assertGreater(flipped, 0)
        self.assertEqual(flipped, self.net.counts({(1, 2): None})["corrupted"])

    def test_a_stream_ends_in_the_middle_of_a_message(self):
        one, two = self.stream()
        self.net.put(1, {(1, 2): {"reset_ppm": 1_000_000}})
        one.sendall(b"x" * 1000)
        got = b""
        with self.assertRaises(ConnectionResetError):
            while True:
                piece = two.recv(65536)
                if not piece:
                    break
                got += piece
        self.assertLess(len(got), 1000)
        self.assertGreaterEqual(self.net.counts({(1, 2): None})["reset"], 1)

    def test_late_replies(self):
        one, two = self.stream()
        self.net.put(1, {(2, 1): {"data_delay_us": 300_000}})
        started = time.monotonic()
        one.sendall(b"request")
        self.assertEqual(two.recv(64), b"request")
        asked = time.monotonic() - started
        two.sendall(b"reply")
        self.assertEqual(one.recv(64), b"reply")
        self.assertLess(asked, 0.25)
        self.assertGreaterEqual(time.monotonic() - started, 0.3)


class ClockTest(unittest.TestCase):
    CODE = (
        "import sys, time\n"
        "for line in sys.stdin:\n"
        "    print(time.time(), time.monotonic(), flush=True)\n"
    )

    def setUp(self):
        folder = tempfile.mkdtemp(prefix="spate-jepsen-clock-")
        self.addCleanup(subprocess.run, ["rm", "-rf", folder], check=True)
        self.clock = clock.Clock(os.path.join(folder, "clock"))
        environment = {"LD_PRELOAD": f"{BIN}/jepsen-clock.so", "JEPSEN_CLOCK": self.clock.path}
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.CODE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        self.addCleanup(self.process.communicate)

    def ask(self):
        """(wall clock, monotonic clock) of the process minus ours."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        wall, mono = map(float, self.process.stdout.readline().split())
        return wall - time.time(), mono - time.monotonic()

    def test_the_wall_clock_jumps_alone(self):
        self.assertAlmostEqual(self.ask()[0], 0, delta=0.5)
        before = self.clock.reads()[0]
        self.clock.jump(-3600)
        wall, mono = self.ask()
        self.assertAlmostEqual(wall, -3600, delta=0.5)
        self.assertAlmostEqual(mono, 0, delta=0.5)
        self.assertGreater(self.clock.reads()[0], before)

    def test_the_monotonic_clock_runs_faster_and_never_goes_back(self):
        self.clock.rate(3_000_000)
        time.sleep(0.5)
        ahead = self.ask()[1]
        self.assertGreater(ahead, 0.9)
        self.clock.rate(500_000)
        self.assertGreater(self.ask()[1], 0.8 * ahead)
        self.clock.rate(1_000_000)
        first = self.ask()[1]
        time.sleep(0.3)
        self.assertAlmostEqual(self.ask()[1], first, delta=0.1)


class CgroupTest(unittest.TestCase):
    def setUp(self):
        self.limits = cgroup.Cgroup(str(os.getppid()), "test")
        self.addCleanup(self.limits.close)

    def test_the_processor_is_limited(self):
        busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        self.addCleanup(busy.wait)
        self.addCleanup(busy.kill)
        self.limits.add(busy.pid)
        self.limits.limit_cpu(0.1)
        deadline = time.monotonic() + 10
        while self.limits.throttled() == 0:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)

    def test_memory_runs_out(self):
        code = "import sys; sys.stdin.readline(); b'x' * (64 << 20)"
        hungry = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
        self.limits.add(hungry.pid)
        self.limits.limit_memory(self.limits.used_bytes() + (16 << 20))
        hungry.communicate(b"\n")
        self.assertEqual(hungry.returncode, -signal.SIGKILL)
        self.assertEqual(self.limits.oom_kills(), 1)


def inside(_owner):
    result = unittest.main(argv=[HERE, *sys.argv[1:]], verbosity=2, exit=False).result
    return 0 if result.wasSuccessful() and not result.skipped else 1


if __name__ == "__main__":
    sys.exit(sandbox.run(inside))
