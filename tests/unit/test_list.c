#include "base/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct item {
    int number;
    struct sp_list node;
};

static int sum(const struct sp_list *head)
{
    int digits = 0;

    SP_LIST_EACH (node, head) {
        digits = digits * 10 + SP_LIST_ENTRY(node, struct item, node)->number;
    }
    return digits;
}

static void test_list_keeps_order_and_removes_twice(void **state)
{
    struct item items[4] = {
        { 1, { NULL, NULL } }, { 2, { NULL, NULL } }, { 3, { NULL, NULL } }, { 4, { NULL, NULL } }
    };
    struct sp_list head;

    (void)state;
    sp_list_init(&head);
    assert_true(sp_list_empty(&head));
    for (unsigned i = 0; i < 4; i++) {
        sp_list_append(&head, &items[i].node);
    }
    assert_int_equal(sum(&head), 1234);
    sp_list_remove(&items[1].node);
    sp_list_remove(&items[1].node);
    assert_int_equal(sum(&head), 134);
    SP_LIST_EACH_SAFE (node, &head) {
        sp_list_remove(node);
    }
    assert_true(sp_list_empty(&head));
}

static void test_list_move_appends_and_empties(void **state)
{
    struct item items[4] = {
        { 1, { NULL, NULL } }, { 2, { NULL, NULL } }, { 3, { NULL, NULL } }, { 4, { NULL, NULL } }
    };
    struct sp_list from;
    struct sp_list to;

    (void)state;
    sp_list_init(&from);
    sp_list_init(&to);
    for (unsigned i = 0; i < 4; i++) {
        sp_list_append(i < 2 ? &to : &from, &items[i].node);
    }
    sp_list_move(&to, &from);
    assert_true(sp_list_empty(&from));
    assert_int_equal(sum(&to), 1234);
    sp_list_move(&to, &from);
    assert_int_equal(sum(&to), 1234);
    sp_list_move(&from, &to);
    assert_int_equal(sum(&from), 1234);
    assert_true(sp_list_empty(&to));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list_keeps_order_and_removes_twice),
        cmocka_unit_test(test_list_move_appends_and_empties),
    };
    return cmocka_run_group_tests_name("base/list", tests, NULL, NULL);
}
