/* What a check of logs has found, on standard output: line by line, or as one JSON object.
 *
 * With --quiet only what is damaged or heals by itself, and the last line. */
#ifndef SPATE_CLI_LOG_REPORT_H
#define SPATE_CLI_LOG_REPORT_H

#include "cli/cli.h"
#include "cli/log_meta.h"
#include "storage/log_verify.h"

struct log_report {
    struct cli *cli;
    const char *directory; /* of the log that is checked now */
    json_t *findings;      /* of it, with --json */
    json_t *logs;          /* with --json */
    unsigned checked;
    unsigned damaged; /* logs */
    unsigned failures;
    int failed;     /* a SPATE_ERR_* code: a log could not be read at all */
    uint64_t heals; /* findings of all logs */
    uint64_t torn;
    uint64_t notes;
    bool running;  /* a node uses the data directory meanwhile */
    bool rebuilds; /* index files are written */
    bool below;    /* it is one of several in a directory */
    bool is_data;  /* it is one: its metadata belongs to what is checked */
    struct log_meta meta;
};

/* One finding in the log that is checked now; `arg` is the report. Without a file: of all of it. */
void log_report_finding(void *arg, const struct sp_verify_finding *finding);

/* The log in `directory` has been checked, or (`rv`) could not be. */
void log_report_log(struct log_report *report, int rv, const struct sp_verify_report *log);

/* There is no log in `directory`, which should be one: the metadata has it on record. */
void log_report_absent(struct log_report *report, const char *text);

/* The metadata, the last line, or the object. The exit code. Gives everything back. */
void log_report_meta(const struct log_report *report);
int log_report_end(struct log_report *report);

#endif /* SPATE_CLI_LOG_REPORT_H */
