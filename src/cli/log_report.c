#include "cli/log_report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "cli/log_files.h"
#include "cli/output.h"

static const char *kind_name(enum sp_verify_kind kind)
{
    switch (kind) {
    case SP_VERIFY_NOTE:
        return "note";
    case SP_VERIFY_TORN:
        return "torn";
    case SP_VERIFY_HEALS:
        return "heals";
    case SP_VERIFY_DAMAGE:
        return "DAMAGED";
    }
    return "";
}

void log_report_finding(void *arg, const struct sp_verify_finding *finding)
{
    struct log_report *report = arg;
    char position[24];

    report->heals += finding->kind == SP_VERIFY_HEALS;
    report->torn += finding->kind == SP_VERIFY_TORN;
    report->notes += finding->kind == SP_VERIFY_NOTE;
    if (report->cli->json) {
        (void)json_array_append_new(report->findings,
                                    json_pack("{sssssIss}",
                                              "kind",
                                              kind_name(finding->kind),
                                              "file",
                                              finding->file,
                                              "position",
                                              (json_int_t)finding->position,
                                              "text",
                                              finding->text));
        return;
    }
    if (report->cli->quiet && finding->kind != SP_VERIFY_DAMAGE &&
        finding->kind != SP_VERIFY_HEALS) {
        return;
    }
    (void)snprintf(position, sizeof position, ":%" PRIu64 ": ", finding->position);
    out_text(kind_name(finding->kind));
    out_text(" ");
    out_text(report->directory);
    out_text(finding->file[0] == '\0' ? ": " : "/");
    out_text(finding->file);
    out_text(finding->file[0] == '\0' ? "" : position);
    out_text(finding->text);
    out_text("\n");
}

/* ---- one log --------------------------------------------------------------------------------- */

/* Of the log, or, when no header of it is readable, of the name that its directory has. */
static bool find_group(const struct log_report *report,
                       const struct sp_verify_report *log,
                       uint64_t *out_group_id)
{
    const char *slash = strrchr(report->directory, '/');
    uint64_t replica_id = 0;

    *out_group_id = log->group_id;
    return log->group_id != 0 || log->first_index != 0 ||
           sscanf(slash == NULL ? report->directory : slash + 1,
                  "%" SCNu64 ".%" SCNu64,
                  out_group_id,
                  &replica_id) == 2;
}

/* "orders/3, ", "controller, ", or nothing when it is not known. */
static void print_purpose(const struct log_report *report, uint64_t group_id)
{
    const char *topic = NULL;
    uint32_t partition = 0;
    char text[SP_TOPIC_NAME_SIZE_MAX + 16];

    if (group_id == 0) {
        out_text("controller, ");
    } else if (log_meta_find_topic(&report->meta, group_id, &topic, &partition)) {
        (void)snprintf(text, sizeof text, "%s/%u, ", topic, partition);
        out_text(text);
    }
}

static void print_log(const struct log_report *report, const struct sp_verify_report *log)
{
    uint64_t group_id = 0;
    char text[360];

    out_text(report->directory);
    out_text(log->damaged > 0 ? ": DAMAGED: " : log->heals > 0 ? ": heals: " : ": sound: ");
    if (find_group(report, log, &group_id)) {
        print_purpose(report, group_id);
    }
    if (log->first_index == 0) { /* what could be told of it is not known */
        (void)snprintf(text,
                       sizeof text,
                       "%u segment%s, nothing is readable\n",
                       log->segments,
                       plural(log->segments));
        out_text(text);
        return;
    }
    (void)snprintf(text,
                   sizeof text,
                   "group %" PRIu64 ", %u segment%s, %" PRIu64 " bytes, frames %" PRIu64
                   " to %" PRIu64 ", offsets %" PRId64 " to %" PRId64 ", %" PRIu64
                   " record%s, %u checkpoint%s, %u index%s\n",
                   log->group_id,
                   log->segments,
                   plural(log->segments),
                   log->bytes,
                   log->first_index,
                   log->last_index,
                   log->first_offset,
                   log->end_offset,
                   log->records,
                   plural((int64_t)log->records),
                   log->checkpoints,
                   plural(log->checkpoints),
                   log->indexes,
                   log->indexes == 1 ? "" : "es");
    out_text(text);
}

static json_t *log_json(struct log_report *report, const struct sp_verify_report *log)
{
    const char *topic = NULL;
    uint32_t partition = 0;
    uint64_t group_id = 0;
    json_t *group = find_group(report, log, &group_id) ? json_integer((json_int_t)group_id) : NULL;
    json_t *object = json_pack("{ssso?sIsIsIsIsIsIsIsIsIsbsbsO}",
                               "directory",
                               report->directory,
                               "group",
                               group,
                               "first_index",
                               (json_int_t)log->first_index,
                               "last_index",
                               (json_int_t)log->last_index,
                               "first_offset",
                               (json_int_t)log->first_offset,
                               "end_offset",
                               (json_int_t)log->end_offset,
                               "frames",
                               (json_int_t)log->frames,
                               "records",
                               (json_int_t)log->records,
                               "bytes",
                               (json_int_t)log->bytes,
                               "segments",
                               (json_int_t)log->segments,
                               "checkpoints",
                               (json_int_t)log->checkpoints,
                               "damaged",
                               (int)(log->damaged > 0),
                               "heals",
                               (int)(log->heals > 0),
                               "findings",
                               report->findings);

    if (log_meta_find_topic(&report->meta, group_id, &topic, &partition)) {
        (void)json_object_set_new(object, "topic", json_string(topic));
        (void)json_object_set_new(object, "partition", json_integer(partition));
    }
    return object;
}

/* Why a log could not be checked. */
static const char *reason_of(const struct log_report *report, int rv)
{
    bool is_directory = path_is_directory(report->directory);

    if (rv != SPATE_ERR_NOT_FOUND) {
        return spate_strerror(rv);
    }
    if (report->below) {
        return is_directory ? "no log: no segment is in it" : "is a file, and no log";
    }
    return is_directory
               ? "neither data.dir of a node (no replicas/ is in it) nor a log (no segment is)"
               : "there is no such directory";
}

void log_report_log(struct log_report *report, int rv, const struct sp_verify_report *log)
{
    if (rv != 0) {
        tell("%s: %s%s",
             report->directory,
             report->rebuilds && rv != SPATE_ERR_NOT_FOUND
                 ? "a file cannot be read, or an index file cannot be written: "
                 : "",
             reason_of(report, rv));
        report->failed = rv;
        report->failures += 1;
        return;
    }
    report->checked += 1;
    report->damaged += log->damaged > 0;
    if (report->cli->json) {
        (void)json_array_append_new(report->logs, log_json(report, log));
    } else if (!report->cli->quiet || log->damaged > 0 || log->heals > 0) {
        print_log(report, log);
    }
}

void log_report_absent(struct log_report *report, const char *text)
{
    const struct sp_verify_report nothing = { .damaged = 1 };

    log_report_finding(report,
                       &(struct sp_verify_finding){
                           .kind = SP_VERIFY_DAMAGE,
                           .file = "",
                           .text = text,
                       });
    log_report_log(report, 0, &nothing);
}

/* ---- all ------------------------------------------------------------------------------------- */

void log_report_meta(const struct log_report *report)
{
    if (report->is_data && !report->cli->json &&
        !(report->cli->quiet && log_meta_is_whole(&report->meta))) {
        log_meta_print(&report->meta);
    }
}

static void print_summary(const struct log_report *report)
{
    unsigned count = report->checked + report->failures;
    const char *meta = !report->is_data                     ? ""
                       : log_meta_is_damaged(&report->meta) ? "; metadata DAMAGED"
                       : log_meta_heals(&report->meta)      ? "; metadata heals at the next start"
                       : log_meta_is_whole(&report->meta)   ? "; metadata whole"
                                                            : "; metadata torn";
    char healing[64] = "";
    char text[400];

    if (report->heals > 0) {
        (void)snprintf(
            healing, sizeof healing, "; files that heal by themselves: %" PRIu64, report->heals);
    }
    (void)snprintf(text,
                   sizeof text,
                   "%u log%s: %u sound, %u damaged, %u not readable; %" PRIu64
                   " torn end%s, %" PRIu64 " note%s%s%s%s\n",
                   count,
                   plural(count),
                   report->checked - report->damaged,
                   report->damaged,
                   report->failures,
                   report->torn,
                   plural((int64_t)report->torn),
                   report->notes,
                   plural((int64_t)report->notes),
                   healing,
                   meta,
                   report->running ? "; a node runs on these files, so findings are not certain"
                                   : "");
    out_text(text);
}

static void print_json(const struct log_report *report, bool damaged)
{
    bool heals = report->heals > 0 || (report->is_data && log_meta_heals(&report->meta));
    json_t *object = json_pack("{sOsbsbsb}",
                               "logs",
                               report->logs,
                               "damaged",
                               (int)damaged,
                               "heals",
                               (int)heals,
                               "running",
                               (int)report->running);

    if (report->is_data) {
        (void)json_object_set_new(object, "meta", log_meta_json(&report->meta));
    }
    out_json(object);
}

int log_report_end(struct log_report *report)
{
    bool damaged = report->damaged > 0 || (report->is_data && log_meta_is_damaged(&report->meta));

    if (report->cli->json) {
        print_json(report, damaged);
    } else if (report->checked > 0 || report->failures != 1 || report->is_data) {
        /* of a wrong directory the error says all */
        print_summary(report);
    }
    out_flush();
    json_decref(report->logs);
    report->logs = NULL;
    log_meta_free(&report->meta);
    if (damaged) {
        return EXIT_FAILED;
    }
    return report->failed != 0 ? exit_code_of(report->failed) : EXIT_OK;
}
