spate_unit_test(broker test_producers USES spate_wire spate_base)
spate_unit_test(broker test_sequences USES spate_wire spate_base)
spate_unit_test(broker test_assign USES spate_base)
spate_unit_test(broker test_consumer_group USES spate_wire spate_base)
