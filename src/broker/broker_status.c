/* What a node says of itself to those who watch it: is it ready, and why not. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/attr.h"
#include "broker/health.h"
#include "broker/methods.h"

/* One reason more; what does not fit is cut. */
static void SP_PRINTF(3, 4) say(char *text, size_t text_size, const char *format, ...)
{
    size_t used = strlen(text);
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text + used, text_size - used, format, arguments);
    va_end(arguments);
}

bool sp_health_is_ready(const struct sp_health *health, char *text, size_t text_size)
{
    text[0] = '\0';
    if (!health->confirmed) {
        say(text, text_size, "this node has not caught up with a controller since its start\n");
    } else if (!health->controller) {
        say(text, text_size, "no controller is known\n");
    }
    if (health->opening > 0) {
        say(text, text_size, "replicas that are opening: %u\n", health->opening);
    }
    if (health->behind > 0) {
        say(text, text_size, "replicas that lack committed records: %u\n", health->behind);
    }
    return text[0] == '\0';
}

void sp_broker_pack_status(const struct sp_broker *broker, struct sp_pack *pack)
{
    uint32_t controller = sp_controller_leader(broker->options.controller);
    char cluster_id[33];
    struct sp_health health;
    char text[512];
    bool ready;

    sp_health_look(broker, &health);
    ready = sp_health_is_ready(&health, text, sizeof text);
    sp_broker_cluster_id(broker, cluster_id);
    sp_pack_map(pack, 7);
    sp_pack_text(pack, "node_id");
    sp_pack_uint(pack, broker->options.node_id);
    sp_pack_text(pack, "version");
    sp_pack_text(pack, SPATE_VERSION);
    sp_pack_text(pack, "cluster_id");
    sp_pack_text(pack, cluster_id[0] == '\0' ? NULL : cluster_id);
    sp_pack_text(pack, "controller");
    sp_pack_int(pack, controller == 0 ? -1 : (int64_t)controller);
    sp_pack_text(pack, "ready");
    sp_pack_bool(pack, ready);
    sp_pack_text(pack, "waits_for");
    sp_pack_text(pack, text);
    sp_pack_text(pack, "health");
    sp_health_pack(broker, pack);
}
