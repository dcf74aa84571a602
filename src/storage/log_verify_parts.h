/* Inside of the check of a log: what log_verify.c and log_verify_checkpoints.c share. */
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

bool sp_verify_same_point(const struct sp_log_point *a, const struct sp_log_point *b);

/* Reads all checkpoints; the segments have been listed. */
int sp_verify_checkpoints(struct sp_verify *verify);

#endif /* SP_STORAGE_LOG_VERIFY_PARTS_H */
