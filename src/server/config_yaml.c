/* The YAML reader of the configuration: libyaml's events, flattened into dotted keys.
 *
 *   node: { id: 1 }        and        node.id: 1        mean the same
 *
 * Only what a configuration needs is accepted: mappings of scalars, and lists of scalars. Every
 * error names file and line. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <yaml.h>

#include "server/config_keys.h"
#include "spate/error.h"

#define DEPTH_MAX 8
#define NAME_SIZE 128

struct reader {
    struct sp_config *config;
    struct sp_config_error *error;
    const char *path;
    yaml_parser_t parser;
    char name[NAME_SIZE];      /* dotted name of the mapping we are in, then of the key */
    size_t lengths[DEPTH_MAX]; /* length of `name` outside each mapping */
    size_t line;               /* of the current event, from 1 */
    char seen[4096];           /* keys set so far, each followed by a line feed */
};

static int refuse(const struct reader *reader, const char *text, const char *detail)
{
    (void)snprintf(reader->error->text,
                   sizeof reader->error->text,
                   "%s:%zu: %s%.100s",
                   reader->path,
                   reader->line,
                   text,
                   detail);
    return SPATE_ERR_CONFIG;
}

static int next_event(struct reader *reader, yaml_event_t *event)
{
    if (yaml_parser_parse(&reader->parser, event) == 0) {
        reader->line = reader->parser.problem_mark.line + 1;
        return refuse(reader,
                      "not valid YAML: ",
                      reader->parser.problem == NULL ? "unreadable" : reader->parser.problem);
    }
    reader->line = event->start_mark.line + 1;
    return 0;
}

/* Notes the current key; false when the file has set it before. */
static bool first_time(struct reader *reader)
{
    char name[NAME_SIZE + 2];
    size_t length = strlen(reader->seen);

    (void)snprintf(name, sizeof name, "%s\n", reader->name);
    for (const char *at = reader->seen; *at != '\0'; at = strchr(at, '\n') + 1) {
        if (strncmp(at, name, strlen(name)) == 0) {
            return false;
        }
    }
    (void)snprintf(reader->seen + length, sizeof reader->seen - length, "%s", name);
    return true;
}

static int set(struct reader *reader, const char *value)
{
    char where[4200];
    int rv;

    (void)snprintf(where, sizeof where, "%s:%zu", reader->path, reader->line);
    rv = sp_config_set_at(reader->config, reader->name, value, where, reader->error);
    if (rv == 0 && !first_time(reader)) {
        rv = refuse(reader, "a key may be given once, not twice: ", reader->name);
    }
    return rv;
}

/* The items of a list, joined by commas. */
static int read_list(struct reader *reader)
{
    char joined[SP_NODES_MAX * (SP_ADDRESS_SIZE_MAX + 8)] = "";
    size_t length = 0;

    if (!sp_config_is_list(reader->name)) {
        return refuse(reader, "takes one value, not a list: ", reader->name);
    }
    for (;;) {
        yaml_event_t event;
        int rv = next_event(reader, &event);
        if (rv != 0) {
            return rv;
        }
        if (event.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&event);
            return set(reader, joined);
        }
        if (event.type != YAML_SCALAR_EVENT) {
            yaml_event_delete(&event);
            return refuse(reader, "a list may hold plain values only: ", reader->name);
        }
        int written = snprintf(joined + length,
                               sizeof joined - length,
                               "%s%s",
                               length == 0 ? "" : ",",
                               (const char *)event.data.scalar.value);
        yaml_event_delete(&event);
        if (written < 0 || (size_t)written >= sizeof joined - length) {
            return refuse(reader, "the list is too long: ", reader->name);
        }
        length += (size_t)written;
    }
}

static int append_name(struct reader *reader, const char *part)
{
    size_t length = strlen(reader->name);
    int written = snprintf(
        reader->name + length, sizeof reader->name - length, "%s%s", length == 0 ? "" : ".", part);

    if (written < 0 || (size_t)written >= sizeof reader->name - length) {
        return refuse(reader, "the key is too long: ", part);
    }
    return 0;
}

/* The value behind a key: a scalar, a list, or a mapping that is entered. */
static int read_value(struct reader *reader, unsigned *depth, size_t outer_length)
{
    yaml_event_t event;
    int rv = next_event(reader, &event);

    if (rv != 0) {
        return rv;
    }
    if (event.type == YAML_MAPPING_START_EVENT) {
        if (*depth == DEPTH_MAX) {
            rv = refuse(reader, "nested too deeply: ", reader->name);
        } else {
            reader->lengths[*depth] = outer_length;
            *depth += 1;
        }
    } else {
        if (event.type == YAML_SCALAR_EVENT) {
            rv = set(reader, (const char *)event.data.scalar.value);
        } else if (event.type == YAML_SEQUENCE_START_EVENT) {
            rv = read_list(reader);
        } else {
            rv = refuse(reader, "a value is missing for ", reader->name);
        }
        reader->name[outer_length] = '\0';
    }
    yaml_event_delete(&event);
    return rv;
}

static int read_mapping(struct reader *reader)
{
    unsigned depth = 1;
    int rv = 0;

    reader->lengths[0] = 0;
    while (rv == 0 && depth > 0) {
        yaml_event_t event;
        size_t outer_length = strlen(reader->name);
        rv = next_event(reader, &event);
        if (rv != 0) {
            return rv;
        }
        if (event.type == YAML_MAPPING_END_EVENT) {
            depth -= 1;
            reader->name[reader->lengths[depth]] = '\0';
        } else if (event.type == YAML_SCALAR_EVENT) {
            rv = append_name(reader, (const char *)event.data.scalar.value);
            if (rv == 0) {
                rv = read_value(reader, &depth, outer_length);
            }
        } else {
            rv = refuse(reader, "a key must be a plain word", "");
        }
        yaml_event_delete(&event);
    }
    return rv;
}

static int read_document(struct reader *reader)
{
    for (;;) {
        yaml_event_t event;
        yaml_event_type_t type;
        int rv = next_event(reader, &event);
        if (rv != 0) {
            return rv;
        }
        type = event.type;
        yaml_event_delete(&event);
        if (type == YAML_STREAM_END_EVENT) {
            return 0;
        }
        if (type == YAML_MAPPING_START_EVENT) {
            rv = read_mapping(reader);
            if (rv != 0) {
                return rv;
            }
        } else if (type == YAML_SCALAR_EVENT || type == YAML_SEQUENCE_START_EVENT) {
            return refuse(reader, "the file must hold `key: value` lines", "");
        }
    }
}

int sp_config_read_file(struct sp_config *config, const char *path, struct sp_config_error *error)
{
    struct reader reader = { .config = config, .error = error, .path = path };
    FILE *file = fopen(path, "r");
    int rv;

    if (file == NULL) {
        (void)snprintf(error->text, sizeof error->text, "%s: %s", path, strerror(errno));
        return SPATE_ERR_NOT_FOUND;
    }
    if (yaml_parser_initialize(&reader.parser) == 0) {
        (void)fclose(file);
        return SPATE_ERR_NOMEM;
    }
    yaml_parser_set_input_file(&reader.parser, file);
    rv = read_document(&reader);
    yaml_parser_delete(&reader.parser);
    (void)fclose(file);
    return rv;
}
