#include "io/doorbell.h"

#include "base/mem.h"
#include "io/loop_body.h"
#include "spate/error.h"

struct sp_doorbell {
    uv_async_t async;
    struct sp_loop *loop;
    void (*answer)(void *arg);
    void *arg;
};

static void on_ring(uv_async_t *async)
{
    struct sp_doorbell *doorbell = async->data;

    doorbell->answer(doorbell->arg);
}

int sp_doorbell_open(struct sp_loop *loop,
                     void (*answer)(void *arg),
                     void *arg,
                     struct sp_doorbell **out_doorbell)
{
    struct sp_doorbell *doorbell = sp_mem_calloc(1, sizeof *doorbell);

    if (doorbell == NULL) {
        return SPATE_ERR_NOMEM;
    }
    if (uv_async_init(&loop->uv, &doorbell->async, on_ring) != 0) {
        sp_mem_free(doorbell);
        return SPATE_ERR_INTERNAL;
    }
    doorbell->async.data = doorbell;
    doorbell->loop = loop;
    doorbell->answer = answer;
    doorbell->arg = arg;
    uv_unref((uv_handle_t *)&doorbell->async);
    sp_loop_unsettle(loop);
    loop->open_count += 1;
    *out_doorbell = doorbell;
    return 0;
}

void sp_doorbell_ring(struct sp_doorbell *doorbell)
{
    (void)uv_async_send(&doorbell->async); /* fails only for handles of another kind */
}

static void on_closed(uv_handle_t *handle)
{
    sp_mem_free(handle->data);
}

void sp_doorbell_close(struct sp_doorbell *doorbell)
{
    if (doorbell == NULL) {
        return;
    }
    doorbell->loop->open_count -= 1;
    sp_loop_unsettle(doorbell->loop);
    uv_close((uv_handle_t *)&doorbell->async, on_closed);
}
