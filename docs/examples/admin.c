/* Creates a topic and describes it, by way of spate_call.
 *
 *     admin SERVERS create TOPIC PARTITIONS
 *     admin SERVERS describe TOPIC
 *
 * spate_call reaches every method of the protocol, those of servers newer than the library too.
 * Parameters and results are MessagePack, which takes no library when it is as little as this. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <spate/spate.h>

/* ---- packing --------------------------------------------------------------------------------- */

struct packed {
    unsigned char bytes[512];
    size_t size;
};

static void put(struct packed *packed, const void *bytes, size_t size)
{
    if (packed->size + size > sizeof packed->bytes) {
        fprintf(stderr, "the parameters are too long\n");
        exit(2);
    }
    memcpy(packed->bytes + packed->size, bytes, size);
    packed->size += size;
}

static void put_map(struct packed *packed, unsigned count) /* at most 15 */
{
    unsigned char head = (unsigned char)(0x80 | count);

    put(packed, &head, 1);
}

static void put_text(struct packed *packed, const char *text) /* at most 255 bytes */
{
    unsigned char head[2] = { 0xd9, (unsigned char)strlen(text) };

    put(packed, head, sizeof head);
    put(packed, text, head[1]);
}

static void put_number(struct packed *packed, unsigned long number) /* below 65536 */
{
    unsigned char bytes[3] = { 0xcd, (unsigned char)(number >> 8), (unsigned char)number };

    put(packed, bytes, sizeof bytes);
}

/* ---- printing -------------------------------------------------------------------------------- */

struct reader {
    const unsigned char *bytes;
    size_t left;
};

static unsigned long long take(struct reader *reader, unsigned size)
{
    unsigned long long number = 0;

    if (reader->left < size) {
        fprintf(stderr, "the answer ends early\n");
        exit(1);
    }
    for (unsigned i = 0; i < size; i++) {
        number = number << 8 | reader->bytes[i];
    }
    reader->bytes += size;
    reader->left -= size;
    return number;
}

static void print_value(struct reader *reader, unsigned depth);

static void print_bytes(struct reader *reader, unsigned long long size)
{
    if (reader->left < size) {
        fprintf(stderr, "the answer ends early\n");
        exit(1);
    }
    printf("\"%.*s\"", (int)size, (const char *)reader->bytes);
    reader->bytes += size;
    reader->left -= (size_t)size;
}

static void print_list(struct reader *reader, unsigned long long count, int map, unsigned depth)
{
    printf(map ? "{" : "[");
    for (unsigned long long i = 0; i < count; i++) {
        printf(i == 0 ? "" : ", ");
        print_value(reader, depth + 1);
        if (map) {
            printf(": ");
            print_value(reader, depth + 1);
        }
    }
    printf(map ? "}" : "]");
}

/* All that the protocol sends; answers nest less than ten deep. */
static void print_value(struct reader *reader, unsigned depth)
{
    unsigned head = (unsigned)take(reader, 1);

    if (depth > 10) {
        fprintf(stderr, "the answer is nested too deep\n");
        exit(1);
    } else if (head < 0x80) {
        printf("%u", head);
    } else if (head < 0x90) {
        print_list(reader, head & 0x0f, 1, depth);
    } else if (head < 0xa0) {
        print_list(reader, head & 0x0f, 0, depth);
    } else if (head < 0xc0) {
        print_bytes(reader, head & 0x1f);
    } else if (head >= 0xe0) {
        printf("%d", (int)head - 0x100);
    } else if (head == 0xc0) {
        printf("null");
    } else if (head == 0xc2 || head == 0xc3) {
        printf(head == 0xc3 ? "true" : "false");
    } else if (head >= 0xc4 && head <= 0xc6) {
        print_bytes(reader, take(reader, 1u << (head - 0xc4)));
    } else if (head >= 0xd9 && head <= 0xdb) {
        print_bytes(reader, take(reader, 1u << (head - 0xd9)));
    } else if (head >= 0xcc && head <= 0xcf) {
        printf("%llu", take(reader, 1u << (head - 0xcc)));
    } else if (head == 0xd0) {
        printf("%d", (signed char)take(reader, 1));
    } else if (head == 0xd1) {
        printf("%d", (short)take(reader, 2));
    } else if (head == 0xd2) {
        printf("%d", (int)take(reader, 4));
    } else if (head == 0xd3) {
        printf("%lld", (long long)take(reader, 8));
    } else if (head == 0xdc || head == 0xdd) {
        print_list(reader, take(reader, head == 0xdc ? 2 : 4), 0, depth);
    } else if (head == 0xde || head == 0xdf) {
        print_list(reader, take(reader, head == 0xde ? 2 : 4), 1, depth);
    } else {
        fprintf(stderr, "0x%02x does not occur in answers\n", head);
        exit(1);
    }
}

/* ---- calls ----------------------------------------------------------------------------------- */

static int call(struct spate_client *client, const char *method, const struct packed *params)
{
    void *result = NULL;
    size_t size = 0;
    int rv = spate_call(client, method, params->bytes, params->size, &result, &size);

    if (rv != 0) {
        fprintf(stderr, "%s: %s: %s\n", method, spate_error_name(rv), spate_client_error(client));
        return rv;
    }
    struct reader reader = { result, size };
    print_value(&reader, 0);
    printf("\n");
    spate_free(result);
    return 0;
}

int main(int argc, char **argv)
{
    struct spate_config *config = spate_config_new();
    struct spate_client *client = NULL;
    struct packed params = { .size = 0 };
    int create = argc == 5 && strcmp(argv[2], "create") == 0;

    if (config == NULL || (!create && (argc != 4 || strcmp(argv[2], "describe") != 0)) ||
        strlen(argv[3]) > 249) {
        fprintf(stderr, "usage: admin SERVERS create TOPIC PARTITIONS | describe TOPIC\n");
        return 2;
    }
    if (spate_config_set(config, "servers", argv[1]) != 0) {
        fprintf(stderr, "%s: not a list of host:port\n", argv[1]);
        return 2;
    }
    int rv = spate_client_new(config, &client);
    spate_config_free(config);
    if (rv == 0) {
        rv = spate_client_connect(client, -1); /* says at once when nobody is there */
    }
    if (rv != 0) {
        fprintf(stderr, "%s: %s\n", spate_error_name(rv), spate_client_error(client));
    } else {
        put_map(&params, create ? 2 : 1);
        put_text(&params, "name");
        put_text(&params, argv[3]);
        if (create) {
            put_text(&params, "partitions");
            put_number(&params, strtoul(argv[4], NULL, 10));
        }
        rv = call(client, create ? "topic.create" : "topic.describe", &params);
    }
    (void)spate_client_close(client, 0);
    return rv == 0 ? 0 : 1;
}
