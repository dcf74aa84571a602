/* Whether all of the newest segment is there, as far as its directory says how much that was: in
 * the file `rest` of the last run (log_rest.h), and in a checkpoint without its segment. */
#include <inttypes.h>

#include "base/buf.h"
#include "base/mem.h"
#include "spate/error.h"
#include "storage/disk.h"
#include "storage/log_rest.h"
#include "storage/log_state.h"
#include "storage/log_verify_parts.h"

int sp_verify_load_rest(struct sp_verify *verify)
{
    char path[SP_DISK_PATH_SIZE];
    struct sp_log_rest_file rest;
    uint8_t *bytes = NULL;
    size_t size = 0;

    if (verify->options->last_run == 0) {
        return 0;
    }
    sp_disk_path(path, verify->directory, SP_REST_NAME);
    int rv = sp_disk_read_all(path, SP_CHECKPOINT_BYTES_MAX, &bytes, &size);
    if (rv == 0) {
        rv = sp_log_rest_decode(bytes, size, &rest);
    }
    if (rv == 0 && rest.run == verify->options->last_run) {
        verify->rest_base = rest.base;
        verify->rest_size = rest.segment_size;
        verify->rest_index = rest.point.point.index;
    }
    if (rv == 0) {
        sp_offset_index_clear(&rest.index);
    }
    sp_mem_free(bytes);
    return rv == SPATE_ERR_NOMEM ? rv : 0; /* one that cannot be read does not count */
}

uint64_t sp_verify_rest_index(const struct sp_verify *verify)
{
    char path[SP_DISK_PATH_SIZE];

    if (verify->rest_index == 0) {
        return 0;
    }
    /* A node that was started meanwhile removes it before it changes the log. */
    sp_disk_path(path, verify->directory, SP_REST_NAME);
    return sp_path_exists(path) ? verify->rest_index : 0;
}

static bool has_segment(const struct sp_verify *verify, uint64_t base)
{
    char path[SP_DISK_PATH_SIZE];

    sp_disk_base_path(path, verify->directory, base, SP_SEGMENT_SUFFIX);
    return sp_path_exists(path);
}

/* Frames that end where they should are all sound, so nothing was found in the segment itself. */
static void check_rest(struct sp_verify *verify)
{
    char name[SP_VERIFY_NAME_SIZE];
    bool missing = !has_segment(verify, verify->rest_base);

    if (!missing && !verify->continuous) {
        return; /* where its frames stop to fit was told */
    }
    if (sp_verify_rest_index(verify) <= verify->point.index) {
        return;
    }
    sp_verify_base_name(name, verify->rest_base, SP_SEGMENT_SUFFIX);
    sp_verify_find(verify,
                   SP_VERIFY_DAMAGE,
                   name,
                   missing ? 0 : verify->newest_size,
                   "%s: it had %" PRIu64 " bytes, up to the frame with index %" PRIu64
                   ", when the node stopped",
                   missing ? "is missing" : "ends here",
                   verify->rest_size,
                   verify->rest_index);
    verify->missing_base = missing ? verify->rest_base : 0;
}

/* A checkpoint goes before its segment does, but for those below the log's beginning. */
static void check_behind(struct sp_verify *verify, uint64_t base)
{
    char path[SP_DISK_PATH_SIZE];
    char name[SP_VERIFY_NAME_SIZE];

    if (base <= verify->segments.values[verify->segments.count - 1] ||
        base == verify->missing_base || has_segment(verify, base)) {
        return;
    }
    sp_disk_base_path(path, verify->directory, base, SP_CHECKPOINT_SUFFIX);
    if (sp_path_exists(path)) { /* else a node that runs has removed both */
        sp_verify_base_name(name, base, SP_SEGMENT_SUFFIX);
        sp_verify_find(
            verify, SP_VERIFY_DAMAGE, name, 0, "is missing, but its checkpoint is there");
    }
}

void sp_verify_newest(struct sp_verify *verify)
{
    check_rest(verify);
    check_behind(verify, verify->newest_whole);
}
