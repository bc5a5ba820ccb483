# SPDX-License-Identifier: Apache-2.0
# Compiler settings common to every target: language level, warnings, ccache, linker, sanitizers.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 11)
# One code model everywhere, or the shared precompiled header is refused; -static programs may link it too.
set(CMAKE_POSITION_INDEPENDENT_CODE OFF)
add_compile_options(-fPIE)

set(HEDDLE_SANITIZE "" CACHE STRING "Sanitizers, as -fsanitize= takes them (empty: none)")
option(HEDDLE_FUZZ "Build the fuzz targets (needs clang)" OFF)
option(HEDDLE_WERROR "Treat warnings as errors" ON)
option(HEDDLE_CCACHE "Use ccache when it is installed" ON)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
set(CMAKE_C_FLAGS_DEBUG "-O0 -g1")
set(CMAKE_CXX_FLAGS_DEBUG "-O0 -g1 -D_GLIBCXX_ASSERTIONS")
set(CMAKE_C_FLAGS_RELEASE "-O2 -g1 -fno-omit-frame-pointer")
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1 -fno-omit-frame-pointer")

add_library(heddle_options INTERFACE)
target_compile_options(heddle_options INTERFACE
  -Wall -Wextra -Wshadow -Wundef -Wimplicit-fallthrough
  $<$<COMPILE_LANGUAGE:CXX>:-Woverloaded-virtual>
  -fstack-protector-strong)
if(HEDDLE_WERROR)
  target_compile_options(heddle_options INTERFACE -Werror)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # gcc 12 reports false positives of these in libstdc++ and coroutine frames (PR105562, PR105705).
  target_compile_options(heddle_options INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict -Wno-maybe-uninitialized -Wno-stringop-overflow -Wno-array-bounds>)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  # It finds what gcc's own library uses deprecated.
  target_compile_options(heddle_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-deprecated-declarations>)
endif()
# Also for code that is compiled without our warnings: generated, Asio's, llhttp's.
set(HEDDLE_SANITIZE_FLAGS)
if(HEDDLE_SANITIZE)
  set(HEDDLE_SANITIZE_FLAGS -fsanitize=${HEDDLE_SANITIZE} -fno-omit-frame-pointer)
  if(HEDDLE_SANITIZE MATCHES "undefined")
    # Its check opens a pipe to see whether an address can be read, and fails in tests that use up all descriptors.
    list(APPEND HEDDLE_SANITIZE_FLAGS -fno-sanitize=vptr)
  endif()
  target_compile_options(heddle_options INTERFACE ${HEDDLE_SANITIZE_FLAGS} -fno-sanitize-recover=all -O1)
  target_link_options(heddle_options INTERFACE -fsanitize=${HEDDLE_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # False positives once optimised (PR105651), and Asio's fences, which it pairs with atomics that TSan follows.
    target_compile_options(heddle_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-stringop-overread>)
    if(HEDDLE_SANITIZE MATCHES "thread")
      target_compile_options(heddle_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-tsan>)
    endif()
  endif()
endif()
if(HEDDLE_FUZZ)
  target_compile_options(heddle_options INTERFACE -fsanitize=fuzzer-no-link)
endif()

find_program(HEDDLE_CCACHE_PROGRAM ccache)
if(HEDDLE_CCACHE AND HEDDLE_CCACHE_PROGRAM)
  # The sloppiness is what ccache's manual asks for with precompiled headers.
  set(launcher ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      CCACHE_NOHASHDIR=1 ${HEDDLE_CCACHE_PROGRAM})
  set(CMAKE_C_COMPILER_LAUNCHER ${launcher})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${launcher})
endif()
find_program(HEDDLE_MOLD mold)
if(HEDDLE_MOLD)
  add_link_options(-fuse-ld=mold)
endif()
