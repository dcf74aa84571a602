/* The inside of the metadata cache, for metadata*.c alone. */
#ifndef SP_CLIENT_METADATA_CACHE_H
#define SP_CLIENT_METADATA_CACHE_H

#include "client/metadata.h"
#include "client/request.h"

struct sp_metadata_cache {
    struct spate_client *client;
    struct sp_map *topics;
    struct sp_list observers;
    struct sp_request request;
    struct sp_buf params;
    struct sp_timer timer; /* the pause before the next request */
    bool running;
    uint64_t started;   /* number of the newest request */
    uint64_t completed; /* number of the newest request that was answered */
    uint64_t wanted;    /* a request with this number shall be made */
    uint64_t started_ms;
    uint64_t pause_ms;
    uint64_t ended; /* how many requests have ended, well or not */
    int status;     /* of the newest one of these */
    char text[SP_CLIENT_ERROR_SIZE];
};

#endif /* SP_CLIENT_METADATA_CACHE_H */
