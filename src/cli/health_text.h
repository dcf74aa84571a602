/* The answer of cluster.health in words: what is wrong, since when, what heals it by itself, and
 * what to type if it does not. */
#ifndef SPATE_CLI_HEALTH_TEXT_H
#define SPATE_CLI_HEALTH_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#define HEALTH_TEXT_SIZE (64 * 1024) /* every kind with HEALTH_NAMED_MAX long names */
#define HEALTH_NAMED_MAX 20          /* of one kind; the others are counted */

/* Writes all lines into `text`, cut at `size`. `timeless`: without times, which change while
 * nothing else does. Fields that an older node does not send are left out. */
void health_text(const json_t *result, bool timeless, char *text, size_t size);

/* "4 min 48 s", into `text`. */
void health_duration(int64_t duration_ms, char *text, size_t size);

#endif /* SPATE_CLI_HEALTH_TEXT_H */
