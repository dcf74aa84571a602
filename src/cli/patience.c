/* Silence, and whose fault it is. */
#include "cli/patience.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/value.h"
#include "io/clock.h"

enum {
    TIMEOUT_DEFAULT_MS = 30000, /* libspate's own */
    ASK_MS = 1000,              /* where the command ends with the answer, */
    ASK_LONGER_MS = 5000,       /* and where it does not */
    NAMED_MAX = 8,              /* partitions, the others are counted */
    NAMES_SIZE = 4096,
    TROUBLE_SIZE = NAMES_SIZE + 400,
    LOOKS = 4,           /* within the time after which silence ends the command */
    AGAIN = 2,           /* times that long: the next look while all is well, and the next word */
    SILENT_US = 1000000, /* without a record for so long: that is worth saying, too */
};

void patience_begin(struct patience *patience)
{
    int64_t timeout_ms = patience->cli->timeout_ms;

    timeout_ms = timeout_ms > 0 ? timeout_ms : TIMEOUT_DEFAULT_MS;
    patience->look =
        (struct look){ .topics = patience->topics, .group = patience->group, .running = false };
    patience->ask_ms = timeout_ms > 4 * ASK_MS ? ASK_MS : timeout_ms / 4 + 1;
    patience->timeout_us = (uint64_t)timeout_ms * 1000;
    patience->last_us = (uint64_t)(timeout_ms - patience->ask_ms) * 1000;
    patience->pause_us = patience->last_us / LOOKS;
    patience->told_us = 0;
    patience_renew(patience);
    patience->looked_us = patience->since_us;
}

void patience_end(struct patience *patience)
{
    look_drop(&patience->look);
}

void patience_renew(struct patience *patience)
{
    patience->since_us = sp_clock_us();
    patience->led_us = patience->since_us;
}

/* ---- who leads ------------------------------------------------------------------------------- */

/* Is it one of those that are read? */
static bool is_wanted(const struct patience *patience, const char *topic, int64_t partition)
{
    int64_t position = 0;
    int rv = spate_consumer_position(*patience->consumer, topic, (int32_t)partition, &position);

    return rv == 0;
}

static void add_name(char names[NAMES_SIZE], unsigned count, const char *topic, int64_t partition)
{
    size_t used = strlen(names);

    if (count < NAMED_MAX) {
        (void)snprintf(names + used,
                       NAMES_SIZE - used,
                       "%s%s/%" PRId64,
                       used == 0 ? "" : ", ",
                       topic,
                       partition);
    }
}

/* "topic/partition" for each partition of the answer that is read and has no leader; "": none. */
static void
name_leaderless(const struct patience *patience, const json_t *metadata, char names[NAMES_SIZE])
{
    const json_t *topics = json_object_get(metadata, "topics");
    unsigned count = 0;

    names[0] = '\0';
    for (size_t i = 0; i < json_array_size(topics); i++) {
        const json_t *topic = json_array_get(topics, i);
        const json_t *partitions = json_object_get(topic, "partitions");
        for (size_t j = 0; j < json_array_size(partitions); j++) {
            const json_t *row = json_array_get(partitions, j);
            int64_t number = value_number(row, "partition");
            if (!look_has_leader(row) && is_wanted(patience, value_text(topic, "name"), number)) {
                add_name(names, count, value_text(topic, "name"), number);
                count += 1;
            }
        }
    }
    if (count > NAMED_MAX) {
        size_t used = strlen(names);
        (void)snprintf(names + used, NAMES_SIZE - used, " and %u more", count - NAMED_MAX);
    }
}

static void begin_look(struct patience *patience, int64_t ask_ms, uint64_t now_us)
{
    look_begin(&patience->look, patience->cli, ask_ms);
    patience->looked_us = now_us;
}

/* Why there is silence, as the look saw it; "": for no reason that can be seen. */
static void end_look(struct patience *patience, char trouble[TROUBLE_SIZE])
{
    static const char advice[] = "replicas running? (spate cluster health)";
    struct look *look = &patience->look;
    char names[NAMES_SIZE];

    trouble[0] = '\0';
    look_end(look);
    if (look->metadata == NULL) {
        if (patience->since_us < patience->looked_us) { /* else somebody has answered */
            (void)snprintf(trouble, TROUBLE_SIZE, "no server answers: are the nodes running?");
        }
        return;
    }
    name_leaderless(patience, look->metadata, names);
    if (names[0] != '\0') {
        (void)snprintf(trouble,
                       TROUBLE_SIZE,
                       "partitions without a leader: %s: are most of their %s",
                       names,
                       advice);
    } else if (look->lacks_coordinator) {
        (void)snprintf(trouble,
                       TROUBLE_SIZE,
                       "the coordinator of group %.249s has no leader: are most of its %s",
                       patience->group,
                       advice);
    }
}

/* ---- silence --------------------------------------------------------------------------------- */

int patience_check(struct patience *patience)
{
    struct look *look = &patience->look;
    uint64_t now_us = sp_clock_us();
    char trouble[TROUBLE_SIZE];

    if (now_us - patience->since_us < patience->last_us) {
        return 0;
    }
    if (!look->running || patience->looked_us < patience->since_us) {
        begin_look(patience, patience->ask_ms, now_us);
    }
    if (now_us - patience->since_us < patience->timeout_us) {
        return 0;
    }
    end_look(patience, trouble);
    tell("TIMEOUT: no record for %" PRIu64 " ms before the end was reached: %s",
         patience->timeout_us / 1000,
         trouble[0] != '\0' ? trouble : "does the leader hang? (spate cluster health)");
    return EXIT_TIMEOUT;
}

/* The one whose answer may end the command. */
static bool is_last(const struct patience *patience, uint64_t begun_us)
{
    return patience->ends && begun_us - patience->led_us >= patience->last_us &&
           begun_us > patience->led_us;
}

static bool last_is_due(const struct patience *patience, uint64_t now_us)
{
    return is_last(patience, now_us) && !is_last(patience, patience->looked_us);
}

/* Silence that has begun is looked into early, all else now and then. */
static bool is_due(const struct patience *patience, uint64_t now_us)
{
    bool fresh = patience->looked_us <= patience->since_us;

    return now_us - patience->looked_us >= patience->pause_us ||
           (fresh && now_us - patience->since_us >= patience->last_us / LOOKS);
}

static void look_longer(struct patience *patience, uint64_t now_us)
{
    int64_t pause_ms = (int64_t)(patience->last_us / LOOKS / 1000);
    int64_t ask_ms = pause_ms < ASK_LONGER_MS ? pause_ms : ASK_LONGER_MS;

    begin_look(patience, ask_ms > patience->ask_ms ? ask_ms : patience->ask_ms, now_us);
}

/* When the last record came, always in the same words. */
static void add_date(struct patience *patience, uint64_t now_us, char *text, size_t size)
{
    struct tm parts;

    if (patience->dated_us != patience->since_us) {
        int64_t age_ms = (int64_t)((now_us - patience->since_us) / 1000);
        patience->dated_us = patience->since_us;
        patience->date = (sp_clock_wall_ms() - age_ms) / 1000;
    }
    time_t date = (time_t)patience->date;
    if (now_us - patience->since_us >= SILENT_US && gmtime_r(&date, &parts) != NULL) {
        (void)strftime(text, size, ": no record since %Y-%m-%dT%H:%M:%SZ", &parts);
    }
}

static void note_waiting(struct patience *patience, const char *trouble, uint64_t now_us)
{
    char date[64] = "";

    add_date(patience, now_us, date, sizeof date);
    note(patience->cli, "waiting: %s%s", trouble, date);
    patience->told_us = now_us;
}

static void all_is_well(struct patience *patience, uint64_t now_us)
{
    uint64_t most_us = patience->last_us * AGAIN;
    bool keen = patience->ends || patience->told_us != 0;

    if (patience->told_us != 0) {
        note(patience->cli, "goes on: there is somebody to read from again");
    }
    patience->told_us = 0;
    patience->led_us = now_us;
    if (!keen) { /* who watches a quiet topic for days need not ask all the time */
        patience->pause_us = patience->pause_us < most_us / 2 ? 2 * patience->pause_us : most_us;
    }
}

/* What the look that has ended says. */
static int take_look(struct patience *patience, uint64_t now_us)
{
    bool last = is_last(patience, patience->looked_us);
    char trouble[TROUBLE_SIZE];

    end_look(patience, trouble);
    if (trouble[0] == '\0') {
        all_is_well(patience, now_us);
        return 0;
    }
    patience->pause_us = patience->last_us / LOOKS;
    if (patience->told_us == 0 || now_us - patience->told_us >= AGAIN * patience->last_us) {
        note_waiting(patience, trouble, now_us);
    }
    if (!last) {
        return 0;
    }
    tell("TIMEOUT: for %" PRIu64 " ms no majority of the replicas has answered: %s",
         patience->timeout_us / 1000,
         trouble);
    return EXIT_TIMEOUT;
}

int patience_tell(struct patience *patience)
{
    const struct look *look = &patience->look;
    uint64_t now_us = sp_clock_us();

    if (last_is_due(patience, now_us)) {
        begin_look(patience, patience->ask_ms, now_us);
    } else if (!look->running && is_due(patience, now_us)) {
        look_longer(patience, now_us);
    }
    if (!look->running || !look_ended(look) ||
        (is_last(patience, patience->looked_us) &&
         now_us - patience->led_us < patience->timeout_us)) {
        return 0;
    }
    return take_look(patience, now_us);
}
