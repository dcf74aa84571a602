"""One run from start to end, in phases: see docs/testing.md."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time

from . import faults_disk, faults_members, faults_network, faults_process, faults_system
from .cluster import Cluster
from .compaction import Compaction
from .events import Log
from .load import BESIDE, COMPACTED, DEFAULT, PARTITIONS, TOPIC, Load
from .network import Network
from .view import View

STREAMS = {
    stream.kind: stream
    for module in (faults_process, faults_network, faults_disk, faults_system, faults_members)
    for stream in module.STREAMS
}

MEMBERS = sorted(stream.kind for stream in faults_members.STREAMS)
SETS = {
    "all": sorted(STREAMS),
    "none": [],
    "members": MEMBERS,
    "faults": sorted(set(STREAMS) - set(MEMBERS)),
}

CLEAN, FOUND, NOT_COUNTED = 0, 1, 3
FORM_SECONDS = 30
WARM_UP_SECONDS = 5
SPARES = 2  # nodes that can join
HEAL_SECONDS = 60
COOL_DOWN_SECONDS = 5
NEMESIS_END_SECONDS = 60
FAULTS_PER_SECOND = 1 / 6  # that must have been seen at least
COMPACTION_LEVEL = 3  # feature level that it needs
COMPACTION_MUST = ("passes", "removed_records")  # have been seen, too

# Drawn by the seed: small segments are finished, indexed and checkpointed often.
SEGMENT_BYTES = (65536, 262144, 1048576)
# Passes over compacted partitions take moments, or so long that faults hit them in the middle.
COMPACTION_BYTES_PER_S = (0, 500000, 2000000)


class Run:
    streams = STREAMS

    def __init__(self, owner, options):
        self.options = options
        self.seed = options.seed
        self.folder = options.dir
        self.builds = [options.bin] + ([options.upgrade_to] if options.upgrade_to else [])
        self.binaries = self.builds[-1]  # of all programs but the nodes'
        self.turns = [0] * len(self.builds)  # restarts as each of them
        self.owner = owner
        self.stop = threading.Event()
        self.end_soon = threading.Event()  # the faults have lasted long enough
        self.nemeses = []
        self.network = self.cluster = self.load = self.view = self.compaction = None
        self.facts = {}
        self.settings = {
            "storage.segment.bytes": SEGMENT_BYTES[options.seed % 3],
            "storage.compaction.bytes.per.s": COMPACTION_BYTES_PER_S[options.seed // 3 % 3],
        }
        if len(self.builds) > 1:  # an older one may not know it
            del self.settings["storage.compaction.bytes.per.s"]
        os.makedirs(self.folder)
        self.log = Log(os.path.join(self.folder, "nemesis.log"))
        self.kinds = options.nemesis
        self.beside = dict(BESIDE) if options.workloads == DEFAULT else {}
        self.stream_count = max(1, len(self.kinds))
        self.fault_seconds = max(1, options.time - WARM_UP_SECONDS)

    def say(self, text):
        print(f"jepsen: {text}", flush=True)

    def version(self, build):
        words = [f"{build}/spated", "--version"]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def write_json(self):
        facts = {
            "arguments": sys.argv[1:],
            "seed": self.seed,
            "nodes": self.options.nodes,
            "time": self.options.time,
            "nemesis": self.kinds,
            "topic": TOPIC,
            "partitions": PARTITIONS,
            "settings": self.settings,
            "builds": self.builds,
            "version": self.version(self.binaries),
            "versions": [self.version(build) for build in self.builds],
            **self.facts,
        }
        with open(os.path.join(self.folder, "run.json"), "w", encoding="utf-8") as handle:
            json.dump(facts, handle, indent=1)

    # ---- phases ---------------------------------------------------------------------------------

    def build(self):
        spares = SPARES if set(self.kinds) & set(MEMBERS) else 0
        ports = self.options.nodes + spares + 1
        self.network = Network(self.binaries, ports, self.seed, self.folder)
        self.cluster = Cluster(
            self.owner, self.folder, self.binaries, self.network, self.settings,
            self.options.nodes, spares,
        )  # fmt: skip
        for node in self.cluster.all:
            node.binaries = self.builds[0]
        for node in self.cluster.nodes:
            node.start()
        took = self.cluster.wait_healthy(FORM_SECONDS)
        if took is None:
            raise RuntimeError(f"the cluster did not form: {self.cluster.health()}")
        self.facts["formed_s"] = round(took, 2)
        if len(self.builds) > 1:
            self.hold_level()
        self.create_topics()

    def hold_level(self):
        """Nodes of the first build can come back as long as the feature level does not rise."""
        answer = self.cluster.ask("cluster.features", FORM_SECONDS, action="hold")
        if answer is None:
            raise RuntimeError("the feature level was not held")
        self.facts["level_before"] = answer["level"]
        if answer["level"] < COMPACTION_LEVEL:
            self.beside.pop(COMPACTED, None)

    def create_topics(self):
        self.cluster.spate("topic", "create", TOPIC, "-p", str(PARTITIONS), "-r", "3")
        for topic, words in self.beside.items():
            self.cluster.spate("topic", "create", topic, "-r", "3", *words)
        self.view = View(self.cluster, [TOPIC])
        self.view.start()
        if COMPACTED in self.beside:
            self.count_compaction()

    def count_compaction(self):
        self.compaction = Compaction(self.cluster)
        self.compaction.start()

    def warm_up(self):
        self.log.phase("warm-up")
        seconds = self.options.time + self.options.heal_within
        seconds += NEMESIS_END_SECONDS + COOL_DOWN_SECONDS
        self.load = Load(self.cluster, self.folder, self.options, seconds, self.beside)
        self.load.start_all(self.options.workloads)
        time.sleep(WARM_UP_SECONDS)
        self.load.look()

    def inject(self):
        self.log.phase("faults")
        streams = dict(self.streams)
        if self.options.lying_disks:
            streams["power-cut"] = faults_disk.LyingPowerCut
        self.nemeses = [streams[kind](self) for kind in self.kinds]
        for nemesis in self.nemeses:
            nemesis.start()
        begun = time.monotonic()
        while time.monotonic() - begun < self.fault_seconds and not self.cluster.failures:
            if self.end_soon.wait(0.5):
                self.fault_seconds = time.monotonic() - begun
                self.facts["time"] = int(WARM_UP_SECONDS + self.fault_seconds)
            self.load.look()
        self.stop.set()
        for nemesis in self.nemeses:
            nemesis.join(NEMESIS_END_SECONDS)
            if nemesis.is_alive():
                self.cluster.fail(f"nemesis {nemesis.kind} did not end")

    def mend(self):
        """Undoes what faults have left."""
        self.network.heal()
        self.cluster.resume_all()
        for node in self.cluster.all:
            node.disk.ask("heal")
            node.disk.ask("on")
            node.clock.jump(0)
            node.clock.rate(1_000_000)
        for node in self.cluster.nodes:
            self.cluster.restart(node.number)
        self.settle_members()

    def heal(self):
        self.log.phase("heal")
        self.mend()
        within = self.options.heal_within
        took = self.wait_healthy(within)
        if took is None:
            moves = self.cluster.ask("cluster.moves", 1)
            waited = f"nodes waited {self.facts['waited_for_cpu']:.0%} of it for a processor"
            health = f"{self.cluster.health()}, moves {moves}"
            self.cluster.fail(f"not healthy {within} s after healing, {waited}: {health}")
        self.facts["healed_s"] = None if took is None else round(took, 2)
        if len(self.builds) > 1:
            self.upgrade()
        time.sleep(COOL_DOWN_SECONDS)

    def wait_healthy(self, within):
        """As the cluster's; notes which part of the time the node that was worst off was ready to
        run, and did not: nobody leads for long on a machine that is too busy."""
        before = {node: (node.process, node.waited_seconds()) for node in self.cluster.nodes}
        begun = time.monotonic()
        took = self.cluster.wait_healthy(within)
        elapsed = max(time.monotonic() - begun, 0.001)
        waited = [
            node.waited_seconds() - seconds
            for node, (process, seconds) in before.items()
            if node.process is process
        ]
        self.facts["waited_for_cpu"] = round(min(max([0, *waited]) / elapsed, 1), 2)
        return took

    def upgrade(self):
        """All nodes come to the last build, one after the other, and the feature level rises."""
        for node in self.cluster.nodes:
            if node.binaries != self.builds[-1]:
                node.stop()
                node.binaries = self.builds[-1]
                node.start()
                if self.cluster.wait_healthy(self.options.heal_within) is None:
                    self.cluster.fail(f"not healthy after the upgrade of node {node.number}")
        self.cluster.ask("cluster.features", HEAL_SECONDS, action="release")
        deadline = time.monotonic() + HEAL_SECONDS
        while True:
            answer = self.cluster.ask("cluster.features", HEAL_SECONDS) or {"nodes": []}
            known = min((row["most"] for row in answer["nodes"]), default=0)
            if known and answer["level"] == known and not answer["held"]:
                self.facts["level_after"] = known
                return
            if time.monotonic() > deadline:
                self.cluster.fail(f"the feature level does not rise: {answer}")
                return
            time.sleep(0.1)

    def settle_members(self):
        """Nodes that were draining may have replicas again; one that was removed, but not told so,
        ends."""
        if not self.cluster.spares:
            return
        answer = self.cluster.ask_informed("cluster.nodes", self.options.heal_within)
        rows = {} if answer is None else {row["id"]: row for row in answer["nodes"]}
        for number, row in rows.items():
            if row["draining"]:
                self.cluster.ask("node.drain", HEAL_SECONDS, node=number, draining=False)
        for node in self.cluster.spares:
            if rows and node in self.cluster.nodes and node.number not in rows:
                self.cluster.discard(node)

    def read_all(self):
        self.log.phase("final")
        self.load.stop_all()
        self.load.final_reads()
        self.view.close()
        if self.compaction is not None:
            self.compaction.close()
            self.facts["compaction"] = self.compaction.sums
        for node in self.cluster.nodes:
            node.stop()

    def judge(self):
        """Replicas side by side, then the histories. The status of the checker."""
        self.log.phase("end")
        replicas = os.path.join(self.folder, "replicas.log")
        with open(replicas, "wb") as out:
            words = [f"{node.number}={node.data}" for node in self.cluster.nodes]
            words.insert(0, f"{self.binaries}/jepsen-replicas")
            code = subprocess.run(words, stdout=out, check=False).returncode
        if code not in (0, 1):  # 1: the checker tells of it
            self.cluster.fail(f"jepsen-replicas ended with {code}: replicas cannot be read")
        self.facts["faults"] = self.log.counts()
        self.facts["turns"] = self.turns
        self.facts["failures"] = self.cluster.failures
        self.write_json()
        return subprocess.run(
            [
                f"{self.binaries}/jepsen-check",
                *("--histories", self.load.histories()),
                *("--nemesis", os.path.join(self.folder, "nemesis.log")),
                *("--replicas", replicas),
                *("--json", os.path.join(self.folder, "check.json")),
                *("--text", os.path.join(self.folder, "anomalies.txt")),
            ],
            check=False,
        ).returncode

    def close(self):
        """Ends every process and mount of the run; also after half a start."""
        self.stop.set()
        if self.load is not None:
            for _, process in self.load.running.values():
                process.kill()
        if self.cluster is not None:
            self.cluster.resume_all()
            self.cluster.close()
        if self.network is not None:
            self.network.close()

    # ---- verdict --------------------------------------------------------------------------------

    def missing_compaction(self):
        """What compaction has not done although there was a topic for it, or None."""
        sums = self.facts.get("compaction")
        lacking = [name for name in COMPACTION_MUST if sums and sums[name] == 0]
        return f"compaction: no {', no '.join(lacking)}" if lacking else None

    def missing_turns(self):
        """With two builds: that some node has come back as each of them; or None."""
        if len(self.builds) > 1 and 0 in self.turns:
            return f"restarts as the builds: {self.turns}"
        return None

    def missing_faults(self):
        """Why the run does not count, or None."""
        counts = self.log.counts()
        unseen = [kind for kind in self.kinds if counts.get(kind, (0, 0))[1] == 0]
        changes = [kind for kind in unseen if kind in MEMBERS]
        if len(changes) * 2 <= len(set(self.kinds) & set(MEMBERS)):
            unseen = [kind for kind in unseen if kind not in MEMBERS]  # others kept them from it
        if unseen:
            return f"no fault was seen of: {', '.join(unseen)}"
        seen = sum(observed for _, observed in counts.values())
        wanted = int(self.fault_seconds * FAULTS_PER_SECOND) if len(self.kinds) > 3 else 1
        return f"{seen} faults were seen, {wanted} are the least" if seen < wanted else None

    def verdict(self, check):
        counts = self.log.counts()
        for kind in sorted(counts):
            self.say(f"{kind}: {counts[kind][1]} seen of {counts[kind][0]}")
        for failure in self.cluster.failures:
            self.say(f"FAILURE: {failure}")
        seen = sum(observed for _, observed in counts.values())
        short = self.missing_faults() or self.missing_compaction() or self.missing_turns()
        if len(self.builds) > 1:
            levels = f"{self.facts.get('level_before')} to {self.facts.get('level_after')}"
            turns = f"{self.turns[0]} as the older build, {self.turns[1]} as the newer one"
            self.say(f"restarts in turn: {turns}; feature level {levels}")
        for name, number in self.facts.get("compaction", {}).items():
            self.say(f"compaction: {number} {name}")
        words = f"seed {self.seed}: {seen} faults seen, healed in {self.facts.get('healed_s')} s"
        if self.options.expect:
            return self.expected(words)
        if check != 0 or self.cluster.failures:
            self.say(f"FAILED {words}, checker {check}, see {self.folder}")
            return FOUND
        if short:
            self.say(f"DOES NOT COUNT {words}: {short}")
            return NOT_COUNTED
        self.say(f"clean {words}")
        return CLEAN

    def expected(self, words):
        """The verdict on a run in which something is broken on purpose."""
        with open(os.path.join(self.folder, "check.json"), encoding="utf-8") as handle:
            anomalies = json.load(handle)["anomalies"]
        found = sum(a["count"] for a in anomalies if a["kind"] == self.options.expect)
        self.say(f"{'clean' if found else 'FAILED'} {self.options.expect}: {found} found, {words}")
        return CLEAN if found else FOUND

    def go(self):
        try:
            self.build()
            self.warm_up()
            self.inject()
            self.heal()
            self.read_all()
        finally:
            self.close()
        check = self.judge()
        report = os.path.join(os.path.dirname(__file__), "..", "report")
        code = subprocess.run([sys.executable, "-B", report, self.folder], check=False).returncode
        if code not in (0, 1):  # 1: the checker has found something
            self.cluster.fail(f"jepsen/report ended with {code}")
        status = self.verdict(check)
        if status == CLEAN and not self.options.keep:
            for node in self.cluster.nodes:
                shutil.rmtree(node.data, ignore_errors=True)
        return status
