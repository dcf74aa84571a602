#include <stdlib.h>
#include <string.h>

#include "cli/produce.h"
#include "cli/when.h"

static int take_header(struct produce *produce, const char *text)
{
    const char *colon = strchr(text, ':');

    if (colon == NULL || colon == text || produce->header_count == HEADERS_MAX) {
        return usage_error(
            produce->cli, "-H %s: a header is name:value, at most %d of them", text, HEADERS_MAX);
    }
    produce->headers[produce->header_count++] = (struct spate_header){
        .name = text,
        .name_size = (size_t)(colon - text),
        .value = colon + 1,
        .value_size = strlen(colon + 1),
    };
    return 0;
}

static int take_format(struct produce *produce, const char *text)
{
    const char *error = NULL;

    if (produce->format_set) {
        format_deinit(&produce->format);
    }
    produce->split = text;
    produce->format_set = format_parse(text, &produce->format, &error) == 0;
    if (produce->format_set) {
        error = format_readable(&produce->format);
    }
    return error == NULL ? 0 : usage_error(produce->cli, "-f %s: %s", text, error);
}

static int take_delimiter(struct produce *produce, const char *text)
{
    free(produce->delimiter);
    produce->delimiter = NULL;
    produce->split = text;
    if (format_unescape(text, &produce->delimiter, &produce->delimiter_size) != 0 ||
        produce->delimiter_size == 0) {
        return usage_error(produce->cli, "-K %s: a delimiter is some text, \\t, or \\xNN", text);
    }
    return 0;
}

static int take_partition(struct produce *produce, const char *text)
{
    int64_t number = 0;

    if (!parse_number(text, 0, INT32_MAX, &number)) {
        return usage_error(produce->cli, "-p %s: a partition is a number from 0", text);
    }
    produce->partition = (int32_t)number;
    return 0;
}

static int take_name(struct produce *produce, const char *text)
{
    size_t size = strlen(text);

    if (size == 0 || size > 249) {
        return usage_error(produce->cli, "-N %s: a name has 1 to 249 bytes", text);
    }
    produce->resume.name = text;
    return 0;
}

static int take_option(struct produce *produce, int option)
{
    switch (option) {
    case 'p':
        return take_partition(produce, optarg);
    case 'k':
        produce->key = optarg;
        return 0;
    case 'K':
        return take_delimiter(produce, optarg);
    case 'H':
        return take_header(produce, optarg);
    case 'z':
        produce->compression = optarg;
        return 0;
    case 'f':
        return take_format(produce, optarg);
    case 'F':
        produce->file = optarg;
        return 0;
    case 'N':
        return take_name(produce, optarg);
    case 'r':
        return parse_rate(optarg, &produce->rate)
                   ? 0
                   : usage_error(
                         produce->cli, "-r %s: records a second, as 5000 or 5000/s", optarg);
    case 'P':
        produce->show_progress = true;
        return 0;
    case 'Z':
        produce->empty_is_nil = true;
        return 0;
    case 'S':
    case 'j':
        produce->stats_path = optarg;
        return 0;
    default:
        produce->tombstone = option_is(produce->cli, option, "tombstone");
        return produce->tombstone ? 0 : EXIT_USAGE;
    }
}

/* What goes together. */
static int check_options(const struct produce *produce)
{
    const struct cli *cli = produce->cli;

    if (produce->format_set && produce->delimiter != NULL) {
        return usage_error(cli, "-f and -K exclude each other");
    }
    if (produce->tombstone && (produce->key == NULL || produce->file != NULL ||
                               produce->format_set || produce->delimiter != NULL)) {
        return usage_error(cli, "--tombstone needs -k KEY and reads no input: no -f, -F, -K");
    }
    if (produce->resume.name != NULL && (produce->tombstone || produce->topic == NULL)) {
        return usage_error(cli, "--name goes with one topic and an input: no --tombstone, no %%t");
    }
    if (produce->compression != NULL && strcmp(produce->compression, "lz4") != 0 &&
        strcmp(produce->compression, "none") != 0) {
        return usage_error(cli, "-z %s: there are lz4 and none", produce->compression);
    }
    return 0;
}

int produce_options(struct produce *produce, int argc, char **argv)
{
    struct option_parser parser = { 0 };
    int option;

    while ((option = next_option(produce->cli, &parser, argc, argv)) != -1) {
        int code = take_option(produce, option);
        if (code != 0) {
            return code;
        }
    }
    bool named = produce->format_set && format_has(&produce->format, 't');
    if (optind + (named ? 0 : 1) != argc) {
        return usage_error(produce->cli,
                           named ? "%%t in -f names the topic of each record: no other is needed"
                                 : "one topic is needed");
    }
    produce->topic = named ? NULL : argv[optind];
    int code = check_options(produce);
    if (code == 0) {
        code = settings_check_producing(produce->cli);
    }
    if (code == 0 && !produce->format_set) {
        const char *split = produce->split;
        code = take_format(produce, "%v\\n");
        produce->split = split != NULL ? split : produce->split;
    }
    return code;
}
