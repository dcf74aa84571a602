/* A disk that fails, for one process: loaded by LD_PRELOAD, it lets fdatasync fail for the files
 * below a directory once there is a file `fails` in it.
 *
 *   SPATE_FAILING_DISK=DIRECTORY */
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_SIZE 4096

static bool fails(int fd)
{
    const char *directory = getenv("SPATE_FAILING_DISK");
    char link[64];
    char path[PATH_SIZE + 1] = "";

    if (directory == NULL) {
        return false;
    }
    (void)snprintf(path, sizeof path, "%s/fails", directory);
    if (access(path, F_OK) != 0) {
        return false;
    }
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, PATH_SIZE);
    path[size < 0 ? 0 : size] = '\0';
    return strncmp(path, directory, strlen(directory)) == 0;
}

int fdatasync(int fd)
{
    int (*next)(int) = NULL;

    if (fails(fd)) {
        errno = EIO;
        return -1;
    }
    *(void **)&next = dlsym(RTLD_NEXT, "fdatasync");
    return next(fd);
}
