spate_unit_test(broker test_producers USES spate_wire spate_base)
spate_unit_test(broker test_sequences USES spate_wire spate_base)
