# The one way to declare targets: spate_library for a folder, spate_program, spate_unit_test,
# spate_fuzzer.

if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Build type" FORCE)
endif()
set(SPATE_SANITIZE "" CACHE STRING "Sanitizers: address;undefined or thread")
option(SPATE_WERROR "Treat warnings as errors" OFF)
option(SPATE_FUZZ "Build the libFuzzer targets of tests/fuzz (needs clang)" OFF)
if(SPATE_FUZZ AND NOT CMAKE_C_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "SPATE_FUZZ needs clang: configure with -DCMAKE_C_COMPILER=clang")
endif()

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

find_program(SPATE_CCACHE ccache)
if(SPATE_CCACHE AND NOT CMAKE_C_COMPILER_LAUNCHER)
    set(CMAKE_C_COMPILER_LAUNCHER ${SPATE_CCACHE})
endif()

add_library(spate_flags INTERFACE)
target_include_directories(spate_flags INTERFACE
    ${CMAKE_SOURCE_DIR}/include ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR})
target_compile_definitions(spate_flags INTERFACE
    _GNU_SOURCE SPATE_VERSION="${PROJECT_VERSION}")
target_compile_options(spate_flags INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes
    -Wmissing-prototypes -Wold-style-definition -Wcast-qual -Wcast-align -Wpointer-arith
    -Wformat=2 -Wundef -Wvla -Wswitch-enum -Wimplicit-fallthrough -Wwrite-strings
    -fno-omit-frame-pointer)
if(SPATE_WERROR)
    target_compile_options(spate_flags INTERFACE -Werror)
endif()
if(SPATE_SANITIZE)
    string(REPLACE ";" "," sanitizers "${SPATE_SANITIZE}")
    target_compile_options(spate_flags INTERFACE -fsanitize=${sanitizers} -fno-sanitize-recover=all)
    target_link_options(spate_flags INTERFACE -fsanitize=${sanitizers})
endif()
if(SPATE_FUZZ)
    target_compile_options(spate_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# Tests of a sanitizer build carry its name, so that several builds fit into one ctest run.
set(SPATE_TEST_PREFIX "")
set(SPATE_UNIT_LABEL unit)
if(SPATE_SANITIZE MATCHES "thread")
    set(SPATE_TEST_PREFIX "tsan/")
    set(SPATE_UNIT_LABEL tsan)
elseif(SPATE_SANITIZE)
    set(SPATE_TEST_PREFIX "asan/")
    set(SPATE_UNIT_LABEL asan)
endif()

# spate_library(NAME SOURCES ... USES ...): the folder's static library `spate_NAME`. USES names the
# targets it may call; third-party ones are private by nature of their one home.
function(spate_library name)
    cmake_parse_arguments(arg "" "" "SOURCES;USES" ${ARGN})
    add_library(spate_${name} STATIC ${arg_SOURCES})
    target_link_libraries(spate_${name} PRIVATE spate_flags ${arg_USES})
endfunction()

function(spate_program name)
    cmake_parse_arguments(arg "" "" "SOURCES;USES" ${ARGN})
    add_executable(${name} ${arg_SOURCES})
    target_link_libraries(${name} PRIVATE spate_flags ${arg_USES})
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
    install(TARGETS ${name} RUNTIME COMPONENT spate)
endfunction()

# spate_unit_test(FOLDER FILE [USES ...]): tests/unit/FILE.c against that folder's target alone.
function(spate_unit_test folder file)
    cmake_parse_arguments(arg "" "" "USES" ${ARGN})
    add_executable(${file} ${CMAKE_SOURCE_DIR}/tests/unit/${file}.c)
    target_link_libraries(${file} PRIVATE spate_flags spate_${folder} ${arg_USES} PkgConfig::CMOCKA)
    set_target_properties(${file} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    set(test ${SPATE_TEST_PREFIX}unit/${folder}/${file})
    add_test(NAME ${test} COMMAND ${file})
    set_tests_properties(${test} PROPERTIES LABELS ${SPATE_UNIT_LABEL} TIMEOUT 120)
endfunction()

# spate_fuzzer(FILE [USES ...] [CORPUS DIR]): tests/fuzz/FILE.c, a libFuzzer target, and a test that
# runs it for a few seconds over its seeds. Nothing without SPATE_FUZZ.
function(spate_fuzzer file)
    if(NOT SPATE_FUZZ)
        return()
    endif()
    cmake_parse_arguments(arg "" "CORPUS" "USES" ${ARGN})
    add_executable(${file} ${CMAKE_SOURCE_DIR}/tests/fuzz/${file}.c)
    target_link_libraries(${file} PRIVATE spate_flags ${arg_USES})
    target_link_options(${file} PRIVATE -fsanitize=fuzzer)
    set_target_properties(${file} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
    # New inputs go to the build tree; the seeds in the source tree are only read.
    set(found ${CMAKE_BINARY_DIR}/fuzz/corpus-${file})
    file(MAKE_DIRECTORY ${found})
    add_test(NAME fuzz/${file}
        COMMAND ${file} -max_total_time=5 -timeout=5 -rss_limit_mb=1024
                -artifact_prefix=${CMAKE_BINARY_DIR}/fuzz/ ${found} ${arg_CORPUS})
    set_tests_properties(fuzz/${file} PROPERTIES LABELS fuzz TIMEOUT 60)
endfunction()
