/* Letters in the hands of the script: held back, delivered when it says so, and counted. */
#include <stdlib.h>
#include <string.h>

#include "script.h"
#include "spate/error.h"

const char *const script_kind_names[] = { "append", "heartbeat", "stored",  "reject", "vote",
                                          "answer", "install",   "timeout", NULL };

enum kind script_kind(const struct letter *letter)
{
    const struct raft_message *message = &letter->message;

    switch (message->type) {
    case RAFT_APPEND_ENTRIES:
        return message->append_entries.n_entries > 0 ? KIND_APPEND : KIND_HEARTBEAT;
    case RAFT_APPEND_ENTRIES_RESULT:
        return message->append_entries_result.rejected != 0 ? KIND_REJECT : KIND_STORED;
    case RAFT_REQUEST_VOTE:
        return KIND_VOTE;
    case RAFT_REQUEST_VOTE_RESULT:
        return KIND_VOTE_RESULT;
    case RAFT_INSTALL_SNAPSHOT:
        return KIND_INSTALL;
    case RAFT_TIMEOUT_NOW:
        return KIND_TIMEOUT_NOW;
    }
    return KIND_ANY;
}

static bool selects(const struct selection *selection, const struct letter *letter)
{
    return (selection->from == NODES_MAX || selection->from == letter->from) &&
           (selection->to == NODES_MAX || selection->to == letter->to) &&
           (selection->kind == KIND_ANY || selection->kind == script_kind(letter));
}

static void append_held(struct script *script, struct letter *letter)
{
    struct letter **end = &script->held;

    while (*end != NULL) {
        end = &(*end)->next;
    }
    letter->next = NULL;
    *end = letter;
}

bool script_filter(const struct letter *letter, void *arg)
{
    struct script *script = arg;

    if (!script->holds[letter->from][letter->to][script_kind(letter)]) {
        return true;
    }
    append_held(script, net_copy(letter));
    script_say_letter(script, "held: ", letter);
    return false;
}

static void set_hold(struct script *script, const struct selection *selection, bool hold)
{
    for (unsigned from = 0; from < NODES_MAX; from++) {
        for (unsigned to = 0; to < NODES_MAX; to++) {
            for (unsigned kind = 0; kind < KIND_ANY; kind++) {
                if ((selection->from == NODES_MAX || selection->from == from) &&
                    (selection->to == NODES_MAX || selection->to == to) &&
                    (selection->kind == KIND_ANY || (unsigned)selection->kind == kind)) {
                    script->holds[from][to][kind] = hold;
                }
            }
        }
    }
}

void script_hold(struct words *words)
{
    struct selection selection;

    words_selection(words, &selection);
    set_hold(words->script, &selection, true);
}

/* Takes the oldest held letter that is meant, or NULL. */
static struct letter *take_held(struct script *script, const struct selection *selection)
{
    struct letter **at = &script->held;

    while (*at != NULL && !selects(selection, *at)) {
        at = &(*at)->next;
    }
    struct letter *letter = *at;
    if (letter != NULL) {
        *at = letter->next;
        letter->next = NULL;
    }
    return letter;
}

/* Hands one letter over now, whatever the network would do with it. */
static void hand_over(struct script *script, const struct letter *letter)
{
    struct world *world = script->world;
    struct node *node = &world->nodes[letter->to];

    if (!node->up || world_failed(world)) {
        script_say_letter(script, "lost: ", letter);
        return;
    }
    world_observe(node, OBSERVED_ARRIVED, letter);
    int rv = node_receive(node, letter->from, letter);
    if (rv != 0 && !world_failed(world)) {
        script_say(script, "%u refuses it: %s", node->number + 1, spate_error_name(rv));
    }
}

/* Takes `count` letters (0 = all) for `use`; complains when there are fewer. */
static void each_held(struct words *words, void (*use)(struct script *, struct letter *))
{
    struct script *script = words->script;
    struct selection selection;
    struct letter *letter = NULL;
    uint64_t done = 0;

    words_selection(words, &selection);
    uint64_t count = words_take_if(words, "all") ? 0 : words_number_or(words, 1);
    while ((count == 0 || done < count) && (letter = take_held(script, &selection)) != NULL) {
        use(script, letter);
        done += 1;
    }
    if (done == 0 || done < count) {
        words_refuse(words, "no such letter is held");
    }
}

static void use_deliver(struct script *script, struct letter *letter)
{
    hand_over(script, letter);
    net_free(letter);
}

void script_deliver(struct words *words)
{
    each_held(words, use_deliver);
}

static void use_copy(struct script *script, struct letter *letter)
{
    hand_over(script, letter);
    append_held(script, letter);
}

void script_copy(struct words *words)
{
    each_held(words, use_copy);
}

static void use_drop(struct script *script, struct letter *letter)
{
    script_say_letter(script, "dropped: ", letter);
    net_free(letter);
}

void script_drop(struct words *words)
{
    each_held(words, use_drop);
}

/* Ends holding; what is held stays so. */
void script_open(struct words *words)
{
    struct selection selection;

    words_selection(words, &selection);
    set_hold(words->script, &selection, false);
}

/* Ends holding; what is held goes on its way. */
void script_release(struct words *words)
{
    struct script *script = words->script;
    struct selection selection;
    struct letter *letter = NULL;

    words_selection(words, &selection);
    set_hold(script, &selection, false);
    while ((letter = take_held(script, &selection)) != NULL) {
        net_deliver(script->world, letter, script->world->net_ms);
    }
}

/* How many letters have arrived since the last count. */
void script_count(struct words *words)
{
    struct script *script = words->script;

    for (unsigned from = 0; from < NODES_MAX; from++) {
        for (unsigned to = 0; to < NODES_MAX; to++) {
            const char *separator = ": ";
            unsigned *counts = script->counts[from][to];

            for (unsigned kind = 0; kind < KIND_ANY; kind++) {
                if (counts[kind] == 0) {
                    continue;
                }
                if (separator[0] == ':') {
                    (void)fprintf(script->out, "%u->%u", from + 1, to + 1);
                }
                (void)fprintf(
                    script->out, "%s%u %s", separator, counts[kind], script_kind_names[kind]);
                separator = ", ";
            }
            if (separator[0] == ',') {
                (void)fprintf(script->out, "\n");
            }
        }
    }
    memset(script->counts, 0, sizeof script->counts);
}
