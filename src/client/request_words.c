/* What to say of a request that comes to nothing: the last word of a server, else why none was
 * reached. */
#include <stdio.h>
#include <string.h>

#include "client/request.h"

enum {
    REFUSAL_MS = 20, /* in less a server may not even have refused */
};

/* ---- what is remembered ---------------------------------------------------------------------- */

static bool is_of_name(enum sp_stream_trouble trouble)
{
    return trouble == SP_STREAM_NAME_UNKNOWN || trouble == SP_STREAM_NAME_UNANSWERED;
}

void sp_request_note_trouble(struct sp_request *request,
                             enum sp_stream_trouble trouble,
                             const char *text)
{
    bool other = strcmp(request->troubled, request->asked) != 0;

    if (is_of_name(request->trouble) && !is_of_name(trouble) && other) {
        return;
    }
    if (request->trouble_named && request->answered && !request->named) {
        return;
    }
    request->trouble_named = request->named;
    request->trouble = trouble;
    (void)snprintf(request->trouble_text, sizeof request->trouble_text, "%s", text);
    memcpy(request->troubled, request->asked, sizeof request->troubled);
}

bool sp_request_status_lost(int status)
{
    return status == SPATE_ERR_CLOSED || status == SPATE_ERR_TIMEOUT ||
           status == SPATE_ERR_UNREACHABLE;
}

void sp_request_note_word(struct sp_request *request, int status, const char *text)
{
    uint32_t count = request->address != NULL ? 1 : request->client->server_count;

    if (sp_request_status_lost(status) && request->answered &&
        (request->named || request->turns - request->answered_at < count)) {
        return;
    }
    request->answered = !sp_request_status_lost(status);
    request->answered_at = request->turns;
    request->status = status;
    (void)snprintf(request->text, sizeof request->text, "%s", text);
}

/* ---- what is told ---------------------------------------------------------------------------- */

void sp_request_tell_unreached(const struct sp_request *request,
                               const char *servers,
                               char out_text[SP_CLIENT_ERROR_SIZE])
{
    enum sp_stream_trouble trouble = request->trouble;
    bool other = !is_of_name(trouble) && strcmp(servers, request->troubled) != 0;
    char why[sizeof request->troubled + sizeof request->trouble_text + 8] = "";

    if (trouble != SP_STREAM_TROUBLE_NONE) {
        (void)snprintf(why,
                       sizeof why,
                       " (%s%s%s)",
                       other ? request->troubled : "",
                       other ? ": " : "",
                       request->trouble_text);
    }
    (void)snprintf(out_text,
                   SP_CLIENT_ERROR_SIZE,
                   "no server could be reached at %.150s%.320s: %s",
                   servers,
                   why,
                   trouble == SP_STREAM_NAME_UNKNOWN      ? "check the list of servers"
                   : trouble == SP_STREAM_NAME_UNANSWERED ? "does the name server answer?"
                                                          : "is spated running there, and is the "
                                                            "address right?");
}

/* No server could have been reached in what was given, as far as anybody knows. */
static bool was_too_short(const struct sp_request *request)
{
    bool refused = request->status != 0 && request->status != SPATE_ERR_TIMEOUT;

    return !request->reached &&
           request->deadline_ms <
               request->started_ms + (refused ? REFUSAL_MS : SP_REQUEST_PATIENCE_MS);
}

/* A server's word, without the address of the leader in front of it. */
static const char *words_of(const struct sp_request *request)
{
    char address[SP_ADDRESS_SIZE_MAX];

    if (request->status != SPATE_ERR_NOT_LEADER || !sp_client_leader_hint(request->text, address)) {
        return request->text;
    }
    const char *behind = strstr(request->text, address);
    behind = behind == NULL ? "" : behind + strlen(address);
    behind += behind[0] == ' ' ? 1 : 0;
    return behind[0] == '\0' ? request->text : behind;
}

/* A server has spoken, and named what may pass and did not: that is the reason, whatever became of
 * attempts at other servers since. */
static int tell_answered(const struct sp_request *request,
                         const char *where,
                         char out_text[SP_CLIENT_ERROR_SIZE])
{
    bool led = request->status == SPATE_ERR_NOT_LEADER; /* by a node that did not answer */
    bool other = led && request->trouble != SP_STREAM_TROUBLE_NONE;
    int status = led ? SPATE_ERR_LEADER_UNKNOWN : request->status;

    (void)snprintf(
        out_text,
        SP_CLIENT_ERROR_SIZE,
        "%s was refused by the servers at %.150s until the deadline: %.200s%s%.60s%s%.60s",
        request->method,
        where,
        words_of(request),
        other ? "; " : "",
        other ? request->troubled : "",
        other ? ": " : "",
        other ? request->trouble_text : "");
    return request->uncertain ? SPATE_ERR_TIMEOUT : status;
}

int sp_request_tell_given_up(const struct sp_request *request, char out_text[SP_CLIENT_ERROR_SIZE])
{
    const struct spate_client *client = request->client;
    const char *where = request->address != NULL ? request->address : client->config.servers;

    if (client->server_count == 0) {
        (void)snprintf(
            out_text, SP_CLIENT_ERROR_SIZE, "no servers: SPATE_SERVERS is not a list of host:port");
        return SPATE_ERR_INVALID;
    }
    if (request->asked[0] == '\0' || was_too_short(request)) {
        (void)snprintf(out_text, SP_CLIENT_ERROR_SIZE, "no time was left to ask a server");
        return SPATE_ERR_TIMEOUT;
    }
    if (!request->reached) {
        sp_request_tell_unreached(request, where, out_text);
        return SPATE_ERR_UNREACHABLE;
    }
    if (request->answered) {
        return tell_answered(request, where, out_text);
    }
    bool refused = sp_client_status_moves(request->status) && !request->uncertain;
    (void)snprintf(
        out_text,
        SP_CLIENT_ERROR_SIZE,
        "no server at %.150s answered %s within the deadline: is that the client port of a "
        "spated?%s%.200s",
        where,
        request->method,
        request->text[0] == '\0' ? "" : " The last word was: ",
        request->text);
    return refused ? request->status : SPATE_ERR_TIMEOUT;
}
