/* Processes: memory of their own, clocks of their own, sudden deaths. The second body of base/mem.
 *
 * Each piece of memory carries a header that chains it to its process, so that a death frees all of
 * them without running a line of the process's code. Fresh memory is filled with a pattern: what
 * depends on uninitialised bytes then shows as itself, the same on every run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "sim_disk.h"
#include "sim_fiber.h"
#include "sim_parts.h"
#include "sim_world.h"

enum {
    FILL = 0xa5,
    FILL_SIZE_MAX = 1024, /* enough for structs; large buffers are data */
};

struct block {
    struct sp_list node;
    struct sim_process *process; /* NULL: the world's */
    size_t size;
};

/* ---- memory ---------------------------------------------------------------------------------- */

static struct sp_list world_memory = { &world_memory, &world_memory };

static void *enlist(struct block *block, struct sim_process *process, size_t size)
{
    block->process = process;
    block->size = size;
    sp_list_append(process == NULL ? &world_memory : &process->memory, &block->node);
    if (process != NULL) {
        process->memory_count += 1;
        process->memory_bytes += size;
        if (process->memory_bytes > process->memory_peak_bytes) {
            process->memory_peak_bytes = process->memory_bytes;
        }
    }
    return block + 1;
}

static void delist(struct block *block)
{
    sp_list_remove(&block->node);
    if (block->process != NULL) {
        block->process->memory_count -= 1;
        block->process->memory_bytes -= block->size;
    }
}

void *sp_mem_alloc(size_t size)
{
    SP_ASSERT(size > 0);
    struct block *block = malloc(sizeof *block + size);

    if (block == NULL) {
        return NULL;
    }
    void *memory = enlist(block, sim.current, size);
    memset(memory, FILL, size < FILL_SIZE_MAX ? size : FILL_SIZE_MAX);
    return memory;
}

void *sp_mem_calloc(size_t count, size_t size)
{
    SP_ASSERT(count > 0);
    SP_ASSERT(size > 0);
    if (count > (SIZE_MAX - sizeof(struct block)) / size) {
        return NULL;
    }
    struct block *block = calloc(1, sizeof *block + count * size);
    return block == NULL ? NULL : enlist(block, sim.current, count * size);
}

void *sp_mem_realloc(void *pointer, size_t size)
{
    if (pointer == NULL) {
        return sp_mem_alloc(size);
    }
    SP_ASSERT(size > 0);
    struct block *block = (struct block *)pointer - 1;
    struct sim_process *process = block->process;

    delist(block);
    struct block *moved = realloc(block, sizeof *block + size);
    if (moved == NULL) {
        (void)enlist(block, process, block->size);
        return NULL;
    }
    return enlist(moved, process, size);
}

char *sp_mem_strdup(const char *text)
{
    return sp_mem_dup(text, strlen(text) + 1);
}

void *sp_mem_dup(const void *bytes, size_t size)
{
    void *copy = sp_mem_alloc(size > 0 ? size : 1);

    if (copy != NULL && size > 0) {
        memcpy(copy, bytes, size);
    }
    return copy;
}

void sp_mem_free(void *pointer)
{
    if (pointer == NULL) {
        return;
    }
    struct block *block = (struct block *)pointer - 1;

    delist(block);
    free(block);
}

void sp_mem_trim(void)
{
    /* a simulated node keeps nothing */
}

void sp_mem_age(uint64_t now_ms)
{
    (void)now_ms;
}

void sp_mem_free_kept(void)
{
    /* nothing is kept */
}

uint64_t sp_mem_kept_bytes(void)
{
    return 0;
}

uint64_t sp_mem_live_count(void)
{
    return sim.current == NULL ? 0 : sim.current->memory_count;
}

uint64_t sp_mem_live_bytes(void)
{
    return sim.current == NULL ? 0 : sim.current->memory_bytes;
}

void sp_mem_fail_at(uint64_t n)
{
    SP_ASSERT(n == 0); /* processes of the simulator do not run out of memory */
}

void sim_memory_drop(struct sim_process *process)
{
    while (!sp_list_empty(&process->memory)) {
        struct block *block = SP_LIST_ENTRY(process->memory.next, struct block, node);
        delist(block);
        free(block);
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

const char *sim_process_name(uint32_t id)
{
    SP_LIST_EACH (node, &sim.processes) {
        const struct sim_process *process = SP_LIST_ENTRY(node, struct sim_process, node);
        if (process->id == id) {
            return process->name;
        }
    }
    return "nobody";
}

struct sim_process *sim_process_new(const char *name, const char *host)
{
    struct sim_process *process = sim_alloc(sizeof *process);

    *process = (struct sim_process){ .id = sim.process_count, .clock_rate_ppm = 1000000 };
    (void)snprintf(process->name, sizeof process->name, "%s", name);
    (void)snprintf(process->host, sizeof process->host, "%s", host);
    sp_list_init(&process->memory);
    sp_list_init(&process->loops);
    sp_list_init(&process->sides);
    sp_list_init(&process->stalled);
    sp_rand_init(&process->rand, sim.seed * 1000003 + process->id);
    process->powered = true;
    process->clock_base_us = sim_between(&process->rand, SIM_SECOND, 1000000 * SIM_SECOND);
    sp_list_append(&sim.processes, &process->node);
    sim.process_count += 1;
    return process;
}

void sim_process_start(struct sim_process *process)
{
    SP_ASSERT(!process->alive);
    process->alive = true;
    process->powered = true;
    process->paused = false;
    process->boot += 1;
    sim_note("%s starts", process->name);
}

static void end(struct sim_process *process, enum sim_death death)
{
    sim_note("%s %s", process->name, death == SIM_DEATH_POWER ? "loses power" : "is killed");
    process->alive = false;
    process->powered = death != SIM_DEATH_POWER;
    process->paused = false;
    process->doomed = SIM_DEATH_NONE;
    process->boot += 1;
    while (!sp_list_empty(&process->stalled)) {
        struct sim_event *event = SP_LIST_ENTRY(process->stalled.next, struct sim_event, node);
        sp_list_remove(&event->node);
        sim_free(event);
    }
    sim_net_process_died(process, death);
    if (process->disk != NULL) {
        sim_disk_process_died(process->disk, death == SIM_DEATH_POWER);
    }
    sp_list_init(&process->loops);
    sim_fiber_free(process->fiber);
    process->fiber = NULL;
    sim_memory_drop(process);
}

void sim_process_kill(struct sim_process *process, enum sim_death death)
{
    if (!process->alive) {
        return;
    }
    if (sim.current == process) {
        process->doomed = process->doomed == SIM_DEATH_NONE ? death : process->doomed;
        return;
    }
    end(process, death);
}

struct sim_process *sim_enter(struct sim_process *process)
{
    struct sim_process *before = sim.current;

    sim.current = process;
    return before;
}

void sim_leave(struct sim_process *before)
{
    struct sim_process *process = sim.current;

    sim.current = before;
    if (process != NULL && process != before && process->doomed != SIM_DEATH_NONE) {
        end(process, process->doomed);
    }
}

void sim_process_pause(struct sim_process *process)
{
    if (process->alive && !process->paused) {
        sim_note("%s pauses", process->name);
        process->paused = true;
    }
}

void sim_process_resume(struct sim_process *process)
{
    if (!process->paused) {
        return;
    }
    sim_note("%s goes on", process->name);
    process->paused = false;
    while (!sp_list_empty(&process->stalled)) {
        struct sim_event *event = SP_LIST_ENTRY(process->stalled.next, struct sim_event, node);
        sp_list_remove(&event->node);
        sim_requeue(event, sim.now_us);
    }
}

/* ---- clocks ---------------------------------------------------------------------------------- */

uint64_t sim_process_clock_us(const struct sim_process *process)
{
    uint64_t passed = sim.now_us - process->world_base_us;

    return process->clock_base_us + passed * process->clock_rate_ppm / 1000000;
}

uint64_t sim_process_world_us(const struct sim_process *process, uint64_t clock_us)
{
    uint64_t left;

    if (clock_us <= process->clock_base_us) {
        return process->world_base_us;
    }
    left = clock_us - process->clock_base_us;
    if (left > 1000000000 * SIM_SECOND) {
        return SIM_NEVER;
    }
    return process->world_base_us +
           (left * 1000000 + process->clock_rate_ppm - 1) / process->clock_rate_ppm;
}

void sim_process_set_rate(struct sim_process *process, uint32_t ppm)
{
    process->clock_base_us = sim_process_clock_us(process);
    process->world_base_us = sim.now_us;
    process->clock_rate_ppm = ppm;
    sim_loops_retime(process);
}
