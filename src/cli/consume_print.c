/* Records on standard output. */
#include "cli/consume_print.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/output.h"

static void print_value(const struct spate_message *message, bool meta_only)
{
    char number[48];

    if (!meta_only) {
        out_text(",\"value\":");
        out_json_bytes(message->value, message->value_size);
        return;
    }
    if (message->value == NULL) {
        out_text(",\"value_size\":null");
        return;
    }
    (void)snprintf(number, sizeof number, ",\"value_size\":%zu", message->value_size);
    out_text(number);
}

static void print_json(const struct spate_message *message, bool meta_only)
{
    char numbers[160];

    out_text("{\"topic\":");
    out_json_bytes(message->topic, strlen(message->topic));
    (void)snprintf(numbers,
                   sizeof numbers,
                   ",\"partition\":%d,\"offset\":%" PRId64 ",\"timestamp\":%" PRId64 ",\"key\":",
                   message->partition,
                   message->offset,
                   message->timestamp_ms);
    out_text(numbers);
    out_json_bytes(message->key, message->key_size);
    print_value(message, meta_only);
    out_text(",\"headers\":[");
    for (size_t i = 0; i < message->header_count; i++) {
        out_text(i == 0 ? "[" : ",[");
        out_json_bytes(message->headers[i].name, message->headers[i].name_size);
        out_text(",");
        out_json_bytes(message->headers[i].value, message->headers[i].value_size);
        out_text("]");
    }
    out_text("]}\n");
}

void consume_print(struct consume_printer *printer, const struct spate_message *message)
{
    printer->number += 1;
    if (printer->json) {
        print_json(message, printer->meta_only);
    } else {
        format_print(&printer->format, message, printer->number, out_write);
    }
}
