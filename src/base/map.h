/* A hash map from bytes to pointers that remembers the order of insertion.
 *
 * Iteration follows insertion, never addresses or a random seed, so a run of the simulator visits
 * the same entries in the same order. Keys are copied; values are borrowed and never touched. */
#ifndef SP_BASE_MAP_H
#define SP_BASE_MAP_H

#include <stddef.h>
#include <stdint.h>

struct sp_map;

/* A new empty map, or NULL when memory is out. */
struct sp_map *sp_map_new(void);

/* Frees the map and its copies of the keys, not the values. NULL is fine. */
void sp_map_free(struct sp_map *map);

/* Binds `key` to `value` (not NULL). SPATE_ERR_EXISTS when the key is bound, SPATE_ERR_NOMEM. */
int sp_map_put(struct sp_map *map, const void *key, size_t size, void *value);

/* The value of `key`, or NULL. */
void *sp_map_get(const struct sp_map *map, const void *key, size_t size);

/* Unbinds `key` and returns its value, or NULL. */
void *sp_map_remove(struct sp_map *map, const void *key, size_t size);

size_t sp_map_count(const struct sp_map *map);

/* The same for whole numbers as keys. */
int sp_map_put_u64(struct sp_map *map, uint64_t key, void *value);
void *sp_map_get_u64(const struct sp_map *map, uint64_t key);
void *sp_map_remove_u64(struct sp_map *map, uint64_t key);

/* A place in an iteration; zero-initialised it stands before the first entry. */
struct sp_map_cursor {
    void *next;
    int started;
};

/* The next value in order of insertion, or NULL at the end. The entry just returned may be removed;
 * no other change is allowed while iterating. */
void *sp_map_next(const struct sp_map *map, struct sp_map_cursor *cursor);

#endif /* SP_BASE_MAP_H */
