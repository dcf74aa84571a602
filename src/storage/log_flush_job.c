/* What one flush of a log does, on a worker, in this order: install or truncation, both synced; the
 * index of the finished segment, whose file is cut to its size if it may be longer; a new segment's
 * file with its header, synced with its name; one write of a marker and all frames that wait for
 * this segment; room behind them when they are few (prefill.h); one sync. */
#include "spate/error.h"
#include "storage/disk.h"
#include "storage/log_state.h"
#include "storage/prefill.h"
#include "storage/store_state.h"

/* A spare that somebody has taken away is not missed. */
static int create_segment(struct sp_log_flush *flush)
{
    int rv = SPATE_ERR_NOT_FOUND;

    flush->step = "creating a segment";
    sp_file_close(flush->file);
    flush->file = NULL;
    if (flush->cut_base != 0) {
        int cut = sp_log_cut_file(flush->directory, flush->cut_base, flush->cut_position);
        if (cut != 0) {
            return cut;
        }
    }
    if (flush->spare.size > 0) {
        char path[SP_DISK_PATH_SIZE];

        sp_spares_path(path, flush->spares_directory, flush->spare.number);
        rv = sp_segment_reuse(flush->directory, &flush->header, path, &flush->file);
    }
    return rv == SPATE_ERR_NOT_FOUND
               ? sp_segment_create(flush->directory, &flush->header, NULL, 0, &flush->file)
               : rv;
}

static int open_segment(struct sp_log_flush *flush)
{
    uint64_t base = flush->header.before.index + 1;
    struct sp_segment_header header;
    uint64_t size = 0;

    if (flush->file != NULL && flush->file_base == base) {
        return 0;
    }
    flush->file_base = base;
    if (flush->create) {
        return create_segment(flush);
    }
    flush->step = "opening a segment";
    sp_file_close(flush->file);
    flush->file = NULL;
    return sp_segment_open(flush->directory,
                           base,
                           flush->header.group_id,
                           SP_FILE_WRITE,
                           &header,
                           &flush->file,
                           &size);
}

static int change_files(struct sp_log_flush *flush)
{
    if (flush->install != NULL) {
        flush->step = "installing a checkpoint";
        sp_file_close(flush->file);
        flush->file = NULL;
        return sp_log_install_files(flush->directory, flush->install, &flush->header);
    }
    if (flush->truncate) {
        flush->step = "truncating the log";
        sp_file_close(flush->file);
        flush->file = NULL;
        return sp_log_truncate_files(
            flush->directory, flush->truncate_base, flush->truncate_position);
    }
    return 0;
}

static int save_index(struct sp_log_flush *flush)
{
    if (flush->index_image == NULL) {
        return 0;
    }
    flush->step = "writing a segment's index";
    return sp_offset_index_save(
        flush->directory, flush->index_base, flush->index_image->bytes, flush->index_image->size);
}

static int write_frames(struct sp_log_flush *flush)
{
    int rv = flush->piece_count > 0 ? open_segment(flush) : 0;

    if (rv == 0 && flush->piece_count > 0) {
        flush->step = "writing frames";
        rv = sp_file_write(flush->file, flush->position, flush->pieces, flush->piece_count);
    }
    return rv;
}

/* Room is not worth waiting for. */
static int write_room(struct sp_log_flush *flush)
{
    if (flush->room_end == 0) {
        return 0;
    }
    flush->step = "writing room behind frames";
    int rv = sp_prefill_write(flush->file, flush->position + flush->pieces_bytes, flush->room_end);
    if (rv == SPATE_ERR_NO_SPACE) {
        flush->room_end = 0;
        return 0;
    }
    return rv;
}

static int sync_frames(struct sp_log_flush *flush)
{
    uint64_t begun_us = sp_loop_now_us(flush->job.loop);

    if (flush->piece_count == 0) {
        return 0;
    }
    flush->step = "syncing frames";
    int rv = sp_file_sync(flush->file);
    flush->sync_us = sp_loop_now_us(flush->job.loop) - begun_us;
    return rv;
}

/* Each of them may be begun anew after it has found no space: it makes the same files then, and
 * what it leaves unsynced is written from its first byte on. What it has left meanwhile is an end
 * that nothing has promised: recovery cuts it. */
static int (*const steps[])(struct sp_log_flush *flush) = {
    change_files, save_index, write_frames, write_room, sync_frames,
};

void sp_log_flush_work(struct sp_job *job)
{
    struct sp_log_flush *flush = SP_CONTAINER_OF(job, struct sp_log_flush, job);
    int rv = 0;

    while (rv == 0 && flush->steps_done < sizeof steps / sizeof steps[0]) {
        int (*step)(struct sp_log_flush * flush) = steps[flush->steps_done];

        rv = step(flush);
        if (sp_store_makes_room(flush->store, rv)) {
            flush->looks = true;
            rv = step(flush);
        }
        flush->steps_done += rv == 0 ? 1 : 0;
    }
    flush->free_known =
        flush->looks && sp_path_free_bytes(flush->directory, &flush->free_bytes) == 0;
    flush->status = rv;
}
