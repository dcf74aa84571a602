/* Records out of a file or standard input: large blocks in, one record at a time out, bounded
 * memory. */
#ifndef SPATE_CLI_INPUT_H
#define SPATE_CLI_INPUT_H

#include "base/limits.h"
#include "cli/format.h"

#define INPUT_BYTES_MAX SP_BATCH_BYTES_MAX /* no topic takes a larger record */

struct input_reader;

enum input_state {
    INPUT_RECORD, /* *out_record is the next one, valid until the next call */
    INPUT_WAIT,   /* nothing has come yet: poll the descriptor */
    INPUT_END,
    INPUT_FAILED, /* see input_failure() */
};

/* Reads from `path` ("-" or NULL: standard input), records by `format` (borrowed), or lines split
 * at the first `delimiter` into key and value when it is not NULL. NULL after a message. */
struct input_reader *input_open(const char *path,
                                const struct format *format,
                                const char *delimiter,
                                size_t delimiter_size);

void input_close(struct input_reader *reader);

/* Never blocks while the descriptor has nothing, if it is a pipe or a terminal. */
enum input_state input_next(struct input_reader *reader, struct format_record *out_record);

/* Why input_next() failed: an SPATE_ERR_*, and words for it that live as long as the reader. */
int input_failure(const struct input_reader *reader, const char **out_text);

/* Waits up to `timeout_ms` for more. */
void input_wait(struct input_reader *reader, int timeout_ms);

#endif /* SPATE_CLI_INPUT_H */
