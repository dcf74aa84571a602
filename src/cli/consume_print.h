/* How consume shows records: by a format, or as JSON lines. */
#ifndef SPATE_CLI_CONSUME_PRINT_H
#define SPATE_CLI_CONSUME_PRINT_H

#include "cli/format.h"

struct consume_printer {
    struct format format;
    bool format_set;
    bool json;
    bool meta_only;  /* no values */
    uint64_t number; /* of records printed */
};

void consume_print(struct consume_printer *printer, const struct spate_message *message);

#endif /* SPATE_CLI_CONSUME_PRINT_H */
