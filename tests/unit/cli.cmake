spate_unit_test(cli test_format USES spate_wire spate_base PkgConfig::JANSSON)
spate_unit_test(cli test_cli
    USES spate_client spate_cluster spate_net spate_wire spate_io spate_base PkgConfig::JANSSON)
spate_unit_test(cli test_cli_settings
    USES spate_client spate_cluster spate_net spate_wire spate_io spate_base PkgConfig::JANSSON)
spate_unit_test(cli test_consume_member
    USES spate_client spate_cluster spate_net spate_wire spate_io spate_base PkgConfig::JANSSON)
spate_unit_test(cli test_latency_histogram USES spate_base PkgConfig::JANSSON)
spate_unit_test(cli test_health_merge USES spate_wire spate_base PkgConfig::JANSSON)
spate_unit_test(cli test_health_text USES spate_wire spate_base PkgConfig::JANSSON)
spate_unit_test(cli test_health_leaderless USES spate_wire spate_base PkgConfig::JANSSON)
