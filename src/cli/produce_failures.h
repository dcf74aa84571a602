/* What `spate produce` says of records that failed: the first few, and the first of each reason. */
#ifndef SPATE_CLI_PRODUCE_FAILURES_H
#define SPATE_CLI_PRODUCE_FAILURES_H

#include "cli/produce.h"
#include "spate/producer.h"

/* One that the library had taken. Under a name it is only noted: see failures_tell_first. */
void failure_of_delivery(struct produce *produce, const struct spate_delivery *delivery);

/* One that it did not take: the newest of the input. */
void failure_of_record(struct produce *produce, int status, const char *text);

/* Asks the library for the reason of the first failure under a name, if there is one to be told. */
void failures_tell_first(struct produce *produce);

#endif /* SPATE_CLI_PRODUCE_FAILURES_H */
