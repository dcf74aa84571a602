#include "cli/health_merge.h"

#include <stdlib.h>

#include "cli/value.h"

static const char *const replica_names[] = { "topic", "partition", "replica", NULL };
static const char *const partition_names[] = { "topic", "partition", NULL };

/* What tells a row from others, as a key: its values at `names`. NULL: out of memory; free(). */
static char *key_of(const json_t *row, const char *const *names)
{
    json_t *values = json_array();

    for (size_t i = 0; names[i] != NULL; i++) {
        json_t *value = json_object_get(row, names[i]);
        (void)json_array_append_new(values, value != NULL ? json_incref(value) : json_null());
    }
    char *key = json_dumps(values, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(values);
    return key;
}

/* The number that the row's key has in the set; one that is new there gets `value`. */
static json_int_t
number_of(json_t *set, const json_t *row, const char *const *names, json_int_t value)
{
    char *key = key_of(row, names);
    const json_t *known = key == NULL ? NULL : json_object_get(set, key);
    json_int_t number = known == NULL ? value : json_integer_value(known);

    if (key != NULL && known == NULL) {
        (void)json_object_set_new(set, key, json_integer(value));
    }
    free(key);
    return number;
}

/* The array of that name, made if it is not there. */
static json_t *array_of(json_t *result, const char *name)
{
    json_t *rows = json_object_get(result, name);

    if (!json_is_array(rows)) {
        (void)json_object_set_new(result, name, json_array());
        rows = json_object_get(result, name);
    }
    return rows;
}

/* Appends a copy of the row, which is of `node`. */
static void append_of_node(json_t *rows, const json_t *row, int64_t node)
{
    json_t *copy = json_deep_copy(row);

    if (copy != NULL && json_object_get(copy, "node") == NULL) {
        (void)json_object_set_new(copy, "node", json_integer(node));
    }
    (void)json_array_append_new(rows, copy);
}

/* ---- what each node knows alone -------------------------------------------------------------- */

static bool add_damaged(struct health_merge *merge, int64_t node, const json_t *theirs)
{
    json_t *rows = array_of(merge->result, "damaged");
    const json_t *their_rows = json_object_get(theirs, "damaged");
    bool added = false;

    for (size_t i = 0; i < json_array_size(their_rows); i++) {
        const json_t *row = json_array_get(their_rows, i);
        json_int_t place = (json_int_t)json_array_size(rows);
        if (number_of(merge->damaged, row, replica_names, place) == place) {
            append_of_node(rows, row, node);
            added = true;
        }
    }
    return added;
}

static void add_opening_row(json_t *result, int64_t node, const json_t *theirs)
{
    (void)json_array_append_new(array_of(result, "opening"),
                                json_pack("{sIsIsI}",
                                          "node",
                                          (json_int_t)node,
                                          "replicas",
                                          (json_int_t)value_number(theirs, "replicas_opening"),
                                          "since_ms",
                                          (json_int_t)value_number(theirs, "opening_since_ms")));
}

static bool add_opening(json_t *result, int64_t node, const json_t *theirs)
{
    int64_t count = value_number(theirs, "replicas_opening");
    int64_t since_ms = value_number(theirs, "opening_since_ms");
    int64_t first_ms = value_number(result, "opening_since_ms");

    int64_t others = value_number(result, "replicas_opening");

    if (count <= 0) {
        return false;
    }
    add_opening_row(result, node, theirs);
    count = others > INT64_MAX - count ? INT64_MAX : count + others;
    (void)json_object_set_new(result, "replicas_opening", json_integer(count));
    if (since_ms > 0 && (first_ms <= 0 || since_ms < first_ms)) {
        (void)json_object_set_new(result, "opening_since_ms", json_integer(since_ms));
    }
    return true;
}

/* Each consumer group is coordinated by one node. */
static void add_stalled(json_t *result, int64_t node, const json_t *theirs)
{
    const json_t *rows = json_object_get(theirs, "stalled");

    for (size_t i = 0; i < json_array_size(rows); i++) {
        append_of_node(array_of(result, "stalled"), json_array_get(rows, i), node);
    }
}

/* Only the leader of a partition knows the step at which its move hangs. */
static void add_stuck(struct health_merge *merge, const json_t *theirs)
{
    json_t *stuck = array_of(merge->result, "stuck");
    const json_t *rows = json_object_get(theirs, "stuck");

    for (size_t i = 0; i < json_array_size(rows); i++) {
        json_t *row = json_array_get(rows, i);
        if (!value_has_text(row, "step")) {
            continue; /* it does not lead it either */
        }
        json_int_t size = (json_int_t)json_array_size(stuck);
        json_int_t place = number_of(merge->stuck, row, partition_names, size);
        if (place < size) {
            (void)json_array_set(stuck, (size_t)place, row);
        } else {
            (void)json_array_append(stuck, row);
        }
    }
}

/* Only who was asked knows that it did not let somebody in. */
static bool add_doubles(json_t *result, const json_t *theirs)
{
    json_t *rows = array_of(result, "doubles");
    const json_t *their_rows = json_object_get(theirs, "doubles");

    for (size_t i = 0; i < json_array_size(their_rows); i++) {
        const json_t *row = json_array_get(their_rows, i);
        bool known = false;
        for (size_t k = 0; k < json_array_size(rows) && !known; k++) {
            known = value_number(json_array_get(rows, k), "node") == value_number(row, "node");
        }
        if (!known) {
            (void)json_array_append(rows, json_array_get(their_rows, i));
        }
    }
    return json_array_size(their_rows) > 0;
}

/* ---- merging --------------------------------------------------------------------------------- */

/* Those of the node that was asked first. */
static void
note_rows(const json_t *result, const char *section, json_t *set, const char *const *names)
{
    const json_t *rows = json_object_get(result, section);

    for (size_t i = 0; i < json_array_size(rows); i++) {
        (void)number_of(set, json_array_get(rows, i), names, (json_int_t)i);
    }
}

void health_merge_begin(struct health_merge *merge, json_t *result)
{
    int64_t node = value_number(result, "node"); /* 0: an older node does not say */
    const char *const sections[] = { "damaged", "stalled" };

    *merge = (struct health_merge){
        .result = result,
        .healthy = json_is_true(json_object_get(result, "healthy")),
        .damaged = json_object(),
        .stuck = json_object(),
    };
    (void)array_of(result, "opening");
    (void)array_of(result, "silent");
    (void)array_of(result, "unhealthy_on");
    for (size_t s = 0; node > 0 && s < sizeof sections / sizeof sections[0]; s++) {
        json_t *rows = array_of(result, sections[s]);
        for (size_t i = 0; i < json_array_size(rows); i++) {
            json_t *row = json_array_get(rows, i);
            if (json_object_get(row, "node") == NULL) {
                (void)json_object_set_new(row, "node", json_integer(node));
            }
        }
    }
    if (value_number(result, "replicas_opening") > 0) {
        add_opening_row(result, node, result);
    }
    note_rows(result, "damaged", merge->damaged, replica_names);
    note_rows(result, "stuck", merge->stuck, partition_names);
}

void health_merge_add(struct health_merge *merge, int64_t node, const json_t *theirs)
{
    bool damaged = add_damaged(merge, node, theirs);
    bool opening = add_opening(merge->result, node, theirs);

    bool doubles = add_doubles(merge->result, theirs);

    add_stalled(merge->result, node, theirs);
    add_stuck(merge, theirs);
    merge->more = merge->more || damaged || opening || doubles;
    if (merge->healthy && !damaged && !opening && !doubles &&
        json_is_false(json_object_get(theirs, "healthy"))) {
        (void)json_array_append_new(array_of(merge->result, "unhealthy_on"), json_integer(node));
        merge->more = true;
    }
}

void health_merge_silent(struct health_merge *merge, int64_t node, const char *address)
{
    (void)json_array_append_new(array_of(merge->result, "silent"),
                                json_pack("{sIss}", "node", (json_int_t)node, "address", address));
}

void health_merge_end(struct health_merge *merge)
{
    (void)json_object_set_new(
        merge->result, "healthy", json_boolean(merge->healthy && !merge->more));
    json_decref(merge->damaged);
    json_decref(merge->stuck);
    merge->damaged = NULL;
    merge->stuck = NULL;
}
