/* The descriptors 0 to 2, which a program may have closed: what is opened next would get their
 * numbers, and receive what the program prints. libuv does not close any of them either, it aborts.
 * So what this folder opens in a program that may be anybody's lies above. */
#ifndef SP_IO_STANDARD_H
#define SP_IO_STANDARD_H

#include <stdbool.h>

#define SP_STANDARD_COUNT 3

/* `fd`, or where it has moved to when that is one of these. -1 stays -1, and errno as it is; also
 * when there is no descriptor to move to: then `fd` has been closed. Any thread. */
int sp_standard_avoid(int fd);

/* Takes those that are closed, so that a library that opens descriptors of its own gets none of
 * them; false with errno when there are no descriptors left, and nothing is held. Any thread. */
bool sp_standard_hold(int out_held[SP_STANDARD_COUNT]);

/* Closes what was taken. */
void sp_standard_release(const int held[SP_STANDARD_COUNT]);

/* For a program at its start: opens those that are closed, for good. With `refuse` so that reading
 * and writing them fail with EBADF as if they were closed still, else on /dev/null. */
void sp_standard_open(bool refuse);

#endif /* SP_IO_STANDARD_H */
