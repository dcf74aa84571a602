/* A history in memory: what clients did and saw, as rows in flat tables.
 *
 *   topic + partition = key        the log that records go to
 *   client + key      = stream     records of one client in one log, numbered by sequence
 *   stream + sequence = value      a record; numbers of values are dense
 *
 * Rows of one client stand in the order of its file. Offsets fit 32 bits, as the tables do:
 * jep_history_read refuses others. Times are nanoseconds of CLOCK_MONOTONIC, one clock for all. */
#ifndef JEP_CHECK_HISTORY_H
#define JEP_CHECK_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "vector.h"

#define JEP_NONE UINT32_MAX
#define JEP_NEVER INT64_MAX

enum jep_outcome {
    JEP_UNKNOWN = 0, /* invoked; it may have happened or not */
    JEP_OK = 1,
    JEP_FAIL = 2, /* it did not happen */
};

/* Records that were sent and reported together. */
struct jep_send {
    int64_t invoked_ns;
    int64_t done_ns; /* JEP_NEVER while nothing was reported */
    uint32_t stream;
    uint32_t first; /* sequence */
    uint32_t count;
    uint32_t offset; /* of the first one when OK; of an operation in parts: see history_open.c */
    uint32_t operation;
    uint8_t outcome;
};

/* Records that one poll returned, of one key: runs [first_run, first_run of the next poll). */
struct jep_poll {
    int64_t time_ns;
    uint32_t stream; /* the reader and what it reads */
    uint32_t first_run;
    uint32_t high_watermark; /* JEP_NONE: not told */
    bool final;
    bool group;
};

/* Consecutive records of one stream at consecutive offsets. */
struct jep_run {
    uint32_t offset;
    uint32_t stream;
    uint32_t first;
    uint32_t count;
};

enum jep_event_kind {
    JEP_ASSIGN,    /* reads from `a` on (-2: the start, -1: the end) */
    JEP_UNASSIGN,  /* reads it no longer */
    JEP_ASSIGNED,  /* the group gave it */
    JEP_REVOKED,   /* the group takes it, or it is LOST */
    JEP_OWNS,      /* in generation `a` */
    JEP_COMMIT,    /* of offset `a` */
    JEP_COMMITTED, /* asked for, was `a` (-1: nothing) */
    JEP_OFFSETS,   /* asked for the end, was `a` */
    JEP_FINAL,     /* read to the end: from `a` to `b`; limits keep the last `c` at least */
    JEP_SKIPPED,   /* what the reader had not read yet is given up: it goes on at `a` */
    JEP_TRUNCATE,  /* gives up what is below `a` */
    JEP_BAD,       /* bytes at offset `a` that nobody sent */
    JEP_CREATE,    /* of a topic beside; `a` is its number */
    JEP_DELETE,
};

/* Everything that is rarer than records. */
struct jep_event {
    int64_t invoked_ns;
    int64_t done_ns; /* the same where the line tells a fact */
    int64_t a;
    int64_t b;
    int64_t c; /* -1: not told */
    uint32_t stream;
    uint32_t polls_before; /* rows of polls before it */
    uint8_t kind;
    uint8_t outcome;
};

struct jep_client {
    uint32_t id;
    uint32_t topic;
    uint32_t group;    /* a name, JEP_NONE: none */
    int64_t delete_ms; /* within which a reader meets each tombstone; 0: not known */
};

struct jep_stream {
    uint32_t client; /* a row of clients */
    uint32_t key;    /* a row of keys */
    uint32_t count;  /* sequences seen: 0 to count - 1 */
    uint32_t base;   /* number of its value 0 */
};

struct jep_key {
    uint32_t topic; /* a name */
    uint32_t partition;
    uint32_t size;    /* offsets seen: 0 to size - 1 */
    uint32_t *values; /* by offset; JEP_NONE: nothing seen there */
    uint32_t *dense;  /* by offset: how many offsets below have a value; NULL: all have */
    int64_t *gone_ns; /* of a compacted log, by offset: its record may be gone later than then */
    uint32_t keys;    /* that each client has in a compacted log; 0: it is not compacted */
    uint32_t final_from;
    uint32_t final_end;  /* JEP_NONE: it was not read to its end */
    uint32_t final_keep; /* so many records its limits keep at least; JEP_NONE: it has none */
    bool used;           /* some record was sent or read */
};

enum jep_value_flag {
    JEP_VALUE_SENT = 1,  /* by its `send` */
    JEP_VALUE_READ = 2,  /* by anybody */
    JEP_VALUE_FINAL = 4, /* by a final read */
};

struct jep_history {
    struct JEP_VECTOR(struct jep_send) sends;
    struct JEP_VECTOR(struct jep_poll) polls; /* and one row behind the last */
    struct JEP_VECTOR(struct jep_run) runs;
    struct JEP_VECTOR(struct jep_event) events;
    struct JEP_VECTOR(uint32_t) truncations; /* rows of events */
    struct JEP_VECTOR(struct jep_client) clients;
    struct JEP_VECTOR(struct jep_stream) streams;
    struct JEP_VECTOR(struct jep_key) keys;
    struct JEP_VECTOR(char *) names;
    struct jep_map *client_map;
    struct jep_map *stream_map;
    struct jep_map *key_map;
    struct jep_compaction *compaction; /* compaction.h; NULL: no log is compacted */
    int64_t first_ns;
    int64_t last_ns;
    uint64_t lines;

    /* By value, made by jep_history_build. */
    uint32_t value_count;
    uint32_t *send_of;  /* the row of sends; JEP_NONE: nobody sent it */
    uint32_t *first_at; /* lowest offset where it was seen; JEP_NONE: nowhere */
    uint32_t *last_at;  /* highest */
    uint8_t *flags;
};

/* Reads all files DIRECTORY/NAME.log. 0, or -1 after a sentence on standard error. */
int jep_history_read(struct jep_history *history, const char *directory);

/* The row of a stream, made when it is new. */
uint32_t jep_stream_of(struct jep_history *history, uint32_t client, uint32_t key);
uint32_t jep_client_of(struct jep_history *history, uint32_t id);
uint32_t jep_key_of(struct jep_history *history, uint32_t topic, uint32_t partition);
uint32_t jep_name_of(struct jep_history *history, const char *text, size_t size);

static inline uint32_t jep_runs_end(const struct jep_history *history, size_t poll)
{
    return history->polls.items[poll + 1].first_run;
}

static inline struct jep_key *jep_key_at(const struct jep_history *history, uint32_t stream)
{
    return &history->keys.items[history->streams.items[stream].key];
}

static inline uint32_t
jep_value_at(const struct jep_history *history, uint32_t stream, uint32_t sequence)
{
    return history->streams.items[stream].base + sequence;
}

/* How many offsets of the log below `offset` have a value: neighbours differ by one. */
static inline uint32_t jep_dense(const struct jep_key *key, uint32_t offset)
{
    return key->dense == NULL ? offset : key->dense[offset];
}

/* ---- operations in parts --------------------------------------------------------------------- */

/* Which operation of which client began what; entries go when nothing of them is left. */
struct jep_map;
struct jep_map *jep_map_new(void);
/* The place of `key`'s value, made with JEP_NONE when it is new. Valid until the next call. */
uint32_t *jep_map_at(struct jep_map *map, uint64_t key);
void jep_map_remove(struct jep_map *map, uint64_t key);
void jep_map_free(struct jep_map *map);

#endif /* JEP_CHECK_HISTORY_H */
