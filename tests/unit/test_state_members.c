/* Nodes that join and leave, as the controller's state takes them. */
#include "moved_state.h"

#include "cluster/proposal_command.h"

static void test_node_is_removed_only_without_replicas_and_in_two_steps(void **unused)
{
    struct sp_state *state = make_state();
    struct sp_buf buf;

    (void)unused;
    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_remove_node(1, &buf), 0);
    assert_int_equal(apply(state, &buf), SPATE_ERR_INVALID);
    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_node_gone(5, &buf), 0);
    assert_int_equal(apply(state, &buf), SPATE_ERR_INVALID);
    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_remove_node(5, &buf), 0);
    assert_int_equal(apply(state, &buf), 0);
    assert_true(sp_state_member(state, 5).removing);
    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_node_gone(5, &buf), 0);
    assert_int_equal(apply(state, &buf), 0);
    assert_null(sp_state_node(state, 5));
    sp_state_free(state);
}

static int register_node(struct sp_state *state, const struct sp_state_node *node)
{
    struct sp_buf buf;

    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_register_node(node, &buf), 0);
    return apply(state, &buf);
}

/* The leader has let it pass before the later run was applied. */
static void test_node_on_an_older_copy_of_its_directory_does_not_get_into_the_state(void **unused)
{
    struct sp_state *state = make_state();
    struct sp_state_node node = make_node(3, "a");

    (void)unused;
    node.run = UINT64_C(9) << 32 | 1;
    assert_int_equal(join(state, &node), 0);
    for (uint64_t run = 8; run <= 9; run++) { /* an earlier one, and another one of that number */
        node.run = run << 32 | 2;
        assert_int_equal(join(state, &node), SPATE_ERR_INVALID);
        assert_int_equal(register_node(state, &node), SPATE_ERR_INVALID);
        assert_int_equal(sp_state_node(state, 3)->run, UINT64_C(9) << 32 | 1);
    }
    node.run = UINT64_C(10) << 32 | 3;
    assert_int_equal(register_node(state, &node), 0);
    assert_int_equal(sp_state_node(state, 3)->run, node.run);
    sp_state_free(state);
}

static int propose_join(struct sp_state *state, const struct sp_state_node *node, char *text)
{
    const struct sp_proposal_view view = { .state = state };
    struct sp_proposal proposal = { .kind = SP_PROPOSAL_MEMBERSHIP };
    struct sp_buf buf;

    proposal.membership.kind = SP_MEMBERSHIP_JOIN_NODE;
    proposal.membership.node = *node;
    sp_buf_init(&buf, BYTES_MAX);
    int rv = sp_proposal_command(&view, &proposal, &buf, text, 256);
    if (rv == 0) {
        rv = apply(state, &buf);
    } else {
        sp_buf_deinit(&buf);
    }
    return rv;
}

static int apply_level(struct sp_state *state, uint32_t level)
{
    struct sp_buf buf;

    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_feature_level(level, &buf), 0);
    return apply(state, &buf);
}

static void test_membership_waits_for_its_feature_level(void **unused)
{
    struct sp_state_node node = make_node(1, "");
    struct sp_state *state = NULL;
    struct sp_buf buf;
    char text[256];

    (void)unused;
    assert_int_equal(sp_state_new(&state), 0);
    node.features.most = 1;
    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_register_node(&node, &buf), 0);
    assert_int_equal(apply(state, &buf), 0);
    struct sp_state_node joiner = make_node(2, "");
    assert_int_equal(propose_join(state, &joiner, text), SPATE_ERR_UNSUPPORTED);
    assert_string_equal(text,
                        "changes of members and replicas need feature level 2, the cluster is at "
                        "1: upgrade node 1");
    assert_int_equal(sp_state_node_count(state), 1);
    /* a build that knows the first level alone does not pass over the commands */
    sp_state_set_level_max(state, 1);
    assert_int_equal(drain(state, 1, true), SPATE_ERR_UNSUPPORTED);
    sp_state_set_level_max(state, 2);
    node.features.most = 2;
    sp_buf_init(&buf, BYTES_MAX);
    assert_int_equal(sp_state_command_register_node(&node, &buf), 0);
    assert_int_equal(apply(state, &buf), 0);
    assert_int_equal(propose_join(state, &joiner, text), SPATE_ERR_NOT_READY);
    assert_int_equal(apply_level(state, 2), 0);
    joiner.features.most = 1; /* it would not read what is written now */
    assert_int_equal(propose_join(state, &joiner, text), SPATE_ERR_UNSUPPORTED);
    assert_int_equal(join(state, &joiner), SPATE_ERR_INVALID);
    joiner.features.most = 2;
    assert_int_equal(propose_join(state, &joiner, text), 0);
    assert_int_equal(sp_state_node_count(state), 2);
    sp_state_free(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_node_is_removed_only_without_replicas_and_in_two_steps),
        cmocka_unit_test(test_node_on_an_older_copy_of_its_directory_does_not_get_into_the_state),
        cmocka_unit_test(test_membership_waits_for_its_feature_level),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
