/* TCP over IPv4 over Ethernet: see switch_tcp.h. */
#include "switch_tcp.h"

enum {
    ETHERNET_HEADER_SIZE = 14,
    IP_HEADER_SIZE_MIN = 20,
    TCP_HEADER_SIZE_MIN = 20,
    PROTOCOL_TCP = 6,
    FLAG_RST = 0x04,
    FLAG_ACK = 0x10,
};

static uint32_t get16(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 8 | bytes[1];
}

static void put16(uint8_t *bytes, uint32_t value)
{
    bytes[0] = (uint8_t)(value >> 8);
    bytes[1] = (uint8_t)value;
}

bool tcp_parse(uint8_t *frame, size_t size, struct tcp_segment *out_segment)
{
    if (size < ETHERNET_HEADER_SIZE + IP_HEADER_SIZE_MIN + TCP_HEADER_SIZE_MIN ||
        get16(frame + 12) != 0x0800) {
        return false;
    }
    uint8_t *ip = frame + ETHERNET_HEADER_SIZE;
    size_t ip_size = (size_t)(ip[0] & 0x0F) * 4;
    size_t total = get16(ip + 2);
    if (ip[9] != PROTOCOL_TCP || total > size - ETHERNET_HEADER_SIZE ||
        ip_size < IP_HEADER_SIZE_MIN || ip_size + TCP_HEADER_SIZE_MIN > total) {
        return false;
    }
    size_t tcp_size = (size_t)(ip[ip_size + 12] >> 4) * 4;
    if (tcp_size < TCP_HEADER_SIZE_MIN || ip_size + tcp_size >= total) {
        return false;
    }
    *out_segment = (struct tcp_segment){
        .ip = ip,
        .tcp = ip + ip_size,
        .payload = ip + ip_size + tcp_size,
        .payload_size = total - ip_size - tcp_size,
    };
    return true;
}

/* The ones' complement sum of RFC 1071, not folded. */
static uint32_t add_up(const uint8_t *bytes, size_t size, uint32_t sum)
{
    for (size_t i = 0; i + 1 < size; i += 2) {
        sum += get16(bytes + i);
    }
    return size % 2 == 0 ? sum : sum + ((uint32_t)bytes[size - 1] << 8);
}

static uint32_t fold(uint32_t sum)
{
    sum = (sum & 0xFFFF) + (sum >> 16);
    sum = (sum & 0xFFFF) + (sum >> 16);
    return ~sum & 0xFFFF;
}

/* Writes both checksums of a segment whose TCP part has `tcp_size` bytes, payload included. */
static void set_checksums(const struct tcp_segment *segment, size_t tcp_size)
{
    uint8_t *ip = segment->ip;
    size_t ip_size = (size_t)(segment->tcp - ip);

    put16(ip + 2, (uint32_t)(ip_size + tcp_size));
    put16(ip + 10, 0);
    put16(ip + 10, fold(add_up(ip, ip_size, 0)));
    put16(segment->tcp + 16, 0);
    uint32_t pseudo = add_up(ip + 12, 8, PROTOCOL_TCP + (uint32_t)tcp_size); /* both addresses */
    put16(segment->tcp + 16, fold(add_up(segment->tcp, tcp_size, pseudo)));
}

static size_t header_size(const struct tcp_segment *segment)
{
    return (size_t)(segment->payload - segment->tcp);
}

void tcp_corrupt(const struct tcp_segment *segment, struct sp_rand *rand)
{
    size_t at = (size_t)sp_rand_below(rand, segment->payload_size);

    segment->payload[at] ^= (uint8_t)(1U << sp_rand_below(rand, 8));
    set_checksums(segment, header_size(segment) + segment->payload_size);
}

size_t tcp_shorten(const struct tcp_segment *segment, uint8_t *frame, size_t keep)
{
    set_checksums(segment, header_size(segment) + keep);
    return (size_t)(segment->payload - frame) + keep;
}

size_t tcp_reset(const struct tcp_segment *segment, uint8_t *frame, size_t keep)
{
    uint8_t *tcp = segment->tcp;
    uint32_t sequence = get16(tcp + 4) << 16 | get16(tcp + 6);

    sequence += (uint32_t)keep;
    put16(tcp + 4, sequence >> 16);
    put16(tcp + 6, sequence & 0xFFFF);
    tcp[13] = FLAG_RST | FLAG_ACK;
    return tcp_shorten(segment, frame, 0);
}
