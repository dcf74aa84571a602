#!/usr/bin/env python3
"""jepsen-replicas tells equal replicas from those that differ, and a torn end from damage."""

import os
import shutil
import subprocess
import sys
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../tests/integration"))

import cluster

REPLICAS = os.path.join(cluster.BIN, "jepsen-replicas")


def compare(*folders):
    words = [f"{n}={folder}" for n, folder in enumerate(folders, 1)]
    done = subprocess.run([REPLICAS, *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def data_of(text):
    """The data directory of a node that was stopped, and where it may be thrown away."""
    with cluster.Cluster(1) as one:
        one.spate("topic", "create", "t", "-p", "1", "-r", "1")
        one.spate("produce", "t", input=text)
        one.spate("produce", "t", input=text)
        one.nodes[0].stop()
        kept = one.directory + "-kept"
        shutil.copytree(one.nodes[0].data, kept)
    return kept


def count_records(path):
    with open(path, "rb") as handle:
        return handle.read().count(b"\x02a\x00")


class Replicas(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.a, cls.b = data_of(b"a\nb\n" * 50), data_of(b"c\nd\n" * 50)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.a)
        shutil.rmtree(cls.b)

    def segment(self, folder):
        """The file of the topic's records: the one with `a` in its batches."""
        paths = [
            os.path.join(where, name)
            for where, _, names in os.walk(folder)
            for name in names
            if name.endswith(".log")
        ]
        return max(paths, key=count_records)

    def test_the_same_is_equal(self):
        code, out, errors = compare(self.a, self.a)
        self.assertEqual(code, 0, out + errors)
        self.assertIn("records=200 ", out)
        self.assertNotIn("differ", out)

    def test_other_records_differ(self):
        code, out, errors = compare(self.a, self.b)
        self.assertEqual(code, 1, out + errors)
        self.assertIn("differ group=", out)

    def spoiled(self, change):
        folder = self.a + "-spoiled"
        shutil.copytree(self.a, folder)
        try:
            path = self.segment(folder)
            with open(path, "rb") as handle:
                data = bytearray(handle.read())
            with open(path, "wb") as handle:
                handle.write(change(data))
            return compare(self.a, folder)
        finally:
            shutil.rmtree(folder)

    def test_a_bit_that_flipped_is_damage(self):
        def flip(data):
            data[data.index(b"\x02a\x00")] ^= 1
            return data

        code, out, errors = self.spoiled(flip)
        self.assertEqual(code, 1, out + errors)
        self.assertEqual(out.count("state=damaged"), 1, out)

    def test_an_end_that_was_torn_is_none(self):
        code, out, errors = self.spoiled(lambda data: data + b"\x01" * 100)
        self.assertEqual(code, 0, out + errors)
        self.assertEqual(out.count("state=torn"), 1, out)

    def test_what_is_not_there_is_said(self):
        code, _, errors = compare(self.a, "/nowhere")
        self.assertEqual(code, 2)
        self.assertIn("/nowhere", errors)


if __name__ == "__main__":
    cluster.main()
