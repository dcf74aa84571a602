"""What the harness sees of the cluster: who leads what, in which epoch, who recovers, who died.

A thread asks every node that runs, through the node's own network, so that no fault of the harness
hides the answers. Epochs only grow; a change of one is how the loss of a leader is observed.
"""

import threading
import time

from .cluster import CRASHES

PERIOD_SECONDS = 0.25


class View(threading.Thread):
    def __init__(self, cluster, topics):
        super().__init__(name="view", daemon=True)
        self.cluster = cluster
        self.topics = topics
        self._lock = threading.Lock()
        self._leaders = {}  # (topic, partition): (epoch, leader)
        self._ended = threading.Event()

    def leaders(self):
        with self._lock:
            return dict(self._leaders)

    def led_by(self, number):
        return {place for place, (_, leader) in self.leaders().items() if leader == number}

    def epochs(self, places):
        with self._lock:
            return {place: self._leaders[place][0] for place in places if place in self._leaders}

    def await_epochs(self, before, seconds, stop):
        """How many of these partitions got a newer epoch, once it is one or the time is over."""
        deadline = time.monotonic() + seconds
        while before:
            now = self.epochs(before)
            changed = sum(now[place] > epoch for place, epoch in before.items())
            if changed or time.monotonic() > deadline or stop.wait(PERIOD_SECONDS):
                return changed
        return 0

    def _take(self, answer):
        with self._lock:
            for topic in answer["topics"]:
                for partition in topic["partitions"]:
                    place = (topic["name"], partition["partition"])
                    seen = (partition["epoch"], partition["leader"])
                    if seen > self._leaders.get(place, (0, 0)):
                        self._leaders[place] = seen

    def _look_at(self, node):
        process = node.process
        if process is None:
            return
        code = process.poll()
        if node.process is not process:
            return  # a fault ended it
        if code is not None:
            if node.judge(code) not in CRASHES and not node.excused:
                ended = f"node {node.number} ended by itself with {code}"
                self.cluster.fail(f"{ended}: {' '.join(node.trace_tail())}")
            return
        answer = node.call("metadata", topics=self.topics)
        if answer is not None:
            self._take(answer)
            if node.recovering and time.monotonic() - node.started_at > 1:
                health = node.call("cluster.health")
                replicas = health and [r for p in health["under_replicated"] for r in p["missing"]]
                if health and health["controller"] and node.number not in replicas:
                    node.recovering = False

    def run(self):
        while not self._ended.wait(PERIOD_SECONDS):
            for node in self.cluster.nodes:
                self._look_at(node)

    def close(self):
        self._ended.set()
        self.join()
