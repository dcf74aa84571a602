/* The simulated world: virtual time, a queue of events, processes, and chance from one seed.
 *
 *   queue --(time, sequence)--> event --in its process--> production code --new events--> queue
 *
 * Everything runs on one thread. An event that belongs to a process runs with that process as the
 * current one: memory, files, loops and streams that are made meanwhile are its own, and a kill
 * takes all of them away at once, without a line of the process's own code. Events of a process
 * that has died are dropped, those of a paused one wait.
 *
 * The io functions of src/io have no argument that names a world, so there is one world per program
 * (`sim`); the program forks for each seed. */
#ifndef SP_SIM_WORLD_H
#define SP_SIM_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/list.h"
#include "base/rand.h"

#define SIM_MS 1000ull
#define SIM_SECOND 1000000ull
#define SIM_NEVER UINT64_MAX

struct sim_disk;
struct sim_fiber;

enum sim_event_kind {
    SIM_EVENT_WORLD,
    SIM_EVENT_TURN,
    SIM_EVENT_WORK,
    SIM_EVENT_DONE,
    SIM_EVENT_ARRIVE,
    SIM_EVENT_CONNECT,
    SIM_EVENT_FIBER,
    SIM_EVENT_FAULT,
};

/* How a process ends. */
enum sim_death {
    SIM_DEATH_NONE,
    SIM_DEATH_KILL,  /* the machine lives: its page cache stays, its kernel closes connections */
    SIM_DEATH_POWER, /* the machine is off: nobody is told, the disk forgets what was not synced */
};

/* One process on a machine of its own. */
struct sim_process {
    struct sp_list node; /* in sim.processes */
    unsigned id;         /* 0, 1, 2, ... also its row in the network's tables */
    char name[16];
    char host[32]; /* its address without port */
    bool alive;    /* it runs; paused or not */
    bool powered;  /* its machine runs */
    bool paused;
    enum sim_death doomed; /* dies as soon as the running event has ended */
    uint64_t boot;         /* counts its lives; events of earlier ones are dropped */

    uint64_t clock_base_us;  /* of its own clock, at ... */
    uint64_t world_base_us;  /* ... this time of the world */
    uint32_t clock_rate_ppm; /* 1000000: as the world's */
    int64_t wall_offset_ms;

    struct sp_list memory; /* of base/mem */
    uint64_t memory_count;
    uint64_t memory_bytes;
    uint64_t memory_peak_bytes; /* of all lives */
    struct sp_list loops;
    struct sp_list sides;   /* ends of connections, struct sim_side */
    struct sp_list stalled; /* events that came while it was paused */
    struct sp_rand rand;    /* its sp_loop_random */
    struct sim_disk *disk;
    struct sim_fiber *fiber;
    void *owner; /* of the one who made it */
};

typedef void (*sim_event_fn)(void *arg);

struct sim_event {
    struct sp_list node; /* in a process's stalled list */
    uint64_t time_us;
    uint64_t sequence;
    struct sim_process *process; /* NULL: the world's own */
    uint64_t boot;
    sim_event_fn fn; /* NULL: cancelled */
    void *arg;
    enum sim_event_kind kind;
};

struct sim_world {
    uint64_t seed;
    uint64_t now_us;
    uint64_t sequence;
    uint64_t hash;
    uint64_t events; /* executed */
    struct sim_event **heap;
    size_t heap_count;
    size_t heap_capacity;
    struct sim_process *current;
    struct sp_list processes;
    unsigned process_count;
    struct sp_rand rand_fault;
    struct sp_rand rand_net;
    struct sp_rand rand_disk;
    struct sp_rand rand_work;
    struct sp_rand rand_turn;
    bool failed;
    char failure[1024];
};

extern struct sim_world sim;

void sim_world_init(uint64_t seed);

/* Memory of the world itself; it never fails and is never part of a process. */
void *sim_alloc(size_t size);
void *sim_grow(void *pointer, size_t size);
void sim_free(void *pointer);

/* ---- events ---------------------------------------------------------------------------------- */

/* Runs `fn` at `time_us` (not before now); dropped if `process` has died by then. The event is
 * gone once `fn` has begun: forget the pointer there. */
struct sim_event *sim_at(uint64_t time_us,
                         enum sim_event_kind kind,
                         struct sim_process *process,
                         sim_event_fn fn,
                         void *arg);

/* NULL is fine. */
void sim_cancel(struct sim_event *event);

/* Executes events until `time_us` or a failure; the clock stands there then. */
void sim_run_until(uint64_t time_us);

/* Mixes a number into the event hash. */
void sim_hash(uint64_t value);

/* ---- chance ---------------------------------------------------------------------------------- */

/* Uniform in [low, high]. */
uint64_t sim_between(struct sp_rand *rand, uint64_t low, uint64_t high);

/* True once in `n`; never for 0. */
bool sim_one_in(struct sp_rand *rand, uint64_t n);

/* Around `usual`: half to one and a half times; now and then many times that. */
uint64_t sim_with_tail(struct sp_rand *rand, uint64_t usual);

/* ---- processes ------------------------------------------------------------------------------- */

/* A process that does not run yet. */
struct sim_process *sim_process_new(const char *name, const char *host);

/* Name of the process with that id. */
const char *sim_process_name(uint32_t id);

/* It runs from now on; the caller then enters it and starts something. */
void sim_process_start(struct sim_process *process);

/* All of its memory, loops and connections vanish. Inside one of its own events: at its end. */
void sim_process_kill(struct sim_process *process, enum sim_death death);

void sim_process_pause(struct sim_process *process);
void sim_process_resume(struct sim_process *process);

/* Changes how fast its clock runs from now on. */
void sim_process_set_rate(struct sim_process *process, uint32_t ppm);

/* Its own clock, microseconds. */
uint64_t sim_process_clock_us(const struct sim_process *process);

/* The world's time at which its clock will show `clock_us`. */
uint64_t sim_process_world_us(const struct sim_process *process, uint64_t clock_us);

/* Runs code of a process from outside its events. They nest; leave restores `before`. */
struct sim_process *sim_enter(struct sim_process *process);
void sim_leave(struct sim_process *before);

/* ---- telling --------------------------------------------------------------------------------- */

/* The first failed check ends the run. Any text after the first is dropped. */
void sim_fail(const char *format, ...) SP_PRINTF(1, 2);

/* A line of the timeline: what the world did. */
void sim_note(const char *format, ...) SP_PRINTF(1, 2);

/* Writes the timeline (notes and traces) to standard error from now on. */
void sim_show_timeline(void);

#endif /* SP_SIM_WORLD_H */
