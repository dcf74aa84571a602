/* Inside of the check of a log: what the files log_verify*.c share. */
#ifndef SP_STORAGE_LOG_VERIFY_PARTS_H
#define SP_STORAGE_LOG_VERIFY_PARTS_H

#include "base/attr.h"
#include "storage/base_list.h"
#include "storage/log_verify.h"

#define SP_VERIFY_NAME_SIZE 64

struct sp_verify {
    const char *directory;
    const struct sp_verify_options *options;
    struct sp_verify_report *report;
    struct sp_base_list segments;
    struct sp_base_list checkpoints;
    struct sp_log_point point; /* behind the last frame that was read */
    bool continuous;           /* the next segment must begin there */
    uint64_t newest_size;      /* bytes of the segment that was read last */
    uint64_t newest_whole;     /* base of the newest checkpoint that is; 0: none */
    uint64_t rest_index;       /* of the last frame when the node stopped; 0: not known */
    uint64_t rest_base;        /* and of the newest segment */
    uint64_t rest_size;
    uint64_t missing_base; /* a segment of which that was told */
};

/* Tells of something and counts it. */
void sp_verify_find(struct sp_verify *verify,
                    enum sp_verify_kind kind,
                    const char *file,
                    uint64_t position,
                    const char *format,
                    ...) SP_PRINTF(5, 6);

/* The name of a file, of SP_VERIFY_NAME_SIZE bytes: BASE.SUFFIX. */
void sp_verify_base_name(char *name, uint64_t base, const char *suffix);

/* True if both are the same in every field. */
bool sp_verify_same_point(const struct sp_log_point *a, const struct sp_log_point *b);

/* Reads all checkpoints; the segments have been listed. Errors of io/file.h. */
int sp_verify_checkpoints(struct sp_verify *verify);

/* Reads what the last run has left, before the segments are read. SPATE_ERR_NOMEM. */
int sp_verify_load_rest(struct sp_verify *verify);

/* The last frame's index when the node stopped; 0: not known. */
uint64_t sp_verify_rest_index(const struct sp_verify *verify);

/* Is the newest segment there, and all of it? Segments and checkpoints have been read. */
void sp_verify_newest(struct sp_verify *verify);

#endif /* SP_STORAGE_LOG_VERIFY_PARTS_H */
