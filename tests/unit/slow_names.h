/* A system whose name server answers when the test says so. Included once, by a test whose program
 * then has its own getaddrinfo. */
#ifndef SP_UNIT_SLOW_NAMES_H
#define SP_UNIT_SLOW_NAMES_H

#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/attr.h"

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool silent;    /* questions wait until it is false */
    int status;     /* of each answer: 0: the address 127.0.0.1 */
    unsigned asked; /* questions that have come */
    unsigned asking;
} slow_names = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static struct addrinfo *slow_names_address(const char *service)
{
    struct addrinfo *info = calloc(1, sizeof *info + sizeof(struct sockaddr_in));
    struct sockaddr_in *address = (struct sockaddr_in *)(void *)(info + 1);

    address->sin_family = AF_INET;
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address->sin_port = htons((uint16_t)strtoul(service, NULL, 10));
    info->ai_family = AF_INET;
    info->ai_socktype = SOCK_STREAM;
    info->ai_addr = (struct sockaddr *)address;
    info->ai_addrlen = sizeof *address;
    return info;
}

int getaddrinfo(const char *name,
                const char *service,
                const struct addrinfo *hints,
                struct addrinfo **out)
{
    (void)name;
    (void)hints;
    (void)pthread_mutex_lock(&slow_names.lock);
    slow_names.asked += 1;
    slow_names.asking += 1;
    (void)pthread_cond_broadcast(&slow_names.changed);
    while (slow_names.silent) {
        (void)pthread_cond_wait(&slow_names.changed, &slow_names.lock);
    }
    slow_names.asking -= 1;
    int status = slow_names.status;
    (void)pthread_mutex_unlock(&slow_names.lock);
    if (status == 0) {
        *out = slow_names_address(service);
    }
    return status;
}

void freeaddrinfo(struct addrinfo *info)
{
    free(info);
}

SP_UNUSED static void slow_names_be_silent(bool silent)
{
    (void)pthread_mutex_lock(&slow_names.lock);
    slow_names.silent = silent;
    (void)pthread_cond_broadcast(&slow_names.changed);
    (void)pthread_mutex_unlock(&slow_names.lock);
}

SP_UNUSED static bool slow_names_are_silent(void)
{
    (void)pthread_mutex_lock(&slow_names.lock);
    bool silent = slow_names.silent;
    (void)pthread_mutex_unlock(&slow_names.lock);
    return silent;
}

SP_UNUSED static void slow_names_answer(int status)
{
    (void)pthread_mutex_lock(&slow_names.lock);
    slow_names.silent = false;
    slow_names.status = status;
    slow_names.asked = 0;
    (void)pthread_mutex_unlock(&slow_names.lock);
}

/* Waits until so many questions have come. */
SP_UNUSED static void slow_names_wait_asked(unsigned count)
{
    (void)pthread_mutex_lock(&slow_names.lock);
    while (slow_names.asked < count) {
        (void)pthread_cond_wait(&slow_names.changed, &slow_names.lock);
    }
    (void)pthread_mutex_unlock(&slow_names.lock);
}

SP_UNUSED static unsigned slow_names_asked(void)
{
    (void)pthread_mutex_lock(&slow_names.lock);
    unsigned asked = slow_names.asked;
    (void)pthread_mutex_unlock(&slow_names.lock);
    return asked;
}

#endif /* SP_UNIT_SLOW_NAMES_H */
