"""Limits on the processor and the memory of one node, with control groups of either version."""

import os

from . import sandbox

PERIOD_US = 100_000
UNLIMITED = 1 << 60


def _write(path, text):
    with open(path, "w", encoding="ascii") as handle:
        handle.write(text)


def _number(path, key):
    """The number behind `key` in a file of `key number` lines, 0 without it."""
    try:
        with open(path, encoding="ascii") as handle:
            pairs = (line.split() for line in handle)
            return next((int(pair[1]) for pair in pairs if pair[0] == key), 0)
    except FileNotFoundError:
        return 0


class Cgroup:
    def __init__(self, owner, number):
        parents = sandbox.cgroup_parents()
        name = f"{sandbox.PREFIX}{owner}-{number}"
        self.unified = "unified" in parents
        if self.unified:
            try:
                _write(f"{parents['unified']}/cgroup.subtree_control", "+cpu +memory")
            except OSError as error:
                raise sandbox.Missing(f"control groups cannot be used: {error}") from None
            parents = {"cpu": parents["unified"], "memory": parents["unified"]}
        if set(parents) != {"cpu", "memory"}:
            raise sandbox.Missing("no control groups for cpu and memory")
        self.cpu = f"{parents['cpu']}/{name}"
        self.memory = f"{parents['memory']}/{name}"
        for path in {self.cpu, self.memory}:
            os.mkdir(path)

    def add(self, pid):
        for path in {self.cpu, self.memory}:
            _write(f"{path}/cgroup.procs", str(pid))

    def limit_cpu(self, share):
        """The processes get this share of one processor; 0: as much as they want."""
        quota = int(share * PERIOD_US)
        if self.unified:
            _write(f"{self.cpu}/cpu.max", f"{quota or 'max'} {PERIOD_US}")
        else:
            _write(f"{self.cpu}/cpu.cfs_quota_us", str(quota or -1))

    def throttled(self):
        """How many periods ended with processes that had to wait."""
        return _number(f"{self.cpu}/cpu.stat", "nr_throttled")

    def used_bytes(self):
        name = "memory.current" if self.unified else "memory.usage_in_bytes"
        with open(f"{self.memory}/{name}", encoding="ascii") as handle:
            return int(handle.read())

    def limit_memory(self, size_bytes):
        """0: no limit."""
        if self.unified:
            _write(f"{self.memory}/memory.max", str(size_bytes or "max"))
        else:
            _write(f"{self.memory}/memory.limit_in_bytes", str(size_bytes or -1))

    def oom_kills(self):
        name = "memory.events" if self.unified else "memory.oom_control"
        return _number(f"{self.memory}/{name}", "oom_kill")

    def close(self):
        for path in {self.cpu, self.memory}:
            try:
                os.rmdir(path)
            except OSError:
                pass  # a process of it is still ending: the supervisor tries again
