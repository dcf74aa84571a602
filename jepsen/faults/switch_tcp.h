/* What the switch does to TCP segments, as a proxy between the two ends would: the ends' kernels
 * find nothing wrong with what arrives, so it is the programs that have to. */
#ifndef JEPSEN_SWITCH_TCP_H
#define JEPSEN_SWITCH_TCP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rand.h"

/* The parts of an Ethernet frame that holds a TCP segment with a payload. */
struct tcp_segment {
    uint8_t *ip; /* within the frame */
    uint8_t *tcp;
    uint8_t *payload;
    size_t payload_size; /* bytes, at least 1 */
};

/* False: it is something else, or has no payload. */
bool tcp_parse(uint8_t *frame, size_t size, struct tcp_segment *out_segment);

/* Flips one bit of the payload and sets the checksum right. */
void tcp_corrupt(const struct tcp_segment *segment, struct sp_rand *rand);

/* Cuts the stream in the middle: the payload ends after `keep` of its bytes. Returns the frame's
 * new size. */
size_t tcp_shorten(const struct tcp_segment *segment, uint8_t *frame, size_t keep);

/* Turns the segment into the reset of its connection, as it would come after `keep` bytes of its
 * payload. Returns the frame's new size. */
size_t tcp_reset(const struct tcp_segment *segment, uint8_t *frame, size_t keep);

#endif /* JEPSEN_SWITCH_TCP_H */
