/* How long consume waits for records that do not come, and what it says meanwhile.
 *
 *   silence -- nobody to read from? --> waiting: which partitions, since when; again, rarely
 *                 |                        '-- for as long as a call may take --> the end, if
 *                 '-- records, or leaders again --> silence is right                one is wanted
 */
#ifndef SPATE_CLI_PATIENCE_H
#define SPATE_CLI_PATIENCE_H

#include "cli/look.h"

struct patience {
    struct cli *cli; /* this and the next three: whose; all borrowed */
    const struct topic_list *topics;
    struct spate_consumer *const *consumer; /* the one at the time */
    const char *group;                      /* NULL: no consumer group */
    bool ends; /* silence without leaders is not borne longer than --timeout */

    struct look look;
    uint64_t timeout_us; /* silence that is borne */
    uint64_t last_us;    /* then begins the last look before that ends */
    int64_t ask_ms;      /* for each question of a look */
    uint64_t since_us;   /* the last record */
    uint64_t led_us;     /* the last record, or the last time that there was a leader for each */
    uint64_t looked_us;  /* the newest look began */
    uint64_t pause_us;   /* until the next look */
    uint64_t told_us;    /* 0: there was nothing to tell, the last time */
    uint64_t dated_us;   /* the record that `date` is about */
    int64_t date;        /* its wall time in seconds */
};

/* The first part is filled in. */
void patience_begin(struct patience *patience);
void patience_end(struct patience *patience);

/* A record came. */
void patience_renew(struct patience *patience);

/* Where all that is to come is there already: 0 while there is hope, else EXIT_TIMEOUT after a
 * message. */
int patience_check(struct patience *patience);

/* Where silence may be right: looks now and then, beside the reading, whether there is somebody to
 * read from, says so if not, and goes on; with `ends` EXIT_TIMEOUT once there was nobody for as
 * long. */
int patience_tell(struct patience *patience);

#endif /* SPATE_CLI_PATIENCE_H */
