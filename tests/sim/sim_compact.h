/* A compacted topic beside the others: programs that write few keys over and over and take some of
 * them away, and programs that read it from its start to its end again and again.
 *
 *   reference   every committed record: key, number, whether it is a tombstone     (sim_model)
 *   reader      offsets rise; each record is the committed one; numbers of a key never fall
 *               at the end of a pass: of each key that was not written since it began the latest
 *               one; if that is a tombstone, it or nothing at all
 */
#ifndef SP_SIM_COMPACT_H
#define SP_SIM_COMPACT_H

#include "sim_clients.h"
#include "wire/batch.h"

/* How many programs write and read such a topic in this seed; 0 for most. Chance of its own. */
void sim_compact_draw(uint64_t seed, unsigned *out_writers, unsigned *out_readers);

/* Main functions; `arg` is the program's struct sim_client. */
void sim_compact_writer_main(void *arg);
void sim_compact_reader_main(void *arg);

/* True if a committed record is of that topic; it is noted then. */
bool sim_compact_committed(const struct sp_record_view *view);

#endif /* SP_SIM_COMPACT_H */
