if(NOT TARGET spate_test_storage)
    add_library(spate_test_storage STATIC
        ${CMAKE_SOURCE_DIR}/tests/lib/test_batch.c ${CMAKE_SOURCE_DIR}/tests/lib/test_store.c)
    target_link_libraries(spate_test_storage
        PRIVATE spate_flags spate_storage spate_io spate_base PkgConfig::CMOCKA)
endif()
foreach(test log_frame log log_recovery log_truncate log_checkpoint log_read meta store)
    spate_unit_test(storage test_${test} USES spate_test_storage spate_io spate_base)
endforeach()
