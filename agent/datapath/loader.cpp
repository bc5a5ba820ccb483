// SPDX-License-Identifier: Apache-2.0
#include "agent/datapath/loader.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <utility>

#include "bpf/heddle.skel.h"

namespace heddle::agent {
namespace {

// What libbpf says goes here instead of to stderr; the loading thread reads it on failure.
thread_local std::string said;

int keep_words(libbpf_print_level level, const char* format, va_list arguments) {
  if (level != LIBBPF_WARN) return 0;
  char line[4096];
  const int length = std::vsnprintf(line, sizeof line, format, arguments);
  if (length > 0) said += line;
  return 0;
}

// The last lines of the verifier's log say why; the beginning is a listing of instructions.
std::string last_words() {
  constexpr std::size_t limit = 600;
  std::string out = said.size() > limit ? "..." + said.substr(said.size() - limit) : said;
  while (!out.empty() && out.back() == '\n') out.pop_back();
  for (auto& c : out) {
    if (c == '\n') c = ' ';
  }
  return out;
}

std::string program_name(std::string_view hook) {
  return "heddle_" + std::string(hook);
}

Result<heddle_bpf*> open_skeleton() {
  libbpf_set_print(keep_words);
  said.clear();
  auto* skeleton = heddle_bpf__open();
  if (skeleton == nullptr) return make_errno(errno, "cannot read the built-in BPF object " + last_words());
  return skeleton;
}

Result<> reuse(bpf_map* map, const Fd& fd, const std::string& name) {
  bpf_map_info info{};
  __u32 size = sizeof info;
  if (bpf_obj_get_info_by_fd(fd.get(), &info, &size) != 0)
    return make_errno(errno, "cannot inspect pinned map " + name);
  if (info.type != static_cast<__u32>(bpf_map__type(map)) || info.key_size != bpf_map__key_size(map) ||
      info.value_size != bpf_map__value_size(map)) {
    return make_error(Errc::unsupported,
                      "pinned map " + name +
                          " has another layout than this agent's; run the agent version that "
                          "made it, or `heddle-agent --uninstall` it first");
  }
  if (bpf_map__reuse_fd(map, fd.get()) != 0) return make_errno(errno, "cannot reuse pinned map " + name);
  return {};
}

}  // namespace

Object::Object(heddle_bpf* skeleton) : skeleton_(skeleton) {}
Object::Object(Object&& other) noexcept : skeleton_(std::exchange(other.skeleton_, nullptr)) {}
Object& Object::operator=(Object&& other) noexcept {
  std::swap(skeleton_, other.skeleton_);
  return *this;
}
Object::~Object() {
  heddle_bpf__destroy(skeleton_);
}

Result<Object> Object::load(const FindMap& find) {
  auto skeleton = open_skeleton();
  if (!skeleton) return skeleton.error();
  Object object(*skeleton);
  for (const char* name : pinned_maps) {
    auto found = find(name);
    if (!found) return found.error();
    if (!*found) continue;
    auto* map = bpf_object__find_map_by_name((*skeleton)->obj, name);
    if (auto ok = reuse(map, *found, name); !ok) return ok.error();
  }
  if (heddle_bpf__load(*skeleton) != 0)
    return make_errno(errno, "cannot load the BPF object: " + last_words());
  return object;
}

Result<Object> Object::load_only(std::string_view hook) {
  auto skeleton = open_skeleton();
  if (!skeleton) return skeleton.error();
  Object object(*skeleton);
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, (*skeleton)->obj) {
    bpf_program__set_autoload(program, bpf_program__name(program) == program_name(hook));
  }
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, (*skeleton)->obj) {
    if (bpf_map__type(map) != BPF_MAP_TYPE_RINGBUF && bpf_map__max_entries(map) > 16) {
      bpf_map__set_max_entries(map, 16);
    }
  }
  if (heddle_bpf__load(*skeleton) != 0) return make_errno(errno, last_words());
  return object;
}

int Object::program(std::string_view hook) const {
  const auto* program = bpf_object__find_program_by_name(skeleton_->obj, program_name(hook).c_str());
  return program == nullptr ? -1 : bpf_program__fd(program);
}

int Object::map(std::string_view name) const {
  return bpf_object__find_map_fd_by_name(skeleton_->obj, std::string(name).c_str());
}

int attach_type(std::string_view hook) {
  if (hook == "connect4") return BPF_CGROUP_INET4_CONNECT;
  if (hook == "connect6") return BPF_CGROUP_INET6_CONNECT;
  if (hook == "getpeername4") return BPF_CGROUP_INET4_GETPEERNAME;
  if (hook == "getpeername6") return BPF_CGROUP_INET6_GETPEERNAME;
  if (hook == "getsockname4") return BPF_CGROUP_INET4_GETSOCKNAME;
  if (hook == "getsockname6") return BPF_CGROUP_INET6_GETSOCKNAME;
  if (hook == "getsockopt") return BPF_CGROUP_GETSOCKOPT;
  if (hook == "setsockopt") return BPF_CGROUP_SETSOCKOPT;
  if (hook == "sk_lookup") return BPF_SK_LOOKUP;
  return BPF_CGROUP_SOCK_OPS;
}

}  // namespace heddle::agent
