/* Times and sizes as people write them in settings: a number, or one with a unit.
 *
 *   times, in milliseconds   5000   250ms  30s  5m  12h  5d
 *   sizes, in bytes          65536  64K 64KiB 64M 10G 1T (powers of 1024)  64kB 64MB (of 1000)
 *
 * The end of a setting's name tells which it is: units come last. Pure. */
#ifndef SP_BASE_QUANTITY_H
#define SP_BASE_QUANTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SP_QUANTITY_TEXT_SIZE 32 /* holds whatever sp_quantity_print writes */

enum sp_quantity {
    SP_QUANTITY_COUNT, /* a number without a unit */
    SP_QUANTITY_MS,
    SP_QUANTITY_BYTES,
};

/* What a setting of this name holds: "retention.ms" a time, "segment.bytes" and
 * "moves.bytes.per.second" a size, which may be one per second, anything else a count. */
enum sp_quantity sp_quantity_of(const char *name);

/* Reads `size` characters. False: no number without sign, a unit that is not one of this quantity,
 * or more than INT64_MAX; *out_value is untouched then. */
bool sp_quantity_read(enum sp_quantity quantity, const char *text, size_t size, int64_t *out_value);

/* Writes `value` in the largest unit in which it is a whole number: "7d", "1088KiB". False, and an
 * empty text: there is nothing to say beyond the number, as for counts, 0 and less. */
bool sp_quantity_print(enum sp_quantity quantity, int64_t value, char text[SP_QUANTITY_TEXT_SIZE]);

/* What stands behind the range of a setting in errors and help: " of bytes, or 64K, ..."; nothing
 * for counts. Static. */
const char *sp_quantity_form(enum sp_quantity quantity);

#endif /* SP_BASE_QUANTITY_H */
