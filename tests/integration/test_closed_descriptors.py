#!/usr/bin/env python3
"""Programs that are started without standard input, output or error: nothing of their own takes the
place, so nothing that is printed goes into it, and they end as they would otherwise."""

import os
import unittest

import cluster


def closing(*descriptors):
    """Words before a command that run it with these closed."""
    return ("sh", "-c", 'exec "$0" "$@" ' + " ".join(f"{fd}>&-" for fd in descriptors))


class ClosedDescriptorsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.nodes = cluster.Cluster(1, place=lambda _: ("127.0.0.1", closing(0, 1)))
        cls.enterClassContext(cls.nodes)
        cls.nodes.spate("topic", "create", "t", "-p", "1")

    def closed(self, code, descriptors, *words, **options):
        done = self.nodes.run(
            *words, enter=closing(*descriptors), seconds=30, **options)
        self.assertEqual(done.returncode, code, (descriptors, words, done.stderr))
        return done.stdout, done.stderr.decode()

    def test_reading_what_is_closed_is_an_error(self):
        _, errors = self.closed(1, [0], "produce", "t")
        self.assertIn("cannot read standard input: Bad file descriptor", errors)

    def test_writing_to_what_is_closed_is_an_error(self):
        self.nodes.spate("produce", "t", input=b"a\n")
        for words in (["consume", "t", "-e"], ["topic", "list"]):
            _, errors = self.closed(1, [1], *words)
            self.assertIn("cannot write to standard output: Bad file descriptor", errors)
        _, errors = self.closed(1, [1], "produce", "t", "--json", input=b"b\n")
        self.assertIn("cannot write", errors)

    def test_what_is_not_needed_may_be_closed(self):
        self.nodes.spate("produce", "t", input=b"a\n")
        for descriptors in ([0], [2], [0, 2]):
            out, _ = self.closed(0, descriptors, "consume", "t", "-n", "1", "-o", "start")
            self.assertEqual(out, b"a\n")
        for descriptors in ([1], [2], [1, 2]):
            self.closed(0, descriptors, "produce", "t", input=b"b\n")
        self.closed(3, [2], "consume", "nothing", "-e")
        self.closed(0, [0, 1, 2], "topic", "create", "all-closed")
        self.assertIn(b"all-closed", self.nodes.spate("topic", "list"))

    def test_node_without_them_runs_and_stops(self):
        with cluster.Cluster(1, place=lambda _: ("127.0.0.1", closing(0, 1, 2))) as nodes:
            taken = [os.readlink(f"/proc/{nodes.nodes[0].process.pid}/fd/{fd}") for fd in range(3)]
            self.assertEqual(taken, 3 * ["/dev/null"], "what is traced must go into no file")
            nodes.spate("topic", "create", "t")
            nodes.spate("produce", "t", input=b"a\n")
            self.assertEqual(nodes.nodes[0].stop()[0], 0)


if __name__ == "__main__":
    cluster.main()
