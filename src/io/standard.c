/* Keeping out of standard input, output and error. */
#include "io/standard.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

int sp_standard_avoid(int fd)
{
    if (fd < 0 || fd >= SP_STANDARD_COUNT) {
        return fd;
    }
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, SP_STANDARD_COUNT);
    int error = errno;

    (void)close(fd); /* nothing was done with it yet */
    errno = error;
    return moved;
}

bool sp_standard_hold(int out_held[SP_STANDARD_COUNT])
{
    int held[SP_STANDARD_COUNT] = { -1, -1, -1 };

    for (unsigned i = 0; i < SP_STANDARD_COUNT; i++) {
        held[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (held[i] < 0) {
            int error = errno;
            sp_standard_release(held);
            errno = error;
            return false;
        }
        if (held[i] >= SP_STANDARD_COUNT) { /* the lowest that is free: all below are open */
            (void)close(held[i]);           /* an eventfd has nothing to lose */
            held[i] = -1;
            break;
        }
    }
    for (unsigned i = 0; i < SP_STANDARD_COUNT; i++) {
        out_held[i] = held[i];
    }
    return true;
}

void sp_standard_release(const int held[SP_STANDARD_COUNT])
{
    for (unsigned i = 0; i < SP_STANDARD_COUNT; i++) {
        if (held[i] >= 0) {
            (void)close(held[i]); /* an eventfd has nothing to lose */
        }
    }
}

void sp_standard_open(bool refuse)
{
    for (int fd = 0; fd < SP_STANDARD_COUNT; fd++) {
        if (fcntl(fd, F_GETFD) >= 0) {
            continue;
        }
        int mode = !refuse ? O_RDWR : fd == STDIN_FILENO ? O_WRONLY : O_RDONLY;
        /* The lowest that is free, so `fd`. Without /dev/null all is as it was. */
        (void)open("/dev/null", mode);
    }
}
