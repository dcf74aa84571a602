"""The nemesis log: what was done to the cluster and what was seen of it, by CLOCK_MONOTONIC.

    <ns> nemesis <fault_id> begin|end|observed <kind> target=1,2 seed=7 key=value...

The clock is the one of the clients' histories. A fault counts when its effect was seen: a line says
`observed`, and how.
"""

import threading
import time


def _word(value):
    if isinstance(value, (list, tuple, set)):
        return ",".join(map(str, sorted(value))) or "-"
    return str(value).replace(" ", "_") or "-"


class Log:
    def __init__(self, path):
        self._file = open(path, "w", encoding="ascii", buffering=1)
        self._lock = threading.Lock()
        self._next_id = 1
        self._kinds = {}  # fault id -> kind
        self.begun = {}  # kind -> how many
        self.observed = {}  # kind -> how many of them had an effect that was seen
        self._seen = set()

    def _write(self, fault, event, kind, target, seed, facts):
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        words = [f"{key}={_word(value)}" for key, value in facts.items()]
        line = f"{now} nemesis {fault} {event} {kind} target={_word(target)} seed={seed}"
        self._file.write(" ".join([line, *words]) + "\n")

    def begin(self, kind, target, seed, **facts):
        """A fault begins. Returns its id."""
        with self._lock:
            fault = self._next_id
            self._next_id += 1
            self._kinds[fault] = (kind, target, seed)
            self.begun[kind] = self.begun.get(kind, 0) + 1
            self._write(fault, "begin", kind, target, seed, facts)
        return fault

    def saw(self, fault, counts=True, **facts):
        """Something was seen of a fault; may be called again for the same one. It `counts` when it
        is the effect that the fault is there for; else the line says `counts=0`."""
        with self._lock:
            kind, target, seed = self._kinds[fault]
            if counts and fault not in self._seen:
                self._seen.add(fault)
                self.observed[kind] = self.observed.get(kind, 0) + 1
            counted = {} if counts else {"counts": 0}
            self._write(fault, "observed", kind, target, seed, {**facts, **counted})

    def end(self, fault, **facts):
        with self._lock:
            kind, target, seed = self._kinds[fault]
            self._write(fault, "end", kind, target, seed, facts)

    def close(self):
        self._file.close()

    def phase(self, name, **facts):
        with self._lock:
            self._write(0, "observed", "phase", "-", 0, {"name": name, **facts})

    def was_seen(self, fault):
        with self._lock:
            return fault in self._seen

    def counts(self):
        """{kind: (begun, observed)}"""
        with self._lock:
            return {kind: (n, self.observed.get(kind, 0)) for kind, n in self.begun.items()}
