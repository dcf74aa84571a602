/* spate lab: the program that does it, in Python, is installed beside this one; it is handed all
 * arguments. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/output.h"

enum {
    WORDS_MAX = 4096,
};

/* PREFIX/bin/spate: PREFIX/NAME into `out`, with room for it. False: where the program lies is not
 * known. */
static bool beside(const char *name, char out[PATH_MAX])
{
    char path[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", path, sizeof path - 1);

    if (size <= 0) {
        return false;
    }
    path[size] = '\0';
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(path, '/');
        if (slash == NULL) {
            return false;
        }
        *slash = '\0';
    }
    return snprintf(out, PATH_MAX, "%s/%s", path, name) < PATH_MAX;
}

/* Among the options of lab itself. */
static bool wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0) {
            return true;
        }
    }
    return false;
}

int command_lab(struct cli *cli, int argc, char **argv)
{
    static char python[] = "python3";
    static char no_bytecode[] = "-B";
    char *words[WORDS_MAX + 1] = { python, no_bytecode };
    char program[PATH_MAX];
    char spated[PATH_MAX];
    size_t count = 2;

    if (wants_help(argc, argv)) {
        print_help(cli);
        return EXIT_OK;
    }
    if (!beside(SPATE_LAB, program) || !beside("bin/spated", spated)) {
        tell("where this program lies cannot be found out: /proc is needed");
        return EXIT_FAILED;
    }
    if (argc + 2 > WORDS_MAX) {
        return usage_error(cli, "too many arguments");
    }
    if (access(program, R_OK) != 0) {
        tell("%s: %s: it is installed together with spate", program, strerror(errno));
        return EXIT_FAILED;
    }
    words[count++] = program;
    for (int i = 1; i < argc; i++) {
        words[count++] = argv[i];
    }
    words[count] = NULL;
    if (setenv("SPATE_LAB_SPATED", spated, 0) != 0) {
        tell("out of memory");
        return EXIT_FAILED;
    }
    (void)fflush(stdout); /* nothing was printed yet */
    (void)execvp(python, words);
    tell("python3 cannot be run: %s", strerror(errno));
    return EXIT_FAILED;
}
