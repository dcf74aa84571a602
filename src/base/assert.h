/* Assertions: programmer errors, never input, disk or network. They stay on in release. */
#ifndef SP_BASE_ASSERT_H
#define SP_BASE_ASSERT_H

#include "base/attr.h"

/* Writes the place and the condition to standard error, then aborts. Any thread. */
SP_NORETURN void sp_assert_failed(const char *condition, const char *file, int line);

#define SP_ASSERT(condition)                                                                       \
    ((condition) ? (void)0 : sp_assert_failed(#condition, __FILE__, __LINE__))

#endif /* SP_BASE_ASSERT_H */
