/* spate consume: records of topics to standard output.
 *   names or patterns -> topics -> partitions, where to begin, bounds -> records -> printer
 *   nothing comes although the end is wanted: who has no leader? */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "cli/bounds.h"
#include "cli/cli.h"
#include "cli/consume_member.h"
#include "cli/consume_places.h"
#include "cli/consume_print.h"
#include "cli/consume_until.h"
#include "cli/output.h"
#include "cli/patience.h"
#include "cli/topic_list.h"
#include "cli/when.h"
#include "io/clock.h"

enum {
    WAIT_MS = 100, /* for records; a ^C is seen so soon */
    END_WAIT_MS = 10,
    END_CHECK_RECORDS = 64,
};

struct consume {
    struct cli *cli;
    struct spate_consumer *consumer;
    struct topic_list topics;
    bool regex;
    const char *topic;      /* the one that is being assigned */
    const char *partitions; /* "0,1"; NULL: all */
    const char *from;       /* NULL: by what -e says */
    int64_t count_max;      /* -1: no bound */
    bool until_end;
    int64_t until_offset; /* of --until N */
    struct bounds bounds;
    struct consume_places places;
    struct consume_printer printer;
    struct consume_member member;
};

/* ---- options --------------------------------------------------------------------------------- */

static int take_format(struct consume *consume, const char *text)
{
    struct consume_printer *printer = &consume->printer;
    const char *error = NULL;

    if (printer->format_set) {
        format_deinit(&printer->format);
    }
    printer->format_set = format_parse(text, &printer->format, &error) == 0;
    return printer->format_set ? 0 : usage_error(consume->cli, "-f %s: %s", text, error);
}

static int take_until(struct consume *consume, const char *text)
{
    struct bounds *bounds = &consume->bounds;

    bounds->at_ms = -1;
    bounds->set = strcmp(text, "end") != 0;
    if (!bounds->set) {
        consume->until_end = true;
        return 0;
    }
    if (*text == '@' ? parse_time(text + 1, &bounds->at_ms)
                     : parse_number(text, 0, INT64_MAX / 2, &consume->until_offset)) {
        return 0;
    }
    return usage_error(
        consume->cli, "--until %s: end, an offset, or @TIME (ms, @-1h, @2026-01-31)", text);
}

static int take_long_option(struct consume *consume, int option)
{
    if (option_is(consume->cli, option, "until")) {
        return take_until(consume, optarg);
    }
    if (option_is(consume->cli, option, "meta-only")) {
        consume->printer.meta_only = true;
        return 0;
    }
    if (option_is(consume->cli, option, "no-commit")) {
        consume->member.read_only = true;
        return 0;
    }
    if (option_is(consume->cli, option, "rack")) {
        return setting_set(
            consume->cli, setting_find("client.rack"), optarg, SETTING_FROM_FLAG, "--rack");
    }
    if (option_is(consume->cli, option, "linearizable")) {
        return setting_set(
            consume->cli, setting_find("linearizable"), "on", SETTING_FROM_FLAG, "--linearizable");
    }
    return EXIT_USAGE;
}

static int take_option(struct consume *consume, int option)
{
    switch (option) {
    case 'p':
        consume->partitions = optarg;
        return 0;
    case 'o':
        consume->from = optarg;
        return 0;
    case 'n':
        if (!parse_number(optarg, 0, INT64_MAX / 2, &consume->count_max)) {
            return usage_error(consume->cli, "-n %s: a count of records", optarg);
        }
        return 0;
    case 'e':
        consume->until_end = true;
        return 0;
    case 'f':
        return take_format(consume, optarg);
    case 'g':
        consume->member.group = optarg;
        return 0;
    case 'r':
        consume->regex = true;
        return 0;
    default:
        return take_long_option(consume, option);
    }
}

/* What goes together with -g. */
static int take_group(struct consume *consume)
{
    const struct consume_member *member = &consume->member;

    if (member->group == NULL) {
        return member->read_only ? usage_error(consume->cli, "--no-commit goes with -g GROUP") : 0;
    }
    if (*member->group == '\0') {
        return usage_error(consume->cli, "-g: the name of a consumer group");
    }
    if (consume->partitions != NULL || consume->bounds.set) {
        return usage_error(
            consume->cli,
            "-g shares the partitions among its members: no -p, and --until end only");
    }
    return member_configure(&consume->member, consume->from);
}

static int take_options(struct consume *consume, int argc, char **argv)
{
    struct option_parser parser = { 0 };
    struct consume_printer *printer = &consume->printer;
    int option;

    while ((option = next_option(consume->cli, &parser, argc, argv)) != -1) {
        int code = take_option(consume, option);
        if (code != 0) {
            return code;
        }
    }
    if (optind == argc) {
        return usage_error(consume->cli, "a topic is needed");
    }
    if (printer->meta_only && printer->format_set) {
        return usage_error(consume->cli, "-f says itself what is printed: no --meta-only");
    }
    if (consume->cli->json && printer->format_set &&
        consume->cli->settings[SETTING_JSON].origin == SETTING_FROM_FLAG) {
        return usage_error(consume->cli, "-f says itself what is printed: no --json");
    }
    printer->json = consume->cli->json && !printer->format_set;
    int code = take_group(consume);
    if (code != 0) {
        return code;
    }
    if (consume->from == NULL) {
        consume->from = consume->until_end || consume->bounds.set ? "start" : "end";
    }
    if (printer->format_set) {
        return 0;
    }
    return take_format(consume, printer->meta_only ? "%t\\t%p\\t%o\\t%T\\t%K\\t%V\\n" : "%v\\n");
}

/* ---- where to begin -------------------------------------------------------------------------- */

/* `count` records before the end, but not before the start. */
static int before_end(struct consume *consume, uint32_t partition, int64_t count, int64_t *out)
{
    struct spate_client *client = consume->cli->client;
    int64_t start = 0;
    int64_t end = 0;
    int rv = spate_offsets(client, consume->topic, partition, SPATE_AT_START, &start);

    if (rv == 0) {
        rv = spate_offsets(client, consume->topic, partition, SPATE_AT_END, &end);
    }
    if (rv == 0) {
        *out = end - count > start ? end - count : start;
    }
    return rv == 0 ? 0 : tell_failure(consume->cli, rv, NULL);
}

/* An exit code, 0 with the offset. */
static int begin_offset(struct consume *consume, uint32_t partition, int64_t *out_offset)
{
    const char *from = consume->from;
    int64_t number = 0;

    if (strcmp(from, "start") == 0 || strcmp(from, "beginning") == 0) {
        *out_offset = SPATE_OFFSET_START;
        return 0;
    }
    if (strcmp(from, "end") == 0) {
        *out_offset = SPATE_OFFSET_END;
        return 0;
    }
    if (*from == '@' && parse_time(from + 1, &number)) {
        int rv = spate_offsets(consume->cli->client, consume->topic, partition, number, out_offset);
        return rv == 0 ? 0 : tell_failure(consume->cli, rv, NULL);
    }
    if (*from != '@' && parse_number(from, -INT64_MAX / 2, INT64_MAX / 2, &number)) {
        if (number < 0 || *from == '-') {
            return before_end(consume, partition, -number, out_offset);
        }
        *out_offset = number;
        return 0;
    }
    return usage_error(
        consume->cli,
        "-o %s: start, end, an offset, -N for the last N, @TIME (ms, @-1h, @2026-01-31)",
        from);
}

/* With --until: the offset itself instead of start or end, and a bound. An exit code; *out_wanted
 * is false when the bound is reached before the first record. */
static int add_bound(struct consume *consume, uint32_t partition, int64_t *offset, bool *out_wanted)
{
    struct bounds *bounds = &consume->bounds;
    struct spate_client *client = consume->cli->client;
    struct bound bound = { .topic = consume->topic, .partition = (int32_t)partition };
    int rv = 0;

    bound.stop = bounds->at_ms < 0 ? consume->until_offset : BOUND_UNKNOWN;
    if (*offset < 0) {
        int64_t at = *offset == SPATE_OFFSET_START ? SPATE_AT_START : SPATE_AT_END;
        rv = spate_offsets(client, consume->topic, partition, at, offset);
    }
    if (rv == 0 && bounds->at_ms >= 0 && bounds->at_ms <= sp_clock_wall_ms()) {
        rv = spate_offsets(client, consume->topic, partition, bounds->at_ms, &bound.stop);
    }
    if (rv != 0) {
        return tell_failure(consume->cli, rv, NULL);
    }
    bound.next = *offset;
    *out_wanted = bound.next < bound.stop;
    if (!bounds_add(bounds, &bound)) {
        tell("out of memory");
        return EXIT_FAILED;
    }
    return 0;
}

static int find_place(struct consume *consume, uint32_t partition)
{
    struct consume_place place = { .topic = consume->topic, .partition = partition };
    bool wanted = true;

    if (consume->partitions != NULL && places_have(&consume->places, consume->topic, partition)) {
        return 0; /* named twice */
    }
    int code = begin_offset(consume, partition, &place.offset);

    if (code == 0 && consume->bounds.set) {
        code = add_bound(consume, partition, &place.offset, &wanted);
    }
    if (code != 0 || !wanted) {
        return code;
    }
    if (!places_add(&consume->places, &place)) {
        tell("out of memory");
        return EXIT_FAILED;
    }
    return 0;
}

static int find_listed(struct consume *consume, uint32_t count)
{
    const char *at = consume->partitions;

    for (;;) {
        char text[12];
        size_t size = strcspn(at, ",");
        int64_t number = -1;
        (void)snprintf(text, sizeof text, "%.*s", (int)size, at);
        if (size >= sizeof text || !parse_number(text, 0, INT32_MAX, &number)) {
            return usage_error(consume->cli, "-p %s: numbers with commas", consume->partitions);
        }
        if ((uint64_t)number >= count) {
            tell("topic %s has %u partition%s, numbered from 0: there is no partition %" PRId64,
                 consume->topic,
                 count,
                 plural(count),
                 number);
            return EXIT_NOT_FOUND;
        }
        int code = find_place(consume, (uint32_t)number);
        if (code != 0 || at[size] == '\0') {
            return code;
        }
        at += size + 1;
    }
}

static int find_topic(struct consume *consume)
{
    uint32_t count = 0;
    int rv = spate_topic_partitions(consume->cli->client, consume->topic, &count);

    if (rv != 0) {
        return tell_failure(consume->cli, rv, NULL);
    }
    if (consume->partitions != NULL) {
        return find_listed(consume, count);
    }
    for (uint32_t i = 0; i < count; i++) {
        int code = find_place(consume, i);
        if (code != 0) {
            return code;
        }
    }
    return 0;
}

static int assign_all(struct consume *consume)
{
    int code = 0;

    for (size_t i = 0; code == 0 && i < consume->topics.count; i++) {
        consume->topic = consume->topics.names[i];
        code = find_topic(consume);
    }
    if (code == 0) {
        int rv = places_assign(&consume->places, consume->consumer);
        code = rv == 0 ? 0 : tell_failure(consume->cli, rv, NULL);
    }
    return code;
}

/* ---- records --------------------------------------------------------------------------------- */

static bool at_end(const struct consume *consume)
{
    if (!consume->until_end) {
        return bounds_reached(&consume->bounds);
    }
    return consume->member.group != NULL ? member_at_end(&consume->member)
                                         : spate_consumer_at_end(consume->consumer) == 1;
}

/* The same when nothing is there to be read: where the reader stands may say that nothing comes. */
static bool at_end_of_silence(struct consume *consume)
{
    until_follow(&consume->bounds, consume->consumer);
    return at_end(consume);
}

/* One record was read. True: it was printed. */
static bool take(struct consume *consume, const struct spate_message *message)
{
    if (consume->bounds.set && !bounds_take(&consume->bounds, message)) {
        return false;
    }
    consume_print(&consume->printer, message);
    return true;
}

/* True when what is still to come is there already: silence is trouble then. */
static bool expects_end(const struct consume *consume)
{
    const struct bounds *bounds = &consume->bounds;

    return consume->until_end || (bounds->at_ms >= 0 && bounds->at_ms <= sp_clock_wall_ms());
}

/* Nothing came for a while. An exit code when that is to be the end, else 0. */
static int idle(struct consume *consume, struct patience *patience)
{
    out_flush();
    out_wait(0); /* perhaps the reader has gone */
    int code = until_settle(consume->cli, &consume->bounds);
    if (code != 0) {
        return code;
    }
    return expects_end(consume) ? patience_check(patience) : patience_tell(patience);
}

/* Reads on until enough was read. What has been printed leaves whenever nothing more is there. */
static int stream(struct consume *consume)
{
    struct spate_message message;
    struct patience patience = { .cli = consume->cli,
                                 .topics = &consume->topics,
                                 .consumer = &consume->consumer,
                                 .group = consume->member.group,
                                 .ends = consume->count_max >= 0 || consume->bounds.set };
    int64_t left = consume->count_max;
    uint64_t count = 0;
    int wait_ms = 0;
    int code = 0;

    patience_begin(&patience);
    while (code == 0 && left != 0 && !interrupted()) {
        if (count % END_CHECK_RECORDS == 0 && at_end(consume)) {
            break; /* more keeps coming, but what was there at first is read */
        }
        if (consume->member.group != NULL) {
            member_tick(&consume->member);
        }
        int rv = spate_consumer_next(consume->consumer, wait_ms, &message);
        if (rv == 0) {
            left -= take(consume, &message) && left > 0 ? 1 : 0;
            wait_ms = 0;
            count += 1;
            patience_renew(&patience);
            code = consume->bounds.surplus
                       ? until_drop_closed(consume->cli, &consume->bounds, &consume->consumer)
                       : patience_tell(&patience); /* others may give nothing */
        } else if (rv != SPATE_ERR_AGAIN) {
            out_flush();
            code = member_tell_failure(&consume->member, rv, NULL);
        } else if (at_end_of_silence(consume)) {
            break;
        } else {
            code = idle(consume, &patience);
            wait_ms = consume->until_end ? END_WAIT_MS : WAIT_MS;
        }
    }
    patience_end(&patience);
    out_flush();
    if (consume->member.group != NULL) {
        int ended = member_end(&consume->member);
        code = code != 0 ? code : ended;
    }
    return code != 0 ? code : interrupted() ? EXIT_INTERRUPTED : EXIT_OK;
}

/* What is to be read is known: the consumer for it. */
static int prepare(struct consume *consume)
{
    struct cli *cli = consume->cli;
    const struct topic_list *topics = &consume->topics;

    if (consume->member.group != NULL && topics->count > SP_CONSUMER_TOPICS_MAX) {
        tell("these are %zu topics, and a consumer group reads %d at most: share them among "
             "several groups, each with a narrower pattern, or read them without -g",
             topics->count,
             SP_CONSUMER_TOPICS_MAX);
        return EXIT_FAILED;
    }
    int rv = spate_topics_expect(cli->client, (const char *const *)topics->names, topics->count);
    rv = rv != 0 ? rv : consumer_of_its_own(cli->client, &consume->consumer);
    return rv == 0 ? 0 : tell_failure(cli, rv, NULL);
}

int command_consume(struct cli *cli, int argc, char **argv)
{
    struct consume consume = {
        .cli = cli, .count_max = -1, .bounds = { .at_ms = -1 }, .member = { .cli = cli }
    };
    int code = take_options(&consume, argc, argv);

    if (code == 0) {
        code = connect_client(cli);
    }
    if (code == 0) {
        code = topic_list_fill(cli, consume.regex, argc - optind, argv + optind, &consume.topics);
    }
    if (code == 0) {
        code = prepare(&consume);
    }
    if (code == 0) {
        code = consume.member.group != NULL
                   ? member_begin(&consume.member, consume.consumer, &consume.topics)
                   : assign_all(&consume);
    }
    if (code == 0) {
        catch_interrupt();
        code = stream(&consume);
    }
    spate_consumer_free(consume.consumer);
    places_free(&consume.places);
    bounds_free(&consume.bounds);
    topic_list_free(&consume.topics);
    if (consume.printer.format_set) {
        format_deinit(&consume.printer.format);
    }
    return code;
}
