#include "storage/log_tail.h"

#include "base/assert.h"
#include "base/mem.h"
#include "spate/error.h"

#define FIRST_CAPACITY 8

void sp_log_tail_clear(struct sp_log_tail *tail)
{
    while (tail->count > 0) {
        sp_log_tail_pop_back(tail);
    }
    sp_mem_free(tail->entries);
    *tail = (struct sp_log_tail){ .entries = NULL };
}

int sp_log_tail_reserve(struct sp_log_tail *tail)
{
    if (tail->count < tail->capacity) {
        return 0;
    }
    uint32_t capacity = tail->capacity == 0 ? FIRST_CAPACITY : 2 * tail->capacity;
    struct sp_tail_entry *entries = sp_mem_calloc(capacity, sizeof entries[0]);
    if (entries == NULL) {
        return SPATE_ERR_NOMEM;
    }
    for (uint32_t i = 0; i < tail->count; i++) {
        entries[i] = *sp_log_tail_at(tail, i);
    }
    sp_mem_free(tail->entries);
    tail->entries = entries;
    tail->capacity = capacity;
    tail->head = 0;
    return 0;
}

void sp_log_tail_push(struct sp_log_tail *tail, struct sp_slice frame, int64_t end_offset)
{
    SP_ASSERT(tail->count < tail->capacity);
    uint32_t slot = (tail->head + tail->count) & (tail->capacity - 1);

    tail->entries[slot] = (struct sp_tail_entry){ .frame = frame, .end_offset = end_offset };
    tail->count += 1;
    tail->bytes += frame.size;
}

struct sp_tail_entry *sp_log_tail_at(const struct sp_log_tail *tail, uint32_t n)
{
    SP_ASSERT(n < tail->count);
    return &tail->entries[(tail->head + n) & (tail->capacity - 1)];
}

void sp_log_tail_pop_front(struct sp_log_tail *tail)
{
    struct sp_tail_entry *entry = sp_log_tail_at(tail, 0);

    tail->bytes -= entry->frame.size;
    sp_slice_unref(&entry->frame);
    tail->head = (tail->head + 1) & (tail->capacity - 1);
    tail->count -= 1;
}

void sp_log_tail_pop_back(struct sp_log_tail *tail)
{
    struct sp_tail_entry *entry = sp_log_tail_at(tail, tail->count - 1);

    tail->bytes -= entry->frame.size;
    sp_slice_unref(&entry->frame);
    tail->count -= 1;
}
