if(NOT TARGET spate_test_storage)
    add_library(spate_test_storage STATIC
        ${CMAKE_SOURCE_DIR}/tests/lib/test_batch.c ${CMAKE_SOURCE_DIR}/tests/lib/test_store.c)
    target_link_libraries(spate_test_storage
        PRIVATE spate_flags spate_storage spate_io spate_base PkgConfig::CMOCKA)
endif()
foreach(test log_frame log_run log log_recovery log_truncate log_checkpoint log_install
        log_rest log_retention log_read log_close meta meta_verify prefill spares store flips cuts)
    spate_unit_test(storage test_${test} USES spate_test_storage spate_io spate_base)
endforeach()

# The same objects on a disk that loses power: io/file.h and io/loop.h have bodies in tests/lib.
if(NOT TARGET spate_test_crash)
    add_library(spate_test_crash STATIC
        ${CMAKE_SOURCE_DIR}/tests/lib/crash_disk.c ${CMAKE_SOURCE_DIR}/tests/lib/crash_disk_file.c
        ${CMAKE_SOURCE_DIR}/tests/lib/crash_history.c ${CMAKE_SOURCE_DIR}/tests/lib/crash_loop.c
        ${CMAKE_SOURCE_DIR}/tests/lib/crash_log.c ${CMAKE_SOURCE_DIR}/tests/lib/crash_model.c
        ${CMAKE_SOURCE_DIR}/tests/lib/crash_work.c ${CMAKE_SOURCE_DIR}/tests/lib/test_batch.c)
    target_link_libraries(spate_test_crash PRIVATE spate_flags spate_base)
endif()
foreach(test storage_crash ballast full_disk full_disk_checkpoint full_disk_waits)
    spate_unit_test(storage test_${test} USES spate_test_crash spate_storage spate_test_crash
        spate_base)
endforeach()
