/* A file of its own, so that a test can link the same node as a build of another level:
 * SPATE_FEATURE_LEVEL_MAX. */
#include "server/feature_range.h"

#ifndef SPATE_FEATURE_LEVEL_MAX
#define SPATE_FEATURE_LEVEL_MAX SP_FEATURE_LEVEL_MAX
#endif

struct sp_feature_range sp_feature_range_built(void)
{
    return (struct sp_feature_range){ SP_FEATURE_LEVEL_FIRST, SPATE_FEATURE_LEVEL_MAX };
}
