# One small static library per module: sluice_library(schemas_base SOURCES a.cc DEPS absl::status)
function(sluice_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
  if(ARG_SOURCES)
    add_library(${name} STATIC ${ARG_SOURCES})
    target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR})
    target_link_libraries(${name} PUBLIC ${ARG_DEPS} PRIVATE ${ARG_PRIVATE_DEPS})
  else()
    add_library(${name} INTERFACE)
    target_include_directories(${name} INTERFACE ${CMAKE_SOURCE_DIR})
    target_link_libraries(${name} INTERFACE ${ARG_DEPS})
  endif()
endfunction()

# The time of a test goes to what it calls.
set(SLUICE_TEST_OPTIONS $<$<CONFIG:Release>:-O1>)

# sluice_test(projectors_store_test LABEL unit SOURCES store/a_test.cc store/b_test.cc DEPS projectors_store)
# The tests of a module are one program, but for those that change what the whole process has, such as a limit.
# LABEL is one of unit, property, fault, integration: the presets of the sanitizers run unit and property.
# TIMEOUT: seconds, 300 without it. SHARDS: ctest runs the program's cases in as many parts, side by side.
function(sluice_test name)
  cmake_parse_arguments(ARG "" "LABEL;TIMEOUT;SHARDS" "SOURCES;DEPS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gmock_main)
  target_link_libraries(${name} PRIVATE fmt::fmt)  # the precompiled header has it
  target_compile_options(${name} PRIVATE ${SLUICE_TEST_OPTIONS})
  if(NOT ARG_SOURCES MATCHES "\\.c(;|$)")
    target_precompile_headers(${name} REUSE_FROM tests_precompiled)
  endif()
  if(SLUICE_SANITIZE MATCHES "thread")
    target_link_libraries(${name} PRIVATE tests_support_tsan)  # Abseil's locks, made visible
  endif()
  if(NOT ARG_SHARDS)
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABEL}" TIMEOUT ${ARG_TIMEOUT})
    return()
  endif()
  math(EXPR last "${ARG_SHARDS} - 1")
  foreach(shard RANGE ${last})
    add_test(NAME ${name}_${shard} COMMAND ${name})
    set_tests_properties(${name}_${shard} PROPERTIES LABELS "${ARG_LABEL}" TIMEOUT ${ARG_TIMEOUT}
      ENVIRONMENT "GTEST_TOTAL_SHARDS=${ARG_SHARDS};GTEST_SHARD_INDEX=${shard}")
  endforeach()
endfunction()
