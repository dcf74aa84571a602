#!/usr/bin/env python3
"""Plants a violation of every rule of the tidy checks and demands that it is found, by its rule.

Called as `test_tidy.py ROOT`: the scratch trees borrow the tables and the style file of ROOT.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import check_api
import check_format
import check_layers
import check_protocol
import check_style
import check_symbols

ROOT = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else os.getcwd()


class TidyTest(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.root)

    def plant(self, path, content):
        target = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "w", encoding="utf-8") as handle:
            handle.write(content)
        return target

    def borrow(self, path):
        target = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy(os.path.join(ROOT, path), target)

    def assert_finds(self, findings, path, words):
        findings = list(findings)
        self.assertTrue(
            any(found == path and words in text for found, _, text in findings),
            f"expected `{words}` in {path}, found {findings}",
        )

    def assert_clean(self, findings):
        self.assertEqual(list(findings), [])


class LayersTest(TidyTest):
    def test_layers_downward_include_is_clean(self):
        self.plant("src/wire/frame.h", "")
        self.plant("src/base/buf.h", "")
        self.plant("src/net/conn.c", '#include "base/buf.h"\n#include "wire/frame.h"\n')
        self.assert_clean(check_layers.check(self.root))

    def test_layers_upward_include_is_found(self):
        self.plant("src/broker/produce.h", "")
        self.plant("src/storage/log.c", '#include "broker/produce.h"\n')
        findings = check_layers.check(self.root)
        self.assert_finds(findings, "src/storage/log.c", "src/storage may not use src/broker")

    def test_layers_third_party_header_away_from_home_is_found(self):
        for header in check_layers.HOMES:
            self.plant("src/base/buf.c", f"#include <{header}>\n")
            findings = check_layers.check(self.root)
            self.assert_finds(findings, "src/base/buf.c", f"<{header}> belongs to")

    def test_layers_third_party_header_at_home_is_clean(self):
        self.plant("src/io/loop.c", "#include <uv.h>\n")
        self.plant("cluster/raft_group.c", "#include <raft.h>\n")
        self.assert_clean(check_layers.check(self.root))

    def test_layers_outside_world_header_is_found(self):
        self.plant("src/storage/log.c", "#include <time.h>\n")
        findings = check_layers.check(self.root)
        self.assert_finds(findings, "src/storage/log.c", "<time.h> opens the outside world")

    def test_layers_clock_outside_io_is_found(self):
        line = "    (void)clock_gettime(CLOCK_REALTIME, &now);\n"
        self.plant("src/io/clock.c", line)
        self.plant("src/cli/when.c", line)
        self.plant("src/server/node.c", "    used_s = time(NULL);\n    start_time(node);\n")
        findings = list(check_layers.check(self.root))
        self.assert_finds(findings, "src/cli/when.c", "clock_gettime reads a clock")
        self.assert_finds(findings, "src/server/node.c", "time reads a clock")
        self.assertEqual(len(findings), 2)

    def test_layers_public_api_in_the_broker_is_found(self):
        self.plant("include/spate/client.h", "")
        self.plant("include/spate/error.h", "")
        self.plant("src/broker/a.c", "#include <spate/client.h>\n#include <spate/error.h>\n")
        findings = list(check_layers.check(self.root))
        self.assert_finds(findings, "src/broker/a.c", "may not use include/spate")
        self.assertEqual(len(findings), 1)

    def test_layers_unknown_folder_is_found(self):
        self.plant("src/extra/a.c", "")
        self.assert_finds(check_layers.check(self.root), "src/extra/a.c", "layer table")


class StyleTest(TidyTest):
    def test_style_ordinary_file_is_clean(self):
        self.plant("src/base/a.c", "static int f(void)\n{\n    return 1;\n}\n")
        self.assert_clean(check_style.check(self.root))

    def test_style_long_function_is_found(self):
        body = "    g();\n" * (check_style.FUNCTION_LINES_MAX + 1)
        self.plant("src/base/a.c", "static void f(void)\n{\n" + body + "}\n")
        self.assert_finds(check_style.check(self.root), "src/base/a.c", "function of 71 lines")

    def test_style_long_file_is_found(self):
        for path in ("cluster/a.c", "tests/unit/test_a.c", "tests/sim/sim_a.h", "jepsen/a.c"):
            self.plant(path, "int a;\n" * (check_style.FILE_LINES_MAX + 1))
            self.assert_finds(check_style.check(self.root), path, "file of 501 lines")

    def test_style_long_line_is_found(self):
        self.plant("cmake/a.cmake", "x" * (check_style.COLUMNS_MAX + 1) + "\n")
        self.assert_finds(check_style.check(self.root), "cmake/a.cmake", "line of 101 columns")

    def test_style_unfinished_work_is_found(self):
        for mark in ("TO" + "DO", "FIX" + "ME"):
            self.plant("deploy/script", f"# {mark}: later\n")
            self.assert_finds(check_style.check(self.root), "deploy/script", "unfinished work")

    def test_style_machine_path_is_found(self):
        self.plant("docs/a.md", "see /tm" + "p/scratch\n")
        self.assert_finds(check_style.check(self.root), "docs/a.md", "a path of one machine")

    def test_style_space_at_line_end_is_found(self):
        self.plant("src/base/a.h", "int a; \n")
        self.assert_finds(check_style.check(self.root), "src/base/a.h", "end of the line")


class FormatTest(TidyTest):
    @unittest.skipUnless(shutil.which("clang-format"), "clang-format is not installed")
    def test_format_wrong_layout_is_found(self):
        self.borrow(".clang-format")
        self.plant("src/base/good.c", "int a;\n")
        self.plant("src/base/bad.c", "int  a ;\n")
        findings = list(check_format.check(self.root))
        self.assert_finds(findings, "src/base/bad.c", "not formatted")
        self.assertEqual(len(findings), 1)


class ProtocolTest(TidyTest):
    METHODS = '#define SP_METHOD_LIST(X) \\\n    X(PING, "ping") \\\n    X(FETCH, "fetch")\n'
    ERRORS = '#define SPATE_ERROR_LIST(X) \\\n    X(BUSY, -4, 1, "a") \\\n    X(IO, -27, 0, "b")\n'
    DOCUMENT = (
        "## Methods\n| method | does |\n|---|---|\n| `ping` | a |\n| `fetch` | b |\n"
        "## Fields\n| `topic` | str |\n"
        "## Error codes\n| code | number | again | meaning |\n|---|---|---|---|\n"
        "| `BUSY` | -4 | yes (soon) | a |\n| `IO` | -27 | no | b |\n"
    )

    def setUp(self):
        super().setUp()
        self.plant("src/wire/client_api.h", self.METHODS)
        self.plant("include/spate/error.h", self.ERRORS)

    def check(self, document):
        self.plant("docs/protocol.md", document)
        return check_protocol.check(self.root)

    def test_protocol_equal_tables_are_clean(self):
        self.assert_clean(self.check(self.DOCUMENT))

    def test_protocol_missing_method_is_found(self):
        document = self.DOCUMENT.replace("| `fetch` | b |\n", "")
        self.assert_finds(self.check(document), "docs/protocol.md", "`fetch` is missing")

    def test_protocol_invented_code_is_found(self):
        document = self.DOCUMENT + "| `GONE` | -99 |\n"
        self.assert_finds(self.check(document), "docs/protocol.md", "`GONE` does not exist")

    def test_protocol_wrong_number_is_found(self):
        document = self.DOCUMENT.replace("-27", "-28")
        self.assert_finds(self.check(document), "docs/protocol.md", "`IO` has -27 in the code")

    def test_protocol_other_meaning_or_hope_is_found(self):
        for was, now in (("no | b", "no | c"), ("no | b", "yes | b"), ("no | b", "no")):
            findings = self.check(self.DOCUMENT.replace(was, now))
            self.assert_finds(findings, "docs/protocol.md", "`IO` has")

    def test_protocol_missing_document_is_found(self):
        findings = check_protocol.check(self.root)
        self.assert_finds(findings, "docs/protocol.md", "the document is missing")

    def test_protocol_lists_of_the_tree_are_read(self):
        self.assertIn("NOT_LEADER", check_protocol.errors_of_code(ROOT))
        self.assertIn("produce", check_protocol.methods_of_code(ROOT))


class ApiTest(TidyTest):
    HEADER = "/* One. */\nSPATE_API int spate_one(void);\n"
    DOCUMENT = "| `spate_one` | one |\n"
    MAP = "SPATE_0 {\n    global:\n        spate_one;\n    local:\n        *;\n};\n"

    def setUp(self):
        super().setUp()
        self.borrow("cmake/spate_headers.py")
        self.plant("include/spate/one.h", self.HEADER)
        self.plant(check_api.MAP, self.MAP)
        self.plant(check_api.DOCUMENT, self.DOCUMENT)

    def library(self, source):
        file = self.plant("one.c", source)
        library = os.path.join(self.root, "libspate.so")
        version = f"-Wl,--version-script={os.path.join(self.root, check_api.MAP)}"
        subprocess.run(["cc", "-shared", "-fPIC", version, file, "-o", library], check=True)
        return library

    def test_api_equal_lists_are_clean(self):
        library = self.library("int spate_one(void) { return 1; } int sp_two(void) { return 2; }\n")
        self.assert_clean(check_api.check(self.root, library))

    def test_api_function_missing_in_the_map_is_found(self):
        self.plant(check_api.MAP, self.MAP.replace("spate_one;", ""))
        self.assert_finds(check_api.check(self.root), check_api.MAP, "spate_one of spate/one.h")

    def test_api_function_missing_in_the_document_is_found(self):
        self.plant(check_api.DOCUMENT, "spate_one without quotes, and `spate_one.h`\n")
        findings = check_api.check(self.root)
        self.assert_finds(findings, check_api.DOCUMENT, "spate_one of spate/one.h")

    def test_api_function_invented_by_the_document_is_found(self):
        self.plant(check_api.DOCUMENT, self.DOCUMENT + "`spate_gone(client)` was here\n")
        findings = check_api.check(self.root)
        self.assert_finds(findings, check_api.DOCUMENT, "spate_gone is no function")

    def test_api_invented_function_is_found(self):
        self.plant(check_api.MAP, self.MAP.replace("one;", "one;\n        spate_gone;"))
        self.assert_finds(check_api.check(self.root), check_api.MAP, "spate_gone is no function")

    def test_api_function_without_comment_is_found(self):
        self.plant("include/spate/one.h", "SPATE_API int spate_one(void);\n")
        self.assert_finds(check_api.check(self.root), "include/spate/one.h", "has no comment")

    def test_api_leaked_symbol_is_found(self):
        self.plant(check_api.MAP, self.MAP.replace("one;", "one;\n        sp_two;"))
        library = self.library("int spate_one(void) { return 1; } int sp_two(void) { return 2; }\n")
        self.assert_finds(check_api.check(self.root, library), "libspate.so", "sp_two is exported")

    def test_api_missing_symbol_is_found(self):
        library = self.library("int sp_two(void) { return 2; }\n")
        self.assert_finds(check_api.check(self.root, library), "libspate.so", "is not exported")


class SymbolsTest(TidyTest):
    def setUp(self):
        super().setUp()
        self.borrow(check_symbols.TABLE)

    def archive(self, layer, member, source):
        """A static library of one object, made with the compiler at hand."""
        file = self.plant(f"{member}", source)
        subprocess.run(["cc", "-O2", "-c", file, "-o", file + ".o"], check=True)
        library = os.path.join(self.root, f"libspate_{layer}.a")
        subprocess.run(["ar", "rcs", library, file + ".o"], check=True)
        return library

    def test_symbols_pure_object_is_clean(self):
        source = "#include <string.h>\nint f(const char *a) { return (int)strlen(a); }\n"
        self.assert_clean(check_symbols.check(self.root, self.archive("wire", "pure.c", source)))

    def test_symbols_planted_clock_gettime_is_found(self):
        source = (
            "#include <time.h>\n"
            "long f(void) { struct timespec t; clock_gettime(CLOCK_REALTIME, &t);"
            " return t.tv_sec; }\n"
        )
        for layer in ("base", "wire", "net", "storage", "cluster", "broker", "client"):
            library = self.archive(layer, "planted.c", source)
            findings = check_symbols.check(self.root, library)
            self.assert_finds(findings, f"{layer}/planted.c", "clock_gettime reaches past src/io")

    def test_symbols_every_door_to_the_outside_is_found(self):
        doors = "open read write fsync socket send recv pthread_create rand getrandom time uv_now"
        for door in doors.split():
            source = f"extern long {door}();\nlong f(void) {{ return {door}(0, 0, 0, 0); }}\n"
            library = self.archive("storage", "planted.c", "#pragma GCC diagnostic ignored"
                                   ' "-Wbuiltin-declaration-mismatch"\n' + source)
            findings = check_symbols.check(self.root, library)
            self.assert_finds(findings, "storage/planted.c", f"{door} reaches past src/io")

    def test_symbols_exception_holds_for_its_member_only(self):
        source = "#include <stdlib.h>\nvoid *f(void) { return malloc(3); }\n"
        library = self.archive("base", "other.c", source)
        findings = check_symbols.check(self.root, library)
        self.assert_finds(findings, "base/other.c", "malloc reaches past src/io")

    def test_symbols_stale_exception_is_found(self):
        library = self.archive("base", "mem.c", "int a;\n")
        findings = check_symbols.check(self.root, library)
        self.assert_finds(findings, check_symbols.TABLE, "base mem.c malloc is no longer needed")

    def test_symbols_third_party_of_another_layer_is_found(self):
        source = "extern int raft_step(void);\nint f(void) { return raft_step(); }\n"
        findings = check_symbols.check(self.root, self.archive("cluster", "a.c", source))
        self.assertFalse([finding for finding in findings if "raft_step" in str(finding)])
        findings = check_symbols.check(self.root, self.archive("storage", "a.c", source))
        self.assert_finds(findings, "storage/a.c", "raft_step reaches past src/io")


if __name__ == "__main__":
    unittest.main()
