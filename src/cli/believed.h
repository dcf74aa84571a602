/* Which of several nodes is believed. One that was removed, emptied or cut off goes on answering,
 * and may be the first of the servers: what it says of others is old. A node is believed that
 * follows the controller (`current` of its answer); without such a one the node that knows most. */
#ifndef SPATE_CLI_BELIEVED_H
#define SPATE_CLI_BELIEVED_H

#include "cli/cli.h"

#define BELIEVED_ADDRESS_SIZE 300

struct believed {
    json_t *result;                      /* owned */
    json_t *doubted;                     /* owned: ids of others that answered and do not follow */
    char address[BELIEVED_ADDRESS_SIZE]; /* who answered; "": whom cli->client talks with */
};

/* True if the node that gave this answer follows the controller. One of an older build does not say
 * so: then, if it knows a leader. */
bool believed_follows(const json_t *answer);

/* Asks any node, and if that one does not follow the controller, all of the servers and all that it
 * knows, at once, each for `timeout_ms` at most. 0, or a SPATE_ERR_* code, untold. */
int believed_ask(struct cli *cli, const char *method, int64_t timeout_ms, struct believed *out);

/* The same node asked once more; as believed_ask. */
int believed_ask_again(struct cli *cli,
                       const struct believed *believed,
                       const char *method,
                       json_t **out_result);

/* Says so on stderr if the node that gave this answer does not follow the controller either. */
void believed_tell_outdated(const struct cli *cli, const json_t *result);

/* Asks as believed_ask, each for a short time, and tells what is outdated. 0 and the result (owned
 * by the caller), or the exit code of an error that has been told. */
int believed_ask_told(struct cli *cli, const char *method, json_t **out_result);

/* For a command without options of its own and without arguments: checks that, connects, asks as
 * believed_ask_told. A method whose answer does not say who follows the controller is asked of one
 * node. */
int ask_method(struct cli *cli, int argc, char **argv, const char *method, json_t **out_result);

/* The same of a method that lists nodes: these come by their ids. With --json the result is printed
 * at once, and *out_result stays NULL. */
int ask_nodes(struct cli *cli, int argc, char **argv, const char *method, json_t **out_result);

#endif /* SPATE_CLI_BELIEVED_H */
