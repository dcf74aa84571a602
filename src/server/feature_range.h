/* The feature levels that this program knows (base/feature.h). */
#ifndef SP_SERVER_FEATURE_RANGE_H
#define SP_SERVER_FEATURE_RANGE_H

#include "base/feature.h"

struct sp_feature_range sp_feature_range_built(void);

#endif /* SP_SERVER_FEATURE_RANGE_H */
