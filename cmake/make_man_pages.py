#!/usr/bin/env python3
"""Turns the comments of include/spate into manual pages of section 3.

    make_man_pages.py HEADERS VERSION OUTPUT

One page per function, with its declaration and the comment above it; functions under one comment
share a page, and the others point to it. libspate(3) holds what the headers say at their top and
the list of all functions; spate_errors(3) is the list of codes. Fails when a function has no
comment. OUTPUT/man3 is made anew.
"""

import os
import re
import shutil
import sys

import spate_headers

CODE = re.compile(r'^\s*X\((\w+), (-\d+), ([01]),\s*"(.*)"\)', re.MULTILINE)


def escape(text):
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return "\\&" + text if text.startswith(".") else text


def paragraphs(lines):
    """Prose runs on; indented lines (drawings, tables) stay as they are."""
    out, prose = [], []

    def flush():
        if prose:
            out.extend(escape(line) for line in prose)
            prose.clear()

    literal = False
    for line in lines:
        drawn = line.startswith("  ")
        if drawn != literal:
            flush()
            out.append(".PP\n.nf" if drawn else ".fi\n.PP")
            literal = drawn
        if not line and not literal:
            flush()
            out.append(".PP")
        else:
            prose.append(line)
    flush()
    if literal:
        out.append(".fi")
    return out


def head(title, version):
    return [f".TH {title} 3 \"\" \"libspate {version}\" \"Spate programmer's manual\""]


def literal(text):
    return [".PP", ".nf", *(escape(line) for line in text.splitlines()), ".fi"]


def declarations(functions):
    out = [f"\\fB#include <{functions[0].header}>\\fP"]
    for function in functions:
        out += ["", *(escape(line) for line in function.declaration.splitlines())]
    return [".nf", *out, ".fi"]


def function_page(function, version):
    block = function.siblings
    names = ", ".join(escape(sibling.name) for sibling in block)
    summary = re.split(r"(?<=[.:;])\s", " ".join(function.comment), maxsplit=1)[0].rstrip(".:;")
    return [
        *head(function.name, version),
        ".SH NAME",
        f"{names} \\- {escape(summary)}",
        ".SH SYNOPSIS",
        *declarations(block),
        ".PP",
        "Link with \\fI\\-lspate\\fP.",
        ".SH DESCRIPTION",
        *paragraphs(function.comment),
        ".SH SEE ALSO",
        ".BR libspate (3),",
        ".BR spate_errors (3)",
    ]


def library_page(headers, version):
    out = [
        *head("libspate", version),
        ".SH NAME",
        "libspate \\- client library of Spate, a replicated log",
        ".SH SYNOPSIS",
        ".nf",
        "\\fB#include <spate/spate.h>\\fP",
        "",
        escape("cc program.c $(pkg-config --cflags --libs spate)"),
        ".fi",
        ".SH DESCRIPTION",
    ]
    for name, (overview, functions) in headers.items():
        out += [f".SS <{name}>", *paragraphs(overview)]
        if functions:
            out.append(".PP")
        out += [f".BR {escape(function.name)} (3)\n.br" for function in functions]
    return out + [".SH SEE ALSO", ".BR spate_errors (3)"]


def errors_page(folder, version):
    with open(os.path.join(folder, "error.h"), encoding="utf-8") as handle:
        source = re.sub(r"[ \t]*\\\n", "\n", handle.read())
    codes = CODE.findall(source)
    if not codes:
        sys.exit("no codes found in error.h")
    out = [
        *head("spate_errors", version),
        ".SH NAME",
        "spate_errors \\- result codes of libspate",
        ".SH SYNOPSIS",
        "\\fB#include <spate/error.h>\\fP",
        ".SH DESCRIPTION",
        "Functions return 0 or one of these codes.",
        "An asterisk marks those after which the same call may succeed if it is made again.",
    ]
    for name, number, retriable, text in codes:
        mark = "*" if retriable == "1" else ""
        out += [".TP", f"\\fBSPATE_ERR_{name}\\fP ({escape(number)}){mark}", escape(text)]
    return out + [".SH SEE ALSO", ".BR spate_strerror (3),", ".BR libspate (3)"]


def main():
    folder, version, output = sys.argv[1:]
    headers = spate_headers.read_headers(folder)
    pages = {
        "libspate": library_page(headers, version),
        "spate_errors": errors_page(folder, version),
    }
    for function in spate_headers.functions_of(folder):
        if not function.comment:
            sys.exit(f"{function.header}: {function.name} has no comment to make a page of")
        first = function.siblings[0]
        if first is function:
            pages[function.name] = function_page(function, version)
        else:
            pages[function.name] = [f".so man3/{first.name}.3"]
    target = os.path.join(output, "man3")
    shutil.rmtree(target, ignore_errors=True)
    os.makedirs(target)
    for name, lines in pages.items():
        with open(os.path.join(target, f"{name}.3"), "w", encoding="utf-8") as handle:
            handle.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
