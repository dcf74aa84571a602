/* Arrays that grow, for tables of some ten million rows. A checker without memory can say nothing,
 * so it ends. */
#ifndef JEP_VECTOR_H
#define JEP_VECTOR_H

#include <stddef.h>
#include <stdlib.h>

/* An array of TYPE: struct JEP_VECTOR(TYPE) rows = { 0 }; */
#define JEP_VECTOR(TYPE)                                                                           \
    {                                                                                              \
        TYPE *items;                                                                               \
        size_t count;                                                                              \
        size_t room;                                                                               \
    }

/* `count` times `size` bytes of zeros. Ends the program with 2 when there is no memory. */
void *jep_memory(size_t count, size_t size);

/* As realloc to `count` times `size` bytes, with the same end. */
void *jep_memory_grow(void *memory, size_t count, size_t size);

/* A pointer to a new row at the end, not initialised; rows may move. */
#define jep_add(vector)                                                                            \
    ((vector)->count == (vector)->room                                                             \
         ? ((vector)->room = (vector)->room == 0 ? 256 : (vector)->room + (vector)->room / 2,      \
            (vector)->items =                                                                      \
                jep_memory_grow((vector)->items, (vector)->room, sizeof *(vector)->items),         \
            &(vector)->items[(vector)->count++])                                                   \
         : &(vector)->items[(vector)->count++])

#endif /* JEP_VECTOR_H */
