#include "cli/consume_member.h"

#include <stdio.h>
#include <string.h>

#include "cli/output.h"
#include "io/clock.h"

enum {
    COMMIT_US = 1000000,
    LAST_COMMIT_MS = 5000,
    COMMIT_SLICE_MS = 100, /* so soon a second ^C is seen */
    LEAVE_MS = 1000,
    HEAR_MS = 1, /* for what is known already */
};

int member_configure(struct consume_member *member, const char *from)
{
    bool start = from == NULL || strcmp(from, "start") == 0 || strcmp(from, "beginning") == 0;

    if (!start && strcmp(from, "end") != 0) {
        return usage_error(member->cli,
                           "-o %s: with -g start or end, for a group without committed offsets; "
                           "spate group seek moves those of a group",
                           from);
    }
    configure(member->cli, "group.id", member->group);
    configure(member->cli, "commit.interval.ms", "0"); /* only what has left this program */
    member->cli->threaded =
        true; /* the group hears of a member whose output waits for its reader */
    if (from != NULL) {
        configure(member->cli, "offset.reset", start ? "start" : "end");
    }
    return 0;
}

/* Commits all that was printed. */
static int commit(struct consume_member *member, int timeout_ms)
{
    out_flush();
    return member->read_only ? 0 : spate_consumer_commit(member->consumer, NULL, timeout_ms);
}

/* The same at the end of something: not for long, and not at all for who has pressed ^C twice. */
static int commit_last(struct consume_member *member)
{
    uint64_t end_us = sp_clock_us() + LAST_COMMIT_MS * UINT64_C(1000);
    int rv;

    do {
        rv = commit(member, COMMIT_SLICE_MS);
    } while (rv == SPATE_ERR_TIMEOUT && !interrupted_again() && sp_clock_us() < end_us);
    return rv;
}

/* At the end. An outcome that is not known yet may be heard in the next wait. */
static void end_commits(struct consume_member *member)
{
    member->outcome = commit_last(member);
    (void)snprintf(
        member->text, sizeof member->text, "%s", spate_client_error(member->cli->client));
}

/* What became of a commit before partitions go; what is heard later may be of a newer one. */
static void hear_last(struct consume_member *member, int rv)
{
    bool known = !member->unheard && rv != SPATE_ERR_CLOSED;

    member->unheard = rv == SPATE_ERR_TIMEOUT;
    if (rv != 0 && !member->unheard) {
        note(member->cli,
             "what was printed last before a partition went to another member %s: %s: %s",
             known ? "was not committed, that one reads it again"
                   : "may not be committed, that one may read it again",
             spate_error_name(rv),
             spate_client_error(member->cli->client));
    }
}

static void tell_skipped(const struct spate_partition *place, const char *text)
{
    tell("%s/%d: %s: goes on at offset %lld",
         place->topic,
         place->partition,
         text,
         (long long)place->offset);
}

static void on_skipped(void *arg, const struct spate_consumer_event *event)
{
    (void)arg;
    for (size_t i = 0; i < event->count && event->kind == SPATE_CONSUMER_SKIPPED; i++) {
        tell_skipped(&event->partitions[i], event->text);
    }
}

int consumer_of_its_own(struct spate_client *client, struct spate_consumer **out_consumer)
{
    int rv = spate_consumer_new(client, out_consumer);

    return rv == 0 ? spate_consumer_on_event(*out_consumer, on_skipped, NULL) : rv;
}

static void on_event(void *arg, const struct spate_consumer_event *event)
{
    static const char *const names[] = { [SPATE_CONSUMER_ASSIGNED] = "assigned",
                                         [SPATE_CONSUMER_REVOKED] = "revoked",
                                         [SPATE_CONSUMER_LOST] = "lost" };
    struct consume_member *member = arg;

    member->in_event = true;
    if (event->kind == SPATE_CONSUMER_STALLED && event->count == 0) {
        tell("%s", event->text);
    }
    for (size_t i = 0; i < event->count; i++) {
        const struct spate_partition *place = &event->partitions[i];
        if (event->kind == SPATE_CONSUMER_SKIPPED) {
            tell_skipped(place, event->text);
        } else if (event->kind == SPATE_CONSUMER_STALLED) {
            tell("%s/%d is stalled: %s", place->topic, place->partition, event->text);
        } else if (member->cli->verbose) {
            tell("%s %s/%d", names[event->kind], place->topic, place->partition);
        }
    }
    member->assigned = member->assigned || event->kind == SPATE_CONSUMER_ASSIGNED;
    if (event->kind == SPATE_CONSUMER_REVOKED && !member->ending) {
        hear_last(member, commit_last(member)); /* else the next owner reads a little twice */
    } else if (event->kind == SPATE_CONSUMER_REVOKED && member->outcome == SPATE_ERR_TIMEOUT) {
        end_commits(member);
    }
    member->in_event = false;
}

/* Nobody knows how much of the output was read, so the next owner gets it again, and at once. */
static void on_reader_gone(void *arg)
{
    struct consume_member *member = arg;

    if (!member->in_event && spate_consumer_on_event(member->consumer, NULL, NULL) == 0) {
        (void)spate_consumer_close(member->consumer, LEAVE_MS);
    }
}

/* Fails when no server says anything: a member that has begun would wait for one without end. */
static int look_for_topics(const struct consume_member *member, const struct topic_list *topics)
{
    for (size_t i = 0; i < topics->count; i++) {
        uint32_t count = 0;
        int rv = spate_topic_partitions(member->cli->client, topics->names[i], &count);
        if (rv == SPATE_ERR_UNREACHABLE || rv == SPATE_ERR_TIMEOUT) {
            return tell_failure(member->cli, rv, NULL);
        }
        if (rv == SPATE_ERR_UNKNOWN_TOPIC) {
            note(member->cli, "there is no topic %s yet: waiting for it", topics->names[i]);
        }
    }
    return 0;
}

int member_begin(struct consume_member *member,
                 struct spate_consumer *consumer,
                 const struct topic_list *topics)
{
    member->consumer = consumer;
    member->due_us = sp_clock_us() + COMMIT_US;
    int code = look_for_topics(member, topics);
    if (code != 0) {
        return code;
    }
    int rv = spate_consumer_on_event(consumer, on_event, member);
    if (rv == 0) {
        rv = spate_consumer_subscribe(consumer, (const char *const *)topics->names, topics->count);
    }
    if (rv == 0) {
        out_on_reader_gone(on_reader_gone, member);
        bear_interrupts(2); /* a second one is to end this quickly, not without leaving */
    }
    return rv == 0 ? 0 : tell_failure(member->cli, rv, NULL);
}

void member_tick(struct consume_member *member)
{
    uint64_t now_us = sp_clock_us();

    if (now_us >= member->due_us) {
        member->due_us = now_us + COMMIT_US;
        if (member->unheard) { /* else its outcome would be told as that of a later commit */
            hear_last(member, commit(member, HEAR_MS));
        } else {
            (void)commit(member, 0); /* what fails is wanted again with the next one */
        }
    }
}

bool member_at_end(const struct consume_member *member)
{
    return member->assigned && spate_consumer_at_end(member->consumer) == 1;
}

/* The failure with more words where its own would be those for a program. */
static int
tell_with(const struct consume_member *member, int code, const char *what, const char *text)
{
    char instance[256] = "";
    char words[400];

    if (member->group == NULL || code != SPATE_ERR_GROUP_FENCED ||
        spate_config_get(member->cli->config, "group.instance", instance, sizeof instance) != 0 ||
        instance[0] == '\0') {
        return tell_failure_text(member->cli, code, what, text);
    }
    (void)snprintf(words,
                   sizeof words,
                   "another process runs as group.instance=%s, and has the place: each needs a "
                   "name of its own",
                   instance);
    return tell_failure_text(member->cli, code, what, words);
}

int member_tell_failure(const struct consume_member *member, int code, const char *what)
{
    return tell_with(member, code, what, spate_client_error(member->cli->client));
}

/* The exit code of the commits at the end, told. */
static int tell_end(const struct consume_member *member)
{
    bool unknown = member->outcome == SPATE_ERR_TIMEOUT || member->outcome == SPATE_ERR_CLOSED;

    return tell_with(member,
                     member->outcome,
                     unknown ? "whether the last records were committed is not known"
                             : "the last records were not committed",
                     member->text);
}

int member_end(struct consume_member *member)
{
    end_commits(member);
    member->ending = true;
    out_on_reader_gone(NULL, NULL);
    bool hurry = interrupted_again();
    bear_interrupts(hurry ? 2 : 1); /* one more does not wait for the coordinator */
    int left = spate_consumer_close(member->consumer, hurry ? LEAVE_MS : LAST_COMMIT_MS);

    if (left == 0 && member->outcome == SPATE_ERR_TIMEOUT) {
        return 0; /* it has waited for the commit, too */
    }
    if (member->outcome != 0) {
        return tell_end(member);
    }
    return left == 0 ? 0 : tell_failure(member->cli, left, "the group was not left");
}
