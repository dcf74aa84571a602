/* What `spate cluster health` says of a result that stands in the test. Included once, by one
 * test. */
#ifndef SP_UNIT_EXPECTED_HEALTH_H
#define SP_UNIT_EXPECTED_HEALTH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/health_text.h"

static char text[HEALTH_TEXT_SIZE];

/* `json` with ' for ", in the words for people. */
static inline const char *words(const char *json, bool timeless)
{
    char copy[8192];
    size_t size = strlen(json);

    assert_true(size < sizeof copy);
    for (size_t i = 0; i <= size; i++) {
        copy[i] = json[i] == '\'' ? '"' : json[i];
    }
    json_t *result = json_loads(copy, 0, NULL);
    assert_non_null(result);
    health_text(result, timeless, text, sizeof text);
    json_decref(result);
    return text;
}

static inline void expect(const char *json, const char *wanted)
{
    assert_string_equal(words(json, false), wanted);
}

#endif /* SP_UNIT_EXPECTED_HEALTH_H */
