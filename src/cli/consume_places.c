/* The list of places, in the order in which they were named. */
#include "cli/consume_places.h"

#include <stdlib.h>
#include <string.h>

bool places_have(const struct consume_places *places, const char *topic, uint32_t partition)
{
    for (size_t i = places->topic_begin; i < places->count; i++) {
        const struct consume_place *place = &places->list[i];
        if (place->partition == partition && strcmp(place->topic, topic) == 0) {
            return true;
        }
    }
    return false;
}

bool places_add(struct consume_places *places, const struct consume_place *place)
{
    if (places->count == places->capacity) {
        size_t capacity = places->capacity == 0 ? 64 : 2 * places->capacity;
        struct consume_place *grown = realloc(places->list, capacity * sizeof *grown);
        if (grown == NULL) {
            return false;
        }
        places->list = grown;
        places->capacity = capacity;
    }
    if (places->count > 0 && strcmp(places->list[places->count - 1].topic, place->topic) != 0) {
        places->topic_begin = places->count;
    }
    places->list[places->count++] = *place;
    return true;
}

int places_assign(const struct consume_places *places, struct spate_consumer *consumer)
{
    int rv = 0;

    for (size_t i = 0; rv == 0 && i < places->count; i++) {
        const struct consume_place *place = &places->list[i];
        rv =
            spate_consumer_assign(consumer, place->topic, (int32_t)place->partition, place->offset);
    }
    return rv;
}

void places_free(struct consume_places *places)
{
    free(places->list);
    *places = (struct consume_places){ 0 };
}
