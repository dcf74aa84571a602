#!/usr/bin/env python3
"""`spate` without a cluster: contexts, settings, words that are nearly right, shells, the manual
page, and servers that are not what they should be."""

import contextlib
import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest

import msgpack

import cluster
import rpc

TOPICS = 10000


class Refusal(str):
    """What a server says instead of an answer: "CODE: text"."""


class FakeServer:
    """Listens, and answers `answers[method]`, a value or a function of the request's fields; what
    it does not know it never answers."""

    def __init__(self, answers):
        self.answers = answers
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.open = []
        self.sending = threading.Lock()
        self.accepting = threading.Thread(target=self.accept, daemon=True)
        self.accepting.start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.open.append(connection)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        requests = msgpack.Unpacker(raw=False)
        try:
            while data := connection.recv(65536):
                requests.feed(data)
                for _, msgid, method, params in requests:
                    arguments = (connection, msgid, self.answers.get(method), params)
                    threading.Thread(target=self.answer, args=arguments, daemon=True).start()
        except OSError:
            pass

    def answer(self, connection, msgid, answer, params):
        try:
            answer = answer(params[0]) if callable(answer) else answer
            refused = isinstance(answer, Refusal)
            if answer is not None:
                response = [1, msgid, answer if refused else None, None if refused else answer]
                with self.sending:
                    connection.sendall(msgpack.packb(response))
        except OSError:
            pass

    def close(self):
        # a thread that is about to accept would do so on whatever has its descriptor next
        self.listener.shutdown(socket.SHUT_RDWR)
        self.accepting.join()
        self.listener.close()
        for connection in self.open:
            connection.close()


# Writing to a file fails then, also for root.
NOTHING_TO_FILES = ("sh", "-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh")


class AloneTest(unittest.TestCase):
    def setUp(self):
        self.home = tempfile.mkdtemp(prefix="spate-test-")
        self.addCleanup(shutil.rmtree, self.home)

    def run_spate(self, code, *arguments, under=(), **variables):
        done = self.popen(*arguments, under=under, **variables)
        out, errors = done.communicate(timeout=60)
        self.assertEqual(done.returncode, code, out + errors)
        return out, errors

    def popen(self, *arguments, under=(), **variables):
        own = {name: value for name, value in os.environ.items() if not name.startswith("SPATE_")}
        own.pop("XDG_CONFIG_HOME", None)
        own.pop("NO_COLOR", None)
        return subprocess.Popen(
            [*under, cluster.SPATE, *arguments],
            env={**own, "HOME": self.home, "LC_ALL": "C.UTF-8", **variables},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )

    def json(self, *arguments, **variables):
        return json.loads(self.run_spate(0, *arguments, "--json", **variables)[0])

    # ---- contexts -------------------------------------------------------------------------------

    def resolved(self, *arguments, **variables):
        out, _ = self.run_spate(0, "context", "show", "--resolved", *arguments, **variables)
        return {row[0]: tuple(row[1:]) for row in map(lambda l: l.split("\t"), out.splitlines())}

    def test_contexts_are_made_used_and_forgotten(self):
        self.run_spate(0, "context", "create", "dev", "-s", "h:1", "--timeout", "5s")
        self.run_spate(0, "context", "create", "far", "-s", "f:2", "-X", "linger.ms=0")
        path = os.path.join(self.home, ".config/spate/config.yaml")
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        self.assertEqual(
            self.run_spate(0, "context", "ls")[0], "dev\tyes\th:1\nfar\tno\tf:2\n"
        )
        self.run_spate(0, "context", "use", "far")
        self.assertEqual(self.run_spate(0, "context", "show")[0], "servers\tf:2\nlinger.ms\t0\n")
        self.run_spate(1, "context", "create", "far")
        self.run_spate(0, "context", "create", "far", "--replace", "-s", "g:3")
        self.assertEqual(
            self.json("context", "show", "far"),
            {"name": "far", "current": True, "settings": {"servers": "g:3"}},
        )
        out, _ = self.run_spate(7, "context", "rm", "far", "none", "--json")
        self.assertEqual(json.loads(out)["contexts"][1]["error"], "NOT_FOUND")
        self.assertEqual([c["name"] for c in self.json("context", "list")["contexts"]], ["dev"])
        self.run_spate(3, "context", "use", "far")
        self.run_spate(3, "context", "show")

    def test_contexts_are_forgotten_as_the_file_says(self):
        path = os.path.join(self.home, "c.yaml")
        for name in "abc":
            self.run_spate(0, "context", "create", name, "-s", "h:1", SPATE_CONFIG=path)
        out, errors = self.run_spate(
            1, "context", "rm", "a", "none", "-J", SPATE_CONFIG=path, under=NOTHING_TO_FILES
        )
        self.assertEqual(out, "", "nothing was done")
        self.assertIn("there is no context 'none'", errors)
        self.assertIn(f"cannot write {path}", errors)
        self.assertNotIn("deleted", errors)
        self.assertEqual(self.resolved(SPATE_CONFIG=path)["context"][0], "a")
        self.assertEqual(sorted(os.listdir(self.home)), ["c.yaml", "c.yaml.lock"])
        _, errors = self.run_spate(7, "context", "rm", "b", "none", "a", SPATE_CONFIG=path)
        self.assertIn("there is no context 'none'", errors)
        self.assertIn("context b deleted\n", errors)
        self.assertIn("context a deleted, which was in use: none is now", errors)
        self.assertEqual(self.run_spate(0, "context", "ls", SPATE_CONFIG=path)[0], "c\tno\th:1\n")

    def test_contexts_of_two_processes_at_once_are_both_kept(self):
        path = os.path.join(self.home, "c.yaml")
        with open(path + ".lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # as another process that changes the file does
            process = self.popen("context", "create", "ours", "-s", "h:1", SPATE_CONFIG=path)

            def has_begun():
                return process.poll() is not None or path + ".lock" in self.files_of(process)

            cluster.wait_for("the lock is wanted", has_begun, 20)
            with open(path, "w", encoding="ascii") as handle:
                handle.write("contexts:\n  theirs:\n    servers: h:2\n")
        self.assertEqual(process.communicate(timeout=20)[0], "")
        self.assertEqual(process.returncode, 0)
        listed = self.run_spate(0, "context", "ls", SPATE_CONFIG=path)[0].split()
        self.assertEqual(listed[::3], ["theirs", "ours"])

    @staticmethod
    def files_of(process):
        folder = f"/proc/{process.pid}/fd"
        with contextlib.suppress(OSError):
            return [os.readlink(os.path.join(folder, number)) for number in os.listdir(folder)]
        return []

    def test_contexts_of_many_processes_at_once_are_all_kept(self):
        path = os.path.join(self.home, "deep", "c.yaml")
        names = [f"c{i:02}" for i in range(24)]
        processes = [
            self.popen("context", "create", name, "-s", "h:1", SPATE_CONFIG=path)
            for name in names
        ]
        for process in processes:
            _, errors = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 0, errors)
        listed = self.run_spate(0, "context", "ls", SPATE_CONFIG=path)[0].split()
        self.assertEqual(sorted(listed[::3]), names)
        self.assertEqual(sorted(os.listdir(os.path.dirname(path))), ["c.yaml", "c.yaml.lock"])

    def test_context_that_the_environment_goes_before_is_told_of(self):
        path = os.path.join(self.home, "c.yaml")
        words = "SPATE_SERVERS is set and goes before it"
        for name in "ab":
            _, errors = self.run_spate(
                0, "context", "create", name, "-s", "h:1", SPATE_CONFIG=path, SPATE_SERVERS="h:2"
            )
            self.assertEqual(words in errors, name == "a", "the first one is in use")
        _, errors = self.run_spate(
            0, "context", "use", "b", SPATE_CONFIG=path, SPATE_SERVERS="h:2"
        )
        self.assertIn(words, errors)
        _, errors = self.run_spate(0, "context", "use", "a", SPATE_CONFIG=path)
        self.assertNotIn("goes before", errors)

    def test_file_whose_current_context_is_not_there_is_told_of(self):
        path = os.path.join(self.home, "c.yaml")
        words = f"{path} says `current: gone`, and has no such context: spate context use NAME"
        with open(path, "w", encoding="utf-8") as handle:
            handle.write("current: gone\ncontexts:\n  dev:\n    servers: h:1\n")
        for command in (
            ["topic", "list"], ["context", "show"], ["context", "show", "-r"], ["context", "list"],
            ["context", "edit"],
        ):
            _, errors = self.run_spate(2, *command, SPATE_CONFIG=path, EDITOR="true")
            self.assertIn(words, errors, command)
        self.run_spate(0, "context", "use", "dev", SPATE_CONFIG=path)
        self.assertEqual(self.resolved(SPATE_CONFIG=path)["servers"][0], "h:1")
        with open(path, "w", encoding="utf-8") as handle:
            handle.write("current: gone\ncontexts: {}\n")
        self.run_spate(0, "context", "create", "new", "-s", "h:2", SPATE_CONFIG=path)
        self.assertEqual(self.resolved(SPATE_CONFIG=path)["servers"][0], "h:2")

    def test_times_have_units_or_a_name_that_tells_it(self):
        for word in ("5", "1000", "5x"):
            _, errors = self.run_spate(2, "topic", "list", "--timeout", word)
            self.assertIn(f"--timeout={word}: a time with its unit: 500ms, 30s or 2m", errors)
        self.run_spate(2, "topic", "list", SPATE_TIMEOUT="5")
        self.run_spate(2, "bench", "produce", "-d", "5")
        for word in ("7", "7ms"):
            self.assertEqual(self.resolved("-X", f"linger.ms={word}")["linger.ms"][0], word)

    def test_flag_beats_environment_beats_context_beats_default(self):
        self.run_spate(0, "context", "create", "dev", "-s", "c:1", "--timeout", "5s")
        values = self.resolved()
        self.assertEqual(values["servers"], ("c:1", "context dev"))
        self.assertEqual(values["context"], ("dev", "current in the file"))
        self.assertEqual(values["quiet"], ("no", "default"))
        values = self.resolved(SPATE_SERVERS="e:1", SPATE_CONTEXT="dev", NO_COLOR="1")
        self.assertEqual(values["servers"], ("e:1", "environment SPATE_SERVERS"))
        self.assertEqual(values["timeout"], ("5s", "context dev"))
        self.assertEqual(values["color"], ("never", "environment NO_COLOR"))
        values = self.resolved("-s", "f:1", SPATE_SERVERS="e:1")
        self.assertEqual(values["servers"], ("f:1", "flag"))
        elsewhere = os.path.join(self.home, "elsewhere")
        self.assertEqual(self.resolved(XDG_CONFIG_HOME=elsewhere)["servers"][1], "default")

    def test_what_is_resolved_is_what_is_used(self):
        server = FakeServer({"topic.list": {"topics": []}})
        self.addCleanup(server.close)
        self.run_spate(0, "context", "create", "fake", "-s", server.address, "-X", "json=yes")
        self.assertEqual(self.run_spate(0, "topic", "list")[0], '{"topics":[]}\n')
        self.assertEqual(self.run_spate(0, "topic", "list", SPATE_JSON="no")[0], "")
        _, errors = self.run_spate(4, "topic", "list", SPATE_SERVERS="127.0.0.1:1")
        self.assertIn("127.0.0.1:1", errors)
        self.run_spate(0, "topic", "list", "-s", server.address, SPATE_SERVERS="127.0.0.1:1")

    def test_wrong_files_and_names_are_told_and_do_not_stop_repair(self):
        path = os.path.join(self.home, "c.yaml")
        with open(path, "w", encoding="utf-8") as handle:
            handle.write("contexts:\n  dev:\n    server: h:1\n")
        _, errors = self.run_spate(2, "topic", "list", SPATE_CONFIG=path)
        self.assertIn("c.yaml:3: there is no setting server: did you mean 'servers'?", errors)
        self.run_spate(0, "version", SPATE_CONFIG=path)
        self.run_spate(
            0, "context", "edit", SPATE_CONFIG=path, EDITOR="sed -i s/server:/servers:/"
        )
        self.assertIn("h:1", self.run_spate(0, "context", "ls", SPATE_CONFIG=path)[0])
        self.run_spate(1, "context", "edit", SPATE_CONFIG=path, EDITOR="false")
        _, errors = self.run_spate(2, "topic", "list", "--context", "dav", SPATE_CONFIG=path)
        self.assertIn("did you mean 'dev'?", errors)
        _, errors = self.run_spate(3, "context", "delete", "dav", SPATE_CONFIG=path)
        self.assertIn("did you mean 'dev'?", errors)
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [cluster.SPATE, "help"], stdout=full, stderr=subprocess.PIPE, check=False
            )
        self.assertEqual(done.returncode, 1, "it was not written")

    # ---- words ----------------------------------------------------------------------------------

    def test_slips_are_named(self):
        for arguments, answer in (
            (["tpic"], "did you mean 'topic'?"),
            (["topic", "creat"], "did you mean 'topic create'?"),
            (["consume", "t", "--formt=x"], "did you mean '--format'?"),
            (["topic", "list", "--srvers", "x"], "did you mean '--servers'?"),
            (["-X", "linger.m=1", "topic", "list"], "did you mean 'linger.ms'?"),
            (["--jsn", "topic", "list"], "did you mean '--json'?"),
            (["produce", "t", "--f"], "--f may mean"),
            (["produce", "-p"], "-p needs a value"),
            (["produce", "--json=x"], "--json takes no value"),
            (["produce", "--set=linger.ms=1", "-y"], "no option '-y'"),
            (["group"], "group what? list, describe, seek, delete\nspate help group tells"),
            (["--timeout", "25h", "topic", "list"], "--timeout=25h: "),
            (["--timeout", "11m", "produce", "t"], "--timeout=11m: up to 10m where"),
            (["bench", "e2e", "--timeout", "601s"], "--timeout=601s: up to 10m where"),
        ):
            out, errors = self.run_spate(2, *arguments)
            self.assertEqual(out, "")
            self.assertIn(answer, errors)
        _, errors = self.run_spate(2, "produce", "t", SPATE_TIMEOUT="11m")
        self.assertIn("SPATE_TIMEOUT=11m: up to 10m where", errors)

    # ---- shells and the manual ------------------------------------------------------------------

    def candidates(self, *words):
        out, errors = self.run_spate(0, "generate", "candidates", "--", *words)
        self.assertEqual(errors, "")
        return [line.split("\t")[0] for line in out.splitlines()]

    def test_candidates_come_from_the_table(self):
        self.run_spate(0, "context", "create", "dev")
        for words, expected in (
            (["clu"], ["cluster"]),
            (["group", "d"], ["describe", "delete"]),
            (["-q", "group", "de"], ["describe", "delete"]),
            (["consume", "t", "--un"], ["--until"]),
            (["consume", "--until", ""], ["start", "end"]),
            (["consume", "--", "--un"], []),
            (["produce", "-z", "l"], ["lz4"]),
            (["topic", "list", "--context", ""], ["dev"]),
            (["context", "use", "d"], ["dev"]),
            (["context", "use", "dev", ""], []),
            (["-X", "fetch.w"], ["fetch.wait.ms="]),
            (["generate", "completion", ""], ["bash", "zsh", "fish"]),
            (["help", "to"], ["topic"]),
            (["help", "topic", "cr"], ["create"]),
            (["help", "consume", ""], []),
            (["call", "topic.de"], ["topic.delete", "topic.describe"]),
            (["topic", "create", "x", "-c", "cleanup.policy="],
             ["cleanup.policy=delete", "cleanup.policy=compact", "cleanup.policy=compact,delete"]),
            (["topic", "create", "x", "-c", "retention.ms="], []),
            (["produce", "t", "-X", "compression=l"], ["compression=lz4"]),
            (["produce", "--compression=l"], ["--compression=lz4"]),
            (["topic", "list", "--context="], ["--context=dev"]),
            (["produce", "--", "--compression=l"], []),
            (["topic", "list", "x", ""], []),
        ):
            self.assertEqual(self.candidates(*words), expected, words)
        self.assertIn("--yes", self.candidates("topic", "rm", "--"))
        self.assertIn("--servers", self.candidates("--"))

    def test_candidates_do_not_wait_for_a_server_that_hangs(self):
        server = FakeServer({})
        self.addCleanup(server.close)
        started = time.monotonic()
        self.assertEqual(self.candidates("-s", server.address, "consume", ""), [])
        self.assertLess(time.monotonic() - started, 2)

    def test_names_come_from_a_node_that_follows_the_controller(self):
        servers = []
        for current, topic, node in ((False, "gone", 9), (True, "orders", 1)):
            servers.append(FakeServer({
                "topic.list": {"current": current, "topics": [{"name": topic}]},
                "cluster.info": {"current": current, "nodes": [{"id": node}]},
            }))
            self.addCleanup(servers[-1].close)
        both = ",".join(server.address for server in servers)
        self.assertEqual(self.candidates("-s", both, "consume", ""), ["orders"])
        self.assertEqual(self.candidates("-s", both, "cluster", "drain", ""), ["1"])
        _, errors = self.run_spate(3, "consume", "-s", both, "-r", "gone")
        self.assertIn("no topic matches", errors)
        # found, and then looked for without end by servers that describe nothing
        self.run_spate(6, "consume", "-s", both, "-r", "ord", "--timeout", "500ms")

    def test_groups_are_not_those_of_a_node_that_knows_nothing(self):
        row = {"state": "empty", "generation": 0, "members": 0}
        rows = [{**row, "group": f"g{i}", "coordinator": i} for i in range(2)]
        nodes = []
        servers = [
            FakeServer({
                "group.list": {"current": current, "groups": groups, "missing": missing},
                "cluster.info": {"current": current, "nodes": nodes if current else []},
            })
            for current, groups, missing in (
                (False, [], []), (True, rows[:1], [1]), (True, rows[1:], [0]),
            )
        ]
        for server in servers:
            self.addCleanup(server.close)
            nodes.append({"id": len(nodes) + 1, "address": server.address, "alive": True})
        both = ",".join(server.address for server in servers[:2])
        found = self.json("group", "list", "-s", both)
        self.assertEqual([row["group"] for row in found["groups"]], ["g0", "g1"])
        self.assertEqual((found["current"], found["missing"]), (True, []))
        out, errors = self.run_spate(1, "group", "list", "-s", servers[0].address, "--json")
        self.assertEqual(out, "")
        self.assertIn("no node that answered follows the controller", errors)
        self.assertEqual(self.candidates("-s", both, "group", "describe", ""), ["g0"])

    def test_bash_completes_with_names_from_the_cluster(self):
        server = FakeServer({
            "topic.list": {"topics": [{"name": "orders"}, {"name": "lines"}]},
            "cluster.info": {"nodes": [{"id": 1}, {"id": 12}]},
        })
        self.addCleanup(server.close)
        for line, expected in (
            (f"-s {server.address} consume o", "orders"),
            (f"--servers={server.address} consume o", "orders"),
            (f"-s {server.address} cluster drain ", "1 12"),
            ("topic create x -c cleanup.policy=com", "compact compact,delete"),
            ("topic create x -c cleanup.pol", "cleanup.policy="),
            ("produce -X compression=", "none lz4"),
        ):
            self.assertEqual(self.completed(f"{cluster.SPATE} {line}"), expected, line)

    def completed(self, line):
        """What bash is offered at the end of this line, whose words it parts at = and : as well."""
        words = [word for word in re.split(r"([=:]+)|\s+", line) if word]
        words += [""] if line.endswith(" ") else []
        script = (
            "compopt() { :; }\n"
            f"source <({cluster.SPATE} generate completion bash)\n"
            f"COMP_WORDS=({' '.join(map(shlex.quote, words))}) COMP_CWORD={len(words) - 1}\n"
            f"COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)}\n"
            "_spate; IFS=' '; echo \"${COMPREPLY[*]}\"\n"
        )
        done = subprocess.run(
            ["bash", "-c", script], capture_output=True, check=True, text=True,
            env={"PATH": os.environ["PATH"], "HOME": self.home},
        )
        self.assertEqual(done.stderr, "")
        return done.stdout.rstrip("\n")

    def test_scripts_are_valid_where_the_shell_is_there(self):
        for shell in ("bash", "zsh", "fish"):
            script, _ = self.run_spate(0, "generate", "completion", shell)
            self.assertIn("generate candidates", script)
            if shutil.which(shell):
                subprocess.run([shell, "-n"], input=script, check=True, text=True)
        self.run_spate(2, "generate", "completion", "tcsh")

    def test_examples_can_be_typed_as_they_are(self):
        """Remarks stand behind a #, the rest is what a shell takes; each names its own command."""
        count = 0
        for command in json.loads(self.run_spate(0, "help", "--json")[0])["commands"]:
            words = command["name"].split()
            text = self.run_spate(0, *words, "--help")[0]
            examples = re.findall(r"(?m)^  .*", re.split(r"\n\n", text.partition(
                "\nExamples:\n")[2])[0])
            names = [f"spate {' '.join([*words[:-1], last])}"
                     for last in (words[-1], command.get("alias")) if last]
            for line in examples:
                count += 1
                self.assertNotRegex(line.strip(), r" {2,}[^# ]", "a remark without #")
                self.assertTrue(any(name in line for name in names), line)
                done = subprocess.run(["bash", "-n", "-c", line], stderr=-1, check=False)
                self.assertEqual((done.returncode, done.stderr), (0, b""), line)
        self.assertGreater(count, 70)

    def test_document_names_every_command_option_and_variable(self):
        path = os.path.join(os.path.dirname(__file__), "../../docs/cli.md")
        with open(path, encoding="utf-8") as handle:
            document = handle.read()
        answer = self.json("help")
        for entry in answer["commands"]:
            self.assertIn(f"`spate {entry['name']}", document)
            for option in entry["options"] + answer["global_options"]:
                self.assertIn(f"--{option['name']}", document, entry["name"])
        for code in answer["exit_codes"]:
            self.assertIn(f"\n| {code['code']} | ", document)
        variables = set(re.findall(r"SPATE_[A-Z_]+[A-Z]", self.run_spate(0, "generate", "man")[0]))
        self.assertEqual(variables - set(re.findall(r"SPATE_[A-Z_]+[A-Z]", document)), set())

    def test_manual_is_valid_and_complete(self):
        page, _ = self.run_spate(0, "generate", "man")
        for entry in self.json("help")["commands"]:
            self.assertIn(".SS spate " + entry["name"].replace("-", "\\-") + "\n", page)
        if shutil.which("groff") is None:
            cluster.missing("groff")
        done = subprocess.run(
            ["groff", "-man", "-ww", "-Tutf8", "-P-cbou"], input=page, capture_output=True,
            check=True, text=True,
        )
        self.assertEqual(done.stderr, "")
        self.assertIn(r"spate consume orders -o @-1h -f '%p:%o %k=%v\n'", done.stdout)
        self.assertIn("SPATE_FETCH_WAIT_MS", done.stdout)

    def test_settings_of_topics_are_explained_and_checked(self):
        for command in ("create", "alter"):
            out, _ = self.run_spate(0, "topic", command, "--help")
            self.assertRegex(
                out, r"\n  retention\.ms +1ms to 36600d, or -1: no limit \(-1: no limit\)\n"
            )
            self.assertRegex(out, r"\n  segment\.bytes +64KiB to 1GiB \(storage.segment.bytes")
            words = out.split("Settings of topics")[1].split("\n\n")[0].splitlines()[1:]
            shown = json.loads(self.run_spate(0, "help", "topic", command, "--json")[0])
            listed = shown["commands"][0]["settings"]
            self.assertEqual([word.split()[0] for word in words], [s["name"] for s in listed])
            self.assertIn({"name": "delete.retention.ms", "takes": "0 to 36600d", "default": "1d"},
                          listed)
        page, _ = self.run_spate(0, "generate", "man")
        self.assertGreater(page.count("min.compaction.lag.ms"), 1)
        for arguments in (["create", "t", "-c"], ["alter", "t", "--set"], ["alter", "t", "-c"]):
            out, _ = self.run_spate(0, "generate", "candidates", "--", "topic", *arguments, "re")
            self.assertEqual([line.split("\t")[0] for line in out.splitlines()],
                             ["retention.ms=", "retention.bytes="])
        out, _ = self.run_spate(0, "generate", "candidates", "--", "topic", "alter", "--unset", "d")
        self.assertEqual([line.split("\t")[0] for line in out.splitlines()],
                         ["durability", "delete.retention.ms"])
        out, _ = self.run_spate(0, "generate", "candidates", "--", "topic", "alter", "-X", "lin")
        self.assertIn("linger.ms=", out)
        twice = ["-c", "retention.ms=1h", "-c", "retention.ms=2h"]
        for arguments, words in (
            (["create", "t", *twice], "retention.ms is given twice: retention.ms=1h and retention"),
            (["alter", "t", *twice], "retention.ms is given twice: retention.ms=1h and retention"),
            (["alter", "t", "--set", "segment.ms=1h", "-c", "segment.ms=2h"], "=1h and segment.ms"),
            (["alter", "t", "-c", "a=1", "--unset", "a"], "a is set to 1 and unset"),
            (["alter", "t", "--unset", "retention.ms=1"], "KEY alone; it goes back to its default"),
            (["alter", "t", "-c", "retention.ms"], "-c retention.ms: KEY=VALUE"),
            (["alter", "t"], "-c KEY=VALUE, --unset KEY or --replicas N is needed"),
            (["create", "t", "--unset", "a"], "no option '--unset' here: spate topic alter has it"),
            (["create", "t", "--set", "retention.ms=1h"], "is a setting of topics, not of this"),
            (["create", "t", "-X", "linger.ms=2m"], "linger.ms=2m: a number from 0 to 60000 of m"),
            (["create", "t", "-X", "compression=gzip"], "compression=gzip: none or lz4"),
        ):
            _, errors = self.run_spate(2, "topic", *arguments)
            self.assertIn(words, errors)
        many = [word for number in range(33) for word in ("-c", f"k{number}=1")]
        self.assertIn("at most 32 settings", self.run_spate(2, "topic", "create", "t", *many)[1])

    def test_exit_codes_are_explained_everywhere(self):
        for arguments in (["help"], ["help", "topic", "create"], ["log", "verify", "-h"]):
            out, _ = self.run_spate(0, *arguments)
            codes = out.split("Exit codes:\n")[1].splitlines()[:9]
            self.assertEqual([int(line.split()[0]) for line in codes],
                             [0, 1, 2, 3, 4, 5, 6, 7, 130])
        self.assertIn("  3  no such topic, partition, group, context or log\n", out)

    # ---- servers --------------------------------------------------------------------------------

    def test_consume_until_leaves_a_partition_at_its_bound(self):
        """Partition 0 is endless, partition 1 has no record before the reader has waited."""
        fetched = {0: 0, 1: 0}
        more = threading.Event()

        def fetch(fields):
            partition, offset = fields["partition"], fields["offset"]
            fetched[partition] += 1
            batch = bytearray(rpc.encode_batch([b"x"]))
            struct.pack_into(">q", batch, 0, offset)  # outside of the batch's checksum
            struct.pack_into(">i", batch, 12, 1)
            if partition == 1 and not more.wait(0.5):
                batch = b""
            answer = {"high_watermark": offset + 9, "log_start": 0, "end_offset": offset + 9}
            return {**answer, "records": bytes(batch)}

        server = FakeServer({"fetch": fetch, "offsets": {"offset": 0}})
        self.addCleanup(server.close)
        partitions = [
            {"partition": p, "leader": 1, "leader_address": server.address, "epoch": 1}
            for p in (0, 1)
        ]
        topic = {"name": "t", "id": 7, "partitions": [{**p, "replicas": [1]} for p in partitions]}
        nodes = [{"id": 1, "address": server.address}]
        server.answers["metadata"] = {"controller": 1, "nodes": nodes, "topics": [topic]}
        reader = subprocess.Popen(
            [cluster.SPATE, "consume", "t", "-s", server.address, "--until", "3", "-f", r"%p\n"],
            stdout=subprocess.PIPE, env={"HOME": self.home},
        )
        self.assertEqual([reader.stdout.readline() for _ in range(3)], [b"0\n"] * 3)
        cluster.wait_for("two more looks at partition 1", lambda: fetched[1] > 2)
        more.set()
        self.assertEqual(reader.communicate(timeout=10)[0], b"1\n" * 3)
        self.assertLess(fetched[0], 20, "read on behind its bound")

    def leaderless(self):
        """A server with topic t of two partitions, of which 1 has a leader unless `gone` is set,
        and the number of questions about them so far."""
        server, gone, asked = FakeServer({"offsets": {"offset": 0}}), threading.Event(), [0]
        self.addCleanup(server.close)

        def metadata(_):
            asked[0] += 1
            led = {"leader": 1, "leader_address": server.address, "epoch": 1, "replicas": [1]}
            none = {"leader": -1, "epoch": 1, "replicas": [1]}
            rows = [{"partition": 0, **led}, {"partition": 1, **(none if gone.is_set() else led)}]
            nodes = [{"id": 1, "address": server.address}]
            topic = {"name": "t", "id": 7, "partitions": rows}
            return {"controller": 1, "nodes": nodes, "topics": [topic]}

        server.answers["metadata"] = metadata
        return server, gone, asked

    def test_consume_says_what_it_waits_for_as_often_as_it_must(self):
        server, gone, asked = self.leaderless()
        reader = subprocess.Popen(
            [cluster.SPATE, "consume", "t", "-s", server.address, "--timeout", "2s"],
            stderr=subprocess.PIPE, env={"HOME": self.home}, text=True,
        )
        limit = threading.Timer(30, reader.kill)  # silence fails the test
        limit.start()

        def say(pattern):  # a busy machine has a server that does not answer at once
            lines = iter(reader.stderr.readline, "")
            found = next(filter(None, (re.search(pattern, line) for line in lines)), None)
            self.assertIsNotNone(found, pattern)
            return found

        try:
            cluster.wait_for("looks at a topic that is only quiet", lambda: asked[0] > 5, 20)
            gone.set()
            waiting = (r"waiting: partitions without a leader: t/1: are most of .*"
                       r"no record since (20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ)$")
            dates = {say(waiting)[1] for _ in range(2)}
            self.assertEqual(len(dates), 1, "the last record is as old as before")
            gone.clear()
            say("goes on")
            reader.send_signal(signal.SIGINT)
            self.assertEqual(reader.wait(), 130)
        finally:
            limit.cancel()
            reader.kill()
            reader.wait()
            reader.stderr.close()

    def test_consume_with_an_end_does_not_wait_longer_than_the_timeout(self):
        server, gone, asked = self.leaderless()
        gone.set()
        for end in (["-n", "1"], ["--until", "9", "-o", "3"]):
            started = time.monotonic()
            words = ["consume", "t", "-s", server.address, "--timeout", "2s", *end]
            _, errors = self.run_spate(6, *words)
            self.assertLess(time.monotonic() - started, 10)
            self.assertIn("partitions without a leader: t/1: are most", errors)
            self.assertIn("TIMEOUT: for 2000 ms", errors)
            self.assertGreater(time.monotonic() - started, 2, "it ends early")
        before = asked[0]
        reader = subprocess.Popen(
            [cluster.SPATE, *words, "-p", "0"], stderr=subprocess.PIPE, env={"HOME": self.home},
        )
        cluster.wait_for("looks at a partition with a leader", lambda: asked[0] > before + 6)
        reader.send_signal(signal.SIGINT)
        self.assertNotIn(b"without a leader", reader.communicate()[1], "it reads another one")

    def test_member_says_that_its_group_has_no_coordinator(self):
        server, _, _ = self.leaderless()
        server.answers["group.find"] = {"leader": -1, "partition": 3}
        words = ["consume", "t", "-g", "g", "-n", "1", "-s", server.address, "--timeout", "2s"]
        _, errors = self.run_spate(6, *words)
        self.assertIn("waiting: the coordinator of group g has no leader", errors)

    def test_truncation_of_more_records_than_there_can_be_is_not_counted_below_zero(self):
        most = 2**63 - 1
        end = 2**53 - 1  # of each partition, the largest number that the protocol has
        offset = lambda fields: {"offset": 0 if fields.get("at") == "earliest" else end}
        server = FakeServer({"offsets": offset})
        self.addCleanup(server.close)
        leader = {"leader": 1, "leader_address": server.address, "epoch": 1, "replicas": [1]}
        rows = [{"partition": number, **leader} for number in range(1026)]
        topic = {"name": "t", "id": 7, "partitions": rows}
        nodes = [{"id": 1, "address": server.address}]
        server.answers["metadata"] = {"controller": 1, "nodes": nodes, "topics": [topic]}
        words = ["topic", "truncate", "t", "--before", "end", "-n", "-s", server.address]
        out, errors = self.run_spate(0, *words, "--json")
        self.assertEqual(json.loads(out)["records"], most)
        out, errors = self.run_spate(0, *words)
        self.assertIn(f"would delete {most} of {most} records of t, all there are", errors)

    def test_ten_thousand_topics_are_listed_quickly(self):
        topics = [
            {"name": f"topic-{i:05}", "id": i, "partitions": 1, "replicas": 3}
            for i in range(TOPICS)
        ]
        server = FakeServer({"topic.list": {"topics": topics}})
        self.addCleanup(server.close)
        for options in ([], ["--json"]):
            started = time.monotonic()
            out, _ = self.run_spate(0, "topic", "list", "-s", server.address, *options)
            self.assertLess(time.monotonic() - started, 2)
            self.assertEqual(out.count("topic-"), TOPICS)

    def test_progress_of_a_move_does_not_fall(self):
        """More is produced than is filled: of what is needed it has less and less."""
        move = {"topic": "t", "partition": 0, "from": [1], "to": [2], "begun_ms": 1, "leader": 1,
                "step": "filling", "node": 2}
        rows = [{"stored": 50, "goal": 100}, {"stored": 60, "goal": 200}]
        looks = [{"moves": [{**move, **row}]} for row in rows] + [{"moves": []}]
        server = FakeServer({
            "cluster.moves": lambda params: looks.pop(0),
            "cluster.info": {"nodes": []},
            "cluster.health": {"draining": []},
        })
        self.addCleanup(server.close)
        out, _ = self.run_spate(0, "cluster", "moves", "-w", "-s", server.address)
        shown = re.findall(r"filling node 2: (.*)", out)
        self.assertEqual(shown, ["50 of 100 entries", "60 of 200 entries"])

    def test_commands_end_in_time_though_a_server_hangs(self):
        server = FakeServer({})
        self.addCleanup(server.close)
        for command in (
            ["topic", "create", "t"],
            ["topic", "rm", "t", "-y"],
            ["topic", "list"],
            ["consume", "t", "-e"],
            ["produce", "t"],
            ["offsets", "t"],
            ["group", "list"],
            ["group", "seek", "g", "--to", "end"],
            ["cluster", "health"],
            ["ping"],
        ):
            started = time.monotonic()
            out, errors = self.run_spate(6, *command, "-s", server.address, "--timeout", "1s")
            self.assertLess(time.monotonic() - started, 2.5, command)
            if command != ["ping"]:
                self.assertEqual(out, "")
                self.assertIn("TIMEOUT", errors)

    def test_topic_create_without_leaders_ends_within_the_timeout(self):
        topic = {"name": "t", "id": 7, "partitions": [{"partition": 0, "leader": -1}]}
        server = FakeServer(
            {"topic.create": {"name": "t", "id": 7}, "metadata": {"nodes": [], "topics": [topic]}}
        )
        self.addCleanup(server.close)
        started = time.monotonic()
        self.run_spate(6, "topic", "create", "t", "-s", server.address, "--timeout", "1500ms")
        self.assertLess(time.monotonic() - started, 2.5)

    def test_wrong_addresses_say_what_to_do(self):
        for address, code, words in (
            ("127.0.0.1:1", 4, "is spated running there, and is the address right?"),
            ("no-such-host.invalid:7700", 4, 'host name "no-such-host.invalid" is not known'),
            ("a b", 2, "host:port,host:port"),
            ("h:99999", 2, "host:port,host:port"),
        ):
            out, errors = self.run_spate(code, "topic", "list", "-s", address)
            self.assertEqual(out, "")
            self.assertIn(words, errors)
            self.assertIn(address, errors)

    def test_ping_says_why_a_server_does_not_answer(self):
        silent = FakeServer({})
        self.addCleanup(silent.close)
        servers = f"127.0.0.1:1,no-such-host.invalid:7700,{silent.address}"
        out, errors = self.run_spate(6, "ping", "-s", servers, "--json", "--timeout", "1s")
        rows = json.loads(out)["servers"]
        self.assertEqual([row["error"] for row in rows], ["UNREACHABLE", "UNREACHABLE", "TIMEOUT"])
        for row, reason in zip(rows, ("(connection refused)", "is not known", "answered ping")):
            self.assertIn(reason, row["text"])
            self.assertIn(f"{row['server']}: {row['error']}: {row['text']}\n", errors)

    def test_ping_asks_all_at_once(self):
        """None answers before all are asked."""
        together = threading.Barrier(3)

        def answer(_):
            try:
                together.wait(20)
            except threading.BrokenBarrierError:
                return None
            return {}

        servers = [FakeServer({"ping": answer}) for _ in range(3)]
        for server in servers:
            self.addCleanup(server.close)
        names = [server.address for server in servers]
        rows = self.json("ping", "-s", ",".join(names), "--timeout", "15s")["servers"]
        self.assertEqual([row["server"] for row in rows], names)
        out, _ = self.run_spate(7, "ping", "-s", f"{names[0]},127.0.0.1:1,{names[1]},{names[2]}")
        self.assertEqual(
            [line.split("\t")[0] for line in out.splitlines()],
            [names[0], "127.0.0.1:1", names[1], names[2]],
        )

    def test_ping_has_one_deadline(self):
        """A server that is late with its first answer has no further deadline for the second."""
        asked = []

        def answer(_):
            asked.append(1)
            if len(asked) > 1:
                return None
            time.sleep(1.5)
            return {}

        server = FakeServer({"ping": answer})
        self.addCleanup(server.close)
        started = time.monotonic()
        out, errors = self.run_spate(6, "ping", "-s", server.address, "--timeout", "2s", "--json")
        self.assertLess(time.monotonic() - started, 3)
        self.assertEqual(json.loads(out)["servers"][0]["error"], "TIMEOUT")
        self.assertIn("it answered once, and then no more within 2000 ms", errors)

    def test_group_without_a_coordinator_says_so(self):
        """What a server says is the reason, also while others are not there."""
        said = "partition __groups/0 has no leader at the moment: try again"
        answers = {"group.describe": Refusal(f"LEADER_UNKNOWN: {said}")}
        server = FakeServer(answers)
        self.addCleanup(server.close)
        led = Refusal("NOT_LEADER: 2 127.0.0.1:1 partition __groups/0 is led by node 2")
        for answer, words in (
            (answers["group.describe"], said),
            (led, "line: partition __groups/0 is led by node 2; 127.0.0.1:1: connection refused"),
        ):
            answers["group.describe"] = answer
            servers = f"{server.address},127.0.0.1:2"
            _, errors = self.run_spate(
                6, "group", "describe", "g", "-s", servers, "--timeout", "1s"
            )
            self.assertIn("g: LEADER_UNKNOWN: group.describe was refused by the servers", errors)
            self.assertIn(words, errors)
            self.assertNotIn("client port", errors)

    def test_topic_create_leaves_to_the_cluster_what_is_not_said(self):
        asked = []
        topic = {"name": "t", "id": 7, "partitions": [{"partition": 0, "leader": 1}]}
        node = {"id": 1, "address": "127.0.0.1:1"}
        server = FakeServer({
            "ping": {},
            "topic.create": lambda params: asked.append(params) or {"name": "t", "id": 7},
            "metadata": {"nodes": [node], "topics": [topic]},
        })
        self.addCleanup(server.close)
        self.run_spate(0, "topic", "create", "t", "-s", server.address)
        self.run_spate(0, "topic", "create", "t", "-p", "1", "-r", "2", "-s", server.address)
        self.assertEqual(asked, [{"name": "t"}, {"name": "t", "partitions": 1, "replicas": 2}])

    def test_server_that_names_a_leader_and_says_no_more_is_not_given_other_words(self):
        words = iter(["NOT_LEADER: 2 127.0.0.1:1 partition __groups/0 is led by node 2"])
        refusal = lambda params: Refusal(next(words, "NOT_LEADER: 2 127.0.0.1:1"))
        server = FakeServer({"group.describe": refusal})
        self.addCleanup(server.close)
        _, errors = self.run_spate(
            6, "group", "describe", "g", "-s", server.address, "--timeout", "1s"
        )
        self.assertIn("until the deadline: 2 127.0.0.1:1 ; 127.0.0.1:1: connection", errors)
        self.assertNotIn("is led by", errors)

    def test_server_that_names_a_leader_which_is_gone_is_not_the_only_one_that_is_asked(self):
        led = Refusal("NOT_LEADER: 2 127.0.0.1:1 partition __groups/0 is led by node 2")
        servers = [FakeServer({"group.describe": answer}) for answer in (led, {"well": True})]
        for server in servers:
            self.addCleanup(server.close)
        for turn in (servers, servers[::-1]):
            out, _ = self.run_spate(
                0, "call", "group.describe", '{"group": "g"}', "--timeout", "10s",
                "-s", ",".join(server.address for server in turn),
            )
            self.assertEqual(json.loads(out), {"well": True})

    def test_ping_of_a_long_name_has_its_row(self):
        name = "x" + 120 * "\u00f6" + ":1"  # the text about it is cut, within a character
        done = subprocess.run(
            [cluster.SPATE, "ping", "-s", name, "--json"], capture_output=True, check=False
        )
        self.assertEqual(done.returncode, 4, done.stderr)
        (row,) = json.loads(done.stdout)["servers"]
        self.assertEqual((row["server"], row["error"]), (name, "UNREACHABLE"))
        self.assertNotEqual(row["text"], "")

    def test_colour_is_for_terminals_that_want_it(self):
        for variables, coloured in (
            ({}, True), ({"NO_COLOR": "1"}, False), ({"SPATE_COLOR": "never"}, False),
        ):
            master, slave = os.openpty()
            environment = {"PATH": os.environ["PATH"], "HOME": self.home, **variables}
            subprocess.run(
                [cluster.SPATE, "topic", "list", "-s", "127.0.0.1:1", "--timeout", "100ms"],
                env=environment, stderr=slave, check=False,
            )
            text = os.read(master, 65536)
            os.close(master)
            os.close(slave)
            self.assertEqual(b"\x1b[31m" in text, coloured, text)

    def test_help_goes_to_a_closed_pipe_silently(self):
        reader, writer = os.pipe()
        os.close(reader)
        for command in (["help"], ["generate", "man"], ["consume", "-h"]):
            done = subprocess.run(
                [cluster.SPATE, *command], stdout=writer, stderr=subprocess.PIPE, check=False
            )
            self.assertEqual((done.returncode, done.stderr), (0, b""))
        os.close(writer)


if __name__ == "__main__":
    cluster.main()
