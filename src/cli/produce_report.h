/* What produce --json prints: a line for each record that was stored or failed. */
#ifndef SPATE_CLI_PRODUCE_REPORT_H
#define SPATE_CLI_PRODUCE_REPORT_H

#include "spate/producer.h"

/* Prints {"topic","partition","offset"} or {"topic","partition","error","text"}. */
void report_delivery(const struct spate_delivery *delivery);

#endif /* SPATE_CLI_PRODUCE_REPORT_H */
