#!/usr/bin/env python3
"""The public functions are the same in the headers, the version map, the document and the library.

Called as `check_api.py ROOT [LIBRARY...]` with libspate.so and libspate.a. Each function of
include/spate stands in cmake/libspate.map and in docs/c-api.md, which names no others, and has a
comment; a library defines these functions for others to link with, and nothing else.
"""

import os
import re
import subprocess
import sys

import tidy

MAP = os.path.join("cmake", "libspate.map")
DOCUMENT = os.path.join("docs", "c-api.md")
NODE = "SPATE_0"
# `spate_name` alone, as a call, or as a manual page; types and paths are no functions.
IN_DOCUMENT = re.compile(r"`(spate_\w+)(?:\([^`]*\))?`")


def functions_of_headers(root):
    sys.path.insert(0, os.path.join(root, "cmake"))
    import spate_headers

    return spate_headers.functions_of(os.path.join(root, "include", "spate"))


def names_of_map(root):
    """name -> line of what the map exports."""
    names, inside = {}, False
    for number, line in tidy.lines(root, MAP):
        word = line.strip()
        inside = word == "global:" or (inside and word != "local:")
        match = inside and re.match(r"^(\w+|\*);$", word)
        if match:
            names[match[1]] = number
    return names


def names_of_document(root):
    """name -> line of each function between backquotes."""
    names = {}
    for number, line in tidy.lines(root, DOCUMENT):
        for name in IN_DOCUMENT.findall(line):
            names.setdefault(name, number)
    return names


def exported(library):
    """The names that a library defines for others, without their versions; versions apart."""
    shared = ".so" in os.path.basename(library)
    arguments = ["nm", "--defined-only", "-g"] + (["-D"] if shared else []) + [library]
    run = subprocess.run(arguments, check=True, capture_output=True, text=True)
    names = {}
    for line in run.stdout.splitlines():
        words = line.split()
        if len(words) == 3 and words[1] != "A":
            name, _, version = words[2].partition("@@")
            names[name] = version
    return names


def check_library(library, wanted):
    place = os.path.basename(library)
    names = exported(library)
    for name in sorted(wanted - set(names)):
        yield place, 1, f"{name} is not exported"
    for name in sorted(set(names) - wanted):
        yield place, 1, f"{name} is exported, and is no public function"
    if ".so" in place:
        for name in sorted(name for name in wanted & set(names) if names[name] != NODE):
            yield place, 1, f"{name} has no version {NODE}"


def check(root, *libraries):
    functions = functions_of_headers(root)
    wanted = {function.name for function in functions}
    listed = names_of_map(root)
    told = names_of_document(root)
    for function in functions:
        if function.name not in listed:
            yield MAP, 1, f"{function.name} of {function.header} is missing"
        if function.name not in told:
            yield DOCUMENT, 1, f"{function.name} of {function.header} is missing"
        if not function.comment:
            yield f"include/{function.header}", 1, f"{function.name} has no comment"
    for name in sorted(set(listed) - wanted):
        yield MAP, listed[name], f"{name} is no function of include/spate"
    for name in sorted(set(told) - wanted):
        yield DOCUMENT, told[name], f"{name} is no function of include/spate"
    for library in libraries:
        yield from check_library(library, wanted)


if __name__ == "__main__":
    tidy.main("api", check)
