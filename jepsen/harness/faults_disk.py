"""Faults of disks: power cuts, no space, errors, slowness, bits that flip.

What is seen are the disk's own counts: what a cut undid, which calls it failed or delayed, whether
a flipped bit was read.
"""

import errno
import os
import re
import time

from .nemesis import ALL, LEADER, MAJORITY, MINORITY, ONE, RECOVERING, Nemesis
from .faults_process import partitions

OPEN_SECONDS = 15


class PowerCut(Nemesis):
    """The machine loses power: what was not synced is kept, lost or torn, and the process is gone.
    Seen: sectors or names that were not durable, and the exit code."""

    kind = "power-cut"
    often = 2
    weights = {LEADER: 5, ONE: 2, RECOVERING: 3, MINORITY: 2, MAJORITY: 4, ALL: 4}

    SYNC_US = (20_000, 200_000)  # as slow as a busy disk, so that something is under way

    def strike(self, aim, target):
        before = self.led(target)
        fault = self.log.begin(
            self.kind, target, self.seed, aim=aim, partitions=partitions(before)
        )
        for number in target:
            for op in ("sync", "name"):
                delay_us = self.random.randint(*self.SYNC_US)
                self.cluster.node(number).disk.ask("slow", op=op, delay_us=delay_us)
        self.stop.wait(self.random.uniform(0.05, 0.5))
        for number in target:
            self.cut(fault, self.cluster.node(number))
        if len(target) < self.cluster.majority:
            self.saw_election(fault, before, counts=False)
        self.stop.wait(self.random.uniform(0.0, 3.0))
        for number in target:
            self.cluster.node(number).disk.ask("on")
            self.cluster.restart(number)
        self.log.end(fault)

    def cut_options(self):
        return {"seed": self.random.getrandbits(32)}

    def cut(self, fault, node):
        node.excused += 1  # it may notice the dead disk before it is killed
        undone = node.disk.numbers("cut", **self.cut_options())
        code = node.kill()
        node.excused -= 1
        for op in ("sync", "name"):
            node.disk.ask("slow", op=op, delay_us=0)
        lost = undone["lost"] + undone["torn"] + undone["names_undone"]
        self.log.saw(fault, counts=code is not None and lost > 0, exit_code=code, **undone)


class DiskStops(Nemesis):
    """A disk fault by which a node stops itself; it is started again once the disk is well."""

    aims = (LEADER, ONE, MINORITY, RECOVERING)

    def begin_on(self, node):
        """Makes the disk fail. Returns facts for the log."""
        raise NotImplementedError

    def count(self, node):
        raise NotImplementedError

    def strike(self, aim, target):
        before = self.led(target)
        nodes = [self.cluster.node(number) for number in target]
        counts = [self.count(node) for node in nodes]
        for node in nodes:
            node.excused += 1
        facts = [self.begin_on(node) for node in nodes][0]
        fault = self.log.begin(self.kind, target, self.seed, aim=aim, **facts)
        self.hold()
        hits = [self.count(node) - count for node, count in zip(nodes, counts)]
        ended = [node.number for node in nodes if not node.alive]
        if any(hits):
            self.log.saw(fault, calls_failed=sum(hits), nodes_stopped=ended)
            self.saw_election(fault, before)
        for node in nodes:
            node.disk.ask("heal")
            code = node.process.poll() if node.process else None
            if code not in (None, 1):
                self.cluster.fail(f"node {node.number} ended with {code} after a disk error")
            if node.alive and any(hits) and self.has_closed_replicas(node):
                self.cluster.fail(f"node {node.number} lives, a disk error closed some replicas")
            self.cluster.restart(node.number)
            node.excused -= 1
        self.log.end(fault)

    def has_closed_replicas(self, node):
        """Whether replicas of the node stay closed for longer than opening takes."""
        deadline = time.monotonic() + OPEN_SECONDS
        while node.alive:
            health = node.call("cluster.health")
            if health is not None and health["replicas_opening"] == 0:
                return False
            if time.monotonic() > deadline:
                return health is not None
            time.sleep(0.2)
        return False


class DiskFull(DiskStops):
    """No space is left but for some bytes."""

    kind = "disk-full"

    def begin_on(self, node):
        left = self.random.choice([0, 4096, 65536])
        node.disk.ask("space", bytes=left)
        return {"left_bytes": left}

    def count(self, node):
        return node.disk.numbers("stat")["space_refused"]


class DiskError(DiskStops):
    """A write or a sync fails with EIO, once or from now on."""

    kind = "disk-error"

    def begin_on(self, node):
        what = {
            "op": self.random.choice(["write", "sync", "name"]),
            "errno": errno.EIO,
            "count": self.random.choice([1, -1]),
        }
        node.disk.ask("fault", **what)
        return what

    def count(self, node):
        stat = node.disk.numbers("stat")
        return stat["write_failed"] + stat["sync_failed"] + stat["name_failed"]


class SlowDisk(Nemesis):
    """Every sync, or every write, takes long."""

    kind = "slow-disk"
    aims = (LEADER, ONE, RECOVERING, MINORITY, MAJORITY)
    claims = False

    def strike(self, aim, target):
        what = {
            "op": self.random.choice(["sync", "write"]),
            "delay_us": self.random.choice([5_000, 50_000, 500_000]),
        }
        name = f"{what['op']}_delayed"
        disks = [self.cluster.node(number).disk for number in target]
        before = sum(disk.numbers("stat")[name] for disk in disks)
        fault = self.log.begin(self.kind, target, self.seed, aim=aim, **what)
        for disk in disks:
            disk.ask("slow", **what)
        self.hold()
        calls = sum(disk.numbers("stat")[name] for disk in disks) - before
        if calls:
            self.log.saw(fault, calls_delayed=calls)
        for disk in disks:
            disk.ask("slow", op=what["op"], delay_us=0)
        self.log.end(fault)


class BitFlip(Nemesis):
    """Bits flip in what a node has synced: one in a segment, an index, a checkpoint, a copy of its
    metadata. The node is restarted, so that it reads them. Seen, for each file: the flipped byte is
    read. The bits stay flipped: the node mends the file, or the cluster gives the replica up and
    fills another one, and the fault ends when the node says that all is well and that it has
    nothing damaged. A replica that has not noticed its segment's flip is marked, as an operator
    does for what `spate log verify` names."""

    kind = "bit-flip"
    aims = (LEADER, ONE)
    PLACES = {
        "checkpoint": re.compile(r"\d+\.checkpoint"),
        "index": re.compile(r"\d+\.index"),
        "meta": re.compile(r"meta\.[ab]"),
        "segment": re.compile(r"\d+\.log"),
    }
    REBUILD_SECONDS = 30.0
    NEWEST = 8192  # bytes at the end of a log, which cannot be told from a torn write
    LATE = 3  # files of a replica that are read again most likely

    def files(self, node, pattern):
        """Paths below the data directory with their sizes: the last of each replica."""
        root = os.path.join(node.backing, "cur")
        found = []
        for folder, _, names in os.walk(root):
            if "quarantine" in folder:
                continue
            for name in sorted(filter(pattern.fullmatch, names))[-self.LATE :]:
                path = os.path.join(folder, name)
                try:
                    found.append(("/" + os.path.relpath(path, root), os.path.getsize(path)))
                except FileNotFoundError:
                    pass  # removed meanwhile
        return sorted(found)

    ROOM = 2 << 20  # zeros that may stand behind a log's frames, and more

    def frames_end(self, node, path, size):
        """Where the last byte of a segment stands that is no zero: behind it is room."""
        with open(os.path.join(node.backing, "cur", path.lstrip("/")), "rb") as handle:
            begin = max(0, size - self.ROOM)
            handle.seek(begin)
            return begin + len(handle.read().rstrip(b"\0"))

    def flip_one(self, node, kind):
        """Flips a bit in a file of this kind. Returns facts, or None: nothing to flip."""
        files = self.files(node, self.PLACES[kind])
        if kind == "segment":
            ends = [(path, self.frames_end(node, path, size)) for path, size in files]
            files = [(path, end - self.NEWEST) for path, end in ends if end > 4 * self.NEWEST]
        if not files:
            return None
        path, size = self.random.choice(files)
        where = {"position": self.random.randrange(max(1, size)), "bit": self.random.randrange(8)}
        try:
            node.disk.ask("flip", path=path, mark=sorted(self.PLACES).index(kind), **where)
        except RuntimeError:
            return None  # not synced, or gone meanwhile
        return {"file": path, "file_kind": kind, **where}

    def reads(self, node):
        """{kind: how often flipped bytes of such files were read}"""
        stat = node.disk.numbers("stat")
        return {kind: stat[f"flips_read_{n}"] for n, kind in enumerate(sorted(self.PLACES))}

    def mark(self, node, folder):
        """The operator's word that a replica is damaged. Returns whether it could be given."""
        node.kill()
        path = os.path.join(node.data, folder.lstrip("/"))
        marked = os.path.isdir(path)
        if marked:
            with open(os.path.join(path, "damaged"), "a", encoding="utf-8") as handle:
                os.fsync(handle.fileno())
            directory = os.open(path, os.O_RDONLY)
            os.fsync(directory)
            os.close(directory)
        node.start()
        return int(marked)

    def noticed(self, node, folder):
        """Whether the replica is gone, or says that it is damaged."""
        path = os.path.join(node.backing, "cur", folder.lstrip("/"))
        return not os.path.isdir(path) or os.path.exists(os.path.join(path, "damaged"))

    def rebuilt(self, node):
        """Replicas that it has given up for new ones, as its trace counts them."""
        with open(node.trace_path, encoding="utf-8", errors="replace") as handle:
            text = handle.read()
        return text.count("is replaced by a new one") + text.count("in place of the damaged one")

    def await_whole(self, node):
        """Waits until the node has nothing damaged and nothing of it is being refilled."""
        for _ in range(int(self.REBUILD_SECONDS / 0.25)):
            health = node.call("cluster.health") if node.alive else None
            ready = health is not None and health["controller"]
            if ready and not health["damaged"] and not health["replicas_opening"]:
                if all(row["node"] != node.number for row in health["refilling"]):
                    return True
            if self.stop.wait(0.25):
                break
        return False

    def bounce(self, node):
        """SIGKILL and restart."""
        if node.kill() is not None:
            self.stop.wait(0.1)
        node.start()

    def strike(self, aim, target):
        node = self.cluster.node(target[0])
        if not node.alive or not self.cluster.begin_damage(node):
            return  # or another node has lost something, and has not got it back yet
        try:
            self.damage(node, aim)
        finally:
            self.cluster.end_damage()

    def damage(self, node, aim):
        node.disk.ask("forget")  # reads of flips before these would count as reads of these
        before = self.reads(node)
        facts = [self.flip_one(node, kind) for kind in sorted(self.PLACES)]
        faults = {
            one["file_kind"]: self.log.begin(self.kind, [node.number], self.seed, aim=aim, **one)
            for one in facts
            if one is not None
        }
        if not faults:
            return
        files = {one["file_kind"]: one["file"] for one in facts if one is not None}
        before_rebuilt = self.rebuilt(node)
        node.excused += 1  # damage found may end the process; it never may abort
        self.bounce(node)
        self.hold()
        after = self.reads(node)
        marked = 0
        if "segment" in files and not self.noticed(node, os.path.dirname(files["segment"])):
            marked = self.mark(node, os.path.dirname(files["segment"]))
        whole = self.await_whole(node)
        node.excused -= 1
        rebuilt = self.rebuilt(node) - before_rebuilt
        for kind, fault in faults.items():
            if after[kind] > before[kind]:
                self.log.saw(fault, reads=after[kind] - before[kind])
            self.log.end(fault, rebuilt=rebuilt, marked=marked, whole=int(whole))


class LyingPowerCut(PowerCut):
    """All machines lose power, and the disks had lied about syncs for a while: acknowledged records
    are lost. No system can survive this; a run with it shows that losses are found."""

    aims = (ALL,)
    LIE_SECONDS = 2.0

    def strike(self, aim, target):
        for number in target:
            self.cluster.node(number).disk.ask("lie")
        self.stop.wait(self.LIE_SECONDS)
        super().strike(aim, target)
        for number in target:
            self.cluster.node(number).disk.ask("heal")

    def cut_options(self):
        return {"seed": 1, "all": 1}


STREAMS = [PowerCut, DiskFull, DiskError, SlowDisk, BitFlip]
