#!/usr/bin/env python3
"""Servers that are dead, deaf or something else: every command ends in time and says why."""

import concurrent.futures
import contextlib
import os
import socket
import subprocess
import threading
import time
import unittest

import msgpack

import cluster

TIMEOUT_MS = 1500
# What starting eleven processes on a busy machine may add; a command that hangs takes for ever.
MARGIN_SECONDS = 6.0
UNREACHABLE, TIMED_OUT = 4, 6  # exit codes, of `spate --help`
HTTP = b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\nContent-Length: 0\r\n\r\n"

COMMANDS = [
    ("ping",),
    ("topic", "list"),
    ("topic", "create", "t"),
    ("topic", "delete", "t", "--yes"),
    ("cluster", "health"),
    ("produce", "t"),
    ("consume", "t", "-o", "start", "-e"),
    ("consume", "t", "-g", "readers"),
    ("consume", "t", "-g", "readers", "-e"),
    ("call", "metadata", "{}"),
    ("call", "topic.create", '{"name": "t"}'),
]


class Server:
    """Accepts connections and lets `talk` have each one, in a thread of its own."""

    def __init__(self, talk, backlog=16):
        self.talk = talk
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.stopped = threading.Event()
        if talk is not None:
            threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with contextlib.suppress(OSError), connection:
            self.talk(self, connection)

    def close(self):
        self.stopped.set()
        self.listener.close()


def requests(connection):
    unpacker = msgpack.Unpacker(raw=False, strict_map_key=False)
    while data := connection.recv(65536):
        unpacker.feed(data)
        yield from unpacker


def silent(server, connection):
    del connection
    server.stopped.wait()


def closes(server, connection):
    del server
    connection.recv(1)


def garbage(server, connection):
    connection.recv(1)
    connection.sendall(os.urandom(64 * 1024))
    server.stopped.wait()


def http(server, connection):
    connection.recv(1)
    connection.sendall(HTTP)
    server.stopped.wait()


def wrong_msgid(server, connection):
    del server
    for _, msgid, _, _ in requests(connection):
        connection.sendall(msgpack.packb([1, msgid ^ 0x5555, None, {}]))


def slow_bytes(server, connection):
    """One byte after the other of an answer that never ends."""
    for _, msgid, _, _ in requests(connection):
        head = b"\x94\x01" + msgpack.packb(msgid) + b"\xc0\xdb\x00\x10\x00\x00"
        connection.sendall(head)
        while not server.stopped.wait(0.05):
            connection.sendall(b"x")


def empty_answers(server, connection):
    """Well formed, and without any of the fields that were promised."""
    del server
    for _, msgid, _, _ in requests(connection):
        connection.sendall(msgpack.packb([1, msgid, None, {}]))


class ClientDeadlinesTest(unittest.TestCase):
    def spate(self, servers, *command, timeout_ms=TIMEOUT_MS):
        """(exit code, what it said, seconds)."""
        started = time.monotonic()
        done = subprocess.run(
            [cluster.SPATE, "--servers", servers, "--timeout", f"{timeout_ms}ms", *command],
            input=b"a record\n", capture_output=True, check=False,
            timeout=timeout_ms / 1000 + 30, env={**os.environ, "LC_ALL": "C.UTF-8"})
        seconds = time.monotonic() - started
        said = (done.stdout + done.stderr).decode(errors="replace")
        self.assertGreaterEqual(done.returncode, 0, f"{command} died by a signal: {said}")
        return done.returncode, said, seconds

    def check(self, servers, codes, words_min=20):
        with concurrent.futures.ThreadPoolExecutor(len(COMMANDS)) as pool:
            outcomes = pool.map(lambda command: self.spate(servers, *command), COMMANDS)
        for command, (code, said, seconds) in zip(COMMANDS, outcomes):
            with self.subTest(command=command):
                self.assertLess(seconds, TIMEOUT_MS / 1000 + MARGIN_SECONDS, said)
                self.assertIn(code, codes, said)
                if code != 0:
                    self.assertGreater(len(said.strip()), words_min, "it must say what to do")
                if "-g" in command and code in (UNREACHABLE, TIMED_OUT):
                    self.assertIn(servers, said, "it must say whom it asked")
                if os.environ.get("SPATE_SHOW"):
                    print(f"{' '.join(command)}: {code} after {seconds:.1f} s: {said.strip()}")

    def with_server(self, talk, codes, backlog=16):
        server = Server(talk, backlog)
        self.addCleanup(server.close)
        self.check(server.address, codes)

    def test_nobody_listens(self):
        self.check(f"127.0.0.1:{cluster.free_port()}", {UNREACHABLE})

    def test_name_that_does_not_exist(self):
        self.check("no-such-host.invalid:7700", {UNREACHABLE})

    def test_address_that_drops_everything(self):
        # The documentation's own network: answers come from nobody, or "unreachable" at once.
        self.check("192.0.2.1:7700", {UNREACHABLE})

    def test_connected_and_never_accepted(self):
        self.with_server(None, {TIMED_OUT})

    def test_silence(self):
        self.with_server(silent, {TIMED_OUT})

    def test_closed_at_once(self):
        self.with_server(closes, {UNREACHABLE, TIMED_OUT, 1})

    def test_garbage(self):
        self.with_server(garbage, {UNREACHABLE, TIMED_OUT, 1})

    def test_http(self):
        self.with_server(http, {UNREACHABLE, TIMED_OUT, 1})

    def test_answers_to_another_request(self):
        self.with_server(wrong_msgid, {UNREACHABLE, TIMED_OUT, 1})

    def test_answer_byte_by_byte(self):
        self.with_server(slow_bytes, {TIMED_OUT})

    def test_answers_without_their_fields(self):
        server = Server(empty_answers)
        self.addCleanup(server.close)
        self.check(server.address, {0, 1, 3, 5, UNREACHABLE, TIMED_OUT, 7}, words_min=1)

    def test_no_time_at_all(self):
        with cluster.Cluster(1) as nodes:
            code, said, _ = self.spate(nodes.servers, "topic", "list", timeout_ms=1)
            self.assertIn(code, (0, TIMED_OUT), said)

    def test_one_server_hangs_and_another_is_well(self):
        hung = Server(silent)
        self.addCleanup(hung.close)
        with cluster.Cluster(1) as nodes:
            servers = f"{hung.address},{nodes.servers}"
            for command in [("topic", "create", "a", "-r", "1"), ("topic", "list"),
                            ("call", "topic.create", '{"name": "b", "replicas": 1}'),
                            ("produce", "a"), ("consume", "a", "-o", "start", "-e"),
                            ("topic", "delete", "a", "--yes")]:
                with self.subTest(command=command):
                    code, said, seconds = self.spate(servers, *command, timeout_ms=20000)
                    self.assertEqual(code, 0, said)
                    self.assertLess(seconds, 8, "it waited for the one that hangs")


if __name__ == "__main__":
    cluster.main()
