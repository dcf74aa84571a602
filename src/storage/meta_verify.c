#include "storage/meta_verify.h"

#include "base/mem.h"
#include "spate/error.h"
#include "storage/little_endian.h"
#include "storage/meta_state.h"

_Static_assert(SP_META_VERIFY_COPIES == SP_META_COPIES, "a report has room for each copy");

/* What a copy proves to have been durable in both: all that stands before its last batch. One that
 * was rewritten as a whole says nothing of the other. */
static uint64_t proven_by(const struct sp_meta_copy *copy)
{
    size_t position = SP_META_HEADER_SIZE;
    uint64_t proven = 0;

    while (copy->scan.header_valid && position < copy->scan.size) {
        uint64_t first = sp_get_u64(copy->bytes + position + 8);
        proven = position > SP_META_HEADER_SIZE ? first - 1 : 0;
        position += SP_META_BATCH_HEADER_SIZE + (size_t)sp_get_u32(copy->bytes + position);
    }
    return proven > copy->scan.proven_sequence ? proven : copy->scan.proven_sequence;
}

/* True if a write of what `whole` holds, cut off, can have left the bytes behind the valid prefix
 * of `copy`: what did not get to the disk is zero, or not there. */
static bool may_be_torn(const struct sp_meta_copy *copy, const struct sp_meta_copy *whole)
{
    for (size_t i = copy->scan.size; i < copy->size; i++) {
        if (copy->bytes[i] != 0 && (i >= whole->size || copy->bytes[i] != whole->bytes[i])) {
            return false;
        }
    }
    return true;
}

static enum sp_meta_condition judge(const struct sp_meta_copy *copies, int number)
{
    const struct sp_meta_copy *copy = &copies[number];
    const struct sp_meta_copy *other = &copies[1 - number];
    uint64_t last = copy->scan.last_sequence;

    if (!copy->present) {
        return SP_META_COPY_MISSING;
    }
    if (!copy->scan.header_valid || last == 0 || copy->scan.proven_sequence >= last) {
        return SP_META_COPY_DAMAGED;
    }
    if (other->scan.last_sequence > last) {
        bool unfinished = number == 1 && proven_by(other) <= last && may_be_torn(copy, other);
        return unfinished ? SP_META_COPY_TORN : SP_META_COPY_DAMAGED;
    }
    return copy->scan.size == copy->size ? SP_META_COPY_WHOLE : SP_META_COPY_TORN;
}

static int apply(void *arg, const struct sp_meta_record *record)
{
    return sp_meta_apply(arg, record);
}

static int list_replicas(const char *directory,
                         const struct sp_meta_copy *copy,
                         void (*each)(void *arg, const struct sp_replica_record *record),
                         void *arg,
                         uint64_t *out_run)
{
    struct sp_meta *meta = sp_meta_new(&(struct sp_meta_options){ .directory = directory });
    int rv = meta == NULL ? SPATE_ERR_NOMEM : 0;

    if (rv == 0) {
        rv = sp_meta_each(copy->bytes, copy->scan.size, apply, meta);
    }
    if (rv == 0) {
        sp_meta_replicas(meta, each, arg);
        *out_run = sp_meta_run(meta);
    }
    sp_meta_close(meta);
    return rv;
}

int sp_meta_verify(const char *directory,
                   void (*each)(void *arg, const struct sp_replica_record *record),
                   void *arg,
                   struct sp_meta_report *out_report)
{
    struct sp_meta_copy copies[SP_META_COPIES] = { { .present = false }, { .present = false } };
    struct sp_meta_report report = { .chosen = -1 };
    int rv = 0;

    for (int number = 0; number < SP_META_COPIES && rv == 0; number++) {
        rv = sp_meta_copy_load(directory, number, &copies[number]);
    }
    for (int number = 0; number < SP_META_COPIES && rv == 0; number++) {
        report.copies[number] = (struct sp_meta_copy_report){
            .file = sp_meta_names[number],
            .condition = judge(copies, number),
            .position = copies[number].scan.size,
        };
    }
    if (rv == 0) {
        report.chosen = sp_meta_copy_choose(copies);
    }
    if (report.chosen >= 0 && sp_meta_copy_lacks_proven(copies, report.chosen)) {
        report.chosen = -1;
    }
    if (report.chosen >= 0) {
        rv = list_replicas(directory, &copies[report.chosen], each, arg, &report.run);
    }
    for (int number = 0; number < SP_META_COPIES; number++) {
        sp_mem_free(copies[number].bytes);
    }
    if (rv == 0) {
        *out_report = report;
    }
    return rv;
}
