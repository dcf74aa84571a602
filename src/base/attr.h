/* Compiler extensions that Spate uses, under one name each. */
#ifndef SP_BASE_ATTR_H
#define SP_BASE_ATTR_H

#define SP_PRINTF(format_index, first_index)                                                       \
    __attribute__((format(printf, format_index, first_index)))
#define SP_NORETURN __attribute__((noreturn))
#define SP_UNUSED __attribute__((unused))
#define SP_CHECK_RESULT __attribute__((warn_unused_result))
#define SP_CLEANUP(function) __attribute__((cleanup(function)))
#define SP_EXPORT __attribute__((visibility("default")))
#define SP_TARGET(features) __attribute__((target(features)))

/* 1 in a build with AddressSanitizer. */
#if defined(__SANITIZE_ADDRESS__)
#define SP_ADDRESS_SANITIZED 1
#elif defined(__has_feature)
#define SP_ADDRESS_SANITIZED __has_feature(address_sanitizer)
#else
#define SP_ADDRESS_SANITIZED 0
#endif

/* The struct of `type` whose member `member` is at `pointer`. */
#define SP_CONTAINER_OF(pointer, type, member)                                                     \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#endif /* SP_BASE_ATTR_H */
