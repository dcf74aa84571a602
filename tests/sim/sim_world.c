/* Time, events and chance of the simulated world. Processes: sim_process.c. */
#include "sim_world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/trace.h"
#include "sim_parts.h"

#define FNV_PRIME 0x100000001b3ull
#define FNV_START 0xcbf29ce484222325ull

enum {
    HEAP_CAPACITY_MIN = 1024,
};

struct sim_world sim;

void *sim_alloc(size_t size)
{
    return sim_grow(NULL, size);
}

void *sim_grow(void *pointer, size_t size)
{
    void *memory = realloc(pointer, size);

    if (memory == NULL) {
        (void)fprintf(stderr, "sim: out of memory\n");
        exit(2);
    }
    if (pointer == NULL) {
        memset(memory, 0, size);
    }
    return memory;
}

void sim_free(void *pointer)
{
    free(pointer);
}

/* ---- chance ---------------------------------------------------------------------------------- */

uint64_t sim_between(struct sp_rand *rand, uint64_t low, uint64_t high)
{
    return low + sp_rand_below(rand, high - low + 1);
}

bool sim_one_in(struct sp_rand *rand, uint64_t n)
{
    return n > 0 && sp_rand_below(rand, n) == 0;
}

uint64_t sim_with_tail(struct sp_rand *rand, uint64_t usual)
{
    uint64_t value = sim_between(rand, usual / 2, usual + usual / 2);

    if (sim_one_in(rand, 50)) {
        value *= 1 + sp_rand_below(rand, 10);
    }
    if (sim_one_in(rand, 1000)) {
        value *= 1 + sp_rand_below(rand, 20);
    }
    return value;
}

void sim_hash(uint64_t value)
{
    sim.hash = (sim.hash ^ value) * FNV_PRIME;
    sim.hash ^= sim.hash >> 29;
}

/* ---- the queue ------------------------------------------------------------------------------- */

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->time_us < b->time_us || (a->time_us == b->time_us && a->sequence < b->sequence);
}

static void push(struct sim_event *event)
{
    size_t position = sim.heap_count;

    if (sim.heap_count == sim.heap_capacity) {
        sim.heap_capacity = sim.heap_capacity == 0 ? HEAP_CAPACITY_MIN : 2 * sim.heap_capacity;
        sim.heap = sim_grow(sim.heap, sim.heap_capacity * sizeof(struct sim_event *));
    }
    sim.heap_count += 1;
    while (position > 0) {
        size_t parent = (position - 1) / 2;
        if (!before(event, sim.heap[parent])) {
            break;
        }
        sim.heap[position] = sim.heap[parent];
        position = parent;
    }
    sim.heap[position] = event;
}

static struct sim_event *pop(void)
{
    struct sim_event *first = sim.heap[0];
    struct sim_event *last = sim.heap[sim.heap_count - 1];
    size_t position = 0;

    sim.heap_count -= 1;
    for (;;) {
        size_t child = 2 * position + 1;
        if (child >= sim.heap_count) {
            break;
        }
        if (child + 1 < sim.heap_count && before(sim.heap[child + 1], sim.heap[child])) {
            child += 1;
        }
        if (!before(sim.heap[child], last)) {
            break;
        }
        sim.heap[position] = sim.heap[child];
        position = child;
    }
    if (sim.heap_count > 0) {
        sim.heap[position] = last;
    }
    return first;
}

void sim_requeue(struct sim_event *event, uint64_t time_us)
{
    event->time_us = time_us > sim.now_us ? time_us : sim.now_us;
    event->sequence = sim.sequence;
    sim.sequence += 1;
    push(event);
}

struct sim_event *sim_at(uint64_t time_us,
                         enum sim_event_kind kind,
                         struct sim_process *process,
                         sim_event_fn fn,
                         void *arg)
{
    struct sim_event *event = sim_alloc(sizeof *event);

    *event = (struct sim_event){ .kind = kind, .process = process, .fn = fn, .arg = arg };
    event->boot = process == NULL ? 0 : process->boot;
    sp_list_init(&event->node);
    sim_requeue(event, time_us);
    return event;
}

void sim_cancel(struct sim_event *event)
{
    if (event != NULL) {
        event->fn = NULL;
    }
}

/* ---- running --------------------------------------------------------------------------------- */

static void execute(struct sim_event *event)
{
    struct sim_process *process = event->process;
    sim_event_fn fn = event->fn;
    void *arg = event->arg;

    if (fn == NULL || (process != NULL && process->boot != event->boot)) {
        sim_free(event);
        return;
    }
    if (process != NULL && process->paused) {
        sp_list_append(&process->stalled, &event->node);
        return;
    }
    sim.events += 1;
    sim_hash(event->time_us);
    sim_hash((uint64_t)event->kind << 32 | (process == NULL ? 0 : process->id + 1));
    sim_free(event);
    struct sim_process *previous = sim_enter(process);
    fn(arg);
    sim_leave(previous);
}

void sim_run_until(uint64_t time_us)
{
    while (!sim.failed && sim.heap_count > 0 && sim.heap[0]->time_us <= time_us) {
        struct sim_event *event = pop();

        sim.now_us = event->time_us;
        execute(event);
    }
    if (!sim.failed && sim.now_us < time_us) {
        sim.now_us = time_us;
    }
}

/* ---- telling --------------------------------------------------------------------------------- */

static bool timeline_shown;

static void write_line(const char *text)
{
    const char *name = sim.current == NULL ? "world" : sim.current->name;

    (void)fprintf(stderr,
                  "%5llu.%06llu %-6s %s\n",
                  (unsigned long long)(sim.now_us / SIM_SECOND),
                  (unsigned long long)(sim.now_us % SIM_SECOND),
                  name,
                  text);
}

void sim_note(const char *format, ...)
{
    char text[512];
    va_list arguments;

    if (!timeline_shown) {
        return;
    }
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    write_line(text);
}

void sim_fail(const char *format, ...)
{
    va_list arguments;

    if (sim.failed) {
        return;
    }
    sim.failed = true;
    va_start(arguments, format);
    (void)vsnprintf(sim.failure, sizeof sim.failure, format, arguments);
    va_end(arguments);
    sim_note("FAILED: %s", sim.failure);
}

static void on_trace(void *arg,
                     enum sp_trace_level level,
                     const char *component,
                     const char *message,
                     const char *facts)
{
    (void)arg;
    if (sim_trace_seen(level, component, message, facts) && timeline_shown) {
        char text[1500];
        (void)snprintf(text,
                       sizeof text,
                       "%-5s %s: %s %s",
                       sp_trace_level_name(level),
                       component,
                       message,
                       facts);
        write_line(text);
    }
}

void sim_show_timeline(void)
{
    timeline_shown = true;
    sp_trace_set_sink(on_trace, NULL, SP_TRACE_LEVEL_DEBUG);
}

void sim_world_init(uint64_t seed)
{
    struct sp_rand root;

    memset(&sim, 0, sizeof sim);
    sim.seed = seed;
    sim.hash = FNV_START;
    sp_list_init(&sim.processes);
    sp_rand_init(&root, seed);
    sp_rand_init(&sim.rand_fault, sp_rand_next(&root));
    sp_rand_init(&sim.rand_net, sp_rand_next(&root));
    sp_rand_init(&sim.rand_disk, sp_rand_next(&root));
    sp_rand_init(&sim.rand_work, sp_rand_next(&root));
    sp_rand_init(&sim.rand_turn, sp_rand_next(&root));
    sp_trace_set_sink(on_trace, NULL, SP_TRACE_LEVEL_INFO);
}
