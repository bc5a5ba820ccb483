// SPDX-License-Identifier: Apache-2.0
#include "agent/probe_report.h"

#include <boost/json.hpp>

#include "agent/datapath/datapath.h"
#include "agent/fallback/redirect.h"

namespace heddle::agent {

std::string probe_report(std::optional<RedirectBackend> iptables_backend) {
  boost::json::array hooks;
  for (const auto& hook : Datapath::probe()) {
    hooks.push_back(
        boost::json::object{{"hook", hook.hook}, {"usable", hook.usable}, {"reason", hook.reason}});
  }
  Redirect::Options options;
  options.mark = 0x48444c45;  // any: rules are only loaded here, nothing passes them
  options.only = iptables_backend;
  const auto redirect = Redirect::probe(options);
  return boost::json::serialize(boost::json::object{
      {"hooks", std::move(hooks)},
      {"iptables_usable", redirect.has_value()},
      {"iptables", redirect ? std::string(to_string(redirect->backend())) : redirect.error().message()}});
}

}  // namespace heddle::agent
