"""What the tidy checks share: walking the tree and telling what was found.

Each check is a program `check_<subject>.py` with one function `check(root, ...)` that yields
`(path, line, text)` findings. It prints them as `path:line: text` and fails if there is any.
test_tidy.py plants a violation of every rule and demands that it is found.
"""

import os
import sys

SKIPPED_DIRECTORIES = {".git", ".deps", ".quickstart", "node_modules", "__pycache__"}


def files(root, *, under=("",), endings=("",)):
    """The project's own files, as sorted paths relative to `root`."""
    found = []
    for top in under:
        for directory, names, entries in os.walk(os.path.join(root, top)):
            names[:] = [
                name
                for name in names
                if name not in SKIPPED_DIRECTORIES
                and not is_build_tree(os.path.join(directory, name))
            ]
            for entry in entries:
                if entry.endswith(tuple(endings)):
                    found.append(os.path.relpath(os.path.join(directory, entry), root))
    return sorted(found)


def is_build_tree(path):
    return os.path.exists(os.path.join(path, "CMakeCache.txt"))


def lines(root, path):
    """The numbered lines of a text file; nothing for a binary one."""
    with open(os.path.join(root, path), "rb") as handle:
        content = handle.read()
    if b"\0" in content:
        return []
    return list(enumerate(content.decode("utf-8", "replace").splitlines(), start=1))


def report(subject, findings):
    """Prints the findings and returns the exit code."""
    findings = list(findings)
    for path, line, text in findings:
        print(f"{path}:{line}: {text}")
    print(f"{subject}: {len(findings)} finding(s)" if findings else f"{subject}: clean")
    return 1 if findings else 0


def main(subject, check):
    """Runs `check(root, *arguments)` for a program called as `PROGRAM ROOT [ARGUMENT...]`."""
    if len(sys.argv) < 2:
        sys.exit(f"usage: {sys.argv[0]} ROOT [ARGUMENT...]")
    sys.exit(report(subject, check(*sys.argv[1:])))
