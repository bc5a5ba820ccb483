// SPDX-License-Identifier: Apache-2.0
#include "tests/bpf/fixture.h"

#include <bpf/bpf.h>

#include "agent/datapath/pins.h"
#include "base/io/cgroup.h"
#include "base/io/netns.h"

namespace heddle::agent {

using test::SocketMaker;

DatapathTest::DatapathTest() {
  pods_cgroup_ = cgroup_.child("pods");
  const auto container = cgroup_.child("pods/container");  // programs sit on the parent, apps live below it
  mesh_cgroup_ = cgroup_.child("mesh");
  kubelet_cgroup_ = cgroup_.child("kubelet");
  pod_netns_ = test::make_netns();
  neighbour_netns_ = test::make_netns();
  test::join_with_veth({pod_netns_.get(), "eth0", {"10.77.0.2/24", "fd77::2/64"}},
                       {neighbour_netns_.get(), "eth0", {"10.77.0.1/24", "10.77.0.9/24", "fd77::1/64"}});
  test::must_run_in(pod_netns_.get(),
                    "ip route add default via 10.77.0.1; ip -6 route add default via fd77::1");
  app_ = std::make_unique<SocketMaker>(container, pod_netns_.get());
  mesh_ = std::make_unique<SocketMaker>(mesh_cgroup_, pod_netns_.get());
  neighbour_ = std::make_unique<SocketMaker>(cgroup_.path(), neighbour_netns_.get());
  kubelet_ = std::make_unique<SocketMaker>(kubelet_cgroup_, neighbour_netns_.get());
  pod_.id = 7;
  pod_.netns_cookie = netns_cookie(pod_netns_.get()).value();
  test::in_netns(pod_netns_.get(), [this] { pod_.addresses = local_addresses().value(); });
  pod_.outbound_port = outbound_port;
  pod_.inbound_port = inbound_port;
}

Datapath::Options DatapathTest::options() const {
  Datapath::Options out;
  out.pin_folder = bpffs_.path() + "/heddle";
  out.pods_cgroup = pods_cgroup_;
  out.mesh_cgroup = mesh_cgroup_;
  if (use_probe_cgroup_) out.probe_cgroup = kubelet_cgroup_;
  return out;
}

void DatapathTest::make_listeners() {
  outbound_ = mesh_->make(AF_INET6);
  test::listen_on(outbound_, "[::]:" + std::to_string(outbound_port));
  inbound_ = mesh_->make(AF_INET6);
  test::listen_on(inbound_, "[::]:" + std::to_string(inbound_port));
}

void DatapathTest::enrol() {
  if (!datapath_) {
    auto opened = Datapath::open(options());
    ASSERT_TRUE(opened) << opened.error().message();
    datapath_ = std::move(*opened);
  }
  make_listeners();
  enrol_again();
}

void DatapathTest::enrol_again() {
  const auto prepared = datapath_->prepare(pod_, pod_netns_.get(), inbound_.get());
  ASSERT_TRUE(prepared) << prepared.error().message();
  const auto enrolled = datapath_->set_enrolled(pod_, true);
  ASSERT_TRUE(enrolled) << enrolled.error().message();
}

DatapathTest::Captured DatapathTest::capture(Fd app, const std::string& dst) {
  Captured out;
  out.connect_result = test::connect_to(app, dst);
  out.app = std::move(app);
  EXPECT_EQ(out.connect_result, 0) << dst << " " << counts_text();
  out.proxy = test::accept_from(outbound_);
  EXPECT_TRUE(out.proxy) << "nothing arrived at the outbound listener; " << counts_text();
  int error = 0;
  out.original = test::original_dst(out.proxy, &error);
  EXPECT_EQ(error, 0) << "SO_ORIGINAL_DST; " << counts_text();
  EXPECT_EQ(out.original.to_string(), SocketAddress::parse(dst).value().to_string());
  return out;
}

std::string DatapathTest::counts_text() const {
  std::string out;
  for (const std::uint32_t id : {0u, pod_.id}) {
    const auto counts = datapath_->counts(id);
    for (std::size_t i = 0; i < counts.size(); ++i) {
      if (counts[i] != 0) {
        out +=
            std::string(verdict_name(static_cast<heddle_verdict>(i))) + "=" + std::to_string(counts[i]) + " ";
      }
    }
  }
  return out;
}

void DatapathTest::forget_destinations() const {
  const Fd map(bpf_obj_get((version_folder(options().pin_folder) + "/maps/connects").c_str()));
  heddle_tuple key{};
  while (bpf_map_get_next_key(map.get(), nullptr, &key) == 0) bpf_map_delete_elem(map.get(), &key);
}

int DatapathTest::map_entries(const std::string& name) const {
  const Fd map(bpf_obj_get((version_folder(options().pin_folder) + "/maps/" + name).c_str()));
  std::array<char, 64> key{};
  std::array<char, 64> next{};
  int out = 0;
  for (const void* from = nullptr; bpf_map_get_next_key(map.get(), from, next.data()) == 0;
       from = key.data()) {
    key = next;
    ++out;
  }
  return out;
}

}  // namespace heddle::agent
