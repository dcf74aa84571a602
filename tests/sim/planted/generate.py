"""Generated mutants: small textual changes of C statements, chosen by a seed.

    comparison   == and != swap, < and <= swap, > and >= swap, && and || swap
    call         a call whose result nobody uses goes; `rv = call(...)` becomes `rv = 0`
    constant     `+ 1`, `- 1` and other small numbers are off by one; `== 0` stays

Assertions, traces, comments, tables and declarations stay as they are. The folders are those whose
objects the simulator links: src/io has other bodies there, src/cli and src/server are not in it.
"""

import hashlib
import os
import random
import re

FOLDERS = ("cluster", "src/base", "src/broker", "src/client", "src/net", "src/storage", "src/wire")
SKIPPED = re.compile(r"\b(SP_ASSERT|SP_TRACE_\w+|_Static_assert|assert|snprintf|vsnprintf)\b")
COMPARISONS = {
    " == ": " != ",
    " != ": " == ",
    " <= ": " < ",
    " >= ": " > ",
    " < ": " <= ",
    " > ": " >= ",
    " && ": " || ",
    " || ": " && ",
}
COMPARISON = re.compile("|".join(re.escape(text) for text in COMPARISONS))
CALL = re.compile(r"^( +)(?:\(void\))?[a-z][a-z0-9_.>-]*\([^;]*\);(?: /\*.*\*/)?\n$")
RESULT = re.compile(r"^( +(?:int )?rv = )[a-z][a-z0-9_.>-]*\([^;]*\);\n$")
CONSTANT = re.compile(r"(?<=[+-] )1(?=[;,) \]])|(?<![=!]= )(?<=[=<>] )[0-9]{1,3}(?=[;,) ])")


class Change:
    def __init__(self, kind, file, line, position, old, new):
        self.kind, self.file, self.line, self.position = kind, file, line, position
        self.old, self.new = old, new
        self.words = f"`{old.strip()}` -> `{new.strip()}`"
        words = f"{file} {kind} {old} {new}".encode()
        self.key = hashlib.sha256(words).hexdigest()[:10]
        self.name = f"{kind}:{os.path.basename(file)}:{line}"


def statements(text):
    """Yields (number, position, line) of lines inside functions that may be changed."""
    position, inside, skipping, comment = 0, False, False, False
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        bare = line.strip()
        if line.startswith("{"):
            inside = True
        elif line.startswith("}"):
            inside = False
        skipping = skipping or SKIPPED.search(line) is not None
        comment = comment or bare.startswith("/*")
        if inside and not skipping and not comment and line.startswith("    "):
            yield number, position, line
        if bare.endswith(";") or bare.endswith("{") or bare.endswith("}"):
            skipping = False
        if "*/" in bare:
            comment = False
        position += len(line)


def edits(line):
    """Yields (kind, changed line) of one line."""
    code = line.split("/*")[0]
    if '"' in code or "'" in code:
        return
    for match in COMPARISON.finditer(code):
        new = COMPARISONS[match.group()]
        yield "comparison", line[: match.start()] + new + line[match.end() :]
    match = CALL.match(line)
    if match is not None:
        yield "call", match.group(1) + ";\n"
    match = RESULT.match(line)
    if match is not None:
        yield "call", match.group(1) + "0;\n"
    for match in CONSTANT.finditer(code):
        number = str(int(match.group()) + 1)
        yield "constant", line[: match.start()] + number + line[match.end() :]


def all_changes(root):
    found = []
    for folder in FOLDERS:
        for entry in sorted(os.listdir(os.path.join(root, folder))):
            if not entry.endswith(".c"):
                continue
            file = f"{folder}/{entry}"
            with open(os.path.join(root, file), encoding="utf-8") as handle:
                text = handle.read()
            for number, position, line in statements(text):
                for kind, new in edits(line):
                    found.append(Change(kind, file, number, position, line, new))
    return found


def changes(root, seed):
    """All changes of the tree in the order that the seed gives them, kinds by turns."""
    chance = random.Random(seed)
    by_kind = {}
    for change in all_changes(root):
        by_kind.setdefault(change.kind, []).append(change)
    for kind in sorted(by_kind):
        chance.shuffle(by_kind[kind])
    while any(by_kind.values()):
        for kind in sorted(by_kind):
            if by_kind[kind]:
                yield by_kind[kind].pop()


def tests_of(root, file):
    """The test programs of the file's folder."""
    folder = file.split("/")[-2]
    path = os.path.join(root, "tests", "unit", f"{folder}.cmake")
    with open(path, encoding="utf-8") as handle:
        tests = re.findall(r"spate_unit_test\(\s*\w+\s+(test_\w+)", handle.read())
    if os.path.basename(file).startswith("raft_guard"):
        tests += [
            "test_raft_guards",
            "test_raft_availability",
            "test_raft_scenarios",
            "test_raft_quiet",
            "test_raft_handover",
        ]
    return tests
