"""A MessagePack-RPC client for the tests, and RecordBatch v2, both from docs/protocol.md alone."""

import socket
import struct
import time

import msgpack

CALL_SECONDS = 30


class Refused(Exception):
    """The server answered with an error."""

    def __init__(self, error):
        super().__init__(error)
        self.code, _, self.text = error.partition(": ")


class Client:
    def __init__(self, address, timeout=CALL_SECONDS):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=timeout)
        self.answers = msgpack.Unpacker(raw=False, max_buffer_size=64 * 1024 * 1024)
        self.msgid = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, method, fields):
        """Sends a request without waiting, returns its id."""
        self.msgid += 1
        self.socket.sendall(msgpack.packb([0, self.msgid, method, [fields]]))
        return self.msgid

    def receive(self):
        """The next message from the server. EOFError when it has closed the connection."""
        while True:
            for message in self.answers:
                return message
            data = self.socket.recv(1 << 20)
            if not data:
                raise EOFError("connection closed")
            self.answers.feed(data)

    def call_raw(self, method, params):
        self.msgid += 1
        self.socket.sendall(msgpack.packb([0, self.msgid, method, params]))
        kind, msgid, error, result = self.receive()
        assert (kind, msgid) == (1, self.msgid), (kind, msgid)
        if error is not None:
            raise Refused(error)
        return result

    def call(self, method, **fields):
        return self.call_raw(method, [fields])


class Leaders:
    """Calls that follow the leader through failover, within a deadline."""

    AGAIN = {"LEADER_UNKNOWN", "NOT_READY", "BUSY", "LEADER_CHANGED", "STOPPED", "CANCELED"}

    def __init__(self, addresses):
        self.addresses = list(addresses)
        self.client = None

    def close(self):
        if self.client is not None:
            self.client.close()
        self.client = None

    def call(self, method, seconds=20.0, **fields):
        started = time.monotonic()
        deadline = started + seconds
        while True:
            try:
                if self.client is None:
                    self.client = Client(self.addresses[0], timeout=5)
                return self.client.call(method, **fields)
            except Refused as refused:
                if refused.code == "NOT_LEADER":
                    self.addresses.insert(0, refused.text.split()[1])
                elif refused.code == "UNKNOWN_TOPIC" and time.monotonic() < started + 1:
                    pass  # created through another node a moment ago
                elif refused.code not in self.AGAIN:
                    raise
                last = refused
            except (OSError, EOFError) as gone:
                last = gone
            self.close()
            if time.monotonic() > deadline:
                raise AssertionError(f"{method}: no success within {seconds} s: {last}")
            if not (isinstance(last, Refused) and last.code == "NOT_LEADER"):
                self.addresses.append(self.addresses.pop(0))
            time.sleep(0.02)


# ---- RecordBatch v2 -----------------------------------------------------------------------------


def _crc_table():
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        yield value


_TABLE = list(_crc_table())


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def varint(number):
    number = number << 1 if number >= 0 else ~number << 1 | 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def take_varint(data, at):
    number, shift = 0, 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at


def sized(data):
    return varint(-1) if data is None else varint(len(data)) + data


def take_sized(data, at):
    size, at = take_varint(data, at)
    return (None, at) if size < 0 else (data[at : at + size], at + size)


HEADER = struct.Struct(">qiibI")
CHECKED = struct.Struct(">hiqqqhii")
CHECKED_AT = 21


def encode_batch(values, time_ms=1700000000000, producer=(-1, -1, -1), crc=None, attributes=0):
    """A batch of records without keys; `crc` replaces the right one."""
    records = b""
    for delta, value in enumerate(values):
        body = b"\0" + varint(0) + varint(delta) + sized(None) + sized(value) + varint(0)
        records += varint(len(body)) + body
    count = len(values)
    tail = CHECKED.pack(attributes, count - 1, time_ms, time_ms, *producer, count) + records
    head = HEADER.pack(0, 9 + len(tail), -1, 2, crc32c(tail) if crc is None else crc)
    return head + tail


def decode_batch(data):
    """(header as a dict, list of records as dicts) of one batch that is not compressed."""
    base, size, epoch, magic, crc = HEADER.unpack_from(data)
    names = ["attributes", "last_offset_delta", "base_timestamp", "max_timestamp", "producer_id"]
    names += ["producer_epoch", "base_sequence", "record_count"]
    header = dict(zip(names, CHECKED.unpack_from(data, CHECKED_AT)))
    header.update(base_offset=base, leader_epoch=epoch, magic=magic)
    assert size == len(data) - 12, (size, len(data))
    assert crc == crc32c(data[CHECKED_AT:]), "crc"
    records, at = [], CHECKED_AT + CHECKED.size
    while at < len(data):
        size, at = take_varint(data, at)
        end = at + size
        time_delta, at = take_varint(data, at + 1)
        offset_delta, at = take_varint(data, at)
        key, at = take_sized(data, at)
        value, at = take_sized(data, at)
        count, at = take_varint(data, at)
        headers = []
        for _ in range(count):
            name, at = take_sized(data, at)
            content, at = take_sized(data, at)
            headers.append([name.decode(), content])
        assert at == end, (at, end)
        record = {"o": base + offset_delta, "t": header["base_timestamp"] + time_delta}
        records.append({**record, "k": key, "v": value, "h": headers})
    assert len(records) == header["record_count"]
    return header, records
