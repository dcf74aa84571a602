/* Runs scenario scripts: script [--rewrite] FILE...
 *
 * A file is comment lines (#), empty lines, and blocks:
 *
 *     command            one or more
 *     ----
 *     recorded output    up to an empty line
 *
 * The output of every block must be the recorded one and every `expect` must hold; otherwise the
 * difference is printed and the program ends with 1. With --rewrite the output is recorded anew.
 * A script that makes no sense ends with 2. */
#include <stdlib.h>
#include <string.h>

#include "script.h"

struct text {
    char **lines;
    unsigned count;
    unsigned capacity;
};

/* --- lines --- */

/* Takes over `line`. */
static void text_add(struct text *text, char *line)
{
    if (text->count == text->capacity) {
        text->capacity = text->capacity == 0 ? 64 : 2 * text->capacity;
        text->lines = realloc(text->lines, text->capacity * sizeof *text->lines);
    }
    text->lines[text->count++] = line;
}

static void text_free(struct text *text)
{
    for (unsigned i = 0; i < text->count; i++) {
        free(text->lines[i]);
    }
    free(text->lines);
    memset(text, 0, sizeof *text);
}

static void text_read(struct text *text, FILE *file)
{
    char *line = NULL;
    size_t size = 0;

    while (getline(&line, &size, file) >= 0) {
        line[strcspn(line, "\n")] = '\0';
        text_add(text, line);
        line = NULL;
        size = 0;
    }
    free(line);
}

static bool is_empty(const struct text *text, unsigned i)
{
    return i >= text->count || text->lines[i][0] == '\0';
}

static bool is_comment(const struct text *text, unsigned i)
{
    return text->lines[i][0] == '#';
}

/* --- difference --- */

struct range {
    const struct text *text;
    unsigned first;
    unsigned end;
};

static bool same_line(const struct range *a, unsigned i, const struct range *b, unsigned j)
{
    return strcmp(a->text->lines[i], b->text->lines[j]) == 0;
}

static bool same_range(const struct range *a, const struct range *b)
{
    bool same = a->end - a->first == b->end - b->first;

    for (unsigned i = 0; same && i < a->end - a->first; i++) {
        same = same_line(a, a->first + i, b, b->first + i);
    }
    return same;
}

/* Lines that were recorded and did not come begin with -, new ones with +. After a difference the
 * next recorded line that does come is where both go on. */
static void print_difference(const struct range *recorded, const struct range *actual)
{
    unsigned j = actual->first;

    for (unsigned i = recorded->first; i < recorded->end; i++) {
        unsigned match = j;

        while (match < actual->end && !same_line(recorded, i, actual, match)) {
            match += 1;
        }
        if (match == actual->end) {
            (void)printf("- %s\n", recorded->text->lines[i]);
            continue;
        }
        for (; j < match; j++) {
            (void)printf("+ %s\n", actual->text->lines[j]);
        }
        (void)printf("  %s\n", actual->text->lines[j++]);
    }
    for (; j < actual->end; j++) {
        (void)printf("+ %s\n", actual->text->lines[j]);
    }
}

/* --- blocks --- */

struct run {
    struct script script;
    const char *path;
    struct text old; /* the file */
    struct text new; /* the same with the output of now */
    bool rewriting;
    bool differs;
};

static void run_command(struct script *script, const char *line)
{
    char *copy = strdup(line);
    struct words words;

    words_split(&words, script, copy);
    script_command(&words);
    free(copy);
}

static void run_commands(struct run *run, unsigned first, unsigned end)
{
    struct script *script = &run->script;

    script->began_ms = script->world != NULL ? script->world->now_ms : 0;
    memset(script->lost, 0, sizeof script->lost);
    for (unsigned i = first; i < end; i++) {
        if (!is_comment(&run->old, i)) {
            script->line = i + 1;
            run_command(script, run->old.lines[i]);
        }
    }
    if (world_failed(script->world) && !script->complained) {
        script->complained = true;
        script_say(script, "COMPLAINT: %s", script->world->failure);
    }
}

/* Runs the commands of a block and returns its output, "ok" when there is none. */
static struct text run_block(struct run *run, unsigned first, unsigned end)
{
    struct text output = { .count = 0 };
    char *buffer = NULL;
    size_t size = 0;

    run->script.out = open_memstream(&buffer, &size);
    run_commands(run, first, end);
    (void)fclose(run->script.out);
    if (size == 0) {
        text_add(&output, strdup("ok"));
    } else {
        FILE *lines = fmemopen(buffer, size, "r");
        text_read(&output, lines);
        (void)fclose(lines);
    }
    free(buffer);
    return output;
}

/* The block that begins at `first`; returns where it ends. */
static unsigned do_block(struct run *run, unsigned first)
{
    const struct text *old = &run->old;
    unsigned end = first;

    while (!is_empty(old, end) && strcmp(old->lines[end], "----") != 0) {
        text_add(&run->new, strdup(old->lines[end]));
        end += 1;
    }
    if (is_empty(old, end)) {
        (void)fprintf(stderr, "%s:%u: a block without ----\n", run->path, first + 1);
        exit(2);
    }
    text_add(&run->new, strdup(old->lines[end]));
    struct text output = run_block(run, first, end);
    struct range recorded = { old, end + 1, end + 1 };
    while (!is_empty(old, recorded.end)) {
        recorded.end += 1;
    }
    struct range actual = { &output, 0, output.count };
    if (!same_range(&recorded, &actual)) {
        run->differs = true;
        if (!run->rewriting) {
            (void)printf("%s:%u: %s\n", run->path, first + 1, old->lines[first]);
            print_difference(&recorded, &actual);
        }
    }
    for (unsigned i = 0; i < output.count; i++) {
        text_add(&run->new, strdup(output.lines[i]));
    }
    text_free(&output);
    return recorded.end;
}

static void do_file(struct run *run)
{
    for (unsigned i = 0; i < run->old.count;) {
        if (is_empty(&run->old, i) || is_comment(&run->old, i)) {
            text_add(&run->new, strdup(run->old.lines[i]));
            i += 1;
        } else {
            i = do_block(run, i);
        }
    }
    script_end_world(&run->script);
}

static void rewrite(const struct run *run)
{
    FILE *file = fopen(run->path, "w");

    if (file == NULL) {
        perror(run->path);
        exit(2);
    }
    for (unsigned i = 0; i < run->new.count; i++) {
        (void)fprintf(file, "%s\n", run->new.lines[i]);
    }
    (void)fclose(file);
}

static bool run_file(const char *path, bool rewriting)
{
    struct run run = { .path = path,
                       .rewriting = rewriting,
                       .script = { .path = path, .shown = SHOW_DEFAULT } };
    FILE *file = fopen(path, "r");

    if (file == NULL) {
        perror(path);
        exit(2);
    }
    text_read(&run.old, file);
    (void)fclose(file);
    if (run.old.count == 0) {
        (void)fprintf(stderr, "%s: not a script\n", path);
        exit(2);
    }
    do_file(&run);
    if (rewriting && run.differs) {
        rewrite(&run);
    }
    if (run.script.failed) {
        (void)printf("%s: an expectation was not met, or a node not elected: look for FAILED\n",
                     path);
    }
    text_free(&run.old);
    text_free(&run.new);
    return !run.script.failed && (rewriting || !run.differs);
}

int main(int argc, char **argv)
{
    bool rewriting = argc > 1 && strcmp(argv[1], "--rewrite") == 0;
    int first = rewriting ? 2 : 1;
    bool good = true;

    if (argc <= first || argv[first][0] == '-') {
        (void)fprintf(stderr, "usage: script [--rewrite] FILE...\n");
        return 2;
    }
    for (int i = first; i < argc; i++) {
        good = run_file(argv[i], rewriting) && good;
    }
    return good ? 0 : 1;
}
