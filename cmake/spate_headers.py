"""Reads the public headers: which functions there are, and what the comment above each says.

The headers keep to one form, which makes this short: a comment block stands directly above the
declarations that it is about (one, or a few without a blank line between them), and a function is
marked by SPATE_API or by the attribute that stands behind it.
"""

import os
import re

MARK = re.compile(r'^(?:SPATE_API|__attribute__\(\(visibility\("default"\)\)\))\s+')
NAME = re.compile(r"\b(spate_\w+)\s*\(")
TYPEDEF = re.compile(r"^typedef\b.*?\(\*(spate_\w+)\)")


class Function:
    def __init__(self, header, name, declaration, comment):
        self.header = header  # "spate/client.h"
        self.name = name
        self.declaration = declaration  # one string, lines as they are, without the mark
        self.comment = comment  # list of lines; the first declaration below a comment has it
        self.siblings = [self]  # functions under the same comment


def strip_comment(lines):
    """The text lines of a block comment."""
    text = []
    for line in lines:
        line = re.sub(r"^\s*(/\*+|\*/|\*)\s?", "", line.rstrip())
        text.append(re.sub(r"\s*\*/$", "", line))
    while text and not text[-1]:
        text.pop()
    return text


def read_header(path, name):
    """(overview lines, functions) of one header; `name` is how programs include it."""
    with open(path, encoding="utf-8") as handle:
        lines = handle.read().splitlines()
    overview, functions, comment, block = None, [], [], []
    index = 0
    while index < len(lines):
        line = lines[index]
        if line.startswith("/*"):
            first = index
            while "*/" not in lines[index]:
                index += 1
            comment = strip_comment(lines[first:index + 1])
            block = []
            if overview is None:
                overview = comment
        elif MARK.match(line):
            first = index
            while ";" not in lines[index]:
                index += 1
            text = MARK.sub("", "\n".join(lines[first:index + 1]))
            function = Function(name, NAME.search(text)[1], text, comment)
            block.append(function)
            function.siblings = block
            functions.append(function)
        elif not line.strip():
            comment, block = [], []
        index += 1
    return overview or [], functions


def read_headers(folder):
    """{include name: (overview, functions)} of all headers in `folder` (include/spate)."""
    return {
        f"spate/{entry}": read_header(os.path.join(folder, entry), f"spate/{entry}")
        for entry in sorted(os.listdir(folder))
        if entry.endswith(".h")
    }


def functions_of(folder):
    return [function for _, found in read_headers(folder).values() for function in found]
