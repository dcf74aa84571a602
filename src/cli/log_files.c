#include "cli/log_files.h"

#include <inttypes.h>
#include <stdio.h>

#include "cli/output.h"
#include "storage/disk.h"
#include "storage/log_verify.h"

/* A check of one or more logs. */
struct check {
    struct cli *cli;
    bool rebuild;
    const char *directory; /* of the log that is checked now */
    json_t *findings;      /* of it, with --json */
    json_t *logs;          /* with --json */
    unsigned checked;
    unsigned damaged; /* logs */
    unsigned failures;
    int failed;    /* a SPATE_ERR_* code: a log could not be read at all */
    uint64_t torn; /* findings of all logs */
    uint64_t notes;
    bool running; /* a node uses the data directory meanwhile */
};

static const char *kind_name(enum sp_verify_kind kind)
{
    switch (kind) {
    case SP_VERIFY_NOTE:
        return "note";
    case SP_VERIFY_TORN:
        return "torn";
    case SP_VERIFY_DAMAGE:
        return "DAMAGED";
    }
    return "";
}

static void on_found(void *arg, const struct sp_verify_finding *finding)
{
    struct check *check = arg;
    char position[24];

    check->torn += finding->kind == SP_VERIFY_TORN;
    check->notes += finding->kind == SP_VERIFY_NOTE;
    if (check->cli->json) {
        (void)json_array_append_new(check->findings,
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
    (void)snprintf(position, sizeof position, ":%" PRIu64 ": ", finding->position);
    out_text(kind_name(finding->kind));
    out_text(" ");
    out_text(check->directory);
    out_text("/");
    out_text(finding->file);
    out_text(position);
    out_text(finding->text);
    out_text("\n");
}

static void print_report(const struct check *check, const struct sp_verify_report *report)
{
    char text[320];

    (void)snprintf(text,
                   sizeof text,
                   "%s: group %" PRIu64 ", %u segments, %" PRIu64 " bytes, frames %" PRIu64
                   " to %" PRIu64 ", offsets %" PRId64 " to %" PRId64 ", %" PRIu64
                   " records, %u checkpoints, %u indexes\n",
                   report->damaged > 0 ? "DAMAGED" : "sound",
                   report->group_id,
                   report->segments,
                   report->bytes,
                   report->first_index,
                   report->last_index,
                   report->first_offset,
                   report->end_offset,
                   report->records,
                   report->checkpoints,
                   report->indexes);
    out_text(check->directory);
    out_text(": ");
    out_text(text);
}

static json_t *report_json(struct check *check, const struct sp_verify_report *report)
{
    return json_pack("{sssIsIsIsIsIsIsIsIsIsIsbsO}",
                     "directory",
                     check->directory,
                     "group",
                     (json_int_t)report->group_id,
                     "first_index",
                     (json_int_t)report->first_index,
                     "last_index",
                     (json_int_t)report->last_index,
                     "first_offset",
                     (json_int_t)report->first_offset,
                     "end_offset",
                     (json_int_t)report->end_offset,
                     "frames",
                     (json_int_t)report->frames,
                     "records",
                     (json_int_t)report->records,
                     "bytes",
                     (json_int_t)report->bytes,
                     "segments",
                     (json_int_t)report->segments,
                     "checkpoints",
                     (json_int_t)report->checkpoints,
                     "damaged",
                     (int)(report->damaged > 0),
                     "findings",
                     check->findings);
}

static void check_log(struct check *check, const char *directory)
{
    const struct sp_verify_options options = { .rebuild_indexes = check->rebuild,
                                               .found = on_found,
                                               .arg = check };
    struct sp_verify_report report;

    check->directory = directory;
    check->findings = json_array();
    int rv = sp_log_verify(directory, &options, &report);
    if (rv != 0) {
        tell("%s: %s",
             directory,
             rv == SPATE_ERR_NOT_FOUND ? "there is no log" : spate_strerror(rv));
        check->failed = rv;
        check->failures += 1;
    } else {
        check->checked += 1;
        check->damaged += report.damaged > 0;
        if (check->cli->json) {
            (void)json_array_append_new(check->logs, report_json(check, &report));
        } else {
            print_report(check, &report);
        }
    }
    json_decref(check->findings);
}

/* ---- a data directory ------------------------------------------------------------------------ */

struct walk {
    struct check *check;
    const char *replicas;
};

static int on_replica(void *arg, const char *name)
{
    struct walk *walk = arg;
    char path[SP_DISK_PATH_SIZE];

    sp_disk_path(path, walk->replicas, name);
    check_log(walk->check, path);
    return 0;
}

/* No node may run while files are written: takes the lock of the data directory, which is `up`
 * levels above; NULL in *out_lock: there is none. */
static int take_lock(const char *directory, const char *up, struct sp_file **out_lock)
{
    char path[SP_DISK_PATH_SIZE];

    sp_disk_path(path, directory, up);
    int rv = sp_file_open(path, SP_FILE_WRITE, out_lock);
    if (rv == SPATE_ERR_NOT_FOUND) {
        *out_lock = NULL;
        return 0;
    }
    if (rv == 0) {
        rv = sp_file_lock(*out_lock);
    }
    if (rv != 0) {
        tell("%s: %s",
             path,
             rv == SPATE_ERR_LOCKED ? "a node uses this data directory: stop it first"
                                    : spate_strerror(rv));
    }
    return rv;
}

/* Does a node run on the data directory? It is asked with the node's own lock, which is held for no
 * longer than the question. */
static bool node_runs(const char *directory, const char *up)
{
    char path[SP_DISK_PATH_SIZE];
    struct sp_file *file = NULL;

    sp_disk_path(path, directory, up);
    bool locked =
        sp_file_open(path, SP_FILE_READ, &file) == 0 && sp_file_lock(file) == SPATE_ERR_LOCKED;
    sp_file_close(file);
    return locked;
}

static void print_summary(const struct check *check)
{
    unsigned count = check->checked + check->failures;
    char text[320];

    (void)snprintf(text,
                   sizeof text,
                   "%u %s: %u sound, %u damaged, %u not readable; %" PRIu64 " torn ends, %" PRIu64
                   " notes%s\n",
                   count,
                   count == 1 ? "log" : "logs",
                   check->checked - check->damaged,
                   check->damaged,
                   check->failures,
                   check->torn,
                   check->notes,
                   check->running ? "; a node runs on these files, so findings are not certain"
                                  : "");
    out_text(text);
}

static int finish(struct check *check)
{
    if (check->cli->json) {
        out_json(json_pack("{sOsbsb}",
                           "logs",
                           check->logs,
                           "damaged",
                           (int)(check->damaged > 0),
                           "running",
                           (int)check->running));
    } else {
        print_summary(check);
    }
    json_decref(check->logs);
    out_flush();
    if (check->damaged > 0) {
        return EXIT_FAILED;
    }
    return check->failed != 0 ? exit_code_of(check->failed) : EXIT_OK;
}

static void check_logs(struct check *check, const char *directory, const char *replicas)
{
    struct walk walk = { check, replicas };

    if (replicas == NULL) {
        check_log(check, directory);
        return;
    }
    int rv = sp_dir_list(replicas, on_replica, &walk);
    if (rv != 0) {
        tell("%s: %s", replicas, spate_strerror(rv));
        check->failed = rv;
    }
}

int log_files_check(struct cli *cli, const char *directory, bool rebuild)
{
    struct check check = { .cli = cli, .rebuild = rebuild, .logs = json_array() };
    struct sp_file *lock = NULL;
    char replicas[SP_DISK_PATH_SIZE];

    sp_disk_path(replicas, directory, "replicas");
    bool is_data = sp_path_exists(replicas);
    const char *up = is_data ? "lock" : "../../lock";
    check.failed = rebuild ? take_lock(directory, up, &lock) : 0;
    check.running = !rebuild && node_runs(directory, up);
    if (check.running) {
        tell("warning: a node runs on %s: its files change while they are read, and what is found "
             "may be nothing; stop the node and verify again before you act on it",
             directory);
    }
    if (check.failed == 0) {
        check_logs(&check, directory, is_data ? replicas : NULL);
        check.running = check.running || (!rebuild && node_runs(directory, up));
    }
    int code = finish(&check);
    sp_file_close(lock);
    return code;
}
