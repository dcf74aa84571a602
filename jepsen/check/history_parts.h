/* Parts of reading a history that its users do not see. */
#ifndef JEP_CHECK_HISTORY_PARTS_H
#define JEP_CHECK_HISTORY_PARTS_H

#include "history.h"

/* Where a file is being read. */
struct jep_reading {
    struct jep_history *history;
    const char *path;
    uint64_t line;
    struct jep_map *open; /* client and operation: row of sends, or of events */
    uint32_t topic;       /* of the client that began last */
    uint32_t group;       /* likewise */
    uint32_t keys;        /* likewise; 0: its topic is not compacted */
};

/* Takes one line, which ends with NUL. NULL, or what is wrong with it. */
const char *jep_read_line(struct jep_reading *reading, const char *line);

/* A send begins: its row is found again by client and operation. */
void jep_open_send(struct jep_reading *reading, uint64_t handle, const struct jep_send *send);

/* A part of it is reported, as `part` says. NULL, or what is wrong. */
const char *
jep_report_send(struct jep_reading *reading, uint64_t handle, const struct jep_send *part);

/* Makes what is still open unknown for good. */
void jep_close_sends(struct jep_history *history);

#endif /* JEP_CHECK_HISTORY_PARTS_H */
