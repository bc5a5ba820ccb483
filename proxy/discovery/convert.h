// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "proxy/discovery/entry.h"

namespace io::linkerd::proxy::destination {
class DestinationProfile;
class Update;
}  // namespace io::linkerd::proxy::destination

namespace heddle::proxy {

// From the API's messages. Endpoints without a usable address are left out: the rest still counts. Bounded by
// gRPC's limit of a message's size.
ProfileUpdate convert(const io::linkerd::proxy::destination::DestinationProfile& message);
EndpointsUpdate convert(const io::linkerd::proxy::destination::Update& message);

}  // namespace heddle::proxy
