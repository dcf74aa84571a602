#include "cli/log_meta.h"

#include <inttypes.h>
#include <stdio.h>

#include "cli/output.h"
#include "spate/error.h"
#include "storage/disk.h"

/* ---- reading --------------------------------------------------------------------------------- */

struct controller {
    json_t *names; /* of all replicas */
    bool found;
    uint64_t replica_id;
};

/* A node may have several on record for a moment: the largest id was given last, and runs. */
static void on_replica(void *arg, const struct sp_replica_record *record)
{
    struct controller *controller = arg;
    char name[64];

    (void)snprintf(name, sizeof name, "%" PRIu64 ".%" PRIu64, record->group_id, record->replica_id);
    (void)json_object_set_new(controller->names, name, json_true());
    if (record->group_id == 0 &&
        (!controller->found || record->replica_id > controller->replica_id)) {
        controller->found = true;
        controller->replica_id = record->replica_id;
    }
}

void log_meta_read(struct log_meta *meta, const char *data_directory)
{
    struct controller controller = { .names = json_object() };
    char name[64];
    char path[SP_DISK_PATH_SIZE];

    *meta = (struct log_meta){ .replicas = controller.names };
    meta->status = sp_meta_verify(data_directory, on_replica, &controller, &meta->report);
    if (log_meta_is_damaged(meta)) {
        json_decref(meta->replicas);
        meta->replicas = NULL;
    }
    if (meta->status != 0 || !controller.found) {
        return;
    }
    (void)snprintf(name, sizeof name, "replicas/0.%" PRIu64, controller.replica_id);
    sp_disk_path(path, data_directory, name);
    (void)sp_topic_names_read(path, &meta->names); /* else they are not known */
}

void log_meta_free(struct log_meta *meta)
{
    sp_topic_names_free(meta->names);
    meta->names = NULL;
    json_decref(meta->replicas);
    meta->replicas = NULL;
}

bool log_meta_find_topic(const struct log_meta *meta,
                         uint64_t group_id,
                         const char **out_topic,
                         uint32_t *out_partition)
{
    return meta->names != NULL &&
           sp_topic_names_find(meta->names, group_id, out_topic, out_partition);
}

/* ---- judging --------------------------------------------------------------------------------- */

static bool has(const struct log_meta *meta, enum sp_meta_condition condition)
{
    return meta->report.copies[0].condition == condition ||
           meta->report.copies[1].condition == condition;
}

bool log_meta_is_missing(const struct log_meta *meta)
{
    return meta->status == 0 && meta->report.copies[0].condition == SP_META_COPY_MISSING &&
           meta->report.copies[1].condition == SP_META_COPY_MISSING;
}

bool log_meta_is_damaged(const struct log_meta *meta)
{
    return meta->status != 0 || meta->report.chosen < 0;
}

bool log_meta_heals(const struct log_meta *meta)
{
    return !log_meta_is_damaged(meta) &&
           (has(meta, SP_META_COPY_DAMAGED) || has(meta, SP_META_COPY_MISSING));
}

bool log_meta_is_whole(const struct log_meta *meta)
{
    return !log_meta_is_damaged(meta) && !log_meta_heals(meta) && !has(meta, SP_META_COPY_TORN);
}

/* ---- telling --------------------------------------------------------------------------------- */

static const char *condition_name(enum sp_meta_condition condition)
{
    switch (condition) {
    case SP_META_COPY_WHOLE:
        return "whole";
    case SP_META_COPY_TORN:
        return "torn";
    case SP_META_COPY_MISSING:
        return "MISSING";
    case SP_META_COPY_DAMAGED:
        return "DAMAGED";
    }
    return "";
}

static void print_copy(const struct sp_meta_copy_report *copy, char letter)
{
    char text[96];
    bool placed = copy->condition == SP_META_COPY_TORN || copy->condition == SP_META_COPY_DAMAGED;

    (void)snprintf(text, sizeof text, "copy %c %s", letter, condition_name(copy->condition));
    out_text(text);
    if (placed) {
        (void)snprintf(text, sizeof text, " at byte %" PRIu64, copy->position);
        out_text(text);
    }
}

/* What becomes of it. */
static const char *outlook(const struct log_meta *meta)
{
    int chosen = meta->report.chosen;

    if (chosen < 0) {
        return ": the node refuses to start; never put older copies there, start it with an empty "
               "directory, so that it joins anew (docs/operations.md, A node without its disk)";
    }
    if (meta->report.copies[1 - chosen].condition == SP_META_COPY_WHOLE) {
        return meta->report.copies[chosen].condition == SP_META_COPY_WHOLE
                   ? ""
                   : ": the next start cuts off what was not finished";
    }
    return chosen == 0 ? ": the next start writes copy B anew from copy A"
                       : ": the next start writes copy A anew from copy B";
}

void log_meta_print(const struct log_meta *meta)
{
    if (meta->status != 0) {
        out_text("meta: cannot be read: ");
        out_text(meta->status == SPATE_ERR_CORRUPT ? "it holds what this build does not know"
                                                   : spate_strerror(meta->status));
        out_text("\n");
        return;
    }
    out_text("meta: ");
    print_copy(&meta->report.copies[0], 'A');
    out_text(", ");
    print_copy(&meta->report.copies[1], 'B');
    out_text(outlook(meta));
    out_text("\n");
}

json_t *log_meta_json(const struct log_meta *meta)
{
    json_t *copies = json_array();

    for (int i = 0; i < SP_META_VERIFY_COPIES && meta->status == 0; i++) {
        const struct sp_meta_copy_report *copy = &meta->report.copies[i];
        (void)json_array_append_new(copies,
                                    json_pack("{sssssI}",
                                              "file",
                                              copy->file,
                                              "condition",
                                              condition_name(copy->condition),
                                              "position",
                                              (json_int_t)copy->position));
    }
    bool usable = meta->status == 0 && meta->report.chosen >= 0;
    return json_pack("{sosb}", "copies", copies, "usable", (int)usable);
}
