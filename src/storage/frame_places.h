/* Where the fields of a log frame's header stand; integers are little-endian (storage/log_frame.h).
 * Included only inside src/storage. */
#ifndef SP_STORAGE_FRAME_PLACES_H
#define SP_STORAGE_FRAME_PLACES_H

enum {
    FRAME_AT_VERSION = 0,
    FRAME_AT_KIND = 1,
    FRAME_AT_FLAGS = 2,
    FRAME_AT_LENGTH = 4,
    FRAME_AT_GROUP_ID = 8,
    FRAME_AT_TERM = 16,
    FRAME_AT_INDEX = 24,
    FRAME_AT_APPEND_TIME = 32,
    FRAME_AT_CRC = 40,
    FRAME_AT_CHAIN = 44,
};

#endif /* SP_STORAGE_FRAME_PLACES_H */
