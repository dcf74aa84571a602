/* spate log: the files of a node that is stopped, without a node. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/log_files.h"
#include "cli/output.h"
#include "storage/log_verify.h"
#include "wire/batch.h"

/* ---- dump ------------------------------------------------------------------------------------ */

struct dump {
    struct cli *cli;
    bool records; /* what is in batches, too */
    bool markers;
};

static const char *kind_name(enum sp_frame_kind kind)
{
    switch (kind) {
    case SP_FRAME_BATCH:
        return "batch";
    case SP_FRAME_CONFIGURATION:
        return "configuration";
    case SP_FRAME_NOOP:
        return "noop";
    case SP_FRAME_COMMAND:
        return "command";
    case SP_FRAME_MARKER:
        return "marker";
    }
    return "unknown";
}

/* Prints one object: as JSON, or as key=value words. Takes it. */
static void print_object(const struct dump *dump, json_t *object)
{
    const char *key = NULL;
    json_t *value = NULL;
    bool first = true;

    if (dump->cli->json) {
        out_json_line(object);
        return;
    }
    json_object_foreach(object, key, value)
    {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        out_text(first ? "" : " ");
        out_text(first ? json_string_value(value) : key); /* the kind comes first */
        out_text(first ? "" : "=");
        out_text(first || text == NULL ? "" : text);
        first = false;
        free(text);
    }
    out_text("\n");
    json_decref(object);
}

static void print_header(const struct dump *dump, const struct sp_segment_header *header)
{
    print_object(dump,
                 json_pack("{sssIsIsIsIsI}",
                           "kind",
                           "segment",
                           "group",
                           (json_int_t)header->group_id,
                           "base",
                           (json_int_t)header->before.index + 1,
                           "term",
                           (json_int_t)header->before.term,
                           "offset",
                           (json_int_t)header->before.end_offset,
                           "append_time_ms",
                           (json_int_t)header->before.append_time_ms));
}

static void print_records(const struct dump *dump, const uint8_t *batch, size_t size)
{
    struct sp_batch_reader reader;
    struct sp_record_view record;
    bool json = dump->cli->json;

    if (sp_batch_reader_init(&reader, batch, size, SP_BATCH_DECOMPRESSED_BYTES_MAX) != 0) {
        tell("a batch cannot be unpacked");
        return;
    }
    while (sp_batch_reader_next(&reader, &record)) {
        char head[160];
        (void)snprintf(head,
                       sizeof head,
                       json ? "{\"kind\":\"record\",\"offset\":%" PRId64 ",\"timestamp\":%" PRId64
                              ",\"key\":"
                            : "record offset=%" PRId64 " timestamp=%" PRId64 " key=",
                       record.offset,
                       record.timestamp_ms);
        out_text(head);
        out_json_bytes(record.key.bytes, record.key.size);
        out_text(json ? ",\"value\":" : " value=");
        out_json_bytes(record.value.bytes, record.value.size);
        out_text(json ? "}\n" : "\n");
    }
    sp_batch_reader_deinit(&reader);
}

static void print_frame(const struct dump *dump,
                        const struct sp_log_frame *frame,
                        const uint8_t *bytes,
                        uint64_t position)
{
    json_t *object = json_pack("{sssIsIsIsI}",
                               "kind",
                               kind_name(frame->kind),
                               "position",
                               (json_int_t)position,
                               "index",
                               (json_int_t)frame->index,
                               "term",
                               (json_int_t)frame->term,
                               "bytes",
                               (json_int_t)frame->length);
    struct sp_batch_facts facts;

    if (frame->kind != SP_FRAME_MARKER) {
        (void)json_object_set_new(
            object, "append_time_ms", json_integer((json_int_t)frame->append_time_ms));
    }
    if (frame->kind == SP_FRAME_BATCH) {
        sp_batch_facts_read(sp_log_frame_payload(bytes), &facts);
        (void)json_object_set_new(object, "offset", json_integer(facts.base_offset));
        (void)json_object_set_new(object, "records", json_integer(facts.record_count));
        if (frame->compacted) {
            (void)json_object_set_new(object, "offsets", json_integer(facts.offset_count));
        }
        (void)json_object_set_new(object, "max_timestamp", json_integer(facts.max_timestamp_ms));
        (void)json_object_set_new(object, "producer", json_integer(facts.producer_id));
        (void)json_object_set_new(object, "epoch", json_integer(facts.producer_epoch));
        (void)json_object_set_new(object, "sequence", json_integer(facts.base_sequence));
    }
    print_object(dump, object);
    if (frame->kind == SP_FRAME_BATCH && dump->records) {
        print_records(dump, sp_log_frame_payload(bytes), sp_log_frame_batch_size(frame));
    }
}

/* What stands behind the newest segment's frames while its node runs, and after a crash. */
static bool is_room(struct sp_file *file, uint64_t position)
{
    struct sp_marker_search search;

    return sp_segment_find_markers(file, position, 0, 0, &search) == 0 && search.zeros;
}

static int
dump_frames(const struct dump *dump, const char *path, struct sp_file *file, uint64_t size)
{
    struct sp_segment_cursor cursor;
    struct sp_log_frame frame;
    const uint8_t *bytes = NULL;
    uint64_t position = 0;
    int rv = 0;

    sp_segment_cursor_init(&cursor, file, SP_SEGMENT_HEADER_SIZE, size);
    while ((rv = sp_segment_cursor_next(&cursor, &frame, &bytes, &position)) == 0) {
        if (frame.kind != SP_FRAME_MARKER || dump->markers) {
            print_frame(dump, &frame, bytes, position);
        }
    }
    position = cursor.position;
    sp_segment_cursor_deinit(&cursor);
    out_flush();
    if (rv == SPATE_ERR_NOT_FOUND || (rv == SPATE_ERR_CORRUPT && is_room(file, position))) {
        return EXIT_OK;
    }
    tell("%s: no readable frame at byte %" PRIu64 " of %" PRIu64 " (%s)",
         path,
         position,
         size,
         spate_error_name(rv));
    return EXIT_FAILED;
}

static int dump_segment(const struct dump *dump, const char *path)
{
    struct sp_segment_header header;
    struct sp_file *file = NULL;
    uint64_t size = 0;
    int rv = sp_segment_peek(path, &header);

    if (rv == 0) {
        rv = sp_file_open(path, SP_FILE_READ, &file);
    }
    if (rv == 0) {
        rv = sp_file_size(file, &size);
    }
    if (rv != 0) {
        sp_file_close(file);
        tell("%s: %s",
             path,
             rv == SPATE_ERR_CORRUPT     ? "no segment, or its header is damaged"
             : rv == SPATE_ERR_NOT_FOUND ? "there is no such file"
                                         : spate_strerror(rv));
        return exit_code_of(rv);
    }
    print_header(dump, &header);
    int code = dump_frames(dump, path, file, size);
    sp_file_close(file);
    return code;
}

int command_log_dump(struct cli *cli, int argc, char **argv)
{
    struct dump dump = { .cli = cli };
    struct option_parser parser = { 0 };
    int option;
    int code = EXIT_OK;

    while ((option = next_option(cli, &parser, argc, argv)) != -1) {
        if (option == 'r') {
            dump.records = true;
        } else if (option == 'm') {
            dump.markers = true;
        } else {
            return EXIT_USAGE;
        }
    }
    if (optind == argc) {
        return usage_error(cli, "the file of a segment is needed");
    }
    for (int i = optind; i < argc; i++) {
        if (path_is_directory(argv[i])) {
            return usage_error(cli,
                               "%s is a directory: the file of a segment is needed, as %s/*.log "
                               "(spate log verify checks directories)",
                               argv[i],
                               argv[i]);
        }
    }
    for (int i = optind; i < argc; i++) {
        int one = dump_segment(&dump, argv[i]);
        code = one != EXIT_OK ? one : code;
    }
    return code;
}

/* ---- verify, index-rebuild ------------------------------------------------------------------- */

static int take_directory(struct cli *cli, int argc, char **argv, const char **out_directory)
{
    struct option_parser parser = { 0 };

    if (next_option(cli, &parser, argc, argv) != -1) {
        return EXIT_USAGE;
    }
    if (optind + 1 != argc) {
        return usage_error(cli, "one directory is needed: of a log, or data.dir of a node");
    }
    *out_directory = argv[optind];
    return 0;
}

int command_log_verify(struct cli *cli, int argc, char **argv)
{
    const char *directory = NULL;
    int code = take_directory(cli, argc, argv, &directory);

    return code != 0 ? code : log_files_check(cli, directory, false);
}

int command_log_index_rebuild(struct cli *cli, int argc, char **argv)
{
    const char *directory = NULL;
    int code = take_directory(cli, argc, argv, &directory);

    return code != 0 ? code : log_files_check(cli, directory, true);
}
