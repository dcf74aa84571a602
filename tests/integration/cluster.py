"""Real `spated` processes on loopback, for the tests of this folder.

    with Cluster(3) as cluster:          # three nodes, one cluster, data in a temporary directory
        cluster.spate("topic", "create", "t")
        cluster.nodes[0].kill()
        cluster.nodes[0].start()

Ports are chosen at run time, below those that the kernel hands out, and reserved against other
tests by an abstract socket. Only processes started here are ended, by their pid; a node also dies
with the test that started it. When a test fails, the ends of the nodes' traces are printed.
"""

import ctypes
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

from waiting import wait_for

BIN = os.environ.get("SPATE_BIN", "")
SPATED = os.path.join(BIN, "spated")
SPATE = os.path.join(BIN, "spate")
PORTS = range(20000, 32000)
PR_SET_PDEATHSIG = 1
SKIPPED = 77  # exit code by which ctest knows that something was left out

_libc = ctypes.CDLL(None)
_reserved = []  # sockets that hold the names of ports until this process ends


def die_with_parent():
    """For `preexec_fn`: a program dies with the test that started it."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def missing(what):
    """A tool is not there: that is a skip by hand, and a failure where nothing may be skipped."""
    if os.environ.get("CI") == "true":
        raise AssertionError(f"{what} is missing, and with CI=true nothing may be skipped")
    raise unittest.SkipTest(f"{what} is missing")


def reserve_port(port):
    """Is it free? Then it is this process' own until it ends."""
    name = socket.socket(socket.AF_UNIX)
    probe = socket.socket()
    try:
        name.bind(f"\0spate-port-{port}")
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
    except OSError:
        name.close()
        return False
    finally:
        probe.close()
    _reserved.append(name)
    return True


def frames_end(path):
    """Where the frames of a segment end: behind them may be room, which is zeros."""
    with open(path, "rb") as handle:
        return len(handle.read().rstrip(b"\0"))


def free_port(further=()):
    """A port that is free, as are those so many above it."""
    for _ in range(1000):
        port = random.choice(PORTS)
        if all(reserve_port(port + above) for above in (0, *further)):
            return port
    raise AssertionError("no free port found")


class Node:
    def __init__(self, number, directory, host="127.0.0.1", enter=(), shards=1):
        """`enter`: words before its command, to run it in a network where it has `host`. `shards`:
        so many may it be started with."""
        self.number = number
        self.host = host
        self.enter = list(enter)
        self.directory = directory
        self.data = os.path.join(directory, "data")
        self.config = os.path.join(directory, "spated.yaml")
        self.log = os.path.join(directory, "spated.log")
        above = range(1, shards)
        self.client_port = free_port([2 * shard for shard in above])
        self.peer_port = free_port([2 * shard for shard in above])
        self.http_port = free_port(above)
        self.address = f"{host}:{self.client_port}"
        self.process = None
        self.program = SPATED
        self.settings = []
        self.environment = {}

    def write_config(self, seeds, join=()):
        """`seeds` form a cluster; a node without them joins that of the nodes at `join`."""
        os.makedirs(self.directory, exist_ok=True)
        lines = [
            f"node: {{ id: {self.number} }}",
            "cluster:",
            *(["  seeds:"] if seeds else []),
            *[f'    - "{seed}"' for seed in seeds],
            *(["  join:"] if join else []),
            *[f'    - "{address}"' for address in join],
            "listen:",
            f'  client: "{self.address}"',
            f'  peer: "{self.host}:{self.peer_port}"',
            f'  http: "{self.host}:{self.http_port}"',
            f"data: {{ dir: {self.data} }}",
        ]
        with open(self.config, "w", encoding="utf-8") as handle:
            handle.write("\n".join(lines) + "\n")

    def start(self, **options):
        assert self.process is None, "it runs already"
        arguments = [*self.enter, self.program, "--config", self.config]
        for setting in self.settings:
            arguments += ["--set", setting]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
                env={**os.environ, **self.environment},
                **options,
            )

    @property
    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """SIGKILL: the process is gone when this returns."""
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self, seconds=15):
        """SIGTERM: returns the exit code and the seconds it took."""
        started = time.monotonic()
        self.process.terminate()
        code = self.process.wait(seconds)
        self.process = None
        return code, time.monotonic() - started

    def wait(self, seconds=15):
        """Waits until it ends by itself, returns the exit code."""
        code = self.process.wait(seconds)
        self.process = None
        return code

    def trace(self):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as handle:
                return handle.read()
        except FileNotFoundError:
            return ""

    def rss_kib(self):
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as handle:
            return next(int(line.split()[1]) for line in handle if line.startswith("VmRSS"))


class Cluster:
    def __init__(
        self, size, settings=(), first=1, place=lambda number: ("127.0.0.1", ()), shards=1
    ):
        """`place` tells of a node its address and the words before its command; `shards`: so many
        may each node be started with."""
        self.directory = tempfile.mkdtemp(prefix="spate-test-")
        self.nodes = [
            Node(number, os.path.join(self.directory, f"node{number}"), *place(number), shards)
            for number in range(first, first + size)
        ]
        seeds = [f"{node.number}@{node.host}:{node.peer_port}" for node in self.nodes]
        for node in self.nodes:
            node.write_config(seeds)
            node.settings = list(settings)
        self.servers = ",".join(node.address for node in self.nodes)

    def __enter__(self):
        try:
            for node in self.nodes:
                node.start()
            self.wait_healthy()
        except BaseException:
            self.report()
            self.close()
            raise
        return self

    def __exit__(self, kind, value, traceback):
        if kind is not None:
            self.report()
        self.close()

    def close(self):
        for node in self.nodes:
            if node.alive:
                node.kill()
        if os.environ.get("SPATE_KEEP"):
            print(f"kept: {self.directory}", file=sys.stderr)
        else:
            shutil.rmtree(self.directory, ignore_errors=True)

    def report(self):
        for node in self.nodes:
            state = "runs" if node.alive else "does not run"
            print(f"---- trace of node {node.number}, which {state}:", file=sys.stderr)
            print("\n".join(node.trace().splitlines()[-25:]), file=sys.stderr)

    def add(self, number, settings=(), start=True):
        """A further node, which joins."""
        node = Node(number, os.path.join(self.directory, f"node{number}"))
        node.write_config([], [f"127.0.0.1:{other.peer_port}" for other in self.nodes[:3]])
        node.settings = list(settings)
        self.nodes.append(node)
        self.servers = ",".join(other.address for other in self.nodes)
        if start:
            node.start()
        return node

    def node(self, number):
        return next(node for node in self.nodes if node.number == number)

    def health(self):
        """The health as the first node that answers sees it, or None."""
        import rpc

        for node in self.nodes:
            try:
                with rpc.Client(node.address, timeout=2) as client:
                    return client.call("cluster.health")
            except (OSError, EOFError, rpc.Refused):
                continue
        return None

    def is_healthy(self):
        """Does every node that runs say that all is well?"""
        import rpc

        for node in self.nodes:
            if node.process is None:
                continue
            if not node.alive:
                raise AssertionError(f"node {node.number} has ended")
            try:
                with rpc.Client(node.address, timeout=2) as client:
                    if not client.call("cluster.health")["healthy"]:
                        return False
            except (OSError, EOFError, rpc.Refused):
                return False
        return True

    def wait_healthy(self, seconds=15.0):
        """Waits until every node that runs says that all is well; returns the seconds it took."""
        started = time.monotonic()
        try:
            wait_for("a healthy cluster", self.is_healthy, seconds)
        except AssertionError as failure:
            raise AssertionError(f"{failure}; last seen: {str(self.health())[:2000]}") from None
        return time.monotonic() - started

    def leader(self, topic, partition=0, seconds=10.0):
        """The node that leads a partition, once it is one that runs."""
        import rpc

        def find():
            for node in self.nodes:
                if not node.alive:
                    continue
                try:
                    with rpc.Client(node.address, timeout=2) as client:
                        topics = client.call("metadata", topics=[topic])["topics"]
                except (OSError, EOFError, rpc.Refused):
                    continue
                leader = topics[0]["partitions"][partition]["leader"] if topics else -1
                if leader > 0 and self.node(leader).alive:
                    return self.node(leader)
            return None

        return wait_for(f"a leader of {topic}/{partition}", find, seconds)

    # ---- the command line -----------------------------------------------------------------------

    def environment(self):
        own = {name: value for name, value in os.environ.items() if not name.startswith("SPATE_")}
        home = {"XDG_CONFIG_HOME": os.path.join(self.directory, "config")}
        return {**own, **home, "SPATE_SERVERS": self.servers, "LC_ALL": "C.UTF-8"}

    def popen(self, *arguments, **options):
        return subprocess.Popen(
            [SPATE, *arguments],
            env=self.environment(),
            preexec_fn=die_with_parent,
            **options,
        )

    def run(self, *arguments, seconds=120, enter=(), **options):
        """Runs `spate` to its end, whatever that is; `enter`: words before the command."""
        options.setdefault("stdin", None if "input" in options else subprocess.DEVNULL)
        if "input" in options:
            del options["stdin"]
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        return subprocess.run(
            [*enter, SPATE, *arguments],
            env=self.environment(), timeout=seconds, check=False, **options
        )

    def spate(self, *arguments, **options):
        """Runs `spate`, which must succeed; returns what it printed."""
        done = self.run(*arguments, **options)
        if done.returncode != 0:
            words = (done.stderr or b"").decode(errors="replace")
            raise AssertionError(f"spate {' '.join(arguments)}: exit {done.returncode}: {words}")
        return done.stdout

    def spate_json(self, *arguments):
        return json.loads(self.spate(*arguments, "--json"))

    def spate_json_of(self, code, *arguments):
        """The same of a command that ends with this exit code."""
        done = self.run(*arguments, "--json")
        if done.returncode != code:
            words = done.stderr.decode(errors="replace")
            raise AssertionError(f"spate {' '.join(arguments)}: exit {done.returncode}: {words}")
        return json.loads(done.stdout)


def main():
    if not os.access(SPATED, os.X_OK):
        sys.exit(f"no program {SPATED}: set SPATE_BIN to the folder of spated and spate")
    result = unittest.main(verbosity=2, exit=False).result
    if not result.wasSuccessful():
        sys.exit(1)
    sys.exit(SKIPPED if result.skipped else 0)
