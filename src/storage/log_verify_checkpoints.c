/* Which checkpoints of a log are whole, and what becomes of those that are not. */
#include "base/buf.h"
#include "spate/error.h"
#include "storage/checkpoint.h"
#include "storage/disk.h"
#include "storage/log_verify_parts.h"

/* One that is not whole: a start takes the newest that is, and a log that begins with its first
 * frame needs none. The one at the log's beginning is what others are filled from. */
static void judge_broken(struct sp_verify *verify, uint64_t base, uint64_t newest_whole)
{
    uint64_t first = verify->segments.values[0];
    char name[SP_VERIFY_NAME_SIZE];

    sp_verify_base_name(name, base, SP_CHECKPOINT_SUFFIX);
    if (newest_whole > base && base != first) {
        sp_verify_find(
            verify,
            SP_VERIFY_HEALS,
            name,
            0,
            "the checkpoint is not whole: a newer one is taken, it goes with old records");
    } else if (newest_whole < base && (newest_whole != 0 || first == 1)) {
        sp_verify_find(
            verify,
            SP_VERIFY_HEALS,
            name,
            0,
            "the checkpoint is not whole: the next start does without it and writes it anew");
    } else {
        sp_verify_find(verify, SP_VERIFY_DAMAGE, name, 0, "the checkpoint is not whole");
    }
}

/* *out_whole: it can be read, and fits the segment beside it. */
static int check_checkpoint(struct sp_verify *verify, uint64_t base, bool *out_whole)
{
    char path[SP_DISK_PATH_SIZE];
    char name[SP_VERIFY_NAME_SIZE];
    struct sp_segment_header header;
    struct sp_checkpoint checkpoint;
    struct sp_blob *image = NULL;

    *out_whole = false;
    sp_verify_base_name(name, base, SP_CHECKPOINT_SUFFIX);
    sp_disk_base_path(path, verify->directory, base, SP_CHECKPOINT_SUFFIX);
    int rv = sp_checkpoint_load(path, verify->report->group_id, &image, &checkpoint);
    if (rv != 0) {
        return rv;
    }
    sp_disk_base_path(path, verify->directory, base, SP_SEGMENT_SUFFIX);
    if (sp_segment_peek(path, &header) == 0 &&
        !sp_verify_same_point(&header.before, &checkpoint.point)) {
        sp_verify_find(verify, SP_VERIFY_DAMAGE, name, 0, "does not fit the segment beside it");
    } else {
        verify->report->checkpoints += 1;
        *out_whole = true;
    }
    sp_blob_unref(image);
    return 0;
}

int sp_verify_checkpoints(struct sp_verify *verify)
{
    struct sp_base_list broken = { 0 };
    int rv = 0;

    for (unsigned i = 0; i < verify->checkpoints.count && rv == 0; i++) {
        uint64_t base = verify->checkpoints.values[i];
        bool whole = false;

        rv = check_checkpoint(verify, base, &whole);
        if (rv == SPATE_ERR_CORRUPT) {
            rv = sp_base_list_add(&broken, base);
        }
        verify->newest_whole = whole ? base : verify->newest_whole;
    }
    for (unsigned i = 0; i < broken.count && rv == 0; i++) {
        judge_broken(verify, broken.values[i], verify->newest_whole);
    }
    sp_base_list_clear(&broken);
    return rv;
}
