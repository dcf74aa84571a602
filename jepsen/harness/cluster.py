"""The cluster under test: nodes as processes, each with a network, a disk and clocks of its own.

A fault that concerns a node's process or disk claims the node first, so that two of them never
meddle with one process; faults of the network need no claim. A node is `recovering` from its
restart until it serves again, and may be claimed meanwhile: that is where bugs live.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

from . import sandbox
from .cgroup import Cgroup
from .clock import Clock
from .control import Control
from .network import address_of

sys.path.append(os.path.join(os.path.dirname(__file__), "..", "..", "src", "cli", "lab"))
import rpc  # noqa: E402 # of spate lab

CLIENT_PORT = 7700
PEER_PORT = 7701
HTTP_PORT = 7780
CALL_SECONDS = 1.5
STOP_SECONDS = 20
FINAL_REFUSALS = ("INVALID", "EXISTS", "NOT_FOUND", "UNKNOWN_TOPIC", "UNSUPPORTED")
CRASHES = {
    -4: "died of SIGILL",
    -6: "died of SIGABRT",
    -7: "died of SIGBUS",
    -11: "died of SIGSEGV",
}


class Member:
    """A node that can be asked."""

    process = None  # while it has one here

    def __init__(self, number, address):
        self.number = number
        self.address = address

    def connect(self):
        return rpc.Client(self.address, CALL_SECONDS)

    def ask(self, method, **fields):
        """The answer. rpc.Refused, or OSError, EOFError, ValueError when the node gives none."""
        with self.connect() as client:
            return client.call(method, **fields)

    def call(self, method, **fields):
        """The answer, or None when the node gives none."""
        try:
            return self.ask(method, **fields)
        except (OSError, EOFError, rpc.Refused, ValueError):
            return None

    def waited_seconds(self):
        """For how long its loop has waited for a processor since it was started; 0: it is gone."""
        process = self.process
        try:
            with open(f"/proc/{process.pid}/schedstat", encoding="ascii") as handle:
                return int(handle.read().split()[1]) / 1e9
        except (AttributeError, OSError):
            return 0.0


class Node(Member):
    def __init__(self, cluster, number):
        super().__init__(number, f"{address_of(number)}:{CLIENT_PORT}")
        self.cluster = cluster
        self.folder = os.path.join(cluster.folder, "nodes", str(number))
        self.data = os.path.join(self.folder, "data")
        self.backing = os.path.join(self.folder, "disk")
        self.trace_path = os.path.join(self.folder, "trace.log")
        self.namespace = cluster.network.namespaces[number]
        self.process = None
        self.binaries = cluster.binaries  # of the build that it is started as
        self.recovering = False
        self.excused = 0  # faults that hold by which the process may end itself
        self.started_at = 0.0
        self.trace_before = 0  # bytes of the trace when it was started last
        self.claimed = threading.Lock()
        os.makedirs(self.data)
        self.clock = Clock(os.path.join(self.folder, "clock"))
        self.cgroup = Cgroup(cluster.owner, number)
        self.disk = Control(
            [f"{cluster.binaries}/jepsen-disk", self.backing, self.data, self._socket()],
            self._socket(),
            os.path.join(self.folder, "disk.log"),
        )
        self._await_mount()

    def _socket(self):
        return f"{sandbox.RUNTIME}/disk{self.number}"

    def _await_mount(self):
        deadline = time.monotonic() + 10
        while not os.path.ismount(self.data):
            if time.monotonic() > deadline or self.disk.process.poll() is not None:
                raise sandbox.Missing("FUSE: the disk of a node was not mounted")
            time.sleep(0.01)

    def write_config(self, seeds, join, settings):
        """`seeds` form the cluster, a node that is none of them joins those at `join`."""
        peer = f"{address_of(self.number)}:{PEER_PORT}"
        http = f"{address_of(self.number)}:{HTTP_PORT}"
        lines = [
            f"node: {{ id: {self.number} }}",
            "cluster:",
            "  join:" if join else "  seeds:",
            *[f'    - "{other}"' for other in join or seeds],
            f'listen: {{ client: "{self.address}", peer: "{peer}", http: "{http}" }}',
            f"data: {{ dir: {self.data} }}",
            *[f"{key}: {value}" for key, value in settings.items()],
        ]
        with open(os.path.join(self.folder, "config.yaml"), "w", encoding="utf-8") as handle:
            handle.write("\n".join(lines) + "\n")

    def connect(self):
        """Behind the back of all faults of the network."""
        with self.namespace:
            return super().connect()

    # ---- the process ----------------------------------------------------------------------------

    def start(self):
        with open(self.trace_path, "ab") as trace:
            self.trace_before = trace.tell()
            self.process = subprocess.Popen(
                [
                    *self.namespace.enter(),
                    f"{self.binaries}/spated",
                    "--config",
                    os.path.join(self.folder, "config.yaml"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=trace,
                stderr=trace,
                env={
                    **{k: v for k, v in os.environ.items() if not k.startswith("SPATE_")},
                    "LD_PRELOAD": f"{self.cluster.binaries}/jepsen-clock.so",
                    "JEPSEN_CLOCK": self.clock.path,
                },
            )
        try:
            self.cgroup.add(self.process.pid)
        except ProcessLookupError:
            pass  # it has ended already, which `View` sees
        self.started_at = time.monotonic()
        self.recovering = True

    @property
    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """SIGKILL. Returns the exit code, which is another one when it had ended before."""
        process, self.process = self.process, None
        if process is None:
            return None
        process.kill()
        return self.judge(process.wait())

    def stop(self):
        """SIGTERM, and SIGKILL when that takes too long. Returns the exit code; another one than 0
        fails the run, unless a fault excuses it or the process was too young to know the signal."""
        process, self.process = self.process, None
        if process is None:
            return None
        process.terminate()
        try:
            code = self.judge(process.wait(STOP_SECONDS))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = f"no end within {STOP_SECONDS} s"
        is_young = os.path.getsize(self.trace_path) == self.trace_before
        if code != 0 and not self.excused and not (is_young and code == -signal.SIGTERM):
            self.cluster.fail(f"node {self.number} ended with {code} after SIGTERM")
        return code

    def judge(self, code):
        """An assertion or a crash fails the run, whatever fault held. Returns the code."""
        if code in CRASHES:
            died = f"node {self.number} {CRASHES[code]}: {' '.join(self.trace_tail())}"
            self.cluster.fail(died)
        return code

    def signal(self, number):
        if self.alive:
            self.process.send_signal(number)

    def is_paused(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as handle:
            return handle.read().rpartition(")")[2].split()[0] == "T"

    def trace_tail(self, lines=1):
        with open(self.trace_path, "rb") as handle:
            handle.seek(max(0, os.path.getsize(self.trace_path) - 8192))
            return handle.read().decode(errors="replace").splitlines()[-lines:]

    # ---- its data -------------------------------------------------------------------------------

    def wipe(self):
        """Empties the data directory, for good: no power cut brings anything back."""
        for name in os.listdir(self.data):
            path = os.path.join(self.data, name)
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
        descriptor = os.open(self.data, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(descriptor)
        os.close(descriptor)

    def close(self):
        """Unmounts; the data are then plain files at `data`."""
        self.kill()
        sandbox.command("umount", "-l", self.data, check=False)
        self.disk.close()
        self.cgroup.close()
        current = os.path.join(self.backing, "cur")
        if os.path.isdir(current):
            os.rmdir(self.data)
            os.rename(current, self.data)
        shutil.rmtree(self.backing, ignore_errors=True)


class Cluster:
    def __init__(self, owner, folder, binaries, network, settings, size, spares=0):
        self.owner = owner
        self.folder = folder
        self.binaries = binaries
        self.network = network
        every = [Node(self, number) for number in range(1, size + spares + 1)]
        self.begin(every[:size], every[size:])
        seeds = [f"{n.number}@{address_of(n.number)}:{PEER_PORT}" for n in self.nodes]
        join = [f"{address_of(n.number)}:{PEER_PORT}" for n in self.nodes]
        for node in self.all:
            node.write_config(seeds, join if node in self.spares else [], settings)

    def begin(self, nodes, spares):
        self.failures = []  # what no fault explains
        self.all = [*nodes, *spares]
        self.nodes = nodes  # the members; replaced by another list, never changed
        self.spares = spares
        self.brokers = ",".join(node.address for node in self.nodes)
        self._members = threading.Lock()
        self._damage = threading.Lock()
        self._damaged = None  # the node that may have lost something

    def node(self, number):
        return self.all[number - 1]

    def is_member(self, number):
        return self.node(number) in self.nodes

    def add(self, node):
        with self._members:
            self.nodes = sorted([*self.nodes, node], key=lambda one: one.number)

    def discard(self, node):
        """A node that was removed from the cluster ends, and its disk is emptied. The caller has
        claimed it."""
        with self._members:
            self.nodes = [one for one in self.nodes if one is not node]
        node.kill()
        node.wipe()

    @property
    def majority(self):
        return len(self.nodes) // 2 + 1

    def fail(self, text):
        """Something happened that no fault explains: the run fails."""
        if text not in self.failures:
            self.failures.append(text)
            print(f"jepsen: FAILURE: {text}", flush=True)

    def claim(self, numbers):
        """Takes these nodes for a fault, all or none."""
        taken = []
        for number in sorted(numbers):
            if not self.node(number).claimed.acquire(blocking=False):
                self.release(taken)
                return False
            taken.append(number)
            if not self.is_member(number):
                self.release(taken)
                return False
        return True

    def release(self, numbers):
        for number in numbers:
            self.node(number).claimed.release()

    def restart(self, number):
        """Starts a node that a fault had ended."""
        node = self.node(number)
        if node.process is not None and not node.alive:
            node.judge(node.process.wait())
        if not node.alive:
            node.start()

    # ---- what must not be lost twice ------------------------------------------------------------

    def is_whole(self, node):
        """Whether it and a majority say that the node lacks nothing, and no partition that was on
        it or shall be there is moving: a replica that it lost may be a voter until that is over."""
        if not node.alive:
            return False
        answers = 0
        for one in self.nodes:
            health, moves = one.call("cluster.health"), one.call("cluster.moves")
            # One that has just started tells what it last knew: no move that has begun since.
            if health is None or moves is None or not health["controller"]:
                if one is node:
                    return False
                continue
            lacking = [row["missing"] for row in health["under_replicated"]]
            lacking += [move[side] for move in moves["moves"] for side in ("from", "to")]
            if any(node.number in numbers for numbers in lacking):
                return False
            if one is node and health["replicas_opening"]:
                return False
            answers += 1
        return answers >= self.majority

    def begin_damage(self, node):
        """Whether the node may lose something now: what was lost last has been repaired. Until
        end_damage nobody else begins."""
        if not self._damage.acquire(blocking=False):
            return False
        if self._damaged is None or self.is_whole(self._damaged):
            self._damaged = node
            return True
        self._damage.release()
        return False

    def end_damage(self):
        self._damage.release()

    # ---- questions ------------------------------------------------------------------------------

    def ask(self, method, seconds, stop=None, **fields):
        """The answer of any member, asked again while nobody knows; None when it was refused for
        good, or nobody answered in time."""
        deadline = time.monotonic() + seconds
        while True:
            for node in random.sample(self.nodes, len(self.nodes)):
                try:
                    return node.ask(method, **fields)
                except rpc.Refused as refused:
                    if refused.code in FINAL_REFUSALS:
                        return None
                except (OSError, EOFError, ValueError):
                    pass
            if time.monotonic() > deadline or (stop is not None and stop.wait(0.1)):
                return None

    def ask_informed(self, method, seconds):
        """The answer of a member that has caught up with the controller; None: no such one answered
        in time. Others tell what they knew before they were started."""
        deadline = time.monotonic() + seconds
        while True:
            for node in self.nodes:
                health = node.call("cluster.health")
                answer = node.call(method) if health and health["controller"] else None
                if answer is not None:
                    return answer
            if time.monotonic() > deadline:
                return None
            time.sleep(0.1)

    def health(self):
        for node in self.nodes:
            answer = node.call("cluster.health") if node.alive else None
            if answer is not None:
                return answer
        return None

    def is_healthy(self):
        for node in self.nodes:
            answer = node.call("cluster.health") if node.alive else None
            if answer is None or not answer["healthy"]:
                return False
        return True

    def is_settled(self):
        return self.is_healthy() and self.ask("cluster.moves", CALL_SECONDS) == {"moves": []}

    def wait_healthy(self, seconds):
        """The seconds until all is well and nothing moves any more, or None."""
        started = time.monotonic()
        while not self.is_settled():
            if time.monotonic() - started > seconds:
                return None
            time.sleep(0.1)
        return time.monotonic() - started

    def enter(self):
        """The words before a command that shall run in the clients' network."""
        return self.network.namespaces[0].enter()

    def spate(self, *words, seconds=60):
        """Runs `spate` in the clients' network."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SPATE_")}
        done = subprocess.run(
            [*self.enter(), f"{self.binaries}/spate", *words],
            env={**environment, "SPATE_SERVERS": self.brokers, "HOME": self.folder},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"spate {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def resume_all(self):
        for node in self.all:
            node.signal(signal.SIGCONT)

    def close(self):
        for node in self.all:
            node.close()
