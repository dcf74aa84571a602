#include "sim_counts.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

void sim_counts_add(struct sim_counts *sum, const struct sim_counts *counts)
{
    uint64_t *to = (uint64_t *)sum;
    const uint64_t *from = (const uint64_t *)counts;

    uint64_t peak = sum->memory_peak_bytes > counts->memory_peak_bytes ? sum->memory_peak_bytes
                                                                       : counts->memory_peak_bytes;

    for (size_t i = 0; i < sizeof *sum / sizeof *to; i++) {
        to[i] += from[i];
    }
    sum->memory_peak_bytes = peak;
}

void sim_counts_print(const struct sim_counts *c)
{
    (void)printf("  elections=%llu truncations=%llu checkpoints=%llu refills=%llu torn_tails=%llu "
                 "resent=%llu duplicates=%llu transfers=%llu\n",
                 (unsigned long long)c->elections,
                 (unsigned long long)c->truncations,
                 (unsigned long long)c->checkpoints,
                 (unsigned long long)c->refills,
                 (unsigned long long)c->torn_tails,
                 (unsigned long long)c->resent,
                 (unsigned long long)c->duplicates,
                 (unsigned long long)c->transfers);
    (void)printf("  kills=%llu power_cuts=%llu power_cuts_of_all=%llu stops=%llu pauses=%llu "
                 "partitions=%llu cuts=%llu disk_errors=%llu slow_disks=%llu clock_jumps=%llu "
                 "client_deaths=%llu bit_flips=%llu emptied_disks=%llu absences=%llu doubles=%llu "
                 "deaths_in_call=%llu takeovers=%llu "
                 "fenced=%llu trims=%llu recycled=%llu refills_of_partitions=%llu skips=%llu "
                 "moves=%llu drains=%llu fell_together=%llu replaced_voters=%llu ends=%llu "
                 "quieted=%llu woken=%llu "
                 "compacted=%llu "
                 "compacted_read=%llu compacted_passes=%llu compacted_gone=%llu\n",
                 (unsigned long long)c->kills,
                 (unsigned long long)c->power_cuts,
                 (unsigned long long)c->power_cuts_all,
                 (unsigned long long)c->stops,
                 (unsigned long long)c->pauses,
                 (unsigned long long)c->partitions,
                 (unsigned long long)c->cuts,
                 (unsigned long long)c->disk_errors,
                 (unsigned long long)c->slow_disks,
                 (unsigned long long)c->clock_jumps,
                 (unsigned long long)c->client_deaths,
                 (unsigned long long)c->bit_flips,
                 (unsigned long long)c->emptied_disks,
                 (unsigned long long)c->absences,
                 (unsigned long long)c->doubles,
                 (unsigned long long)c->deaths_in_call,
                 (unsigned long long)c->takeovers,
                 (unsigned long long)c->fenced,
                 (unsigned long long)c->trims,
                 (unsigned long long)c->recycled,
                 (unsigned long long)c->trim_refills,
                 (unsigned long long)c->skips,
                 (unsigned long long)c->moves,
                 (unsigned long long)c->drains,
                 (unsigned long long)c->fell_together,
                 (unsigned long long)c->replaced_voters,
                 (unsigned long long)c->ends,
                 (unsigned long long)c->quieted,
                 (unsigned long long)c->woken,
                 (unsigned long long)c->compacted_committed,
                 (unsigned long long)c->compacted_read,
                 (unsigned long long)c->compacted_passes,
                 (unsigned long long)c->compacted_gone);
    (void)printf("  frames=%llu records=%llu acknowledged=%llu unknown=%llu refused=%llu read=%llu "
                 "group_read=%llu group_read_again=%llu rebalances=%llu node_peak_kib=%llu\n",
                 (unsigned long long)c->committed_frames,
                 (unsigned long long)c->committed_records,
                 (unsigned long long)c->acknowledged,
                 (unsigned long long)c->unknown,
                 (unsigned long long)c->refused,
                 (unsigned long long)c->read,
                 (unsigned long long)c->processed,
                 (unsigned long long)c->processed_twice,
                 (unsigned long long)c->rebalances,
                 (unsigned long long)(c->memory_peak_bytes / 1024));
}

bool sim_counts_reached(const struct sim_counts *c)
{
    const struct {
        const char *name;
        uint64_t count;
    } needed[] = {
        { "election", c->elections },
        { "truncation", c->truncations },
        { "refill", c->refills },
        { "torn tail", c->torn_tails },
        { "power cut", c->power_cuts },
        { "power cut of all", c->power_cuts_all },
        { "kill", c->kills },
        { "stop", c->stops },
        { "death in a call", c->deaths_in_call },
        { "death of a client", c->client_deaths },
        { "cut connection", c->cuts },
        { "slow disk", c->slow_disks },
        { "clock jump", c->clock_jumps },
        { "partition", c->partitions },
        { "duplicate", c->duplicates },
        { "checkpoint", c->checkpoints },
        { "disk error", c->disk_errors },
        { "bit flip", c->bit_flips },
        { "emptied disk", c->emptied_disks },
        { "absence", c->absences },
        { "double", c->doubles },
        { "replaced voter of the controller", c->replaced_voters },
        { "pause", c->pauses },
        { "transfer", c->transfers },
        { "rebalance", c->rebalances },
        { "takeover", c->takeovers },
        { "fenced life", c->fenced },
        { "trim", c->trims },
        { "recycled segment", c->recycled },
        { "compact", c->compacted_gone },
        { "skip", c->skips },
        { "refill of a partition", c->trim_refills },
        { "move", c->moves },
        { "drain", c->drains },
        { "fall of two shards at once", c->fell_together },
        { "linearizable end", c->ends },
        { "quiet group", c->quieted },
        { "woken group", c->woken },
    };
    bool all = true;

    for (unsigned i = 0; i < SIM_LOOKS; i++) {
        if (c->looks[i] == 0) {
            (void)printf("never reached: a call of %s that an oracle looks at\n",
                         sim_look_name((enum sim_look)i));
            all = false;
        }
    }
    for (unsigned i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        if (needed[i].count == 0) {
            (void)printf("never reached: %s\n", needed[i].name);
            all = false;
        }
    }
    return all;
}
