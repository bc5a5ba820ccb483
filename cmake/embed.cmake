# SPDX-License-Identifier: Apache-2.0
# cmake -D FOLDER=dir -D OUT=file.cpp -P embed.cmake: the files below FOLDER as one C++ source (tools/deploy/chart_files.h).
file(GLOB_RECURSE paths RELATIVE ${FOLDER} ${FOLDER}/*)
list(SORT paths)
set(text "// Made from ${FOLDER}.\n#include \"tools/deploy/chart_files.h\"\n\nnamespace heddle::tools {\nnamespace {\n\nconstexpr ChartFile files[] = {\n")
foreach(path ${paths})
  file(READ ${FOLDER}/${path} content)
  string(APPEND text "    {\"${path}\", R\"heddle_file(${content})heddle_file\"},\n")
endforeach()
string(APPEND text "};\n\n}  // namespace\n\nstd::span<const ChartFile> chart_files() { return files; }\n\n}  // namespace heddle::tools\n")
file(WRITE ${OUT} "${text}")
