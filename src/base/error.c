/* Names and meanings of the result codes, generated from the one list. */
#include "spate/error.h"

#include <stddef.h>
#include <string.h>

struct error_entry {
    const char *name;
    const char *meaning;
    int code;
    int retriable;
};

static const struct error_entry entries[] = {
#define ERROR_ENTRY(name, number, retriable, meaning) { #name, meaning, number, retriable },
    SPATE_ERROR_LIST(ERROR_ENTRY)
#undef ERROR_ENTRY
};

enum {
    ENTRY_COUNT = sizeof entries / sizeof entries[0],
};

static const struct error_entry *entry_of(int code)
{
    for (size_t i = 0; i < ENTRY_COUNT; i++) {
        if (entries[i].code == code) {
            return &entries[i];
        }
    }
    return NULL;
}

const char *spate_error_name(int code)
{
    const struct error_entry *entry = entry_of(code);

    if (code == 0) {
        return "OK";
    }
    return entry == NULL ? "UNKNOWN" : entry->name;
}

const char *spate_strerror(int code)
{
    const struct error_entry *entry = entry_of(code);

    if (code == 0) {
        return "success";
    }
    return entry == NULL ? "a code that this version does not know" : entry->meaning;
}

int spate_error_retriable(int code)
{
    const struct error_entry *entry = entry_of(code);

    return entry == NULL ? 0 : entry->retriable;
}

int spate_error_from_name(const char *name, unsigned long size)
{
    for (size_t i = 0; name != NULL && i < ENTRY_COUNT; i++) {
        if (strlen(entries[i].name) == size && memcmp(entries[i].name, name, size) == 0) {
            return entries[i].code;
        }
    }
    return SPATE_ERR_INTERNAL;
}
