/* Whom to ask about a partition, by its description: its leader, or a replica in the reader's rack.
 */
#ifndef SP_CLIENT_METADATA_SERVERS_H
#define SP_CLIENT_METADATA_SERVERS_H

#include "client/client.h"
#include "wire/metadata.h"

/* The connection to the leader. NULL: none is known, or no memory for it. */
struct sp_connection *sp_metadata_leader(struct spate_client *client,
                                         const struct sp_metadata *metadata,
                                         const struct sp_metadata_partition *partition);

/* The connection to a replica in the rack of this client; readers of several partitions spread over
 * those that there are. NULL: the leader is as near as any. */
struct sp_connection *sp_metadata_near(struct spate_client *client,
                                       const struct sp_metadata *metadata,
                                       const struct sp_metadata_partition *partition);

#endif /* SP_CLIENT_METADATA_SERVERS_H */
