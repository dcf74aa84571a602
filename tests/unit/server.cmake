spate_unit_test(server test_config)
