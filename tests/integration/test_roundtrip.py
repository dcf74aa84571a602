#!/usr/bin/env python3
"""`spate produce t < F && spate consume t -o start -e > G` gives G identical to F."""

import filecmp
import os
import random
import time
import unittest

import cluster

LARGE_BYTES = 200 * 1000 * 1000
PACKAGES = "/var/lib/dpkg/status"


class RoundTripTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = cluster.Cluster(3)
        cls.cluster.__enter__()
        cls.addClassCleanup(cls.cluster.__exit__, None, None, None)

    def setUp(self):
        self.topic = self.id().rsplit("_", 1)[-1]
        self.sent = self.path("sent")
        self.cluster.spate("topic", "create", self.topic, "-p", "1", "-r", "3")

    def tearDown(self):
        for name in ("sent", "back"):
            if os.path.exists(self.path(name)):
                os.remove(self.path(name))
        self.cluster.spate("topic", "delete", self.topic, "--yes")

    def path(self, name):
        return os.path.join(self.cluster.directory, f"{self.topic}.{name}")

    def write(self, data):
        with open(self.sent, "wb") as handle:
            handle.write(data)

    def assert_round_trip(self, *options, source=None, produce_only=()):
        source = source or self.sent
        started = time.monotonic()
        with open(source, "rb") as handle:
            self.cluster.spate("produce", self.topic, *options, *produce_only, stdin=handle)
        produced = time.monotonic()
        with open(self.path("back"), "wb") as handle:
            consume = ["consume", self.topic, "-o", "start", "-e"]
            self.cluster.spate(*consume, *options, stdout=handle)
        consumed = time.monotonic()
        size = os.path.getsize(source) / 1e6
        print(
            f"{self.topic}: {size:.1f} MB in {produced - started:.2f} s, "
            f"out {consumed - produced:.2f} s",
            end=" ",
            flush=True,
        )
        self.assertTrue(filecmp.cmp(source, self.path("back"), shallow=False), "files differ")

    def test_roundtrip_packages(self):
        self.assert_round_trip(source=PACKAGES)

    def test_roundtrip_of_packages_lz4(self):
        self.assert_round_trip(source=PACKAGES, produce_only=("-z", "lz4"))

    def test_roundtrip_of_200_megabytes_large(self):
        rand = random.Random(11)
        block = rand.randbytes(1 << 20).replace(b"\n", b" ")
        with open(self.sent, "wb") as handle:
            while handle.tell() < LARGE_BYTES:
                lines = []
                for _ in range(2000):
                    kind = rand.random()
                    size = rand.randrange(8) if kind < 0.2 else rand.randrange(1500)
                    if kind > 0.999:
                        size = rand.randrange(200000)
                    at = rand.randrange(len(block) - size)
                    lines.append(block[at : at + size])
                handle.write(b"\n".join(lines) + b"\n")
        self.assert_round_trip()

    def test_roundtrip_of_lines_empty(self):
        self.write(b"\n" * 1000 + b"x\n\n\ny\n" + b"\n" * 10)
        self.assert_round_trip()

    def test_roundtrip_of_lines_long(self):
        rand = random.Random(5)
        lines = [rand.randbytes(900 * 1024).replace(b"\n", b" ") for _ in range(20)]
        self.write(b"".join(line + b"\n" for line in lines))
        self.assert_round_trip()

    def test_roundtrip_of_bytes_any(self):
        rand = random.Random(3)
        records = [b"", b"\n", b"\0", bytes(range(256)), b"\r\n", b"\xff" * 70000]
        records += [rand.randbytes(rand.randrange(5000)) for _ in range(2000)]
        self.write(b"".join(len(r).to_bytes(4, "big") + r for r in records))
        self.assert_round_trip("-f", "%V{big32}%v")

    def test_roundtrip_of_file_without_newline_at_end(self):
        self.write(b"one\ntwo")
        with open(self.sent, "rb") as handle:
            self.cluster.spate("produce", self.topic, stdin=handle)
        back = self.cluster.spate("consume", self.topic, "-o", "start", "-e")
        self.assertEqual(back, b"one\ntwo\n")

    def test_roundtrip_of_nothing(self):
        self.cluster.spate("produce", self.topic)
        self.assertEqual(self.cluster.spate("consume", self.topic, "-o", "start", "-e"), b"")

    def test_roundtrip_of_line_too_long_names_it(self):
        self.write(b"short\n" + b"x" * (2 << 20) + b"\nafter\n")
        with open(self.sent, "rb") as handle:
            done = self.cluster.run("produce", self.topic, stdin=handle)
        self.assertEqual(done.returncode, 7)
        self.assertRegex(done.stderr.decode(), r"record 2: .*2097\d\d\d bytes does not fit")
        back = self.cluster.spate("consume", self.topic, "-o", "start", "-e")
        self.assertEqual(back, b"short\nafter\n")


if __name__ == "__main__":
    cluster.main()
