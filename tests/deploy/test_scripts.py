#!/usr/bin/env python3
"""The set-up scripts refuse what they should: a wrong tarball, a lost record, a leader that stays.

Called as `test_scripts.py ROOT`. deploy/quickstart runs in a scratch checkout against stand-ins for
the programs (stub_spate.py), so that every way of failing can be produced at will.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else os.getcwd()
HERE = os.path.dirname(os.path.abspath(__file__))
TARBALL = "raft_0.22.1.orig.tar.gz"
STUB_SPATED = "#!/usr/bin/env python3\nimport time\ntime.sleep(120)\n"


def run(arguments, **environment):
    return subprocess.run(
        arguments,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
    )


def write_program(path, content):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as handle:
        handle.write(content)
    os.chmod(path, 0o755)


class ScratchTest(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.scratch)

    def assert_refused(self, result, words):
        self.assertNotEqual(result.returncode, 0, result.stdout)
        self.assertIn(words, result.stdout)


class GetLibraftTest(ScratchTest):
    script = os.path.join(ROOT, "cmake", "get-libraft")

    def test_get_libraft_wrong_tarball_is_refused(self):
        wrong = os.path.join(self.scratch, "wrong.tar.gz")
        write_program(wrong, "not the source")
        out = os.path.join(self.scratch, "out")
        self.assert_refused(run([self.script, out], SPATE_RAFT_TARBALL=wrong), "wrong sha256")
        self.assertFalse(os.path.exists(os.path.join(out, "lib", "libraft.a")))

    def test_get_libraft_unreadable_tarball_is_named(self):
        result = run([self.script, self.scratch], SPATE_RAFT_TARBALL="/nowhere/raft.tar.gz")
        self.assert_refused(result, "/nowhere/raft.tar.gz cannot be read")

    @unittest.skipUnless(
        os.path.exists(os.path.join(ROOT, ".deps", "libraft", TARBALL)), "built by other means"
    )
    def test_get_libraft_builds_offline_once_with_assertions(self):
        tarball = os.path.join(ROOT, ".deps", "libraft", TARBALL)
        first = run([self.script, self.scratch], SPATE_RAFT_TARBALL=tarball)
        self.assertEqual(first.returncode, 0, first.stdout)
        symbols = run(["nm", os.path.join(self.scratch, "lib", "libraft.a")]).stdout
        self.assertIn(" T raft_step", symbols)
        self.assertIn("__assert_fail", symbols)
        second = run([self.script, self.scratch], SPATE_RAFT_TARBALL=tarball)
        self.assertEqual((second.returncode, second.stdout), (0, ""))


class ArgumentsTest(ScratchTest):
    def test_scripts_unknown_argument_is_refused(self):
        for script, words in (
            ("deploy/quickstart", "unknown option --nonsense"),
            ("deploy/install-packages", "no package group '--nonsense'"),
            ("tests/run", "unknown argument '--nonsense'"),
            ("tests/long/bare-container", "unknown argument '--nonsense'"),
        ):
            self.assert_refused(run([os.path.join(ROOT, script), "--nonsense"]), words)


def free_port_range():
    """First port of a range in which the three nodes of a quickstart find theirs free."""
    for first in range(27700, 60000, 400):
        try:
            for node in range(3):
                for part in (0, 1, 80):
                    with socket.socket() as probe:
                        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                        probe.bind(("127.0.0.1", first + 100 * node + part))
            return first
        except OSError:
            continue
    raise RuntimeError("no free ports")


class QuickstartTest(ScratchTest):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.port = free_port_range()

    def setUp(self):
        super().setUp()
        shutil.copytree(os.path.join(ROOT, "deploy"), os.path.join(self.scratch, "deploy"))
        self.script = os.path.join(self.scratch, "deploy", "quickstart")
        programs = os.path.join(self.scratch, "build", "bin")
        write_program(os.path.join(programs, "spated"), STUB_SPATED)
        shutil.copy(os.path.join(HERE, "stub_spate.py"), os.path.join(programs, "spate"))
        os.chmod(os.path.join(programs, "spate"), 0o755)
        write_program(os.path.join(self.scratch, "stub", "cmake"), "#!/bin/sh\n")
        self.addCleanup(lambda: self.quickstart("none", "stop"))

    def quickstart(self, fault, *arguments):
        path = os.path.join(self.scratch, "stub") + os.pathsep + os.environ["PATH"]
        return run([self.script, *arguments], PATH=path, QUICKSTART_STUB=fault,
                   QUICKSTART_PORT=str(self.port))

    def file(self, content):
        path = os.path.join(self.scratch, "input")
        with open(path, "wb") as handle:
            handle.write(content)
        return path

    def lines(self):
        """Empty lines, tabs, every byte but newline, nl's section marks, no newline at the end."""
        strange = bytes(byte for byte in range(256) if byte != 10)
        return b"".join([b"\n", b"\\:\\:\\:\n", b"7\t8\n", strange + b"\n"] * 50) + b"the end"

    def test_quickstart_intact_file_is_accepted_twice(self):
        file = self.file(self.lines())
        for _ in range(2):
            result = self.quickstart("none", file)
            self.assertEqual(result.returncode, 0, result.stdout)
            self.assertRegex(result.stdout, r"records +201\n")
            self.assertRegex(result.stdout, r"lost +0\n +duplicated +0\n")
        self.assertIn("SIGKILL to node 1", result.stdout)

    def test_quickstart_lost_record_is_reported(self):
        result = self.quickstart("lose", self.file(self.lines()))
        self.assert_refused(result, "what came back is not what went in")
        self.assertRegex(result.stdout, r"lost +1\n +duplicated +0\n")

    def test_quickstart_repeated_record_is_reported(self):
        result = self.quickstart("repeat", self.file(self.lines()))
        self.assert_refused(result, "what came back is not what went in")
        self.assertRegex(result.stdout, r"lost +0\n +duplicated +1\n")

    def test_quickstart_altered_record_is_reported(self):
        result = self.quickstart("alter", self.file(self.lines()))
        self.assert_refused(result, "what came back is not what went in")

    def test_quickstart_leader_that_stays_is_reported(self):
        result = self.quickstart("no-failover", self.file(self.lines()))
        self.assert_refused(result, "no leader changed")

    def test_quickstart_nothing_in_flight_is_reported(self):
        result = self.quickstart("nothing-in-flight", self.file(self.lines()))
        self.assert_refused(result, "no leader with records in flight")

    def test_quickstart_start_of_nothing_built_is_refused(self):
        os.remove(os.path.join(self.scratch, "build", "bin", "spated"))
        for command in ("start", "status"):
            self.assert_refused(self.quickstart("none", command), "nothing is built here yet")

    def test_quickstart_short_file_is_refused(self):
        result = self.quickstart("none", self.file(b"one\ntwo\n"))
        self.assert_refused(result, "has 2 lines")


if __name__ == "__main__":
    unittest.main()
