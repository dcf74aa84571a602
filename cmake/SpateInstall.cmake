# The library as others use it, and what `cmake --install` puts where: libspate.so.0 and libspate.a,
# the headers, pkg-config and CMake files, manual pages, examples. The programs install themselves.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(SPATE_LIBRARY_FOLDERS client net wire io base)
set(objects "")
foreach(folder ${SPATE_LIBRARY_FOLDERS})
    list(APPEND objects $<TARGET_OBJECTS:spate_${folder}>)
endforeach()

# ---- the shared library --------------------------------------------------------------------------

add_library(spate_shared SHARED ${objects})
set_target_properties(spate_shared PROPERTIES
    OUTPUT_NAME spate
    EXPORT_NAME spate
    VERSION ${PROJECT_VERSION}
    SOVERSION 0
    LINKER_LANGUAGE C
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib
    LINK_DEPENDS ${CMAKE_SOURCE_DIR}/cmake/libspate.map)
target_include_directories(spate_shared INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(spate_shared PRIVATE
    PkgConfig::UV PkgConfig::LZ4 PkgConfig::MSGPACK Threads::Threads)
# Never unloaded: a thread that asks a slow name server outlives the client that started it.
target_link_options(spate_shared PRIVATE
    -Wl,-z,nodelete
    -Wl,--version-script=${CMAKE_SOURCE_DIR}/cmake/libspate.map)
if(SPATE_SANITIZE)
    target_link_options(spate_shared PRIVATE -fsanitize=${sanitizers})
else()
    # What is missing must be missed here, not in the user's program.
    target_link_options(spate_shared PRIVATE -Wl,--no-undefined)
endif()

# ---- the static library --------------------------------------------------------------------------

# One object, in which only the public functions are left to see: a static program may have an
# `sp_map_new` of its own.
set(SPATE_STATIC_LIBRARY ${CMAKE_BINARY_DIR}/lib/libspate.a)
add_custom_command(
    OUTPUT ${SPATE_STATIC_LIBRARY}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/lib
    COMMAND ${CMAKE_COMMAND} -E rm -f ${SPATE_STATIC_LIBRARY}
    COMMAND ${CMAKE_LINKER} -r -o ${CMAKE_BINARY_DIR}/lib/spate.o ${objects}
    COMMAND ${CMAKE_OBJCOPY} --localize-hidden ${CMAKE_BINARY_DIR}/lib/spate.o
    COMMAND ${CMAKE_AR} rcs ${SPATE_STATIC_LIBRARY} ${CMAKE_BINARY_DIR}/lib/spate.o
    DEPENDS ${objects}
    COMMAND_EXPAND_LISTS VERBATIM
    COMMENT "Joining libspate.a")
add_custom_target(spate_static ALL DEPENDS ${SPATE_STATIC_LIBRARY})

# ---- manual pages --------------------------------------------------------------------------------

find_program(SPATE_PYTHON python3 PATHS /usr/bin NO_DEFAULT_PATH)
file(GLOB public_headers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/include/spate/*.h)
if(SPATE_PYTHON)
    set(man_directory ${CMAKE_BINARY_DIR}/man)
    add_custom_command(
        OUTPUT ${man_directory}/man3/libspate.3
        COMMAND ${SPATE_PYTHON} -B ${CMAKE_SOURCE_DIR}/cmake/make_man_pages.py
                ${CMAKE_SOURCE_DIR}/include/spate ${PROJECT_VERSION} ${man_directory}
        DEPENDS ${public_headers} ${CMAKE_SOURCE_DIR}/cmake/make_man_pages.py
                ${CMAKE_SOURCE_DIR}/cmake/spate_headers.py
        VERBATIM COMMENT "Manual pages from the headers")
    add_custom_target(spate_man ALL DEPENDS ${man_directory}/man3/libspate.3)
    install(DIRECTORY ${man_directory}/man3 DESTINATION ${CMAKE_INSTALL_MANDIR})
else()
    message(STATUS "No manual pages in this build: install python3")
endif()
# What the program tells of itself.
if(TARGET spate)
    set(told ${CMAKE_BINARY_DIR}/told)
    add_custom_command(
        OUTPUT ${told}/spate.1 ${told}/spate
        COMMAND ${CMAKE_COMMAND} -E make_directory ${told}
        COMMAND $<TARGET_FILE:spate> generate man > ${told}/spate.1
        COMMAND $<TARGET_FILE:spate> generate completion bash > ${told}/spate
        DEPENDS spate
        COMMENT "Manual page and completion of spate")
    add_custom_target(spate_told ALL DEPENDS ${told}/spate.1 ${told}/spate)
    install(FILES ${told}/spate.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT spate)
    install(FILES ${told}/spate
        DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions COMPONENT spate)
endif()

# ---- what finds it -------------------------------------------------------------------------------

# pkg_path(OUT DIRECTORY): the directory below ${prefix} when it is relative.
function(pkg_path out directory)
    if(IS_ABSOLUTE "${directory}")
        set(${out} "${directory}" PARENT_SCOPE)
    else()
        set(${out} "\${prefix}/${directory}" PARENT_SCOPE)
    endif()
endfunction()
# Installed files are found from where they lie, so that another --prefix at installation holds too.
set(pc_prefix "${CMAKE_INSTALL_PREFIX}")
if(NOT IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
    file(RELATIVE_PATH pc_prefix "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
    string(REGEX REPLACE "/$" "" pc_prefix "\${pcfiledir}/${pc_prefix}")
endif()
pkg_path(pc_libdir "${CMAKE_INSTALL_LIBDIR}")
pkg_path(pc_includedir "${CMAKE_INSTALL_INCLUDEDIR}")
set(private ${UV_STATIC_LDFLAGS} ${LZ4_STATIC_LDFLAGS} ${MSGPACK_STATIC_LDFLAGS} -pthread)
list(REMOVE_DUPLICATES private)
list(JOIN private " " pc_private)
set(config_private "${private}")
configure_file(${CMAKE_SOURCE_DIR}/cmake/spate.pc.in ${CMAKE_BINARY_DIR}/spate.pc @ONLY)

set(config_directory ${CMAKE_INSTALL_LIBDIR}/cmake/Spate)
set(config_to_libdir ../..)
configure_file(
    ${CMAKE_SOURCE_DIR}/cmake/SpateConfig.cmake.in ${CMAKE_BINARY_DIR}/SpateConfig.cmake @ONLY)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/SpateConfigVersion.cmake
    VERSION ${PROJECT_VERSION} COMPATIBILITY SameMinorVersion)

# ---- where it goes -------------------------------------------------------------------------------

install(TARGETS spate_shared EXPORT SpateTargets LIBRARY)
install(FILES ${SPATE_STATIC_LIBRARY} DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES ${public_headers} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/spate)
install(EXPORT SpateTargets NAMESPACE Spate:: DESTINATION ${config_directory})
install(FILES ${CMAKE_BINARY_DIR}/SpateConfig.cmake ${CMAKE_BINARY_DIR}/SpateConfigVersion.cmake
    DESTINATION ${config_directory})
install(FILES ${CMAKE_BINARY_DIR}/spate.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/docs/examples DESTINATION ${CMAKE_INSTALL_DOCDIR})
