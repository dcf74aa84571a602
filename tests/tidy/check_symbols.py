#!/usr/bin/env python3
"""Only src/io refers to time, files, sockets, threads and chance.

Called as `check_symbols.py ROOT LIBRARY...` with the static libraries of the pure layers. `nm -u`
names what each object needs from outside. Allowed are Spate's own symbols, the third-party library
of the layer, and the functions of symbols.txt, which compute and do nothing else. Everything else
needs an exception there, by symbol and archive member, with its reason.
"""

import os
import re
import subprocess

import tidy

TABLE = os.path.join("tests", "tidy", "symbols.txt")

# layer -> prefixes of the third-party library whose one home it is
THIRD_PARTY = {
    "wire": ("msgpack_", "LZ4F_"),
    "cluster": ("raft_",),
}
OWN = re.compile(r"^(sp_|spate_)")
# What compilers add by themselves, whatever the source says.
COMPILER = re.compile(
    r"^(_GLOBAL_OFFSET_TABLE_|__stack_chk_fail|__cpu_model|__cpu_indicator_init)$"
)
# Hardened and versioned twins: __snprintf_chk, __isoc99_sscanf.
TWIN = re.compile(r"^__(?:isoc\d+_)?(\w+?)(?:_chk)?$")


def read_table(root):
    """symbols.txt: the set of pure functions, and {(library, member, symbol)} of exceptions."""
    pure, exceptions = set(), set()
    for number, line in tidy.lines(root, TABLE):
        words = line.split("#")[0].split()
        if not words:
            continue
        if words[0] == "pure":
            pure.update(words[1:])
        elif words[0] == "except" and len(words) >= 4 and "#" in line:
            exceptions.update((words[1], words[2], symbol) for symbol in words[3:])
        else:
            raise SystemExit(f"{TABLE}:{number}: expected `pure SYMBOL...`"
                             " or `except LIBRARY MEMBER SYMBOL... # reason`")
    return pure, exceptions


def undefined(library):
    """(member, symbol) for everything that the objects of an archive need and do not define."""
    run = subprocess.run(["nm", "-u", library], check=True, capture_output=True, text=True)
    member = ""
    for line in run.stdout.splitlines():
        if line.endswith(":"):
            member = line[:-1].removesuffix(".o")
        elif line.strip():
            yield member, line.split()[-1].split("@")[0]


def plain_name(symbol):
    match = TWIN.match(symbol)
    return match[1] if match and not symbol.startswith("__atomic") else symbol


def check(root, *libraries):
    pure, exceptions = read_table(root)
    used = set()
    layers = set()
    for library in libraries:
        layer = re.sub(r"^libspate_|\.a$", "", os.path.basename(library))
        layers.add(layer)
        for member, symbol in undefined(library):
            if OWN.match(symbol) or COMPILER.match(symbol) or plain_name(symbol) in pure:
                continue
            if symbol in pure or symbol.startswith(THIRD_PARTY.get(layer, ("\0",))):
                continue
            if (layer, member, plain_name(symbol)) in exceptions:
                used.add((layer, member, plain_name(symbol)))
                continue
            yield f"{layer}/{member}", 1, (
                f"{symbol} reaches past src/io: use sp_loop, sp_file or sp_stream, or, if it only"
                f" computes, add it to {TABLE}"
            )
    for layer, member, symbol in sorted(exceptions - used):
        if layer in layers:
            yield TABLE, 1, f"exception {layer} {member} {symbol} is no longer needed"


if __name__ == "__main__":
    tidy.main("symbols", check)
