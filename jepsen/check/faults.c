/* The log of the nemesis: `<ns> nemesis <id> begin|end|observed <kind> key=value...`. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "series.h"

enum {
    LINE_BYTES = 8192,
};

/* Copies the value of NAME= from `line`; "" when it is not there. */
static void copy_field(const char *line, const char *name, char *out, size_t size)
{
    const char *at = strstr(line, name);
    size_t length = at == NULL ? 0 : strcspn(at + strlen(name), " \n");

    out[0] = '\0';
    if (at != NULL && length < size) {
        memcpy(out, at + strlen(name), length);
        out[length] = '\0';
    }
}

static void take_line(struct jep_faults *faults, const char *line)
{
    struct jep_fault fault = { .end_ns = JEP_NEVER };
    int64_t time_ns;
    char what[16];

    if (sscanf(line,
               "%" SCNd64 " nemesis %" SCNu64 " %15s %47s",
               &time_ns,
               &fault.id,
               what,
               fault.kind) != 4) {
        return; /* a torn last line, or a remark */
    }
    if (strcmp(what, "end") == 0) {
        for (size_t i = faults->list.count; i-- > 0;) {
            struct jep_fault *begun = &faults->list.items[i];
            if (begun->id == fault.id && begun->end_ns == JEP_NEVER) {
                begun->end_ns = time_ns;
                return;
            }
        }
    }
    if (strcmp(what, "begin") == 0) {
        fault.begin_ns = time_ns;
        copy_field(line, " target=", fault.target, sizeof fault.target);
        copy_field(line, " partitions=", fault.partitions, sizeof fault.partitions);
        *jep_add(&faults->list) = fault;
    }
}

int jep_faults_read(struct jep_faults *faults, const char *path)
{
    char line[LINE_BYTES];
    FILE *file = fopen(path, "r");

    if (file == NULL) {
        fprintf(stderr, "jepsen-check: %s: %s\n", path, strerror(errno));
        return -1;
    }
    while (fgets(line, sizeof line, file) != NULL) {
        take_line(faults, line);
    }
    bool failed = ferror(file) != 0;
    (void)fclose(file); /* it was only read */
    if (failed) {
        fprintf(stderr, "jepsen-check: %s: it cannot be read\n", path);
    }
    return failed ? -1 : 0;
}
