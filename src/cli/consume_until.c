#include "cli/consume_until.h"

#include "cli/consume_member.h"
#include "io/clock.h"

int until_settle(struct cli *cli, struct bounds *bounds)
{
    if (bounds->at_ms < 0 || sp_clock_wall_ms() < bounds->at_ms) {
        return 0;
    }
    for (size_t i = 0; i < bounds->count; i++) {
        struct bound *bound = &bounds->list[i];
        int64_t stop = 0;
        if (!bound->open || bound->stop != BOUND_UNKNOWN) {
            continue;
        }
        int rv = spate_offsets(
            cli->client, bound->topic, (uint32_t)bound->partition, bounds->at_ms, &stop);
        if (rv != 0) {
            return tell_failure(cli, rv, NULL);
        }
        bounds_stop_at(bounds, bound, stop);
    }
    return 0;
}

void until_follow(struct bounds *bounds, const struct spate_consumer *consumer)
{
    for (size_t i = 0; i < bounds->count; i++) {
        struct bound *bound = &bounds->list[i];
        int64_t position = 0;

        if (bound->open &&
            spate_consumer_position(consumer, bound->topic, bound->partition, &position) == 0) {
            bounds_pass(bounds, bound, position);
        }
    }
}

int until_drop_closed(struct cli *cli, struct bounds *bounds, struct spate_consumer **consumer)
{
    spate_consumer_free(*consumer);
    *consumer = NULL;
    bounds->surplus = false;
    int rv = consumer_of_its_own(cli->client, consumer);
    for (size_t i = 0; rv == 0 && i < bounds->count; i++) {
        const struct bound *bound = &bounds->list[i];
        if (bound->open) {
            rv = spate_consumer_assign(*consumer, bound->topic, bound->partition, bound->next);
        }
    }
    return rv == 0 ? 0 : tell_failure(cli, rv, NULL);
}
