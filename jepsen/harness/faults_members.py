"""Changes of the cluster itself, while other faults hit it: nodes come and go, replicas and leaders
move, disks are replaced. None of them claims its nodes while it waits, so that they are killed, cut
off and paused in the middle of it.

What is seen is what the cluster says afterwards; a change that other faults kept from ending within
its time does not count, and goes on.
"""

import time

from .load import TOPIC
from .nemesis import LEADER, ONE, Nemesis

PATIENCE_SECONDS = 45
CLAIM_SECONDS = 10
LOOK_SECONDS = 0.25
REPLICAS_MIN = 3  # below, one replaced disk would be a majority of the copies


class Change(Nemesis):
    """What these share: requests that are repeated until somebody answers, and waiting."""

    aims = (ONE,)
    claims = False

    def ask(self, method, **fields):
        """The answer; None when it was refused, or nobody answered in time."""
        return self.cluster.ask(method, PATIENCE_SECONDS, self.stop, **fields)

    def await_that(self, condition):
        """Whether it became true in time, and before the faults end."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            if time.monotonic() > deadline or self.stop.wait(LOOK_SECONDS):
                return False
        return True

    def members(self):
        """{id: row} as some node tells."""
        answer = self.cluster.ask("cluster.nodes", LOOK_SECONDS, self.stop)
        return {} if answer is None else {row["id"]: row for row in answer["nodes"]}

    def partitions(self):
        answer = self.cluster.ask("topic.describe", LOOK_SECONDS, self.stop, name=TOPIC)
        return [] if answer is None else answer["partitions"]

    def replicas_of(self, partition):
        rows = self.partitions()
        return rows[partition]["replicas"] if rows else []

    def is_moving(self, partition):
        """None: nobody tells."""
        answer = self.cluster.ask("cluster.moves", LOOK_SECONDS, self.stop)
        if answer is None:
            return None
        places = [(move["topic"], move["partition"]) for move in answer["moves"]]
        return (TOPIC, partition) in places


class JoinLeave(Change):
    """A spare node with an empty disk joins and gets replicas; next time it is drained, removed,
    stopped and emptied. Seen: it has replicas; it is no member any more."""

    kind = "join-leave"

    def strike(self, aim, target):
        spare = self.random.choice(self.cluster.spares)
        leaves = spare in self.cluster.nodes
        how = "leave" if leaves else "join"
        fault = self.log.begin(self.kind, [spare.number], self.seed, how=how)
        if leaves:
            self.leave(fault, spare)
        else:
            self.come(fault, spare)
        self.log.end(fault)

    def come(self, fault, spare):
        spare.start()
        self.cluster.add(spare)
        if not self.await_that(lambda: spare.number in self.members()):
            return
        self.ask("cluster.rebalance", dry_run=False)
        has_some = lambda: self.members().get(spare.number, {}).get("replicas", 0) > 0
        if self.await_that(has_some):
            self.log.saw(fault, replicas=self.members().get(spare.number, {}).get("replicas"))

    def leave(self, fault, spare):
        number = spare.number
        if self.ask("node.drain", node=number, draining=True) is None:
            return
        row = lambda: self.members().get(number, {"replicas": 1})
        is_empty = lambda: row()["replicas"] == 0 and row().get("leaders") == 0
        removed = self.await_that(is_empty) and self.ask("node.remove", node=number) is not None
        if not removed:
            self.ask("node.drain", node=number, draining=False)
            return
        if self.await_that(lambda: number not in self.members() and bool(self.members())):
            if self.claim_one(spare):
                self.cluster.discard(spare)
                spare.claimed.release()
                self.log.saw(fault)

    def claim_one(self, node):
        return node.claimed.acquire(timeout=CLAIM_SECONDS)


class Drain(Change):
    """A node is drained, and may have replicas again once it has none, or time is over. Seen: what
    it had is elsewhere."""

    kind = "drain"
    aims = (LEADER, ONE)

    def strike(self, aim, target):
        number = target[0]
        before = self.members().get(number, {}).get("replicas", 0)
        if len(self.cluster.nodes) <= REPLICAS_MIN or before == 0:
            return
        fault = self.log.begin(self.kind, target, self.seed, aim=aim, replicas=before)
        if self.ask("node.drain", node=number, draining=True) is not None:
            left = lambda: self.members().get(number, {}).get("replicas", before)
            if self.await_that(lambda: left() == 0):
                self.log.saw(fault, moved=before)
            self.ask("node.drain", node=number, draining=False)
        self.log.end(fault)


class Move(Change):
    """A partition moves to other nodes. Seen: it is there, and no move is under way."""

    kind = "move"

    def strike(self, aim, target):
        rows = self.partitions()
        usable = [n for n, row in self.members().items() if not row["draining"]]
        if not rows:
            return
        row = self.random.choice(rows)
        partition, size = row["partition"], len(row["replicas"])
        to = self.random.sample(sorted(usable), min(size, len(usable)))
        if len(to) < REPLICAS_MIN or set(to) == set(row["replicas"]):
            return
        facts = {"partition": partition, "to": "+".join(map(str, to))}
        fault = self.log.begin(self.kind, to, self.seed, **facts)
        if self.ask("partition.move", topic=TOPIC, partition=partition, replicas=to) is not None:
            there = lambda: self.replicas_of(partition) == to
            if self.await_that(lambda: there() and self.is_moving(partition) is False):
                self.log.saw(fault)
        self.log.end(fault)


class Transfer(Change):
    """Leadership goes to another replica, by making it the preferred one. Seen: it leads, in a
    newer epoch."""

    kind = "transfer"

    def strike(self, aim, target):
        rows = [row for row in self.partitions() if len(row["replicas"]) >= REPLICAS_MIN]
        if not rows:
            return
        row = self.random.choice(rows)
        partition, to = row["partition"], list(row["replicas"])
        other = self.random.choice([number for number in to if number != row["leader"]])
        to.remove(other)
        to.insert(0, other)
        place = (TOPIC, partition)
        before = self.run_.view.epochs([place])
        fault = self.log.begin(self.kind, [other], self.seed, partition=partition)
        if self.ask("partition.move", topic=TOPIC, partition=partition, replicas=to) is not None:
            leads = lambda: self.run_.view.leaders().get(place, (0, 0))[1] == other
            if self.await_that(leads):
                self.log.saw(fault, counts=self.run_.view.epochs([place]) != before)
        self.log.end(fault)


class Resize(Change):
    """The topic gets another number of replicas, three to as many as there are nodes. Seen: each
    partition has them."""

    kind = "resize"

    def strike(self, aim, target):
        rows = self.partitions()
        sizes = {len(row["replicas"]) for row in rows}
        usable = [row for row in self.members().values() if not row["draining"] and row["alive"]]
        most = min(5, len(usable))
        wanted = [n for n in range(REPLICAS_MIN, most + 1) if sizes != {n}]
        if not rows or not wanted:
            return
        size = self.random.choice(wanted)
        fault = self.log.begin(self.kind, "-", self.seed, replicas=size)
        if self.ask("topic.replicas", name=TOPIC, replicas=size) is not None:
            done = lambda: {len(row["replicas"]) for row in self.partitions()} == {size}
            if self.await_that(done):
                self.log.saw(fault)
        self.log.end(fault)


class Rebalance(Change):
    """Replicas are spread evenly. Seen: moves that have begun, and that all are over."""

    kind = "rebalance"

    def strike(self, aim, target):
        fault = self.log.begin(self.kind, "-", self.seed)
        answer = self.ask("cluster.rebalance", dry_run=False)
        if answer is not None and answer["moves"]:
            still = lambda: self.cluster.ask("cluster.moves", LOOK_SECONDS, self.stop)
            if self.await_that(lambda: still() == {"moves": []}):
                self.log.saw(fault, moves=len(answer["moves"]))
        self.log.end(fault)


class ReplaceDisk(Change):
    """A node dies and comes back with an empty disk, as a new incarnation that is filled from the
    others. Only one node at a time may have lost what it had. Seen: another incarnation, with all
    that belongs on it."""

    kind = "replace-disk"
    aims = (LEADER, ONE)

    def strike(self, aim, target):
        node = self.cluster.node(target[0])
        before = self.members().get(node.number, {}).get("incarnation")
        if before is None or not self.cluster.begin_damage(node):
            return
        try:
            self.replace(node, aim, before)
        finally:
            self.cluster.end_damage()

    def replace(self, node, aim, before):
        if not node.claimed.acquire(timeout=CLAIM_SECONDS):
            return
        led = self.led([node.number])
        fault = self.log.begin(self.kind, [node.number], self.seed, aim=aim, led=len(led))
        node.kill()
        node.wipe()
        node.start()
        node.claimed.release()
        now = lambda: self.members().get(node.number, {}).get("incarnation", before)
        if self.await_that(lambda: now() != before and self.cluster.is_whole(node)):
            self.log.saw(fault, incarnation=now())
        self.log.end(fault)


STREAMS = [JoinLeave, Drain, Move, Transfer, Resize, Rebalance, ReplaceDisk]
