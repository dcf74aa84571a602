/* Did you mean ...? The word among some that a misspelt one was meant to be. Pure. */
#ifndef SP_BASE_NEAREST_H
#define SP_BASE_NEAREST_H

#include <stddef.h>

/* The candidate that two edits at most make of `word`, or the first one that begins with it when it
 * has three letters or more; NULL when none is near. */
const char *sp_nearest(const char *word, const char *const *candidates, size_t count);

#endif /* SP_BASE_NEAREST_H */
