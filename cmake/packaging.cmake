# SPDX-License-Identifier: Apache-2.0
# `cmake --install` and `cpack` (three Debian packages: the CLI, the node's processes, the plugin).
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_VENDOR "heddle authors")
set(CPACK_PACKAGE_CONTACT "heddle authors <maintainers@heddle.example>")
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
include(CPack)
