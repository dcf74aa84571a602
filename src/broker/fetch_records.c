/* What was fetched as plain records. */
#include "broker/methods.h"
#include "wire/records.h"

static int copy_batches(const struct sp_log_read *read, struct sp_buf *out)
{
    for (unsigned i = 0; read != NULL && i < read->count; i++) {
        const struct sp_slice *bytes = &read->frames[i];
        struct sp_log_frame frame = { .length = 0 };
        int rv = sp_log_frame_decode(bytes->bytes, bytes->size, &frame);

        if (rv == 0) {
            rv = sp_buf_append(
                out, sp_log_frame_payload(bytes->bytes), sp_log_frame_batch_size(&frame));
        }
        if (rv != 0) {
            return rv;
        }
    }
    return 0;
}

int sp_fetch_to_records(const struct sp_log_read *read,
                        int64_t offset,
                        size_t bytes_max,
                        struct sp_buf *out)
{
    struct sp_buf batches;
    struct sp_pack pack;

    sp_buf_init(&batches, SP_MESSAGE_BYTES_MAX);
    sp_pack_init(&pack, out);
    int rv = copy_batches(read, &batches);
    if (rv == 0) {
        rv =
            sp_batch_to_records(sp_bytes_of(batches.bytes, batches.size), offset, bytes_max, &pack);
    }
    sp_buf_deinit(&batches);
    return rv;
}
