#include "cli/question.h"

#include "io/thread.h"

static void ask(void *arg)
{
    struct question *question = arg;

    json_t *params = question->name == NULL ? NULL : json_pack("{ss}", "name", question->name);

    question->status = call_json(&question->cli, question->method, params, &question->answer);
}

void question_prepare(const struct cli *cli, struct question *question, int64_t timeout_ms)
{
    question->cli = *cli;
    question->cli.client = NULL;
    question->cli.config = NULL;
    question->cli.servers = question->address;
    question->cli.timeout_ms = timeout_ms;
    question->status = SPATE_ERR_INVALID; /* an address that is none */
    (void)connect_client(&question->cli); /* it has told why not */
}

void question_begin(struct question *question)
{
    if (question->cli.client == NULL) {
        return;
    }
    int rv = sp_thread_start(ask, question, &question->thread);
    if (rv != 0) {
        question->status = rv; /* else the thread writes it, by now perhaps */
    }
}

void question_end(struct question *question)
{
    sp_thread_join(question->thread);
    question->thread = NULL;
    spate_client_free(question->cli.client);
    spate_config_free(question->cli.config);
    question->cli.client = NULL;
    question->cli.config = NULL;
}
