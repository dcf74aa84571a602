#include "broker/assign.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rand.h"
#include "spate/error.h"

#define MEMBERS 12
#define TOPICS 5
#define PARTITIONS 40

/* Topics and who wants them; partitions without an owner to begin with. */
struct model {
    unsigned topic_count;
    unsigned member_count;
    struct sp_assign_topic topics[TOPICS];
    bool wanted[TOPICS][MEMBERS];
    int32_t members[TOPICS][PARTITIONS];
};

static void init(struct model *model, unsigned topics, unsigned partitions, unsigned members)
{
    memset(model, 0, sizeof *model);
    model->topic_count = topics;
    model->member_count = members;
    for (unsigned i = 0; i < topics; i++) {
        model->topics[i] =
            (struct sp_assign_topic){ partitions, model->wanted[i], model->members[i] };
        for (unsigned j = 0; j < MEMBERS; j++) {
            model->wanted[i][j] = true;
        }
        for (unsigned j = 0; j < PARTITIONS; j++) {
            model->members[i][j] = SP_ASSIGN_NOBODY;
        }
    }
}

static void run(struct model *model)
{
    assert_int_equal(sp_assign(model->topics, model->topic_count, model->member_count), 0);
}

static unsigned load(const struct model *model, unsigned member)
{
    unsigned count = 0;

    for (unsigned i = 0; i < model->topic_count; i++) {
        for (unsigned j = 0; j < model->topics[i].partition_count; j++) {
            count += model->members[i][j] == (int32_t)member;
        }
    }
    return count;
}

/* Partitions that had an owner and have another now. */
static unsigned moved(const struct model *before, const struct model *after)
{
    unsigned count = 0;

    for (unsigned i = 0; i < before->topic_count; i++) {
        for (unsigned j = 0; j < before->topics[i].partition_count; j++) {
            count += before->members[i][j] != SP_ASSIGN_NOBODY &&
                     before->members[i][j] != after->members[i][j];
        }
    }
    return count;
}

/* Nobody has two more than another that could take one of them, all that somebody wants is given,
 * and only to those who want it. */
static void check(const struct model *model)
{
    for (unsigned i = 0; i < model->topic_count; i++) {
        for (unsigned j = 0; j < model->topics[i].partition_count; j++) {
            int32_t member = model->members[i][j];
            for (unsigned k = 0; k < model->member_count; k++) {
                if (model->wanted[i][k]) {
                    assert_int_not_equal(member, SP_ASSIGN_NOBODY);
                    assert_in_range(load(model, (unsigned)member), 0, load(model, k) + 1);
                }
            }
            if (member != SP_ASSIGN_NOBODY) {
                assert_true(model->wanted[i][member]);
            }
        }
    }
}

static void test_assign_shares_out_evenly(void **state)
{
    struct model model;

    (void)state;
    init(&model, 3, 5, 4);
    run(&model);
    check(&model);
    for (unsigned i = 0; i < 4; i++) {
        assert_in_range(load(&model, i), 3, 4);
        for (unsigned j = 0; j < 3; j++) { /* and of each topic one or two, not a run of them */
            unsigned count = 0;
            for (unsigned k = 0; k < 5; k++) {
                count += model.members[j][k] == (int32_t)i;
            }
            assert_in_range(count, 1, 2);
        }
    }
}

static void test_assign_new_member_gets_only_what_it_needs(void **state)
{
    struct model model;
    struct model before;

    (void)state;
    init(&model, 5, 20, 10);
    run(&model);
    before = model;
    model.member_count = 11;
    for (unsigned i = 0; i < 5; i++) {
        model.topics[i] = (struct sp_assign_topic){ 20, model.wanted[i], model.members[i] };
    }
    run(&model);
    check(&model);
    assert_int_equal(load(&model, 10), 9);
    assert_int_equal(moved(&before, &model), 9);
}

static void test_assign_again_changes_nothing(void **state)
{
    struct model model;
    struct model before;

    (void)state;
    init(&model, 2, 7, 3);
    run(&model);
    before = model;
    run(&model);
    assert_int_equal(moved(&before, &model), 0);
}

static void test_assign_unwanted_topic_belongs_to_nobody(void **state)
{
    struct model model;

    (void)state;
    init(&model, 2, 3, 2);
    model.wanted[1][0] = false;
    model.wanted[1][1] = false;
    model.members[1][0] = 1; /* it wanted it before */
    run(&model);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(model.members[1][i], SP_ASSIGN_NOBODY);
    }
    assert_int_equal(sp_assign(model.topics, 0, 2), 0);
    assert_int_equal(sp_assign(model.topics, 2, 0), 0);
}

/* Members and topics at random, one change after the other. */
static void test_assign_random_changes_stay_level_and_sticky(void **state)
{
    struct sp_rand rand;

    (void)state;
    sp_rand_init(&rand, 7);
    for (unsigned round = 0; round < 2000; round++) {
        struct model model;
        struct model before;
        unsigned members = 1 + (unsigned)(sp_rand_below(&rand, MEMBERS));
        bool same = sp_rand_below(&rand, 2) == 0;
        init(&model,
             1 + (unsigned)(sp_rand_below(&rand, TOPICS)),
             1 + (unsigned)(sp_rand_below(&rand, PARTITIONS)),
             members);
        for (unsigned i = 0; i < model.topic_count * MEMBERS && !same; i++) {
            model.wanted[i / MEMBERS][i % MEMBERS] = sp_rand_below(&rand, 3) != 0;
        }
        run(&model);
        check(&model);
        before = model;
        model.member_count = members < MEMBERS ? members + 1 : members;
        run(&model);
        check(&model);
        if (same && model.member_count > members) {
            assert_int_equal(moved(&before, &model), load(&model, members));
        }
    }
}

static void test_assign_failing_memory_changes_nothing(void **state)
{
    struct model model;
    struct model before;
    uint64_t live = sp_mem_live_count();

    (void)state;
    init(&model, 2, 7, 3);
    before = model;
    for (uint64_t n = 1; n <= 3; n++) {
        sp_mem_fail_at(n);
        assert_int_equal(sp_assign(model.topics, 2, 3), SPATE_ERR_NOMEM);
        assert_memory_equal(model.members, before.members, sizeof model.members);
        assert_int_equal(sp_mem_live_count(), live);
    }
    sp_mem_fail_at(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_assign_shares_out_evenly),
        cmocka_unit_test(test_assign_new_member_gets_only_what_it_needs),
        cmocka_unit_test(test_assign_again_changes_nothing),
        cmocka_unit_test(test_assign_unwanted_topic_belongs_to_nobody),
        cmocka_unit_test(test_assign_random_changes_stay_level_and_sticky),
        cmocka_unit_test(test_assign_failing_memory_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
