"""MessagePack-RPC with the standard library alone: docs/protocol.md tells the methods."""

import socket
import struct


class Incomplete(Exception):
    """The bytes end within a message."""


class Refused(Exception):
    """A node answered with an error."""

    def __init__(self, error):
        super().__init__(error)
        self.code, _, self.text = error.partition(": ")


# ---- encoding -----------------------------------------------------------------------------------


def pack(value):
    if value is None:
        return b"\xc0"
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return struct.pack(">Bq", 0xD3, value)
    if isinstance(value, bytes):
        return struct.pack(">BI", 0xC6, len(value)) + value
    if isinstance(value, str):
        text = value.encode()
        return struct.pack(">BI", 0xDB, len(text)) + text
    if isinstance(value, (list, tuple)):
        return struct.pack(">BI", 0xDD, len(value)) + b"".join(map(pack, value))
    pairs = b"".join(pack(name) + pack(item) for name, item in value.items())
    return struct.pack(">BI", 0xDF, len(value)) + pairs


# ---- decoding -----------------------------------------------------------------------------------

# tag: (format of the number behind it, what it is)
TAGS = {
    0xC4: (">B", "bin"), 0xC5: (">H", "bin"), 0xC6: (">I", "bin"),
    0xC7: (">B", "ext"), 0xC8: (">H", "ext"), 0xC9: (">I", "ext"),
    0xCA: (">f", "number"), 0xCB: (">d", "number"),
    0xCC: (">B", "number"), 0xCD: (">H", "number"), 0xCE: (">I", "number"), 0xCF: (">Q", "number"),
    0xD0: (">b", "number"), 0xD1: (">h", "number"), 0xD2: (">i", "number"), 0xD3: (">q", "number"),
    0xD9: (">B", "str"), 0xDA: (">H", "str"), 0xDB: (">I", "str"),
    0xDC: (">H", "array"), 0xDD: (">I", "array"), 0xDE: (">H", "map"), 0xDF: (">I", "map"),
}  # fmt: skip
FIXED = {0xC0: None, 0xC2: False, 0xC3: True}
DEPTH_MAX = 32


def _head(data, at):
    """(kind, number, position behind)"""
    if at >= len(data):
        raise Incomplete
    tag = data[at]
    if tag <= 0x7F or tag >= 0xE0:
        return "number", tag if tag <= 0x7F else tag - 256, at + 1
    if tag <= 0x8F:
        return "map", tag & 15, at + 1
    if tag <= 0x9F:
        return "array", tag & 15, at + 1
    if tag <= 0xBF:
        return "str", tag & 31, at + 1
    if tag in FIXED:
        return "fixed", FIXED[tag], at + 1
    if 0xD4 <= tag <= 0xD8:
        return "ext", 1 << (tag - 0xD4), at + 1
    if tag not in TAGS:
        raise ValueError("no MessagePack")
    form, kind = TAGS[tag]
    size = struct.calcsize(form)
    if at + 1 + size > len(data):
        raise Incomplete
    return kind, struct.unpack_from(form, data, at + 1)[0], at + 1 + size


def unpack(data, at=0, depth=0):
    """(value, position behind it). Incomplete or ValueError."""
    if depth > DEPTH_MAX:
        raise ValueError("too deep")
    kind, number, at = _head(data, at)
    if kind in ("number", "fixed"):
        return number, at
    if kind == "array":
        items = []
        for _ in range(number):
            item, at = unpack(data, at, depth + 1)
            items.append(item)
        return items, at
    if kind == "map":
        items = {}
        for _ in range(number):
            name, at = unpack(data, at, depth + 1)
            value, at = unpack(data, at, depth + 1)
            items[name if isinstance(name, (str, int)) else repr(name)] = value
        return items, at
    size = number + (kind == "ext")
    if at + size > len(data):
        raise Incomplete
    body = bytes(data[at : at + size])
    return (body.decode(errors="replace") if kind == "str" else body), at + size


# ---- calls --------------------------------------------------------------------------------------


class Client:
    """One call after the other to one node."""

    def __init__(self, address, seconds=10):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=seconds)
        self.data = bytearray()
        self.msgid = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def call(self, method, **fields):
        self.msgid += 1
        self.socket.sendall(pack([0, self.msgid, method, [fields]]))
        while True:
            try:
                message, end = unpack(self.data)
            except Incomplete:
                more = self.socket.recv(1 << 20)
                if not more:
                    raise EOFError("connection closed") from None
                self.data += more
                continue
            del self.data[:end]
            if message[2] is not None:
                raise Refused(message[2])
            return message[3]
