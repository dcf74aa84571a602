"""What compaction did in a run: passes that came to their end and records that it removed, as nodes
count them. A node counts from its start on, so a thread looks again and again; what was counted
between the last look and the death of a process is not known and not added."""

import http.client
import threading

from .cluster import HTTP_PORT
from .network import address_of

PERIOD_SECONDS = 1.0
TIMEOUT_SECONDS = 1.0
PREFIX = "spate_compaction_"
NAMES = ("passes", "failed", "segments", "removed_records", "removed_bytes")


def counters_of(text):
    """{name: number} of the page of a node."""
    found = {}
    for line in text.splitlines():
        name, _, number = line.partition(" ")
        name = name.removeprefix(PREFIX).removesuffix("_total")
        if line.startswith(PREFIX) and name in NAMES:
            found[name] = int(float(number))
    return found


class Compaction(threading.Thread):
    def __init__(self, cluster):
        super().__init__(name="compaction", daemon=True)
        self.cluster = cluster
        self.sums = dict.fromkeys(NAMES, 0)
        self._before = {}  # node: (its process, its counters)
        self._ended = threading.Event()

    def ask(self, node):
        """The page of a node, behind the back of all faults of the network; None: no answer."""
        with node.namespace:
            one = http.client.HTTPConnection(
                address_of(node.number), HTTP_PORT, timeout=TIMEOUT_SECONDS
            )
            try:
                one.connect()
            except OSError:
                return None
        try:
            one.request("GET", "/metrics")
            return one.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            one.close()

    def take(self, node):
        process = node.process
        page = None if process is None else self.ask(node)
        if page is None or node.process is not process:
            return
        now = counters_of(page)
        of, before = self._before.get(node.number, (None, {}))
        for name, number in now.items():
            self.sums[name] += number - (before.get(name, 0) if of is process else 0)
        self._before[node.number] = (process, now)

    def run(self):
        while not self._ended.wait(PERIOD_SECONDS):
            for node in self.cluster.nodes:
                self.take(node)

    def close(self):
        """Looks for the last time; the nodes still run."""
        self._ended.set()
        self.join()
        for node in self.cluster.nodes:
            self.take(node)
