/* Cycles among operations that depend on each other.
 *
 *   ww   the operation that wrote a record -> the one that wrote the next record of the log
 *   wr   the one that wrote a record -> a poll that read it (the last record of a poll: earlier
 *        ones lead there through ww)
 *   process, realtime   an operation that was over -> one that began afterwards, of the same client
 *        or of any
 *
 * A vertex is a send that was acknowledged, a run of records of unknown outcome in the log, or a
 * poll. A poll has no beginning here: its records may have been fetched ahead. Order in time needs
 * few edges: what is over leads into a chain of vertices of time, which leads to what begins.
 *
 * Most histories need no graph. Let each record stand in its log once, alone at its offset, and let
 * no send begin after a record was known and be stored before it (ack-order, early-read). Give each
 * send the latest beginning L of all records at or before its place, each poll its time. Then L
 * does not fall along ww; it is not above the time of a poll that read the record, nor above the
 * acknowledgement, since what began after those would stand behind; and it rises along process and
 * realtime. So a cycle would be of ww alone, within one log, where places rise: there is none. */
#include <inttypes.h>
#include <stdio.h>

#include "graph.h"
#include "verdict.h"

enum {
    WW = 1,
    WR = 2,
    PROCESS = 4,
    REALTIME = 8,
    CYCLE_MAX = 64,
};

/* Vertices: sends, polls, further runs of unknown sends, then time. */
struct operations {
    struct jep_history *history;
    struct JEP_VECTOR(uint32_t) runs; /* the send of each further run */
    struct jep_map *unknown;          /* value of unknown outcome: vertex */
    struct jep_moment *over;
    struct jep_moment *begun;
    size_t over_count;
    size_t begun_count;
    uint32_t first_run;
    uint32_t first_time;
    uint32_t vertices;
};

/* ---- vertices -------------------------------------------------------------------------------- */

static uint32_t vertex_of(struct operations *operations, uint32_t value)
{
    const struct jep_history *history = operations->history;
    uint32_t send = history->send_of[value];

    if (send == JEP_NONE || history->sends.items[send].outcome == JEP_OK) {
        return send;
    }
    return *jep_map_at(operations->unknown, value);
}

/* Gives each run of unknown records in a log its vertex: the first of a send is the send. */
static void number_runs(struct operations *operations, const struct jep_key *key, uint8_t *seen)
{
    struct jep_history *history = operations->history;
    uint32_t last = JEP_NONE;
    uint32_t vertex = JEP_NONE;

    for (uint32_t at = 0; at < key->size; at++) {
        uint32_t value = key->values[at];
        uint32_t send = value == JEP_NONE ? JEP_NONE : history->send_of[value];
        if (send != JEP_NONE && history->sends.items[send].outcome != JEP_OK) {
            if (send != last && !seen[send]) {
                vertex = send;
                seen[send] = 1;
            } else if (send != last) {
                vertex = operations->first_run + (uint32_t)operations->runs.count;
                *jep_add(&operations->runs) = send;
            }
            *jep_map_at(operations->unknown, value) = vertex;
        }
        last = value == JEP_NONE ? last : send;
    }
}

/* The send behind a vertex that is one, or a run of one. */
static const struct jep_send *send_at(const struct operations *operations, uint32_t vertex)
{
    const struct jep_history *history = operations->history;

    if (vertex < history->sends.count) {
        return &history->sends.items[vertex];
    }
    if (vertex >= operations->first_run && vertex < operations->first_time) {
        return &history->sends.items[operations->runs.items[vertex - operations->first_run]];
    }
    return NULL;
}

static void list_moments(struct operations *operations)
{
    const struct jep_history *history = operations->history;
    size_t sends = history->sends.count;
    size_t polls = history->polls.count;

    operations->over = jep_memory(sends + polls, sizeof *operations->over);
    operations->begun = jep_memory(sends + operations->runs.count, sizeof *operations->begun);
    for (size_t i = 0; i < sends; i++) {
        const struct jep_send *send = &history->sends.items[i];
        if (send->outcome == JEP_OK) {
            operations->over[operations->over_count++] =
                (struct jep_moment){ send->done_ns, (uint32_t)i, send->stream };
        }
        if (send->outcome != JEP_FAIL) {
            operations->begun[operations->begun_count++] =
                (struct jep_moment){ send->invoked_ns, (uint32_t)i, send->stream };
        }
    }
    for (size_t i = 0; i < operations->runs.count; i++) {
        const struct jep_send *send = &history->sends.items[operations->runs.items[i]];
        operations->begun[operations->begun_count++] = (struct jep_moment){
            send->invoked_ns, operations->first_run + (uint32_t)i, send->stream
        };
    }
    for (size_t i = 0; i < polls; i++) {
        const struct jep_poll *poll = &history->polls.items[i];
        operations->over[operations->over_count++] =
            (struct jep_moment){ poll->time_ns, (uint32_t)(sends + i), poll->stream };
    }
    jep_sort_moments(operations->over, operations->over_count);
    jep_sort_moments(operations->begun, operations->begun_count);
}

static void prepare(struct operations *operations, struct jep_history *history)
{
    uint8_t *seen = jep_memory(history->sends.count, 1);

    *operations = (struct operations){ .history = history, .unknown = jep_map_new() };
    operations->first_run = (uint32_t)(history->sends.count + history->polls.count);
    for (size_t i = 0; i < history->keys.count; i++) {
        number_runs(operations, &history->keys.items[i], seen);
    }
    free(seen);
    operations->first_time = operations->first_run + (uint32_t)operations->runs.count;
    list_moments(operations);
    /* A vertex of time stands before something that begins. */
    operations->vertices = operations->first_time + (uint32_t)operations->begun_count;
}

static void finish(struct operations *operations)
{
    free(operations->runs.items);
    free(operations->over);
    free(operations->begun);
    jep_map_free(operations->unknown);
}

/* ---- edges ----------------------------------------------------------------------------------- */

static void add_writes(struct operations *operations, struct jep_graph *graph)
{
    for (size_t i = 0; i < operations->history->keys.count; i++) {
        const struct jep_key *key = &operations->history->keys.items[i];
        uint32_t before = JEP_NONE;
        for (uint32_t at = 0; at < key->size; at++) {
            uint32_t value = key->values[at];
            uint32_t vertex = value == JEP_NONE ? JEP_NONE : vertex_of(operations, value);
            if (vertex != JEP_NONE) {
                if (before != JEP_NONE && before != vertex) {
                    jep_graph_edge(graph, before, vertex);
                }
                before = vertex;
            }
        }
    }
}

static void add_reads(struct operations *operations, struct jep_graph *graph)
{
    const struct jep_history *history = operations->history;

    for (size_t i = 0; i < history->polls.count; i++) {
        uint32_t end = jep_runs_end(history, i);
        if (end == history->polls.items[i].first_run) {
            continue;
        }
        const struct jep_run *run = &history->runs.items[end - 1];
        uint32_t value = jep_value_at(history, run->stream, run->first + run->count - 1);
        uint32_t vertex = vertex_of(operations, value);
        if (vertex != JEP_NONE) {
            jep_graph_edge(graph, vertex, (uint32_t)(history->sends.count + i));
        }
    }
}

/* A chain of time, of all clients or of one. */
struct chain {
    uint32_t last;    /* vertex of time; JEP_NONE: none yet */
    uint32_t pending; /* one that something over leads to, and nothing that begins follows yet */
};

static struct chain *chain_of(const struct operations *operations,
                              struct chain *chains,
                              const struct jep_moment *moment,
                              bool of_clients)
{
    uint32_t client = operations->history->streams.items[moment->kind].client;

    return &chains[of_clients ? client : 0];
}

static void add_time(struct operations *operations, struct jep_graph *graph, bool of_clients)
{
    size_t count = of_clients ? operations->history->clients.count : 1;
    struct chain *chains = jep_memory(count, sizeof *chains);
    uint32_t next = operations->first_time;
    size_t over = 0;

    for (size_t i = 0; i < count; i++) {
        chains[i] = (struct chain){ JEP_NONE, JEP_NONE };
    }
    for (size_t i = 0; i < operations->begun_count; i++) {
        const struct jep_moment *begun = &operations->begun[i];
        for (; over < operations->over_count && operations->over[over].time_ns < begun->time_ns;
             over++) {
            struct chain *chain = chain_of(operations, chains, &operations->over[over], of_clients);
            if (chain->pending == JEP_NONE) {
                chain->pending = next++;
                if (chain->last != JEP_NONE) {
                    jep_graph_edge(graph, chain->last, chain->pending);
                }
            }
            jep_graph_edge(graph, operations->over[over].row, chain->pending);
        }
        struct chain *chain = chain_of(operations, chains, begun, of_clients);
        if (chain->pending != JEP_NONE) {
            chain->last = chain->pending;
            chain->pending = JEP_NONE;
        }
        if (chain->last != JEP_NONE) {
            jep_graph_edge(graph, chain->last, begun->row);
        }
    }
    free(chains);
}

static void add_edges(struct operations *operations, struct jep_graph *graph, unsigned kinds)
{
    if ((kinds & WW) != 0) {
        add_writes(operations, graph);
    }
    if ((kinds & WR) != 0) {
        add_reads(operations, graph);
    }
    if ((kinds & (PROCESS | REALTIME)) != 0) {
        add_time(operations, graph, (kinds & PROCESS) != 0);
    }
}

/* ---- cycles ---------------------------------------------------------------------------------- */

static uint32_t find_cycles(struct operations *operations,
                            unsigned kinds,
                            struct jep_graph *graph,
                            uint32_t *component)
{
    /* Each chain of a client may have a vertex that nothing follows. */
    uint32_t more = (kinds & PROCESS) != 0 ? (uint32_t)operations->history->clients.count : 1;

    operations->vertices = operations->first_time + (uint32_t)operations->begun_count + more;
    jep_graph_begin(graph, operations->vertices);
    add_edges(operations, graph, kinds);
    jep_graph_place(graph);
    add_edges(operations, graph, kinds);
    jep_graph_end(graph);
    return jep_graph_components(graph, component);
}

static size_t describe(const struct operations *operations, uint32_t vertex, char *out, size_t size)
{
    const struct jep_history *history = operations->history;
    const struct jep_send *send = send_at(operations, vertex);
    int written = 0;

    if (send != NULL) {
        written =
            snprintf(out,
                     size,
                     "-> send of records %" PRIu32 "+%" PRIu32 " of client %" PRIu32 " to %.80s ",
                     send->first,
                     send->count,
                     history->clients.items[history->streams.items[send->stream].client].id,
                     jep_key_words(history, history->streams.items[send->stream].key));
    } else if (vertex < operations->first_run) {
        const struct jep_poll *poll = &history->polls.items[vertex - history->sends.count];
        written = snprintf(out,
                           size,
                           "-> poll of client %" PRIu32 " from %.80s ",
                           history->clients.items[history->streams.items[poll->stream].client].id,
                           jep_key_words(history, history->streams.items[poll->stream].key));
    } else {
        written = snprintf(out, size, "-> later ");
    }
    return written < 0 || (size_t)written >= size ? 0 : (size_t)written;
}

static void tell(struct operations *operations,
                 struct jep_verdict *verdict,
                 enum jep_anomaly anomaly,
                 const struct jep_graph *graph,
                 const uint32_t *component,
                 uint32_t start)
{
    const struct jep_history *history = operations->history;
    const struct jep_send *send = send_at(operations, start);
    uint32_t cycle[CYCLE_MAX];
    char text[JEP_EXAMPLE_BYTES] = "";
    size_t size = 0;

    if (verdict->counts[anomaly] < JEP_EXAMPLES_MAX) {
        uint32_t count = jep_graph_cycle(graph, component, start, cycle, CYCLE_MAX);
        for (uint32_t i = 0; i < count; i++) {
            size += describe(operations, cycle[i], text + size, sizeof text - size);
        }
    }
    jep_found(verdict,
              anomaly,
              history->streams.items[send->stream].key,
              send->invoked_ns,
              "%s-> and again",
              text);
}

/* Each component is of the class of the fewest kinds of edges that still have a cycle in it. */
static void classify(struct operations *operations,
                     struct jep_verdict *verdict,
                     const struct jep_graph *whole,
                     const uint32_t *component,
                     uint32_t components)
{
    static const unsigned kinds[3] = { WW, WW | WR, WW | WR | PROCESS };
    uint8_t *classes = jep_memory(components, 1); /* 0: the cheapest .. 3: only with real time */
    uint32_t *starts = jep_memory(components, sizeof *starts);
    size_t room = (size_t)whole->vertices + operations->history->clients.count + 1;
    uint32_t *other = jep_memory(room, sizeof *other);

    for (uint32_t i = 0; i < components; i++) {
        classes[i] = 3;
        starts[i] = JEP_NONE;
    }
    for (uint32_t v = operations->first_time; v-- > 0;) { /* the first send of it, at last */
        if (component[v] != JEP_NONE && send_at(operations, v) != NULL) {
            starts[component[v]] = v;
        }
    }
    for (unsigned class = 3; class -- > 0;) {
        struct jep_graph graph;
        (void)find_cycles(operations, kinds[class], &graph, other);
        for (uint32_t v = 0; v < operations->first_time; v++) {
            if (other[v] != JEP_NONE && component[v] != JEP_NONE) {
                classes[component[v]] = (uint8_t) class;
            }
        }
        jep_graph_free(&graph);
    }
    for (uint32_t i = 0; i < components; i++) {
        tell(operations, verdict, JEP_G0 + classes[i], whole, component, starts[i]);
    }
    free(other);
    free(starts);
    free(classes);
}

static bool may_have_cycles(const struct jep_verdict *verdict)
{
    return verdict->counts[JEP_INCONSISTENT] > 0 || verdict->counts[JEP_DUPLICATE] > 0 ||
           verdict->counts[JEP_EARLY_READ] > 0 || verdict->counts[JEP_ACK_ORDER] > 0;
}

void jep_check_graph(struct jep_history *history, struct jep_verdict *verdict)
{
    struct operations operations;
    struct jep_graph graph;

    if (!may_have_cycles(verdict)) {
        return;
    }
    prepare(&operations, history);
    uint32_t *component = jep_memory((size_t)operations.vertices + 1, sizeof *component);
    uint32_t components = find_cycles(&operations, WW | WR | REALTIME, &graph, component);
    if (components > 0) {
        classify(&operations, verdict, &graph, component, components);
    }
    free(component);
    jep_graph_free(&graph);
    finish(&operations);
}
