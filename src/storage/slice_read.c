#include "storage/slice_read.h"

enum {
    SLICE_BYTES = 64 * 1024, /* into fresh pages a tenth of a millisecond, or some of them */
};

int sp_slice_read(struct sp_file *file,
                  uint64_t position,
                  uint8_t *bytes,
                  size_t size,
                  size_t *out_size,
                  const struct sp_job *job)
{
    size_t slice_max = job != NULL && job->is_patient ? SLICE_BYTES : size;
    size_t done = 0;
    int rv = 0;

    while (rv == 0 && done < size) {
        size_t want = size - done < slice_max ? size - done : slice_max;
        size_t got = 0;

        rv = sp_file_read(file, position + done, bytes + done, want, &got);
        done += got;
        if (got < want) {
            break; /* the end of the file */
        }
        if (job != NULL) {
            sp_job_rest(job);
        }
    }
    *out_size = done;
    return rv;
}
