#!/usr/bin/env python3
"""Clients that misbehave, for test_flow_control.py.

    bad_clients.py KIND TOPIC ADDRESS...   they leave when standard input ends
    bad_clients.py plain                   a server that sends bytes to who connects, and no more

Each line that it prints is JSON: first how many connections there are, in the end what was stored;
first where the plain server listens.
"""

import itertools
import json
import resource
import select
import socket
import sys
import time

import msgpack

KIB, MIB = 1024, 1024 * 1024
IDLE = 5000
TURN_SECONDS = 0.02  # each client does something so often
LEAVE_SECONDS = 30  # in which they must have the answers to what they sent
BATCH = 64 * KIB


def connect(address, receive_bytes=None):
    host, port = address.rsplit(":", 1)
    sock = socket.socket()
    if receive_bytes:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    sock.connect((host, int(port)))
    return sock


def request(msgid, method, **fields):
    return msgpack.packb([0, msgid, method, [fields]])


class Mute:
    """Pipelines fetches and never reads."""

    def __init__(self, address, partition, _, fetches=100):
        self.sock = connect(address, 4096)
        ask = dict(topic="big", partition=partition, offset=0, max_bytes=4 * MIB)
        self.sock.sendall(b"".join(request(i, "fetch", **ask) for i in range(fetches)))

    def step(self):
        pass


class Slow(Mute):
    """The same, reading 16 KiB at a time."""

    def step(self):
        try:
            self.sock.recv(16 * KIB, socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass


class Half:
    """Sends half of a large message, and no more."""

    def __init__(self, address, _, topic):
        self.sock = connect(address)
        self.sock.setblocking(False)
        body = msgpack.packb([0, 1, "produce", [{"topic": topic, "records": bytes(8 * MIB)}]])
        self.rest = memoryview(body)[: len(body) // 2]

    def step(self):
        try:
            while self.rest:
                self.rest = self.rest[self.sock.send(self.rest) :]
        except BlockingIOError:
            pass


class Idle:
    def __init__(self, address, *_):
        self.sock = connect(address)

    def step(self):
        pass


class Flood:
    """Produces as fast as the socket takes it, and reads no answer before it is told to."""

    number = 0

    def __init__(self, address, partition, topic):
        self.sock = connect(address)
        self.sock.setblocking(False)
        self.partition = partition
        self.topic = topic
        self.sent = {}  # msgid -> number in the value
        self.rest = memoryview(b"")
        self.sent_bytes = 0

    def next(self):
        Flood.number += 1
        msgid = len(self.sent) + 1
        self.sent[msgid] = Flood.number
        value = Flood.number.to_bytes(8, "big") * (BATCH // 8)
        fields = dict(topic=self.topic, partition=self.partition, records=[{"v": value}])
        self.rest = memoryview(request(msgid, "produce", **fields))

    def step(self):
        try:
            for _ in range(8):
                if not self.rest:
                    self.next()
                sent = self.sock.send(self.rest)
                self.sent_bytes += sent
                self.rest = self.rest[sent:]
        except BlockingIOError:
            pass

    def acknowledged(self):
        """Finishes the message begun, reads all answers: {(partition, offset): number}."""
        unpacker, out, answers, refused = msgpack.Unpacker(), {}, 0, {}
        deadline = time.monotonic() + LEAVE_SECONDS
        try:
            while answers < len(self.sent):
                unpacker.feed(self.exchange(deadline))
                for _, msgid, error, result in unpacker:
                    answers += 1
                    if error is None:
                        out[self.partition, result["offset"]] = self.sent[msgid]
                    else:
                        code = error.split(":")[0]
                        refused[code] = refused.get(code, 0) + 1
        except OSError as failed:
            raise AssertionError(f"{answers} of {len(self.sent)} answers had come, "
                                 f"{len(self.rest)} bytes were unsent: {failed}") from None
        return out, refused

    def exchange(self, deadline):
        """Sends what can be sent, returns what has come. TimeoutError, ConnectionError."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN | (select.POLLOUT if self.rest else 0))
        ready = poll.poll(max(0, deadline - time.monotonic()) * 1000)
        if not ready or time.monotonic() > deadline:
            raise TimeoutError(f"not all within {LEAVE_SECONDS} s")
        if ready[0][1] & select.POLLOUT:
            self.rest = self.rest[self.sock.send(self.rest) :]
        if not ready[0][1] & ~select.POLLOUT:
            return b""
        data = self.sock.recv(1 << 16)
        if not data:
            raise ConnectionError("the node has closed the connection")
        return data


KINDS = {
    "mute": [(Mute, 80)],
    "slow": [(Slow, 40), (Mute, 40)],
    "idle": [(Idle, IDLE)],
    "flood": [(Flood, 12)],
    "wide": [(Flood, 16)],
    "half": [(Half, 60)],
    "all": [(Mute, 40), (Slow, 20), (Idle, IDLE // 2), (Flood, 8), (Half, 40)],
}


def take_turns(clients):
    """Until standard input ends. Evenly, as those do that have nothing to do with each other: forty
    that read within one millisecond hold up whoever else wants a processor, whatever they read from
    (tests/long/flow-control --plain)."""
    if not clients:
        sys.stdin.read()
    wait, due = TURN_SECONDS / max(1, len(clients)), time.monotonic()
    for client in itertools.cycle(clients):
        if select.select([sys.stdin], [], [], max(0, due - time.monotonic()))[0]:
            return
        client.step()
        due = max(due + wait, time.monotonic())


def serve_plain():
    """Endless bytes for all who connect, with as little unsent as a node keeps for a stranger."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
    print(json.dumps({"address": "127.0.0.1:%d" % listener.getsockname()[1]}), flush=True)
    poll, socks, data = select.epoll(), {}, bytes(64 * KIB)
    for file in sys.stdin, listener:
        poll.register(file, select.EPOLLIN)
    while True:
        for number, events in poll.poll():
            if number == sys.stdin.fileno():
                return
            if number == listener.fileno():
                sock = listener.accept()[0]
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 64 * KIB)
                socks[sock.fileno()] = sock
                poll.register(sock, select.EPOLLOUT)
            elif events & (select.EPOLLHUP | select.EPOLLERR):
                socks.pop(number).close()
            else:
                try:
                    socks[number].send(data)
                except OSError:
                    pass  # no room after all, or gone: the next event tells


def run(kind, topic, leaders):
    """`leaders` of `topic`, which is flooded, are the addresses of its leaders, by partition."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    clients = []
    for kind_of, count in KINDS[kind]:
        clients += [kind_of(leaders[i % len(leaders)], i % len(leaders), topic)
                    for i in range(count)]
    print(json.dumps({"connections": len(clients)}), flush=True)
    busy = [client for client in clients if not isinstance(client, (Idle, Mute)) or
            isinstance(client, Slow)]
    take_turns(busy)
    stored, refused, sent = [], {}, 0
    for client in clients:
        if isinstance(client, Flood):
            acknowledged, codes = client.acknowledged()
            stored += [[*place, number] for place, number in acknowledged.items()]
            sent += client.sent_bytes
            for code, count in codes.items():
                refused[code] = refused.get(code, 0) + count
    print(json.dumps({"stored": stored, "refused": refused, "sent_bytes": sent}), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "plain":
        serve_plain()
    else:
        run(sys.argv[1], sys.argv[2], sys.argv[3:])
