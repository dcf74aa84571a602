/* What the files of the health text share: health_text.c (the controller, notes, the order of all),
 * health_nodes.c (nodes that are down) and health_replicas.c (partitions and their replicas). */
#ifndef SPATE_CLI_HEALTH_WORDS_H
#define SPATE_CLI_HEALTH_WORDS_H

#include "base/attr.h"
#include "cli/health_text.h"

struct health_words {
    char *text;
    size_t size;
    int64_t now_ms; /* of the node that answered */
    bool timeless;
};

/* Adds to a text that is cut at its size. */
void health_add(struct health_words *words, const char *format, ...) SP_PRINTF(2, 3);

/* ", since 2026-01-31T12:00:00Z (4 min 48 s)", if it is known. */
void health_add_since(struct health_words *words, const json_t *row, const char *key);

/* The end of a line: that of `since_ms`. */
void health_end_line(struct health_words *words, const json_t *row);

/* "1,2,3" */
void health_add_nodes(struct health_words *words, const json_t *nodes);

/* "topic/7" */
void health_add_place(struct health_words *words, const json_t *row);

/* A line below others: what heals a problem by itself, and what a person types if it does not. */
void health_advise(struct health_words *words, bool wanted, const char *advice);

/* How many rows were not named. */
void health_add_rest(struct health_words *words, const char *title, const json_t *rows);

/* health_nodes.c: nodes that are down, and what the node that answered says of itself. */
void health_add_down(struct health_words *words, const json_t *result);
void health_add_node(struct health_words *words, const json_t *result);

/* health_replicas.c: leaderless, under-replicated, refusing, refilling, damaged, lost; opening. */
void health_add_replicas(struct health_words *words, const json_t *result);
void health_add_opening(struct health_words *words, const json_t *result);

/* Of the partition of that row. */
enum health_lead {
    HEALTH_LED,
    HEALTH_MAY_ELECT,    /* nobody leads, and enough replicas are left that could be brought back */
    HEALTH_CANNOT_ELECT, /* too few are left: a person has to decide */
};

enum health_lead health_lead_of(const json_t *result, const json_t *row);

/* How many partitions with a replica on the node have no leader, and elect none by themselves. */
int64_t health_waiting_on(const json_t *result, int64_t node);

/* Of the replicas of a node so many cannot move; 0: nothing is said. */
void health_add_waiting(struct health_words *words, int64_t waiting);

#endif /* SPATE_CLI_HEALTH_WORDS_H */
