/* Reading much of a file without holding a processor for long. */
#ifndef SP_STORAGE_SLICE_READ_H
#define SP_STORAGE_SLICE_READ_H

#include "io/file.h"
#include "io/loop.h"

/* As sp_file_read. A patient `job` rests after each slice, others and NULL read all at once. */
int sp_slice_read(struct sp_file *file,
                  uint64_t position,
                  uint8_t *bytes,
                  size_t size,
                  size_t *out_size,
                  const struct sp_job *job);

#endif /* SP_STORAGE_SLICE_READ_H */
