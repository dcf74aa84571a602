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
    bool with_racks;
    int32_t racks[MEMBERS];
    int32_t places[TOPICS][PARTITIONS]; /* racks of partitions */
};

static void init(struct model *model, unsigned topics, unsigned partitions, unsigned members)
{
    memset(model, 0, sizeof *model);
    model->topic_count = topics;
    model->member_count = members;
    for (unsigned i = 0; i < topics; i++) {
        model->topics[i] =
            (struct sp_assign_topic){ partitions, model->wanted[i], model->members[i], NULL };
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
    for (unsigned i = 0; i < model->topic_count; i++) {
        model->topics[i].wanted = model->wanted[i]; /* also of a copy */
        model->topics[i].members = model->members[i];
        model->topics[i].racks = model->places[i];
    }
    assert_int_equal(sp_assign(model->topics,
                               model->topic_count,
                               model->with_racks ? model->racks : NULL,
                               model->member_count),
                     0);
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
    assert_int_equal(sp_assign(model.topics, 0, NULL, 2), 0);
    assert_int_equal(sp_assign(model.topics, 2, NULL, 0), 0);
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

/* ---- racks ----------------------------------------------------------------------------------- */

/* Partitions that are read from the rack of their member. */
static unsigned hits(const struct model *model)
{
    unsigned count = 0;

    for (unsigned i = 0; i < model->topic_count; i++) {
        for (unsigned j = 0; j < model->topics[i].partition_count; j++) {
            int32_t member = model->members[i][j];
            count += member != SP_ASSIGN_NOBODY && model->places[i][j] != SP_ASSIGN_NO_RACK &&
                     model->racks[member] == model->places[i][j];
        }
    }
    return count;
}

/* The sum of the squares of all loads: the same for the same loads in another order. */
static unsigned level(const struct model *model)
{
    unsigned sum = 0;

    for (unsigned i = 0; i < model->member_count; i++) {
        sum += load(model, i) * load(model, i);
    }
    return sum;
}

static unsigned share(const struct model *model, unsigned topic, unsigned member)
{
    unsigned count = 0;

    for (unsigned i = 0; i < model->topics[topic].partition_count; i++) {
        count += model->members[topic][i] == (int32_t)member;
    }
    return count;
}

/* How many of a topic the member with the most of it has. */
static unsigned run_of(const struct model *model, unsigned topic)
{
    unsigned most = 0;

    for (unsigned i = 0; i < model->member_count; i++) {
        most = share(model, topic, i) > most ? share(model, topic, i) : most;
    }
    return most;
}

/* Members in `count` racks in turn; partitions one after the other. */
static void place(struct model *model, unsigned count)
{
    model->with_racks = true;
    for (unsigned i = 0; i < MEMBERS; i++) {
        model->racks[i] = (int32_t)(i % count);
    }
    for (unsigned i = 0; i < TOPICS * PARTITIONS; i++) {
        model->places[i / PARTITIONS][i % PARTITIONS] = (int32_t)((i / 2) % count);
    }
}

static void test_assign_racks_all_within_their_own(void **state)
{
    struct model model;

    (void)state;
    init(&model, 1, 36, 6);
    place(&model, 3);
    run(&model);
    check(&model);
    assert_int_equal(hits(&model), 36);
    init(&model, 5, 1, 5); /* topics with one partition each */
    place(&model, 5);
    for (unsigned i = 0; i < 5; i++) {
        model.places[i][0] = (int32_t)(4 - i);
    }
    run(&model);
    check(&model);
    assert_int_equal(hits(&model), 5);
    init(&model, 1, 1, 2); /* one for two: the second is nearer */
    place(&model, 2);
    model.places[0][0] = 1;
    run(&model);
    assert_int_equal(model.members[0][0], 1);
}

static void test_assign_racks_new_member_gets_those_of_its_rack(void **state)
{
    struct model model;
    struct model before;

    (void)state;
    init(&model, 1, 40, 3);
    place(&model, 4);
    model.racks[3] = 3;
    run(&model);
    assert_int_equal(hits(&model), 30); /* 10 of each rack, and nobody is in the fourth */
    before = model;
    model.member_count = 4;
    run(&model);
    check(&model);
    assert_int_equal(moved(&before, &model), 10);
    assert_int_equal(hits(&model), 40);
}

static void test_assign_racks_move_nothing_by_themselves(void **state)
{
    struct model model;
    struct model before;

    (void)state;
    init(&model, 3, 11, 4);
    run(&model);
    before = model;
    place(&model, 2); /* now they have racks, and most are in the wrong one */
    run(&model);
    assert_int_equal(moved(&before, &model), 0);
    assert_memory_equal(before.members, model.members, sizeof model.members);
}

/* One state without racks and with: alike in everything but hits, of which there are no fewer. */
static void compare(const struct model *start)
{
    struct model blind = *start;
    struct model seeing = *start;

    blind.with_racks = false;
    run(&blind);
    run(&seeing);
    check(&seeing);
    assert_int_equal(level(&seeing), level(&blind));
    assert_true(moved(start, &seeing) <= moved(start, &blind));
    assert_true(hits(&seeing) >= hits(&blind));
    for (unsigned i = 0; i < start->topic_count; i++) {
        assert_in_range(run_of(&seeing, i), 0, run_of(&blind, i));
    }
}

/* Returns the number of racks, which are not more than members. */
static unsigned randomise(struct model *model, struct sp_rand *rand)
{
    unsigned members = 1 + (unsigned)sp_rand_below(rand, MEMBERS);
    unsigned racks = 1 + (unsigned)sp_rand_below(rand, members);
    bool same = sp_rand_below(rand, 2) == 0;

    init(model,
         1 + (unsigned)sp_rand_below(rand, TOPICS),
         1 + (unsigned)sp_rand_below(rand, PARTITIONS),
         members);
    model->with_racks = true;
    for (unsigned i = 0; i < MEMBERS; i++) {
        model->racks[i] = (int32_t)sp_rand_below(rand, racks + 1) - 1;
    }
    for (unsigned i = 0; i < TOPICS * PARTITIONS; i++) {
        model->places[i / PARTITIONS][i % PARTITIONS] = (int32_t)sp_rand_below(rand, racks + 1) - 1;
    }
    for (unsigned i = 0; i < TOPICS * MEMBERS && !same; i++) {
        model->wanted[i / MEMBERS][i % MEMBERS] = sp_rand_below(rand, 3) != 0;
    }
    return racks;
}

static void test_assign_racks_random_changes_cost_neither_level_nor_moves(void **state)
{
    struct sp_rand rand;

    (void)state;
    sp_rand_init(&rand, 11);
    for (unsigned round = 0; round < 3000; round++) {
        struct model model;
        unsigned racks = randomise(&model, &rand);
        compare(&model);
        run(&model);
        model.member_count = racks + (unsigned)sp_rand_below(&rand, MEMBERS - racks + 1);
        for (unsigned i = 0; i < model.topic_count * PARTITIONS; i++) {
            int32_t *member = &model.members[i / PARTITIONS][i % PARTITIONS];
            bool stays = *member < (int32_t)model.member_count && sp_rand_below(&rand, 8) != 0;
            *member = stays ? *member : SP_ASSIGN_NOBODY;
        }
        compare(&model);
    }
}

/* One topic, nothing assigned yet: as many hits as the loads allow, whatever the order. */
static void test_assign_racks_random_fresh_topic_has_all_hits_possible(void **state)
{
    struct sp_rand rand;

    (void)state;
    sp_rand_init(&rand, 12);
    for (unsigned round = 0; round < 1000; round++) {
        struct model model;
        unsigned possible = 0;
        (void)randomise(&model, &rand);
        model.topic_count = 1;
        memset(model.wanted, 1, sizeof model.wanted);
        run(&model);
        for (int32_t rack = 0; rack < MEMBERS; rack++) {
            unsigned here = 0;
            unsigned room = 0;
            for (unsigned i = 0; i < model.topics[0].partition_count; i++) {
                here += model.places[0][i] == rack;
            }
            for (unsigned i = 0; i < model.member_count; i++) {
                room += model.racks[i] == rack ? load(&model, i) : 0;
            }
            possible += here < room ? here : room;
        }
        assert_int_equal(hits(&model), possible);
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
    for (uint64_t n = 1; n <= 11; n++) {
        sp_mem_fail_at(n);
        assert_int_equal(sp_assign(model.topics, 2, model.racks, 3), SPATE_ERR_NOMEM);
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
        cmocka_unit_test(test_assign_racks_all_within_their_own),
        cmocka_unit_test(test_assign_racks_new_member_gets_those_of_its_rack),
        cmocka_unit_test(test_assign_racks_move_nothing_by_themselves),
        cmocka_unit_test(test_assign_racks_random_changes_cost_neither_level_nor_moves),
        cmocka_unit_test(test_assign_racks_random_fresh_topic_has_all_hits_possible),
        cmocka_unit_test(test_assign_failing_memory_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
