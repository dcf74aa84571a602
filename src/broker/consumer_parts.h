/* Inside of the consumer groups' state, for consumer_*.c alone.
 *
 *   consumer_group.c        groups, members, shares and offsets, and how they may change
 *   consumer_command.c      commands to bytes
 *   consumer_apply.c        bytes to changes
 *   consumer_room.c         which of them a leader lets make the state larger
 *   consumer_assign.c       the change that an assignment makes
 *   consumer_checkpoint.c   the whole state to bytes and back */
#ifndef SP_BROKER_CONSUMER_PARTS_H
#define SP_BROKER_CONSUMER_PARTS_H

#include "broker/consumer_group.h"
#include "wire/cursor.h"

#define SP_CONSUMER_COMMAND_VERSION 1

/* In one command: those to come, and those still owned. */
#define SP_CONSUMER_PLACES_MAX (2 * SP_CONSUMER_PARTITIONS_MAX)

enum sp_consumer_command {
    SP_CONSUMER_JOIN = 1,
    SP_CONSUMER_LEAVE,
    SP_CONSUMER_ASSIGN,
    SP_CONSUMER_RELEASE,
    SP_CONSUMER_COMMIT,
    SP_CONSUMER_DELETE,
};

/* What each weighs, about what it takes in memory and, at the most, in a checkpoint. Numbers of
 * their own, not sizes of structs: whether the state is full decides what commands come to, and
 * must be the same in every build. */
enum {
    SP_CONSUMER_GROUP_BYTES = 440,
    SP_CONSUMER_MEMBER_BYTES = 392, /* and its topics */
    SP_CONSUMER_SHARE_BYTES = 48,
    SP_CONSUMER_OFFSET_BYTES = 40 /* and its metadata */
};

struct sp_consumer_groups {
    struct sp_map *by_name; /* owned groups */
    size_t bytes;           /* what all of them weigh: see SP_COORDINATOR_BYTES_MAX */
    bool restoring;         /* what was accepted once is not refused: nothing is too much */
};

/* The group, made if it is not there; *out_code is 0, or BUSY or NOMEM with NULL. */
struct sp_consumer_group *
sp_consumer_groups_get(struct sp_consumer_groups *groups, struct sp_bytes name, int *out_code);
void sp_consumer_groups_remove(struct sp_consumer_groups *groups, struct sp_consumer_group *group);
void sp_consumer_groups_clear(struct sp_consumer_groups *groups);

/* A new member at the end with these topics (copied). SPATE_ERR_BUSY, SPATE_ERR_NOMEM. */
int sp_consumer_member_add(struct sp_consumer_groups *groups,
                           struct sp_consumer_group *group,
                           struct sp_bytes topics,
                           struct sp_consumer_member **out_member);
int sp_consumer_member_subscribe(struct sp_consumer_groups *groups,
                                 struct sp_consumer_member *member,
                                 struct sp_bytes topics);
void sp_consumer_member_remove(struct sp_consumer_groups *groups,
                               struct sp_consumer_group *group,
                               struct sp_consumer_member *member);

/* Gives free shares to their targets and drops those that nobody has or shall have (I1). */
void sp_consumer_shares_settle(struct sp_consumer_group *group);

/* Puts `count` shares (sp_mem; taken) in place of the old ones. */
void sp_consumer_shares_replace(struct sp_consumer_groups *groups,
                                struct sp_consumer_group *group,
                                struct sp_consumer_share *shares,
                                unsigned count);

/* Sets one offset. SPATE_ERR_NOMEM. */
int sp_consumer_offset_set(struct sp_consumer_groups *groups,
                           struct sp_consumer_group *group,
                           const struct sp_consumer_commit *commit,
                           int64_t commit_ms);

/* Reads one offset of a COMMIT; metadata that is too long, or with a NUL, fails the cursor with
 * CORRUPT. */
void sp_consumer_commit_read(struct sp_cursor *cursor, struct sp_consumer_commit *commit);

/* Forgets a topic that was deleted: its shares and offsets. */
void sp_consumer_topic_forget(struct sp_consumer_groups *groups,
                              struct sp_consumer_group *group,
                              uint64_t topic_id);

/* What the targets of an ASSIGN hold, counted and checked before anything is changed; faults fail
 * the cursor, which stands behind them afterwards. */
unsigned sp_consumer_targets_check(struct sp_cursor *cursor);

/* Makes them the targets of a new generation. A member that is not there: SPATE_ERR_CORRUPT. */
int sp_consumer_targets_apply(struct sp_consumer_groups *groups,
                              struct sp_consumer_group *group,
                              struct sp_cursor targets,
                              unsigned target_count);

/* True if `size` more bytes would be too many. */
bool sp_consumer_groups_full(const struct sp_consumer_groups *groups, size_t size);

/* Copies a text of the cursor; a longer one, or one with a NUL, fails the cursor with CORRUPT. */
void sp_consumer_text_read(struct sp_cursor *cursor, char *text, size_t size);

/* Reads an encoded array of at most SP_CONSUMER_TOPICS_MAX topic names; anything else fails the
 * cursor with CORRUPT. */
struct sp_bytes sp_consumer_topics_read(struct sp_cursor *cursor);

#endif /* SP_BROKER_CONSUMER_PARTS_H */
