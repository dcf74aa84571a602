"""Faults of what surrounds a process: clocks, processor, memory, descriptors, bad clients."""

import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import time

from .cluster import CLIENT_PORT, PEER_PORT
from .nemesis import ALL, LEADER, MAJORITY, MINORITY, ONE, RECOVERING, Nemesis
from .network import address_of

BALLAST_BYTES = 64 << 20


class Clock(Nemesis):
    """The wall clock jumps, or goes to and fro; the monotonic clock runs at another rate. Seen: the
    node has read its clock since."""

    kind = "clock"
    aims = (LEADER, ONE, MINORITY, MAJORITY, ALL, RECOVERING)
    claims = False
    JUMPS_SECONDS = (-86400, -3600, -60, -1, 0.5, 60, 3600, 86400)
    RATES_PPM = (800_000, 950_000, 1_050_000, 1_250_000)

    def strike(self, aim, target):
        clocks = [self.cluster.node(number).clock for number in target]
        how = self.random.choice(["jump", "strobe", "rate"])
        value = self.random.choice(self.RATES_PPM if how == "rate" else self.JUMPS_SECONDS)
        fault = self.log.begin(self.kind, target, self.seed, aim=aim, how=how, value=value)
        for clock in clocks:
            clock.rate(value) if how == "rate" else clock.jump(value)
        before = [clock.reads() for clock in clocks]
        deadline = time.monotonic() + self.random.uniform(2, 6)
        if how == "strobe":
            while time.monotonic() < deadline and not self.stop.wait(0.1):
                for clock in clocks:
                    clock.jump(self.random.choice([0, value]))
        else:
            self.stop.wait(deadline - time.monotonic())
        index = 1 if how == "rate" else 0
        reads = [clock.reads()[index] - b[index] for clock, b in zip(clocks, before)]
        if all(reads):
            self.log.saw(fault, reads=sum(reads))
        for clock in clocks:
            clock.rate(1_000_000) if how == "rate" else clock.jump(0)
        self.log.end(fault)


class CpuLimit(Nemesis):
    """The process gets a few hundredths of a processor. Seen: it had to wait for its turn."""

    kind = "cpu-limit"
    aims = (LEADER, ONE, MINORITY)
    claims = False

    def strike(self, aim, target):
        groups = [self.cluster.node(number).cgroup for number in target]
        share = self.random.choice([0.02, 0.05, 0.2])
        before = sum(group.throttled() for group in groups)
        fault = self.log.begin(self.kind, target, self.seed, aim=aim, share=share)
        for group in groups:
            group.limit_cpu(share)
        self.hold()
        periods = sum(group.throttled() for group in groups) - before
        if periods:
            self.log.saw(fault, periods_throttled=periods)
        for group in groups:
            group.limit_cpu(0)
        self.log.end(fault)


class MemoryLimit(Nemesis):
    """Another process takes the memory that the node may have, and the kernel kills the node. Seen:
    the kernel's count of such kills, and the exit code."""

    kind = "memory-limit"
    aims = (LEADER, ONE, RECOVERING)

    def ballast(self):
        """A process that takes memory until somebody is killed, which shall be the other one."""
        code = (
            "import sys\n"
            "open('/proc/self/oom_score_adj', 'w').write('-1000')\n"
            "sys.stdin.readline()\n"
            "held = []\n"
            f"while sum(map(len, held)) < {2 * BALLAST_BYTES}: held.append(b'x' * (1 << 20))\n"
            "sys.stdin.readline()\n"
        )
        return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, text=True)

    def strike(self, aim, target):
        node = self.cluster.node(target[0])
        if not node.alive:
            return
        before = self.led(target)
        kills = node.cgroup.oom_kills()
        node.excused += 1
        fault = self.log.begin(self.kind, target, self.seed, aim=aim)
        with open(f"/proc/{node.process.pid}/oom_score_adj", "w", encoding="ascii") as handle:
            handle.write("1000")
        ballast = self.ballast()
        node.cgroup.add(ballast.pid)
        node.cgroup.limit_memory(node.cgroup.used_bytes() + BALLAST_BYTES)
        try:
            ballast.stdin.write("go\n")
            ballast.stdin.flush()
            code = node.process.wait(10)
            kills = node.cgroup.oom_kills() - kills
            if code == -signal.SIGKILL and kills:
                self.log.saw(fault, exit_code=code, oom_kills=kills)
                self.saw_election(fault, before)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            pass  # nobody was killed, or the ballast was: not seen
        finally:
            ballast.kill()
            ballast.communicate()
            node.cgroup.limit_memory(0)
        self.cluster.restart(node.number)
        node.excused -= 1
        self.log.end(fault)


class Descriptors(Nemesis):
    """The process may open no further descriptor: no connection, no file. Seen: it holds as many as
    it may, and connections that were offered got no answer or were closed."""

    kind = "descriptors"
    aims = (LEADER, ONE, MINORITY)
    CONNECTIONS = 20
    SPARE = 4

    def strike(self, aim, target):
        nodes = [self.cluster.node(number) for number in target]
        if not all(node.alive for node in nodes):
            return
        fault = self.log.begin(self.kind, target, self.seed, aim=aim)
        for node in nodes:
            node.excused += 1  # a log that cannot be opened stops it
            pid = node.process.pid
            limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            allowed = len(os.listdir(f"/proc/{pid}/fd")) + self.SPARE
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (allowed, limits[1]))
            refused = self.offer(node)
            self.hold()
            held = len(os.listdir(f"/proc/{pid}/fd")) if node.alive else 0
            if refused:
                self.log.saw(fault, node=node.number, refused=refused, allowed=allowed, held=held)
            if node.alive:
                resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
            elif node.process.poll() not in (1, None):
                self.cluster.fail(f"node {node.number} ended with {node.process.poll()} (EMFILE)")
            self.cluster.restart(node.number)
            node.excused -= 1
        self.log.end(fault)

    def offer(self, node):
        """Opens connections and pings on each: how many got no answer."""
        ping = b"\x94\x00\x01\xa4ping\x91\x80"
        opened, refused = [], 0
        with self.run_.network.namespaces[0]:
            for _ in range(self.CONNECTIONS):
                one = socket.socket()
                one.settimeout(1.0)
                opened.append(one)
        for one in opened:
            try:
                one.connect((address_of(node.number), CLIENT_PORT))
                one.sendall(ping)
                one.settimeout(0.2)
                refused += not one.recv(64)
            except OSError:
                refused += 1
        for one in opened:
            one.close()
        return refused


class BadClients(Nemesis):
    """Clients that send garbage, half messages, huge claims, floods that nobody reads answers of,
    or nothing at all, on the client's and on the nodes' port. Seen: the node closed connections
    that it could not make sense of, and lives."""

    kind = "bad-clients"
    aims = (LEADER, ONE, MAJORITY)
    claims = False
    PIECES = {
        "garbage": None,  # drawn
        "huge-text": b"\x94\x00\x01\xdb\xff\xff\xff\xff",
        "huge-array": b"\xdd\xff\xff\xff\xff",
        "deep": b"\x91" * 100_000,
        "wrong-type": b"\x94\x07\xc0\xc0\xc0",
        "http": b"GET / HTTP/1.1\r\nHost: spate\r\n\r\n",
        "half": b"\x94\x00\x01\xa4pi",
        "idle": b"",
        "unread": b"\x94\x00\x01\xa8metadata\x91\x80" * 2000,
    }
    CLOSED = ("garbage", "huge-text", "huge-array", "deep", "wrong-type", "http")
    CONNECTIONS = 60

    def open_one(self, number):
        kind = self.random.choice(sorted(self.PIECES))
        port = CLIENT_PORT if self.random.random() < 0.7 else PEER_PORT
        with self.run_.network.namespaces[0]:
            one = socket.socket()
        one.settimeout(1.0)
        try:
            one.connect((address_of(number), port))
            one.setblocking(False)
            one.send(self.PIECES[kind] if kind != "garbage" else self.random.randbytes(3000))
        except OSError:
            pass  # the node is down or cut off, or its queue is full: so be it
        return kind, one

    def closed(self, one):
        try:
            return one.recv(65536) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def strike(self, aim, target):
        fault = self.log.begin(self.kind, target, self.seed, aim=aim)
        clients = [
            self.open_one(self.random.choice(target)) for _ in range(self.CONNECTIONS)
        ]
        self.hold()
        closed = [kind for kind, one in clients if kind in self.CLOSED and self.closed(one)]
        alive = [n for n in target if self.cluster.node(n).call("ping") is not None]
        if closed and alive:
            self.log.saw(fault, closed=len(closed), of=len(clients), answering=alive)
        for _, one in clients:
            linger = struct.pack("ii", 1, 0)  # half of them end with a reset
            if self.random.random() < 0.5:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            one.close()
        self.log.end(fault)


STREAMS = [Clock, CpuLimit, MemoryLimit, Descriptors, BadClients]
