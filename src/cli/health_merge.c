#include "cli/health_merge.h"

#include "cli/value.h"

static bool is_same(const json_t *left, const json_t *right, const char *key)
{
    return json_equal(json_object_get(left, key), json_object_get(right, key));
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

static bool has_replica(const json_t *rows, const json_t *row)
{
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *known = json_array_get(rows, i);
        if (is_same(known, row, "topic") && is_same(known, row, "partition") &&
            is_same(known, row, "replica")) {
            return true;
        }
    }
    return false;
}

static bool add_damaged(json_t *result, int64_t node, const json_t *theirs)
{
    json_t *rows = array_of(result, "damaged");
    const json_t *their_rows = json_object_get(theirs, "damaged");
    bool added = false;

    for (size_t i = 0; i < json_array_size(their_rows); i++) {
        const json_t *row = json_array_get(their_rows, i);
        if (!has_replica(rows, row)) {
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

    if (count == 0) {
        return false;
    }
    add_opening_row(result, node, theirs);
    count += value_number(result, "replicas_opening");
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
static void add_stuck(json_t *result, const json_t *theirs)
{
    json_t *stuck = array_of(result, "stuck");
    const json_t *rows = json_object_get(theirs, "stuck");

    for (size_t i = 0; i < json_array_size(rows); i++) {
        json_t *row = json_array_get(rows, i);
        size_t place = 0;
        while (place < json_array_size(stuck) &&
               !(is_same(json_array_get(stuck, place), row, "topic") &&
                 is_same(json_array_get(stuck, place), row, "partition"))) {
            place += 1;
        }
        if (!value_has_text(row, "step")) {
            continue; /* it does not lead it either */
        }
        if (place < json_array_size(stuck)) {
            (void)json_array_set(stuck, place, row);
        } else {
            (void)json_array_append(stuck, row);
        }
    }
}

/* ---- merging --------------------------------------------------------------------------------- */

void health_merge_begin(struct health_merge *merge, json_t *result)
{
    int64_t node = value_number(result, "node"); /* 0: an older node does not say */
    const char *const sections[] = { "damaged", "stalled" };

    *merge = (struct health_merge){
        .result = result,
        .healthy = json_is_true(json_object_get(result, "healthy")),
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
}

void health_merge_add(struct health_merge *merge, int64_t node, const json_t *theirs)
{
    bool damaged = add_damaged(merge->result, node, theirs);
    bool opening = add_opening(merge->result, node, theirs);

    add_stalled(merge->result, node, theirs);
    add_stuck(merge->result, theirs);
    merge->more = merge->more || damaged || opening;
    if (merge->healthy && !damaged && !opening &&
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
}
