"""Streams of faults: each kind has its own chance, its own thread and its own gaps.

A stream is decided by (seed, kind): gaps are exponential, targets and lengths drawn. What the
cluster does in between is not decided by the seed, so a run can be repeated, but not replayed; the
log says what happened.

A third of all faults is aimed at the leader of a busy partition, a sixth at a node that recovers.
"""

import random
import threading
import time
import traceback
import zlib

GAP_PER_KIND_SECONDS = 1.6  # mean gap of a stream: this times the number of streams
HOLD_SECONDS = (1.5, 6.0)
OBSERVE_SECONDS = 6.0
RETRY_SECONDS = 0.5
CLAIM_SECONDS = 10.0
RECOVERING_SECONDS = 10.0  # that an aim at a node that recovers waits for one

ONE, LEADER, RECOVERING, MINORITY, MAJORITY, ALL = (
    "one",
    "leader",
    "recovering",
    "minority",
    "majority",
    "all",
)
WEIGHTS = {LEADER: 6, ONE: 3, RECOVERING: 3, MINORITY: 3, MAJORITY: 2, ALL: 1}


class Nemesis(threading.Thread):
    """One stream. A subclass has a `kind`, the target classes it may take, and `strike`."""

    kind = ""
    aims = (LEADER, ONE, RECOVERING, MINORITY, MAJORITY, ALL)
    claims = True  # meddles with processes or disks
    often = 1  # as often as the others; 2: twice
    weights = WEIGHTS

    def __init__(self, run):
        super().__init__(name=self.kind, daemon=True)
        self.run_ = run
        self.cluster = run.cluster
        self.log = run.log
        self.stop = run.stop
        self.seed = run.seed
        self.random = random.Random(zlib.crc32(f"{run.seed} {self.kind}".encode()))

    # ---- schedule -------------------------------------------------------------------------------

    def first_gap(self):
        """Everybody strikes once within the first half."""
        return self.random.uniform(0.2, 0.45) * self.run_.fault_seconds * self.random.random()

    def gap(self):
        mean = GAP_PER_KIND_SECONDS * self.run_.stream_count / self.run_.options.intensity
        return self.random.expovariate(self.often / mean)

    def run(self):
        gap = self.first_gap()
        while not self.stop.wait(gap):
            try:
                seen = self.log.observed.get(self.kind, 0)
                self.turn()
            except Exception:  # pylint: disable=broad-except # the run must fail, not hang
                self.cluster.fail(f"nemesis {self.kind}: {traceback.format_exc()}")
                return
            # No target was free, or nothing was seen of it: soon again.
            gap = self.gap() if self.log.observed.get(self.kind, 0) > seen else RETRY_SECONDS

    def turn(self):
        """One fault from begin to end, if a target is free."""
        aim, target = self.choose()
        if not target or (self.claims and not self.claim(target)):
            return
        try:
            self.strike(aim, target)
        finally:
            if self.claims:
                self.cluster.release(target)

    def claim(self, target):
        """Takes the nodes. Several are seldom free at once: they are waited for."""
        deadline = time.monotonic() + (CLAIM_SECONDS if len(target) > 1 else 0)
        while not self.cluster.claim(target):
            if time.monotonic() > deadline or self.stop.wait(0.02):
                return False
        return True

    def hold(self):
        """The fault lasts: a drawn time, or until the run ends its faults."""
        self.stop.wait(self.random.uniform(*HOLD_SECONDS))

    # ---- targets --------------------------------------------------------------------------------

    def choose(self):
        """(aim, numbers of nodes)"""
        numbers = [node.number for node in self.cluster.nodes]
        aim = self.random.choices(self.aims, [self.weights[aim] for aim in self.aims])[0]
        chance = self.random.random()
        if aim == RECOVERING:
            recovering = self.await_recovering()
            if recovering:
                return aim, [recovering[int(chance * len(recovering))]]
            aim = ONE
        if aim == LEADER:
            leaders = [leader for _, leader in self.run_.view.leaders().values() if leader > 0]
            if leaders:
                return aim, [leaders[int(chance * len(leaders))]]
            aim = ONE
        majority = self.cluster.majority
        sizes = {ONE: 1, MINORITY: len(numbers) - majority, MAJORITY: majority, ALL: len(numbers)}
        return aim, sorted(self.random.sample(numbers, sizes[aim]))

    def await_recovering(self):
        """Nodes that recover now, once there is one; none when nothing restarts for a while."""
        deadline = time.monotonic() + RECOVERING_SECONDS
        while True:
            found = [
                node.number
                for node in self.cluster.nodes
                if node.recovering and node.alive and not (self.claims and node.claimed.locked())
            ]
            if found or time.monotonic() > deadline or self.stop.wait(0.02):
                return found

    def strike(self, aim, target):
        """Begins, observes and ends one fault; or returns at once when the target does not suit."""
        raise NotImplementedError

    # ---- what is seen ---------------------------------------------------------------------------

    def led(self, target):
        """{place: epoch} of the partitions that these nodes lead."""
        places = set()
        for number in target:
            places |= self.run_.view.led_by(number)
        return self.run_.view.epochs(places)

    def saw_election(self, fault, before, counts=True):
        """Waits for newer epochs of partitions that the target led."""
        changed = self.run_.view.await_epochs(before, OBSERVE_SECONDS, self.stop)
        if changed:
            self.log.saw(fault, counts=counts, epochs_changed=changed, of=len(before))
        return changed
