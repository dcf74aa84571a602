"""Faults of processes: killed, paused, restarted in turn, and clients that die."""

import signal
import time

from .nemesis import ALL, ONE, Nemesis

CAUGHT_UP_SECONDS = 20


def partitions(before):
    return sorted(place[1] for place in before)


class Kill(Nemesis):
    """SIGKILL, down for a while, restart. Seen: the exit code, and newer epochs of what it led."""

    kind = "kill"
    often = 2

    def strike(self, aim, target):
        before = self.led(target)
        fault = self.log.begin(
            self.kind, target, self.seed, aim=aim, partitions=partitions(before)
        )
        codes = [self.cluster.node(number).kill() for number in target]
        if all(code == -signal.SIGKILL for code in codes):
            self.log.saw(fault, exit_codes=codes)
        if len(target) < self.cluster.majority:
            self.saw_election(fault, before)
        self.stop.wait(self.random.choice([0.0, self.random.uniform(0.2, 5.0)]))
        for number in target:
            self.cluster.restart(number)
        self.log.end(fault)


class Pause(Nemesis):
    """SIGSTOP, then SIGCONT: a leader wakes up that believes to be one still. Seen: the process
    stands, and newer epochs of what it led."""

    kind = "pause"

    def strike(self, aim, target):
        before = self.led(target)
        nodes = [self.cluster.node(number) for number in target]
        if not all(node.alive for node in nodes):
            return
        fault = self.log.begin(
            self.kind, target, self.seed, aim=aim, partitions=partitions(before)
        )
        for node in nodes:
            node.signal(signal.SIGSTOP)
        self.hold()
        if all(node.is_paused() for node in nodes):
            self.log.saw(fault, state="stopped")
        if len(target) < self.cluster.majority:
            self.saw_election(fault, before)
        for node in nodes:
            node.signal(signal.SIGCONT)
        self.log.end(fault)


class Rolling(Nemesis):
    """SIGTERM to one node after the other, which hands leadership over; the next one goes when the
    one before serves again. With --upgrade-to the nodes come back as the other build, and the next
    time as the first. Seen: exit code 0 of each, newer epochs of what they led."""

    kind = "rolling-restart"
    aims = (ALL,)
    claims = False  # of all nodes: one by one, below

    def strike(self, aim, target):
        builds = self.run_.builds
        fault = self.log.begin(self.kind, target, self.seed, aim=aim, builds=len(builds))
        for number in self.random.sample(target, len(target)):
            if not self._turn(fault, number, builds):
                break
        self.log.end(fault)

    def _turn(self, fault, number, builds):
        node = self.cluster.node(number)
        while not node.claimed.acquire(timeout=0.2):
            if self.stop.is_set():
                return False
        try:
            if not node.alive:
                return True
            before = self.led([number])
            code = node.stop()
            if code == 0:
                self.log.saw(fault, node=number, exit_code=code, led=len(before))
            node.binaries = builds[(builds.index(node.binaries) + 1) % len(builds)]
            node.start()
            self.run_.turns[builds.index(node.binaries)] += 1
        finally:
            node.claimed.release()
        deadline = time.monotonic() + CAUGHT_UP_SECONDS
        while node.recovering and time.monotonic() < deadline:
            if self.stop.wait(0.2):
                return False
        return True


class ClientKill(Nemesis):
    """SIGKILL to a client in the middle of its work; another takes its place. Seen: it lived."""

    kind = "client-kill"
    aims = (ONE,)
    claims = False

    def strike(self, aim, target):
        numbers = sorted(self.run_.load.running)
        if not numbers:
            return
        number = self.random.choice(numbers)
        fault = self.log.begin(self.kind, "-", self.seed, client=number)
        workload, was_alive = self.run_.load.kill(number)
        if was_alive:
            self.log.saw(fault, workload=workload)
        self.log.end(fault)


STREAMS = [Kill, Pause, Rolling, ClientKill]
