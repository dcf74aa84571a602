/* A member of a consumer group over plain sockets: joins, is heard of, reads what it is given,
 * commits, gives up what is revoked. Unlike libspate it tells generations. */
#include <inttypes.h>
#include <string.h>

#include "raw.h"

enum {
    CALL_MS = 5000,
    PAUSE_NS = 50 * 1000 * 1000,
    READ_PAUSE_NS = 10 * 1000 * 1000,
    HEARTBEAT_NS = 500 * 1000 * 1000, /* far below any session */
    COMMIT_EVERY = 4,                 /* fetches */
    MEMBER_MAX = 64,
};

struct place {
    bool owned;
    char leader[JEP_ADDRESS_MAX];
    int64_t position;  /* of the next record to read */
    int64_t committed; /* what it committed last; -1: nothing */
};

/* An answer to a join or a heartbeat. */
struct answer {
    char member[MEMBER_MAX];
    int64_t generation;
    bool assigned[JEP_PARTITIONS_MAX];
    bool revoke[JEP_PARTITIONS_MAX];
};

static struct {
    struct jep_client *client;
    struct jep_raw *raw;
    char coordinator[JEP_ADDRESS_MAX];
    char member[MEMBER_MAX]; /* "": not joined */
    int64_t generation;
    struct place places[JEP_PARTITIONS_MAX];
} all;

static void say(const char *what, uint32_t partition)
{
    jep_history_line(all.client->history,
                     jep_history_operation(all.client->history),
                     "ok %s p=%" PRIu32,
                     what,
                     partition);
}

/* ---- messages -------------------------------------------------------------------------------- */

static struct sp_pack *begin(const char *method, uint32_t fields)
{
    struct sp_pack *pack = jep_raw_begin(all.raw, method);

    sp_pack_map(pack, 1 + fields);
    sp_pack_text(pack, "group");
    sp_pack_text(pack, all.client->options.group);
    return pack;
}

static void pack_owned(struct sp_pack *pack)
{
    uint32_t partitions = all.client->options.partitions;
    uint32_t count = 0;

    for (uint32_t i = 0; i < partitions; i++) {
        count += all.places[i].owned;
    }
    sp_pack_text(pack, "owned");
    sp_pack_array(pack, 1);
    sp_pack_map(pack, 2);
    sp_pack_text(pack, "topic");
    sp_pack_text(pack, all.client->options.topic);
    sp_pack_text(pack, "partitions");
    sp_pack_array(pack, count);
    for (uint32_t i = 0; i < partitions; i++) {
        if (all.places[i].owned) {
            sp_pack_uint(pack, i);
        }
    }
}

/* [{topic, partitions}, ...] of our topic, the only one. */
static void read_partitions(struct sp_cursor *cursor, bool *out_partitions)
{
    for (uint32_t topics = sp_cursor_array(cursor); topics > 0; topics--) {
        for (uint32_t left = sp_cursor_map(cursor); left > 0; left--) {
            struct sp_bytes key = sp_cursor_text(cursor);
            if (key.size != sizeof "partitions" - 1) {
                sp_cursor_skip(cursor);
                continue;
            }
            for (uint32_t count = sp_cursor_array(cursor); count > 0; count--) {
                int64_t partition = sp_cursor_int(cursor, 0, JEP_PARTITIONS_MAX - 1);
                out_partitions[partition] = sp_cursor_status(cursor) == 0;
            }
        }
    }
}

static bool is(struct sp_bytes key, const char *name)
{
    return key.size == strlen(name) && memcmp(key.bytes, name, key.size) == 0;
}

static void read_answer(struct sp_cursor *cursor, struct answer *out)
{
    *out = (struct answer){ .generation = -1 };
    for (uint32_t left = sp_cursor_map(cursor); left > 0; left--) {
        struct sp_bytes key = sp_cursor_text(cursor);
        if (is(key, "member")) {
            struct sp_bytes member = sp_cursor_text(cursor);
            if (member.size < MEMBER_MAX) {
                memcpy(out->member, member.bytes, member.size);
            }
        } else if (is(key, "generation")) {
            out->generation = sp_cursor_int(cursor, 0, UINT32_MAX);
        } else if (is(key, "assigned")) {
            read_partitions(cursor, out->assigned);
        } else if (is(key, "revoke")) {
            read_partitions(cursor, out->revoke);
        } else {
            sp_cursor_skip(cursor);
        }
    }
    if (sp_cursor_status(cursor) != 0 || out->member[0] == '\0' || out->generation < 0) {
        jep_die(all.client, "an answer of the coordinator that is none", SPATE_ERR_MALFORMED);
    }
}

/* ---- offsets --------------------------------------------------------------------------------- */

static void commit(uint32_t partition)
{
    struct jep_history *history = all.client->history;
    struct place *place = &all.places[partition];
    struct sp_cursor result;

    if (place->position <= place->committed || place->position == 0) {
        return;
    }
    struct sp_pack *pack = begin("group.commit", 3);
    sp_pack_text(pack, "member");
    sp_pack_text(pack, all.member);
    sp_pack_text(pack, "generation");
    sp_pack_int(pack, all.generation);
    sp_pack_text(pack, "offsets");
    sp_pack_array(pack, 1);
    sp_pack_map(pack, 3);
    sp_pack_text(pack, "topic");
    sp_pack_text(pack, all.client->options.topic);
    sp_pack_text(pack, "partition");
    sp_pack_uint(pack, partition);
    sp_pack_text(pack, "offset");
    sp_pack_int(pack, place->position);
    uint64_t number = jep_history_operation(history);
    jep_history_line(
        history, number, "invoke commit p=%" PRIu32 " o=%" PRId64, partition, place->position);
    jep_history_flush(history);
    int rv = jep_raw_call(all.raw, all.coordinator, CALL_MS, &result);
    jep_history_line(history,
                     number,
                     "%s commit p=%" PRIu32 " o=%" PRId64 " e=%s",
                     rv == 0                    ? "ok"
                     : jep_raw_nothing_done(rv) ? "fail"
                                                : "info",
                     partition,
                     place->position,
                     spate_error_name(rv));
    place->committed = rv == 0 ? place->position : place->committed;
}

/* What the group has committed in `partition`, 0 when nothing is; a negative code. */
static int64_t read_committed(struct sp_cursor *cursor, uint32_t partition)
{
    uint32_t fields = sp_cursor_map(cursor);
    int64_t found = 0;

    if (!jep_raw_key(cursor, &fields, "offsets")) {
        return SPATE_ERR_MALFORMED;
    }
    for (uint32_t rows = sp_cursor_array(cursor); rows > 0; rows--) {
        int64_t of = -1;
        int64_t offset = -1;
        for (uint32_t left = sp_cursor_map(cursor); left > 0; left--) {
            struct sp_bytes key = sp_cursor_text(cursor);
            if (is(key, "partition")) {
                of = sp_cursor_int(cursor, 0, JEP_PARTITIONS_MAX);
            } else if (is(key, "offset")) {
                offset = sp_cursor_int(cursor, 0, INT64_MAX);
            } else {
                sp_cursor_skip(cursor);
            }
        }
        found = of == (int64_t)partition ? offset : found;
    }
    return found;
}

/* Where to go on; asks until the coordinator answers. */
static int64_t find_position(uint32_t partition)
{
    int64_t found = SPATE_ERR_AGAIN;

    while (found < 0 && jep_goes_on(all.client)) {
        struct sp_cursor result;
        (void)begin("group.committed", 0);
        int rv = jep_raw_call(all.raw, all.coordinator, CALL_MS, &result);
        found = rv == 0 ? read_committed(&result, partition) : rv;
        if (found < 0) {
            jep_wait(all.client, jep_now_ns() + PAUSE_NS);
        }
    }
    return found;
}

/* ---- membership ------------------------------------------------------------------------------ */

static void give_up(uint32_t partition, const char *how)
{
    if (all.places[partition].owned) {
        all.places[partition].owned = false;
        say(how, partition);
    }
}

static void lose_all(void)
{
    for (uint32_t i = 0; i < all.client->options.partitions; i++) {
        give_up(i, "lost");
    }
    all.member[0] = '\0';
}

/* True when the coordinator is to hear at once of what was given up. */
static bool follow(const struct answer *answer)
{
    bool gave_up = false;

    (void)strcpy(all.member, answer->member); /* the same size */
    bool changed = answer->generation != all.generation;
    all.generation = answer->generation;
    for (uint32_t i = 0; i < all.client->options.partitions; i++) {
        struct place *place = &all.places[i];
        if (answer->revoke[i] && place->owned) {
            commit(i);
            give_up(i, "revoked");
            gave_up = true;
        } else if (!answer->assigned[i] && place->owned) {
            give_up(i, "lost");
        } else if (answer->assigned[i] && !place->owned) {
            say("assigned", i);
            place->owned = true;
            place->position = find_position(i);
            place->committed = place->position;
            changed = true;
        }
    }
    for (uint32_t i = 0; changed && i < all.client->options.partitions; i++) {
        if (answer->assigned[i]) {
            jep_history_line(all.client->history,
                             jep_history_operation(all.client->history),
                             "ok owns p=%" PRIu32 " gen=%" PRId64,
                             i,
                             answer->generation);
        }
    }
    return gave_up;
}

static void join(void)
{
    struct sp_cursor result;
    struct answer answer;
    struct sp_pack *pack = begin("group.join", 2);

    sp_pack_text(pack, "topics");
    sp_pack_array(pack, 1);
    sp_pack_text(pack, all.client->options.topic);
    sp_pack_text(pack, "session_ms");
    sp_pack_uint(pack, all.client->options.session_ms);
    if (jep_raw_call(all.raw, all.coordinator, CALL_MS, &result) == 0) {
        read_answer(&result, &answer);
        (void)follow(&answer);
    } else {
        jep_wait(all.client, jep_now_ns() + PAUSE_NS);
    }
}

static void be_heard(void)
{
    struct sp_cursor result;
    struct answer answer;
    bool again = true;

    while (again && all.member[0] != '\0' && jep_goes_on(all.client)) {
        struct sp_pack *pack = begin("group.heartbeat", 3);
        sp_pack_text(pack, "member");
        sp_pack_text(pack, all.member);
        sp_pack_text(pack, "generation");
        sp_pack_int(pack, all.generation);
        pack_owned(pack);
        int rv = jep_raw_call(all.raw, all.coordinator, CALL_MS, &result);
        again = rv == SPATE_ERR_NOT_LEADER;
        if (rv == 0) {
            read_answer(&result, &answer);
            again = follow(&answer);
        } else if (rv == SPATE_ERR_UNKNOWN_MEMBER || rv == SPATE_ERR_GROUP_FENCED) {
            lose_all();
        }
    }
}

static void leave(void)
{
    struct sp_cursor result;

    for (uint32_t i = 0; i < all.client->options.partitions; i++) {
        if (all.places[i].owned) {
            commit(i);
            give_up(i, "revoked");
        }
    }
    if (all.member[0] != '\0') {
        struct sp_pack *pack = begin("group.leave", 1);
        sp_pack_text(pack, "member");
        sp_pack_text(pack, all.member);
        (void)jep_raw_call(all.raw, all.coordinator, CALL_MS, &result); /* else it expires */
    }
}

static void read_some(unsigned turn)
{
    uint32_t partition = (uint32_t)sp_rand_below(&all.client->rand, all.client->options.partitions);
    struct place *place = &all.places[partition];

    if (!place->owned || place->position < 0) {
        return;
    }
    int rv = jep_raw_fetch(all.raw, partition, place->leader, " group=1", &place->position);
    jep_history_flush(all.client->history); /* processed: it outlives this process */
    if (rv < 0) {
        jep_wait(all.client, jep_now_ns() + READ_PAUSE_NS);
    } else if (turn % COMMIT_EVERY == 0) {
        commit(partition);
    }
}

int jep_raw_group(struct jep_client *client)
{
    int64_t heard_ns = 0;

    all.client = client;
    all.raw = jep_raw_new(client);
    if (client->options.group[0] == '\0') {
        jep_die(client, "--group is needed", SPATE_ERR_INVALID);
    }
    jep_raw_any(all.raw, all.coordinator);
    for (uint32_t i = 0; i < client->options.partitions; i++) {
        jep_raw_any(all.raw, all.places[i].leader);
    }
    for (unsigned turn = 0; jep_goes_on(client); turn++) {
        if (all.member[0] == '\0') {
            join();
        } else if (jep_now_ns() - heard_ns >= HEARTBEAT_NS) {
            be_heard();
            heard_ns = jep_now_ns();
        } else {
            read_some(turn);
            jep_wait(client, jep_now_ns() + READ_PAUSE_NS);
        }
        jep_history_idle(client->history);
    }
    leave();
    jep_raw_free(all.raw);
    return 0;
}
