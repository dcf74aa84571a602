/* Failures of records, told. */
#include "cli/produce_failures.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    FAILURES_SHOWN = 5,
};

/* The first failure with this code? Reasons that come late would be hidden by the first ones. */
static bool is_new(struct produce *produce, int status)
{
    uint64_t bit = UINT64_C(1) << (unsigned)(-status % 64);
    bool fresh = (produce->codes_told & bit) == 0;

    produce->codes_told |= bit;
    return fresh;
}

/* The next process takes the rest: to run this one again beside it would end that one. */
static void tell_fenced(struct produce *produce, const char *text)
{
    if (!produce->fenced) {
        tell("%s: %s; that one stores what is missing of its own input: run one process at a time "
             "with a name",
             spate_error_name(SPATE_ERR_PRODUCER_FENCED),
             text);
    }
    produce->fenced = true;
}

static void tell_failed(const char *topic, int32_t partition, int status, const char *text)
{
    tell("a record for %s/%d failed: %s: %s", topic, partition, spate_error_name(status), text);
}

/* Under a name the first failure in a partition is the end there, and all others have its reason.
 * Of records whose outcome is not known the library alone knows the reason. */
static void note_first(struct produce *produce, const struct spate_delivery *delivery)
{
    if (produce->first.status == 0 && is_new(produce, delivery->status)) {
        produce->first.status = delivery->status;
        produce->first.partition = delivery->partition;
        (void)snprintf(produce->first.text, sizeof produce->first.text, "%s", delivery->text);
    }
}

void failures_tell_first(struct produce *produce)
{
    int status = produce->first.status;
    int32_t partition = produce->first.partition;
    int64_t records = 0;
    int64_t offset = 0;

    produce->first.status = 0;
    if (status == 0) {
        return;
    }
    if (spate_producer_stored(produce->producer, produce->topic, partition, &records, &offset) ==
        SPATE_ERR_PRODUCER_FENCED) {
        tell_fenced(produce, spate_client_error(produce->cli->client));
    } else {
        tell_failed(produce->topic, partition, status, produce->first.text);
    }
}

/* The first few, and the first of each reason. */
static bool is_told(struct produce *produce, int status)
{
    return is_new(produce, status) || produce->progress.failed <= FAILURES_SHOWN;
}

void failure_of_delivery(struct produce *produce, const struct spate_delivery *delivery)
{
    if (produce->resume.name != NULL) {
        note_first(produce, delivery);
    } else if (is_told(produce, delivery->status)) {
        tell_failed(delivery->topic, delivery->partition, delivery->status, delivery->text);
    }
}

void failure_of_record(struct produce *produce, int status, const char *text)
{
    if (status == SPATE_ERR_PRODUCER_FENCED) {
        tell_fenced(produce, text);
    } else if (is_told(produce, status)) {
        tell("record %" PRIu64 ": %s", produce->read, text);
    }
}
