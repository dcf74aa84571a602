/* The protocol without libspate: one blocking call after the other over plain sockets, as a program
 * of another language would make them. */
#ifndef JEP_RAW_H
#define JEP_RAW_H

#include "wire/message.h"
#include "wire/pack.h"
#include "workload.h"

enum {
    JEP_ADDRESS_MAX = 64,
    JEP_NODES_MAX = 16,
};

struct jep_raw;

struct jep_raw *jep_raw_new(struct jep_client *client);
void jep_raw_free(struct jep_raw *raw);
struct jep_client *jep_raw_client(struct jep_raw *raw);

/* Begins the parameters of a call: pack one map into what is returned. */
struct sp_pack *jep_raw_begin(struct jep_raw *raw, const char *method);

/* Sends what was begun to `address`, which may be changed: to the leader that the answer names, or
 * to another node when this one does not answer. Waits at most `timeout_ms`. 0: *out_result reads
 * the result until the next call. Else what the server said, or
 *   SPATE_ERR_UNREACHABLE  nothing was sent
 *   SPATE_ERR_CLOSED       sent, perhaps in part, and the connection was lost
 *   SPATE_ERR_TIMEOUT      sent, and no answer came */
int jep_raw_call(struct jep_raw *raw,
                 char address[JEP_ADDRESS_MAX],
                 int timeout_ms,
                 struct sp_cursor *out_result);

/* The same again, with the same bytes. */
int jep_raw_call_again(struct jep_raw *raw,
                       char address[JEP_ADDRESS_MAX],
                       int timeout_ms,
                       struct sp_cursor *out_result);

/* The first of the nodes of --brokers to ask. */
void jep_raw_any(struct jep_raw *raw, char address[JEP_ADDRESS_MAX]);

/* What a failed call leaves behind: nothing was done, or nobody knows. */
bool jep_raw_nothing_done(int code);

/* Reads on in a map of a result: the next key; false at its end. The caller reads the value, or
 * skips it. */
bool jep_raw_key(struct sp_cursor *cursor, uint32_t *left, const char *name);

/* ---- reading, also for members --------------------------------------------------------------- */

/* Fetches from *position on and writes the line, marked with `mark`; *position moves. Returns how
 * many records came, or what the call said. */
int jep_raw_fetch(struct jep_raw *raw,
                  uint32_t partition,
                  char address[JEP_ADDRESS_MAX],
                  const char *mark,
                  int64_t *position);

#endif /* JEP_RAW_H */
