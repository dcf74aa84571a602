spate_unit_test(server test_config)
spate_unit_test(server test_json_text USES spate_wire spate_base)
spate_unit_test(http test_http USES spate_io spate_base)
spate_unit_test(http test_http_clients USES spate_io spate_base)
