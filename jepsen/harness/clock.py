"""A node's clocks, as jepsen/faults/clock.c reads them: a small file mapped by both sides."""

import mmap
import os
import struct
import time

FIELDS = struct.Struct("<Qqqqq")  # version, wall offset, base, monotonic offset, rate
COUNTS = struct.Struct("<QQ")  # reads of the wall clock, of the monotonic clock
SIZE = 4096
SAME_RATE = 1_000_000


class Clock:
    def __init__(self, path):
        self.path = path
        with open(path, "wb") as handle:
            handle.write(bytes(SIZE))
        fd = os.open(path, os.O_RDWR)
        self._map = mmap.mmap(fd, SIZE)
        os.close(fd)
        self._version = 0
        self._wall_ns = 0
        self._base_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        self._offset_ns = 0
        self._rate = SAME_RATE
        self._write()

    def _write(self):
        fields = (self._wall_ns, self._base_ns, self._offset_ns, self._rate)
        FIELDS.pack_into(self._map, 0, self._version + 1, *fields)
        self._version += 2
        struct.pack_into("<Q", self._map, 0, self._version)

    def jump(self, seconds):
        """The wall clock stands so many seconds beside the machine's."""
        self._wall_ns = int(seconds * 1e9)
        self._write()

    def rate(self, ppm):
        """The monotonic clock runs at this rate from now on, without a jump."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        self._offset_ns += (now - self._base_ns) * (self._rate - SAME_RATE) // SAME_RATE
        self._base_ns = now
        self._rate = ppm
        self._write()

    def reads(self):
        """(of the wall clock, of the monotonic clock) since the start."""
        return COUNTS.unpack_from(self._map, FIELDS.size)
