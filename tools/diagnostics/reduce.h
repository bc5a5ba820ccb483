// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json.hpp>
#include <string>

// PURE: what of the API server's objects goes into a bundle. Of applications' objects only named fields are
// taken, so that what is not known here (an annotation, a command, an environment, a termination message)
// cannot get in.
namespace heddle::tools {

// A Pod of an application: where and as whom it runs, its ports and probes, its states.
boost::json::object reduce_pod(const boost::json::object& pod);
boost::json::object reduce_service(const boost::json::object& service);
// Endpoints or an EndpointSlice.
boost::json::object reduce_endpoints(const boost::json::object& endpoints);
boost::json::object reduce_namespace(const boost::json::object& name_space);
boost::json::object reduce_node(const boost::json::object& node);

// An Event. Messages of kubelets about containers repeat what applications print and commands of their hooks,
// so only messages about heddle (it is installed in `own_namespace`), networks and scheduling are taken.
boost::json::object reduce_event(const boost::json::object& event, const std::string& own_namespace);
// When it last happened, as the API server writes times; empty: it does not say.
std::string time_of_event(const boost::json::object& event);

// An object of heddle's own installation: all of it but annotations that are not ours, managed fields, values
// of environments and what looks like a credential.
boost::json::object reduce_own(const boost::json::object& object);

}  // namespace heddle::tools
