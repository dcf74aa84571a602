/* NATS JetStream over the plain client protocol: lines of text, payloads counted in bytes.
 *
 * Each record is published with a reply subject of its own, INBOX.a.ID, to which the leader of the
 * stream answers; reading is by pull requests with several batches under way. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

#define INBOX "_INBOX.load"
#define ANSWER_SUBJECT INBOX ".r"

enum {
    PULL_SUBSCRIPTION = 2, /* answers have 1, acknowledgements 3 */
    PULL_RECORDS = 1000,
    PULL_AHEAD_RECORDS = 4000, /* asked for and not yet here */
    LINE_BYTES = 512,
    REPLICAS = 3,
    PROBES = 50,
    PROBE_US = 200 * 1000,
};

static struct {
    bool greeted;
    bool ponged;
    bool refused;      /* the last call */
    char answer[4096]; /* to the last call */
    unsigned consumer; /* its number */
    uint64_t asked;    /* records, and not yet here */
} nats;

static void put_text(struct load *load, const char *text, size_t size)
{
    memcpy(load_room(load, size), text, size);
}

/* A call of the JetStream API; its answer is in nats.answer. */
static bool call(struct load *load, const char *subject, const char *body)
{
    char line[2 * LINE_BYTES];
    int size = snprintf(line,
                        sizeof line,
                        "PUB $JS.API.%s " ANSWER_SUBJECT " %zu\r\n%s\r\n",
                        subject,
                        strlen(body),
                        body);

    nats.refused = false;
    nats.answer[0] = '\0';
    put_text(load, line, (size_t)size);
    load_wait(load);
    return !nats.refused;
}

/* ---- input ----------------------------------------------------------------------------------- */

/* The words of a line MSG or HMSG. */
struct message {
    char subject[LINE_BYTES];
    unsigned subscription;
    size_t header_size;
    size_t size; /* with the header */
};

static bool parse_message(const char *text, size_t text_size, struct message *out)
{
    char line[LINE_BYTES];
    char *words[6] = { NULL };
    char *rest = NULL;
    size_t count = 0;
    bool has_header = text[0] == 'H';
    size_t least = has_header ? 5 : 4; /* without a reply subject */

    if (text_size >= sizeof line) {
        return false;
    }
    memcpy(line, text, text_size);
    line[text_size] = '\0';
    for (char *word = strtok_r(line, " \r\n", &rest); word != NULL && count < 6;
         word = strtok_r(NULL, " \r\n", &rest)) {
        words[count++] = word;
    }
    if (count < least || count > least + 1) {
        return false;
    }
    (void)snprintf(out->subject, sizeof out->subject, "%s", words[1]);
    out->subscription = (unsigned)strtoul(words[2], NULL, 10);
    out->size = strtoul(words[count - 1], NULL, 10);
    out->header_size = has_header ? strtoul(words[count - 2], NULL, 10) : 0;
    return out->size <= LOAD_IN_BYTES / 2 && out->header_size <= out->size;
}

static void take_answer(struct load *load, const char *body, size_t size)
{
    size_t kept = size < sizeof nats.answer - 1 ? size : sizeof nats.answer - 1;

    memcpy(nats.answer, body, kept);
    nats.answer[kept] = '\0';
    nats.refused = strstr(nats.answer, "\"error\"") != NULL || kept == 0;
    load->answered = true;
}

static void take_acknowledgement(struct load *load, const struct message *message, const char *body)
{
    uint64_t id = strtoull(message->subject + sizeof INBOX ".a." - 1, NULL, 10);

    if (message->header_size > 0 || memmem(body, message->size, "\"error\"", 7) != NULL) {
        load_failed(load, body, message->size);
    } else {
        load_acknowledged(load, id);
    }
}

static void pull(struct load *load)
{
    char line[LINE_BYTES];
    char body[64];

    while (nats.asked + PULL_RECORDS <= PULL_AHEAD_RECORDS) {
        int body_size =
            snprintf(body, sizeof body, "{\"batch\":%d,\"expires\":5000000000}", PULL_RECORDS);
        int size = snprintf(line,
                            sizeof line,
                            "PUB $JS.API.CONSUMER.MSG.NEXT.%s.c%u " INBOX ".p.%u %d\r\n%s\r\n",
                            load->stream,
                            nats.consumer,
                            nats.consumer,
                            body_size,
                            body);
        put_text(load, line, (size_t)size);
        nats.asked += PULL_RECORDS;
    }
}

static void take_pulled(struct load *load, const struct message *message)
{
    if (message->header_size > 0) { /* a state of the request: not there yet, or over */
        if (strncmp(message->subject, INBOX ".p.", sizeof INBOX ".p." - 1) == 0 &&
            strtoul(message->subject + sizeof INBOX ".p." - 1, NULL, 10) == nats.consumer) {
            nats.asked -= nats.asked >= PULL_RECORDS ? PULL_RECORDS : nats.asked;
            pull(load);
        }
        return;
    }
    nats.asked -= nats.asked > 0 ? 1 : 0;
    load_received(load, 1);
    if (nats.asked + PULL_RECORDS <= PULL_AHEAD_RECORDS && load->received < load->count) {
        pull(load);
    }
}

static size_t take_message(struct load *load, const char *line, size_t line_size, size_t size)
{
    struct message message;
    const char *body = line + line_size;

    if (!parse_message(line, line_size, &message)) {
        load_give_up(load, "a message that cannot be read");
    }
    if (size < line_size + message.size + 2) {
        return 0;
    }
    if (message.subscription == PULL_SUBSCRIPTION) {
        take_pulled(load, &message);
    } else if (strcmp(message.subject, ANSWER_SUBJECT) == 0) {
        take_answer(load, body + message.header_size, message.size - message.header_size);
    } else {
        take_acknowledgement(load, &message, body);
    }
    return line_size + message.size + 2;
}

static size_t take(struct load *load, const uint8_t *bytes, size_t size)
{
    const char *text = (const char *)bytes;
    const char *end = memchr(text, '\n', size);
    size_t line_size = end != NULL ? (size_t)(end - text) + 1 : 0;

    if (end == NULL) {
        return 0;
    }
    if (strncmp(text, "MSG ", 4) == 0 || strncmp(text, "HMSG ", 5) == 0) {
        return take_message(load, text, line_size, size);
    }
    if (strncmp(text, "PING", 4) == 0) {
        put_text(load, "PONG\r\n", 6);
    } else if (strncmp(text, "PONG", 4) == 0) {
        nats.ponged = true;
        load->answered = true;
    } else if (strncmp(text, "INFO ", 5) == 0 && !nats.greeted) {
        nats.greeted = true;
        load->answered = true;
    } else if (strncmp(text, "-ERR", 4) == 0) {
        load_give_up(load, text);
    }
    return line_size;
}

/* ---- calls ----------------------------------------------------------------------------------- */

static void log_in(struct load *load)
{
    static const char hello[] =
        "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,"
        "\"lang\":\"C\",\"version\":\"1\",\"protocol\":1,\"name\":\"peer_load\"}\r\n"
        "SUB " INBOX ".r 1\r\nSUB " INBOX ".a.* 3\r\nPING\r\n";

    nats.greeted = false;
    load_wait(load);
    put_text(load, hello, sizeof hello - 1);
    load_wait(load);
    if (!nats.ponged) {
        load_give_up(load, "the greeting was not answered");
    }
}

/* Makes the stream, and connects to its leader: servers are named n1, n2, ... in their order. */
static void make(struct load *load)
{
    char subject[LINE_BYTES];
    char body[LINE_BYTES];

    (void)snprintf(subject, sizeof subject, "STREAM.DELETE.%s", load->stream);
    (void)call(load, subject, ""); /* most often there is none */
    (void)snprintf(subject, sizeof subject, "STREAM.CREATE.%s", load->stream);
    (void)snprintf(body,
                   sizeof body,
                   "{\"name\":\"%s\",\"subjects\":[\"%s.>\"],\"retention\":\"limits\","
                   "\"storage\":\"file\",\"num_replicas\":%d,\"max_msgs\":-1,\"max_bytes\":-1,"
                   "\"max_age\":0,\"max_consumers\":-1,\"discard\":\"old\"}",
                   load->stream,
                   load->stream,
                   REPLICAS);
    if (!call(load, subject, body)) {
        load_give_up(load, nats.answer);
    }
    const char *leader = strstr(nats.answer, "\"leader\":\"n");
    size_t number = leader != NULL ? strtoul(leader + 11, NULL, 10) : 0;
    if (number < 1 || number > load->port_count) {
        load_give_up(load, "the stream has no leader");
    }
    load_connect(load, load->ports[number - 1]);
    log_in(load);
}

/* A stream is told to be there a moment before its leader listens: the first record is sent until
 * it is stored. */
static void await_leader(struct load *load)
{
    char line[LINE_BYTES];
    int size = snprintf(line, sizeof line, "PUB %s.x " ANSWER_SUBJECT " 1\r\nx\r\n", load->stream);

    for (int i = 0; i < PROBES; i++) {
        put_text(load, line, (size_t)size);
        if (load_wait_for(load, PROBE_US) && !nats.refused) {
            return;
        }
    }
    load_give_up(load, "the stream stores nothing");
}

static void open_nats(struct load *load, bool wanted)
{
    log_in(load);
    if (wanted) {
        make(load);
        await_leader(load);
    }
}

static void publish(struct load *load, uint64_t first_id, unsigned count)
{
    char line[LINE_BYTES];

    for (unsigned i = 0; i < count; i++) {
        int size = snprintf(line,
                            sizeof line,
                            "PUB %s.x " INBOX ".a.%" PRIu64 " %zu\r\n",
                            load->stream,
                            first_id + i,
                            load->size);
        uint8_t *room = load_room(load, (size_t)size + load->size + 2);
        memcpy(room, line, (size_t)size);
        memcpy(room + size, load_value(load), load->size);
        memcpy(room + (size_t)size + load->size, "\r\n", 2);
    }
}

static void begin_reading(struct load *load)
{
    char subject[LINE_BYTES];
    char body[LINE_BYTES];

    if (nats.consumer == 0) {
        put_text(load, "SUB " INBOX ".p.* 2\r\n", sizeof "SUB " INBOX ".p.* 2\r\n" - 1);
    } else {
        (void)snprintf(
            subject, sizeof subject, "CONSUMER.DELETE.%s.c%u", load->stream, nats.consumer);
        (void)call(load, subject, "");
    }
    nats.consumer += 1;
    nats.asked = 0;
    (void)snprintf(subject, sizeof subject, "CONSUMER.CREATE.%s.c%u", load->stream, nats.consumer);
    (void)snprintf(body,
                   sizeof body,
                   "{\"stream_name\":\"%s\",\"config\":{\"name\":\"c%u\",\"ack_policy\":\"none\","
                   "\"deliver_policy\":\"all\",\"replay_policy\":\"instant\",\"num_replicas\":1,"
                   "\"mem_storage\":true,\"inactive_threshold\":30000000000}}",
                   load->stream,
                   nats.consumer);
    if (!call(load, subject, body)) {
        load_give_up(load, nats.answer);
    }
    pull(load);
}

static void drop(struct load *load)
{
    char subject[LINE_BYTES];

    (void)snprintf(subject, sizeof subject, "STREAM.DELETE.%s", load->stream);
    (void)call(load, subject, "");
}

const struct load_protocol load_nats = {
    .name = "nats",
    .open = open_nats,
    .publish = publish,
    .begin_reading = begin_reading,
    .take = take,
    .drop = drop,
};
