/* Topics that do not exist, the last few. */
#include "cli/missing.h"

#include <stdio.h>
#include <string.h>

#include "io/clock.h"

enum {
    MISSING_US = 10 * 1000 * 1000, /* much longer than the servers are asked for one */
};

bool missing_has(const struct missing *missing, const char *name)
{
    for (unsigned i = 0; i < MISSING_MAX; i++) {
        const struct missing_name *known = &missing->names[i];
        if (strcmp(known->text, name) == 0 && sp_clock_us() < known->until_us) {
            return true;
        }
    }
    return false;
}

void missing_add(struct missing *missing, const char *name)
{
    struct missing_name *place = &missing->names[missing->next++ % MISSING_MAX];

    (void)snprintf(place->text, sizeof place->text, "%s", name); /* no topic's name is longer */
    place->until_us = sp_clock_us() + MISSING_US;
}
