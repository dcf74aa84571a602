/* Durations, points in time and numbers. */
#include "cli/when.h"

#include <string.h>
#include <time.h>

#include "io/clock.h"

bool parse_number(const char *text, int64_t min, int64_t max, int64_t *out_number)
{
    bool negative = *text == '-';
    int64_t number = 0;

    text += negative ? 1 : 0;
    if (*text == '\0') {
        return false;
    }
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9' || number > (INT64_MAX - 9) / 10) {
            return false;
        }
        number = number * 10 + (*text - '0');
    }
    number = negative ? -number : number;
    if (number < min || number > max) {
        return false;
    }
    *out_number = number;
    return true;
}

bool parse_duration(const char *text, int64_t *out_ms)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 } };
    size_t digits = strspn(text, "0123456789");
    char number[12];
    int64_t count = 0;

    if (digits == 0 || digits >= sizeof number) {
        return false;
    }
    memcpy(number, text, digits);
    number[digits] = '\0';
    if (!parse_number(number, 0, 1000000000, &count)) {
        return false;
    }
    if (text[digits] == '\0' && count == 0) {
        *out_ms = 0;
        return true;
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(text + digits, units[i].unit) == 0) {
            *out_ms = count * units[i].ms;
            return true;
        }
    }
    return false;
}

bool parse_rate(const char *text, int64_t *out_rate)
{
    char number[24];
    size_t size = strcspn(text, "/");

    if (size >= sizeof number || (text[size] != '\0' && strcmp(text + size, "/s") != 0)) {
        return false;
    }
    memcpy(number, text, size);
    number[size] = '\0';
    return parse_number(number, 1, 1000000000, out_rate);
}

static bool parse_date(const char *text, int64_t *out_ms)
{
    static const char *const forms[] = { "%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ" };

    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        struct tm parts = { 0 };
        const char *end = strptime(text, forms[i], &parts);
        if (end != NULL && *end == '\0') {
            *out_ms = (int64_t)timegm(&parts) * 1000;
            return true;
        }
    }
    return false;
}

bool parse_time(const char *text, int64_t *out_ms)
{
    int64_t ago_ms = 0;

    if (*text == '-') {
        if (!parse_duration(text + 1, &ago_ms)) {
            return false;
        }
        *out_ms = sp_clock_wall_ms() - ago_ms;
        return *out_ms >= 0;
    }
    return parse_number(text, 0, INT64_MAX / 2, out_ms) || parse_date(text, out_ms);
}
