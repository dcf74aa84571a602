# Third-party libraries, each used in one folder only (docs/architecture.md, "Libraries").
# deploy/install-packages installs the Debian packages that carry them.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

# spate_require(NAME MODULE PACKAGE): the library of a pkg-config module, as PkgConfig::NAME.
function(spate_require name module package)
    pkg_check_modules(${name} IMPORTED_TARGET GLOBAL ${module})
    if(NOT ${name}_FOUND)
        message(FATAL_ERROR
            "${module} is missing: install ${package}, or run deploy/install-packages build")
    endif()
endfunction()

spate_require(UV libuv libuv1-dev)
spate_require(LZ4 liblz4 liblz4-dev)
spate_require(MSGPACK msgpack libmsgpack-dev)
spate_require(YAML yaml-0.1 libyaml-dev)
spate_require(JANSSON jansson libjansson-dev)
spate_require(MICROHTTPD libmicrohttpd libmicrohttpd-dev)

find_path(SPATE_UTHASH_DIR uthash.h)
if(NOT SPATE_UTHASH_DIR)
    message(FATAL_ERROR
        "uthash.h is missing: install uthash-dev, or run deploy/install-packages build")
endif()

# Consensus: libraft 0.22.1. By default Debian's own source package is built with its assertions on;
# SPATE_SYSTEM_RAFT takes the installed library instead. See docs/decisions/0001.
option(SPATE_SYSTEM_RAFT "Use the installed libraft (>= 0.22.1) instead of building it" OFF)
add_library(spate_raft INTERFACE)
if(SPATE_SYSTEM_RAFT)
    spate_require(RAFT "raft>=0.22.1" "libraft-dev 0.22.1 or newer")
    target_link_libraries(spate_raft INTERFACE PkgConfig::RAFT)
else()
    set(SPATE_RAFT_DIR ${CMAKE_SOURCE_DIR}/.deps/libraft CACHE PATH "Where libraft is built")
    set(SPATE_RAFT_TARBALL "$ENV{SPATE_RAFT_TARBALL}" CACHE FILEPATH
        "A copy of raft_0.22.1.orig.tar.gz, for builds without a network")
    execute_process(
        COMMAND ${CMAKE_COMMAND} -E env "SPATE_RAFT_TARBALL=${SPATE_RAFT_TARBALL}"
                ${CMAKE_SOURCE_DIR}/cmake/get-libraft ${SPATE_RAFT_DIR}
        RESULT_VARIABLE get_libraft_result)
    if(NOT get_libraft_result EQUAL 0)
        message(FATAL_ERROR "libraft could not be built: see the lines above")
    endif()
    target_include_directories(spate_raft SYSTEM INTERFACE ${SPATE_RAFT_DIR}/include)
    target_link_libraries(spate_raft INTERFACE ${SPATE_RAFT_DIR}/lib/libraft.a)
    set_property(DIRECTORY APPEND PROPERTY
        CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/cmake/get-libraft)
endif()
