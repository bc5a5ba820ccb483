// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <list>

#include "proxy/io/loop.h"
#include "proxy/io/tcp_stream.h"
#include "proxy/upstream/brokered_dialer.h"

namespace heddle::proxy {

// One dial: waits for a socket, connects it, hands it over. Owned by who dialled; destroying it cancels.
class BrokeredDial final : public Dialer::Pending, private StreamEvents {
 public:
  BrokeredDial(BrokeredDialer& dialer, Loop& loop, DialRequest request, Dialer::Done done);
  ~BrokeredDial() override;

  void wait_in(std::list<BrokeredDial*>& queue);
  void connect(BrokeredDialer::Spare spare);
  // Reports the failure from the loop, never from inside the caller.
  void fail_later(Error error);
  // The dialer is gone: nothing will come any more.
  void orphan();

 private:
  void leave_queue();
  void timed_out();
  void finish(Result<std::unique_ptr<Stream>> result);
  void on_readable() override {}
  void on_writable() override;

  BrokeredDialer* dialer_;
  Loop& loop_;
  DialRequest request_;
  Dialer::Done done_;
  Timer timer_;
  std::list<BrokeredDial*>* queue_ = nullptr;
  std::list<BrokeredDial*>::iterator place_;
  std::unique_ptr<TcpStream> stream_;
  std::shared_ptr<BrokeredDial*> self_;  // while a deferred failure is on its way
};

}  // namespace heddle::proxy
