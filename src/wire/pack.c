#include "wire/pack.h"

#include <msgpack.h>

#include "base/assert.h"
#include "spate/error.h"

void sp_pack_init(struct sp_pack *pack, struct sp_buf *buf)
{
    pack->buf = buf;
    pack->status = 0;
}

int sp_pack_status(const struct sp_pack *pack)
{
    return pack->status;
}

void sp_pack_fail(struct sp_pack *pack, int code)
{
    SP_ASSERT(code < 0);
    if (pack->status == 0) {
        pack->status = code;
    }
}

/* The write callback of msgpack-c. It stays silent after the first error, so that callers need not
 * look at what the msgpack_pack functions return. */
static int write_bytes(void *data, const char *bytes, size_t size)
{
    struct sp_pack *pack = data;

    if (pack->status == 0) {
        pack->status = sp_buf_append(pack->buf, bytes, size);
    }
    return pack->status;
}

static msgpack_packer packer_of(struct sp_pack *pack)
{
    return (msgpack_packer){ .data = pack, .callback = write_bytes };
}

static bool fits_format(struct sp_pack *pack, size_t count)
{
    if (count > UINT32_MAX) {
        sp_pack_fail(pack, SPATE_ERR_TOO_LARGE);
        return false;
    }
    return true;
}

void sp_pack_nil(struct sp_pack *pack)
{
    msgpack_packer packer = packer_of(pack);

    (void)msgpack_pack_nil(&packer); /* the status is in the pack, here and below */
}

void sp_pack_bool(struct sp_pack *pack, bool value)
{
    msgpack_packer packer = packer_of(pack);

    if (value) {
        (void)msgpack_pack_true(&packer);
    } else {
        (void)msgpack_pack_false(&packer);
    }
}

void sp_pack_uint(struct sp_pack *pack, uint64_t value)
{
    msgpack_packer packer = packer_of(pack);

    (void)msgpack_pack_uint64(&packer, value);
}

void sp_pack_int(struct sp_pack *pack, int64_t value)
{
    msgpack_packer packer = packer_of(pack);

    (void)msgpack_pack_int64(&packer, value);
}

void sp_pack_double(struct sp_pack *pack, double value)
{
    msgpack_packer packer = packer_of(pack);

    (void)msgpack_pack_double(&packer, value);
}

void sp_pack_text(struct sp_pack *pack, const char *text)
{
    sp_pack_str(pack, sp_bytes_text(text));
}

void sp_pack_str(struct sp_pack *pack, struct sp_bytes text)
{
    msgpack_packer packer = packer_of(pack);

    if (text.bytes == NULL) {
        sp_pack_nil(pack);
    } else if (fits_format(pack, text.size)) {
        (void)msgpack_pack_str(&packer, text.size);
        sp_pack_raw(pack, text);
    }
}

void sp_pack_bin(struct sp_pack *pack, struct sp_bytes bytes)
{
    if (bytes.bytes == NULL) {
        sp_pack_nil(pack);
        return;
    }
    sp_pack_bin_header(pack, bytes.size);
    sp_pack_raw(pack, bytes);
}

void sp_pack_bin_header(struct sp_pack *pack, size_t size)
{
    msgpack_packer packer = packer_of(pack);

    if (fits_format(pack, size)) {
        (void)msgpack_pack_bin(&packer, size);
    }
}

void sp_pack_array(struct sp_pack *pack, size_t count)
{
    msgpack_packer packer = packer_of(pack);

    if (fits_format(pack, count)) {
        (void)msgpack_pack_array(&packer, count);
    }
}

void sp_pack_map(struct sp_pack *pack, size_t count)
{
    msgpack_packer packer = packer_of(pack);

    if (fits_format(pack, count)) {
        (void)msgpack_pack_map(&packer, count);
    }
}

void sp_pack_raw(struct sp_pack *pack, struct sp_bytes encoded)
{
    if (encoded.size > 0) {
        (void)write_bytes(pack, (const char *)encoded.bytes, encoded.size);
    }
}
