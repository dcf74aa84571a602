"""A cluster of this machine for one run: nodes with their data in one directory, each behind two
proxies, and what can be done to them."""

import asyncio
import ctypes
import os
import random
import signal
import socket
import subprocess
import time
import types

import proxy
import rpc
import script
import tap

PORTS = range(20000, 31000)
HEALTHY_SECONDS = 60
STOP_SECONDS = 15
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def die_with_us():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


_reserved = []  # sockets that hold the names of ports until this process ends


def free_port():
    """It stays ours while nobody listens there, as when a node is down: the name of an abstract
    socket says so to others that look for ports in the same way."""
    for _ in range(1000):
        port = random.choice(PORTS)
        name, probe = socket.socket(socket.AF_UNIX), socket.socket()
        try:
            name.bind(f"\0spate-port-{port}")
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
        except OSError:
            name.close()
            continue
        finally:
            probe.close()
        _reserved.append(name)
        return port
    raise RuntimeError("no free port was found")


class Node:
    def __init__(self, number, directory, ports, network, journal):
        self.number = number
        self.directory = os.path.join(directory, f"node{number}")
        self.client, self.client_back, self.peer, self.peer_back = ports
        self.address = f"127.0.0.1:{self.client}"
        self.back = f"127.0.0.1:{self.client_back}"
        self.process, self.paused = None, False
        self.network = network
        self.proxies = [
            proxy.Proxy(network, number, self.client, self.client_back, lambda: tap.Tap(journal)),
            proxy.Proxy(network, number, self.peer, self.peer_back),
        ]

    def write_config(self, seeds):
        os.makedirs(os.path.join(self.directory, "data"))
        lines = [
            f"node: {{ id: {self.number} }}",
            "cluster:", "  seeds:", *[f'    - "{seed}"' for seed in seeds],
            f'listen: {{ client: "{self.back}", peer: "127.0.0.1:{self.peer_back}" }}',
            f'advertise: {{ client: "{self.address}", peer: "127.0.0.1:{self.peer}" }}',
            f'data: {{ dir: "{self.directory}/data" }}',
        ]  # fmt: skip
        with open(f"{self.directory}/spated.yaml", "w", encoding="utf-8") as handle:
            handle.write("\n".join(lines) + "\n")

    async def start(self, spated):
        if self.process is not None:
            return
        with open(f"{self.directory}/spated.log", "ab") as log:
            self.process = subprocess.Popen(
                [spated, "--config", f"{self.directory}/spated.yaml"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_us,
                start_new_session=True,
            )  # fmt: skip
        self.network.pids[self.number] = self.process.pid
        for one in self.proxies:
            await one.open()

    async def end(self, number):
        """By a signal; SIGKILL follows SIGTERM when that is not enough."""
        if self.process is None:
            return
        process, self.process, self.paused = self.process, None, False
        process.send_signal(signal.SIGCONT)
        process.send_signal(number)
        deadline = time.monotonic() + STOP_SECONDS
        while process.poll() is None:
            if time.monotonic() > deadline:
                process.kill()
            await asyncio.sleep(0.01)
        self.network.pids.pop(self.number, None)
        for one in self.proxies:
            await one.close()

    def signal(self, number):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.paused = number == signal.SIGSTOP


# Stands for the program where nodes are cut or slow.
CLIENTS = types.SimpleNamespace(number=proxy.CLIENT)


class Cluster:
    def __init__(self, directory, count, spated):
        self.directory, self.spated = directory, spated
        self.network, self.journal = proxy.Network(), tap.Journal()
        ports = [free_port() for _ in range(4 * count)]
        self.nodes = [
            Node(n + 1, directory, ports[4 * n : 4 * n + 4], self.network, self.journal)
            for n in range(count)
        ]
        seeds = [f"{node.number}@127.0.0.1:{node.peer}" for node in self.nodes]
        for node in self.nodes:
            node.write_config(seeds)
        self.servers = ",".join(node.address for node in self.nodes)
        self.backs = {node.address: node.back for node in self.nodes}

    async def start(self):
        for node in self.nodes:
            await node.start(self.spated)
        await self.wait_healthy()

    async def ask(self, node, method, **fields):
        """None when it does not answer."""

        def call():
            try:
                return self.call(node, method, **fields)
            except (OSError, EOFError, rpc.Refused):
                return None

        return await asyncio.get_running_loop().run_in_executor(None, call)

    async def ask_any(self, method, **fields):
        """The answer of some node. rpc.Refused when all that answer refuse."""
        refused = rpc.Refused(f"TIMEOUT: {method}: no node answers")
        for node in self.nodes:
            try:
                return await asyncio.get_running_loop().run_in_executor(
                    None, lambda node=node: self.call(node, method, **fields)
                )
            except rpc.Refused as error:
                refused = error
            except (OSError, EOFError):
                pass
        raise refused

    def call(self, node, method, **fields):
        with rpc.Client(node.back, seconds=2) as client:
            return client.call(method, **fields)

    async def wait_healthy(self):
        deadline = time.monotonic() + HEALTHY_SECONDS
        while True:
            answers = [await self.ask(node, "cluster.health") for node in self.nodes]
            if all(answer and answer["healthy"] for answer in answers):
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"the cluster is not well after {HEALTHY_SECONDS} s: {answers}")
            await asyncio.sleep(0.05)

    async def close(self):
        for node in self.nodes:
            await node.end(signal.SIGTERM)

    # ---- faults ---------------------------------------------------------------------------------

    async def find(self, whom):
        if whom == "all":
            return self.nodes
        if whom == "clients":
            return [CLIENTS]
        if whom == "any":
            return [random.choice(self.nodes)]
        if whom[0].isdigit():
            return [self.nodes[int(one) - 1] for one in whom.split(",")]
        topic, _, partition = whom.removeprefix("leader of ").rpartition("/")
        for node in self.nodes:
            answer = await self.ask(node, "metadata", topics=[topic]) if node.process else None
            topics = answer["topics"] if answer else []
            for row in topics[0].get("partitions", []) if topics else []:
                if row["partition"] == int(partition) and row["leader"] > 0:
                    return [self.nodes[row["leader"] - 1]]
        return []

    async def act(self, action, nodes, by=0.0):
        for node in nodes:
            if action in ("kill", "stop"):
                await node.end(signal.SIGKILL if action == "kill" else signal.SIGTERM)
            elif action == "start":
                await node.start(self.spated)
            elif action in ("pause", "resume"):
                node.signal(signal.SIGSTOP if action == "pause" else signal.SIGCONT)
            elif action == "cut":
                self.network.cut.add(node.number)
            elif action == "join":
                self.network.cut.discard(node.number)
            elif action == "slow":
                self.network.slow[node.number] = by
            elif action == "fast":
                self.network.slow.pop(node.number, None)
        self.network.change()

    async def heal(self):
        await self.act("resume", self.nodes)
        await self.act("join", [*self.nodes, CLIENTS])
        await self.act("fast", [*self.nodes, CLIENTS])
        await self.act("start", self.nodes)


class Nemesis:
    """Follows a script; `faults` has what it did, in the form of the report."""

    def __init__(self, cluster, steps, say):
        self.cluster, self.steps, self.say = cluster, steps, say
        self.faults = []

    async def run(self):
        begin = time.monotonic()
        undoing = []
        try:
            for step in self.steps:
                await asyncio.sleep(max(0, begin + step.at - time.monotonic()))
                undoing.append(asyncio.ensure_future(self.take(step)))
            await asyncio.gather(*undoing)
        finally:
            for one in undoing:
                one.cancel()
            await asyncio.gather(*undoing, return_exceptions=True)

    async def take(self, step):
        nodes = await self.cluster.find(step.whom)
        numbers = ",".join(str(node.number or "clients") for node in nodes)
        self.say(f"{step}{'' if numbers == step.whom else f' (node {numbers or None})'}")
        if not nodes:
            return
        undo = script.UNDO.get(step.action)
        fault = None
        if undo:
            fault = {"id": len(self.faults) + 1, "kind": step.action, "target": numbers,
                     "begin_ns": time.monotonic_ns(), "end_ns": 0, "undo": undo}  # fmt: skip
            self.faults.append(fault)
        else:
            self.end_of(step.action, numbers)
        await self.cluster.act(step.action, nodes, step.by)
        if step.seconds:
            await asyncio.sleep(step.seconds)
            await self.cluster.act(undo, nodes)
            fault["end_ns"] = time.monotonic_ns()

    def end_of(self, undo, numbers):
        for fault in self.faults:
            if fault["end_ns"] == 0 and fault["undo"] == undo and fault["target"] == numbers:
                fault["end_ns"] = time.monotonic_ns()

    def finish(self):
        for fault in self.faults:
            fault["end_ns"] = fault["end_ns"] or time.monotonic_ns()
