"""The clients of a run: processes of jepsen-client, one per workload, in a network of their own."""

import os
import signal
import subprocess
import threading

TOPIC = "jepsen-1"
PARTITIONS = 12

# The oldest records of these go: by hand, and because they are many.
TRIMMED, TRIMMED_PARTITIONS = "jepsen-2", 4
LIMITED, LIMITED_PARTITIONS = "jepsen-3", 2
RETENTION_BYTES = 1 << 20

# The latest record of each key stays.
COMPACTED, COMPACTED_PARTITIONS = "jepsen-4", 2
KEYS = 40  # of a client in a partition
DELETE_RETENTION_MS = 3000
RECORD_BYTES_MAX = 256  # that a record of a client can take in a segment
BESIDE = {
    TRIMMED: ("-p", str(TRIMMED_PARTITIONS), "-c", "segment.bytes=65536"),
    LIMITED: (
        *("-p", str(LIMITED_PARTITIONS), "-c", "segment.bytes=65536"),
        *("-c", f"retention.bytes={RETENTION_BYTES}"),
    ),
    COMPACTED: (
        *("-p", str(COMPACTED_PARTITIONS), "-c", "segment.bytes=65536", "-c", "segment.ms=4000"),
        *("-c", "cleanup.policy=compact", "-c", f"delete.retention.ms={DELETE_RETENTION_MS}"),
    ),
}
SIZES = {
    TOPIC: PARTITIONS,
    TRIMMED: TRIMMED_PARTITIONS,
    LIMITED: LIMITED_PARTITIONS,
    COMPACTED: COMPACTED_PARTITIONS,
}
END_SECONDS = 30
FINAL_SECONDS = 90

# workload -> how many processes
DEFAULT = {
    "produce": 2,
    "consume": 1,
    "mixed": 2,
    "group": 2,
    "raw": 1,
    "raw-group": 1,
    "observe": 1,
    "admin": 1,
}
# The same for the topics beside the one that all others work on.
DEFAULT_BESIDE = (
    *(("mixed", TRIMMED), ("consume", TRIMMED), ("trim", TRIMMED), ("mixed", LIMITED)),
    *(("produce", COMPACTED), ("raw", COMPACTED), ("reread", COMPACTED)),
)
GROUPED = ("group", "observe")


class Load:
    def __init__(self, cluster, folder, options, seconds, beside):
        self.cluster = cluster
        self.folder = folder
        self.seed = options.seed
        self.seconds = seconds
        self.rate = options.rate
        self.clocks_jump = "clock" in options.nemesis
        self.beside = beside  # other topics that are used, too
        self._next_id = 1
        self._lock = threading.Lock()
        self.running = {}  # id -> (workload and its topic, process)
        self.killed = 0
        os.makedirs(os.path.join(folder, "history"))

    def _words(self, workload, topic, number, seconds, extra):
        history = os.path.join(self.folder, "history", f"{number:03d}-{workload}.log")
        if topic == COMPACTED:
            # Tombstones go by the clocks of nodes: while those jump, nobody can count on them.
            known = workload == "read" or not self.clocks_jump
            sure_ms = DELETE_RETENTION_MS if known else 0
            extra = [*extra, "--keys", str(KEYS), "--delete", str(sure_ms)]
        return [
            *self.cluster.enter(),
            f"{self.cluster.binaries}/jepsen-client",
            workload,
            *("--brokers", self.cluster.brokers),
            *("--topic", topic, "--partitions", str(SIZES[topic])),
            *("--id", str(number), "--seed", str(self.seed * 1000 + number)),
            *("--time", str(seconds), "--history", history),
            *extra,
        ]

    def _new_id(self):
        with self._lock:
            self._next_id += 1
            return self._next_id - 1

    def start(self, workload, topic=TOPIC):
        number = self._new_id()
        rate = self.rate / 2 if topic == COMPACTED else self.rate  # it only has to fill segments
        extra = ["--rate", str(rate)] if workload in ("produce", "mixed", "raw") else []
        if workload in GROUPED and topic == TOPIC:
            extra += ["--group", "jepsen-group"]
        if workload == "raw-group":
            extra += ["--group", "jepsen-raw-group"]
        log = os.path.join(self.folder, "history", f"{number:03d}-{workload}.stderr")
        with open(log, "wb") as out:
            process = subprocess.Popen(
                self._words(workload, topic, number, self.seconds, extra),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        with self._lock:
            self.running[number] = ((workload, topic), process)
        return number

    def start_all(self, workloads):
        for workload, count in workloads.items():
            for _ in range(count):
                self.start(workload)
        for workload, topic in DEFAULT_BESIDE:
            if topic in self.beside:
                self.start(workload, topic)

    def kill(self, number):
        """SIGKILL to one client; another one, with an id of its own, takes its place."""
        with self._lock:
            (workload, topic), process = self.running.pop(number)
        was_alive = process.poll() is None
        process.kill()
        process.wait()
        self.killed += 1
        self.start(workload, topic)
        return workload, was_alive

    def look(self):
        """A client that ended by itself, or died, fails the run."""
        with self._lock:
            running = list(self.running.items())
            ended = [each for each in running if each[1][1].poll() is not None]
        for number, ((workload, _), process) in ended:
            self._complain(number, workload, process.returncode)

    def _complain(self, number, workload, code):
        path = os.path.join(self.folder, "history", f"{number:03d}-{workload}.stderr")
        with open(path, encoding="utf-8", errors="replace") as handle:
            words = handle.read()[-300:].strip()
        self.cluster.fail(f"client {number} ({workload}) ended with {code}: {words}")

    def stop_all(self):
        """SIGTERM to all: they finish or abandon what is in flight."""
        with self._lock:
            running, self.running = self.running, {}
        for _, process in running.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for number, ((workload, _), process) in running.items():
            try:
                code = process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                code = "no end after SIGTERM"
            if code != 0:
                self._complain(number, workload, code)

    def final_reads(self):
        """Reads everything that is kept of all topics."""
        self.final_read(TOPIC)
        for topic in self.beside:
            keep = str(RETENTION_BYTES // RECORD_BYTES_MAX)
            self.final_read(topic, *(("--keep", keep) if topic == LIMITED else ()))

    def final_read(self, topic, *extra):
        """From the start, with a fresh client. Whether it saw all of it."""
        number = self._new_id()
        words = self._words("read", topic, number, FINAL_SECONDS, ["--from", "0", *extra])
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            text = (done.stderr or done.stdout)[-300:].strip()
            self.cluster.fail(f"the final read ended with {done.returncode}: {text}")
        return done.returncode == 0

    def histories(self):
        return os.path.join(self.folder, "history")
