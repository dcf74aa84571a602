/* The arguments of peer_load. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

static void usage(void)
{
    fprintf(stderr,
            "usage: peer_load nats|rabbit produce|consume PORT,PORT,... PID,PID,... [KEY=NUMBER]\n"
            "keys: size window burst rate count seconds warmup keep\n"
            "produce: `count` records, or as many as go in `seconds`; consume: writes `count`\n"
            "records first, then reads them again and again for `seconds`\n");
    exit(2);
}

static size_t take_list(const char *text, int64_t *out)
{
    size_t count = 0;
    char *end;

    do {
        out[count] = strtoll(text, &end, 10);
        if (end == text || count == LOAD_SERVERS_MAX - 1) {
            usage();
        }
        count += 1;
        text = end + 1;
    } while (*end == ',');
    return count;
}

static void take_setting(struct load *load, const char *word)
{
    const char *equal = strchr(word, '=');
    char *end = NULL;
    double value = equal != NULL ? strtod(equal + 1, &end) : -1;
    size_t length = equal != NULL ? (size_t)(equal - word) : 0;
    const struct {
        const char *name;
        uint64_t *number;
    } numbers[] = { { "window", &load->window },
                    { "rate", &load->rate },
                    { "count", &load->count } };

    if (end == NULL || *end != '\0' || end == equal + 1 || value < 0 || value > 1e12) {
        usage();
    }
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (length == strlen(numbers[i].name) && strncmp(word, numbers[i].name, length) == 0) {
            *numbers[i].number = (uint64_t)value;
            return;
        }
    }
    if (strncmp(word, "size=", length + 1) == 0) {
        load->size = (size_t)value;
    } else if (strncmp(word, "burst=", length + 1) == 0) {
        load->burst = (unsigned)value;
    } else if (strncmp(word, "seconds=", length + 1) == 0) {
        load->seconds = value;
    } else if (strncmp(word, "warmup=", length + 1) == 0) {
        load->warmup_s = value;
    } else if (strncmp(word, "keep=", length + 1) == 0) {
        load->keep = value > 0;
    } else {
        usage();
    }
}

void load_take_arguments(struct load *load, int argc, char **argv)
{
    int64_t ports[LOAD_SERVERS_MAX];

    if (argc < 5) {
        usage();
    }
    load->protocol = strcmp(argv[1], "nats") == 0     ? &load_nats
                     : strcmp(argv[1], "rabbit") == 0 ? &load_rabbit
                                                      : NULL;
    load->consume = strcmp(argv[2], "consume") == 0;
    if (load->protocol == NULL || (!load->consume && strcmp(argv[2], "produce") != 0)) {
        usage();
    }
    load->port_count = take_list(argv[3], ports);
    for (size_t i = 0; i < load->port_count; i++) {
        load->ports[i] = (uint16_t)ports[i];
    }
    load->server_count = take_list(argv[4], load->servers);
    for (int i = 5; i < argc; i++) {
        take_setting(load, argv[i]);
    }
    load->burst = load->burst < load->window ? load->burst : (unsigned)load->window;
    if (load->size == 0 || load->size > LOAD_SIZE_MAX || load->window == 0 ||
        load->window > LOAD_WINDOW_MAX || load->burst == 0 ||
        (size_t)load->burst * (load->size + 256) > LOAD_OUT_BYTES / 4 ||
        (load->consume && load->count == 0)) {
        usage();
    }
}
