/* The consumer's inside: one fetch in flight per partition, at most two answers waiting to be read.
 *
 *   advance -> [offsets] -> fetch(long poll) -> fetched, fetched -> batch -> record -> the user
 *                ^             |                   (checked: no gap, no step back)
 *                '-- refused, lost: pause, look for the leader, the same offset again
 *
 * A partition of a subscription (enum sp_ownership):
 *
 *   ASSIGNED --stored offset known, told--> OWNED --revoke--> REVOKED --told--> RELEASING
 *      |                                      |                  |                 |committed
 *      '-- not ours --> gone                  '--- not ours -----'--> LOST         v
 *                                                                      '--told--> gone
 *
 * Invariants:
 *  I1  Offsets leave in order without a gap: each record's offset is `position`, which then grows
 *      by one (control records of a transaction are passed over and counted).
 *  I2  fetch_offset is behind the last batch that was fetched; nothing is fetched twice.
 *  I3  At most FETCHED_MAX answers wait per partition, and an answer's size is chosen so that those
 *      of all partitions, with the memory around them, stay below prefetch_bytes: a slow reader
 *      stops the fetching.
 *  I4  A partition is freed only at the start of a call of the user that ends the life of the
 *  record
 *      delivered last, or before anything of it was delivered.
 *  I5  A partition counts as owned towards the coordinator from ASSIGNED to RELEASING: it is given
 *      up only when its last commit has an outcome. */
#ifndef SP_CLIENT_CONSUMER_H
#define SP_CLIENT_CONSUMER_H

#include "client/client.h"
#include "client/metadata.h"
#include "client/request.h"
#include "spate/consumer.h"
#include "wire/batch.h"

#define SP_CONSUMER_FETCHED_MAX 2

/* What is sent to a coordinator at once: below what a node takes, some 50,000 offsets. */
#define SP_GROUP_PARAMS_BYTES_MAX (8 * 1024 * 1024)

/* How long a coordinator may take for what it answers at once if it lives. */
#define SP_GROUP_QUESTION_MS 3000

/* The batches of one answer, where they arrived, or copied from there (fetcher.c). */
struct sp_fetched {
    struct sp_list node;
    struct sp_slice batches;
    size_t position; /* of the next batch to read */
};

enum sp_ownership {
    SP_OWNERSHIP_ASSIGNED,  /* the user was not told yet */
    SP_OWNERSHIP_OWNED,     /* read; those that the user has assigned are always here */
    SP_OWNERSHIP_REVOKED,   /* to be given up, the user was not told yet */
    SP_OWNERSHIP_RELEASING, /* the last commit is on its way */
    SP_OWNERSHIP_LOST,      /* another's by now, the user was not told yet */
};

struct sp_consumer_partition {
    struct spate_consumer *consumer;
    struct sp_topic_view *topic;
    uint32_t index;
    int64_t topic_id;
    enum sp_ownership ownership;
    bool seen;          /* by the answer of the coordinator that is being applied */
    bool stored_wanted; /* begins at the group's committed offset, not known yet */
    bool stored_asked;  /* the question that is out is about it, too */

    bool resolved; /* `fetch_offset` is a true offset */
    int64_t start; /* as assigned: an offset or SPATE_OFFSET_* */
    int64_t fetch_offset;
    int64_t position;
    int32_t epoch;        /* of the last batch fetched; -1: none */
    bool start_wanted;    /* the offset asked for may be below the log: where does that start? */
    int64_t skipped_from; /* the user is to be told that records from here on are gone; -1: no */
    bool paused;          /* by the user */

    struct sp_rpc_call call;
    bool running;
    bool call_for_end;            /* the fetch began after the user asked for the end */
    struct sp_connection *server; /* that is asked: the leader, or a replica nearby */
    bool asks_near;               /* the latter */
    uint64_t near_looked_ms;      /* when it was looked last whether there is such a replica */
    uint64_t leader_until_ms; /* a replica nearby was of no use: the leader is asked until then */
    uint64_t sent_ms;
    uint32_t wait_ms; /* that the running fetch lets the server wait */

    struct sp_list fetched;
    uint32_t fetched_count;
    struct sp_batch_reader reader;
    bool reading;
    size_t record_position;   /* of the record read last, in the reader */
    int32_t record_delta_min; /* the reader's, before that record */

    int64_t high_watermark; /* -1: not known yet */
    int64_t end_offset;     /* that counts as the end, see spate_consumer_at_end; -1: not known */

    int64_t processed;     /* behind the last record that the user is done with; -1: none */
    int64_t commit_wanted; /* -1: nothing */
    int64_t commit_sent;   /* in the commit numbered commit_number */
    int64_t committed;     /* -1: nothing by this consumer */
    uint64_t commit_number;

    uint64_t progress_ms; /* since when nothing was delivered although there is more */
    bool stall_told;

    int error; /* the partition is paused */
    bool error_told;
    char text[SP_CLIENT_ERROR_SIZE];

    uint64_t metadata_needed;
    uint64_t retry_ms;
    uint64_t unknown_ms;
    uint32_t pause_ms;
    struct sp_timer timer;
};

/* What spate_consumer_at_end notes although its consumer is constant to the caller. */
struct sp_consumer_end {
    bool asked;
};

enum sp_member_state {
    SP_MEMBER_OUT,     /* not subscribed, or for good */
    SP_MEMBER_JOINING, /* with `id` if it is not "", else as a new one */
    SP_MEMBER_IN,
};

/* The place in the consumer group. */
struct sp_member {
    enum sp_member_state state;
    char instance[SP_CLIENT_NAME_SIZE_MAX + 1];
    char id[SP_CONSUMER_MEMBER_ID_SIZE_MAX + 1];
    int64_t generation;
    uint32_t heartbeat_ms;
    struct sp_buf topics; /* an encoded array of names */
    struct sp_buf params;
    struct sp_request request; /* join or heartbeat */
    bool running;
    bool joining;      /* the request that runs is a join */
    bool renewing;     /* if it can join with its id it takes another one */
    bool leaving;      /* the join that runs is waited for, to leave with the id that it gives */
    bool doubled;      /* a join of its own may have been done without its knowing */
    uint64_t begun_ms; /* of that request */
    uint64_t heard_ms; /* the last one that was answered began then */
    uint64_t retry_ms;
    struct sp_timer timer;
    char coordinator[SP_ADDRESS_SIZE_MAX]; /* where to ask first; "": not known */
    uint64_t alone_ms;                     /* since when it is JOINING */
    bool stall_told;                       /* since then */
    bool trouble_told;                     /* in the log, since the last answer */
    int error;                             /* told by spate_consumer_next */
    char text[SP_CLIENT_ERROR_SIZE];       /* of the error, or why the last request failed */
};

/* Commits and questions for committed offsets, one of each kind at a time. */
struct sp_commits {
    struct sp_request request;
    struct sp_buf params;
    bool running;
    uint64_t number;                 /* of the newest request */
    int64_t seen;                    /* what the coordinator has named last, 0 before */
    uint64_t failure_count;          /* of commits that came to nothing for good */
    int status;                      /* of the newest of these */
    char text[SP_CLIENT_ERROR_SIZE]; /* of that status, told by the thread that waits */
    bool waited;                     /* somebody has waited, and has not heard the end of it */
    uint64_t waited_failures;        /* failure_count when that began */
    bool lost;                       /* a partition of the request that runs is lost */
    bool bare;                       /* the request that runs has no offsets */
    uint64_t retry_ms;               /* after a failure */
    uint32_t retry_pause_ms;         /* before that */
    uint64_t due_ms;                 /* of the next one by itself */
    uint64_t renew_ms;               /* of the next one that may be without offsets */
    struct sp_timer timer;
    struct sp_request stored_request;
    struct sp_buf stored_params;
    bool stored_running;
    bool stored_singly; /* one topic at a time: an answer about all would be too large */
    uint64_t stored_retry_ms;
};

struct spate_consumer {
    struct spate_client *client;
    struct sp_client_part part;
    struct sp_metadata_observer observer;
    struct sp_consumer_partition **partitions;
    uint32_t partition_count;
    struct sp_map *places;                   /* topic number and index -> partition */
    uint32_t turn;                           /* whose batch is read now */
    struct sp_consumer_partition *delivered; /* whose records the user has now; NULL: none's */
    struct sp_buf params;
    struct spate_header *headers;
    size_t header_capacity;
    struct sp_consumer_end *end; /* owned */
    struct sp_member member;
    struct sp_commits commits;
    struct sp_list gone; /* topics that may have been deleted, see consumer_gone.c */
    spate_consumer_event_cb event_cb;
    void *event_arg;
    bool telling;            /* an event callback runs: no partition may go */
    uint64_t telling_thread; /* sp_client_thread of it */
    unsigned calls;          /* that tell events or wait, now */
    unsigned closings;       /* calls of spate_consumer_close that give up what there is */
    bool closed;             /* since one of them nothing was assigned or subscribed to */
    bool freed;              /* by the user while there were some: the last of them ends it */
};

/* Keeps the consumer until the end of the block, within SP_CLIENT_HOLD: for calls that tell events
 * or wait, in which it may be freed. They look at `freed` whenever they have let others in. */
#define SP_CONSUMER_HOLD(consumer)                                                                 \
    SP_CLEANUP(sp_consumer_release)                                                                \
    struct spate_consumer *const held_consumer SP_UNUSED = sp_consumer_hold(consumer)

static inline struct spate_consumer *sp_consumer_hold(struct spate_consumer *consumer)
{
    consumer->calls += 1;
    return consumer;
}

static inline uint64_t sp_consumer_now_ms(const struct spate_consumer *consumer)
{
    return sp_loop_now_ms(consumer->client->loop);
}

static inline bool sp_consumer_subscribed(const struct spate_consumer *consumer)
{
    return consumer->member.topics.size > 0;
}

/* ---- consumer.c ---- */

/* The end of a call, see above; frees the consumer if the user has freed it and no other call is
 * inside. */
void sp_consumer_release(struct spate_consumer *const *consumer);

/* SPATE_ERR_CANCELED if the user has freed it. */
int sp_consumer_check_alive(const struct spate_consumer *consumer);

/* The same, also if it is being closed, or is closed. */
int sp_consumer_check_open(const struct spate_consumer *consumer);

/* The partition if it is assigned, else NULL. */
struct sp_consumer_partition *sp_consumer_find(const struct spate_consumer *consumer,
                                               const struct sp_topic_view *topic,
                                               int32_t partition);

/* Adds it; *out_partition begins at `offset`. SPATE_ERR_BUSY: too many; SPATE_ERR_NOMEM. */
int sp_consumer_add(struct spate_consumer *consumer,
                    struct sp_topic_view *topic,
                    int32_t index,
                    int64_t offset,
                    struct sp_consumer_partition **out_partition);

/* Takes it out and frees it (I4), with a commit of it that is wanted still. */
void sp_consumer_remove(struct sp_consumer_partition *partition);

/* Begins anew at an offset or SPATE_OFFSET_*. What was fetched is dropped (I4). */
void sp_consumer_begin_at(struct sp_consumer_partition *partition, int64_t offset);

/* ---- consumer_record.c ---- */

/* Records of it may be handed out now. */
bool sp_consumer_deliverable(const struct sp_consumer_partition *partition);

/* Drops what was fetched and not delivered, and stops fetching. */
void sp_consumer_drop_fetched(struct sp_consumer_partition *partition);

bool sp_consumer_is_of(const struct spate_message *message,
                       const struct sp_consumer_partition *partition);

/* A commit says that the user is done with the records in hand: with all of them (NULL), or up to
 * and with `message`. Those behind it, or of another partition, are in work: the clock must leave
 * them. `delivered` may be NULL. */
void sp_consumer_note_processed(struct sp_consumer_partition *delivered,
                                const struct spate_message *message);

/* ---- consumer_member.c ---- */

/* With the consumer; nothing is sent before it subscribes. */
void sp_member_init(struct spate_consumer *consumer);
void sp_member_deinit(struct spate_consumer *consumer);

/* Decides what the member asks for next, and sets its timer. */
void sp_member_advance(struct spate_consumer *consumer);

/* What the member owns has changed: a heartbeat says so at once. */
void sp_member_tell(struct spate_consumer *consumer);

/* The group does not know this member any more: everything is lost, it joins again. */
void sp_member_lost(struct spate_consumer *consumer);

/* Withdraws the request that runs. */
void sp_member_cancel(struct sp_member *member);

/* Why it has not joined yet, as far as it is known. */
void sp_member_tell_trouble(const struct spate_consumer *consumer, char out[SP_CLIENT_ERROR_SIZE]);

/* A request to the coordinator of the group, to be started by the caller. */
struct sp_request sp_member_request(struct spate_consumer *consumer, const char *method);

/* After an answer: the server that gave it is asked first from now on. */
void sp_member_learn(struct spate_consumer *consumer, struct sp_request *request);

/* ---- consumer_leave.c ---- */

/* Stops asking, but for a join that may have been done already: sp_member_leave waits for it. What
 * is owned stays as it is. */
void sp_member_stop(struct spate_consumer *consumer);

/* After sp_member_stop: ends the membership unless group.instance is set, and the subscription.
 * Waits for the answer. 0: it is out, or the group did not know it; else the answer's code, or
 * that of the wait (SPATE_ERR_TIMEOUT, ...). */
int sp_member_leave(struct spate_consumer *consumer, uint64_t deadline_ms);

/* ---- consumer_assigned.c ---- */

/* True if the member has any partition, as far as the coordinator must know. */
bool sp_consumer_owns(const struct spate_consumer *consumer);

/* Packs what this member owns, topic by topic (I5). */
void sp_consumer_pack_owned(const struct spate_consumer *consumer, struct sp_pack *pack);

/* Makes the partitions match the answer. SPATE_ERR_MALFORMED, SPATE_ERR_NOMEM, SPATE_ERR_BUSY: the
 * next answer has it all again. */
int sp_consumer_apply(struct spate_consumer *consumer,
                      struct sp_bytes assigned,
                      struct sp_bytes revoke);

/* All that the coordinator gave is another's. */
void sp_consumer_lose_all(struct spate_consumer *consumer);

/* ---- consumer_commit.c ---- */

/* With the consumer; the clock of the first commit starts. */
void sp_commits_init(struct spate_consumer *consumer);
void sp_commits_deinit(struct spate_consumer *consumer);

/* Starts what is due: a commit, a question for stored offsets; sets the timer. */
void sp_commits_advance(struct spate_consumer *consumer);

/* What the user is done with is to be committed, unless that is left to him. */
void sp_commits_want_processed(struct sp_consumer_partition *partition);

/* The partition is another's, or gone: what is wanted of it will not be committed, and whoever
 * waits for that is told. */
void sp_commits_lose(struct sp_consumer_partition *partition);

/* Gives up what is released and has nothing left to commit. */
void sp_commits_release(struct spate_consumer *consumer);

/* Turns the loop until nothing wanted is open. 0, or what became of the commit;
 * SPATE_ERR_TIMEOUT. */
int sp_commits_wait(struct spate_consumer *consumer, uint64_t deadline_ms);

/* ---- consumer_stored.c ---- */

/* Asks where partitions begin if it is not known; lowers *due_ms to when it must be called
 * again. */
void sp_stored_advance(struct spate_consumer *consumer, uint64_t *due_ms);

/* ---- consumer_event.c ---- */

/* At the start of a call that ends the life of the last record: notes what is processed, tells
 * events, frees what is gone. */
void sp_consumer_serve(struct spate_consumer *consumer);

/* When a partition, or the member, may have to be told as stalled; UINT64_MAX: never. */
uint64_t sp_consumer_stall_due(const struct spate_consumer *consumer);

/* ---- consumer_gone.c ---- */

/* The coordinator took a partition of it away without being given it. */
void sp_gone_suspect(struct spate_consumer *consumer, struct sp_topic_view *topic);

/* After a description of the topics. */
void sp_gone_look(struct spate_consumer *consumer);

/* True: `out_text` says which topic was deleted; it is not said again. */
bool sp_gone_take(struct spate_consumer *consumer, char out_text[SP_CLIENT_ERROR_SIZE]);

/* There is one to be taken. */
bool sp_gone_ready(const struct spate_consumer *consumer);
void sp_gone_forget_all(struct spate_consumer *consumer);

/* ---- fetcher.c ---- */

/* Decides what the partition asks for next, and sets its timer. */
void sp_fetcher_advance(struct sp_consumer_partition *partition);

/* After a description of the topics. */
void sp_fetcher_on_metadata(struct sp_consumer_partition *partition);

/* Withdraws the call that is out. */
void sp_fetcher_stop(struct sp_consumer_partition *partition);

/* ---- fetcher_near.c ---- */

/* Whoever wants the end as it is now, or all that was acknowledged, asks the leader. */
bool sp_fetcher_may_ask_near(const struct sp_consumer_partition *partition);

/* It may be gone, behind, or out of the partition; what it says of offsets is not the last word:
 * the leader is asked for a while. */
void sp_fetcher_leave_near(struct sp_consumer_partition *partition);

/* Replicas move, and nobody tells a reader that one has come nearer: looks now and then. */
void sp_fetcher_look_for_near(struct sp_consumer_partition *partition);

/* ---- consumer_start.c: the offset of a fetch was refused ---- */

/* The log starts above it, it seems: asks where, once all records before are read. False: that is
 * for the user to settle. `text` is the refusal's. */
bool sp_consumer_look_for_start(struct sp_consumer_partition *partition, const char *text);

/* Where the log starts: goes on there, or fails if the offset was above the end. */
void sp_consumer_take_start(struct sp_consumer_partition *partition, int64_t start);

/* Pauses the partition with an error for the user. */
void sp_fetcher_fail(struct sp_consumer_partition *partition, int status, const char *text);

/* Lets go of an answer that was read. */
void sp_fetched_free(struct sp_fetched *fetched);

/* With the partition; nothing is fetched yet. */
void sp_fetcher_init(struct sp_consumer_partition *partition);

#endif /* SP_CLIENT_CONSUMER_H */
