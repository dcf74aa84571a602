/* Faults: which kinds a run has and how often is drawn from its seed; each kind has its own stream
 * of chance, so that leaving one out does not change when the others strike. */
#ifndef SP_SIM_FAULTS_H
#define SP_SIM_FAULTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rand.h"

struct sim_node;

#define SIM_FAULT_LIST(X)                                                                          \
    X(KILL, kill)                                                                                  \
    X(POWER, power)                                                                                \
    X(DEATH_IN_CALL, death_in_call)                                                                \
    X(POWER_ALL, power_all)                                                                        \
    X(STOP, stop)                                                                                  \
    X(PAUSE, pause)                                                                                \
    X(PARTITION, partition)                                                                        \
    X(CUT, cut)                                                                                    \
    X(SLOW_LINK, slow_link)                                                                        \
    X(SLOW_DISK, slow_disk)                                                                        \
    X(DISK_ERROR, disk_error)                                                                      \
    X(DISK_FULL, disk_full)                                                                        \
    X(BIT_FLIP, bit_flip)                                                                          \
    X(CLOCK_RATE, clock_rate)                                                                      \
    X(CLOCK_JUMP, clock_jump)                                                                      \
    X(TRANSFER, transfer)                                                                          \
    X(CLIENT_KILL, client_kill)                                                                    \
    X(EMPTY_DISK, empty_disk)                                                                      \
    X(ABSENCE, absence)                                                                            \
    X(DOUBLE, double)

enum sim_fault {
#define SIM_FAULT_ENUM(name, text) SIM_FAULT_##name,
    SIM_FAULT_LIST(SIM_FAULT_ENUM)
#undef SIM_FAULT_ENUM
    SIM_FAULTS,
    SIM_FAULTS_DRAWN = SIM_FAULT_EMPTY_DISK, /* the others belong to sim_losses */
};

const char *sim_fault_name(enum sim_fault fault);

/* The fault of that name, or SIM_FAULTS. */
enum sim_fault sim_fault_find(const char *name);

/* How often each kind strikes in this run: mean microseconds between two, 0: never. */
struct sim_fault_mix {
    uint64_t interval_us[SIM_FAULTS];
};

void sim_faults_draw(struct sim_fault_mix *out_mix);

/* Begins to strike, until sim_faults_heal. */
void sim_faults_start(const struct sim_fault_mix *mix);

/* A node to strike: in a third of the cases the leader of something. */
struct sim_node *sim_faults_some_node(struct sp_rand *rand);

/* Ends and undoes all faults; nodes that are down are started at once. */
void sim_faults_heal(void);

#endif /* SP_SIM_FAULTS_H */
