# Headers that most sources need are parsed once for all. GCC takes a precompiled header only with the options and
# definitions that it was made with: sluice_compiled(NAME OWNER) gives a target those of its owner.
function(sluice_precompiled name header)
  cmake_parse_arguments(ARG "" "" "DEPS;OPTIONS" ${ARGN})
  add_library(${name} OBJECT ${CMAKE_SOURCE_DIR}/ops/cmake/precompiled.cc)
  set_target_properties(${name} PROPERTIES UNITY_BUILD OFF)
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS})
  target_compile_options(${name} PRIVATE ${ARG_OPTIONS})
  target_precompile_headers(${name} PRIVATE ${CMAKE_SOURCE_DIR}/${header})
endfunction()

function(sluice_compiled name owner)
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  target_compile_options(${name} PRIVATE $<TARGET_PROPERTY:${owner},COMPILE_OPTIONS>)
  target_compile_definitions(${name} PRIVATE $<TARGET_PROPERTY:spdlog::spdlog,INTERFACE_COMPILE_DEFINITIONS>)
  target_precompile_headers(${name} REUSE_FROM ${owner})
endfunction()

# The time of a test goes to what it calls, which is optimised.
set(SLUICE_TEST_OPTIONS $<$<CONFIG:Release>:-O0>)
# Two thirds of what the compiler takes with -O2: for tests that make many steps of their own, and for modules whose
# time goes to what they call.
set(SLUICE_QUICK_OPTIONS $<$<CONFIG:Release>:-O1>)

sluice_precompiled(precompiled ops/cmake/precompiled.h
  DEPS schemas_proto absl::any_invocable absl::btree absl::flat_hash_map absl::flat_hash_set absl::function_ref
       absl::statusor absl::strings absl::synchronization absl::time fmt::fmt prometheus-cpp::core
       spdlog::spdlog)
sluice_precompiled(tests_precompiled tests/support/precompiled.h OPTIONS ${SLUICE_TEST_OPTIONS}
  DEPS $<TARGET_PROPERTY:precompiled,LINK_LIBRARIES> GTest::gmock)

# One small static library per module: sluice_library(schemas_base SOURCES a.cc DEPS absl::status)
function(sluice_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
  if(ARG_SOURCES)
    add_library(${name} STATIC ${ARG_SOURCES})
    target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR})
    target_link_libraries(${name} PUBLIC ${ARG_DEPS} PRIVATE ${ARG_PRIVATE_DEPS})
    sluice_compiled(${name} precompiled)
  else()
    add_library(${name} INTERFACE)
    target_include_directories(${name} INTERFACE ${CMAKE_SOURCE_DIR})
    target_link_libraries(${name} INTERFACE ${ARG_DEPS})
  endif()
endfunction()

# What `ctest -L unit` needs: with these ops/test begins.
add_custom_target(unit_tests)

# sluice_test(projectors_store_test LABEL unit SOURCES store/a_test.cc store/b_test.cc DEPS projectors_store)
# The tests of a module are one program, but for those that change what the whole process has, such as a limit.
# LABEL is one of unit, property, fault, integration: the presets of the sanitizers run unit and property.
# OPTIMISED, and property tests: they make many steps of their own.
# TIMEOUT: seconds, 300 without it. SHARDS: ctest runs the program's cases in as many parts, side by side.
function(sluice_test name)
  cmake_parse_arguments(ARG "OPTIMISED" "LABEL;TIMEOUT;SHARDS" "SOURCES;DEPS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gmock_main)
  if(ARG_OPTIMISED OR ARG_LABEL STREQUAL "property")
    sluice_compiled(${name} precompiled)
    target_compile_options(${name} PRIVATE ${SLUICE_QUICK_OPTIONS})
  else()
    sluice_compiled(${name} tests_precompiled)
  endif()
  if(ARG_LABEL STREQUAL "unit")
    add_dependencies(unit_tests ${name})
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

# A suite that several programs link: an object library, so that no test of it is left out.
function(sluice_test_suite name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_library(${name} OBJECT ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC ${ARG_DEPS} GTest::gmock)
  sluice_compiled(${name} tests_precompiled)
endfunction()

# sluice_bench(store_bench DEPS projectors_store), and sluice_smoke(store_bench 2000) for ctest: only that it runs
# with these arguments. Numbers come from running it by hand.
function(sluice_bench name)
  cmake_parse_arguments(ARG "" "" "DEPS" ${ARGN})
  add_executable(${name} ${name}.cc)
  target_link_libraries(${name} PRIVATE ${ARG_DEPS})
  sluice_compiled(${name} precompiled)
endfunction()
function(sluice_smoke name)
  add_test(NAME ${name}_smoke COMMAND ${name} ${ARGN})
  set_tests_properties(${name}_smoke PROPERTIES LABELS bench TIMEOUT 120)
endfunction()
