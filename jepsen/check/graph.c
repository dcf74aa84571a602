#include "graph.h"

void jep_graph_begin(struct jep_graph *graph, uint32_t vertices)
{
    *graph = (struct jep_graph){
        .vertices = vertices,
        .begins = jep_memory((size_t)vertices + 1, sizeof *graph->begins),
    };
}

void jep_graph_edge(struct jep_graph *graph, uint32_t from, uint32_t to)
{
    if (from == to) {
        return;
    }
    if (graph->targets == NULL) {
        graph->begins[from + 1] += 1;
    } else {
        graph->targets[graph->next[from]++] = to;
    }
}

void jep_graph_place(struct jep_graph *graph)
{
    graph->next = jep_memory(graph->vertices, sizeof *graph->next);
    for (uint32_t i = 0; i < graph->vertices; i++) {
        graph->begins[i + 1] += graph->begins[i];
        graph->next[i] = graph->begins[i];
    }
    graph->targets = jep_memory(graph->begins[graph->vertices], sizeof *graph->targets);
}

void jep_graph_end(struct jep_graph *graph)
{
    free(graph->next);
    graph->next = NULL;
}

void jep_graph_free(struct jep_graph *graph)
{
    free(graph->begins);
    free(graph->targets);
    free(graph->next);
    *graph = (struct jep_graph){ 0 };
}

/* ---- components ------------------------------------------------------------------------------ */

struct search {
    const struct jep_graph *graph;
    uint32_t *index; /* 0: not seen; else rising; JEP_NONE - c: assigned to component c */
    uint32_t *edge;  /* by vertex: the next one to follow */
    uint8_t *root;
    uint32_t *calls;
    uint32_t *waiting; /* seen, and of no component yet */
    uint32_t call_count;
    uint32_t waiting_count;
    uint32_t rising;
    uint32_t falling;
    uint32_t components; /* with two vertices or more */
    uint32_t *out;
};

static void enter(struct search *search, uint32_t vertex)
{
    search->calls[search->call_count++] = vertex;
    search->root[vertex] = 1;
    search->index[vertex] = search->rising++;
    search->edge[vertex] = search->graph->begins[vertex];
}

/* All edges of `vertex` have been followed. */
static void leave(struct search *search, uint32_t vertex)
{
    uint32_t index = search->index[vertex];
    bool alone = true;

    search->call_count -= 1;
    if (!search->root[vertex]) {
        search->waiting[search->waiting_count++] = vertex;
        return;
    }
    while (search->waiting_count > 0) {
        uint32_t member = search->waiting[search->waiting_count - 1];
        if (search->index[member] < index) {
            break;
        }
        search->waiting_count -= 1;
        search->index[member] = search->falling;
        search->out[member] = search->components;
        search->rising -= 1;
        alone = false;
    }
    search->index[vertex] = search->falling;
    search->out[vertex] = alone ? JEP_NONE : search->components;
    search->components += !alone;
    search->rising -= 1;
    search->falling -= 1;
}

static void visit(struct search *search, uint32_t start)
{
    const struct jep_graph *graph = search->graph;

    enter(search, start);
    while (search->call_count > 0) {
        uint32_t vertex = search->calls[search->call_count - 1];
        uint32_t edge = search->edge[vertex];
        if (edge == graph->begins[vertex + 1]) {
            leave(search, vertex);
            continue;
        }
        uint32_t target = graph->targets[edge];
        if (search->index[target] == 0) {
            enter(search, target); /* the edge is looked at again when it returns */
            continue;
        }
        if (search->index[target] < search->index[vertex]) {
            search->index[vertex] = search->index[target];
            search->root[vertex] = 0;
        }
        search->edge[vertex] += 1;
    }
}

uint32_t jep_graph_components(const struct jep_graph *graph, uint32_t *out_component)
{
    struct search search = {
        .graph = graph,
        .index = jep_memory(graph->vertices, sizeof *search.index),
        .edge = jep_memory(graph->vertices, sizeof *search.edge),
        .root = jep_memory(graph->vertices, sizeof *search.root),
        .calls = jep_memory(graph->vertices, sizeof *search.calls),
        .waiting = jep_memory(graph->vertices, sizeof *search.waiting),
        .rising = 1,
        .falling = JEP_NONE,
        .out = out_component,
    };

    for (uint32_t i = 0; i < graph->vertices; i++) {
        if (search.index[i] == 0) {
            visit(&search, i);
        }
    }
    free(search.index);
    free(search.edge);
    free(search.root);
    free(search.calls);
    free(search.waiting);
    return search.components;
}

/* ---- one cycle ------------------------------------------------------------------------------- */

/* Follows `from` back to `start`; returns how many vertices that are. */
static uint32_t
trace_back(struct jep_map *from, uint32_t start, uint32_t last, uint32_t *out, uint32_t max)
{
    uint32_t count = 1;
    uint32_t at;

    for (at = last; at != start; at = *jep_map_at(from, at)) {
        count += 1;
    }
    if (count > max) {
        return 0;
    }
    uint32_t place = count;
    for (at = last; at != start; at = *jep_map_at(from, at)) {
        out[--place] = at;
    }
    out[0] = start;
    return count;
}

uint32_t jep_graph_cycle(const struct jep_graph *graph,
                         const uint32_t *component,
                         uint32_t start,
                         uint32_t *out,
                         uint32_t max)
{
    struct JEP_VECTOR(uint32_t) queue = { 0 };
    struct jep_map *from = jep_map_new();
    uint32_t found = 0;
    bool done = false;

    *jep_add(&queue) = start;
    for (size_t head = 0; head < queue.count && !done; head++) {
        uint32_t vertex = queue.items[head];
        for (uint32_t e = graph->begins[vertex]; e < graph->begins[vertex + 1] && !done; e++) {
            uint32_t target = graph->targets[e];
            if (target == start) {
                found = trace_back(from, start, vertex, out, max);
                done = true;
            } else if (component[target] == component[start]) {
                uint32_t *before = jep_map_at(from, target);
                if (*before == JEP_NONE) {
                    *before = vertex;
                    *jep_add(&queue) = target;
                }
            }
        }
    }
    free(queue.items);
    jep_map_free(from);
    return found;
}
