/* How long consume -e waits for records that must come: as long as a call may take (--timeout).
 * Then it says which partitions have no leader. */
#ifndef SPATE_CLI_PATIENCE_H
#define SPATE_CLI_PATIENCE_H

#include "cli/topic_list.h"

struct patience {
    uint64_t since_us; /* the last record */
    int64_t wait_ms;   /* silence that is borne; what is left of --timeout is for the question */
    int64_t ask_ms;
    bool told;          /* why there is silence: once until the next record */
    bool ends;          /* patience_tell: silence without leaders ends the command */
    uint64_t looked_us; /* patience_tell has asked, the last time */
    uint64_t led_us;    /* all partitions had leaders, the last time that is known */
};

/* `counted`: a number of records is waited for. If they are read linearizably, which takes a
 * majority for each answer, that is not waited for without one. */
void patience_begin(struct patience *patience, const struct cli *cli, bool counted);

/* A record came. */
void patience_renew(struct patience *patience);

/* 0 while there is hope, else EXIT_TIMEOUT after a message. */
int patience_check(const struct patience *patience,
                   struct cli *cli,
                   const struct topic_list *topics);

/* The same where no end is expected, and silence may be right: says once which partitions have no
 * leader, and goes on; with `ends` EXIT_TIMEOUT once there was none for as long. */
int patience_tell(struct patience *patience, struct cli *cli, const struct topic_list *topics);

#endif /* SPATE_CLI_PATIENCE_H */
