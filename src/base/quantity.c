#include "base/quantity.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct unit {
    const char *name;
    int64_t scale;
};

#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define KIB (INT64_C(1) << 10)
#define MIB (INT64_C(1) << 20)
#define GIB (INT64_C(1) << 30)
#define TIB (INT64_C(1) << 40)

/* The largest first: the first that divides a value without a rest is the one to print it in. Names
 * with the same scale are read, too; the first of them is printed. */
static const struct unit times[] = {
    { "d", 24 * HOUR }, { "h", HOUR }, { "m", MINUTE }, { "s", SECOND }, { "ms", 1 }, { NULL, 0 },
};

static const struct unit sizes[] = {
    { "TiB", TIB }, { "T", TIB }, { "GiB", GIB }, { "G", GIB }, { "MiB", MIB }, { "M", MIB },
    { "KiB", KIB }, { "K", KIB }, { "k", KIB },   { "B", 1 },   { NULL, 0 },
};

/* Read and never printed. */
static const struct unit decimal_sizes[] = {
    { "TB", INT64_C(1000000000000) },
    { "GB", 1000000000 },
    { "MB", 1000000 },
    { "kB", 1000 },
    { "KB", 1000 },
    { NULL, 0 },
};

static bool ends_with(const char *name, const char *end)
{
    size_t name_size = strlen(name);
    size_t end_size = strlen(end);

    return name_size >= end_size && strcmp(name + name_size - end_size, end) == 0;
}

enum sp_quantity sp_quantity_of(const char *name)
{
    if (ends_with(name, ".ms")) {
        return SP_QUANTITY_MS;
    }
    if (ends_with(name, ".bytes") || ends_with(name, ".bytes.per.s") ||
        ends_with(name, ".bytes.per.second")) {
        return SP_QUANTITY_BYTES;
    }
    return SP_QUANTITY_COUNT;
}

/* The scale of a unit among `units`, or 0. */
static int64_t scale_among(const struct unit *units, const char *text, size_t size)
{
    for (; units->name != NULL; units++) {
        if (strlen(units->name) == size && memcmp(units->name, text, size) == 0) {
            return units->scale;
        }
    }
    return 0;
}

static int64_t scale_of(enum sp_quantity quantity, const char *text, size_t size)
{
    int64_t scale = 0;

    if (size == 0) {
        return 1;
    }
    switch (quantity) {
    case SP_QUANTITY_COUNT:
        break;
    case SP_QUANTITY_MS:
        scale = scale_among(times, text, size);
        break;
    case SP_QUANTITY_BYTES:
        scale = scale_among(sizes, text, size);
        scale = scale != 0 ? scale : scale_among(decimal_sizes, text, size);
        break;
    }
    return scale;
}

bool sp_quantity_read(enum sp_quantity quantity, const char *text, size_t size, int64_t *out_value)
{
    size_t at = 0;
    int64_t value = 0;

    for (; at < size && text[at] >= '0' && text[at] <= '9'; at++) {
        int digit = text[at] - '0';
        if (value > (INT64_MAX - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    int64_t scale = at == 0 ? 0 : scale_of(quantity, text + at, size - at);
    if (scale == 0 || value > INT64_MAX / scale) {
        return false;
    }
    *out_value = value * scale;
    return true;
}

bool sp_quantity_print(enum sp_quantity quantity, int64_t value, char text[SP_QUANTITY_TEXT_SIZE])
{
    const struct unit *unit = quantity == SP_QUANTITY_MS ? times : sizes;

    text[0] = '\0';
    if (quantity == SP_QUANTITY_COUNT || value <= 0) {
        return false;
    }
    while (value % unit->scale != 0) {
        unit++; /* ends at the scale 1 */
    }
    (void)snprintf(text, SP_QUANTITY_TEXT_SIZE, "%" PRId64 "%s", value / unit->scale, unit->name);
    return true;
}

const char *sp_quantity_form(enum sp_quantity quantity)
{
    switch (quantity) {
    case SP_QUANTITY_MS:
        return " of milliseconds, or 250ms, 30s, 5m, 12h, 5d";
    case SP_QUANTITY_BYTES:
        return " of bytes, or 64K, 64KiB, 64M, 10G (powers of 1024), 64kB, 64MB (of 1000)";
    case SP_QUANTITY_COUNT:
        break;
    }
    return "";
}
