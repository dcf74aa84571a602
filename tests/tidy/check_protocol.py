#!/usr/bin/env python3
"""The tables of docs/protocol.md name the methods and error codes that the code has, no others.

The document keeps them under the headings `## Methods` and `## Error codes`, one row each, which
begins with the name in backquotes; behind that of a code are its number, whether to try again
("yes" or "no", words in brackets may follow), and its meaning. The code keeps them in
SP_METHOD_LIST of src/wire and in SPATE_ERROR_LIST of include/spate/error.h.
"""

import os
import re

import tidy

DOCUMENT = os.path.join("docs", "protocol.md")
ERRORS = os.path.join("include", "spate", "error.h")
METHODS = os.path.join("src", "wire")

ROW = re.compile(r"^\|\s*`([A-Za-z_.]+)`\s*\|(.*)\|")


def macro_rows(root, path, macro, pattern):
    """The matches of `pattern` in the X-macro list `macro` of a header, in order."""
    rows, inside = [], False
    for _, line in tidy.lines(root, path):
        inside = inside or line.startswith(f"#define {macro}(")
        if inside:
            rows += re.findall(pattern, line)
            inside = line.endswith("\\")
    return rows


def methods_of_code(root):
    for path in tidy.files(root, under=(METHODS,), endings=(".h",)):
        rows = macro_rows(root, path, "SP_METHOD_LIST", r'X\(\w+, "([^"]+)"\)')
        if rows:
            return {name: None for name in rows}
    return {}


def errors_of_code(root):
    pattern = r'X\((\w+), (-\d+), ([01]), "([^"]+)"\)'
    rows = macro_rows(root, ERRORS, "SPATE_ERROR_LIST", pattern)
    return {name: (number, ("no", "yes")[int(again)], text) for name, number, again, text in rows}


def table(root, heading):
    """name -> (line, the other cells) of the rows between `heading` and the next of its level."""
    rows, inside = {}, False
    for number, line in tidy.lines(root, DOCUMENT):
        if line.startswith("## "):
            inside = line.strip() == heading
        match = inside and ROW.match(line)
        if match:
            rows[match[1]] = (number, [cell.strip() for cell in match[2].split("|")])
    return rows


def compare(heading, code, document):
    if not code:
        yield DOCUMENT, 1, f"nothing found in the code for `{heading}`"
    for name in sorted(set(code) - set(document)):
        yield DOCUMENT, 1, f"`{name}` is missing under `{heading}`"
    for name, (line, cells) in sorted(document.items()):
        if name not in code:
            yield DOCUMENT, line, f"`{name}` does not exist in the code"
        elif code[name] is not None:
            for word, cell in zip(code[name], cells + 3 * [""]):
                if cell.split(" (")[0] != word:
                    yield DOCUMENT, line, f"`{name}` has {word} in the code, here {cell}"


def check(root):
    if not os.path.exists(os.path.join(root, DOCUMENT)):
        yield DOCUMENT, 1, "the document is missing"
        return
    yield from compare("## Methods", methods_of_code(root), table(root, "## Methods"))
    yield from compare("## Error codes", errors_of_code(root), table(root, "## Error codes"))


if __name__ == "__main__":
    tidy.main("protocol", check)
