/* Deliveries as JSON lines. */
#include "cli/produce_report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/output.h"

void report_delivery(const struct spate_delivery *delivery)
{
    char number[64];

    out_text("{\"topic\":");
    if (delivery->topic != NULL) {
        out_json_bytes(delivery->topic, strlen(delivery->topic));
    } else {
        out_text("null");
    }
    (void)snprintf(number, sizeof number, ",\"partition\":%d", delivery->partition);
    out_text(number);
    if (delivery->status == 0) {
        (void)snprintf(number, sizeof number, ",\"offset\":%" PRId64 "}\n", delivery->offset);
        out_text(number);
        return;
    }
    out_text(",\"error\":");
    const char *name = spate_error_name(delivery->status);
    out_json_bytes(name, strlen(name));
    out_text(",\"text\":");
    out_json_bytes(delivery->text, strlen(delivery->text));
    out_text("}\n");
}
