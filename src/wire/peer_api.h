/* Messages between nodes (DESIGN D9): a fixed little-endian head, then log frames as they are.
 *
 *   off size  field
 *     0    4  size        of the whole message, this field included
 *     4    4  crc         crc32c of bytes [8, head_size)
 *     8    1  version     1
 *     9    1  kind        enum sp_peer_kind
 *    10    2  head_size   bytes before the body
 *    12    4  body_crc    crc32c of the body; RAFT: 0
 *    16    .  fields of the kind, in the order of the structs below, each at its natural width
 *     .    .  body        frames or a chunk of a checkpoint (both have checksums of their own, so
 *                         that nothing is summed twice), or entries, MessagePack or text
 *
 * The first 12 bytes mean the same in every version, so that a node of another version can be told
 * why it is refused. Heads are checked before anything is allocated; frames are checked one by one
 * by the receiver's storage. Any thread. */
#ifndef SP_WIRE_PEER_API_H
#define SP_WIRE_PEER_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/limits.h"

#define SP_PEER_VERSION 1
#define SP_PEER_HEAD_SIZE_MAX 1024

enum sp_peer_kind {
    SP_PEER_HELLO = 1,       /* first message in each direction */
    SP_PEER_FORM = 2,        /* a seed proposes the cluster id */
    SP_PEER_FORM_OK = 3,     /* another seed has it on disk */
    SP_PEER_FORMED = 4,      /* all seeds have it on disk: start */
    SP_PEER_REFUSED = 5,     /* why this connection is about to be closed; body: see below */
    SP_PEER_JOIN = 6,        /* a stranger asks to be let in, instead of HELLO; body: MessagePack */
    SP_PEER_JOINED = 7,      /* its answer on the same connection; body: MessagePack */
    SP_PEER_RAFT = 16,       /* one Raft message of one group; body: frames or a checkpoint */
    SP_PEER_HEARTBEATS = 17, /* many groups' empty AppendEntries or their results in one */
    SP_PEER_LEADERS = 18,    /* who leads which group; body: array of struct sp_peer_leader */
    SP_PEER_STOPPED = 19,    /* a replica on the sender's node has stopped itself */
    SP_PEER_CALL = 20,       /* a request to the receiving node; body: MessagePack */
    SP_PEER_REPLY = 21,      /* its answer; body: MessagePack */
    SP_PEER_VIGIL = 22,      /* which groups are quiet, see cluster/vigil.h */
    SP_PEER_COMPACTED = 23, /* how far a replica is compacted, and the leader's answer; from feature
                                level 3 on */
};

struct sp_peer_hello {
    uint32_t node_id;
    uint8_t feature_most;    /* levels that the sender's build knows, base/feature.h */
    uint8_t feature_least;   /* 0 like 1 */
    uint16_t feature_active; /* the cluster's level as the sender knows it; 0: it does not */
    uint64_t incarnation;
    uint8_t cluster_id[16];  /* zeros: none yet */
    uint32_t identity_state; /* enum sp_identity_state as a number */
    uint32_t seeds_hash;     /* crc32c over the sorted seed list; formation compares it */
    uint64_t run;            /* which run of the data directory this is, see storage/store.h */
    uint32_t condition;      /* of the sender now; one that is not well is handed no leadership */
};

/* Bits of `condition`. */
enum {
    SP_PEER_NO_SPACE = 1 << 0,   /* its disk is below its reserve */
    SP_PEER_NO_RECORDS = 1 << 1, /* so far that it takes no records as a follower either */
};

struct sp_peer_form {
    uint8_t cluster_id[16];
};

enum sp_peer_raft_kind {
    SP_PEER_APPEND = 1,
    SP_PEER_APPEND_RESULT = 2,
    SP_PEER_VOTE = 3,
    SP_PEER_VOTE_RESULT = 4,
    SP_PEER_INSTALL = 5,
    SP_PEER_TIMEOUT_NOW = 6,
    SP_PEER_INSTALL_RESULT = 7,
    SP_PEER_CONFIRM = 8,        /* is the sender's term the newest? See cluster/raft_confirm.c */
    SP_PEER_CONFIRM_RESULT = 9, /* it was when that arrived */
    SP_PEER_QUIET =
        10, /* the leader becomes quiet, and so shall the receiver; cluster/raft_quiet.c */
    SP_PEER_WAKE = 11, /* a follower is not, or no longer */
};

enum {
    SP_PEER_PRE_VOTE = 1,       /* vote and its result */
    SP_PEER_DISRUPT_LEADER = 2, /* vote: leadership transfer */
    SP_PEER_GRANTED = 4,        /* vote result */
    SP_PEER_CHUNK_LAST = 8,     /* install: the checkpoint ends with this chunk */
};

/* One Raft message; fields that a kind does not name are 0. */
struct sp_peer_raft {
    uint64_t group_id;
    uint64_t from;         /* replica id of the sender */
    uint64_t to;           /* replica id of the receiver */
    uint64_t term;         /* all kinds but wake: term of the message */
    uint64_t request_term; /* results: term of the request that is answered (G1) */
    uint64_t index;        /* append: prev index; result: last index (hint when rejected);
                              vote: last log index; install: checkpoint's index;
                              quiet: last log index, which is committed */
    uint64_t index_term;   /* append: prev term; result: term of the hint (G7);
                              vote, quiet: last log term; install: checkpoint's term */
    uint64_t commit;       /* append: leader's commit index; result: rejected index or 0;
                              install: position of this chunk in the checkpoint;
                              install result: position wanted next, at or above its size: none */
    uint64_t aux;          /* confirm and its result: round; install: its number */
    uint32_t kind;         /* enum sp_peer_raft_kind */
    uint32_t flags;        /* SP_PEER_PRE_VOTE ... */
    uint32_t protocol;     /* version that libraft attaches to votes and results */
    uint32_t frame_count;  /* append: frames in the body */
};

struct sp_peer_leader {
    uint64_t group_id;
    uint64_t term;
    uint32_t node_id; /* 0: the sender leads it no more */
    uint32_t lagging; /* bit i: the i-th member lacks committed frames */
};

struct sp_peer_stopped {
    uint64_t group_id;
    uint64_t replica_id;
};

struct sp_peer_compacted {
    uint64_t group_id;
    uint64_t replica_id; /* of the sender */
    uint64_t term;       /* in which it follows the receiver, or leads */
    int64_t offset;      /* up to which it is compacted */
    int64_t floor;       /* of the leader: the least of all members; else 0 */
};

struct sp_peer_call {
    uint64_t call_id; /* chosen by the caller, echoed in the reply */
    uint32_t method;  /* enum sp_node_method of cluster/node_call.h */
    int32_t status;   /* reply: 0 or SPATE_ERR_*; the body is then a text */
};

struct sp_peer_vigil {
    uint64_t number;    /* counts the sender's messages to this node */
    uint64_t led_sum;   /* of the groups that the sender leads quietly with a follower there */
    uint32_t led_count; /* how many they are */
    uint32_t agrees;    /* 1: the receiver's set was the one that the sender follows quietly */
    uint64_t answers;   /* number of the message that `agrees` is about; 0: of none */
};

#define SP_PEER_HEARTBEATS_MAX 4096 /* entries in one message; more make more messages */
#define SP_PEER_LEADERS_MAX 16384

struct sp_peer_message {
    enum sp_peer_kind kind;
    uint32_t body_crc; /* crc32c of the body, 0 for RAFT; sp_transport_send fills it in */
    union {
        struct sp_peer_hello hello;
        struct sp_peer_form form;
        struct sp_peer_raft raft;
        struct sp_peer_stopped stopped;
        struct sp_peer_call call;
        struct sp_peer_vigil vigil;
        struct sp_peer_compacted compacted;
        uint32_t count; /* HEARTBEATS, LEADERS: entries in the body */
    } u;
    struct sp_slice body; /* decoding: a window on the message, reference held by the message's
                             owner; encoding: unused, bodies are given as pieces */
};

/* Writes the head of `message` for a body of `body_size` bytes to `head` (room for
 * SP_PEER_HEAD_SIZE_MAX); returns its size. The caller answers for counts and the size bound. */
size_t sp_peer_head_encode(const struct sp_peer_message *message, size_t body_size, uint8_t *head);

/* The body of REFUSED: a text, then a zero byte and who says so, with which older builds end at the
 * text: node id (4 bytes), incarnation (8). */
#define SP_PEER_REFUSER_SIZE 13

struct sp_peer_refusal {
    const char *text; /* not terminated; borrowed from the body */
    size_t text_size;
    uint32_t node_id;     /* 0: an older build did not say */
    uint64_t incarnation; /* of its directory */
};

/* Writes the SP_PEER_REFUSER_SIZE bytes that go behind the text. */
void sp_peer_refuser_encode(uint32_t node_id, uint64_t incarnation, uint8_t *at);

/* Any bytes are a refusal. */
void sp_peer_refusal_decode(const uint8_t *bytes, size_t size, struct sp_peer_refusal *out);

/* Bytes from which everything about the size of a message is known. */
#define SP_PEER_PREFIX_SIZE 16

/* A message of another version is read to its end, to answer it, only if it is no longer than this.
 */
#define SP_PEER_FOREIGN_SIZE_MAX 4096

/* Tells from the first bytes how long the message at `bytes` is. SPATE_ERR_AGAIN: fewer than 16
 * bytes; SPATE_ERR_MALFORMED: impossible sizes; SPATE_ERR_TOO_LARGE. */
int sp_peer_message_size(const uint8_t *bytes, size_t size, size_t *out_size);

/* Size of the head of the message at `bytes`, of which sp_peer_message_size has approved. */
size_t sp_peer_head_size(const uint8_t *bytes);

/* Checks a whole head, before the body is read. SPATE_ERR_MALFORMED: checksum, kind, sizes, counts
 * or flags are wrong; SPATE_ERR_UNSUPPORTED: intact, but of another version. */
int sp_peer_head_check(const uint8_t *head);

/* Reads a complete message; out->body borrows from `blob` (no reference taken).
 * SPATE_ERR_MALFORMED: checksum, kind, head size or counts are wrong. */
int sp_peer_message_decode(struct sp_blob *blob,
                           size_t position,
                           size_t size,
                           struct sp_peer_message *out);

/* Entries of HEARTBEATS (struct sp_peer_raft, without a body) and LEADERS bodies, fixed size each.
 */
#define SP_PEER_RAFT_SIZE 88
#define SP_PEER_LEADER_SIZE 24
void sp_peer_raft_encode(const struct sp_peer_raft *raft, uint8_t *bytes);
void sp_peer_raft_decode(const uint8_t *bytes, struct sp_peer_raft *out_raft);
void sp_peer_leader_encode(const struct sp_peer_leader *leader, uint8_t *bytes);
void sp_peer_leader_decode(const uint8_t *bytes, struct sp_peer_leader *out_leader);

#endif /* SP_WIRE_PEER_API_H */
