#include "cli/log_files.h"

#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/log_report.h"
#include "cli/output.h"
#include "storage/disk.h"

/* What a directory is, by its name and what is in it.
 *
 *   DATA                  replicas/ is in it: all logs below that, and the metadata
 *   DATA/replicas         all logs below it
 *   DATA/quarantine       the same; no node writes there
 *   any other             one log; in a data directory, when it is two levels below one */
struct place {
    const char *directory; /* as given */
    char data[SP_DISK_PATH_SIZE];
    char logs[SP_DISK_PATH_SIZE]; /* the directory of the logs; "": it is one itself */
    bool is_data;
    bool at_rest; /* in quarantine/: whether a node runs is of no matter */
};

/* Room for what is below a directory that is given. */
#define PATH_REST 512

struct check {
    struct log_report report;
    bool rebuild;
    const struct place *place;
    json_t *missing; /* the replicas on record that were not found yet; NULL: not known */
};

bool path_is_directory(const char *path)
{
    struct stat facts;

    return stat(path, &facts) == 0 && S_ISDIR(facts.st_mode);
}

static bool ends_with(const char *real_path, const char *name)
{
    const char *slash = strrchr(real_path, '/');

    return slash != NULL && strcmp(slash + 1, name) == 0;
}

static void find_place(struct place *place, const char *directory)
{
    char real[PATH_MAX] = "";
    bool known = realpath(directory, real) != NULL;
    bool quarantine = known && ends_with(real, "quarantine");
    bool replicas = known && ends_with(real, "replicas");

    *place = (struct place){ .directory = directory };
    sp_disk_path(place->logs, directory, "replicas");
    place->is_data = sp_path_exists(place->logs);
    place->at_rest = quarantine || (known && ends_with(dirname(real), "quarantine"));
    if (place->is_data) {
        sp_disk_path(place->data, directory, ".");
    } else if (quarantine || replicas) {
        (void)snprintf(place->logs, sizeof place->logs, "%s", directory);
        sp_disk_path(place->data, directory, "..");
    } else {
        place->logs[0] = '\0';
        sp_disk_path(place->data, directory, "../..");
    }
}

/* ---- logs ------------------------------------------------------------------------------------ */

static void note_all(struct check *check, const char *text)
{
    log_report_finding(
        &check->report,
        &(struct sp_verify_finding){ .kind = SP_VERIFY_NOTE, .file = "", .text = text });
}

/* Whether the metadata has a replica by that name on record, or none of them at all. */
enum record {
    RECORD_UNKNOWN,
    RECORD_NO,
    RECORD_YES
};

static void check_log(struct check *check, const char *directory, enum record record)
{
    const struct log_meta *meta = &check->report.meta;
    bool counted = meta->status == 0 && !check->place->at_rest;
    const struct sp_verify_options options = { .last_run = counted ? meta->report.run : 0,
                                               .rebuild_indexes = check->rebuild,
                                               .found = log_report_finding,
                                               .arg = &check->report };
    struct sp_verify_report log;

    check->report.directory = directory;
    check->report.findings = json_array();
    if (record == RECORD_NO) {
        note_all(check, "is not on record in the metadata: the next start moves it to quarantine/");
    }
    int rv = sp_log_verify(directory, &options, &log);
    if (rv == SPATE_ERR_NOT_FOUND && record == RECORD_YES) {
        log_report_absent(&check->report,
                          "is on record in the metadata, and no segment is in it: the next start "
                          "takes it for damaged");
    } else if (rv != SPATE_ERR_NOT_FOUND || record == RECORD_UNKNOWN) {
        log_report_log(&check->report, rv, &log);
    }
    json_decref(check->report.findings);
}

static int on_replica(void *arg, const char *name)
{
    struct check *check = arg;
    char path[SP_DISK_PATH_SIZE];
    enum record record = RECORD_UNKNOWN;

    if (check->missing != NULL) {
        record = json_object_del(check->missing, name) == 0 ? RECORD_YES : RECORD_NO;
    }
    sp_disk_path(path, check->place->logs, name);
    check_log(check, path, record);
    return 0;
}

static void check_missing(struct check *check)
{
    const char *name = NULL;
    json_t *value = NULL;

    json_object_foreach(check->missing, name, value)
    {
        char path[SP_DISK_PATH_SIZE];

        sp_disk_path(path, check->place->logs, name);
        check->report.directory = path;
        check->report.findings = json_array();
        log_report_absent(&check->report,
                          "is on record in the metadata, and missing: the next start takes it for "
                          "damaged");
        json_decref(check->report.findings);
    }
}

static void check_logs(struct check *check)
{
    const struct place *place = check->place;

    if (place->logs[0] == '\0') {
        check_log(check, place->directory, RECORD_UNKNOWN);
        return;
    }
    check->report.below = true;
    check->missing = place->at_rest ? NULL : check->report.meta.replicas;
    int rv = sp_dir_list(place->logs, on_replica, check);
    if (rv != 0) {
        tell("%s: %s", place->logs, spate_strerror(rv));
        check->report.failed = rv;
    } else if (check->missing != NULL) {
        check_missing(check);
    }
}

static int note_any(void *arg, const char *name)
{
    (void)name;
    *(bool *)arg = true;
    return 0;
}

/* Nothing was ever stored in it, or the node was stopped before it had done so. */
static bool is_fresh(const struct check *check)
{
    bool any = false;

    return check->place->is_data && log_meta_is_missing(&check->report.meta) &&
           sp_dir_list(check->place->logs, note_any, &any) == 0 && !any;
}

/* ---- a node beside it ------------------------------------------------------------------------ */

/* No node may run while files are written: takes the lock of the data directory; NULL in *out_lock:
 * there is none. */
static int take_lock(const struct place *place, struct sp_file **out_lock)
{
    char path[SP_DISK_PATH_SIZE];

    sp_disk_path(path, place->data, "lock");
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
             place->directory,
             rv == SPATE_ERR_LOCKED
                 ? "a node uses this data directory: nothing was done; stop the node first"
                 : spate_strerror(rv));
    }
    return rv;
}

/* Does a node run on the data directory? It is asked with the node's own lock, which is held for no
 * longer than the question. */
static bool node_runs(const struct place *place)
{
    char path[SP_DISK_PATH_SIZE];
    struct sp_file *file = NULL;

    sp_disk_path(path, place->data, "lock");
    bool locked =
        sp_file_open(path, SP_FILE_READ, &file) == 0 && sp_file_lock(file) == SPATE_ERR_LOCKED;
    sp_file_close(file);
    return locked;
}

/* ---- all ------------------------------------------------------------------------------------- */

static int run(struct check *check)
{
    const struct place *place = check->place;
    struct log_report *report = &check->report;
    bool watched = !check->rebuild && !place->at_rest;

    report->logs = json_array();
    report->is_data = place->is_data;
    report->rebuilds = check->rebuild;
    report->running = watched && node_runs(place);
    if (report->running) {
        tell("warning: a node runs on %s: its files change while they are read, and what is found "
             "may be nothing; stop the node and verify again before you act on it",
             place->directory);
    }
    log_meta_read(&report->meta, place->data);
    if (is_fresh(check)) {
        tell("%s: there is no log: nothing was stored here yet, and a node starts afresh",
             place->directory);
        report->is_data = false;
        report->failed = SPATE_ERR_NOT_FOUND;
        report->failures = 1;
        return log_report_end(report);
    }
    log_report_meta(report);
    check_logs(check);
    report->running = report->running || (watched && node_runs(place));
    return log_report_end(report);
}

int log_files_check(struct cli *cli, const char *directory, bool rebuild)
{
    struct place place;
    struct sp_file *lock = NULL;
    int rv = 0;

    if (strlen(directory) > SP_DISK_PATH_SIZE - PATH_REST) {
        return usage_error(cli, "the path of the directory is too long");
    }
    if (sp_path_exists(directory) && !path_is_directory(directory)) {
        return usage_error(cli,
                           "%s is a file: the directory of a log is needed, or data.dir of a node "
                           "(spate log dump shows the file of a segment)",
                           directory);
    }
    find_place(&place, directory);
    if (rebuild && !place.at_rest) {
        rv = take_lock(&place, &lock);
    }
    struct check check = { .report = { .cli = cli }, .rebuild = rebuild, .place = &place };
    int code = rv != 0 ? exit_code_of(rv) : run(&check);
    sp_file_close(lock);
    return code;
}
