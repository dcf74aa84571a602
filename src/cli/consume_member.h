/* consume -g: as a member of a consumer group, which shares the partitions among its members.
 *
 * What has been printed is committed every second, before a partition goes to another member, and
 * at the end: never anything that still waits in the output buffer. When the reader of the output
 * goes away, nothing more is committed and the group is left. */
#ifndef SPATE_CLI_CONSUME_MEMBER_H
#define SPATE_CLI_CONSUME_MEMBER_H

#include "cli/topic_list.h"

struct consume_member {
    struct cli *cli;
    struct spate_consumer *consumer;
    const char *group; /* NULL: no member */
    bool read_only;    /* commits nothing */
    bool assigned;     /* partitions have been given to it once */
    bool in_event;     /* an event of the consumer is handled: it must not be closed */
    bool unheard;      /* the last commit of partitions that were given up has no outcome yet */
    bool ending;       /* member_end has waited for the last commit of all: */
    int outcome;       /* what became of it, */
    char text[512];    /* and in words */
    uint64_t due_us;   /* of the next commit */
};

/* Before the client connects: the group, and where it begins (`from`: start, end or NULL). 0, or
 * the exit code of wrong usage. */
int member_configure(struct consume_member *member, const char *from);

/* A consumer that tells of records which were deleted before it got to them. A SPATE_ERR_* code. */
int consumer_of_its_own(struct spate_client *client, struct spate_consumer **out_consumer);

/* Subscribes. 0, or the exit code of an error that has been told. */
int member_begin(struct consume_member *member,
                 struct spate_consumer *consumer,
                 const struct topic_list *topics);

/* Between records: commits if it is time. */
void member_tick(struct consume_member *member);

/* True when everything that it was given has been read to the end. */
bool member_at_end(const struct consume_member *member);

/* tell_failure of what the consumer did, also of one that is no member. */
int member_tell_failure(const struct consume_member *member, int code, const char *what);

/* Commits what was printed and leaves the group. 0, or the exit code of an error that has been
 * told. */
int member_end(struct consume_member *member);

#endif /* SPATE_CLI_CONSUME_MEMBER_H */
