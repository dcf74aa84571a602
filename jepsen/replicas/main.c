/* jepsen-replicas: reads the data directories of nodes that are stopped and compares the replicas
 * of each Raft group, frame by frame, up to what a majority of them has.
 *
 *   jepsen-replicas [NODE=]DIR ...
 *
 *   replica group=G node=N replica=R first=F last=L compared=A..B frames=C records=E hash=H
 *           state=whole|torn|damaged
 *   differ group=G index=I nodes=N,N
 *   tail group=G index=I node=N frames=C
 *   left group=G node=N records=E of=O
 *   lacks group=G offset=O node=N has=N
 *   other group=G offset=O nodes=N,N
 *
 * What stands behind the common end is not committed, or the node had not got it yet. Frames of one
 * index and term that are not the same bytes differ. Of another term, they are a tail that a leader
 * could not commit any more before it was stopped. A torn end is the mark of a node that was
 * killed; damaged is one that has lost what it had synced.
 *
 * Frames are equal when their chains are, which cover what frames were first. In a compacted group,
 * the records that are left are compared, too: see records.h. Exit code 0: all are equal; 1: some
 * differ or are damaged; 2: something could not be read. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replica.h"
#include "spate/error.h"
#include "storage/disk.h"

enum {
    REPLICAS_MAX = 65536,
};

static struct {
    struct jep_replica *items;
    size_t count;
    uint32_t node;         /* whose directory is being listed */
    const char *directory; /* of its replicas */
    int code;
} all;

/* A replica's directory is GROUP.REPLICA; whatever else stands there is none. */
static int read_replica(void *arg, const char *name)
{
    char path[SP_DISK_PATH_SIZE];
    struct jep_replica replica = { .node = all.node };
    int end = 0;

    (void)arg;
    if (sscanf(name, "%" SCNu64 ".%" SCNu64 "%n", &replica.group, &replica.id, &end) != 2 ||
        name[end] != '\0') {
        return 0;
    }
    if (all.count == REPLICAS_MAX ||
        snprintf(path, sizeof path, "%s/%s", all.directory, name) >= (int)sizeof path) {
        return SPATE_ERR_TOO_LARGE;
    }
    replica.path = strdup(path);
    int rv = replica.path == NULL ? SPATE_ERR_NOMEM : jep_replica_read(&replica);
    if (rv != 0) {
        fprintf(stderr, "jepsen-replicas: %s: %s\n", path, spate_strerror(rv));
        all.code = 2;
    }
    all.items[all.count++] = replica;
    return 0;
}

static void read_node(const char *word)
{
    char path[SP_DISK_PATH_SIZE];
    const char *mark = strchr(word, '=');

    all.node = mark == NULL ? all.node + 1 : (uint32_t)strtoul(word, NULL, 10);
    if (snprintf(path, sizeof path, "%s/replicas", mark == NULL ? word : mark + 1) >=
        (int)sizeof path) {
        fprintf(stderr, "jepsen-replicas: %s: too long\n", word);
        exit(2);
    }
    all.directory = path;
    int rv = sp_dir_list(path, read_replica, NULL);
    if (rv != 0) {
        fprintf(stderr, "jepsen-replicas: %s: %s\n", path, spate_strerror(rv));
        exit(2);
    }
}

static int by_group(const void *a, const void *b)
{
    const struct jep_replica *x = a;
    const struct jep_replica *y = b;

    if (x->group != y->group) {
        return x->group < y->group ? -1 : 1;
    }
    return x->node < y->node ? -1 : x->node > y->node;
}

static int descending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return x > y ? -1 : x < y;
}

/* The index behind the last one that a majority has. */
static uint64_t majority_end(const struct jep_replica *replicas, size_t count)
{
    uint64_t *ends = calloc(count, sizeof *ends);

    if (ends == NULL) {
        exit(2);
    }
    for (size_t i = 0; i < count; i++) {
        ends[i] = jep_replica_end(&replicas[i]);
    }
    qsort(ends, count, sizeof *ends, descending);
    uint64_t end = ends[count / 2];
    free(ends);
    return end;
}

/* As Raft compares logs: the later last term, or the longer one. */
static bool is_ahead(const struct jep_replica *a, const struct jep_replica *b)
{
    uint64_t a_term = a->count == 0 ? 0 : a->frames[a->count - 1].term;
    uint64_t b_term = b->count == 0 ? 0 : b->frames[b->count - 1].term;

    return a_term > b_term || (a_term == b_term && jep_replica_end(a) > jep_replica_end(b));
}

/* The first frame where `one` is not as `ahead`, if there is any; that or the common end becomes
 * its equal_end. */
static void compare_two(const struct jep_replica *ahead, struct jep_replica *one, uint64_t end)
{
    uint64_t at = one->first > ahead->first ? one->first : ahead->first;

    end = jep_replica_end(one) < end ? jep_replica_end(one) : end;
    end = jep_replica_end(ahead) < end ? jep_replica_end(ahead) : end;
    for (; at < end; at++) {
        one->equal_end = at;
        const struct jep_frame *a = &ahead->frames[at - ahead->first];
        const struct jep_frame *b = &one->frames[at - one->first];
        if (a->term != b->term) {
            printf("tail group=%" PRIu64 " index=%" PRIu64 " node=%" PRIu32 " frames=%" PRIu64 "\n",
                   one->group,
                   at,
                   one->node,
                   jep_replica_end(one) - at);
            return;
        }
        if (a->hash != b->hash) {
            printf("differ group=%" PRIu64 " index=%" PRIu64 " nodes=%" PRIu32 ",%" PRIu32 "\n",
                   one->group,
                   at,
                   ahead->node,
                   one->node);
            all.code = all.code == 0 ? 1 : all.code;
            return;
        }
    }
    one->equal_end = end;
}

static void compare(struct jep_replica *replicas, size_t count, uint64_t end)
{
    const struct jep_replica *ahead = replicas;

    for (size_t i = 1; i < count; i++) {
        ahead = is_ahead(&replicas[i], ahead) ? &replicas[i] : ahead;
    }
    for (size_t i = 0; i < count; i++) {
        compare_two(ahead, &replicas[i], end);
    }
}

static void print(const struct jep_replica *replica, uint64_t from, uint64_t end)
{
    uint64_t to = jep_replica_end(replica) < end ? jep_replica_end(replica) : end;
    uint64_t frames = to > from ? to - from : 0;
    uint64_t last = frames > 0 ? to - 1 : from;
    bool damaged = replica->torn && replica->synced >= jep_replica_end(replica);
    uint64_t sum = 0;

    for (uint64_t at = from; at < to; at++) {
        sum = (sum ^ replica->frames[at - replica->first].hash) * 0x9e3779b97f4a7c15u;
    }
    all.code = damaged && all.code == 0 ? 1 : all.code;
    printf("replica group=%" PRIu64 " node=%" PRIu32 " replica=%" PRIu64 " first=%" PRIu64
           " last=%" PRIu64 " compared=%" PRIu64 "..%" PRIu64 " frames=%" PRIu64 " records=%" PRId64
           " hash=%016" PRIx64 " state=%s\n",
           replica->group,
           replica->node,
           replica->id,
           replica->first,
           replica->first + replica->count - (replica->count > 0),
           from,
           last,
           frames,
           replica->end_offset,
           sum,
           damaged         ? "damaged"
           : replica->torn ? "torn"
                           : "whole");
}

/* ---- what compaction has left ---------------------------------------------------------------- */

static void tell_left(void *arg,
                      const struct jep_records *having,
                      const struct jep_records *lacking,
                      const struct jep_left *left,
                      bool other)
{
    const uint64_t *group = arg;

    printf("%s group=%" PRIu64 " offset=%" PRId64 " node%s=%" PRIu32 "%s%" PRIu32 "\n",
           other ? "other" : "lacks",
           *group,
           left->offset,
           other ? "s" : "",
           lacking->node,
           other ? "," : " has=",
           having->node);
    all.code = all.code == 0 ? 1 : all.code;
}

static void compare_left(const struct jep_replica *replicas, size_t count)
{
    uint64_t group = replicas[0].group;
    struct jep_records *records = calloc(count, sizeof *records);
    int rv = records == NULL ? SPATE_ERR_NOMEM : 0;

    for (size_t i = 0; rv == 0 && i < count; i++) {
        rv = jep_replica_records(&replicas[i], &records[i]);
        printf("left group=%" PRIu64 " node=%" PRIu32 " records=%zu of=%" PRId64 "\n",
               group,
               replicas[i].node,
               records[i].count,
               records[i].to - records[i].from);
    }
    if (rv == 0) {
        rv = jep_records_compare(records, count, tell_left, &group);
    }
    if (rv != 0) {
        fprintf(stderr, "jepsen-replicas: group %" PRIu64 ": %s\n", group, spate_strerror(rv));
        all.code = 2;
    }
    for (size_t i = 0; records != NULL && i < count; i++) {
        free(records[i].items);
    }
    free(records);
}

static void take_group(struct jep_replica *replicas, size_t count)
{
    bool compacted = false;
    uint64_t end = majority_end(replicas, count);
    uint64_t from = 0;

    for (size_t i = 0; i < count; i++) {
        from = replicas[i].first > from ? replicas[i].first : from;
        compacted |= replicas[i].compacted;
    }
    for (size_t i = 0; i < count; i++) {
        print(&replicas[i], from, end);
    }
    compare(replicas, count, end);
    if (compacted) {
        compare_left(replicas, count);
    }
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: jepsen-replicas [NODE=]DIR ...\n");
        return 2;
    }
    all.items = calloc(REPLICAS_MAX, sizeof *all.items);
    if (all.items == NULL) {
        return 2;
    }
    for (int i = 1; i < argc; i++) {
        read_node(argv[i]);
    }
    qsort(all.items, all.count, sizeof *all.items, by_group);
    for (size_t begin = 0; begin < all.count;) {
        size_t end = begin + 1;
        while (end < all.count && all.items[end].group == all.items[begin].group) {
            end += 1;
        }
        take_group(&all.items[begin], end - begin);
        begin = end;
    }
    for (size_t i = 0; i < all.count; i++) {
        free(all.items[i].frames);
        free(all.items[i].path);
    }
    free(all.items);
    return fflush(stdout) == 0 ? all.code : 2;
}
