/* What the files of fetch share: fetch.c (waiting, reading), fetch_answer.c (the answer). */
#ifndef SP_BROKER_FETCH_PARTS_H
#define SP_BROKER_FETCH_PARTS_H

#include "broker/methods.h"

struct sp_fetch {
    struct sp_list node; /* in partition->fetches while it waits; in no list while it reads */
    struct sp_timer timer;
    struct sp_request request;
    struct sp_broker *broker;
    uint64_t group_id; /* the partition may go while a read is on its way */
    struct sp_fetch_request asked;
    int64_t offset;
    uint64_t deadline_ms;
    bool started;      /* the log has the read */
    bool last_call;    /* answer whatever there is */
    bool behind;       /* it had to wait for room: the peer does not take what it asks for */
    unsigned doubts;   /* rounds waited with an offset above the end */
    uint64_t doubt_ms; /* when this round ends; 0: none has begun */
    struct sp_request_wait patience;
    struct sp_fetch_reading *reading; /* NULL: it has read nothing */
};

/* A read on its way, or its result: 6 KiB that those who wait do not need. */
struct sp_fetch_reading {
    struct sp_log_read read;
    struct sp_fetch *fetch;
};

/* Frees it; its request was answered. */
void sp_fetch_finish(struct sp_fetch *fetch);

/* The offset behind the last batch that was read; there is one. */
int64_t sp_fetch_read_end(const struct sp_log_read *read);

/* Answers with what was read, which may be nothing, and frees it. */
void sp_fetch_answer(struct sp_fetch *fetch, struct sp_partition *partition);

#endif /* SP_BROKER_FETCH_PARTS_H */
