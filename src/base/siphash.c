#include "base/siphash.h"

#define ROUNDS_PER_WORD 2
#define ROUNDS_AT_END 4

struct state {
    uint64_t v0;
    uint64_t v1;
    uint64_t v2;
    uint64_t v3;
};

static uint64_t rotate(uint64_t value, unsigned bits)
{
    return value << bits | value >> (64 - bits);
}

static void run_rounds(struct state *state, unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++) {
        state->v0 += state->v1;
        state->v2 += state->v3;
        state->v1 = rotate(state->v1, 13) ^ state->v0;
        state->v3 = rotate(state->v3, 16) ^ state->v2;
        state->v0 = rotate(state->v0, 32);
        state->v2 += state->v1;
        state->v0 += state->v3;
        state->v1 = rotate(state->v1, 17) ^ state->v2;
        state->v3 = rotate(state->v3, 21) ^ state->v0;
        state->v2 = rotate(state->v2, 32);
    }
}

static void take_word(struct state *state, uint64_t word)
{
    state->v3 ^= word;
    run_rounds(state, ROUNDS_PER_WORD);
    state->v0 ^= word;
}

static uint64_t little_endian(const uint8_t *bytes, size_t size)
{
    uint64_t word = 0;

    for (size_t i = size; i > 0; i--) {
        word = word << 8 | bytes[i - 1];
    }
    return word;
}

static uint64_t fold(const struct state *state)
{
    return state->v0 ^ state->v1 ^ state->v2 ^ state->v3;
}

struct sp_siphash sp_siphash(const uint64_t key[2], const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    size_t left = size;
    struct sp_siphash hash;
    struct state state = {
        .v0 = key[0] ^ UINT64_C(0x736f6d6570736575),
        .v1 = key[1] ^ UINT64_C(0x646f72616e646f6d) ^ 0xee,
        .v2 = key[0] ^ UINT64_C(0x6c7967656e657261),
        .v3 = key[1] ^ UINT64_C(0x7465646279746573),
    };

    for (; left >= 8; left -= 8) {
        take_word(&state, little_endian(at, 8));
        at += 8;
    }
    take_word(&state, (uint64_t)size << 56 | little_endian(at, left));
    state.v2 ^= 0xee;
    run_rounds(&state, ROUNDS_AT_END);
    hash.low = fold(&state);
    state.v1 ^= 0xdd;
    run_rounds(&state, ROUNDS_AT_END);
    hash.high = fold(&state);
    return hash;
}
