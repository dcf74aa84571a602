/* jepsen-check: judges what the clients of a run wrote down. Exit code 0: valid; 1: anomalies;
 * 2: it cannot be decided. */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "compaction.h"
#include "json.h"
#include "series.h"
#include "verdict.h"
#include "window.h"

struct arguments {
    const char *histories;
    const char *nemesis;
    const char *replicas;
    const char *json;
    const char *text;
};

static const struct argp_option option_table[] = {
    { "histories", 'h', "DIR", 0, "DIR/*.log are the histories of the clients", 0 },
    { "nemesis", 'n', "FILE", 0, "the faults of the run", 0 },
    { "replicas", 'r', "FILE", 0, "what jepsen-replicas wrote", 0 },
    { "json", 'j', "FILE", 0, "the verdict for programs", 0 },
    { "text", 't', "FILE", 0, "lines of the histories around each anomaly", 0 },
    { 0 },
};

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    const char **place = key == 'h'   ? &arguments->histories
                         : key == 'n' ? &arguments->nemesis
                         : key == 'r' ? &arguments->replicas
                         : key == 'j' ? &arguments->json
                         : key == 't' ? &arguments->text
                                      : NULL;

    if (place == NULL) {
        return ARGP_ERR_UNKNOWN;
    }
    *place = text;
    return 0;
}

struct totals {
    uint64_t sent; /* records, by outcome */
    uint64_t acknowledged;
    uint64_t failed;
    uint64_t unknown;
    uint64_t read;
    uint64_t final;
};

static struct totals count(const struct jep_history *history)
{
    struct totals totals = { 0 };

    for (size_t i = 0; i < history->sends.count; i++) {
        const struct jep_send *send = &history->sends.items[i];
        totals.sent += send->count;
        totals.acknowledged += send->outcome == JEP_OK ? send->count : 0;
        totals.failed += send->outcome == JEP_FAIL ? send->count : 0;
        totals.unknown += send->outcome == JEP_UNKNOWN ? send->count : 0;
    }
    for (size_t i = 0; i < history->polls.count; i++) {
        for (uint32_t r = history->polls.items[i].first_run; r < jep_runs_end(history, i); r++) {
            uint32_t records = history->runs.items[r].count;
            totals.read += records;
            totals.final += history->polls.items[i].final ? records : 0;
        }
    }
    return totals;
}

/* A run in which nothing was acknowledged shows nothing. */
static const char *word_of(const struct jep_history *history, const struct jep_verdict *verdict)
{
    if (jep_anomalies(verdict) > 0) {
        return "anomalies";
    }
    return verdict->undecided > 0 || count(history).acknowledged == 0 ? "unknown" : "valid";
}

static void write_anomalies(struct jep_json *json,
                            const struct jep_history *history,
                            const struct jep_verdict *verdict)
{
    jep_json_begin(json, "anomalies", '[');
    for (unsigned i = 0; i < JEP_ANOMALY_COUNT; i++) {
        jep_json_begin(json, NULL, '{');
        jep_json_text(json, "kind", jep_anomaly_name(i));
        jep_json_text(json, "meaning", jep_anomaly_meaning(i));
        jep_json_int(json, "count", (int64_t)verdict->counts[i]);
        jep_json_begin(json, "examples", '[');
        for (unsigned n = 0; n < JEP_EXAMPLES_MAX && n < verdict->counts[i]; n++) {
            const struct jep_example *example = &verdict->examples[i][n];
            jep_json_begin(json, NULL, '{');
            jep_json_int(json, "time_ns", example->time_ns);
            if (example->key != JEP_NONE) {
                jep_json_text(json, "partition", jep_key_words(history, example->key));
            }
            jep_json_text(json, "text", example->text);
            jep_json_end(json, '}');
        }
        jep_json_end(json, ']');
        jep_json_end(json, '}');
    }
    jep_json_end(json, ']');
}

static void write_json(struct jep_json *json,
                       const struct jep_history *history,
                       const struct jep_verdict *verdict,
                       const struct jep_faults *faults)
{
    struct totals totals = count(history);

    jep_json_begin(json, NULL, '{');
    jep_json_text(json, "verdict", word_of(history, verdict));
    jep_json_begin(json, "counts", '{');
    jep_json_int(json, "lines", (int64_t)history->lines);
    jep_json_int(json, "clients", (int64_t)history->clients.count);
    jep_json_int(json, "partitions", (int64_t)history->keys.count);
    jep_json_int(json, "sends", (int64_t)history->sends.count);
    jep_json_int(json, "polls", (int64_t)history->polls.count);
    jep_json_int(json, "sent", (int64_t)totals.sent);
    jep_json_int(json, "acknowledged", (int64_t)totals.acknowledged);
    jep_json_int(json, "failed", (int64_t)totals.failed);
    jep_json_int(json, "unknown", (int64_t)totals.unknown);
    jep_json_int(json, "read", (int64_t)totals.read);
    jep_json_int(json, "read_finally", (int64_t)totals.final);
    jep_json_int(json, "read_again", (int64_t)verdict->read_again);
    jep_json_int(json, "removed", (int64_t)verdict->removed);
    jep_json_int(json, "late", (int64_t)verdict->late);
    jep_json_int(json, "undecided", (int64_t)verdict->undecided);
    jep_json_int(json, "replicas", (int64_t)verdict->replicas);
    jep_json_int(json, "replica_frames", (int64_t)verdict->replica_frames);
    jep_json_end(json, '}');
    jep_json_int(json, "first_ns", history->first_ns);
    jep_json_int(json, "last_ns", history->last_ns);
    write_anomalies(json, history, verdict);
    jep_series_write(history, faults, json);
    jep_json_end(json, '}');
    putc('\n', json->file);
}

static void print(const struct jep_history *history, const struct jep_verdict *verdict)
{
    struct totals totals = count(history);

    printf("%s: %" PRIu64 " records sent, %" PRIu64 " acknowledged, %" PRIu64 " failed, %" PRIu64
           " unknown; %" PRIu64 " read, %" PRIu64 " of them in the end; %" PRIu64 " anomalies\n",
           word_of(history, verdict),
           totals.sent,
           totals.acknowledged,
           totals.failed,
           totals.unknown,
           totals.read,
           totals.final,
           jep_anomalies(verdict));
    for (unsigned i = 0; i < JEP_ANOMALY_COUNT; i++) {
        if (verdict->counts[i] > 0) {
            printf("%s: %" PRIu64 ": %s\n",
                   jep_anomaly_name(i),
                   verdict->counts[i],
                   jep_anomaly_meaning(i));
        }
        for (unsigned n = 0; n < JEP_EXAMPLES_MAX && n < verdict->counts[i]; n++) {
            printf("  %s\n", verdict->examples[i][n].text);
        }
    }
    if (verdict->undecided > 0) {
        printf("%" PRIu64 " partitions were not read to their end\n", verdict->undecided);
    }
}

/* ---- files ----------------------------------------------------------------------------------- */

static int failed(const char *path)
{
    fprintf(stderr, "jepsen-check: %s: %s\n", path, strerror(errno));
    return -1;
}

static int save(const struct arguments *arguments,
                const struct jep_history *history,
                const struct jep_verdict *verdict,
                const struct jep_faults *faults)
{
    FILE *json = arguments->json == NULL ? NULL : fopen(arguments->json, "w");
    FILE *text = arguments->text == NULL ? NULL : fopen(arguments->text, "w");
    int rv = 0;

    if (arguments->json != NULL) {
        if (json == NULL) {
            return failed(arguments->json);
        }
        write_json(&(struct jep_json){ .file = json }, history, verdict, faults);
        rv = fclose(json) != 0 ? failed(arguments->json) : rv;
    }
    if (arguments->text != NULL) {
        if (text == NULL) {
            return failed(arguments->text);
        }
        rv |= jep_windows_write(history, verdict, arguments->histories, arguments->nemesis, text);
        rv = fclose(text) != 0 ? failed(arguments->text) : rv;
    }
    return rv;
}

static void check(struct jep_history *history, struct jep_verdict *verdict)
{
    jep_history_build(history, verdict);
    jep_compaction_build(history);
    jep_check_values(history, verdict);
    jep_check_starts(history, verdict);
    jep_check_compact(history, verdict);
    jep_check_polls(history, verdict);
    jep_check_sends(history, verdict);
    jep_check_time(history, verdict);
    jep_check_groups(history, verdict);
    jep_check_admin(history, verdict);
    jep_check_graph(history, verdict);
}

int main(int argc, char **argv)
{
    static const struct argp argp = {
        .options = option_table,
        .parser = parse,
        .doc = "Judges what the clients of a run wrote down.",
    };
    static struct jep_verdict verdict;
    struct jep_faults faults = { 0 };
    struct arguments arguments = { 0 };
    struct jep_history history;

    if (argp_parse(&argp, argc, argv, 0, NULL, &arguments) != 0 || arguments.histories == NULL) {
        fprintf(stderr, "jepsen-check: --histories DIR is needed\n");
        return 2;
    }
    if (jep_history_read(&history, arguments.histories) != 0 ||
        (arguments.nemesis != NULL && jep_faults_read(&faults, arguments.nemesis) != 0) ||
        (arguments.replicas != NULL && jep_check_replicas(arguments.replicas, &verdict) != 0)) {
        return 2;
    }
    check(&history, &verdict);
    print(&history, &verdict);
    if (save(&arguments, &history, &verdict, &faults) != 0) {
        return 2;
    }
    const char *word = word_of(&history, &verdict);
    return strcmp(word, "valid") == 0 ? 0 : strcmp(word, "anomalies") == 0 ? 1 : 2;
}
