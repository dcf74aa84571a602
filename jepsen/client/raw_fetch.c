/* Fetching over plain sockets: batches are unpacked here, and each byte of a record is checked. */
#include <inttypes.h>

#include "raw.h"
#include "value.h"
#include "wire/batch.h"

enum {
    CALL_MS = 2000,
    FETCH_BYTES = 262144,
};

static void
write_poll(struct jep_client *client, uint32_t partition, const char *mark, struct jep_runs *runs)
{
    const char *text = jep_runs_text(runs);

    if (text[0] != '\0') {
        jep_history_line(client->history,
                         jep_history_operation(client->history),
                         "ok poll p=%" PRIu32 "%s r=%s",
                         partition,
                         mark,
                         text);
    }
    jep_runs_reset(runs);
}

static void take_record(struct jep_client *client,
                        uint32_t partition,
                        const char *mark,
                        const struct sp_record_view *record,
                        struct jep_runs *runs)
{
    struct jep_name name;
    struct sp_record_header header = { 0 };
    size_t at = 0;

    (void)sp_record_header_next(record, &at, &header); /* most have none */
    const struct jep_record read = {
        .key = record->key.bytes,
        .key_size = record->key.size,
        .value = record->value.bytes,
        .value_size = record->value.size,
        .name = header.value.bytes,
        .name_size = header.value.size,
    };
    const char *bad = jep_record_check(&read, partition, client->options.keys, &name);

    if (bad != NULL) {
        jep_history_line(client->history,
                         jep_history_operation(client->history),
                         "ok bad p=%" PRIu32 " o=%" PRId64 " why=%s",
                         partition,
                         record->offset,
                         bad);
    } else if (jep_runs_add(runs, record->offset, name.client, name.sequence) != 0) {
        write_poll(client, partition, mark, runs);
        (void)jep_runs_add(runs, record->offset, name.client, name.sequence); /* it is empty */
    }
}

/* The records of all batches from *position on. */
static int take_batches(struct jep_client *client,
                        uint32_t partition,
                        const char *mark,
                        struct sp_bytes batches,
                        int64_t *position)
{
    static struct jep_runs runs;
    struct sp_bytes batch;
    size_t at = 0;
    int count = 0;

    jep_runs_reset(&runs);
    while (sp_batch_next(batches.bytes, batches.size, &at, &batch) == 0) {
        struct sp_batch_reader reader;
        struct sp_record_view record;
        if (sp_batch_reader_init(
                &reader, batch.bytes, batch.size, SP_BATCH_DECOMPRESSED_BYTES_MAX) != 0) {
            jep_history_line(client->history,
                             jep_history_operation(client->history),
                             "ok bad p=%" PRIu32 " o=%" PRId64 " why=batch",
                             partition,
                             *position);
            break;
        }
        while (sp_batch_reader_next(&reader, &record)) {
            if (record.offset >= *position) {
                take_record(client, partition, mark, &record, &runs);
                *position = record.offset + 1;
                count += 1;
            }
        }
        /* A batch of a compacted topic may have lost its last records, or all. */
        int64_t behind = reader.header.base_offset + reader.header.last_offset_delta + 1;
        *position = behind > *position ? behind : *position;
        sp_batch_reader_deinit(&reader);
    }
    write_poll(client, partition, mark, &runs);
    return count;
}

int jep_raw_fetch(struct jep_raw *raw,
                  uint32_t partition,
                  char address[JEP_ADDRESS_MAX],
                  const char *mark,
                  int64_t *position)
{
    struct jep_client *client = jep_raw_client(raw);
    struct sp_cursor result;
    struct sp_pack *pack = jep_raw_begin(raw, "fetch");

    sp_pack_map(pack, 5);
    sp_pack_text(pack, "topic");
    sp_pack_text(pack, client->options.topic);
    sp_pack_text(pack, "partition");
    sp_pack_uint(pack, partition);
    sp_pack_text(pack, "offset");
    sp_pack_int(pack, *position);
    sp_pack_text(pack, "max_bytes");
    sp_pack_uint(pack, FETCH_BYTES);
    sp_pack_text(pack, "format");
    sp_pack_text(pack, "batch");
    int rv = jep_raw_call(raw, address, CALL_MS, &result);
    if (rv != 0) {
        return rv;
    }
    uint32_t left = sp_cursor_map(&result);
    if (!jep_raw_key(&result, &left, "records")) {
        jep_die(client, "fetch without records", SPATE_ERR_MALFORMED);
    }
    return take_batches(client, partition, mark, sp_cursor_bytes(&result), position);
}
