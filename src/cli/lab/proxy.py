"""The network between a program, the nodes, and the nodes among each other: every connection goes
through here, so that it can be cut or slowed down.

A link that is cut takes nothing and gives nothing, and connections to it hang, as when packets get
lost; nobody is told. A node that is down is refused at once, as by its machine.
"""

import asyncio
import os
import time

CHUNK = 65536
CLIENT = 0  # the number that stands for the program
UNKNOWN = -1  # whoever connects to a node's port for other nodes, and is none of ours


class Network:
    def __init__(self):
        self.cut = set()  # nodes
        self.slow = {}  # node: seconds, each way
        self.changed = asyncio.Event()
        self.pids = {}  # node: pid

    def change(self):
        """Wakes those that wait for the network to become another."""
        self.changed.set()
        self.changed = asyncio.Event()

    def is_cut(self, link):
        return bool(self.cut & set(link))

    def delay(self, link):
        return max((self.slow.get(node, 0) for node in link), default=0)

    def node_of_port(self, port):
        """Which of our nodes has the connection from this local port, or UNKNOWN."""
        wanted = f":{port:04X}"
        try:
            with open("/proc/net/tcp", encoding="ascii") as table:
                rows = [line.split() for line in table]
            inode = next(row[9] for row in rows[1:] if row[1].endswith(wanted) and row[9] != "0")
        except (OSError, StopIteration):
            return UNKNOWN
        for node, pid in self.pids.items():
            try:
                for name in os.listdir(f"/proc/{pid}/fd"):
                    try:
                        if os.readlink(f"/proc/{pid}/fd/{name}") == f"socket:[{inode}]":
                            return node
                    except OSError:
                        continue
            except OSError:
                continue
        return UNKNOWN


class Proxy:
    """One port of one node. `make_tap` makes a tap for a connection, or is None."""

    def __init__(self, network, node, front, back, make_tap=None):
        self.network, self.node, self.front, self.back = network, node, front, back
        self.make_tap = make_tap
        self.server = None
        self.tasks = set()

    async def open(self):
        if self.server is None:
            self.server = await asyncio.start_server(self.accept, "127.0.0.1", self.front)

    async def close(self):
        """The node is down: its connections end and new ones are refused."""
        if self.server is not None:
            self.server.close()
            self.server = None
        for task in list(self.tasks):
            task.cancel()
        if self.tasks:
            await asyncio.gather(*self.tasks, return_exceptions=True)

    async def accept(self, reader, writer):
        task = asyncio.current_task()
        self.tasks.add(task)
        try:
            await self.carry(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self.tasks.discard(task)
            writer.close()

    async def carry(self, reader, writer):
        port = writer.get_extra_info("peername")[1]
        source = CLIENT if self.make_tap else self.network.node_of_port(port)
        link = (source, self.node)
        while self.network.is_cut(link):
            await self.network.changed.wait()
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self.back)
        tap = self.make_tap() if self.make_tap else None
        pumps = [
            asyncio.ensure_future(self.pump(link, reader, back_writer, tap, "up")),
            asyncio.ensure_future(self.pump(link, back_reader, writer, tap, "down")),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in pumps:
                one.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            back_writer.close()

    async def pump(self, link, reader, writer, tap, direction):
        """Chunks in order, each no sooner than the delay after it came."""
        queue = asyncio.Queue(64)

        async def take():
            chunk = b"first"
            while chunk:
                try:
                    chunk = await reader.read(CHUNK)
                except OSError:
                    chunk = b""
                await queue.put((time.monotonic() + self.network.delay(link), chunk))

        taker = asyncio.ensure_future(take())
        try:
            while True:
                due, chunk = await queue.get()
                wait = due - time.monotonic()
                if wait > 0:
                    await asyncio.sleep(wait)
                while self.network.is_cut(link):
                    await self.network.changed.wait()
                if not chunk:
                    return
                if tap is not None:
                    tap.feed(direction, chunk)
                writer.write(chunk)
                await writer.drain()
        finally:
            taker.cancel()
            await asyncio.gather(taker, return_exceptions=True)
