/* Topics that are known not to exist, so that not every record that names one waits for the
 * servers to say so again. */
#ifndef SPATE_CLI_MISSING_H
#define SPATE_CLI_MISSING_H

#include <stdbool.h>
#include <stdint.h>

enum {
    MISSING_MAX = 16, /* the last ones */
    MISSING_NAME_SIZE = 256,
};

struct missing {
    struct missing_name {
        char text[MISSING_NAME_SIZE]; /* "": none */
        uint64_t until_us;            /* then it is asked for again: somebody may have made it */
    } names[MISSING_MAX];
    unsigned next;
};

bool missing_has(const struct missing *missing, const char *name);

/* Remembers a name, for a while. */
void missing_add(struct missing *missing, const char *name);

#endif /* SPATE_CLI_MISSING_H */
