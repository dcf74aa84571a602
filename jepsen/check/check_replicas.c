/* What jepsen-replicas found on the disks of the stopped nodes. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "verdict.h"

enum {
    LINE_BYTES = 1024,
};

int jep_check_replicas(const char *path, struct jep_verdict *verdict)
{
    char line[LINE_BYTES];
    FILE *file = fopen(path, "r");

    if (file == NULL) {
        fprintf(stderr, "jepsen-check: %s: %s\n", path, strerror(errno));
        return -1;
    }
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        const char *frames = strstr(line, " frames=");
        bool replica = strncmp(line, "replica ", 8) == 0;
        if (replica && frames != NULL) {
            verdict->replicas += 1;
            verdict->replica_frames += strtoull(frames + 8, NULL, 10);
        }
        if (strncmp(line, "differ ", 7) == 0 || strncmp(line, "lacks ", 6) == 0 ||
            strncmp(line, "other ", 6) == 0 ||
            (replica && strstr(line, " state=damaged") != NULL)) {
            jep_found(verdict, JEP_REPLICAS, JEP_NONE, 0, "%.400s", line);
        }
    }
    bool failed = ferror(file) != 0 || verdict->replicas == 0;
    (void)fclose(file); /* it was only read */
    if (failed) {
        fprintf(stderr, "jepsen-check: %s: no replicas in it\n", path);
    }
    return failed ? -1 : 0;
}
