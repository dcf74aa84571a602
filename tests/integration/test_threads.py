#!/usr/bin/env python3
"""One client used by many threads at once (client_threads.c) while a node is killed and restarted.

SPATE_THREADS is the program: as shipped, or, with SPATE_SANITIZED=1, of a build with
ThreadSanitizer.
"""

import os
import shutil
import subprocess
import unittest

import cluster

PROGRAM = os.environ.get("SPATE_THREADS", "")
RECORDS = 10000  # of each of the four writers


class ThreadsTest(unittest.TestCase):
    def run_program(self, *prefix, records=RECORDS, kill=True, seconds=150):
        with cluster.Cluster(3) as nodes:
            program = subprocess.Popen(
                [*prefix, PROGRAM, nodes.servers, "threads", str(records)],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            try:
                self.assertEqual(program.stdout.readline(), "half\n", "it ended early")
                if kill:
                    victim = nodes.leader("threads")
                    victim.kill()
                    victim.start()
                out, err = program.communicate(timeout=seconds)
            except BaseException:
                program.kill()
                print(program.communicate()[1])
                raise
            print(out.strip())
            self.assertEqual(program.returncode, 0, out + err)
            self.assertIn(f"written {4 * records} reported {4 * records}", out)
            self.assertNotIn("ThreadSanitizer", err)

    def test_threads_share_a_client_while_a_node_dies(self):
        self.run_program()

    def test_threads_leave_nothing_behind(self):
        if os.environ.get("SPATE_SANITIZED"):
            return  # two such tools at once do not work
        valgrind = shutil.which("valgrind")
        if valgrind is None:
            cluster.missing("valgrind")
        self.run_program(
            valgrind, "-q", "--leak-check=full", "--errors-for-leak-kinds=all",
            "--error-exitcode=9", "--fair-sched=yes",
            records=500, kill=False,
        )


if __name__ == "__main__":
    cluster.main()
