#include "storage/base_list.h"

#include "base/mem.h"
#include "spate/error.h"

#define FIRST_CAPACITY 4

int sp_base_list_add(struct sp_base_list *list, uint64_t base)
{
    if (base == 0) {
        return 0;
    }
    if (list->count == list->capacity) {
        unsigned capacity = list->capacity == 0 ? FIRST_CAPACITY : 2 * list->capacity;
        uint64_t *values = sp_mem_realloc(list->values, capacity * sizeof values[0]);

        if (values == NULL) {
            return SPATE_ERR_NOMEM;
        }
        list->values = values;
        list->capacity = capacity;
    }
    list->values[list->count] = base;
    list->count += 1;
    return 0;
}

bool sp_base_list_find(const struct sp_base_list *list, uint64_t base, unsigned *out_number)
{
    for (unsigned i = 0; i < list->count; i++) {
        if (list->values[i] == base) {
            *out_number = i;
            return true;
        }
    }
    return false;
}

void sp_base_list_clear(struct sp_base_list *list)
{
    sp_mem_free(list->values);
    *list = (struct sp_base_list){ .values = NULL };
}
