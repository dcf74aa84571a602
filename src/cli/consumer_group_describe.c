/* spate group describe: members and what they own, or how far each partition is; once, or on and
 * on.
 *
 *   group.describe -> ends that its node does not know are asked of leaders -> table -> changes */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/output.h"
#include "cli/value.h"

enum {
    STALLED_MS = 10000, /* twice as long as libspate waits between commits */
    LOOK_EVERY_MS = 1000,
    LOOK_TIMEOUT_MS = 5000, /* of one call while watching */
    OWNED_SIZE = 200,
};

struct describe {
    struct cli *cli;
    const char *name;
    bool lag;
    bool watch;
    struct table before; /* what was shown last; rows without cells at first */
    json_t *told;        /* the same for --json */
    int failure;         /* of the look before; 0: it was answered */
};

/* ---- ends ------------------------------------------------------------------------------------ */

/* Sets "end_offset" and "lag" of a row whose partition has no replica on the coordinator's node. */
static void fill_end(struct cli *cli, json_t *row)
{
    const char *topic = json_string_value(json_object_get(row, "topic"));
    uint32_t partition = (uint32_t)value_number(row, "partition");
    int64_t from = value_number(row, "committed");
    int64_t end = 0;

    if (value_number(row, "end_offset") >= 0 || topic == NULL ||
        spate_offsets(cli->client, topic, partition, SPATE_AT_END, &end) != 0) {
        return;
    }
    if (from < 0 && spate_offsets(cli->client, topic, partition, SPATE_AT_START, &from) != 0) {
        return;
    }
    (void)json_object_set_new(row, "end_offset", json_integer(end));
    (void)json_object_set_new(row, "lag", json_integer(end > from ? end - from : 0));
}

/* Adds the sum of all lags that are known. */
static void fill_ends(struct cli *cli, json_t *result)
{
    json_t *rows = json_object_get(result, "partitions");
    int64_t sum = 0;

    for (size_t i = 0; i < json_array_size(rows); i++) {
        json_t *row = json_array_get(rows, i);
        fill_end(cli, row);
        int64_t lag = value_number(row, "lag");
        sum += lag > 0 ? lag : 0;
    }
    (void)json_object_set_new(result, "total_lag", json_integer(sum));
}

/* ---- tables ---------------------------------------------------------------------------------- */

/* "orders:0,1,2 lines:4", cut with "..." when it is long. */
static void owned_text(const json_t *parts, char text[OWNED_SIZE])
{
    size_t used = 0;

    (void)snprintf(text, OWNED_SIZE, "-");
    for (size_t i = 0; i < json_array_size(parts); i++) {
        const json_t *part = json_array_get(parts, i);
        const json_t *numbers = json_object_get(part, "partitions");
        for (size_t j = 0; j < json_array_size(numbers); j++) {
            char one[300];
            int size = snprintf(one,
                                sizeof one,
                                "%s%s%s%" JSON_INTEGER_FORMAT,
                                used > 0 && j == 0 ? " " : "",
                                j == 0 ? value_text(part, "topic") : "",
                                j == 0 ? ":" : ",",
                                json_integer_value(json_array_get(numbers, j)));
            if (size < 0 || used + (size_t)size + sizeof "..." > OWNED_SIZE) {
                memcpy(text + used, "...", sizeof "...");
                return;
            }
            memcpy(text + used, one, (size_t)size + 1);
            used += (size_t)size;
        }
    }
}

static struct table members_table(const json_t *result)
{
    const json_t *members = json_object_get(result, "members");
    struct table table = { .columns = 4, .headings = { "MEMBER", "CLIENT", "INSTANCE", "OWNED" } };

    for (size_t i = 0; i < json_array_size(members); i++) {
        const json_t *member = json_array_get(members, i);
        char owned[OWNED_SIZE];
        owned_text(json_object_get(member, "owned"), owned);
        table_text(&table, value_text(member, "member"));
        table_text(&table, value_text(member, "client"));
        table_text(&table, value_text(member, "instance"));
        table_text(&table, owned);
    }
    return table;
}

/* A member commits now and then: what it did not commit yet is no stall. */
static bool is_stalled(const json_t *row)
{
    return value_number(row, "stalled_ms") >= STALLED_MS;
}

static bool any_stalled(const json_t *rows)
{
    for (size_t i = 0; i < json_array_size(rows); i++) {
        if (is_stalled(json_array_get(rows, i))) {
            return true;
        }
    }
    return false;
}

/* "-" for what is not known. */
static void known_number(struct table *table, int64_t number)
{
    if (number < 0) {
        table_text(table, "-");
    } else {
        table_number(table, number);
    }
}

static void add_row(struct table *table, const json_t *row, bool stalled)
{
    table_text(table, value_text(row, "topic"));
    table_number(table, value_number(row, "partition"));
    known_number(table, value_number(row, "committed"));
    known_number(table, value_number(row, "end_offset"));
    known_number(table, value_number(row, "lag"));
    table_text(table, value_text(row, "owner"));
    if (stalled) {
        char text[32];
        (void)snprintf(text, sizeof text, "%" PRId64 " ms", value_number(row, "stalled_ms"));
        table_text(table, is_stalled(row) ? text : "-");
    }
}

struct sums {
    int64_t committed;
    int64_t end;
    int64_t lag;
};

static void add_to(struct sums *sums, const json_t *row)
{
    int64_t committed = value_number(row, "committed");
    int64_t end = value_number(row, "end_offset");
    int64_t lag = value_number(row, "lag");

    sums->committed += committed > 0 ? committed : 0;
    sums->end += end > 0 ? end : 0;
    sums->lag += lag > 0 ? lag : 0;
}

static void add_sums(struct table *table, const char *topic, const struct sums *sums, bool stalled)
{
    table_text(table, topic);
    table_text(table, "all");
    table_number(table, sums->committed);
    table_number(table, sums->end);
    table_number(table, sums->lag);
    table_text(table, "-");
    if (stalled) {
        table_text(table, "-");
    }
}

/* One row per partition, a sum behind each topic, and one of all when there are more. */
static struct table lag_table(const json_t *result)
{
    const json_t *rows = json_object_get(result, "partitions");
    bool stalled = any_stalled(rows);
    struct table table = {
        .columns = stalled ? 7 : 6,
        .headings = { "TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "OWNER", "STALLED" }
    };
    struct sums all = { 0 };
    struct sums sums = { 0 };
    size_t topics = 0;

    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        const json_t *next = json_array_get(rows, i + 1);
        add_row(&table, row, stalled);
        add_to(&sums, row);
        add_to(&all, row);
        if (next == NULL || strcmp(value_text(next, "topic"), value_text(row, "topic")) != 0) {
            add_sums(&table, value_text(row, "topic"), &sums, stalled);
            sums = (struct sums){ 0 };
            topics += 1;
        }
    }
    if (topics > 1) {
        add_sums(&table, "all", &all, stalled);
    }
    return table;
}

/* ---- showing --------------------------------------------------------------------------------- */

/* A copy without what only time changes. */
static json_t *lasting(const json_t *result)
{
    json_t *copy = json_deep_copy(result);
    json_t *members = json_object_get(copy, "members");
    json_t *rows = json_object_get(copy, "partitions");

    for (size_t i = 0; i < json_array_size(members); i++) {
        (void)json_object_del(json_array_get(members, i), "silent_ms");
    }
    for (size_t i = 0; i < json_array_size(rows); i++) {
        (void)json_object_del(json_array_get(rows, i), "stalled_ms");
    }
    return copy;
}

static void show_json(struct describe *describe, const json_t *result)
{
    json_t *now = lasting(result);

    if (!describe->watch) {
        out_json(json_deep_copy(result));
    } else if (!json_equal(now, describe->told)) {
        out_json_line(json_deep_copy(result));
    }
    json_decref(describe->told);
    describe->told = now;
}

static void show(struct describe *describe, const json_t *result)
{
    bool redraw = describe->watch && out_is_terminal();
    struct table table = describe->lag ? lag_table(result) : members_table(result);
    size_t members = json_array_size(json_object_get(result, "members"));

    if (redraw) {
        out_text("\033[H\033[J");
        out_flush();
    }
    if (redraw || describe->before.columns == 0) {
        note(describe->cli,
             "group %s: %s, generation %" PRId64 ", %zu member%s",
             value_text(result, "group"),
             value_text(result, "state"),
             value_number(result, "generation"),
             members,
             plural((int64_t)members));
    }
    if (!describe->watch || redraw) {
        table_print(&table);
        describe->before.columns = table.columns;
        return;
    }
    table_print_changes(&table, &describe->before, describe->lag ? 2 : 1);
    table_free(&describe->before);
    describe->before = table;
}

/* One look. A SPATE_ERR_* code, told unless it is that of the look before. */
static int look(struct describe *describe)
{
    struct cli *cli = describe->cli;
    json_t *result = NULL;
    int rv = call_json(cli, "group.describe", json_pack("{ss}", "group", describe->name), &result);

    if (rv != 0) {
        if (rv != describe->failure) {
            (void)tell_failure(cli, rv, describe->name);
            if (rv == SPATE_ERR_NOT_FOUND) {
                tell("`spate group list` lists the groups that there are");
            }
        }
        describe->failure = rv;
        return rv;
    }
    describe->failure = 0;
    if (describe->lag) {
        fill_ends(cli, result);
    }
    if (cli->json) {
        show_json(describe, result);
    } else {
        show(describe, result);
    }
    json_decref(result);
    return 0;
}

static int watch(struct describe *describe)
{
    catch_interrupt();
    for (;;) {
        int rv = look(describe);
        if (rv == SPATE_ERR_NOT_FOUND) {
            return EXIT_NOT_FOUND;
        }
        out_wait(interrupted() ? 0 : LOOK_EVERY_MS); /* a sleep that ^C ends */
        if (interrupted()) {
            return EXIT_INTERRUPTED;
        }
    }
}

int command_group_describe(struct cli *cli, int argc, char **argv)
{
    struct option_parser parser = { 0 };
    struct describe describe = { .cli = cli };
    int option;

    while ((option = next_option(cli, &parser, argc, argv)) != -1) {
        if (option != 'l' && option != 'w') {
            return EXIT_USAGE;
        }
        describe.lag = describe.lag || option == 'l';
        describe.watch = describe.watch || option == 'w';
    }
    if (optind + 1 != argc) {
        return usage_error(cli, "one consumer group is needed");
    }
    describe.name = argv[optind];
    if (describe.watch && (cli->timeout_ms < 0 || cli->timeout_ms > LOOK_TIMEOUT_MS)) {
        cli->timeout_ms = LOOK_TIMEOUT_MS;
    }
    int code = connect_client(cli);
    if (code == 0) {
        code = describe.watch ? watch(&describe) : exit_code_of(look(&describe));
    }
    table_free(&describe.before);
    json_decref(describe.told);
    return code;
}
