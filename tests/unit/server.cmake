spate_unit_test(server test_config)
spate_unit_test(http test_http USES spate_io spate_base)
