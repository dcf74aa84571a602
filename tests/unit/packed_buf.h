/* A buffer that a test packs into and reads from again. Included once, by one test. */
#ifndef SP_UNIT_PACKED_BUF_H
#define SP_UNIT_PACKED_BUF_H

#include "base/buf.h"
#include "wire/cursor.h"
#include "wire/pack.h"
#include "wire_test.h"

static struct sp_buf buf;

static inline int setup(void **state)
{
    (void)state;
    sp_buf_init(&buf, 65536);
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    sp_buf_deinit(&buf);
    return 0;
}

/* A packer that starts over in `buf`. */
static inline struct sp_pack fresh(void)
{
    struct sp_pack pack;

    sp_buf_clear(&buf);
    sp_pack_init(&pack, &buf);
    return pack;
}

static inline struct sp_cursor packed(void)
{
    struct sp_cursor cursor;

    sp_cursor_init(&cursor, buf.bytes, buf.size);
    return cursor;
}

#endif /* SP_UNIT_PACKED_BUF_H */
