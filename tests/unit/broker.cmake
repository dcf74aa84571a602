spate_unit_test(broker test_producers USES spate_wire spate_base)
