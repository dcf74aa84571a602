#include "verdict.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

static const struct {
    const char *name;
    const char *meaning;
} anomalies[] = {
#define JEP_ANOMALY_ROW(name, text, meaning) { text, meaning },
    JEP_ANOMALY_LIST(JEP_ANOMALY_ROW)
#undef JEP_ANOMALY_ROW
};

const char *jep_anomaly_name(enum jep_anomaly anomaly)
{
    return anomalies[anomaly].name;
}

const char *jep_anomaly_meaning(enum jep_anomaly anomaly)
{
    return anomalies[anomaly].meaning;
}

void jep_found(struct jep_verdict *verdict,
               enum jep_anomaly anomaly,
               uint32_t key,
               int64_t time_ns,
               const char *format,
               ...)
{
    uint64_t count = verdict->counts[anomaly]++;

    if (count >= JEP_EXAMPLES_MAX) {
        return;
    }
    struct jep_example *example = &verdict->examples[anomaly][count];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(example->text, sizeof example->text, format, arguments);
    va_end(arguments);
    example->time_ns = time_ns;
    example->key = key;
}

uint64_t jep_anomalies(const struct jep_verdict *verdict)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < JEP_ANOMALY_COUNT; i++) {
        sum += verdict->counts[i];
    }
    return sum;
}

/* ---- words ----------------------------------------------------------------------------------- */

static char *place_for_words(void)
{
    static char places[4][JEP_WORDS_BYTES];
    static unsigned next;

    return places[next++ % 4];
}

const char *jep_key_words(const struct jep_history *history, uint32_t key)
{
    char *words = place_for_words();
    const struct jep_key *row = &history->keys.items[key];

    (void)snprintf(words,
                   JEP_WORDS_BYTES,
                   "%.250s/%" PRIu32,
                   history->names.items[row->topic],
                   row->partition);
    return words;
}

const char *jep_value_words(const struct jep_history *history, uint32_t stream, uint32_t sequence)
{
    char *words = place_for_words();
    const struct jep_stream *row = &history->streams.items[stream];

    (void)snprintf(words,
                   JEP_WORDS_BYTES,
                   "record %" PRIu32 " of client %" PRIu32,
                   sequence,
                   history->clients.items[row->client].id);
    return words;
}

/* ---- sorting --------------------------------------------------------------------------------- */

enum {
    DIGIT_BITS = 13,
    DIGITS = 1 << DIGIT_BITS,
};

static void sort_by_digit(const struct jep_moment *from,
                          struct jep_moment *to,
                          size_t count,
                          int64_t first_ns,
                          unsigned shift)
{
    static size_t places[DIGITS + 1];

    for (unsigned i = 0; i <= DIGITS; i++) {
        places[i] = 0;
    }
    for (size_t i = 0; i < count; i++) {
        places[((uint64_t)(from[i].time_ns - first_ns) >> shift) % DIGITS + 1] += 1;
    }
    for (unsigned i = 1; i <= DIGITS; i++) {
        places[i] += places[i - 1];
    }
    for (size_t i = 0; i < count; i++) {
        to[places[((uint64_t)(from[i].time_ns - first_ns) >> shift) % DIGITS]++] = from[i];
    }
}

void jep_sort_moments(struct jep_moment *moments, size_t count)
{
    int64_t first_ns = INT64_MAX;
    int64_t last_ns = INT64_MIN;

    for (size_t i = 0; i < count; i++) {
        first_ns = moments[i].time_ns < first_ns ? moments[i].time_ns : first_ns;
        last_ns = moments[i].time_ns > last_ns ? moments[i].time_ns : last_ns;
    }
    struct jep_moment *other = jep_memory(count, sizeof *other);
    struct jep_moment *from = moments;
    struct jep_moment *to = other;
    uint64_t span = count == 0 ? 0 : (uint64_t)(last_ns - first_ns);
    for (unsigned shift = 0; shift < 64 && span >> shift != 0; shift += DIGIT_BITS) {
        sort_by_digit(from, to, count, first_ns, shift);
        struct jep_moment *swapped = from;
        from = to;
        to = swapped;
    }
    for (size_t i = 0; from != moments && i < count; i++) {
        moments[i] = from[i];
    }
    free(other);
}
