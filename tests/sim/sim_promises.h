/* What a replica has told its leader to be on disk it must still have when it is opened again.
 *
 *   append result {last index} --> promised: these frames, of these terms;
 *   truncation --> no longer;  open --> checked: the same frames, in memory and on the disk */
#ifndef SP_SIM_PROMISES_H
#define SP_SIM_PROMISES_H

#include <stdint.h>

#include "storage/log.h"
#include "storage/segment.h"

/* Replica on process `node` says that it has stored up to `index`. */
void sim_promises_stored(uint32_t node, uint64_t group_id, uint64_t replica_id, uint64_t index);

/* It has been opened with that log. */
void sim_promises_opened(uint32_t node, const struct sp_log *log);

int __real_sp_log_install(struct sp_log *log, const uint8_t *checkpoint, size_t size);
int __wrap_sp_log_install(struct sp_log *log, const uint8_t *checkpoint, size_t size);
int __real_sp_log_truncate(struct sp_log *log, uint64_t index);
int __wrap_sp_log_truncate(struct sp_log *log, uint64_t index);
void __real_sp_log_trim(struct sp_log *log, uint64_t index);
void __wrap_sp_log_trim(struct sp_log *log, uint64_t index);
int __real_sp_segment_reuse(const char *directory,
                            const struct sp_segment_header *header,
                            const char *spare,
                            struct sp_file **out_file);
int __wrap_sp_segment_reuse(const char *directory,
                            const struct sp_segment_header *header,
                            const char *spare,
                            struct sp_file **out_file);

#endif /* SP_SIM_PROMISES_H */
