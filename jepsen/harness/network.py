"""Namespaces on the switch, and the faults that hold on their links at the moment.

Port N of the switch is node N, port 0 the clients. A fault is a set of directed links with what
happens on them; several may hold at once, and on each link the worst of each kind wins.
"""

import os
import threading

from . import sandbox
from .control import Control

CLIENTS = 0
COUNTS = ("forwarded", "dropped", "duplicated", "reordered", "delayed", "corrupted", "reset")


def address_of(port):
    return f"10.77.0.{port or 100}"


class Namespace:
    """A network namespace; `with` moves the calling thread into it."""

    def __init__(self, name):
        sandbox.command("ip", "netns", "add", name)
        self.path = f"/run/netns/{name}"
        self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        self._home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def __enter__(self):
        sandbox.setns(self._fd)
        return self

    def __exit__(self, *_):
        sandbox.setns(self._home)

    def enter(self):
        """The words before a command that shall run in it."""
        return ["nsenter", f"--net={self.path}", "--"]


class Network:
    def __init__(self, binaries, ports, seed, folder):
        self.ports = ports
        self._lock = threading.Lock()
        self._faults = {}  # fault -> {(from, to): {kind: value}}
        self._set = {}  # what the switch was told last
        path = f"{sandbox.RUNTIME}/switch"
        self.switch = Control(
            [f"{binaries}/jepsen-switch", str(ports), "jtap", str(seed), path],
            path,
            os.path.join(folder, "switch.log"),
        )
        self.namespaces = [self._attach(port) for port in range(ports)]

    def _attach(self, port):
        namespace = Namespace(f"port{port}")
        ip = lambda *words: sandbox.command("ip", "-n", f"port{port}", *words)
        sandbox.command("ip", "link", "set", f"jtap{port}", "netns", f"port{port}")
        ip("link", "set", f"jtap{port}", "address", f"02:00:00:00:00:{port:02x}")
        ip("addr", "add", f"{address_of(port)}/24", "dev", f"jtap{port}")
        ip("link", "set", f"jtap{port}", "up")
        ip("link", "set", "lo", "up")
        return namespace

    def _push(self):
        wanted = {}
        for links in self._faults.values():
            for link, values in links.items():
                merged = wanted.setdefault(link, {})
                for kind, value in values.items():
                    merged[kind] = max(value, merged.get(kind, 0))
        for link in set(wanted) | set(self._set):
            if wanted.get(link, {}) != self._set.get(link, {}):
                self.switch.ask("set", **{"from": link[0], "to": link[1]}, **wanted.get(link, {}))
        self._set = wanted

    def put(self, fault, links):
        with self._lock:
            self._faults[fault] = links
            self._push()

    def remove(self, fault):
        with self._lock:
            self._faults.pop(fault, None)
            self._push()

    def heal(self):
        with self._lock:
            self._faults = {}
            self._push()

    def counts(self, links):
        """{what happened: frames} since the start, summed over the given links."""
        total = dict.fromkeys(COUNTS, 0)
        for word in self.switch.ask("stat"):
            link, _, numbers = word.partition("=")
            source, _, target = link.partition(">")
            if (int(source), int(target)) in links:
                for name, number in zip(COUNTS, numbers.split(",")):
                    total[name] += int(number)
        return total

    def close(self):
        self.switch.close()
