/* One line of a history; docs/testing.md tells their forms. */
#include <string.h>

#include "history_parts.h"
#include "keys.h"

enum {
    FIELDS_MAX = 16,
};

/* A word of the line. */
struct word {
    const char *text;
    size_t size;
};

struct line {
    int64_t time_ns;
    uint32_t client; /* row */
    uint64_t operation;
    bool invoke;
    enum jep_outcome outcome;
    struct word what;
    struct word names[FIELDS_MAX];
    struct word values[FIELDS_MAX];
    unsigned fields;
};

static const char *const bad_number = "a number is missing, or does not fit";

/* ---- words and numbers ----------------------------------------------------------------------- */

static const char *number(const char *at, const char *end, int64_t *out)
{
    bool negative = at < end && *at == '-';
    int64_t value = 0;

    at += negative;
    if (at == end || *at < '0' || *at > '9') {
        return NULL;
    }
    for (; at < end && *at >= '0' && *at <= '9'; at++) {
        if (value > (INT64_MAX - 9) / 10) {
            return NULL;
        }
        value = value * 10 + (*at - '0');
    }
    *out = negative ? -value : value;
    return at;
}

static struct word next_word(const char **at)
{
    struct word word = { .text = *at };

    while (**at != ' ' && **at != '\0') {
        *at += 1;
    }
    word.size = (size_t)(*at - word.text);
    *at += **at == ' ';
    return word;
}

static bool is(struct word word, const char *text)
{
    return word.size == strlen(text) && memcmp(word.text, text, word.size) == 0;
}

static struct word field(const struct line *line, const char *name)
{
    for (unsigned i = 0; i < line->fields; i++) {
        if (is(line->names[i], name)) {
            return line->values[i];
        }
    }
    return (struct word){ 0 };
}

/* A field that is a whole number within [min, max]; `otherwise` when it is not there. */
static bool field_number(const struct line *line, const char *name, int64_t min, int64_t *out)
{
    struct word word = field(line, name);

    if (word.text == NULL) {
        return false;
    }
    const char *end = number(word.text, word.text + word.size, out);
    return end == word.text + word.size && *out >= min && *out < JEP_NONE;
}

static int64_t field_or(const struct line *line, const char *name, int64_t otherwise)
{
    int64_t value;

    return field_number(line, name, INT32_MIN, &value) ? value : otherwise;
}

/* ---- what lines say -------------------------------------------------------------------------- */

static const char *
stream_of(struct jep_reading *reading, const struct line *line, uint32_t *out_stream)
{
    int64_t partition;

    if (reading->topic == JEP_NONE) {
        return "the client has not begun with `ok start topic=...`";
    }
    if (!field_number(line, "p", 0, &partition)) {
        return bad_number;
    }
    uint32_t key = jep_key_of(reading->history, reading->topic, (uint32_t)partition);
    struct jep_key *row = &reading->history->keys.items[key];
    row->keys = reading->keys > 0 ? reading->keys : row->keys;
    *out_stream = jep_stream_of(reading->history, line->client, key);
    return NULL;
}

static uint64_t handle_of(const struct line *line)
{
    return (uint64_t)line->client << 40 ^ line->operation;
}

static const char *take_send(struct jep_reading *reading, const struct line *line)
{
    struct word range = field(line, "v");
    int64_t first;
    int64_t count;
    int64_t offset = JEP_NONE;
    uint32_t stream;
    const char *wrong = stream_of(reading, line, &stream);

    if (wrong != NULL) {
        return wrong;
    }
    const char *end = range.text + range.size;
    const char *at = range.text == NULL ? NULL : number(range.text, end, &first);
    if (at == NULL || at == end || *at != '+' || number(at + 1, end, &count) != end || first < 0 ||
        count < 1 || first + count >= JEP_NONE) {
        return bad_number;
    }
    if (line->outcome == JEP_OK && !line->invoke && !field_number(line, "o", 0, &offset)) {
        return bad_number;
    }
    struct jep_send send = {
        .invoked_ns = line->time_ns,
        .done_ns = line->invoke ? JEP_NEVER : line->time_ns,
        .stream = stream,
        .first = (uint32_t)first,
        .count = (uint32_t)count,
        .offset = (uint32_t)offset,
        .operation = (uint32_t)line->operation,
        .outcome = (uint8_t)(line->invoke ? JEP_UNKNOWN : line->outcome),
    };
    struct jep_stream *row = &reading->history->streams.items[stream];
    row->count = first + count > row->count ? (uint32_t)(first + count) : row->count;
    if (line->invoke) {
        jep_open_send(reading, handle_of(line), &send);
        return NULL;
    }
    return jep_report_send(reading, handle_of(line), &send);
}

/* "OFFSET/CLIENT:SEQUENCE+COUNT", of which there may be many. */
static const char *take_runs(struct jep_reading *reading, struct word text, uint32_t key)
{
    static const char marks[3] = { '/', ':', '+' };
    const char *at = text.text;
    const char *end = text.text + text.size;

    while (at < end) {
        int64_t numbers[4];
        for (unsigned i = 0; i < 4; i++) {
            at = number(at, end, &numbers[i]);
            if (at == NULL || numbers[i] < 0 || numbers[i] >= JEP_NONE ||
                (i < 3 && (at == end || *at++ != marks[i]))) {
                return bad_number;
            }
        }
        if (numbers[3] == 0 || numbers[2] + numbers[3] >= JEP_NONE ||
            numbers[0] + numbers[3] >= JEP_NONE || (at < end && *at++ != ',')) {
            return bad_number;
        }
        struct jep_history *history = reading->history;
        uint32_t client = jep_client_of(history, (uint32_t)numbers[1]);
        uint32_t stream = jep_stream_of(history, client, key);
        struct jep_stream *row = &history->streams.items[stream];
        uint32_t behind = (uint32_t)(numbers[2] + numbers[3]);
        row->count = behind > row->count ? behind : row->count;
        *jep_add(&history->runs) = (struct jep_run){
            .offset = (uint32_t)numbers[0],
            .stream = stream,
            .first = (uint32_t)numbers[2],
            .count = (uint32_t)numbers[3],
        };
    }
    return NULL;
}

static const char *take_poll(struct jep_reading *reading, const struct line *line)
{
    struct jep_history *history = reading->history;
    struct word runs = field(line, "r");
    uint32_t stream;
    const char *wrong = stream_of(reading, line, &stream);

    if (wrong != NULL) {
        return wrong;
    }
    *jep_add(&history->polls) = (struct jep_poll){
        .time_ns = line->time_ns,
        .stream = stream,
        .first_run = (uint32_t)history->runs.count,
        .high_watermark = (uint32_t)field_or(line, "hw", JEP_NONE),
        .final = field(line, "final").text != NULL,
        .group = field(line, "group").text != NULL,
    };
    return take_runs(reading, runs, history->streams.items[stream].key);
}

/* ---- events ---------------------------------------------------------------------------------- */

struct form {
    const char *what;
    enum jep_event_kind kind;
    const char *a; /* fields */
    const char *b;
    bool of_partition;
};

static const struct form forms[] = {
    { "assign", JEP_ASSIGN, "o", NULL, true },
    { "unassign", JEP_UNASSIGN, NULL, NULL, true },
    { "assigned", JEP_ASSIGNED, NULL, NULL, true },
    { "revoked", JEP_REVOKED, NULL, NULL, true },
    { "lost", JEP_REVOKED, NULL, NULL, true },
    { "owns", JEP_OWNS, "gen", NULL, true },
    { "commit", JEP_COMMIT, "o", NULL, true },
    { "committed", JEP_COMMITTED, "o", NULL, true },
    { "offsets", JEP_OFFSETS, "end", NULL, true },
    { "final", JEP_FINAL, "from", "end", true },
    { "skipped", JEP_SKIPPED, "o", NULL, true },
    { "truncate", JEP_TRUNCATE, "o", NULL, true },
    { "bad", JEP_BAD, "o", NULL, true },
    { "create", JEP_CREATE, NULL, NULL, false },
    { "delete", JEP_DELETE, NULL, NULL, false },
};

static const char *
make_event(struct jep_reading *reading, const struct line *line, const struct form *form)
{
    struct jep_history *history = reading->history;
    struct jep_event event = {
        .invoked_ns = line->time_ns,
        .done_ns = line->invoke ? JEP_NEVER : line->time_ns,
        .a = form->a == NULL ? 0 : field_or(line, form->a, -1),
        .b = form->b == NULL ? 0 : field_or(line, form->b, -1),
        .c = field_or(line, "keep", -1),
        .polls_before = (uint32_t)history->polls.count,
        .kind = (uint8_t)form->kind,
        .outcome = (uint8_t)(line->invoke ? JEP_UNKNOWN : line->outcome),
    };
    if (form->of_partition) {
        const char *wrong = stream_of(reading, line, &event.stream);
        if (wrong != NULL) {
            return wrong;
        }
        if (form->kind == JEP_FINAL && (event.a < 0 || event.b < event.a)) {
            return bad_number; /* what lies below `from` is not asked for: no guessing */
        }
    } else { /* the number of a topic stands for it */
        struct word topic = field(line, "topic");
        event.a = jep_name_of(history, topic.text == NULL ? "" : topic.text, topic.size);
        event.stream = line->client;
    }
    if (form->kind == JEP_TRUNCATE) {
        *jep_add(&history->truncations) = (uint32_t)history->events.count;
    }
    *jep_add(&history->events) = event;
    return NULL;
}

static const char *
take_event(struct jep_reading *reading, const struct line *line, const struct form *form)
{
    struct jep_history *history = reading->history;
    uint64_t handle = handle_of(line);

    if (line->invoke) {
        const char *wrong = make_event(reading, line, form);
        *jep_map_at(reading->open, handle) = (uint32_t)(history->events.count - 1);
        return wrong;
    }
    uint32_t *open = jep_map_at(reading->open, handle);
    uint32_t row = *open;
    jep_map_remove(reading->open, handle);
    if (row == JEP_NONE) {
        return make_event(reading, line, form);
    }
    struct jep_event *event = &history->events.items[row];
    if (event->kind != form->kind) {
        return "an outcome of something else than was begun";
    }
    event->done_ns = line->time_ns;
    event->outcome = (uint8_t)line->outcome;
    event->a = form->a == NULL ? event->a : field_or(line, form->a, event->a);
    return NULL;
}

/* ---- lines ----------------------------------------------------------------------------------- */

static const char *take_start(struct jep_reading *reading, const struct line *line)
{
    struct jep_history *history = reading->history;
    struct word topic = field(line, "topic");
    struct word group = field(line, "group");

    int64_t keys = field_or(line, "keys", 0);
    int64_t delete_ms = field_or(line, "delete_ms", 0);

    if (topic.text == NULL) {
        return "no topic";
    }
    if (keys < 0 || keys > JEP_KEYS_MAX || delete_ms < 0) {
        return bad_number;
    }
    reading->keys = (uint32_t)keys;
    history->clients.items[line->client].delete_ms = delete_ms;
    reading->topic = jep_name_of(history, topic.text, topic.size);
    reading->group = group.text == NULL || is(group, "-")
                         ? JEP_NONE
                         : jep_name_of(history, group.text, group.size);
    history->clients.items[line->client].topic = reading->topic;
    history->clients.items[line->client].group = reading->group;
    return NULL;
}

static const char *split(struct jep_reading *reading, const char *text, struct line *out)
{
    const char *end = text + strlen(text);
    int64_t client;
    int64_t operation;

    text = number(text, end, &out->time_ns);
    text = text == NULL || *text != ' ' ? NULL : number(text + 1, end, &client);
    text = text == NULL || *text != ' ' ? NULL : number(text + 1, end, &operation);
    if (text == NULL || *text != ' ' || client < 0 || client >= JEP_NONE || operation < 0 ||
        operation >= JEP_NONE) {
        return bad_number;
    }
    text += 1;
    out->client = jep_client_of(reading->history, (uint32_t)client);
    out->operation = (uint64_t)operation;
    struct word type = next_word(&text);
    out->invoke = is(type, "invoke");
    out->outcome = is(type, "ok") ? JEP_OK : is(type, "fail") ? JEP_FAIL : JEP_UNKNOWN;
    if (out->outcome == JEP_UNKNOWN && !out->invoke && !is(type, "info")) {
        return "neither invoke, ok, fail nor info";
    }
    out->what = next_word(&text);
    for (out->fields = 0; *text != '\0' && out->fields < FIELDS_MAX; out->fields++) {
        struct word pair = next_word(&text);
        const char *mark = memchr(pair.text, '=', pair.size);
        if (mark == NULL) {
            return "a field without `=`";
        }
        size_t size = (size_t)(mark - pair.text);
        out->names[out->fields] = (struct word){ pair.text, size };
        out->values[out->fields] = (struct word){ mark + 1, pair.size - size - 1 };
    }
    return NULL;
}

const char *jep_read_line(struct jep_reading *reading, const char *text)
{
    struct jep_history *history = reading->history;
    struct line line;
    const char *wrong = split(reading, text, &line);

    if (wrong != NULL) {
        return wrong;
    }
    history->first_ns = line.time_ns < history->first_ns ? line.time_ns : history->first_ns;
    history->last_ns = line.time_ns > history->last_ns ? line.time_ns : history->last_ns;
    history->lines += 1;
    if (is(line.what, "send")) {
        return take_send(reading, &line);
    }
    if (is(line.what, "poll")) {
        return take_poll(reading, &line);
    }
    if (is(line.what, "start")) {
        return take_start(reading, &line);
    }
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (is(line.what, forms[i].what)) {
            return take_event(reading, &line, &forms[i]);
        }
    }
    return NULL; /* what this checker does not judge, such as `end` and `exists` */
}
