/* The lines of the histories around an anomaly, for people. */
#ifndef JEP_CHECK_WINDOW_H
#define JEP_CHECK_WINDOW_H

#include <stdio.h>

#include "verdict.h"

/* Writes, for the first examples of each kind, what happened to that partition within a quarter of
 * a second before and after, by all clients and the nemesis (NULL: none), in order of time. 0, or
 * -1 after a sentence on standard error. */
int jep_windows_write(const struct jep_history *history,
                      const struct jep_verdict *verdict,
                      const char *directory,
                      const char *nemesis,
                      FILE *out);

#endif /* JEP_CHECK_WINDOW_H */
