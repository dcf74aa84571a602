/* Sending, reading and asking over plain sockets: RecordBatches of a known producer, which are sent
 * again until an answer comes, and plain records of nobody, which are sent once. */
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "raw.h"
#include "value.h"
#include "wire/batch.h"

enum {
    CALL_MS = 2000,
    PAUSE_NS = 50 * 1000 * 1000, /* before another try */
    READ_PAUSE_NS = 10 * 1000 * 1000,
    BATCH_BYTES = 1024 * 1024,
};

/* By partition. */
struct place {
    char leader[JEP_ADDRESS_MAX];
    int64_t producer_id; /* -1: none yet */
    int16_t producer_epoch;
    int32_t batch_sequence; /* of the next batch of this producer */
    uint32_t sequence;      /* of the next record, for its name */
    int64_t position;       /* of the next record to read */
};

static struct {
    struct jep_client *client;
    struct jep_raw *raw;
    struct place places[JEP_PARTITIONS_MAX];
    struct sp_buf batch;
    uint8_t value[JEP_VALUE_MAX];
} all;

static void pause_a_little(void)
{
    jep_wait(all.client, jep_now_ns() + PAUSE_NS);
}

/* ---- sending --------------------------------------------------------------------------------- */

static int init_producer(struct place *place)
{
    struct sp_cursor result;
    char address[JEP_ADDRESS_MAX];

    jep_raw_any(all.raw, address);
    sp_pack_map(jep_raw_begin(all.raw, "producer.init"), 0);
    int rv = jep_raw_call(all.raw, address, CALL_MS, &result);
    if (rv != 0) {
        return rv;
    }
    uint32_t left = sp_cursor_map(&result);
    while (left > 0) {
        struct sp_bytes key = sp_cursor_text(&result);
        int64_t number = sp_cursor_int(&result, 0, INT64_MAX);
        if (key.bytes == NULL) {
            break;
        }
        if (key.size == sizeof "producer_id" - 1) {
            place->producer_id = number;
        } else {
            place->producer_epoch = (int16_t)number;
        }
        left -= 1;
    }
    place->batch_sequence = 0;
    return sp_cursor_status(&result);
}

static void begin_produce(struct sp_pack **out_pack, uint32_t partition)
{
    struct sp_pack *pack = jep_raw_begin(all.raw, "produce");

    sp_pack_map(pack, 3);
    sp_pack_text(pack, "topic");
    sp_pack_text(pack, all.client->options.topic);
    sp_pack_text(pack, "partition");
    sp_pack_uint(pack, partition);
    sp_pack_text(pack, "records");
    *out_pack = pack;
}

/* The value of a record, or of the header of a tombstone; valid until the next one. */
static struct sp_bytes make_value(const struct jep_name *name)
{
    const struct jep_options *options = &all.client->options;
    size_t size = jep_is_tombstone(name, options->keys) ? JEP_NAME_BYTES : options->size;

    jep_value_make(name, all.value, size);
    return (struct sp_bytes){ all.value, size };
}

/* A batch of the partition's producer. */
static void pack_batch(uint32_t partition, uint32_t count)
{
    struct place *place = &all.places[partition];
    struct sp_batch_builder builder;
    struct sp_pack *pack;
    int rv = 0;

    sp_batch_builder_init(&builder, BATCH_BYTES, SP_COMPRESSION_LZ4);
    for (uint32_t i = 0; rv == 0 && i < count; i++) {
        struct jep_name name = { all.client->options.id, partition, place->sequence + i };
        char key[JEP_KEY_MAX];
        size_t key_size = jep_key_make(&name, all.client->options.keys, key);
        struct sp_bytes value = make_value(&name);
        const struct sp_record_header header = {
            { (const uint8_t *)JEP_NAME_HEADER, sizeof JEP_NAME_HEADER - 1 }, value
        };
        bool tombstone = jep_is_tombstone(&name, all.client->options.keys);
        struct sp_record record = {
            .timestamp_ms = 1700000000000,
            .key = { (const uint8_t *)key, key_size },
            .value = tombstone ? (struct sp_bytes){ 0 } : value,
            .headers = tombstone ? &header : NULL,
            .header_count = tombstone ? 1 : 0,
        };
        rv = sp_batch_builder_add(&builder, &record);
    }
    sp_buf_clear(&all.batch);
    if (rv == 0) {
        rv = sp_batch_builder_finish(
            &builder, place->producer_id, place->producer_epoch, place->batch_sequence, &all.batch);
    }
    sp_batch_builder_deinit(&builder);
    if (rv != 0) {
        jep_die(all.client, "batch", rv);
    }
    begin_produce(&pack, partition);
    sp_pack_bin(pack, (struct sp_bytes){ all.batch.bytes, all.batch.size });
}

static void pack_records(uint32_t partition, uint32_t count)
{
    struct place *place = &all.places[partition];
    struct sp_pack *pack;

    begin_produce(&pack, partition);
    sp_pack_array(pack, count);
    for (uint32_t i = 0; i < count; i++) {
        struct jep_name name = { all.client->options.id, partition, place->sequence + i };
        char key[JEP_KEY_MAX];
        size_t key_size = jep_key_make(&name, all.client->options.keys, key);
        struct sp_bytes value = make_value(&name);
        bool tombstone = jep_is_tombstone(&name, all.client->options.keys);
        sp_pack_map(pack, 2);
        sp_pack_text(pack, "k");
        sp_pack_bin(pack, (struct sp_bytes){ (const uint8_t *)key, key_size });
        sp_pack_text(pack, tombstone ? "h" : "v");
        if (tombstone) {
            sp_pack_map(pack, 1);
            sp_pack_text(pack, JEP_NAME_HEADER);
        }
        sp_pack_bin(pack, value);
    }
}

/* Sends what is packed until the outcome is known, or until the deadline. A batch of a known
 * producer may be sent again after an unclear outcome, plain records not. *out_unclear: some try
 * may have stored it. */
static int
send_packed(struct place *place, bool known, bool *out_unclear, struct sp_cursor *out_result)
{
    int64_t deadline_ns = jep_now_ns() + (int64_t)all.client->options.timeout_ms * 1000000;
    int rv = jep_raw_call(all.raw, place->leader, CALL_MS, out_result);

    *out_unclear = rv != 0 && !jep_raw_nothing_done(rv);
    while (rv != 0 && spate_error_retriable(rv) && (known || !*out_unclear) &&
           jep_now_ns() < deadline_ns && jep_goes_on(all.client)) {
        if (rv != SPATE_ERR_NOT_LEADER) {
            pause_a_little();
        }
        rv = jep_raw_call_again(all.raw, place->leader, CALL_MS, out_result);
        *out_unclear = *out_unclear || (rv != 0 && !jep_raw_nothing_done(rv));
    }
    return rv;
}

static void send_burst(uint32_t partition, bool known)
{
    struct jep_history *history = all.client->history;
    struct place *place = &all.places[partition];
    uint32_t count = jep_draw(all.client, all.client->options.burst);
    struct sp_cursor result;
    bool unclear = false;
    int64_t offset = -1;

    if (known && place->producer_id < 0 && init_producer(place) != 0) {
        pause_a_little();
        return;
    }
    if (known) {
        pack_batch(partition, count);
    } else {
        pack_records(partition, count);
    }
    uint64_t number = jep_history_operation(history);
    uint32_t first = place->sequence;
    jep_history_line(history,
                     number,
                     "invoke send p=%" PRIu32 " v=%" PRIu32 "+%" PRIu32,
                     partition,
                     first,
                     count);
    jep_history_flush(history);
    place->sequence += count;
    int rv = send_packed(place, known, &unclear, &result);
    if (rv == 0) {
        uint32_t left = sp_cursor_map(&result);
        offset = jep_raw_key(&result, &left, "offset") ? sp_cursor_int(&result, 0, INT64_MAX) : -1;
        place->batch_sequence += known ? (int32_t)count : 0;
    } else if (known) {
        place->producer_id = -1; /* the next batch must not follow one that may be missing */
    }
    if (rv == 0 && offset >= 0) {
        jep_history_line(history,
                         number,
                         "ok send p=%" PRIu32 " v=%" PRIu32 "+%" PRIu32 " o=%" PRId64,
                         partition,
                         first,
                         count,
                         offset);
        return;
    }
    bool unknown = unclear || rv == 0 || rv == SPATE_ERR_EXISTS;
    jep_history_line(history,
                     number,
                     "%s send p=%" PRIu32 " v=%" PRIu32 "+%" PRIu32 " e=%s",
                     unknown ? "info" : "fail",
                     partition,
                     first,
                     count,
                     spate_error_name(rv));
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Sometimes from another place: the reader says so. */
static void read_some(uint32_t partition)
{
    struct place *place = &all.places[partition];

    if (sp_rand_below(&all.client->rand, 64) == 0) {
        int64_t back = (int64_t)sp_rand_below(&all.client->rand, 1000);
        place->position = place->position > back ? place->position - back : 0;
        jep_history_line(all.client->history,
                         jep_history_operation(all.client->history),
                         "ok assign p=%" PRIu32 " o=%" PRId64,
                         partition,
                         place->position);
    }
    int rv = jep_raw_fetch(all.raw, partition, place->leader, "", &place->position);
    if (rv < 0 && rv != SPATE_ERR_NOT_LEADER) {
        pause_a_little();
    }
}

static void ask_end(uint32_t partition)
{
    struct jep_history *history = all.client->history;
    struct place *place = &all.places[partition];
    uint64_t number = jep_history_operation(history);
    struct sp_cursor result;
    struct sp_pack *pack = jep_raw_begin(all.raw, "offsets");

    sp_pack_map(pack, 3);
    sp_pack_text(pack, "topic");
    sp_pack_text(pack, all.client->options.topic);
    sp_pack_text(pack, "partition");
    sp_pack_uint(pack, partition);
    sp_pack_text(pack, "at");
    sp_pack_text(pack, "latest");
    jep_history_line(history, number, "invoke offsets p=%" PRIu32, partition);
    int rv = jep_raw_call(all.raw, place->leader, CALL_MS, &result);
    if (rv == 0) {
        uint32_t left = sp_cursor_map(&result);
        int64_t end =
            jep_raw_key(&result, &left, "offset") ? sp_cursor_int(&result, 0, INT64_MAX) : -1;
        jep_history_line(history, number, "ok offsets p=%" PRIu32 " end=%" PRId64, partition, end);
    } else {
        jep_history_line(
            history, number, "fail offsets p=%" PRIu32 " e=%s", partition, spate_error_name(rv));
    }
}

static void begin(struct jep_client *client)
{
    all.client = client;
    all.raw = jep_raw_new(client);
    sp_buf_init(&all.batch, BATCH_BYTES * 2);
    for (uint32_t i = 0; i < client->options.partitions; i++) {
        jep_raw_any(all.raw, all.places[i].leader);
        all.places[i].producer_id = -1;
        jep_history_line(client->history,
                         jep_history_operation(client->history),
                         "ok assign p=%" PRIu32 " o=0",
                         i);
    }
}

int jep_raw(struct jep_client *client)
{
    int64_t due_ns = jep_now_ns();

    begin(client);
    while (jep_goes_on(client)) {
        uint32_t partition = (uint32_t)sp_rand_below(&client->rand, client->options.partitions);
        uint64_t choice = sp_rand_below(&client->rand, 8);
        if (jep_now_ns() >= due_ns) {
            send_burst(partition, choice < 6);
            due_ns = jep_pace(client, due_ns, client->options.burst);
        } else if (choice == 7) {
            ask_end(partition);
        } else {
            read_some(partition);
        }
        int64_t later_ns = jep_now_ns() + READ_PAUSE_NS;
        jep_wait(client, due_ns < later_ns ? due_ns : later_ns);
    }
    jep_raw_free(all.raw);
    sp_buf_deinit(&all.batch);
    return 0;
}
