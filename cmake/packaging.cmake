# SPDX-License-Identifier: Apache-2.0
# `cmake --install` and `cpack`: three Debian packages, each of the programs (install components) of its group.
#   heddle        the command and the programs that labs run
#   heddle-agent  what runs on a node and serves it: agent, proxy, control
#   heddle-cni    the plugin, which also installs itself elsewhere (heddle-cni install)
# BPF programs are inside heddle-agent; there are no data files.
install(FILES ${CMAKE_SOURCE_DIR}/LICENSE DESTINATION share/doc/heddle COMPONENT heddle)
install(FILES ${CMAKE_SOURCE_DIR}/LICENSE DESTINATION share/doc/heddle-agent COMPONENT heddle-agent)
install(FILES ${CMAKE_SOURCE_DIR}/LICENSE DESTINATION share/doc/heddle-cni COMPONENT heddle-cni)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME heddle)
set(CPACK_PACKAGE_VENDOR "heddle authors")
set(CPACK_PACKAGE_CONTACT "heddle authors <maintainers@heddle.example>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_GROUPING ONE_PER_GROUP)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_ENABLE_COMPONENT_DEPENDS OFF)

set(CPACK_DEBIAN_CLI_PACKAGE_NAME heddle)
set(CPACK_DEBIAN_CLI_DESCRIPTION "Views of heddle's agents and proxies, checks, and labs: clusters made of network namespaces.")
set(CPACK_DEBIAN_CLI_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_CLI_PACKAGE_RECOMMENDS "heddle-agent, heddle-cni, iproute2, containernetworking-plugins")

set(CPACK_DEBIAN_NODE_PACKAGE_NAME heddle-agent)
set(CPACK_DEBIAN_NODE_DESCRIPTION "The agent steers pods' TCP traffic to one proxy per node; control serves discovery and certificates.")
set(CPACK_DEBIAN_NODE_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_NODE_PACKAGE_RECOMMENDS "heddle-cni")

set(CPACK_DEBIAN_CNI_PACKAGE_NAME heddle-cni)
set(CPACK_DEBIAN_CNI_DESCRIPTION "Chained after the plugin that makes a pod's interface. Static, needs nothing of the host.")
set(CPACK_DEBIAN_CNI_PACKAGE_SHLIBDEPS OFF)

include(CPack)
cpack_add_component_group(cli)
cpack_add_component_group(node)
cpack_add_component_group(cni)
foreach(component heddle heddle-lab-load)
  cpack_add_component(${component} GROUP cli)
endforeach()
foreach(component heddle-agent heddle-proxy heddle-control)
  cpack_add_component(${component} GROUP node)
endforeach()
cpack_add_component(heddle-cni GROUP cni)
