/* libspate: everything a client of a Spate cluster needs, in one include. */
#ifndef SPATE_SPATE_H
#define SPATE_SPATE_H

#include "spate/admin.h"
#include "spate/client.h"
#include "spate/consumer.h"
#include "spate/error.h"
#include "spate/producer.h"

#endif /* SPATE_SPATE_H */
