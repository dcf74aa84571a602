/* Where logs start: not behind what was given up, by a truncation or by the limits of the topic,
 * nor before what an acknowledged truncation gave up. */
#include <inttypes.h>

#include "verdict.h"

int64_t jep_given_up(const struct jep_history *history, uint32_t key, int64_t time_ns)
{
    const struct jep_key *log = &history->keys.items[key];
    int64_t highest = 0;

    if (log->final_end != JEP_NONE && log->final_keep != JEP_NONE &&
        log->final_end > log->final_keep) {
        highest = (int64_t)log->final_end - log->final_keep;
    }
    for (size_t i = 0; i < history->truncations.count; i++) {
        const struct jep_event *event = &history->events.items[history->truncations.items[i]];
        if (history->streams.items[event->stream].key == key && event->outcome != JEP_FAIL &&
            event->invoked_ns < time_ns && event->a > highest) {
            highest = event->a;
        }
    }
    return highest;
}

static void
judge_start(struct jep_history *history, struct jep_verdict *verdict, const struct jep_event *event)
{
    uint32_t key = history->streams.items[event->stream].key;
    int64_t given_up = jep_given_up(history, key, event->done_ns);

    if (event->a > given_up) {
        jep_found(verdict,
                  JEP_LOG_START,
                  key,
                  event->done_ns,
                  "%s: it starts at offset %" PRId64 ", only what is below %" PRId64
                  " was given up",
                  jep_key_words(history, key),
                  event->a,
                  given_up);
    }
}

/* The final read began where an acknowledged truncation said, or behind that. */
static void judge_truncation(struct jep_history *history,
                             struct jep_verdict *verdict,
                             const struct jep_event *event)
{
    uint32_t key = history->streams.items[event->stream].key;
    const struct jep_key *log = &history->keys.items[key];

    if (event->outcome == JEP_OK && log->final_end != JEP_NONE && event->a > log->final_from) {
        jep_found(verdict,
                  JEP_LOG_START,
                  key,
                  event->done_ns,
                  "%s: what is below %" PRId64 " was given up, in the end it started at %" PRIu32,
                  jep_key_words(history, key),
                  event->a,
                  log->final_from);
    }
}

void jep_check_starts(struct jep_history *history, struct jep_verdict *verdict)
{
    for (size_t i = 0; i < history->events.count; i++) {
        const struct jep_event *event = &history->events.items[i];
        if (event->kind == JEP_FINAL || event->kind == JEP_SKIPPED) {
            judge_start(history, verdict, event);
        } else if (event->kind == JEP_TRUNCATE) {
            judge_truncation(history, verdict, event);
        }
    }
}
