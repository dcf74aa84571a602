/* Recovery of the meta log: which copy is true, and repair of the other. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/trace.h"
#include "spate/error.h"
#include "storage/disk.h"
#include "storage/meta_state.h"

#define COPY_BYTES_MAX (256 * 1024 * 1024) /* more than any compacted log and its dead weight */

/* What was promised is not known any more; older copies know less, and are refused by the others.
 */
#define REJOIN                                                                                     \
    "never put older copies there; move the directory away and start the node with an empty one, " \
    "so that it joins anew and is filled by the others (docs/operations.md, A node without its "   \
    "disk)"

const char *const sp_meta_names[SP_META_COPIES] = { "meta.a", "meta.b" };

int sp_meta_copy_load(const char *directory, int number, struct sp_meta_copy *out_copy)
{
    char path[SP_DISK_PATH_SIZE];
    struct sp_meta_copy copy = { .present = true };

    sp_disk_path(path, directory, sp_meta_names[number]);
    int rv = sp_disk_read_all(path, COPY_BYTES_MAX, &copy.bytes, &copy.size);
    if (rv == SPATE_ERR_NOT_FOUND) {
        return 0;
    }
    if (rv == SPATE_ERR_TOO_LARGE) {
        rv = 0; /* present, and not a copy that we wrote */
    } else if (rv == 0) {
        sp_meta_scan(copy.bytes, copy.size, &copy.scan);
    }
    if (rv == 0) {
        *out_copy = copy;
    }
    return rv;
}

static bool usable(const struct sp_meta_copy *copy)
{
    return copy->present && copy->scan.header_valid && copy->scan.last_sequence > 0;
}

int sp_meta_copy_choose(const struct sp_meta_copy *copies)
{
    if (!usable(&copies[0])) {
        return usable(&copies[1]) ? 1 : -1;
    }
    if (!usable(&copies[1])) {
        return 0;
    }
    return copies[1].scan.last_sequence > copies[0].scan.last_sequence ? 1 : 0;
}

bool sp_meta_copy_lacks_proven(const struct sp_meta_copy *copies, int chosen)
{
    uint64_t have = copies[chosen].scan.last_sequence;

    return copies[0].scan.proven_sequence > have || copies[1].scan.proven_sequence > have;
}

static int start_fresh(struct sp_meta *meta, const struct sp_identity *identity)
{
    uint32_t chain = 0;
    int rv = 0;

    meta->identity = *identity;
    meta->last_sequence = 1;
    struct sp_blob *image = sp_meta_image(meta, &chain);
    if (image == NULL) {
        return SPATE_ERR_NOMEM;
    }
    for (int number = 0; number < SP_META_COPIES && rv == 0; number++) {
        rv = sp_meta_replace_copy(meta, number, image->bytes, image->size);
    }
    meta->size = image->size;
    meta->chain = chain;
    meta->written_sequence = 1;
    meta->durable_sequence = 1;
    sp_blob_unref(image);
    return rv;
}

static int apply_record(void *arg, const struct sp_meta_record *record)
{
    return sp_meta_apply(arg, record);
}

/* Makes copy `number` hold exactly what was chosen, if it does not already. */
static int repair(struct sp_meta *meta, int number, const struct sp_meta_copy *copies, int chosen)
{
    const struct sp_meta_copy *from = &copies[chosen];
    const struct sp_meta_copy *to = &copies[number];
    char path[SP_DISK_PATH_SIZE];

    sp_disk_path(path, meta->directory, sp_meta_names[number]);
    if (to->present && to->size == from->scan.size &&
        memcmp(to->bytes, from->bytes, from->scan.size) == 0) {
        int rv = sp_file_open(path, SP_FILE_WRITE, &meta->files[number]);
        /* What was read may still be in the page cache only. */
        return rv == 0 ? sp_file_sync(meta->files[number]) : rv;
    }
    SP_TRACE_WARN("storage",
                  "meta copy rewritten from the valid prefix",
                  "file=%s present=%d sequence=%llu kept_sequence=%llu",
                  path,
                  to->present,
                  (unsigned long long)to->scan.last_sequence,
                  (unsigned long long)from->scan.last_sequence);
    return sp_meta_replace_copy(meta, number, from->bytes, from->scan.size);
}

static int adopt(struct sp_meta *meta, const struct sp_meta_copy *copies, int chosen)
{
    const struct sp_meta_scan *scan = &copies[chosen].scan;
    int rv = sp_meta_each(copies[chosen].bytes, scan->size, apply_record, meta);

    /* The other copy first: as long as it is in doubt the chosen one is not touched. */
    if (rv == 0) {
        rv = repair(meta, 1 - chosen, copies, chosen);
    }
    if (rv == 0) {
        rv = repair(meta, chosen, copies, chosen);
    }
    meta->size = scan->size;
    meta->chain = scan->chain;
    meta->last_sequence = scan->last_sequence;
    meta->written_sequence = scan->last_sequence;
    meta->durable_sequence = scan->last_sequence;
    return rv;
}

static int recover(struct sp_meta *meta,
                   const struct sp_meta_options *options,
                   const struct sp_meta_copy *copies,
                   char *text,
                   size_t text_size)
{
    int chosen = sp_meta_copy_choose(copies);
    bool any = copies[0].present || copies[1].present;

    if (!any && !options->has_replicas) {
        return start_fresh(meta, options->fresh);
    }
    if (chosen < 0) {
        (void)snprintf(text,
                       text_size,
                       any ? "both copies of the metadata in %s are damaged: " REJOIN
                           : "%s has replicas but no metadata (meta.a, meta.b): is it the right "
                             "directory? If it is, " REJOIN,
                       meta->directory);
        return SPATE_ERR_CORRUPT;
    }
    if (sp_meta_copy_lacks_proven(copies, chosen)) {
        (void)snprintf(text,
                       text_size,
                       "both copies of the metadata in %s are damaged before their end: " REJOIN,
                       meta->directory);
        return SPATE_ERR_CORRUPT;
    }
    return adopt(meta, copies, chosen);
}

int sp_meta_open(const struct sp_meta_options *options,
                 char *text,
                 size_t text_size,
                 struct sp_meta **out_meta)
{
    struct sp_meta_copy copies[SP_META_COPIES] = { { .present = false }, { .present = false } };
    struct sp_meta *meta = sp_meta_new(options);
    int rv = meta != NULL ? 0 : SPATE_ERR_NOMEM;

    (void)snprintf(text, text_size, "the metadata in %s: out of memory", options->directory);
    for (int number = 0; number < SP_META_COPIES && rv == 0; number++) {
        rv = sp_meta_copy_load(options->directory, number, &copies[number]);
    }
    if (rv == 0) {
        (void)snprintf(
            text, text_size, "the metadata in %s could not be written", options->directory);
        rv = recover(meta, options, copies, text, text_size);
    } else if (rv != SPATE_ERR_NOMEM) {
        (void)snprintf(text, text_size, "the metadata in %s could not be read", options->directory);
    }
    for (int number = 0; number < SP_META_COPIES; number++) {
        sp_mem_free(copies[number].bytes);
    }
    if (rv != 0) {
        sp_meta_close(meta);
        return rv;
    }
    if (text_size > 0) {
        text[0] = '\0';
    }
    *out_meta = meta;
    return 0;
}
