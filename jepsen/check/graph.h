/* A directed graph of some ten million vertices, and its strongly connected components. */
#ifndef JEP_CHECK_GRAPH_H
#define JEP_CHECK_GRAPH_H

#include "history.h"

/* Filled in two passes over the same edges: counted first, placed then. */
struct jep_graph {
    uint32_t vertices;
    uint32_t *begins;  /* by vertex: its first edge; one more at the end */
    uint32_t *targets; /* by edge; NULL in the first pass */
    uint32_t *next;    /* by vertex: where its next edge goes, in the second pass */
};

void jep_graph_begin(struct jep_graph *graph, uint32_t vertices);

/* Between the passes. */
void jep_graph_place(struct jep_graph *graph);

/* The same calls in the same order in both passes; an edge to itself is none. */
void jep_graph_edge(struct jep_graph *graph, uint32_t from, uint32_t to);

/* After the second pass. */
void jep_graph_end(struct jep_graph *graph);
void jep_graph_free(struct jep_graph *graph);

/* out_component[v] is the number of v's component, or JEP_NONE when it is alone in it. Returns how
 * many components have two vertices or more. Tarjan's algorithm in Pearce's form (2016, "A
 * space-efficient algorithm for finding strongly connected components"), without recursion. */
uint32_t jep_graph_components(const struct jep_graph *graph, uint32_t *out_component);

/* The shortest cycle through `start` within its component: vertices into `out` (at most `max`),
 * returns how many; 0: it is longer than that. */
uint32_t jep_graph_cycle(const struct jep_graph *graph,
                         const uint32_t *component,
                         uint32_t start,
                         uint32_t *out,
                         uint32_t max);

#endif /* JEP_CHECK_GRAPH_H */
