/* What time does to a consumer group: members that are silent, partitions that are not given up,
 * groups that nobody uses. All of it by commands that the leader proposes; a member that was missed
 * for want of one is found again by the next scan. */
#include <string.h>

#include "base/mem.h"
#include "base/trace.h"
#include "broker/coordinator_parts.h"
#include "broker/methods.h"
#include "spate/error.h"

#define ASSIGN_RETRY_MS 200           /* after an assignment that could not be made */
#define RETENTION_SCAN_MS (60 * 1000) /* how often groups are asked whether they are still used */
#define TRACES_PER_SECOND 10

static uint64_t now_ms(const struct sp_coordinator *coordinator)
{
    return sp_loop_now_ms(coordinator->broker->options.loop);
}

static bool may_trace(const struct sp_coordinator *coordinator)
{
    return sp_trace_allowed(
        &coordinator->broker->trace_limit, now_ms(coordinator), TRACES_PER_SECOND, NULL);
}

/* ---- commands that nobody asked for ---------------------------------------------------------- */

struct own {
    struct sp_coordinator_job job;
    char member[SP_CONSUMER_MEMBER_ID_SIZE_MAX + 1]; /* learns of it at once; "": nobody does */
};

static void on_own_done(struct sp_coordinator_job *job, int status)
{
    struct own *own = SP_CONTAINER_OF(job, struct own, job);
    struct sp_consumer_group *group =
        sp_consumer_groups_find(job->coordinator->groups, sp_bytes_text(job->group));
    struct sp_consumer_member *member =
        group == NULL ? NULL : sp_consumer_group_member(group, sp_bytes_text(own->member));

    (void)status; /* what did not come to be is found again by the next scan */
    if (member != NULL) {
        member->unseen = true; /* the group is looked at after this */
    }
    sp_mem_free(own);
}

/* `told` may be NULL. NULL: out of memory. */
static struct own *own_new(const struct sp_consumer_member *told)
{
    struct own *own = sp_mem_calloc(1, sizeof *own);

    if (own == NULL) {
        return NULL;
    }
    own->job.done = on_own_done;
    own->job.changes_members = true;
    if (told != NULL) {
        memcpy(own->member, told->id, sizeof own->member);
    }
    return own;
}

/* Submits it (taken, and may be NULL) with the command (freed; `rv` is its encoder's). */
static void submit_own(struct sp_coordinator *coordinator,
                       const struct sp_consumer_group *group,
                       struct own *own,
                       int rv,
                       struct sp_buf *command)
{
    if (own == NULL) {
        sp_buf_deinit(command);
        return;
    }
    if (sp_coordinator_submit(coordinator, &own->job, group->name, rv, command) != 0) {
        sp_mem_free(own);
    }
}

/* ---- members --------------------------------------------------------------------------------- */

static void expire(struct sp_coordinator *coordinator,
                   const struct sp_consumer_group *group,
                   struct sp_consumer_member *member)
{
    struct sp_buf command;
    int rv;

    SP_TRACE_INFO("groups",
                  "member expired, no heartbeat within its session_ms",
                  "group=%s member=%s client=%s",
                  group->name,
                  member->id,
                  member->client);
    member->heard_ms = now_ms(coordinator); /* tried again after as long if this comes to nothing */
    sp_buf_init(&command, SP_CONSUMER_COMMAND_BYTES_MAX);
    rv = sp_consumer_command_leave(sp_bytes_text(group->name), sp_bytes_text(member->id), &command);
    submit_own(coordinator, group, own_new(NULL), rv, &command);
}

/* ---- revoked partitions ---------------------------------------------------------------------- */

static bool is_revoked(const struct sp_consumer_share *share)
{
    return share->owner != share->target;
}

void sp_coordinator_note(const struct sp_coordinator *coordinator, struct sp_consumer_group *group)
{
    group->revoke_due_ms = 0;
    for (unsigned i = 0; i < group->share_count; i++) {
        struct sp_consumer_share *share = &group->shares[i];
        if (!is_revoked(share)) {
            share->revoke_ms = 0;
            continue;
        }
        share->revoke_ms = share->revoke_ms == 0 ? now_ms(coordinator) : share->revoke_ms;
        uint64_t due_ms = share->revoke_ms + share->owner->rebalance_ms;
        if (group->revoke_due_ms == 0 || due_ms < group->revoke_due_ms) {
            group->revoke_due_ms = due_ms;
        }
    }
    for (unsigned i = 0; i < group->member_count; i++) {
        struct sp_consumer_member *member = group->members[i];
        member->heard_ms = member->heard_ms == 0 ? now_ms(coordinator) : member->heard_ms;
    }
}

static bool is_late(const struct sp_consumer_share *share, uint64_t now)
{
    return is_revoked(share) && share->revoke_ms != 0 &&
           share->revoke_ms + share->owner->rebalance_ms <= now;
}

/* What a member holds back too long, of `places` as many as the group has; each has its whole time
 * again, in case this comes to nothing. */
static unsigned gather_late(struct sp_consumer_group *group,
                            const struct sp_consumer_member *member,
                            uint64_t now,
                            struct sp_consumer_place *places)
{
    unsigned count = 0;

    for (unsigned i = 0; i < group->share_count; i++) {
        struct sp_consumer_share *share = &group->shares[i];
        if (share->owner == member && is_late(share, now)) {
            places[count++] = (struct sp_consumer_place){ share->topic_id, share->partition };
            share->revoke_ms = now;
        }
    }
    return count;
}

/* Releases for the member what it should have released. Its commits for that are refused from then
 * on, whatever else it reads is not touched. */
static void take_away(struct sp_coordinator *coordinator,
                      struct sp_consumer_group *group,
                      const struct sp_consumer_member *member)
{
    struct sp_consumer_place *places = sp_mem_calloc(group->share_count, sizeof *places);
    struct sp_buf command;
    unsigned count;
    int rv;

    if (places == NULL) {
        return;
    }
    count = gather_late(group, member, now_ms(coordinator), places);
    if (may_trace(coordinator)) {
        SP_TRACE_WARN("groups",
                      "partitions taken away, not released within rebalance_ms",
                      "group=%s member=%s client=%s partitions=%u",
                      group->name,
                      member->id,
                      member->client,
                      count);
    }
    sp_buf_init(&command, SP_CONSUMER_COMMAND_BYTES_MAX);
    rv = sp_consumer_command_release(sp_bytes_text(group->name),
                                     sp_bytes_text(member->id),
                                     group->generation,
                                     places,
                                     count,
                                     &command);
    submit_own(coordinator, group, own_new(member), rv, &command);
    sp_mem_free(places);
}

/* Not while an assignment is on its way, which would make the release one of another generation. */
static void take_away_late(struct sp_coordinator *coordinator, struct sp_consumer_group *group)
{
    uint64_t now = now_ms(coordinator);

    if (group->assigning || group->revoke_due_ms == 0 || group->revoke_due_ms > now) {
        return;
    }
    for (unsigned i = 0; i < group->share_count; i++) {
        struct sp_consumer_share *share = &group->shares[i];
        share->owner->late = share->owner->late || is_late(share, now);
    }
    for (unsigned i = 0; i < group->member_count; i++) {
        if (group->members[i]->late) {
            group->members[i]->late = false;
            take_away(coordinator, group, group->members[i]);
        }
    }
    sp_coordinator_note(coordinator, group);
}

/* ---- groups ---------------------------------------------------------------------------------- */

/* Is anything about the group on its way? Behind a commit its deletion would come to nothing. */
static bool is_asked_for(const struct sp_coordinator *coordinator,
                         const struct sp_consumer_group *group)
{
    SP_LIST_EACH (node, &coordinator->jobs) {
        if (strcmp(SP_LIST_ENTRY(node, struct sp_coordinator_job, node)->group, group->name) == 0) {
            return true;
        }
    }
    return false;
}

/* What comes behind it must know that the group is gone then: a commit without offsets would make
 * an empty one. */
static void expire_group(struct sp_coordinator *coordinator, const struct sp_consumer_group *group)
{
    struct own *own = own_new(NULL);
    struct sp_buf command;
    int rv;

    SP_TRACE_INFO("groups", "group deleted, not used for long", "group=%s", group->name);
    sp_buf_init(&command, SP_CONSUMER_COMMAND_BYTES_MAX);
    rv = sp_consumer_command_delete(sp_bytes_text(group->name), group->changed_ms, &command);
    if (own != NULL) {
        own->job.ends = true;
    }
    submit_own(coordinator, group, own, rv, &command);
}

bool sp_coordinator_wants_assignment(const struct sp_consumer_group *group)
{
    return !group->assigning && group->submitted == 0 &&
           (group->topics_changed || group->version != group->assigned);
}

/* For how long the group is kept still, if nothing happens. */
static uint64_t kept_for_ms(const struct sp_coordinator *coordinator,
                            const struct sp_consumer_group *group)
{
    int64_t until_ms =
        sp_consumer_group_kept_until_ms(group, coordinator->broker->options.group_retention_ms);
    int64_t now = sp_raft_group_append_time_ms(coordinator->group);

    return until_ms <= now ? 0 : (uint64_t)until_ms - (uint64_t)now;
}

uint64_t sp_coordinator_due_ms(const struct sp_coordinator *coordinator,
                               const struct sp_consumer_group *group)
{
    uint64_t due_ms =
        now_ms(coordinator) +
        (sp_coordinator_wants_assignment(group) ? ASSIGN_RETRY_MS : RETENTION_SCAN_MS);

    for (unsigned i = 0; i < group->member_count; i++) {
        const struct sp_consumer_member *member = group->members[i];
        uint64_t silent_ms = member->heard_ms + member->session_ms;
        due_ms = silent_ms < due_ms ? silent_ms : due_ms;
    }
    if (kept_for_ms(coordinator, group) < RETENTION_SCAN_MS) {
        uint64_t end_ms = now_ms(coordinator) + kept_for_ms(coordinator, group);
        due_ms = end_ms < due_ms ? end_ms : due_ms;
    }
    return group->revoke_due_ms != 0 && group->revoke_due_ms < due_ms ? group->revoke_due_ms
                                                                      : due_ms;
}

void sp_coordinator_scan(struct sp_coordinator *coordinator, struct sp_consumer_group *group)
{
    uint64_t now = now_ms(coordinator);

    for (unsigned i = 0; i < group->member_count; i++) {
        struct sp_consumer_member *member = group->members[i];
        if (member->heard_ms != 0 && member->heard_ms + member->session_ms <= now) {
            expire(coordinator, group, member);
        }
    }
    take_away_late(coordinator, group);
    if (group->submitted == 0 && kept_for_ms(coordinator, group) == 0 &&
        !is_asked_for(coordinator, group)) {
        expire_group(coordinator, group);
    }
}
