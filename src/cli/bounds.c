/* Bounds of what is consumed. */
#include "cli/bounds.h"

#include <stdlib.h>
#include <string.h>

static void close_if_reached(struct bounds *bounds, struct bound *bound)
{
    if (bound->open && bound->next >= bound->stop) {
        bound->open = false;
        bounds->open -= 1;
    }
}

bool bounds_add(struct bounds *bounds, const struct bound *bound)
{
    struct bound *grown = realloc(bounds->list, (bounds->count + 1) * sizeof *grown);

    if (grown == NULL) {
        return false;
    }
    bounds->list = grown;
    grown[bounds->count] = *bound;
    grown[bounds->count].open = true;
    bounds->open += 1;
    close_if_reached(bounds, &grown[bounds->count]);
    bounds->count += 1;
    return true;
}

void bounds_stop_at(struct bounds *bounds, struct bound *bound, int64_t stop)
{
    bound->stop = stop;
    close_if_reached(bounds, bound);
}

void bounds_pass(struct bounds *bounds, struct bound *bound, int64_t next)
{
    bound->next = next > bound->next ? next : bound->next;
    close_if_reached(bounds, bound);
}

/* Records of a partition come in runs: the bound of the record before is looked at first. */
static struct bound *find(struct bounds *bounds, const struct spate_message *message)
{
    for (size_t i = 0; i < bounds->count; i++) {
        size_t at = (bounds->last + i) % bounds->count;
        struct bound *bound = &bounds->list[at];
        if (bound->partition == message->partition && strcmp(bound->topic, message->topic) == 0) {
            bounds->last = at;
            return bound;
        }
    }
    return NULL;
}

bool bounds_take(struct bounds *bounds, const struct spate_message *message)
{
    struct bound *bound = find(bounds, message);

    if (bound == NULL) {
        return true;
    }
    if (bound->open && bounds->at_ms >= 0 && bound->stop == BOUND_UNKNOWN &&
        message->timestamp_ms >= bounds->at_ms) {
        bound->stop = message->offset;
    }
    bool wanted = bound->open && message->offset < bound->stop;
    bounds->surplus = bounds->surplus || !bound->open;
    bound->next = message->offset + 1;
    close_if_reached(bounds, bound);
    return wanted;
}

bool bounds_reached(const struct bounds *bounds)
{
    return bounds->set && bounds->open == 0;
}

void bounds_free(struct bounds *bounds)
{
    free(bounds->list);
    *bounds = (struct bounds){ .at_ms = -1 };
}
