// SPDX-License-Identifier: Apache-2.0
#include "agent/fallback/ruleset_generation.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/fd.h"
#include "base/io/netns.h"

namespace heddle::agent {
namespace {

struct Question {
  nlmsghdr header;
  nfgenmsg body;
};

Result<Fd> netfilter_socket(int netns_fd) {
  auto scope = ScopedNetns::enter(netns_fd);
  if (!scope) return scope.error();
  Fd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
  if (!fd) return make_errno(errno, "cannot open a netfilter socket");
  return fd;
}

// The generation among the attributes of an answer of `size` bytes.
Result<std::uint32_t> read_answer(const char* bytes, std::size_t size) {
  nlmsghdr header{};
  if (size < sizeof header) return make_error(Errc::protocol, "a netfilter answer is too short");
  std::memcpy(&header, bytes, sizeof header);
  if (header.nlmsg_type == NLMSG_ERROR)
    return make_error(Errc::unsupported, "the kernel does not tell the generation of its nf_tables rules");
  std::size_t at = NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(nfgenmsg));
  while (at + sizeof(nlattr) <= size) {
    nlattr attribute{};
    std::memcpy(&attribute, bytes + at, sizeof attribute);
    if (attribute.nla_len < NLA_HDRLEN || at + attribute.nla_len > size) break;
    std::uint32_t generation = 0;
    if ((attribute.nla_type & NLA_TYPE_MASK) == NFTA_GEN_ID &&
        attribute.nla_len >= NLA_HDRLEN + sizeof generation) {
      std::memcpy(&generation, bytes + at + NLA_HDRLEN, sizeof generation);
      return ntohl(generation);
    }
    at += NLA_ALIGN(attribute.nla_len);
  }
  return make_error(Errc::protocol, "a netfilter answer has no generation");
}

}  // namespace

Result<std::uint32_t> ruleset_generation(int netns_fd) {
  const auto socket = netfilter_socket(netns_fd);
  if (!socket) return socket.error();
  // The kernel answers before send(2) returns; a limit for the case that it does not.
  const timeval limit{1, 0};
  ::setsockopt(socket->get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  Question question{};
  question.header.nlmsg_len = sizeof question;
  question.header.nlmsg_type = (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETGEN;
  question.header.nlmsg_flags = NLM_F_REQUEST;
  question.body.version = NFNETLINK_V0;
  if (::send(socket->get(), &question, sizeof question, 0) < 0)
    return make_errno(errno, "cannot ask for the generation of nf_tables rules");
  alignas(nlmsghdr) std::array<char, 4096> answer;
  const ssize_t got = ::recv(socket->get(), answer.data(), answer.size(), 0);
  if (got < 0) return make_errno(errno, "no answer about the generation of nf_tables rules");
  return read_answer(answer.data(), static_cast<std::size_t>(got));
}

}  // namespace heddle::agent
