#!/usr/bin/env python3
"""Completion in the shells themselves: bash and zsh on a terminal, with keys that are typed, and
fish by the command that tells what it would offer."""

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import cluster
from test_cli_alone import FakeServer

SECONDS = 30
TAB, SHOW, CLEAR = b"\t", b"\x14", b"\x15"

# Each binds ^T to showing the line as it is.
START = {
    "bash": r"""
bind 'set bell-style none'; bind 'set enable-bracketed-paste off'
show() { printf '\n<%s|line>\n' "$READLINE_LINE"; }
bind -x '"\C-t": show'
source <(spate generate completion bash)
PS1='now$ '
""",
    "zsh": r"""
autoload -Uz compinit; compinit -u -D
unsetopt beep; unset zle_bracketed_paste
show() { print -r -- $'\n'"<$BUFFER|line>"; }
zle -N show; bindkey '^T' show
source <(spate generate completion zsh)
PROMPT='now$ '
""",
}
OPTIONS = {"bash": ["--noprofile", "--rcfile", ".bashrc", "-i"], "zsh": ["-i"]}


def missing(shell):
    if shutil.which(shell) is None:
        cluster.missing(shell)


class Terminal:
    """A shell on a terminal, whose lines are completed."""

    def __init__(self, shell, home, environment):
        with open(os.path.join(home, f".{shell}rc"), "w", encoding="utf-8") as handle:
            handle.write(START[shell])
        self.pid, self.keys = pty.fork()
        if self.pid == 0:
            os.chdir(home)
            os.execvpe(shell, [shell, *OPTIONS[shell]], environment)
        self.wait_for(rb"now\$ ")

    def close(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.keys)

    def wait_for(self, pattern):
        seen = b""
        deadline = time.monotonic() + SECONDS
        while not (found := re.search(pattern, seen, re.DOTALL)):
            ready, _, _ = select.select([self.keys], [], [], deadline - time.monotonic())
            if not ready:
                raise AssertionError(f"no {pattern} in {seen}")
            seen += os.read(self.keys, 65536)
        return found

    def complete(self, line):
        """The line after a tab at its end."""
        os.write(self.keys, line.encode() + TAB + SHOW)
        shown = self.wait_for(rb"<([^<]*)\|line>").group(1).decode()
        os.write(self.keys, CLEAR)
        return shown


class ShellsTest(unittest.TestCase):
    def setUp(self):
        home = tempfile.TemporaryDirectory()
        self.addCleanup(home.cleanup)
        self.home = home.name
        server = FakeServer({
            "topic.list": {"topics": [{"name": "orders"}, {"name": "lines:x"}]},
            "cluster.info": {"nodes": [{"id": 1}, {"id": 21}]},
            "group.list": {"groups": [{"group": "billing"}, {"group": "a:b c"}]},
        })
        self.addCleanup(server.close)
        self.server = server.address
        with open(os.path.join(self.home, "a file"), "wb"):
            pass
        self.environment = {
            "PATH": os.path.dirname(cluster.SPATE) + os.pathsep + os.environ["PATH"],
            "HOME": self.home, "TERM": "dumb", "COLUMNS": "500", "LINES": "50",
            "LC_ALL": "C.UTF-8",
        }

    def completes(self, shell, escaped):
        missing(shell)
        terminal = Terminal(shell, self.home, self.environment)
        self.addCleanup(terminal.close)
        asked = f"-s {self.server}"
        for line, end in (
            ("topic create x -c cleanup.pol", "icy="),  # and the value may follow
            ("topic create x -c cleanup.policy=d", "elete "),
            ("topic create x -c cleanup.policy=", ""),  # several
            ("produce t -X compression=l", "z4 "),
            ("produce t --compression=l", "z4 "),
            ("call topic.del", "ete "),
            ("call topic.de", ""),
            ("help topic cr", "eate "),
            (f"--servers={self.server} consume or", "ders "),
            (f"{asked} consume l", "ines:x "),
            (f"{asked} cluster drain 2", "1 "),
            (f"{asked} group describe a", ":b" + escaped),
            ("produce t -F a", "\\ file "),
        ):
            self.assertEqual(terminal.complete(f"spate {line}"), f"spate {line}{end}", line)

    def test_bash_completes_what_is_typed(self):
        self.completes("bash", "\\ c ")

    def test_zsh_completes_what_is_typed(self):
        self.completes("zsh", "\\ c ")

    def test_fish_offers_what_the_table_says(self):
        missing("fish")
        asked = f"-s {self.server}"
        for line, words in (
            ("topic create x -c cleanup.pol", ["cleanup.policy="]),
            ("topic create x -c cleanup.policy=d", ["cleanup.policy=delete"]),
            ("produce t -X compression=l", ["compression=lz4"]),
            ("produce t --compression=l", ["--compression=lz4"]),
            ("call topic.de", ["topic.delete", "topic.describe"]),
            ("help topic cr", ["create"]),
            (f"--servers={self.server} consume or", ["orders"]),
            (f"{asked} cluster drain ", ["1", "21"]),
            (f"{asked} group describe a", ["a:b c"]),
            ("produce t -F a", ["a file"]),
        ):
            script = "spate generate completion fish | source; complete -C $argv[1]"
            done = subprocess.run(
                ["fish", "--no-config", "-c", script, f"spate {line}"], capture_output=True,
                cwd=self.home, env=self.environment, check=True, text=True, timeout=SECONDS,
            )
            self.assertEqual(done.stderr, "")
            found = [row.partition("\t")[0] for row in done.stdout.splitlines()]
            self.assertEqual(found, words, line)


if __name__ == "__main__":
    cluster.main()
