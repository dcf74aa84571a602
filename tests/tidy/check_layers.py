#!/usr/bin/env python3
"""Includes point down the layers, and each third-party header stays in its one home.

The table is the one of docs/architecture.md: a folder may include itself, src/base, and what its
line names. System headers that open the outside world belong to src/io; programs may use more, but
nobody else reads a clock.
"""

import os
import re

import tidy

# folder -> folders it may include, besides itself and src/base
MAY_USE = {
    "include/spate": [],
    "src/base": [],
    "src/io": [],
    "src/wire": [],
    "src/net": ["src/io", "src/wire"],
    "src/storage": ["src/io"],
    "cluster": ["src/storage", "src/net", "src/wire", "src/io"],
    "src/broker": ["cluster", "src/storage", "src/net", "src/wire", "src/io"],
    "src/client": ["src/net", "src/wire", "src/io"],
    "src/cli": ["src/wire", "src/storage", "src/io"],
    "src/server": [
        "src/broker", "cluster", "src/storage", "src/net", "src/wire", "src/io", "src/client",
    ],
}

# Everyone may include the one list of codes; the rest of the public API belongs to these folders.
PUBLIC_API_USERS = {"include/spate", "src/client", "src/cli", "src/server"}

# (folder, header): tables of a layer above that a folder may read, and why
SHARED = {
    ("src/cli", "cluster/topic_config.h"): "settings of topics, for the help",
    ("src/cli", "cluster/topic_names.h"): "what the logs of a stopped node are of",
}

# header -> where it may be included (a folder, or one file): those of third parties, and our own
# that the simulator has no body for
HOMES = {
    "io/clock.h": ["src/io", "src/cli", "src/server"],
    "uv.h": ["src/io"],
    "raft.h": ["cluster"],
    "msgpack.h": ["src/wire"],
    "lz4frame.h": ["src/wire"],
    "yaml.h": ["src/server", "src/cli/contexts_file.c"],
    "jansson.h": ["src/cli", "src/client", "src/server"],
    "uthash.h": ["src/base/map.c"],
    "microhttpd.h": ["src/server"],
}

# System headers with nothing but computation behind them (what stdio may be used for is the matter
# of check_symbols).
PURE_HEADERS = set(
    """assert.h ctype.h endian.h errno.h float.h inttypes.h limits.h math.h stdalign.h stdarg.h
    stdatomic.h stdbool.h stddef.h stdint.h stdio.h stdlib.h string.h strings.h sys/types.h
    sys/uio.h immintrin.h nmmintrin.h wmmintrin.h smmintrin.h emmintrin.h cpuid.h
    arm_acle.h""".split()
)
# (file, header): the one place that may, and why
EXCEPTIONS = {
    ("src/base/crc32c.c", "sys/auxv.h"): "asks the kernel which instructions an ARM core has",
    ("src/base/crc32c.c", "asm/hwcap.h"): "names of those instructions",
    ("src/base/mem.c", "malloc.h"): "the one door to the heap asks how large a block really is",
}
IMPURE_FOLDERS = {"src/io", "src/cli", "src/server"}

CLOCKS = re.compile(
    r"\b(clock_gettime|clock_getcpuclockid|gettimeofday|timespec_get|getrusage|times?|clock)\("
)
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]')


def folder_of(path):
    """The layer of a file, or None outside the layers."""
    for folder in MAY_USE:
        if path.startswith(folder + "/"):
            return folder
    return None


def target_of(root, path, name):
    """The layer that an include "name" of `path` leads to, or None if no such file exists."""
    for base in (os.path.dirname(path), "src", "", "include"):
        candidate = os.path.normpath(os.path.join(base, name))
        if os.path.exists(os.path.join(root, candidate)):
            return folder_of(candidate)
    return None


def allowed(folder, target, name):
    if target in (folder, "src/base"):
        return True
    if (folder, name) in SHARED:
        return True
    if target == "include/spate":
        return folder in PUBLIC_API_USERS or name == "spate/error.h"
    return target in MAY_USE[folder]


def at_home(path, header):
    return any(path == home or path.startswith(home + "/") for home in HOMES[header])


def check_include(root, path, folder, quote, name):
    """The finding about one include, or None."""
    if name in HOMES:
        return None if at_home(path, name) else f"<{name}> belongs to {' '.join(HOMES[name])}"
    target = target_of(root, path, name)
    if target is not None:
        return None if allowed(folder, target, name) else f"{folder} may not use {target} ({name})"
    if quote == '"':
        return f'"{name}" is no file of any layer'
    pure = name in PURE_HEADERS or (path, name) in EXCEPTIONS
    if folder not in IMPURE_FOLDERS and not pure:
        return f"<{name}> opens the outside world: that is src/io's"
    return None


def check(root):
    for path in tidy.files(root, under=("src", "cluster", "include"), endings=(".c", ".h")):
        folder = folder_of(path)
        if folder is None:
            yield path, 1, "this folder is not in the layer table of tests/tidy/check_layers.py"
            continue
        for number, line in tidy.lines(root, path):
            match = INCLUDE.match(line)
            finding = match and check_include(root, path, folder, match[1], match[2])
            if finding:
                yield path, number, finding
            clock = CLOCKS.search(line) if folder != "src/io" else None
            if clock:
                yield path, number, f"{clock[1]} reads a clock: that is src/io's"


if __name__ == "__main__":
    tidy.main("layers", check)
