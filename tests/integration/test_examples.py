#!/usr/bin/env python3
"""libspate as others meet it: installed into an empty directory, found by pkg-config and by CMake,
linked as a shared and as a static library, included from C and C++, and the examples of
docs/examples run against a node."""

import glob
import os
import shutil
import subprocess
import tempfile
import unittest

import cluster

BUILD = os.environ["SPATE_BUILD"]
EXAMPLES = ("producer", "consumer", "group_consumer", "admin")
WARNINGS = ("-Wall", "-Wextra", "-pedantic", "-Werror")
LINES = 500

CPP_PROGRAM = r"""
#include <spate/spate.h>
#include <cstdio>
static void on_delivery(void *, const spate_delivery *) {}
int main(int argc, char **argv)
{
    spate_config *config = spate_config_new();
    spate_client *client = nullptr;
    spate_producer *producer = nullptr;
    spate_record record = spate_record();
    int64_t offset = -1;
    record.topic = "examples";
    record.partition = SPATE_PARTITION_ANY;
    record.value = "from C++";
    record.value_size = 8;
    int rv = spate_config_set(config, "servers", argv[argc - 1]);
    if (rv == 0) rv = spate_client_new(config, &client);
    if (rv == 0) rv = spate_producer_new(client, on_delivery, nullptr, &producer);
    if (rv == 0) rv = spate_produce_wait(producer, &record, &offset);
    std::printf("%s %s %lld\n", spate_version(), spate_error_name(rv), (long long)offset);
    spate_client_close(client, -1);
    spate_config_free(config);
    return rv == 0 && offset >= 0 ? 0 : 1;
}
"""


def tool(*names):
    for name in names:
        path = shutil.which(name)
        if path is not None:
            return path
    return cluster.missing(" or ".join(names))


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class ExamplesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix="spate-test-")
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        cls.prefix = os.path.join(cls.directory, "prefix")
        run(tool("cmake"), "--install", BUILD, "--prefix", cls.prefix)
        cls.libdir = os.path.dirname(cls.find("lib*/**/libspate.so.0"))
        cls.sources = cls.find("share/doc/*/examples")
        cls.environment = {
            **os.environ,
            "LD_LIBRARY_PATH": cls.libdir,
            "PKG_CONFIG_PATH": os.path.join(cls.libdir, "pkgconfig"),
        }
        cls.cluster = cluster.Cluster(1)
        cls.enterClassContext(cls.cluster)

    @classmethod
    def find(cls, pattern):
        found = glob.glob(os.path.join(cls.prefix, pattern), recursive=True)
        if not found:
            raise AssertionError(f"{pattern} is not installed")
        return found[0]

    def flags(self, *arguments):
        return run(tool("pkg-config"), *arguments, "spate", env=self.environment).split()

    def build(self, compiler, source, name, *flags):
        target = os.path.join(self.directory, name)
        run(tool(compiler), *WARNINGS, source, "-o", target, *flags)
        return target

    def run_examples(self, folder, topic):
        """All of them together, as their comments say; `folder` holds the programs."""
        servers = self.cluster.servers

        def example(name, *arguments, **options):
            return run(
                os.path.join(folder, name), servers, *arguments, env=self.environment, **options)

        self.assertIn(f'"name": "{topic}"', example("admin", "create", topic, "3"))
        lines = [f"line {number}" for number in range(1, LINES + 1)]
        told = example("producer", topic, input="".join(f"{line}\n" for line in lines))
        places = {}
        for line in told.splitlines():
            words = line.replace(",", "").replace(":", "").split()
            places[int(words[1])] = (int(words[3]), int(words[5]))
        self.assertEqual(sorted(places), list(range(1, LINES + 1)))
        ours, theirs = os.pipe()  # its standard input stays open, and silent
        try:
            read = example("consumer", topic, str(LINES), stdin=ours, timeout=60).splitlines()
        finally:
            os.close(ours)
            os.close(theirs)
        want = sorted(f"{p} {o} line {number}" for number, (p, o) in places.items())
        self.assertEqual(sorted(read), want)
        shared = example("group_consumer", f"group-{topic}", topic, timeout=60).splitlines()
        self.assertEqual(sorted(shared), [f"{topic} {line}" for line in want])
        again = example("group_consumer", f"group-{topic}", topic, timeout=60)
        self.assertEqual(again, "", "what was committed came again")
        described = example("admin", "describe", topic)
        self.assertEqual(described.count('"leader": 1'), 3, described)

    # ---- the ways of building -------------------------------------------------------------------

    def test_examples_by_pkg_config(self):
        flags = self.flags("--cflags", "--libs")
        for name in EXAMPLES:
            source = os.path.join(self.sources, f"{name}.c")
            program = self.build("cc", source, name, "-std=c11", *WARNINGS, *flags)
            needed = run(tool("readelf"), "-d", program)
            self.assertIn("[libspate.so.0]", needed)
            self.assertNotIn("libuv", needed)
        self.run_examples(self.directory, "by-pkg-config")

    def test_examples_by_cmake(self):
        build = os.path.join(self.directory, "cmake")
        run(tool("cmake"), "-S", self.sources, "-B", build, f"-DCMAKE_PREFIX_PATH={self.prefix}",
            "-DCMAKE_C_FLAGS=" + " ".join(WARNINGS))
        run(tool("cmake"), "--build", build)
        self.run_examples(build, "by-cmake")

    def test_examples_with_the_static_library(self):
        folder = os.path.join(self.directory, "static")
        os.mkdir(folder)
        flags = self.flags("--static", "--cflags", "--libs")
        flags = ["-l:libspate.a" if flag == "-lspate" else flag for flag in flags]
        for name in EXAMPLES:
            source = os.path.join(self.sources, f"{name}.c")
            program = self.build(
                "cc", source, os.path.join("static", name), "-D_GNU_SOURCE", *flags)
            self.assertNotIn("libspate", run(tool("readelf"), "-d", program))
        self.run_examples(folder, "static")

    def test_examples_in_cpp(self):
        source = os.path.join(self.directory, "program.cpp")
        with open(source, "w", encoding="utf-8") as handle:
            handle.write(CPP_PROGRAM)
        flags = self.flags("--cflags", "--libs")
        program = self.build("c++", source, "program", "-std=c++11", *flags)
        self.cluster.spate("topic", "create", "examples")
        told = run(program, self.cluster.servers, env=self.environment)
        self.assertRegex(told, r"^\d+\.\d+\.\d+ OK 0$")

    def test_each_header_is_complete_by_itself(self):
        for header in glob.glob(os.path.join(self.prefix, "include", "spate", "*.h")):
            name = f"spate/{os.path.basename(header)}"
            for compiler, language, standard in (("cc", "c", "c11"), ("c++", "c++", "c++11")):
                run(tool(compiler), *WARNINGS, f"-std={standard}", "-x", language, "-c",
                    "-include", name, "-I", os.path.join(self.prefix, "include"),
                    os.devnull, "-o", os.devnull)

    def test_installed_pages_and_programs_are_there(self):
        for path in ("bin/spate", "bin/spated", "share/man/man3/spate_produce.3",
                     "share/man/man3/libspate.3", "lib*/**/libspate.a"):
            self.find(path)


if __name__ == "__main__":
    cluster.main()
