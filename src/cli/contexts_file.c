/* The file of contexts: YAML in, YAML out. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <yaml.h>

#include "cli/cli.h"
#include "cli/contexts.h"

enum {
    FILE_BYTES_MAX = 1024 * 1024,
    LIST_SIZE = 4096,
    LOCK_TRIES = 250, /* five seconds: who has it reads and writes a small file */
    LOCK_PAUSE_MS = 20,
};

/* ---- where ----------------------------------------------------------------------------------- */

/* Fills contexts->path, "" when there is no place for it. */
static void find_path(struct contexts *contexts)
{
    const char *path = getenv("SPATE_CONFIG");
    const char *config = getenv("XDG_CONFIG_HOME");
    const char *home = getenv("HOME");
    int size = 0;

    if (path != NULL && *path != '\0') {
        size = snprintf(contexts->path, CONTEXTS_PATH_SIZE, "%s", path);
    } else if (config != NULL && *config == '/') {
        size = snprintf(contexts->path, CONTEXTS_PATH_SIZE, "%s/spate/config.yaml", config);
    } else if (home != NULL && *home != '\0') {
        size = snprintf(contexts->path, CONTEXTS_PATH_SIZE, "%s/.config/spate/config.yaml", home);
    }
    if (size < 0 || size >= CONTEXTS_PATH_SIZE) {
        contexts->path[0] = '\0';
    }
}

/* ---- reading --------------------------------------------------------------------------------- */

struct reader {
    struct contexts *contexts;
    yaml_document_t document;
};

static int
refuse(const struct reader *reader, const yaml_node_t *node, const char *text, const char *detail)
{
    tell("%s:%zu: %s%.100s",
         reader->contexts->path,
         node == NULL ? (size_t)1 : node->start_mark.line + 1,
         text,
         detail);
    return EXIT_USAGE;
}

static const char *scalar(const yaml_node_t *node)
{
    return node != NULL && node->type == YAML_SCALAR_NODE ? (const char *)node->data.scalar.value
                                                          : NULL;
}

/* The text of a value: a scalar, or the scalars of a list with commas. NULL: it is neither. */
static const char *value_of(struct reader *reader, const yaml_node_t *node, char room[LIST_SIZE])
{
    size_t used = 0;

    if (node == NULL || node->type != YAML_SEQUENCE_NODE) {
        return scalar(node);
    }
    room[0] = '\0';
    for (const yaml_node_item_t *item = node->data.sequence.items.start;
         item < node->data.sequence.items.top;
         item++) {
        const char *text = scalar(yaml_document_get_node(&reader->document, *item));
        int size =
            text == NULL
                ? -1
                : snprintf(room + used, LIST_SIZE - used, "%s%s", used == 0 ? "" : ",", text);
        if (size < 0 || used + (size_t)size >= LIST_SIZE) {
            return NULL;
        }
        used += (size_t)size;
    }
    return room;
}

static int read_value(struct reader *reader,
                      struct context *context,
                      const yaml_node_t *key_node,
                      const yaml_node_t *value_node)
{
    const char *key = scalar(key_node);
    size_t place = key == NULL ? SETTING_COUNT : setting_find(key);
    char room[LIST_SIZE];
    char allowed[SETTING_PROBLEM_SIZE];
    char text[400];

    if (place == SETTING_COUNT || place == SETTING_CONTEXT) {
        const char *near = key == NULL || place == SETTING_CONTEXT ? NULL : setting_nearest(key);
        (void)snprintf(text,
                       sizeof text,
                       "%.80s%s%s%s",
                       key != NULL ? key : "?",
                       near != NULL ? ": did you mean '" : "",
                       near != NULL ? near : "",
                       near != NULL ? "'?" : "");
        return refuse(reader, key_node, "there is no setting ", text);
    }
    const char *value = value_of(reader, value_node, room);
    const char *problem =
        value == NULL ? "a value is missing" : setting_problem(place, value, allowed);
    if (problem != NULL) {
        (void)snprintf(text,
                       sizeof text,
                       "%s%s%.100s: %s",
                       key,
                       value != NULL ? "=" : "",
                       value != NULL ? value : "",
                       problem);
        return refuse(reader, key_node, text, "");
    }
    if (context->values[place] != NULL) {
        return refuse(reader, key_node, "a key may be given once, not twice: ", key);
    }
    context->values[place] = strdup(value);
    return context->values[place] != NULL ? 0 : refuse(reader, key_node, "out of memory", "");
}

static int
read_context(struct reader *reader, const yaml_node_t *name_node, const yaml_node_t *node)
{
    const char *name = scalar(name_node);
    int code = 0;

    if (name == NULL || !context_name_valid(name) || node == NULL) {
        return refuse(reader, name_node, "no name of a context: ", name != NULL ? name : "?");
    }
    if (contexts_find(reader->contexts, name) != NULL) {
        return refuse(reader, name_node, "a context may be given once, not twice: ", name);
    }
    struct context *context = contexts_add(reader->contexts, name);
    if (context == NULL) {
        return EXIT_USAGE;
    }
    if (node->type != YAML_MAPPING_NODE) {
        const char *text = scalar(node);
        return text != NULL && *text == '\0' /* `name:` alone has no values yet */
                   ? 0
                   : refuse(reader, node, "`key: value` lines are expected in context ", name);
    }
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         code == 0 && pair < node->data.mapping.pairs.top;
         pair++) {
        code = read_value(reader,
                          context,
                          yaml_document_get_node(&reader->document, pair->key),
                          yaml_document_get_node(&reader->document, pair->value));
    }
    return code;
}

static int read_contexts(struct reader *reader, const yaml_node_t *node)
{
    int code = 0;

    if (node == NULL || node->type != YAML_MAPPING_NODE) {
        return refuse(reader, node, "contexts: names with `key: value` lines are expected", "");
    }
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         code == 0 && pair < node->data.mapping.pairs.top;
         pair++) {
        code = read_context(reader,
                            yaml_document_get_node(&reader->document, pair->key),
                            yaml_document_get_node(&reader->document, pair->value));
    }
    return code;
}

static int read_current(struct reader *reader, const yaml_node_t *node)
{
    const char *name = scalar(node);

    if (name == NULL) {
        return refuse(reader, node, "current: the name of a context is expected", "");
    }
    free(reader->contexts->current);
    reader->contexts->current = *name == '\0' ? NULL : strdup(name);
    return 0;
}

static int read_root(struct reader *reader)
{
    const yaml_node_t *root = yaml_document_get_root_node(&reader->document);
    int code = 0;

    if (root == NULL) {
        return 0; /* empty */
    }
    if (root->type != YAML_MAPPING_NODE) {
        return refuse(reader, root, "the file must hold `current:` and `contexts:`", "");
    }
    for (const yaml_node_pair_t *pair = root->data.mapping.pairs.start;
         code == 0 && pair < root->data.mapping.pairs.top;
         pair++) {
        const yaml_node_t *key = yaml_document_get_node(&reader->document, pair->key);
        const yaml_node_t *value = yaml_document_get_node(&reader->document, pair->value);
        const char *name = scalar(key);
        if (name != NULL && strcmp(name, "current") == 0) {
            code = read_current(reader, value);
        } else if (name != NULL && strcmp(name, "contexts") == 0) {
            code = read_contexts(reader, value);
        } else {
            code = refuse(reader,
                          key,
                          "there are `current:` and `contexts:`, not ",
                          name != NULL ? name : "?");
        }
    }
    return code;
}

static int parse(struct contexts *contexts, FILE *file)
{
    struct reader reader = { .contexts = contexts };
    yaml_parser_t parser;
    int code;

    if (yaml_parser_initialize(&parser) == 0) {
        return refuse(&reader, NULL, "out of memory", "");
    }
    yaml_parser_set_input_file(&parser, file);
    if (yaml_parser_load(&parser, &reader.document) == 0) {
        tell("%s:%zu: not valid YAML: %s",
             contexts->path,
             parser.problem_mark.line + 1,
             parser.problem != NULL ? parser.problem : "unreadable");
        code = EXIT_USAGE;
    } else {
        code = read_root(&reader);
        yaml_document_delete(&reader.document);
    }
    yaml_parser_delete(&parser);
    return code;
}

int contexts_load(struct contexts *contexts)
{
    struct stat facts;

    find_path(contexts);
    FILE *file = contexts->path[0] == '\0' ? NULL : fopen(contexts->path, "re");
    if (file == NULL) {
        if (contexts->path[0] == '\0' || errno == ENOENT || errno == ENOTDIR) {
            return 0;
        }
        tell("cannot read %s: %s", contexts->path, strerror(errno));
        return EXIT_USAGE;
    }
    int code = EXIT_USAGE;
    if (fstat(fileno(file), &facts) != 0 || facts.st_size > FILE_BYTES_MAX) {
        tell("%s is larger than %d bytes", contexts->path, FILE_BYTES_MAX);
    } else {
        code = parse(contexts, file);
    }
    (void)fclose(file); /* it was only read */
    return code;
}

/* Makes the folders of a path. */
static void make_folders(const char *path)
{
    char folder[CONTEXTS_PATH_SIZE];

    for (const char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        (void)snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
        (void)mkdir(folder, 0700); /* what fails is told when the file cannot be made */
    }
}

/* True when nobody else changes the file until contexts_free, or its file system has no locks. */
static bool take_lock(int descriptor)
{
    for (unsigned i = 0; i < LOCK_TRIES; i++) {
        if (flock(descriptor, LOCK_EX | LOCK_NB) == 0) {
            return true;
        }
        if (errno != EWOULDBLOCK && errno != EINTR) {
            return true;
        }
        (void)poll(NULL, 0, LOCK_PAUSE_MS);
    }
    return false;
}

int contexts_load_to_change(struct contexts *contexts)
{
    char path[CONTEXTS_PATH_SIZE + 8];

    find_path(contexts);
    if (contexts->path[0] == '\0') {
        return 0; /* contexts_save says so */
    }
    make_folders(contexts->path);
    (void)snprintf(path, sizeof path, "%s.lock", contexts->path);
    contexts->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (contexts->lock < 0) {
        tell("cannot open %s: %s", path, strerror(errno));
        return EXIT_FAILED;
    }
    contexts->locked = true;
    if (!take_lock(contexts->lock)) {
        tell("another spate has %s locked, to change the contexts, and does not end", path);
        return EXIT_FAILED;
    }
    return contexts_load(contexts);
}

void contexts_unlock(struct contexts *contexts)
{
    if (contexts->locked) {
        (void)close(contexts->lock); /* nothing was written to it */
    }
    contexts->locked = false;
}

/* ---- writing --------------------------------------------------------------------------------- */

static int add_text(yaml_document_t *document, const char *text)
{
    /* libyaml wants bytes that it may change, and does not change them. */
    return yaml_document_add_scalar(
        document, NULL, (yaml_char_t *)(uintptr_t)text, (int)strlen(text), YAML_PLAIN_SCALAR_STYLE);
}

/* Adds `key: value` to a mapping; ids of libyaml, 0: out of memory. */
static bool add_pair(yaml_document_t *document, int mapping, const char *key, int value)
{
    int key_id = add_text(document, key);

    return mapping != 0 && key_id != 0 && value != 0 &&
           yaml_document_append_mapping_pair(document, mapping, key_id, value) != 0;
}

static int add_mapping(yaml_document_t *document)
{
    return yaml_document_add_mapping(document, NULL, YAML_BLOCK_MAPPING_STYLE);
}

static bool add_context(yaml_document_t *document, int mapping, const struct context *context)
{
    int values = add_mapping(document);
    bool done = add_pair(document, mapping, context->name, values);

    for (size_t i = 0; done && i < SETTING_COUNT; i++) {
        if (context->values[i] != NULL) {
            done =
                add_pair(document, values, settings[i].key, add_text(document, context->values[i]));
        }
    }
    return done;
}

static bool add_all(yaml_document_t *document, const struct contexts *contexts)
{
    int root = add_mapping(document);
    bool done = true;

    if (contexts->current != NULL) {
        done = add_pair(document, root, "current", add_text(document, contexts->current));
    }
    int list = add_mapping(document);
    done = done && add_pair(document, root, "contexts", list);
    for (size_t i = 0; done && i < contexts->count; i++) {
        done = add_context(document, list, &contexts->list[i]);
    }
    return done;
}

static bool emit(const struct contexts *contexts, FILE *file)
{
    yaml_emitter_t emitter;
    yaml_document_t document;
    bool done = false;

    if (yaml_emitter_initialize(&emitter) == 0) {
        return false;
    }
    yaml_emitter_set_output_file(&emitter, file);
    yaml_emitter_set_unicode(&emitter, 1);
    yaml_emitter_set_width(&emitter, -1);
    if (yaml_emitter_open(&emitter) != 0 &&
        yaml_document_initialize(&document, NULL, NULL, NULL, 1, 1) != 0) {
        if (add_all(&document, contexts)) {
            done = yaml_emitter_dump(&emitter, &document) != 0; /* takes the document */
        } else {
            yaml_document_delete(&document);
        }
        done = done && yaml_emitter_close(&emitter) != 0;
    }
    yaml_emitter_delete(&emitter);
    return done;
}

int contexts_save(const struct contexts *contexts)
{
    char path[CONTEXTS_PATH_SIZE + 8];

    if (contexts->path[0] == '\0') {
        tell("there is no place for the file: set HOME, XDG_CONFIG_HOME or SPATE_CONFIG");
        return EXIT_FAILED;
    }
    (void)snprintf(path, sizeof path, "%s.XXXXXX", contexts->path);
    int descriptor = mkostemp(path, O_CLOEXEC); /* for the user alone */
    FILE *file = descriptor < 0 ? NULL : fdopen(descriptor, "w");
    bool done = file != NULL && emit(contexts, file);
    done = file != NULL && fclose(file) == 0 && done;
    if (!done || rename(path, contexts->path) != 0) {
        tell("cannot write %s: %s", contexts->path, strerror(errno));
        if (descriptor >= 0) {
            (void)unlink(path); /* it is of no use, and in nobody's way */
        }
        return EXIT_FAILED;
    }
    return 0;
}
