// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>

#include "control/source/decode.h"
#include "control/source/snapshot.h"

namespace heddle::test {

inline std::shared_ptr<const source::Snapshot> snapshot_of(std::string_view yaml, std::uint64_t version = 1) {
  auto objects = source::parse_objects(yaml, source::Format::yaml);
  EXPECT_TRUE(objects) << objects.error().message();
  return std::make_shared<const source::Snapshot>(objects ? std::move(*objects) : source::Objects{}, version);
}

inline SocketAddress at(std::string_view text) {
  return SocketAddress::parse(text).value();
}

// A meshed namespace "shop" on two nodes with service "web" (80 -> http) of the given slice entries.
inline std::string shop(std::string_view endpoints) {
  return std::string(R"(
{apiVersion: v1, kind: Namespace, metadata: {name: shop, annotations: {linkerd.io/inject: enabled}}}
---
{apiVersion: v1, kind: Node, metadata: {name: n1, labels: {topology.kubernetes.io/zone: z1}}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2, labels: {topology.kubernetes.io/zone: z2}}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIP: 10.96.0.10
  ports: [{name: http, port: 80, targetPort: http}, {name: db, port: 3306}, {name: admin, port: 9999, targetPort: 99}]
---
apiVersion: v1
kind: Pod
metadata:
  name: web-1
  namespace: shop
  labels: {pod-template-hash: abc}
  ownerReferences: [{kind: ReplicaSet, name: web-front-abc, controller: true}]
spec: {nodeName: n1, serviceAccountName: web}
status: {podIP: 10.1.0.1}
---
apiVersion: v1
kind: Pod
metadata:
  name: web-2
  namespace: shop
  annotations: {config.linkerd.io/skip-inbound-ports: "8080", config.linkerd.io/opaque-ports: "3306"}
  ownerReferences: [{kind: Job, name: once, controller: true}]
spec: {nodeName: n2, serviceAccountName: web}
status: {podIP: 10.1.0.2}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-a, namespace: shop, labels: {kubernetes.io/service-name: web}}
ports: [{name: http, port: 8080}, {name: db, port: 3306}]
endpoints: [)") +
         std::string(endpoints) + "]\n";
}

inline constexpr std::string_view web_1 =
    "{addresses: [10.1.0.1], nodeName: n1, targetRef: {kind: Pod, name: web-1}}";
inline constexpr std::string_view web_2 =
    "{addresses: [10.1.0.2], nodeName: n2, targetRef: {kind: Pod, name: web-2}}";

inline std::string both() {
  return std::string(web_1) + ", " + std::string(web_2);
}

}  // namespace heddle::test
