/* An intrusive doubly linked list with a sentinel: members embed a node, nothing is allocated.
 *
 *   head.next -> a <-> b <-> c <- head.prev        an empty list points to itself
 *
 * A node that is in no list also points to itself after sp_list_init or sp_list_remove, so removing
 * twice is harmless. */
#ifndef SP_BASE_LIST_H
#define SP_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"

struct sp_list {
    struct sp_list *next;
    struct sp_list *prev;
};

static inline void sp_list_init(struct sp_list *node)
{
    node->next = node;
    node->prev = node;
}

static inline bool sp_list_empty(const struct sp_list *head)
{
    return head->next == head;
}

/* Puts `node`, which is in no list, at the end. */
static inline void sp_list_append(struct sp_list *head, struct sp_list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

static inline void sp_list_remove(struct sp_list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    sp_list_init(node);
}

/* Moves all members of `from` to the end of `to`; `from` is empty then. */
static inline void sp_list_move(struct sp_list *to, struct sp_list *from)
{
    if (sp_list_empty(from)) {
        return;
    }
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    sp_list_init(from);
}

#define SP_LIST_ENTRY(node, type, member) SP_CONTAINER_OF(node, type, member)

#define SP_LIST_EACH(node, head)                                                                   \
    for (struct sp_list *node = (head)->next; node != (head); node = node->next)

/* The same, for a body that may remove `node`. */
#define SP_LIST_EACH_SAFE(node, head)                                                              \
    for (struct sp_list *node = (head)->next, *node##_next = node->next; node != (head);           \
         node = node##_next, node##_next = node->next)

#endif /* SP_BASE_LIST_H */
