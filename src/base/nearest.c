#include "base/nearest.h"

#include <string.h>

enum {
    WORD_MAX = 24,
    PREFIX_MIN = 3,
};

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Edits (insert, delete, replace) that make one word of the other. */
static size_t distance(const char *a, const char *b)
{
    size_t row[WORD_MAX + 1];
    size_t size = strlen(b);

    if (size > WORD_MAX) {
        return WORD_MAX;
    }
    for (size_t j = 0; j <= size; j++) {
        row[j] = j;
    }
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= size; j++) {
            size_t replaced = corner + (a[i - 1] == b[j - 1] ? 0 : 1);
            corner = row[j];
            row[j] = least(replaced, least(row[j], row[j - 1]) + 1);
        }
    }
    return row[size];
}

const char *sp_nearest(const char *word, const char *const *candidates, size_t count)
{
    const char *best = NULL;
    size_t best_distance = 3; /* more edits than two are another word */

    for (size_t i = 0; i < count; i++) {
        size_t edits = strlen(word) > WORD_MAX ? WORD_MAX : distance(word, candidates[i]);
        if (edits < best_distance && edits < strlen(candidates[i])) {
            best = candidates[i];
            best_distance = edits;
        }
    }
    for (size_t i = 0; i < count && best == NULL && strlen(word) >= PREFIX_MIN; i++) {
        best = strncmp(word, candidates[i], strlen(word)) == 0 ? candidates[i] : NULL;
    }
    return best;
}
