# Compiler settings for our own code. Third-party headers are system headers, so warnings are ours alone.
set(SLUICE_SANITIZE "" CACHE STRING "Value for -fsanitize=, or empty")
option(SLUICE_FUZZ "Build the libFuzzer targets (Clang only)" OFF)
# Most of a unit's time goes to headers and templates that its neighbours need too. The preset `clang` turns this
# off: there each source is compiled alone, as clang-tidy needs it, and so includes what it uses.
set(CMAKE_UNITY_BUILD ON CACHE BOOL "Compile the sources of a target as few units")
set(CMAKE_UNITY_BUILD_BATCH_SIZE 12 CACHE STRING "Sources in a unit; 0: all of the target")

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 11)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")
set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g1")

# The client's shared library needs it, and everything shares a precompiled header with what is in that.
add_compile_options(-fPIC)
add_compile_options(-Wall -Wextra -Wshadow $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor> -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  add_compile_options(-Wthread-safety)
else()
  # No garbage collection in the compiler below 1 GiB of its heap: an eighth of its time, and no unit needs 2 GiB.
  add_compile_options(--param=ggc-min-heapsize=1048576)
  # GCC 12 reports false positives of these in libstdc++ and coroutine frames at -O2.
  add_compile_options(-Wno-restrict -Wno-maybe-uninitialized -Wno-stringop-overflow
                      -Wno-array-bounds -Wno-dangling-pointer
                      # A source is no header, though a unit includes it.
                      $<$<COMPILE_LANGUAGE:CXX>:-Wno-subobject-linkage>
                      $<$<COMPILE_LANGUAGE:CXX>:-Wno-mismatched-new-delete>)
endif()
if(SLUICE_SANITIZE)
  add_compile_options(-fsanitize=${SLUICE_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${SLUICE_SANITIZE})
  if(SLUICE_SANITIZE MATCHES "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-Wno-tsan)  # Asio's fences, which ThreadSanitizer does not see
  endif()
  if(SLUICE_SANITIZE MATCHES "undefined")
    add_compile_options(-fno-sanitize-recover=undefined)
  endif()
endif()

find_program(SLUICE_CCACHE ccache)
if(SLUICE_CCACHE)
  set(CMAKE_C_COMPILER_LAUNCHER ${SLUICE_CCACHE})
  # As its manual asks for precompiled headers.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros
                                  ${SLUICE_CCACHE})
  add_compile_options($<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CXX_COMPILER_ID:GNU>>:-fpch-preprocess>)
endif()
find_program(SLUICE_MOLD mold)
if(SLUICE_MOLD)
  add_link_options(-fuse-ld=mold)
endif()
