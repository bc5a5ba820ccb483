// SPDX-License-Identifier: Apache-2.0
#include "tools/views/link.h"

#include "tools/cluster/exec.h"
#include "tools/http/client.h"

namespace heddle::tools {
namespace {

constexpr std::size_t longest_body = 64 * 1024 * 1024;

const char* name_of(AdminOf program) {
  return program == AdminOf::agent ? "agent" : "proxy";
}

class SocketLink final : public AdminLink {
 public:
  explicit SocketLink(std::string run_dir) : run_dir_(std::move(run_dir)) {}

  Result<std::string> get(AdminOf program, const std::string& target) const override {
    auto reply = http_get(socket(program), target);
    if (!reply) return reply.error();
    if (reply->status != 200) {
      return make_error(Errc::unavailable, "GET " + target + " answered " + std::to_string(reply->status) +
                                               ": " + reply->body.substr(0, 300));
    }
    return std::move(reply->body);
  }
  Result<> stream(AdminOf program, const std::string& target, int stop_fd,
                  const std::function<bool(std::string_view)>& line) const override {
    return http_stream(socket(program), target, stop_fd, line);
  }
  Result<std::string> run(const std::vector<std::string>&) const override {
    return make_error(Errc::unsupported, "this is the node itself");
  }

 private:
  std::string socket(AdminOf program) const { return run_dir_ + "/" + name_of(program) + "/admin.sock"; }

  std::string run_dir_;
};

class PodLink final : public AdminLink {
 public:
  PodLink(std::shared_ptr<const source::kubernetes::Access> access, ExecTarget pod)
      : access_(std::move(access)), pod_(std::move(pod)) {}

  Result<std::string> get(AdminOf program, const std::string& target) const override {
    std::string body;
    const auto done = collect(command(program, target), body);
    if (!done) return done.error();
    if (done->end.exit_code != 0) return failed(target, *done);
    return body;
  }

  Result<std::string> run(const std::vector<std::string>& arguments) const override {
    std::vector<std::string> argv{"heddle"};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    std::string out;
    const auto done = collect(argv, out);
    if (!done) return done.error();
    if (out.empty() && done->end.exit_code != 0) return failed(argv[1], *done);
    return out;
  }

  Result<> stream(AdminOf program, const std::string& target, int stop_fd,
                  const std::function<bool(std::string_view)>& line) const override {
    ExecOptions options;
    options.silence.reset();
    options.stop_fd = stop_fd;
    std::string kept;
    const auto done =
        exec_in_pod(*access_, pod_, command(program, target), options, [&](std::string_view bytes) {
          kept += bytes;
          std::size_t start = 0;
          for (auto end = kept.find('\n'); end != std::string::npos; end = kept.find('\n', start)) {
            if (!line(std::string_view(kept).substr(start, end - start))) return false;
            start = end + 1;
          }
          kept.erase(0, start);
          return kept.size() <= longest_body;
        });
    if (!done) return done.error();
    if (!done->stopped && done->end.exit_code != 0) return failed(target, *done);
    return {};
  }

 private:
  Result<ExecResult> collect(const std::vector<std::string>& argv, std::string& out) const {
    auto done = exec_in_pod(*access_, pod_, argv, {}, [&](std::string_view bytes) {
      out += bytes;
      return out.size() <= longest_body;
    });
    if (done && done->stopped) return make_error(Errc::exhausted, "more than 64 MiB came back");
    return done;
  }
  static std::vector<std::string> command(AdminOf program, const std::string& target) {
    return {"heddle", "admin", name_of(program), target};
  }

  // What the program in the pod said, as it said it.
  Error failed(const std::string& target, const ExecResult& result) const {
    std::string said = result.standard_error;
    if (const std::string_view ours = "heddle: "; said.starts_with(ours)) said.erase(0, ours.size());
    while (said.ends_with('\n')) said.pop_back();
    if (said.empty()) said = result.end.why;
    return make_error(Errc::unavailable, "pod " + pod_.ns + "/" + pod_.pod + ", " + target + ": " + said);
  }

  std::shared_ptr<const source::kubernetes::Access> access_;
  ExecTarget pod_;
};

}  // namespace

std::shared_ptr<const AdminLink> link_to_sockets(const std::string& run_dir) {
  return std::make_shared<SocketLink>(run_dir);
}

std::shared_ptr<const AdminLink> link_to_pod(std::shared_ptr<const source::kubernetes::Access> access,
                                             ExecTarget pod) {
  return std::make_shared<PodLink>(std::move(access), std::move(pod));
}

}  // namespace heddle::tools
