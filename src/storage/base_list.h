/* A list of segment bases, as a directory names them. */
#ifndef SP_STORAGE_BASE_LIST_H
#define SP_STORAGE_BASE_LIST_H

#include <stdbool.h>
#include <stdint.h>

struct sp_base_list {
    uint64_t *values;
    unsigned count;
    unsigned capacity;
};

/* Adds a base at the end; 0 is no base and is passed over. SPATE_ERR_NOMEM. */
int sp_base_list_add(struct sp_base_list *list, uint64_t base);

/* True if the list has `base`; *out_number is its place. */
bool sp_base_list_find(const struct sp_base_list *list, uint64_t base, unsigned *out_number);

/* Frees; the list is empty then, as when it is zero-initialised. */
void sp_base_list_clear(struct sp_base_list *list);

#endif /* SP_STORAGE_BASE_LIST_H */
