"""MessagePack-RPC with the standard library alone: enough for a harness to ask nodes."""

import socket
import struct


def pack(value):
    if value is None:
        return b"\xc0"
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return struct.pack(">Bq", 0xD3, value) if value < 0 else struct.pack(">BQ", 0xCF, value)
    if isinstance(value, str):
        data = value.encode()
        return struct.pack(">BI", 0xDB, len(data)) + data
    if isinstance(value, bytes):
        return struct.pack(">BI", 0xC6, len(value)) + value
    if isinstance(value, (list, tuple)):
        return struct.pack(">BI", 0xDD, len(value)) + b"".join(map(pack, value))
    if isinstance(value, dict):
        items = b"".join(pack(key) + pack(item) for key, item in value.items())
        return struct.pack(">BI", 0xDF, len(value)) + items
    raise TypeError(type(value).__name__)


class Short(Exception):
    """The value is not complete yet."""


_NUMBERS = {
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
    0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
}  # fmt: skip
_SIZED = {
    0xC4: (">B", "bin"), 0xC5: (">H", "bin"), 0xC6: (">I", "bin"),
    0xD9: (">B", "str"), 0xDA: (">H", "str"), 0xDB: (">I", "str"),
    0xDC: (">H", "array"), 0xDD: (">I", "array"), 0xDE: (">H", "map"), 0xDF: (">I", "map"),
}  # fmt: skip


def _take(data, at, form):
    size = struct.calcsize(form)
    if at + size > len(data):
        raise Short
    return struct.unpack_from(form, data, at)[0], at + size


def _unpack_sized(data, at, kind, count):
    if kind in ("bin", "str"):
        if at + count > len(data):
            raise Short
        piece = bytes(data[at : at + count])
        return (piece if kind == "bin" else piece.decode(errors="replace")), at + count
    items = []
    for _ in range(count if kind == "array" else 2 * count):
        item, at = unpack(data, at)
        items.append(item)
    return (items if kind == "array" else dict(zip(items[::2], items[1::2]))), at


def unpack(data, at=0):
    """(value, position after it); raises Short."""
    tag, at = _take(data, at, ">B")
    if tag < 0x80:
        return tag, at
    if tag >= 0xE0:
        return tag - 0x100, at
    if tag < 0xC0:
        kind = "map" if tag < 0x90 else "array" if tag < 0xA0 else "str"
        return _unpack_sized(data, at, kind, tag & (0x1F if kind == "str" else 0x0F))
    if tag in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[tag], at
    if tag in _NUMBERS:
        return _take(data, at, _NUMBERS[tag])
    if tag in _SIZED:
        form, kind = _SIZED[tag]
        count, at = _take(data, at, form)
        return _unpack_sized(data, at, kind, count)
    raise ValueError(f"tag {tag:#x}")


class Refused(Exception):
    """The node answered with an error."""


class Client:
    """One connection, one call at a time."""

    def __init__(self, address, timeout):
        self.socket = socket.create_connection(address, timeout=timeout)
        self.msgid = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def call(self, method, **fields):
        self.msgid += 1
        self.socket.sendall(pack([0, self.msgid, method, [fields]]))
        data = bytearray()
        while True:
            piece = self.socket.recv(1 << 16)
            if not piece:
                raise EOFError("connection closed")
            data += piece
            try:
                message, _ = unpack(data)
            except Short:
                continue
            if message[2] is not None:
                raise Refused(message[2])
            return message[3]
