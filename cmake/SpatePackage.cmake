# The service and its configuration, and the Debian packages `spate` (programs, service) and
# `libspate-dev` (library, headers, manual): `cmake --build build && cpack --config
# build/CPackConfig.cmake -B build/packages`.
#
#   what                 --prefix /usr (the packages)           another prefix
#   programs             /usr/bin                               PREFIX/bin
#   service              /usr/lib/systemd/system/spated.service PREFIX/lib/systemd/system
#   configuration        /etc/spate/spated.yaml                 PREFIX/etc/spate/spated.yaml
#
# The service names the places where its own files are.
install(CODE "
    set(settings \"\${CMAKE_INSTALL_PREFIX}/etc/spate\")
    if(CMAKE_INSTALL_PREFIX STREQUAL \"/usr\")
        set(settings /etc/spate)
    endif()
    file(READ \"${CMAKE_SOURCE_DIR}/deploy/systemd/spated.service\" unit)
    string(REPLACE \"/usr/bin/spated\" \"\${CMAKE_INSTALL_PREFIX}/bin/spated\" unit \"\${unit}\")
    string(REPLACE \"/etc/spate/\" \"\${settings}/\" unit \"\${unit}\")
    file(WRITE \"${CMAKE_BINARY_DIR}/told/spated.service\" \"\${unit}\")
    file(INSTALL DESTINATION \"\${CMAKE_INSTALL_PREFIX}/lib/systemd/system\" TYPE FILE
        FILES \"${CMAKE_BINARY_DIR}/told/spated.service\")
    if(NOT EXISTS \"\$ENV{DESTDIR}\${settings}/spated.yaml\") # somebody's settings stay
        file(INSTALL DESTINATION \"\${settings}\" TYPE FILE
            FILES \"${CMAKE_SOURCE_DIR}/deploy/spated.yaml\")
    endif()
    " COMPONENT spate)
install(FILES ${CMAKE_SOURCE_DIR}/README.md ${CMAKE_SOURCE_DIR}/deploy/debian/copyright
    DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/spate COMPONENT spate)
install(FILES ${CMAKE_SOURCE_DIR}/deploy/debian/copyright
    DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/libspate-dev COMPONENT development)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME spate)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "Spate developers <spate@localhost>")
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL spate development)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)

set(CPACK_DEBIAN_SPATE_PACKAGE_NAME spate)
set(CPACK_DEBIAN_SPATE_PACKAGE_SECTION net)
set(CPACK_DEBIAN_SPATE_PACKAGE_DEPENDS "adduser, init-system-helpers (>= 1.54)")
set(CPACK_COMPONENT_SPATE_DESCRIPTION "replicated log: node and command line
Nodes of a Spate cluster keep topics: append-only logs of records, split into
partitions, each replicated by a Raft group of its own. This package holds the
node spated with its service, and the command line spate.")
set(CPACK_DEBIAN_SPATE_PACKAGE_CONTROL_EXTRA
    ${CMAKE_SOURCE_DIR}/deploy/debian/conffiles ${CMAKE_SOURCE_DIR}/deploy/debian/postinst
    ${CMAKE_SOURCE_DIR}/deploy/debian/prerm ${CMAKE_SOURCE_DIR}/deploy/debian/postrm)
set(CPACK_DEBIAN_SPATE_PACKAGE_CONTROL_STRICT_PERMISSION ON)

set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libspate-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION "replicated log: client library
libspate, the client library of Spate, shared and static, with its headers,
manual pages and examples.")
include(CPack)
