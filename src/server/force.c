#include "server/force.h"

#include <stdio.h>
#include <stdlib.h>

#include "cluster/force_membership.h"
#include "spate/error.h"

static const char warning[] =
    "FORCED MEMBERSHIP, the last resort. It is for clusters that have lost a majority of their\n"
    "nodes for good. What only the lost nodes had is lost: records, also acknowledged ones, "
    "offsets\n"
    "of consumer groups, topics. If the lost nodes can still be started, start them instead.\n"
    "  * stop all nodes first, and copy this data directory\n"
    "  * run this on every kept node, with the same list of nodes\n"
    "  * a node that is left out must never run with its old data again\n\n";

/* Rising, so that all nodes compute the same from the same set. */
static bool add_node(struct sp_force_options *options, uint32_t node_id)
{
    unsigned place = options->node_count;

    if (node_id == 0 || node_id > SP_NODE_ID_MAX || options->node_count == SP_NODES_MAX) {
        return false;
    }
    while (place > 0 && options->node_ids[place - 1] > node_id) {
        options->node_ids[place] = options->node_ids[place - 1];
        place -= 1;
    }
    if (place > 0 && options->node_ids[place - 1] == node_id) {
        return false;
    }
    options->node_ids[place] = node_id;
    options->node_count += 1;
    return true;
}

static bool read_nodes(const char *text, struct sp_force_options *options)
{
    for (;;) {
        char *end = NULL;
        unsigned long number = *text >= '0' && *text <= '9' ? strtoul(text, &end, 10) : 0;
        if (number > SP_NODE_ID_MAX || !add_node(options, (uint32_t)number)) {
            return false;
        }
        if (*end == '\0') {
            return true;
        }
        if (*end != ',') {
            return false;
        }
        text = end + 1;
    }
}

static void print_line(void *arg, const char *line)
{
    (void)arg;
    (void)printf("%s\n", line);
    (void)fflush(stdout); /* it may take long, and an end in the middle must be seen */
}

int sp_force_run(const struct sp_config *config, const char *nodes, bool change)
{
    struct sp_force_options options = { .change = change, .tell = print_line };
    const struct sp_store_options store = { .path = config->data_dir,
                                            .node_id = config->node_id,
                                            .segment_bytes = config->segment_bytes,
                                            .feature_level_max = config->features.most };
    struct sp_loop *loop = NULL;
    char text[512] = "";

    if (!read_nodes(nodes, &options)) {
        (void)fprintf(stderr,
                      "spated: --force-membership %s: numbers of nodes with commas, each once\n",
                      nodes);
        return 2;
    }
    (void)fputs(warning, stdout);
    int rv = sp_loop_new(SP_WORKERS_PER_SHARD, &loop);
    if (rv == 0) {
        rv = sp_force_membership(loop, &store, &options, text, sizeof text);
    }
    if (rv != 0) {
        (void)fflush(stdout);
        (void)fprintf(stderr,
                      "spated: %s: %s\n",
                      spate_error_name(rv),
                      text[0] == '\0' ? spate_strerror(rv) : text);
        return 1; /* what is open ends with the process */
    }
    sp_loop_free(loop);
    return 0;
}
