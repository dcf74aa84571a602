/* Durations, points in time and numbers as people type them. */
#ifndef SPATE_CLI_WHEN_H
#define SPATE_CLI_WHEN_H

#include <stdbool.h>
#include <stdint.h>

/* "30s", "500ms", "2m", "1h", "1d"; a number alone only if it is 0: nobody would agree on its unit.
 */
bool parse_duration(const char *text, int64_t *out_ms);

/* "1700000000000" (ms since 1970), "-1h" (so long before now), "2026-01-31" or
 * "2026-01-31T12:00:00" (UTC). */
bool parse_time(const char *text, int64_t *out_ms);

/* A whole number within [min, max], decimal. */
bool parse_number(const char *text, int64_t min, int64_t max, int64_t *out_number);

/* "5000" or "5000/s": so many a second, at least one. */
bool parse_rate(const char *text, int64_t *out_rate);

#endif /* SPATE_CLI_WHEN_H */
