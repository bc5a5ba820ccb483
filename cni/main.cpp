// SPDX-License-Identifier: Apache-2.0
// heddle-cni: a chained CNI plugin when a container runtime runs it (CNI_COMMAND is set), its own installer
// when a person does.
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>

#include "cni/command_line.h"
#include "cni/input.h"
#include "cni/plugin.h"

namespace heddle::cni {
namespace {

constexpr std::chrono::milliseconds input_timeout{10'000};

Variables cni_variables() {
  Variables out;
  for (const char* name :
       {"CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_NETNS_OVERRIDE"}) {
    if (const char* value = std::getenv(name)) out.emplace(name, value);
  }
  return out;
}

int print(const Answer& answer) {
  std::string_view left = answer.output;
  while (!left.empty()) {
    const ssize_t wrote = ::write(STDOUT_FILENO, left.data(), left.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return 1;  // the runtime is gone: nobody to tell
    left.remove_prefix(static_cast<std::size_t>(wrote));
  }
  return answer.exit_status;
}

int serve_runtime() {
  const auto config = read_to_end(STDIN_FILENO, max_config_bytes, input_timeout);
  if (!config) {
    const bool large = config.error().code == Errc::exhausted;
    return print(
        failure_answer(failure(large ? Code::decode : Code::io, "standard input: " + config.error().message(),
                               "the runtime must write the network configuration, at most 1 MiB, and close"),
                       newest_version));
  }
  return print(run_plugin(cni_variables(), *config, real_surroundings()));
}

}  // namespace
}  // namespace heddle::cni

int main(int argc, char** argv) {
  const char* command = std::getenv("CNI_COMMAND");
  if (command != nullptr && *command != '\0') return heddle::cni::serve_runtime();
  return heddle::cni::run_command_line(argc, argv);
}
