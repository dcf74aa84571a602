spate_unit_test(broker test_producers USES spate_wire spate_base)
spate_unit_test(broker test_sequences USES spate_wire spate_base)
spate_unit_test(broker test_sequences_crowd USES spate_wire spate_base)
spate_unit_test(broker test_partition_command USES spate_wire spate_base)
spate_unit_test(broker test_assign USES spate_base)
spate_unit_test(broker test_consumer_group USES spate_wire spate_base)
spate_unit_test(broker test_consumer_group_bytes USES spate_wire spate_base)
spate_unit_test(broker test_consumer_upgrade USES spate_wire spate_base)
spate_unit_test(broker test_consumer_time USES spate_wire spate_base)
spate_unit_test(broker test_consumer_room USES spate_wire spate_base)
spate_unit_test(broker test_broker
    USES spate_cluster spate_storage spate_net spate_wire spate_io spate_base)
spate_unit_test(broker test_group_committed
    USES spate_cluster spate_storage spate_net spate_wire spate_io spate_base)
spate_unit_test(broker test_partition
    USES spate_cluster spate_storage spate_net spate_wire spate_io spate_base)
spate_unit_test(broker test_taking USES spate_base)
spate_unit_test(broker test_held USES spate_net spate_wire spate_base)
# Its clock and timers stand before those of src/io, which other parts of the broker bring along.
target_link_options(test_held PRIVATE -Wl,--allow-multiple-definition)
# The same.
spate_unit_test(broker test_fetch_closing USES spate_net spate_wire spate_base)
target_link_options(test_fetch_closing PRIVATE -Wl,--allow-multiple-definition)
spate_unit_test(broker test_health
    USES spate_cluster spate_storage spate_net spate_wire spate_io spate_base)
# The same, and parts of the cluster.
target_link_options(test_health PRIVATE -Wl,--allow-multiple-definition)
spate_unit_test(broker test_coordinator
    USES spate_cluster spate_storage spate_net spate_wire spate_io spate_base)
# The same, and what stands around the coordinator.
target_link_options(test_coordinator PRIVATE -Wl,--allow-multiple-definition)
spate_unit_test(broker test_group_members
    USES spate_cluster spate_storage spate_net spate_wire spate_io spate_base)
# The same, and what stands around the members.
target_link_options(test_group_members PRIVATE -Wl,--allow-multiple-definition)
spate_unit_test(broker test_compact_pass USES spate_wire spate_base)
spate_unit_test(broker test_compactor_look USES spate_cluster spate_wire spate_base)
# Whole passes over a log, on a disk that loses power; see tests/unit/storage.cmake.
foreach(test compaction compaction_faults compaction_room compaction_swap)
    spate_unit_test(broker test_${test}
        USES spate_test_crash spate_storage spate_wire spate_test_crash spate_base)
endforeach()
