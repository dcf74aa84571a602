#!/usr/bin/env python3
"""Every C file is as clang-format with the style file of the root would write it."""

import os
import re
import subprocess

import tidy

FINDING = re.compile(r"^(.*?):(\d+):\d+: (?:error|warning): code should be clang-formatted")


def check(root, clang_format="clang-format"):
    folders = ("src", "cluster", "include", "tests", "jepsen")
    paths = tidy.files(root, under=folders, endings=(".c", ".h"))
    if not paths:
        return
    run = subprocess.run(
        [clang_format, "--dry-run", "--Werror", *paths], cwd=root, capture_output=True, text=True
    )
    seen = set()
    for match in filter(None, map(FINDING.match, run.stderr.splitlines())):
        path = os.path.relpath(os.path.join(root, match[1]), root)
        if path not in seen:
            seen.add(path)
            yield path, int(match[2]), "not formatted: run clang-format -i on it"
    if run.returncode != 0 and not seen:
        yield ".clang-format", 1, f"clang-format failed: {run.stderr.strip()[:200]}"


if __name__ == "__main__":
    tidy.main("format", check)
