#include "cli/resume.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"

static uint32_t sum_of(const struct resume_rules *rules)
{
    uint32_t sum = rules->key == NULL ? 0 : 1;

    if (rules->key != NULL) {
        sum = sp_crc32c(sum, rules->key, strlen(rules->key) + 1);
    }
    sum = sp_crc32c(sum, rules->split, strlen(rules->split) + 1);
    return sp_crc32c(sum, rules->topic, strlen(rules->topic) + 1);
}

void resume_layout(char *out, size_t size, const struct resume_rules *rules)
{
    char to[16] = "any";

    if (rules->partition >= 0) {
        (void)snprintf(to, sizeof to, "%" PRId32, rules->partition);
    }
    (void)snprintf(out,
                   size,
                   "partitions=%" PRIu32
                   " to=%s key=%.40s split=%.50s topic=%.60s rules=%08" PRIx32,
                   rules->partitions,
                   to,
                   rules->key == NULL ? "" : rules->key,
                   rules->split,
                   rules->topic,
                   sum_of(rules)); /* of what is cut off or cannot be shown */
    for (char *at = out; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || (unsigned char)*at >= 0x7f) {
            *at = '?'; /* what the servers do not take as text */
        }
    }
}

int resume_begin(struct resume *resume,
                 struct cli *cli,
                 struct spate_producer *producer,
                 const char *topic,
                 int32_t only)
{
    uint64_t total = 0;

    resume->stored = calloc(resume->partitions, sizeof *resume->stored);
    resume->seen = calloc(resume->partitions, sizeof *resume->seen);
    if (resume->stored == NULL || resume->seen == NULL) {
        tell("out of memory");
        return EXIT_FAILED;
    }
    for (uint32_t i = 0; i < resume->partitions; i++) {
        int64_t records = 0;
        int64_t offset = 0;
        if (only >= 0 && i != (uint32_t)only) {
            continue;
        }
        int rv = spate_producer_stored(producer, topic, (int32_t)i, &records, &offset);
        if (rv != 0) {
            return tell_failure(cli, rv, NULL);
        }
        resume->stored[i] = (uint64_t)records;
        total += (uint64_t)records;
    }
    if (total > 0) {
        note(cli,
             "`%s` goes on: %" PRIu64 " record%s stored already and will be skipped",
             resume->name,
             total,
             total == 1 ? " is" : "s are");
    } else {
        note(cli, "`%s` begins: nothing is stored under this name yet", resume->name);
    }
    return 0;
}

static int32_t route(const struct resume *resume, const struct spate_record *record)
{
    if (record->partition != SPATE_PARTITION_ANY) {
        return record->partition;
    }
    if (record->key != NULL) {
        return (int32_t)spate_partition_of_key(record->key, record->key_size, resume->partitions);
    }
    return (int32_t)(resume->number % resume->partitions);
}

bool resume_skips(struct resume *resume, struct spate_record *record)
{
    record->partition = route(resume, record);
    resume->number += 1;
    if ((uint32_t)record->partition >= resume->partitions) {
        return false; /* the library refuses it */
    }
    resume->seen[record->partition] += 1;
    if (resume->seen[record->partition] > resume->stored[record->partition]) {
        return false;
    }
    resume->skipped += 1;
    return true;
}

int resume_end(const struct resume *resume)
{
    for (uint32_t i = 0; i < resume->partitions; i++) {
        if (resume->seen[i] < resume->stored[i]) {
            tell("partition %" PRIu32 " has %" PRIu64 " record%s of `%s`, the input only %" PRIu64
                 " for it: this is not the same input",
                 i,
                 resume->stored[i],
                 plural((int64_t)resume->stored[i]),
                 resume->name,
                 resume->seen[i]);
            return EXIT_FAILED;
        }
    }
    return 0;
}

void resume_deinit(struct resume *resume)
{
    free(resume->stored);
    free(resume->seen);
}
