spate_unit_test(client test_client USES spate_net spate_wire spate_io spate_base)
spate_unit_test(client test_client_use USES spate_net spate_wire spate_io spate_base)
spate_unit_test(client test_producer USES spate_net spate_wire spate_io spate_base)
spate_unit_test(client test_consumer USES spate_net spate_wire spate_io spate_base)
