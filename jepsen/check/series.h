/* How the run went over time, for the report: rates and latencies, longest gaps between
 * acknowledgements, and how soon after each fault records were acknowledged again. */
#ifndef JEP_CHECK_SERIES_H
#define JEP_CHECK_SERIES_H

#include "history.h"
#include "json.h"

/* A fault as the nemesis wrote it down. */
struct jep_fault {
    int64_t begin_ns;
    int64_t end_ns; /* JEP_NEVER: not written */
    uint64_t id;
    char kind[48];
    char target[48];
    char partitions[512]; /* "0,3,7": those that it hit; "": not known */
};

struct jep_faults {
    struct JEP_VECTOR(struct jep_fault) list;
};

/* 0, or -1 after a sentence on standard error. */
int jep_faults_read(struct jep_faults *faults, const char *path);

/* Members `series`, `latency`, `lag`, `gaps` and `faults` of the object that is open. */
void jep_series_write(const struct jep_history *history,
                      const struct jep_faults *faults,
                      struct jep_json *json);

#endif /* JEP_CHECK_SERIES_H */
