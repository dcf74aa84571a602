/* What must hold of all that programs are told: a record that was acknowledged stands where it was
 * said to, one that was refused is nowhere, one that is read is the one that was committed, and no
 * end that is told lies before what was acknowledged. */
#include "sim_images.h"
#include "sim_model.h"
#include "sim_world.h"
#include "spate/error.h"

void sim_model_completed(uint64_t group_id, uint64_t index, uint64_t term, unsigned fsynced)
{
    const struct sim_group *group = sim_model_group(group_id);

    if (group == NULL || index > group->last_index || group->frames[index].term != term) {
        sim_fail(
            "group %llu: a submit at index %llu of term %llu is acknowledged, but not committed",
            (unsigned long long)group_id,
            (unsigned long long)index,
            (unsigned long long)term);
        return;
    }
    sim_images_check_committed(group_id, index, term, group->frames[index].crc);
    sim_images_check_fsynced(group_id, index, term, group->frames[index].crc, fsynced);
}

static const struct sim_record *record_at(uint32_t place, int64_t offset)
{
    const struct sim_group *group = sim_model.places[place].group;

    if (group == NULL || offset < 0 || offset >= group->next_offset) {
        return NULL;
    }
    return &group->records[offset];
}

void sim_model_acknowledged(uint32_t writer, uint32_t place, uint32_t number, int64_t offset)
{
    const struct sim_record *record = record_at(place, offset);

    sim_model.counts.acknowledged += 1;
    if (offset >= sim_model.places[place].acknowledged_end) {
        sim_model.places[place].acknowledged_end = offset + 1;
    }
    if (record == NULL) {
        sim_fail("place %u: writer %u was told that record %u is at offset %lld, which is not "
                 "committed",
                 place,
                 writer,
                 number,
                 (long long)offset);
        return;
    }
    if (record->writer != writer || record->number != number) {
        sim_fail("place %u: writer %u was told that record %u is at offset %lld, where record %u "
                 "of writer %u is",
                 place,
                 writer,
                 number,
                 (long long)offset,
                 record->number,
                 record->writer);
    }
}

void sim_model_end_told(uint32_t place, int64_t before, int64_t end)
{
    const struct sim_group *group = sim_model.places[place].group;
    int64_t committed = group == NULL ? 0 : group->next_offset;

    sim_model.counts.ends += 1;
    if (end < before) {
        sim_fail("place %u: the end is told to be %lld, but %lld was acknowledged before",
                 place,
                 (long long)end,
                 (long long)before);
    } else if (end > committed) {
        sim_fail("place %u: the end is told to be %lld, but %lld is committed",
                 place,
                 (long long)end,
                 (long long)committed);
    }
}

void sim_model_resumed(uint32_t writer, uint32_t place, int64_t records, int64_t offset)
{
    const struct sim_record *last = record_at(place, offset);

    sim_model.counts.takeovers += records > 0;
    if (records > 0 && (last == NULL || last->writer != writer || last->number + 1 != records)) {
        sim_fail("place %u: stream %u was told that it has %lld records, the last at offset %lld",
                 place,
                 writer,
                 (long long)records,
                 (long long)offset);
    } else if (records == 0 && offset != -1) {
        sim_fail("place %u: stream %u has no records, and the last at offset %lld",
                 place,
                 writer,
                 (long long)offset);
    }
}

/* Refused records, to be looked for at the end. */
static struct refused {
    uint32_t writer;
    uint32_t place;
    uint32_t number;
    int status;
} * refused;
static size_t refused_count;
static size_t refused_capacity;

void sim_model_refused(uint32_t writer, uint32_t place, uint32_t number, int status)
{
    sim_model.counts.refused += 1;
    if (refused_count == refused_capacity) {
        refused_capacity = refused_capacity == 0 ? 64 : 2 * refused_capacity;
        refused = sim_grow(refused, refused_capacity * sizeof *refused);
    }
    refused[refused_count] = (struct refused){ writer, place, number, status };
    refused_count += 1;
}

void sim_model_check_end(void)
{
    for (size_t i = 0; i < refused_count && !sim.failed; i++) {
        const struct sim_group *group = sim_model.places[refused[i].place].group;
        for (int64_t offset = 0; group != NULL && offset < group->next_offset; offset++) {
            const struct sim_record *record = &group->records[offset];
            if (record->writer == refused[i].writer && record->number == refused[i].number) {
                sim_fail("place %u: record %u of writer %u was reported as not stored (%s) and is "
                         "at offset %lld",
                         refused[i].place,
                         record->number,
                         record->writer,
                         spate_error_name(refused[i].status),
                         (long long)offset);
                break;
            }
        }
    }
}

void sim_model_read(uint32_t place,
                    int64_t expected,
                    int64_t offset,
                    const uint8_t *value,
                    size_t size,
                    int64_t high_watermark)
{
    const struct sim_record *record = record_at(place, offset);
    uint32_t writer = 0;
    uint32_t value_place = 0;
    uint32_t number = 0;

    sim_model.counts.read += 1;
    if (offset != expected) {
        sim_fail("place %u: a consumer at offset %lld was given offset %lld",
                 place,
                 (long long)expected,
                 (long long)offset);
    } else if (record == NULL) {
        sim_fail("place %u: a consumer read offset %lld, which is not committed",
                 place,
                 (long long)offset);
    } else if (!sim_value_read(value, size, &writer, &value_place, &number) ||
               value_place != place || record->writer != writer || record->number != number) {
        sim_fail("place %u: a consumer read another record at offset %lld than was committed",
                 place,
                 (long long)offset);
    } else if (high_watermark <= offset) {
        sim_fail("place %u: offset %lld was read above the high watermark %lld",
                 place,
                 (long long)offset,
                 (long long)high_watermark);
    } else if (high_watermark > sim_model.places[place].group->next_offset) {
        sim_fail("place %u: a consumer is told the high watermark %lld, and %lld is committed",
                 place,
                 (long long)high_watermark,
                 (long long)sim_model.places[place].group->next_offset);
    }
}
