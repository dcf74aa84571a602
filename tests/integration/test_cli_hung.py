#!/usr/bin/env python3
"""`spate consume` while a server hangs: records go on, and what is said is true."""

import os
import signal
import struct
import subprocess
import threading
import time
import unittest

import cluster
import rpc
from test_cli_alone import FakeServer

PAUSE_SECONDS = 0.02  # between two records


class HungTest(unittest.TestCase):
    def servers(self):
        """One that hangs once `hung` is set, and one that leads t/0; the times at which each was
        asked who leads, and an event for records to come."""
        hung, flowing = threading.Event(), threading.Event()
        hangs, leads = FakeServer({}), FakeServer({"offsets": {"offset": 0}})
        asked = {hangs: [], leads: []}

        def fetch(fields):
            if not flowing.wait(0.3):
                return {"high_watermark": 0, "log_start": 0, "end_offset": 0, "records": b""}
            time.sleep(PAUSE_SECONDS)
            offset = fields["offset"]
            batch = bytearray(rpc.encode_batch([b"x"]))
            struct.pack_into(">q", batch, 0, offset)  # outside of the batch's checksum
            struct.pack_into(">i", batch, 12, 1)
            end = offset + 1
            return {"high_watermark": end, "log_start": 0, "end_offset": end,
                    "records": bytes(batch)}

        def describe(server):
            asked[server].append(time.monotonic())
            row = {"partition": 0, "leader": 1, "leader_address": leads.address, "epoch": 1,
                   "replicas": [1]}
            topic = {"name": "t", "id": 7, "partitions": [row]}
            answer = {"controller": 1, "nodes": [{"id": 1, "address": leads.address}],
                      "topics": [topic]}
            return None if server is hangs and hung.is_set() else answer

        leads.answers["fetch"] = fetch
        for server in (hangs, leads):
            self.addCleanup(server.close)
            server.answers["metadata"] = lambda _, server=server: describe(server)
        return hangs, leads, asked, hung, flowing

    def consume(self, servers, *options):
        names = ",".join(server.address for server in servers)
        reader = subprocess.Popen(
            [cluster.SPATE, "consume", "t", "-s", names, *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "HOME": "/nonexistent"},
        )
        self.addCleanup(lambda: reader.poll() is None and reader.kill())
        return reader

    def test_records_go_on_while_it_looks_for_leaders(self):
        hangs, _, asked, hung, flowing = self.servers()
        flowing.set()
        reader = self.consume([hangs], "--timeout", "8s", "-f", r"%o\n")
        times = []

        def read():
            for _ in reader.stdout:
                times.append(time.monotonic())

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        cluster.wait_for("the first record", lambda: times)
        hung.set()
        before = len(asked[hangs])
        cluster.wait_for("a look", lambda: len(asked[hangs]) > before)
        begun = asked[hangs][before]
        cluster.wait_for("the end of that look", lambda: time.monotonic() > begun + 3)
        reader.send_signal(signal.SIGINT)
        thread.join()
        errors = reader.stderr.read()
        reader.wait()
        reader.stdout.close()
        reader.stderr.close()
        early = [when for when in times if begun + 0.1 < when < begun + 0.9]
        self.assertGreater(len(early), 2, "records wait for an answer that does not come")
        self.assertEqual(errors, b"", "somebody has answered")

    def test_another_server_is_asked_when_one_hangs(self):
        hangs, leads, asked, hung, _ = self.servers()
        hung.set()
        reader = self.consume([hangs, leads], "--timeout", "4s")
        cluster.wait_for("the first question", lambda: asked[leads])
        before = len(asked[leads])
        cluster.wait_for("three looks", lambda: len(asked[leads]) >= before + 3, 20)
        reader.send_signal(signal.SIGINT)
        self.assertNotIn(b"no server answers", reader.communicate(timeout=20)[1])


if __name__ == "__main__":
    unittest.main()
