#include "storage/meta_file.h"

#include <string.h>

#include "base/crc32c.h"
#include "spate/error.h"
#include "storage/little_endian.h"

#define VERSION 1
#define ALIGNMENT 8 /* every batch begins at a multiple of it */

_Static_assert(SP_META_HEADER_SIZE % ALIGNMENT == 0 && SP_META_BATCH_HEADER_SIZE % ALIGNMENT == 0 &&
                   SP_META_RECORD_SIZE % ALIGNMENT == 0,
               "batches stay aligned");

static const uint8_t magic[8] = { 'S', 'P', 'A', 'T', 'E', 'M', 'E', 'T' };

uint32_t sp_meta_header_encode(uint8_t *bytes)
{
    memcpy(bytes, magic, sizeof magic);
    sp_put_u32(bytes + 8, VERSION);
    uint32_t crc = sp_crc32c(0, bytes, 12);
    sp_put_u32(bytes + 12, crc);
    return crc;
}

void sp_meta_record_encode(const struct sp_meta_record *record, uint8_t *bytes)
{
    memset(bytes, 0, SP_META_RECORD_SIZE);
    sp_put_u32(bytes, (uint32_t)record->type);
    if (record->type == SP_META_IDENTITY) {
        sp_put_u32(bytes + 4, (uint32_t)record->identity.state);
        sp_put_u32(bytes + 8, record->identity.node_id);
        sp_put_u64(bytes + 16, record->identity.incarnation);
        memcpy(bytes + 24, record->identity.cluster_id, SP_CLUSTER_ID_SIZE);
        return;
    }
    sp_put_u64(bytes + 8, record->group_id);
    sp_put_u64(bytes + 16, record->replica_id);
    sp_put_u64(bytes + 24, record->term);
    sp_put_u64(bytes + 32, record->vote);
}

static int decode_identity(const uint8_t *bytes, struct sp_identity *out_identity)
{
    uint32_t state = sp_get_u32(bytes + 4);

    if (state > SP_IDENTITY_FORMED) {
        return SPATE_ERR_CORRUPT;
    }
    *out_identity = (struct sp_identity){
        .state = (enum sp_identity_state)state,
        .node_id = sp_get_u32(bytes + 8),
        .incarnation = sp_get_u64(bytes + 16),
    };
    memcpy(out_identity->cluster_id, bytes + 24, SP_CLUSTER_ID_SIZE);
    return 0;
}

int sp_meta_record_decode(const uint8_t *bytes, struct sp_meta_record *out_record)
{
    uint32_t type = sp_get_u32(bytes);
    struct sp_meta_record record = { .type = (enum sp_meta_type)type };

    if (type < SP_META_IDENTITY || type > SP_META_RUN) {
        return SPATE_ERR_CORRUPT;
    }
    if (type == SP_META_IDENTITY) {
        int rv = decode_identity(bytes, &record.identity);
        if (rv != 0) {
            return rv;
        }
    } else {
        record.group_id = sp_get_u64(bytes + 8);
        record.replica_id = sp_get_u64(bytes + 16);
        record.term = sp_get_u64(bytes + 24);
        record.vote = sp_get_u64(bytes + 32);
    }
    *out_record = record;
    return 0;
}

static uint32_t batch_crc(const uint8_t *bytes, uint32_t length)
{
    uint32_t crc = sp_crc32c(0, bytes, 4);

    return sp_crc32c(crc, bytes + 8, SP_META_BATCH_HEADER_SIZE - 8 + (size_t)length);
}

uint32_t sp_meta_batch_seal(uint8_t *bytes,
                            uint32_t length,
                            uint64_t first_sequence,
                            uint64_t last_sequence,
                            uint32_t chain)
{
    sp_put_u32(bytes, length);
    sp_put_u64(bytes + 8, first_sequence);
    sp_put_u64(bytes + 16, last_sequence);
    sp_put_u32(bytes + 24, chain);
    sp_put_u32(bytes + 28, 0);
    uint32_t crc = batch_crc(bytes, length);
    sp_put_u32(bytes + 4, crc);
    return crc;
}

/* The size of the batch whose header may stand at `bytes`, which fit into `size`; 0: there is none.
 * Neither its checksum nor what it follows is looked at. */
static size_t batch_size_at(const uint8_t *bytes, size_t size)
{
    if (size < SP_META_BATCH_HEADER_SIZE) {
        return 0;
    }
    uint32_t length = sp_get_u32(bytes);
    uint64_t first = sp_get_u64(bytes + 8);
    bool fits = length > 0 && length % SP_META_RECORD_SIZE == 0 &&
                length <= size - SP_META_BATCH_HEADER_SIZE && sp_get_u32(bytes + 28) == 0 &&
                first > 0 && first <= sp_get_u64(bytes + 16);
    return fits ? SP_META_BATCH_HEADER_SIZE + (size_t)length : 0;
}

static bool checksum_is_right(const uint8_t *bytes)
{
    return sp_get_u32(bytes + 4) == batch_crc(bytes, sp_get_u32(bytes));
}

/* True if a batch with a right checksum stands at `bytes`; what it follows is not looked at. */
static bool batch_at(const uint8_t *bytes, size_t size)
{
    return batch_size_at(bytes, size) > 0 && checksum_is_right(bytes);
}

static bool header_at(const uint8_t *bytes, size_t size)
{
    uint8_t expected[SP_META_HEADER_SIZE];

    (void)sp_meta_header_encode(expected); /* only its bytes matter here */
    return size >= sizeof expected && memcmp(bytes, expected, sizeof expected) == 0;
}

/* What whole batches at or behind scan->size prove. A batch may begin at any place there, if those
 * before it are damaged. Records are not taken for headers: where a header has its checksum they
 * have the upper half of a number, 0. A batch that has this one by chance, one of 2^32, proves
 * nothing. So what we wrote is summed about once; bytes that look like many long batches on top of
 * each other are not ours, and are not summed for ever: then nobody knows what they prove. */
static void search_behind(const uint8_t *bytes, size_t size, struct sp_meta_scan *scan)
{
    uint64_t budget = (uint64_t)size * SP_META_SEARCH_FACTOR;
    size_t position = scan->size;

    while (position + SP_META_BATCH_HEADER_SIZE <= size) {
        bool summed = sp_get_u32(bytes + position + 4) != 0;
        size_t batch_size = summed ? batch_size_at(bytes + position, size - position) : 0;

        if (batch_size > budget - scan->searched_bytes) {
            scan->proven_sequence = UINT64_MAX;
            return;
        }
        scan->searched_bytes += batch_size;
        if (batch_size > 0 && checksum_is_right(bytes + position)) {
            uint64_t first = sp_get_u64(bytes + position + 8);

            scan->proven_sequence =
                first - 1 > scan->proven_sequence ? first - 1 : scan->proven_sequence;
            position += batch_size;
        } else {
            position += ALIGNMENT;
        }
    }
}

void sp_meta_scan(const uint8_t *bytes, size_t size, struct sp_meta_scan *out_scan)
{
    struct sp_meta_scan scan = { .header_valid = header_at(bytes, size) };

    if (scan.header_valid) {
        scan.size = SP_META_HEADER_SIZE;
        scan.chain = sp_get_u32(bytes + 12);
    }
    while (scan.header_valid && batch_at(bytes + scan.size, size - scan.size)) {
        const uint8_t *batch = bytes + scan.size;
        bool follows = scan.last_sequence == 0 || sp_get_u64(batch + 8) == scan.last_sequence + 1;

        if (!follows || sp_get_u32(batch + 24) != scan.chain) {
            break;
        }
        scan.chain = sp_get_u32(batch + 4);
        scan.last_sequence = sp_get_u64(batch + 16);
        scan.size += SP_META_BATCH_HEADER_SIZE + (size_t)sp_get_u32(batch);
    }
    search_behind(bytes, size, &scan);
    *out_scan = scan;
}

int sp_meta_each(const uint8_t *bytes,
                 size_t prefix_size,
                 int (*each)(void *arg, const struct sp_meta_record *record),
                 void *arg)
{
    size_t position = SP_META_HEADER_SIZE;

    while (position < prefix_size) {
        size_t end = position + SP_META_BATCH_HEADER_SIZE + sp_get_u32(bytes + position);

        position += SP_META_BATCH_HEADER_SIZE;
        for (; position < end; position += SP_META_RECORD_SIZE) {
            struct sp_meta_record record;
            int rv = sp_meta_record_decode(bytes + position, &record);

            if (rv == 0) {
                rv = each(arg, &record);
            }
            if (rv != 0) {
                return rv;
            }
        }
    }
    return 0;
}
