spate_unit_test(net test_budget USES spate_io spate_base)
spate_unit_test(net test_input)
spate_unit_test(net test_conn USES spate_io spate_base)
spate_unit_test(net test_rpc USES spate_io spate_wire spate_base)
