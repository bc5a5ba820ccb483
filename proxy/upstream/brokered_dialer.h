// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <list>
#include <unordered_map>
#include <vector>

#include "base/fd.h"
#include "proxy/io/loop.h"
#include "proxy/io/tcp_stream.h"
#include "proxy/upstream/dial.h"

namespace heddle::proxy {

class BrokeredDial;

// A worker's Dialer over its reserve of brokered sockets: per pod and family a few unconnected sockets of
// that pod's netns. One of each family that the pod has waits from the start, so that no first connection
// does: with many pods and workers more would be most of the process' descriptors. A reserve that ran empty
// grows (8 to 64), as does one that would not last two seconds at the recent rate, and what a burst lacks is
// asked for at once; one that is idle shrinks; it is refilled when half is used. Sockets whose connection
// ended in order come back, if the agent that made them is still there: making one costs more than all else
// that the mesh adds to a connection. While the agent is away the reserve is used up, then dials wait for the
// next agent, `socket_patience` at most.
class BrokeredDialer final : public Dialer {
 public:
  // Asks the agent for `count` sockets of the family. Called on the worker's thread; must not call back from
  // inside.
  using Request = std::function<void(std::uint32_t pod_id, bool ipv6, std::uint32_t count)>;

  BrokeredDialer(Loop& loop, Request request);
  ~BrokeredDialer() override;

  std::unique_ptr<Pending> dial(DialRequest request, Done done) override;

  void pod_upserted(const PodRef& pod);
  // What the agent made for the pod so far will not be let past its redirection any more: the reserve is
  // closed and asked for anew, and what is in use does not come back.
  void renew(std::uint32_t pod_id);
  // Closes the reserve; dials that wait for a socket fail.
  void pod_removed(std::uint32_t pod_id);
  // Sockets for the reserve, as answer to a request or as a gift. For unknown pods they are closed. `error`
  // is set when the agent could not make any: dials that wait fail with it.
  void add_sockets(std::uint32_t pod_id, bool ipv6, std::vector<Fd> sockets, const std::string& error);
  // The agent is (again) there and has forgotten what was asked.
  void agent_ready();

  // Sockets in reserve, for tests and metrics.
  std::size_t reserved(std::uint32_t pod_id, bool ipv6) const;
  std::size_t waiting() const { return waiting_; }

 private:
  friend class BrokeredDial;
  // Streams may outlive the dialer: with it gone their sockets are closed.
  struct Returns final : SocketReturns {
    void give_back(Fd socket, const SocketOrigin& origin) override;
    BrokeredDialer* dialer = nullptr;
  };
  struct Spare {
    Fd socket;
    std::uint32_t generation = 0;  // see generation_
    bool shows_client = false;     // the kernel was told of one for an earlier connection
  };
  struct Reserve {
    std::vector<Spare> sockets;
    std::list<BrokeredDial*> waiting;
    std::uint32_t target = 1;       // sockets to have: see brokered_dialer.cpp
    std::uint32_t outstanding = 0;  // asked for, not yet received
    std::uint32_t used = 0;         // since the last look
    unsigned idle_looks = 0;        // in a row, at which little had been used
    bool wanted = false;            // keep a reserve before the first use
  };
  struct PodReserves {
    PodRef pod;
    ShareRef share;     // what is dialled for the pod belongs to it, whoever asked
    Reserve family[2];  // IPv4, IPv6
  };

  Reserve* find(std::uint32_t pod_id, bool ipv6);
  ShareRef share_of(std::uint32_t pod_id) const;
  void refill(std::uint32_t pod_id, bool ipv6, Reserve& reserve);
  void next_generation();
  void add(Reserve& reserve, Spare spare);
  void give_back(Fd socket, const SocketOrigin& origin);
  void fail_waiting(Reserve& reserve, const Error& error);
  void shrink();

  Loop& loop_;
  Request request_;
  Timer shrink_timer_;
  std::shared_ptr<Returns> returns_;
  // Counts agents (nat rules may not know an earlier one's sockets) and renewals.
  std::uint32_t generation_ = 0;
  std::unordered_map<std::uint32_t, PodReserves> pods_;
  std::size_t waiting_ = 0;
};

}  // namespace heddle::proxy
