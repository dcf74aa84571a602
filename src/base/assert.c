/* What a failed assertion does: name the place, then abort. */
#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

void sp_assert_failed(const char *condition, const char *file, int line)
{
    (void)fprintf(stderr, "assertion failed: %s at %s:%d\n", condition, file, line);
    abort();
}
