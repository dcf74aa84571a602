/* Requests of the harness: see control.h. */
#include "control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    BACKLOG = 8
};

int control_listen(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    if (bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 ||
        listen(fd, BACKLOG) != 0) {
        int kept = errno;
        (void)close(fd); /* it never served */
        errno = kept;
        return -1;
    }
    return fd;
}

int control_accept(int listener)
{
    return accept4(listener, NULL, NULL, SOCK_CLOEXEC);
}

bool control_serve(int fd,
                   void (*answer)(void *arg, const char *request, char *out, size_t out_size),
                   void *arg)
{
    char request[CONTROL_SIZE_MAX];
    char out[CONTROL_SIZE_MAX] = "";
    ssize_t size;

    do {
        size = recv(fd, request, sizeof request - 1, 0);
    } while (size < 0 && errno == EINTR);
    if (size <= 0) {
        return false;
    }
    request[size] = '\0';
    answer(arg, request, out, sizeof out);
    return send(fd, out, strlen(out), MSG_NOSIGNAL) >= 0;
}

bool control_is(const char *request, const char *word)
{
    size_t size = strlen(word);

    return strncmp(request, word, size) == 0 && (request[size] == '\0' || request[size] == ' ');
}

/* The text after ` key=`, or NULL. */
static const char *find_value(const char *request, const char *key)
{
    size_t size = strlen(key);

    for (const char *at = strchr(request, ' '); at != NULL; at = strchr(at, ' ')) {
        at += 1;
        if (strncmp(at, key, size) == 0 && at[size] == '=') {
            return at + size + 1;
        }
    }
    return NULL;
}

int64_t control_number(const char *request, const char *key, int64_t fallback)
{
    const char *value = find_value(request, key);

    return value == NULL ? fallback : strtoll(value, NULL, 10);
}

bool control_word(const char *request, const char *key, char *out, size_t out_size)
{
    const char *value = find_value(request, key);

    if (value == NULL) {
        return false;
    }
    size_t size = strcspn(value, " ");
    if (size >= out_size) {
        return false;
    }
    memcpy(out, value, size);
    out[size] = '\0';
    return true;
}
