/* How another thread gets the attention of a loop: it rings, and the loop's thread answers in its
 * next turn. Rings that come before the answer are one. */
#ifndef SP_IO_DOORBELL_H
#define SP_IO_DOORBELL_H

struct sp_loop;
struct sp_doorbell;

/* `answer` runs on the loop's thread. The bell does not keep sp_loop_run alive. SPATE_ERR_NOMEM;
 * SPATE_ERR_INTERNAL when the system refuses. */
int sp_doorbell_open(struct sp_loop *loop,
                     void (*answer)(void *arg),
                     void *arg,
                     struct sp_doorbell **out_doorbell);

/* Any thread. */
void sp_doorbell_ring(struct sp_doorbell *doorbell);

/* On the loop's thread, when nobody rings any more; then `answer` does not run. NULL is fine. */
void sp_doorbell_close(struct sp_doorbell *doorbell);

#endif /* SP_IO_DOORBELL_H */
