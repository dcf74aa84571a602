"""spate lab: runs a program against a cluster of this machine while faults are injected, then
checks its topics. docs/lab.md tells how."""

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

import check
import cluster
import report
import rpc
import script

FAILED, USAGE = 1, 2
END_SECONDS = 15  # for the program, after SIGTERM


def arguments(words):
    def pair(word):
        source, mark, target = word.partition(":")
        if not (source and mark and target):
            raise argparse.ArgumentTypeError(f"{word}: IN:OUT is needed")
        return source, target

    def span(word):
        try:
            return script.seconds(word)
        except script.Wrong as wrong:
            raise argparse.ArgumentTypeError(str(wrong)) from None

    parser = argparse.ArgumentParser(
        prog="spate lab",
        description="Runs COMMAND against a cluster of this machine while faults are injected, "
        "then checks its topics for loss, duplicates and order.",
        epilog="COMMAND finds the cluster in SPATE_SERVERS. Exit code 0: all is well; 1: something "
        "was found, or COMMAND failed; 2: the call is wrong.",
    )
    add = parser.add_argument
    add("-t", "--topic", dest="topics", action="append", default=[], metavar="TOPIC[:PARTITIONS]",
        help="check it; with a number of partitions it is created first")
    add("--unique", action="append", default=[], metavar="TOPIC",
        help="a key with its value may be in it once")
    add("--each", action="append", default=[], type=pair, metavar="IN:OUT",
        help="each key is in OUT as often as in IN")
    add("--drained", action="append", default=[], metavar="GROUP",
        help="this group has committed everything in the end")
    add("-f", "--script", metavar="FILE", help="the faults (some, drawn by --seed)")
    add("--seed", type=int, default=1, metavar="N", help="of faults that are drawn (1)")
    add("--for", dest="length", type=span, metavar="TIME",
        help="ask COMMAND to end after this; faults that are drawn last as long (30s)")
    add("-n", "--nodes", type=int, default=3, choices=(1, 3, 5), help="of the cluster (3)")
    add("-o", "--out", default="spate-lab", metavar="DIR", help="for the report (spate-lab)")
    add("--keep", action="store_true", help="keep the data of the nodes in DIR too")
    add("--spated", default=os.environ.get("SPATE_LAB_SPATED", "spated"), help=argparse.SUPPRESS)
    add("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    options = parser.parse_args(words)
    options.command = options.command[options.command[:1] == ["--"] :]
    if not options.command:
        parser.error("a COMMAND is needed behind --")
    options.create = dict(word.split(":", 1) for word in options.topics if ":" in word)
    options.topics = [word.partition(":")[0] for word in options.topics]
    for topic in options.unique + [topic for two in options.each for topic in two]:
        if topic not in options.topics:
            options.topics.append(topic)
    if not options.topics:
        parser.error("name the topics to check: --topic TOPIC")
    if "" in options.topics:
        parser.error("--topic: the name of a topic is missing")
    for number in options.create.values():
        if not (number.isascii() and number.isdigit() and int(number) > 0):
            parser.error("--topic TOPIC:PARTITIONS: a number above 0")
    options.create = {topic: int(number) for topic, number in options.create.items()}
    return options


def read_steps(options):
    """The faults, or script.Wrong."""
    if options.script is None:
        return script.draw(options.seed, options.nodes, options.length or 30)
    topics = {topic: options.create.get(topic) for topic in options.topics}
    try:
        with open(options.script, encoding="utf-8") as handle:
            return script.parse(handle.read(), options.nodes, topics)
    except OSError as error:
        raise script.Wrong(error.strerror) from None
    except UnicodeDecodeError:
        raise script.Wrong("this is no text") from None


def find_obstacle(options):
    """What would go wrong later, in a sentence; None: nothing."""
    program = options.command[0]
    if shutil.which(program) is None:
        if os.path.isfile(program):
            return f"{program} cannot be run: chmod +x {program}"
        return f"there is no program {program}"
    try:
        os.makedirs(options.out, exist_ok=True)
    except OSError as error:
        return f"{options.out}: {error.strerror}"
    return None if os.access(options.out, os.W_OK) else f"{options.out} cannot be written to"


def say(text):
    print(f"lab: {text}", file=sys.stderr, flush=True)


# ---- the program --------------------------------------------------------------------------------


async def run_command(options, servers):
    """Its exit code. It is asked to end when its time is over."""
    process = await asyncio.create_subprocess_exec(
        *options.command,
        env={**os.environ, "SPATE_SERVERS": servers},
        start_new_session=True,
        preexec_fn=cluster.die_with_us,
    )
    asked = False
    try:
        try:
            return await asyncio.wait_for(process.wait(), options.length)
        except asyncio.TimeoutError:
            asked = True
            os.killpg(process.pid, signal.SIGTERM)
            code = await asyncio.wait_for(process.wait(), END_SECONDS)
            return 0 if code == -signal.SIGTERM else code
    except asyncio.TimeoutError:
        say(f"the program did not end within {END_SECONDS} s of SIGTERM")
        return -signal.SIGKILL
    finally:
        if process.returncode is None or asked:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            await process.wait()


async def inject(lab, options, steps):
    """Exit code of the program, what was done to the cluster, and when it ran."""
    nemesis = cluster.Nemesis(lab, steps, say)
    faults = asyncio.ensure_future(nemesis.run())
    begin = time.monotonic()
    try:
        code = await run_command(options, lab.servers)
    finally:
        faults.cancel()
        outcome = await asyncio.gather(faults, return_exceptions=True)
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    nemesis.finish()
    return code, nemesis.faults, begin, time.monotonic()


async def create_topics(lab, options):
    for topic, partitions in options.create.items():
        await lab.ask_any("topic.create", name=topic, partitions=partitions)
    await lab.wait_healthy()


async def run(options, steps, directory):
    lab = cluster.Cluster(directory, options.nodes, options.spated)
    try:
        await lab.start()
        await create_topics(lab, options)
        say(f"{options.nodes} nodes at {lab.servers}")
        code, faults, begin, end = await inject(lab, options, steps)
        say(f"the program ended with {code}; healing, then reading everything")
        await lab.heal()
        await lab.wait_healthy()
        reader = check.Reader([node.address for node in lab.nodes], lab.backs)
        checks = check.Checks(lab.journal, reader, options)
        await asyncio.get_running_loop().run_in_executor(None, checks.run)
        return code, check.result(checks, faults, begin, end)
    finally:
        await lab.close()


# ---- the outcome --------------------------------------------------------------------------------


def write(options, steps, code, result):
    os.makedirs(options.out, exist_ok=True)
    facts = {
        "command": options.command, "exit_code": code, "nodes": options.nodes,
        "topics": options.topics, "script": [str(step) for step in steps],
    }  # fmt: skip
    for name, value in (("run.json", facts), ("check.json", result)):
        with open(os.path.join(options.out, name), "w", encoding="utf-8") as handle:
            json.dump(value, handle, indent=1)
            handle.write("\n")
    with open(os.path.join(options.out, "nemesis.log"), "w", encoding="ascii") as handle:
        for fault in result["faults"]:
            words = f"{fault['kind']} target={fault['target']} seed={options.seed}"
            for when, what in (("begin_ns", "begin"), ("begin_ns", "observed"), ("end_ns", "end")):
                handle.write(f"{fault[when]} nemesis {fault['id']} {what} {words}\n")
    report.make(options.out)


def tell(options, code, result):
    counts = result["counts"]
    words = ("sent", "acknowledged", "failed", "unknown", "stored")
    some = ", ".join(f"{counts[word]} {word}" for word in words)
    print(f"{result['verdict']}: records: {some}; {len(result['faults'])} faults")
    for row in result["anomalies"]:
        if row["count"]:
            print(f"{row['kind']}: {row['count']}: {row['meaning']}")
            for example in row["examples"]:
                print(f"  {example['text']}")
    if counts["connections_not_followed"]:
        print(f"{counts['connections_not_followed']} connections were not understood")
    if result["verdict"] == "unknown":
        print("no record is in these topics: nothing was tested")
    if code != 0:
        print(f"the program ended with {code}")
    print(os.path.join(options.out, "report.html"))


def main():
    options = arguments(sys.argv[1:])
    try:
        steps = read_steps(options)
    except script.Wrong as wrong:
        say(f"{options.script}: {wrong}")
        return USAGE
    obstacle = find_obstacle(options)
    if obstacle is not None:
        say(obstacle)
        return USAGE
    if shutil.which(options.spated) is None:
        say("no program spated: it is installed together with spate")
        return FAILED
    directory = tempfile.mkdtemp(prefix="spate-lab-")
    try:
        code, result = asyncio.run(run(options, steps, directory))
        write(options, steps, code, result)
        tell(options, code, result)
        return 0 if result["verdict"] == "valid" and code == 0 else FAILED
    except KeyboardInterrupt:
        return 130
    except (OSError, EOFError, TimeoutError, RuntimeError, rpc.Refused) as wrong:
        say(str(wrong))
        return FAILED
    finally:
        if options.keep:
            shutil.copytree(directory, os.path.join(options.out, "nodes"), dirs_exist_ok=True)
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
