#!/usr/bin/env python3
"""Facts of style: length of files, functions and lines, unfinished work, paths of one machine.

What clang-format can say is said by the test tidy/format.
"""

import re

import tidy

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
COLUMNS_MAX = 100

SOURCE_FOLDERS = ("src", "cluster", "include", "tests", "jepsen")
# Lines of prose and of generated data are as long as they are.
FREE_LENGTH_ENDINGS = (".mutant", ".md", ".json", ".txt", ".svg", ".yaml", ".yml")
MARKS = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
MACHINE_PATHS = re.compile(r"(?<![\w.])/(tm" r"p/[a-z]|hom" r"e/[a-z]|ro" r"ot/[a-z])")


def check_functions(path, numbered):
    """Bodies open and close with a brace in the first column."""
    start = 0
    for number, line in numbered:
        if line == "{":
            start = number
        elif line == "}" and start:
            length = number - start - 1
            if length > FUNCTION_LINES_MAX:
                yield path, start, f"function of {length} lines, {FUNCTION_LINES_MAX} at most"
            start = 0


def check_source(path, numbered):
    if len(numbered) > FILE_LINES_MAX:
        yield path, len(numbered), f"file of {len(numbered)} lines, {FILE_LINES_MAX} at most"
    yield from check_functions(path, numbered)


def check_text(path, numbered):
    for number, line in numbered:
        if len(line) > COLUMNS_MAX and not path.endswith(FREE_LENGTH_ENDINGS):
            yield path, number, f"line of {len(line)} columns, {COLUMNS_MAX} at most"
        if MARKS.search(line):
            yield path, number, f"unfinished work: {MARKS.search(line)[0]}"
        if MACHINE_PATHS.search(line):
            yield path, number, "a path of one machine"
        if line.rstrip() != line and not path.endswith(".md"):
            yield path, number, "space at the end of the line"


def check(root):
    for path in tidy.files(root):
        numbered = tidy.lines(root, path)
        yield from check_text(path, numbered)
        if path.endswith((".c", ".h")) and path.startswith(SOURCE_FOLDERS):
            yield from check_source(path, numbered)


if __name__ == "__main__":
    tidy.main("style", check)
