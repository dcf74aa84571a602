/* What happens in a world, in words. */
#include <stdarg.h>
#include <string.h>

#include "script.h"

static unsigned long ul(uint64_t number)
{
    return (unsigned long)number;
}

static void print_time(struct script *script)
{
    (void)fprintf(script->out, "+%lu ", ul(script->world->now_ms - script->began_ms));
}

void script_say(struct script *script, const char *format, ...)
{
    va_list arguments;

    print_time(script);
    va_start(arguments, format);
    (void)vfprintf(script->out, format, arguments);
    va_end(arguments);
    (void)fprintf(script->out, "\n");
}

/* --- entries and letters --- */

void script_print_configuration(FILE *out, mask configuration)
{
    static const char *const roles[] = { "", "", "s", "-" };
    const char *separator = "(";

    if (configuration == 0) {
        (void)fprintf(out, "(nobody)");
        return;
    }
    for (unsigned i = 0; i < NODES_MAX; i++) {
        unsigned role = mask_role(configuration, i);

        if (role != ROLE_NONE) {
            (void)fprintf(out, "%s%u%s", separator, i + 1, roles[role]);
            separator = " ";
        }
    }
    (void)fprintf(out, ")");
}

void script_print_entries(FILE *out, uint64_t first, const struct entry *entries, uint64_t count)
{
    uint64_t next = 0;

    for (uint64_t i = 0; i < count; i = next) {
        const struct entry *entry = &entries[i];

        next = i + 1;
        while (entry->type == RAFT_COMMAND && next < count && entries[next].type == RAFT_COMMAND &&
               entries[next].term == entry->term) {
            next += 1;
        }
        (void)fprintf(out, "%s%lu^%lu", i > 0 ? ", " : "", ul(first + i), ul(entry->term));
        if (next > i + 1) {
            (void)fprintf(out, "..%lu^%lu", ul(first + next - 1), ul(entry->term));
        } else if (entry->type == RAFT_BARRIER) {
            (void)fprintf(out, " barrier");
        } else if (entry->type == RAFT_CHANGE) {
            (void)fprintf(out, " ");
            script_print_configuration(out, entry->value);
        }
    }
}

static void print_append(FILE *out, const struct letter *letter)
{
    const struct raft_append_entries *append = &letter->message.append_entries;

    (void)fprintf(out,
                  "append term %lu after %lu^%lu",
                  ul(append->term),
                  ul(append->prev_log_index),
                  ul(append->prev_log_term));
    if (append->n_entries > 0) {
        (void)fprintf(out, ": ");
        script_print_entries(out, append->prev_log_index + 1, letter->entries, append->n_entries);
    }
    (void)fprintf(out, ", commit %lu", ul(append->leader_commit));
}

static void print_result(FILE *out, const struct letter *letter)
{
    const struct raft_append_entries_result *result = &letter->message.append_entries_result;

    if (result->rejected != 0) {
        (void)fprintf(out,
                      "rejects term %lu at %lu, try %lu",
                      ul(result->term),
                      ul(result->rejected),
                      ul(result->last_log_index));
        if (letter->stamp.hint_term != 0) {
            (void)fprintf(out, "^%lu", ul(letter->stamp.hint_term));
        }
    } else {
        (void)fprintf(
            out, "stored term %lu up to %lu", ul(result->term), ul(result->last_log_index));
    }
    if (letter->stamp.request_term != result->term) {
        (void)fprintf(out, ", to a request of term %lu", ul(letter->stamp.request_term));
    }
}

static void print_body(FILE *out, const struct letter *letter)
{
    const struct raft_message *message = &letter->message;

    switch (message->type) {
    case RAFT_APPEND_ENTRIES:
        print_append(out, letter);
        break;
    case RAFT_APPEND_ENTRIES_RESULT:
        print_result(out, letter);
        break;
    case RAFT_REQUEST_VOTE:
        (void)fprintf(out,
                      "%s term %lu, log up to %lu^%lu%s",
                      message->request_vote.pre_vote ? "pre-vote?" : "vote?",
                      ul(message->request_vote.term),
                      ul(message->request_vote.last_log_index),
                      ul(message->request_vote.last_log_term),
                      message->request_vote.disrupt_leader ? ", told by the leader" : "");
        break;
    case RAFT_REQUEST_VOTE_RESULT:
        (void)fprintf(out,
                      "%s %s, term %lu",
                      message->request_vote_result.pre_vote ? "pre-vote" : "vote",
                      message->request_vote_result.vote_granted ? "granted" : "denied",
                      ul(message->request_vote_result.term));
        break;
    case RAFT_INSTALL_SNAPSHOT:
        (void)fprintf(out,
                      "install term %lu: snapshot %lu^%lu ",
                      ul(message->install_snapshot.term),
                      ul(message->install_snapshot.last_index),
                      ul(message->install_snapshot.last_term));
        script_print_configuration(out, letter->configuration);
        break;
    case RAFT_TIMEOUT_NOW:
        (void)fprintf(out,
                      "timeout-now term %lu, log up to %lu^%lu",
                      ul(message->timeout_now.term),
                      ul(message->timeout_now.last_log_index),
                      ul(message->timeout_now.last_log_term));
        break;
    }
}

void script_print_letter(FILE *out, const struct letter *letter)
{
    (void)fprintf(out, "%u->%u ", letter->from + 1, letter->to + 1);
    print_body(out, letter);
}

/* A letter that tells its receiver nothing new. */
static bool is_noise(const struct world *world, const struct letter *letter)
{
    const struct node *node = &world->nodes[letter->to];
    const struct raft_append_entries *append = &letter->message.append_entries;
    const struct raft_append_entries_result *result = &letter->message.append_entries_result;
    uint64_t term = node->up ? raft_current_term(&node->guard.raft) : 0;
    raft_index match = 0;

    if (script_kind(letter) == KIND_HEARTBEAT) {
        return !node->up ||
               (append->term == term && node->guard.raft.state == RAFT_FOLLOWER &&
                node->guard.raft.follower_state.current_leader.id == letter->from + 1 &&
                append->leader_commit <= sp_raft_guard_committed(&node->guard) &&
                log_term_at(&node->memory, append->prev_log_index) == append->prev_log_term);
    }
    return script_kind(letter) == KIND_STORED && node->up && result->term == term &&
           letter->stamp.request_term == term &&
           raft_match_index(&node->guard.raft, letter->from + 1, &match) == 0 &&
           result->last_log_index <= match;
}

static unsigned class_of(const struct world *world, const struct letter *letter)
{
    switch (letter->message.type) {
    case RAFT_APPEND_ENTRIES:
    case RAFT_APPEND_ENTRIES_RESULT:
    case RAFT_INSTALL_SNAPSHOT:
        return is_noise(world, letter) ? SHOW_HEARTBEAT : SHOW_APPEND;
    case RAFT_REQUEST_VOTE:
    case RAFT_REQUEST_VOTE_RESULT:
    case RAFT_TIMEOUT_NOW:
        break;
    }
    return SHOW_VOTE;
}

void script_say_letter(struct script *script, const char *prefix, const struct letter *letter)
{
    if ((script->shown & class_of(script->world, letter)) == 0) {
        return;
    }
    print_time(script);
    (void)fprintf(script->out, "%s", prefix);
    script_print_letter(script->out, letter);
    (void)fprintf(script->out, "\n");
}

/* A letter that is sent in vain again and again is shown once in a block. */
static void say_lost(struct script *script, const struct letter *letter)
{
    char *last = script->lost[letter->from][letter->to];
    char text[sizeof script->lost[0][0]] = "";
    FILE *out = fmemopen(text, sizeof text, "w");

    script_print_letter(out, letter);
    (void)fclose(out);
    if ((script->shown & SHOW_LOST) != 0 && script_kind(letter) != KIND_HEARTBEAT &&
        strcmp(text, last) != 0) {
        script_say_letter(script, "lost: ", letter);
        memcpy(last, text, sizeof text);
    }
}

/* --- nodes --- */

static void take_view(const struct node *node, struct view *out)
{
    const struct raft *raft = &node->guard.raft;

    out->state = raft->state;
    out->pre_vote = raft->state == RAFT_CANDIDATE && raft->candidate_state.in_pre_vote;
    out->term = raft->current_term;
    out->leader = raft->state == RAFT_FOLLOWER ? raft->follower_state.current_leader.id : 0;
    out->committed = sp_raft_guard_committed(&node->guard);
    out->configuration = node_configuration(node);
}

void script_view(struct script *script, const struct node *node)
{
    take_view(node, &script->views[node->number]);
}

static void say_role(struct script *script, unsigned id, const struct view *now)
{
    unsigned long term = ul(now->term);

    if (now->state == RAFT_LEADER) {
        script_say(script, "%u leads term %lu", id, term);
    } else if (now->pre_vote) {
        script_say(script, "%u asks whether it would win term %lu", id, term + 1);
    } else if (now->state == RAFT_CANDIDATE) {
        script_say(script, "%u is a candidate in term %lu", id, term);
    } else if (now->leader != 0) {
        script_say(script, "%u follows %lu in term %lu", id, ul(now->leader), term);
    } else {
        script_say(script, "%u follows nobody in term %lu", id, term);
    }
}

static void say_role_news(struct script *script, const struct node *node)
{
    struct view *seen = &script->views[node->number];
    struct view now;

    take_view(node, &now);
    if ((script->shown & (now.state == RAFT_LEADER ? SHOW_LEADS : SHOW_ROLE)) != 0 &&
        (now.state != seen->state || now.term != seen->term || now.leader != seen->leader ||
         now.pre_vote != seen->pre_vote)) {
        say_role(script, node->number + 1, &now);
    }
    seen->state = now.state;
    seen->pre_vote = now.pre_vote;
    seen->term = now.term;
    seen->leader = now.leader;
}

/* What is new of a node since it was last looked at. */
static void say_news(struct script *script, const struct node *node)
{
    struct view *seen = &script->views[node->number];
    struct view now;
    unsigned id = node->number + 1;

    say_role_news(script, node);
    take_view(node, &now);
    if ((script->shown & SHOW_LOG) != 0 && now.configuration != seen->configuration) {
        print_time(script);
        (void)fprintf(script->out, "%u counts ", id);
        script_print_configuration(script->out, now.configuration);
        (void)fprintf(script->out, "\n");
    }
    if ((script->shown & SHOW_COMMIT) != 0 && now.committed > seen->committed) {
        script_say(script, "%u commits up to %lu", id, ul(now.committed));
    }
    *seen = now;
}

static void say_queued(struct script *script, const struct node *node, const struct op *op)
{
    bool truncates = op->kind == OP_WRITE && op->index <= node->memory.last;
    bool leads = node->guard.raft.state == RAFT_LEADER;
    unsigned id = node->number + 1;

    if (op->kind == OP_INSTALL && (script->shown & SHOW_LOG) != 0) {
        script_say(script,
                   "%u begins to install %lu^%lu",
                   id,
                   ul(op->snapshot.index),
                   ul(op->snapshot.term));
    }
    if (truncates && (script->shown & SHOW_LOG) != 0) {
        script_say(script, "%u drops %lu..%lu", id, ul(op->index), ul(node->memory.last));
    }
    if (op->kind == OP_WRITE && (script->shown & (leads ? SHOW_LOG : SHOW_DISK)) != 0) {
        print_time(script);
        (void)fprintf(script->out, "%u appends ", id);
        script_print_entries(script->out, op->index, op->entries, op->count);
        (void)fprintf(script->out, "\n");
    }
}

void script_print_op(FILE *out, const struct op *op)
{
    switch (op->kind) {
    case OP_META:
        (void)fprintf(out, "term %lu, vote for %lu", ul(op->term), ul(op->vote));
        break;
    case OP_WRITE:
        script_print_entries(out, op->index, op->entries, op->count);
        break;
    case OP_INSTALL:
        (void)fprintf(out, "snapshot %lu^%lu", ul(op->snapshot.index), ul(op->snapshot.term));
        break;
    case OP_FLOOR:
        (void)fprintf(out, "log start %lu", ul(op->start));
        break;
    }
}

static void say_durable(struct script *script, const struct node *node, const struct op *op)
{
    if ((script->shown & (op->kind == OP_INSTALL ? SHOW_LOG : SHOW_DISK)) == 0) {
        return;
    }
    print_time(script);
    (void)fprintf(script->out, "%u has on disk: ", node->number + 1);
    script_print_op(script->out, op);
    (void)fprintf(script->out, "\n");
}

/* A node that was asleep is woken by anything that arrives. */
static void wake(struct script *script, struct node *node)
{
    if (node->asleep) {
        node->asleep = false;
        sp_raft_guard_rearm(&node->guard, script->world->now_ms);
        script_say(script, "%u wakes", node->number + 1);
    }
}

void script_observe(void *arg, enum observed observed, const struct node *node, const void *what)
{
    struct script *script = arg;
    const struct letter *letter = what;

    if (node->up && node->guard.started) {
        say_role_news(script, node);
    }
    switch (observed) {
    case OBSERVED_GATED:
        script_say_letter(script, "waits for the disk: ", letter);
        break;
    case OBSERVED_LOST:
        say_lost(script, letter);
        break;
    case OBSERVED_ARRIVED:
        wake(script, &script->world->nodes[letter->to]);
        script->counts[letter->from][letter->to][script_kind(letter)] += 1;
        script_say_letter(script, "", letter);
        break;
    case OBSERVED_QUEUED:
        say_queued(script, node, what);
        break;
    case OBSERVED_DURABLE:
        say_durable(script, node, what);
        break;
    case OBSERVED_SETTLED:
        say_news(script, node);
        break;
    }
}
