"""The command line of jepsen/run."""

import argparse
import os
import shutil
import signal
import sys
import time

from . import containers, sandbox
from .load import DEFAULT
from .run import HEAL_SECONDS, SETS, STREAMS, Run


class Interrupted(Exception):
    """SIGINT or SIGTERM: everything is torn down."""


def find_kinds(text, streams, sets):
    """Kinds and names of sets of them, joined by commas. ValueError: a word is neither."""
    kinds = set()
    for word in text.split(","):
        if word not in streams and word not in sets:
            raise ValueError(f"no nemesis {word}: {', '.join([*sets, *sorted(streams)])}")
        kinds |= set(sets.get(word, [word]))
    return sorted(kinds)


def parse_workloads(text):
    """`produce=2,read=1`"""
    pairs = (word.partition("=") for word in text.split(","))
    return {name: int(count or 1) for name, _, count in pairs}


def parser(root):
    words = argparse.ArgumentParser(
        prog="jepsen/run",
        description="Runs a cluster of processes under faults and checks what its clients saw.",
        epilog="Exit: 0 clean and enough happened, 1 something found, 3 too little happened, 130 "
        "interrupted. SIGUSR1 ends the faults now: the run is healed, read and judged.",
    )
    words.add_argument("--nodes", type=int, default=3, choices=(3, 5))
    words.add_argument("--time", type=int, default=180, help="seconds of load, warm-up included")
    words.add_argument("--nemesis", default="all", help="kinds, and sets of them: see --list")
    words.add_argument("--form", choices=("processes", "docker"), default="processes")
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--rate", type=int, default=450, help="records per second and producer")
    words.add_argument("--intensity", type=float, default=1.0, help="2: twice as many faults")
    words.add_argument("--workloads", type=parse_workloads, default=dict(DEFAULT))
    words.add_argument("--bin", default=os.path.join(root, "build", "bin"), help="the programs")
    words.add_argument("--heal-within", type=int, default=HEAL_SECONDS, help="seconds")
    words.add_argument(
        "--upgrade-to",
        help="programs of a newer build: nodes begin as --bin, a rolling restart brings them to "
        "this one, the next one back; all other programs are of this one",
    )
    words.add_argument("--dir", help="the run's folder; must not exist")
    words.add_argument("--keep", action="store_true", help="keep the nodes' data of a clean run")
    words.add_argument("--replace", action="store_true", help="replace the folder of a run before")
    words.add_argument(
        "--lying-disks", action="store_true", help="syncs lie before a power cut of all"
    )
    words.add_argument(
        "--expect",
        choices=("lost",),
        help="exit 0 only if the checker finds this: the run shows that it can fail",
    )
    words.add_argument("--list", action="store_true", help="name the nemeses")
    words.add_argument("--clean", action="store_true", help="remove what killed runs left behind")
    return words


def list_kinds(streams, sets):
    for kind in sorted(streams):
        print(f"{kind:16} {' '.join((streams[kind].__doc__ or '').split())}")
    for name, kinds in sets.items():
        print(f"{name:16} {' '.join(kinds)}")


def prepare(options):
    """Paths without doubt, and no folder of a run before."""
    options.bin = os.path.abspath(options.bin)
    if options.upgrade_to:
        options.upgrade_to = os.path.abspath(options.upgrade_to)
    if options.dir is None:
        name = f"{int(time.time())}-{options.seed}"
        of = os.path.dirname(options.upgrade_to or options.bin)
        options.dir = os.path.join(of, "jepsen-runs", name)
    options.dir = os.path.abspath(options.dir)
    if options.replace and os.path.exists(os.path.join(options.dir, "nemesis.log")):
        shutil.rmtree(options.dir)


def main(root):
    words = parser(root)
    options = words.parse_args()
    docker = options.form == "docker"
    streams = containers.STREAMS if docker else STREAMS
    sets = {"all": sorted(streams), "none": []} if docker else SETS
    try:
        options.nemesis = find_kinds(options.nemesis, streams, sets)
    except ValueError as error:
        words.error(str(error))
    if options.list:
        list_kinds(streams, sets)
        return 0
    sandbox.as_root()
    removed = sandbox.remove_leftovers()
    if options.clean:
        print(f"removed: {' '.join(removed) or 'nothing was left'}")
        return 0
    prepare(options)

    def inside(owner):
        def interrupt(_number, _frame):
            raise Interrupted

        signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGTERM, interrupt)
        run = (containers.ContainerRun if docker else Run)(owner, options)
        signal.signal(signal.SIGUSR1, lambda *_: run.end_soon.set())
        try:
            return run.go()
        except Interrupted:
            print("jepsen: interrupted", flush=True)
            return 130

    if docker:
        containers.inside_engine(options, sys.argv)
        return inside(str(os.getpid()))
    return sandbox.run(inside)
