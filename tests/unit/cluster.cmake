spate_unit_test(cluster test_controller USES spate_base)
spate_unit_test(cluster test_placement USES spate_base)
spate_unit_test(cluster test_state USES spate_base)
