/* What a coordinator replicates: consumer groups, their members, who reads what, committed offsets.
 *
 *   group -- members     in order of joining
 *        |-- shares      partition -> owner (may be reading it), target (shall read it)
 *        '-- offsets     partition -> committed offset
 *
 * A partition moves in two steps: ASSIGN changes its target; the owner sees it as revoked, stops,
 * and says so (RELEASE); only then does the target become the owner. All others read on.
 *
 *   owner == target  assigned        owner != target  revoked at the owner, pending at the target
 *
 * Invariants:
 *  I1  A share without an owner has no target, and is dropped: whoever shall have a free partition
 *      gets it at once.
 *  I2  Within a generation no target changes, so a member that has seen the generation has seen all
 *      that it must give up.
 *  I3  Shares and offsets are in order of topic id and partition.
 *
 * Pure: commands in, state out; no I/O, no clock. The same commands give the same bytes on every
 * replica. `heard_ms` and the like are the leader's own and no part of that.
 *
 *   command: MessagePack [1, type, group, fields...]          state: MessagePack, versioned */
#ifndef SP_BROKER_CONSUMER_GROUP_H
#define SP_BROKER_CONSUMER_GROUP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/map.h"
#include "wire/bytes.h"

struct sp_consumer_groups;

struct sp_consumer_member {
    char id[SP_CONSUMER_MEMBER_ID_SIZE_MAX + 1];
    char instance[SP_CLIENT_NAME_SIZE_MAX + 1]; /* "": not static */
    char client[SP_CLIENT_NAME_SIZE_MAX + 1];   /* for people */
    char rack[SP_CONSUMER_RACK_SIZE_MAX + 1];   /* where it runs; "": not said */
    uint32_t session_ms;
    uint32_t rebalance_ms;
    uint8_t *topics; /* what it subscribes to: an encoded array of texts */
    size_t topics_size;
    uint64_t heard_ms; /* leader's own: when it was heard of last */
    bool unseen;       /* leader's own: it got or lost partitions and may not know of it */
    bool late;         /* leader's own, for the time of one scan: it holds back too long */
    unsigned position; /* leader's own, for the time of one assignment: place in members */
};

struct sp_consumer_share {
    uint64_t topic_id;
    uint32_t partition;
    struct sp_consumer_member *owner;
    struct sp_consumer_member *target; /* NULL: nobody shall read it */
    int64_t granted;                   /* generation in which the owner got it */
    bool marked;                       /* false but for the time of one step of apply */
    uint64_t revoke_ms;                /* leader's own: since when it is revoked; 0: it is not */
    bool left_over;                    /* leader's own: lost and regained, the owner reads on as if
                                          nothing had been; until it gives it up once */
    uint64_t still_ms;                 /* leader's own: since when the group reads no further, */
    int64_t still_position;            /* and how far it is; 0: it progresses, or is at the end */
    bool stall_traced;                 /* leader's own: it has been reported */
};

struct sp_consumer_offset {
    uint64_t topic_id;
    uint32_t partition;
    int64_t offset;
    int64_t commit_ms;
    char *metadata; /* owned; NULL: none */
    uint64_t index; /* this replica's own: of the command that set it; 0: of a checkpoint */
};

struct sp_consumer_group {
    char name[SP_CONSUMER_GROUP_NAME_SIZE_MAX + 1];
    int64_t generation; /* counts assignments */
    uint64_t version;   /* counts changes of members and subscriptions */
    uint64_t assigned;  /* version that the last assignment was made for */
    int64_t changed_ms; /* last join, leave or commit */
    uint64_t index;     /* this replica's own: of that command; 0: of a checkpoint */
    struct sp_consumer_member **members;
    unsigned member_count;
    struct sp_consumer_share *shares;
    unsigned share_count;
    struct sp_consumer_offset *offsets;
    unsigned offset_count;
    struct sp_list touched; /* leader's own, and all below: in the list of those to look at */
    struct sp_list waiters; /* requests that wait for a change */
    unsigned submitted;     /* commands on their way that change members */
    bool assigning;         /* an ASSIGN is on its way */
    bool topics_changed;    /* topics came or went since the last assignment was made */
    uint64_t revoke_due_ms; /* when the first revoked partition is taken away; 0: none is revoked */
    uint64_t stall_due_ms;  /* when it is looked for stalls again */
    unsigned stalled_count; /* partitions found stalled then */
};

/* NULL when memory is out. */
struct sp_consumer_groups *sp_consumer_groups_new(void);
void sp_consumer_groups_free(struct sp_consumer_groups *groups);

/* ---- looking --------------------------------------------------------------------------------- */

/* NULL: it is not there, or there is no further one. Borrowed until the next command is applied. */
struct sp_consumer_group *sp_consumer_groups_find(const struct sp_consumer_groups *groups,
                                                  struct sp_bytes name);
struct sp_consumer_group *sp_consumer_groups_next(const struct sp_consumer_groups *groups,
                                                  struct sp_map_cursor *cursor);
unsigned sp_consumer_groups_count(const struct sp_consumer_groups *groups);

/* The member with this id, or with this instance; NULL: there is none. */
struct sp_consumer_member *sp_consumer_group_member(const struct sp_consumer_group *group,
                                                    struct sp_bytes id);
struct sp_consumer_member *sp_consumer_group_instance(const struct sp_consumer_group *group,
                                                      struct sp_bytes instance);

/* The share or offset of a partition, or NULL. */
struct sp_consumer_share *sp_consumer_group_share(const struct sp_consumer_group *group,
                                                  uint64_t topic_id,
                                                  uint32_t partition);
struct sp_consumer_offset *sp_consumer_group_offset(const struct sp_consumer_group *group,
                                                    uint64_t topic_id,
                                                    uint32_t partition);

/* The index in the log of the last command that may have set the offset of a partition, or taken it
 * away. What a checkpoint has was set at an index that is not known, but not above `applied`, that
 * of the last command applied. The group may be NULL: it is not there. */
uint64_t sp_consumer_offset_changed(struct sp_consumer_groups *groups,
                                    const struct sp_consumer_group *group,
                                    uint64_t topic_id,
                                    uint32_t partition,
                                    uint64_t applied);

/* The same of the last join, leave or commit of a group. */
uint64_t sp_consumer_group_changed(struct sp_consumer_groups *groups,
                                   const struct sp_consumer_group *group,
                                   uint64_t applied);

/* "empty", "assigning" (members have changed), "rebalancing" (partitions move) or "stable". */
const char *sp_consumer_group_state(const struct sp_consumer_group *group);

/* True if the member must give a partition up. */
bool sp_consumer_member_revoking(const struct sp_consumer_group *group,
                                 const struct sp_consumer_member *member);

/* True if there is room for a group with so many partitions assigned. */
bool sp_consumer_group_has_room(const struct sp_consumer_groups *groups,
                                const struct sp_consumer_group *group,
                                unsigned target_count);

/* Append time up to which a group is kept. INT64_MAX: it is not going; it has members, or its
 * offsets are kept for ever (`retention_ms` 0). Without members and offsets there is little to
 * keep. */
int64_t sp_consumer_group_kept_until_ms(const struct sp_consumer_group *group,
                                        int64_t retention_ms);

/* ---- stalls: the leader's own, consumer_stall.c ---------------------------------------------- */

/* Notes how far the group has read a partition (`position`: next offset to read) that ends at
 * `end`, as seen at `now_ms`. */
void sp_consumer_share_look(struct sp_consumer_share *share,
                            int64_t position,
                            int64_t end,
                            uint64_t now_ms);

/* For how long its owner has not progressed although there is something to read; 0: it does. */
uint64_t sp_consumer_share_still_ms(const struct sp_consumer_share *share, uint64_t now_ms);

/* ---- commands: encoders used by the leader --------------------------------------------------- */

/* All append to `out`: SPATE_ERR_NOMEM, SPATE_ERR_TOO_LARGE. What a command answers is known when
 * it is applied. */

/* A partition in a command. */
struct sp_consumer_place {
    uint64_t topic_id;
    uint32_t partition;
};

struct sp_consumer_join {
    struct sp_bytes group;
    struct sp_bytes member;
    struct sp_bytes instance; /* a member with this instance gives its place to this one; "" none */
    struct sp_bytes client;
    struct sp_bytes rack;
    uint32_t session_ms;
    uint32_t rebalance_ms;
    struct sp_bytes topics;                /* encoded array of texts */
    const struct sp_consumer_place *owned; /* what it reads now; the rest that it must release is */
    unsigned owned_count;                  /* free */
};

struct sp_consumer_commit {
    struct sp_consumer_place place;
    int64_t offset;
    struct sp_bytes metadata; /* null: none */
};

/* One topic of an assignment: by partition the position of a member, or -1. */
struct sp_consumer_target {
    uint64_t topic_id;
    uint32_t partition_count;
    const int32_t *members;
};

/* Creates the group if need be. Answers: BUSY, a bound is reached. */
int sp_consumer_command_join(const struct sp_consumer_join *join, struct sp_buf *out);

/* Also for a member that is expired. Answers: UNKNOWN_MEMBER. */
int sp_consumer_command_leave(struct sp_bytes group, struct sp_bytes member, struct sp_buf *out);

/* `gone`: ids of topics that were deleted: their shares and offsets go at once. Answers: AGAIN, the
 * members are no longer those of `version`; NOT_FOUND; BUSY, no room. */
int sp_consumer_command_assign(struct sp_bytes group,
                               uint64_t version,
                               const struct sp_consumer_target *targets,
                               unsigned target_count,
                               const uint64_t *gone,
                               unsigned gone_count,
                               struct sp_buf *out);

/* The member reads `places` no more; of very many only the first, the others are for a later one.
 * Ignored in another generation and for what is not revoked. Answers: UNKNOWN_MEMBER. */
int sp_consumer_command_release(struct sp_bytes group,
                                struct sp_bytes member,
                                int64_t generation,
                                const struct sp_consumer_place *places,
                                unsigned count,
                                struct sp_buf *out);

/* All or nothing. Without a member (null): only partitions that nobody owns; creates the group if
 * need be. `generation` -1: not said. Answers: UNKNOWN_MEMBER; GROUP_FENCED, another has one of the
 * partitions, or the member got it after that generation; BUSY. */
int sp_consumer_command_commit(struct sp_bytes group,
                               struct sp_bytes member,
                               int64_t generation,
                               const struct sp_consumer_commit *commits,
                               unsigned count,
                               struct sp_buf *out);

/* Only a group without members; `changed_ms` not -1: only if nothing has happened since. Answers:
 * NOT_FOUND, BUSY (has members), AGAIN. */
int sp_consumer_command_delete(struct sp_bytes group, int64_t changed_ms, struct sp_buf *out);

/* Whether a leader may submit this command, when what is on its way may add `coming` bytes to the
 * state: 0 and how many this one may add, or SPATE_ERR_BUSY. What needs no room is never refused
 * as long as leaders kept to it. consumer_room.c. */
int sp_consumer_groups_admit(const struct sp_consumer_groups *groups,
                             struct sp_bytes command,
                             size_t coming,
                             size_t *out_growth);

/* ---- machine --------------------------------------------------------------------------------- */

/* The index in the log of the command that is applied next. */
void sp_consumer_groups_at(struct sp_consumer_groups *groups, uint64_t index);

/* Applies one command. 0; a negative code that is its answer on every replica; SPATE_ERR_CORRUPT,
 * SPATE_ERR_NOMEM or SPATE_ERR_UNSUPPORTED (a newer build's command): the replica must stop.
 * *out_group: what it was about, NULL if that is not there (any more). */
int sp_consumer_groups_apply(struct sp_consumer_groups *groups,
                             const uint8_t *command,
                             size_t size,
                             int64_t append_time_ms,
                             struct sp_consumer_group **out_group);

/* Appends the whole state to `out`: SPATE_ERR_NOMEM, SPATE_ERR_TOO_LARGE. */
int sp_consumer_groups_checkpoint(const struct sp_consumer_groups *groups, struct sp_buf *out);

/* Replaces the whole state; size 0: empty. SPATE_ERR_CORRUPT, SPATE_ERR_NOMEM: it is empty then. */
int sp_consumer_groups_restore(struct sp_consumer_groups *groups,
                               const uint8_t *bytes,
                               size_t size);

/* -1, 0 or 1 as the first partition is before, the same as, or behind the second. */
int sp_consumer_place_compare(uint64_t left_topic,
                              uint32_t left_partition,
                              uint64_t right_topic,
                              uint32_t right_partition);

/* True for 1 to 249 bytes of UTF-8 without control characters. */
bool sp_consumer_group_name_valid(struct sp_bytes name);

#endif /* SP_BROKER_CONSUMER_GROUP_H */
