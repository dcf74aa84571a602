#!/usr/bin/env python3
"""The manual pages that come from the headers are clean to groff, and no function lacks one.

Called as `check_man.py ROOT MAN_DIRECTORY GROFF`.
"""

import os
import subprocess

import check_api
import tidy


def check(root, directory, groff):
    pages = os.path.join(directory, "man3")
    for function in check_api.functions_of_headers(root):
        if not os.path.exists(os.path.join(pages, f"{function.name}.3")):
            yield f"include/{function.header}", 1, f"{function.name} has no manual page"
    for page in sorted(os.listdir(pages)):
        run = subprocess.run(
            [groff, "-ww", "-man", "-Tutf8", os.path.join("man3", page)],
            cwd=directory, capture_output=True, text=True,
        )
        if run.stderr:
            yield page, 1, run.stderr.splitlines()[0]
        elif not run.stdout.strip():
            yield page, 1, "groff makes nothing of it"


if __name__ == "__main__":
    tidy.main("man", check)
