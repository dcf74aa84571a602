/* Inside `spate produce`: what was asked for, and how far it has come. */
#ifndef SPATE_CLI_PRODUCE_H
#define SPATE_CLI_PRODUCE_H

#include "cli/cli.h"
#include "cli/input.h"
#include "cli/missing.h"
#include "cli/progress.h"
#include "cli/resume.h"

enum {
    HEADERS_MAX = 64,
    TOPIC_SIZE = 256, /* more than a name can have, with NUL */
};

struct produce {
    struct cli *cli;
    struct spate_producer *producer;
    struct input_reader *input;
    struct progress progress;
    const char *topic; /* NULL: each record names its own */
    char named_topic[TOPIC_SIZE];
    int32_t partition;
    const char *key;
    bool tombstone;    /* one record: the key without a value */
    bool empty_is_nil; /* empty values are sent as none */
    struct spate_header headers[HEADERS_MAX + FORMAT_HEADERS_MAX]; /* those of -H first */
    size_t header_count;
    struct format format;
    bool format_set;
    const char *split;    /* -f or -K as given */
    struct resume resume; /* its name NULL: nothing is skipped */
    char *delimiter;
    size_t delimiter_size;
    const char *file;
    const char *compression;
    int64_t rate; /* records a second; 0: as fast as it goes */
    bool show_progress;
    const char *stats_path;
    uint64_t read; /* records of the input so far, also those that failed */
    struct missing missing;
    bool stopped;        /* at this record, in front of the end of the input */
    int failure;         /* the last code that a record failed with */
    uint64_t codes_told; /* a bit for each code that was told */
    bool fenced;         /* another process has the name by now, and that was told */
    struct {             /* the first failure under a name; it is asked why before it is told */
        int status;      /* 0: none, or it was told */
        int32_t partition;
        char text[512];
    } first;
};

/* Reads the command's options and its topic. 0, or the exit code of an error that has been told. */
int produce_options(struct produce *produce, int argc, char **argv);

#endif /* SPATE_CLI_PRODUCE_H */
